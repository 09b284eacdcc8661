//! News: entries, announcements, farewells and suspicions, wherever they come from.

use {
    super::{
        io::{Departure, Event, Output, Outputs, Refusal},
        machine::Catalog,
        message::{Carried, Dated, Gossip, Message, Request},
        pulls::Word,
        store::{Latest, Merged, News, Slot},
        types::{Announcement, Authority, Farewell, NodeKey, Record, Suspicion, Version},
        unproven::Kept,
    },
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::{
        Digest,
        time::{Instant, UnixMillis},
    },
};

/// A peer heard so recently need not be suspected; it is told that it is.
const ALIVE_WITHIN: Duration = Duration::from_millis(700);

/// How a piece of news came here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    /// Who handed it on.
    pub(super) from: Option<NodeKey>,
    /// Everyone else gets it as well.
    pub(super) broadcast: bool,
}

impl Route {
    pub(super) const fn broadcast(from: NodeKey) -> Self {
        Self {
            from: Some(from),
            broadcast: true,
        }
    }

    pub(super) const fn direct(from: NodeKey) -> Self {
        Self {
            from: Some(from),
            broadcast: false,
        }
    }
}

impl<A: Authority> Catalog<A> {
    pub(super) fn receive(
        &mut self,
        now: Instant,
        route: Route,
        gossip: Gossip,
        out: &mut Outputs,
    ) {
        let outcome = match gossip {
            Gossip::Entry(entry) => self
                .take_entry(
                    now,
                    route,
                    &Carried {
                        entry,
                        latest: None,
                    },
                    out,
                )
                .map(drop),
            Gossip::Announcement(announcement) => {
                self.take_announcement(now, route, &announcement, out)
            }
            Gossip::Farewell(farewell) => self.take_farewell(now, route, farewell, out),
            Gossip::Suspicion(suspicion) => self.take_suspicion(now, route, &suspicion, out),
        };
        if let Err(reason) = outcome {
            self.refuse(route.from, reason, out);
        }
    }

    pub(super) fn feed(&mut self, now: Instant, entry: &Bytes, out: &mut Outputs) {
        let carried = Carried {
            entry: entry.clone(),
            latest: None,
        };
        let route = Route {
            from: None,
            broadcast: false,
        };
        if let Err(reason) = self.take_entry(now, route, &carried, out) {
            self.refuse(None, reason, out);
        }
    }

    /// Merges an entry. What it was, if it was news.
    pub(super) fn take_entry(
        &mut self,
        now: Instant,
        route: Route,
        carried: &Carried,
        out: &mut Outputs,
    ) -> Result<Merged, Refusal> {
        if carried.entry.len() > self.config.limits.entry_bytes {
            return Err(Refusal::EntryTooLarge);
        }
        let head = self.authority.inspect(&carried.entry)?;
        let record = Record::new(head, carried.entry.clone());
        let (peer, version) = (record.peer, record.version);
        if peer == self.config.me {
            self.mind_own(now, head.issued, (version, record.digest), out)?;
            return Err(Refusal::Superseded);
        }
        let mut latest = Latest::of_entry(head.issued);
        if let Some(dated) = carried.latest.filter(|dated| dated.issued > head.issued) {
            let Dated {
                issued,
                incarnation,
                signature,
            } = dated;
            let digest = record.digest;
            let announcement = Announcement {
                peer,
                version,
                digest,
                issued,
                incarnation,
                signature,
            };
            if !announcement.verify(&self.config.network, &self.authority) {
                return Err(Refusal::Signature);
            }
            latest = Latest::of(&announcement);
        }
        let merged = self.store.admit(self.wall(now), record, latest);
        let running = self.running(now);
        self.pulls.done(running, &peer, version, route.from);
        if merged == Err(Refusal::Departed)
            && let Some(from) = route.from.filter(|_| !route.broadcast)
            && let Some(farewell) = self.store.farewell_of(&peer)
        {
            self.send(from, &Message::Direct(Gossip::Farewell(*farewell)), out);
        }
        let merged = merged?;
        self.merged(now, &peer, merged, route, out);
        Ok(merged)
    }

    /// Tells of what changed, and lets go of what the news answers.
    fn merged(
        &mut self,
        now: Instant,
        peer: &NodeKey,
        merged: Merged,
        route: Route,
        out: &mut Outputs,
    ) {
        // A peer that is down stays so until it says something new.
        let Some(slot) = self.store.up().get(peer) else {
            return;
        };
        let record = slot.record.clone();
        let (version, incarnation) = (record.version, slot.latest.incarnation);
        let announcement = slot.announcement();
        let running = self.running(now);
        let refuted = self.detector.announced(running, peer, version, incarnation);
        if let Some(announcement) = announcement.filter(|_| refuted) {
            self.flood(route.from, peer, &Gossip::Announcement(announcement), out);
        }
        // Whoever hears of a change from the changed itself hands it on: its own broadcast may have
        // been made before it had anybody to broadcast to.
        let firsthand = !route.broadcast && route.from == Some(*peer);
        if firsthand && matches!(merged, Merged::Discovered | Merged::Updated) {
            if self.config.fits_gossip(record.bytes.len()) {
                Self::broadcast(&Gossip::Entry(record.bytes.clone()), out);
            }
            if let Some(announcement) = announcement {
                Self::broadcast(&Gossip::Announcement(announcement), out);
            }
        }
        match merged {
            Merged::Discovered => {
                self.counters.discovered += 1;
                self.detector.rings.insert(*peer);
                self.detector.members_changed = true;
                out.push_back(Output::Event(Event::Discovered(record)));
            }
            Merged::Updated => {
                self.counters.updated += 1;
                out.push_back(Output::Event(Event::Updated(record)));
            }
            Merged::Refreshed => self.counters.announcements += 1,
        }
        for (route, report) in self.unproven.proven(peer, (version, incarnation)) {
            if let Err(reason) = self.take_suspicion(now, route, &report, out) {
                self.refuse(route.from, reason, out);
            }
        }
    }

    /// Has an entry asked for, soon. Whether there is room to note that.
    pub(super) fn pull(
        &mut self,
        now: Instant,
        peer: NodeKey,
        version: Version,
        source: NodeKey,
        word: Word,
    ) -> bool {
        let running = self.running(now);
        self.pulls.add(running, peer, version, source, word)
    }

    /// Somebody claims to hold a newer entry of this node than its own, without proof: it is asked
    /// for the entry, and only what is signed counts.
    pub(super) fn pull_own(&self, from: NodeKey, version: Version, out: &mut Outputs) {
        let peer = self.config.me;
        self.send(from, &Message::Pull(vec![Request { peer, version }]), out);
    }

    /// This node has signed something that the network still knows: it has to say something newer
    /// than that. What it signed with a clock that was ahead is nothing that others keep, and
    /// nothing that could be followed by an entry which they take.
    fn mind_own(
        &self,
        now: Instant,
        issued: UnixMillis,
        rank: (Version, Digest),
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        self.store.check_future(self.wall(now), issued)?;
        let is_newer = |own: &Slot| (own.record.version, own.record.digest) < rank;
        if self.own().is_none_or(is_newer) {
            out.push_back(Output::Superseded(rank.0));
        }
        Ok(())
    }

    pub(super) fn take_announcement(
        &mut self,
        now: Instant,
        route: Route,
        announcement: &Announcement,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let peer = announcement.peer;
        if peer == self.config.me {
            if !announcement.verify(&self.config.network, &self.authority) {
                return Ok(());
            }
            let rank = (announcement.version, announcement.digest);
            return self.mind_own(now, announcement.issued, rank, out);
        }
        let news = self.store.classify(self.wall(now), announcement)?;
        if !announcement.verify(&self.config.network, &self.authority) {
            return Err(Refusal::Signature);
        }
        match news {
            News::Missing => {
                let source = route.from.unwrap_or(peer);
                self.pull(now, peer, announcement.version, source, Word::Announced);
            }
            News::Known => {
                let merged = self.store.refresh(&peer, Latest::of(announcement))?;
                self.merged(now, &peer, merged, route, out);
            }
        }
        Ok(())
    }

    fn take_farewell(
        &mut self,
        now: Instant,
        route: Route,
        farewell: Farewell,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let peer = farewell.peer;
        if peer != self.config.me {
            self.store.is_news(self.wall(now), &farewell)?;
        }
        if !farewell.verify(&self.config.network, &self.authority) {
            return Err(Refusal::Signature);
        }
        if peer == self.config.me {
            // It ends every entry of its version.
            let rank = (farewell.version, Digest::from_bytes([0xff; 32]));
            return self.mind_own(now, farewell.issued, rank, out);
        }
        let running = self.running(now);
        self.pulls.done(running, &peer, farewell.version, None);
        if let Some(version) = self.store.depart(farewell) {
            self.departed(peer, version, Departure::Farewell, out);
            self.flood(route.from, &peer, &Gossip::Farewell(farewell), out);
        }
        Ok(())
    }

    fn take_suspicion(
        &mut self,
        now: Instant,
        route: Route,
        suspicion: &Suspicion,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let peer = suspicion.peer;
        if suspicion.reporter == self.config.me {
            return Err(Refusal::Superseded);
        }
        if self.store.down().contains_key(&peer) || self.store.farewell_of(&peer).is_some() {
            return Err(Refusal::Superseded);
        }
        let Some(slot) = self.store.up().get(&peer) else {
            return Err(Refusal::Stranger);
        };
        let known = (slot.record.version, slot.latest.incarnation);
        let refutation = slot.announcement();
        let named = (suspicion.version, suspicion.incarnation);
        if named < known {
            // Whoever still believes it in person is told better; a broadcast is not answered.
            if let Some(from) = route.from.filter(|_| !route.broadcast)
                && let Some(announcement) = refutation
            {
                let better = Message::Direct(Gossip::Announcement(announcement));
                self.send(from, &better, out);
            }
            return Err(Refusal::Superseded);
        }
        // A node that holds this one down, and is down here, must be able to say so.
        let reporter_known = self.store.up().contains_key(&suspicion.reporter)
            || self.store.down().contains_key(&suspicion.reporter);
        if !reporter_known {
            return Err(Refusal::Stranger);
        }
        if !suspicion.verify(&self.config.network, &self.authority) {
            return Err(Refusal::Signature);
        }
        if peer == self.config.me {
            // Nobody else could have announced more of this node than it has itself.
            if named > known {
                return Err(Refusal::Unannounced);
            }
            let from = route.from.filter(|_| !route.broadcast);
            self.refute(now, from);
            return Ok(());
        }
        if named > known {
            return self.await_proof(now, route, suspicion, out);
        }
        let running = self.running(now);
        if self.detector.suspect(running, suspicion) {
            self.flood(route.from, &peer, &Gossip::Suspicion(*suspicion), out);
        }
        if self.detector.heard_within(running, &peer, ALIVE_WITHIN) {
            self.tell_suspect(peer, out);
        }
        if self.detector.is_watched(&peer) || self.links.contains(&peer) {
            self.detector.look_after(running, peer);
        }
        Ok(())
    }

    /// A report about a newer state of its suspect than is known here. It may be a lie about a
    /// state that there never was, which the suspect could not refute: it counts once the suspect's
    /// own statement is here, which whoever handed it on is asked for.
    fn await_proof(
        &mut self,
        now: Instant,
        route: Route,
        suspicion: &Suspicion,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let peer = suspicion.peer;
        let kept = self.unproven.keep(now, route, suspicion);
        match kept {
            Kept::Full => return Err(Refusal::Unannounced),
            Kept::Known => return Ok(()),
            Kept::New | Kept::Again => {}
        }
        if let (Some(from), Some(slot)) = (route.from, self.store.up().get(&peer)) {
            let question = if suspicion.version > slot.record.version {
                let version = suspicion.version;
                Message::Pull(vec![Request { peer, version }])
            } else {
                Message::Announcements {
                    fresh: Vec::new(),
                    wanted: vec![slot.prefix()],
                }
            };
            self.send(from, &question, out);
        }
        // Whoever knows the proof may be down itself by now. Who is dead is silent here too.
        let near = self.detector.is_watched(&peer) || self.links.contains(&peer);
        if kept == Kept::New && (near || !route.broadcast) {
            self.detector.look_after(self.running(now), peer);
        }
        Ok(())
    }
}
