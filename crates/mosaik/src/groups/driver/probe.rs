//! Probes: telling holders of the same key that they run different groups with it.
//!
//! A group's id is derived from everything that members must agree on, so that nodes which
//! disagree list different ids and never say hello. A member that finds nobody asks the peers
//! that list other groups whether they hold its key, with a proof that tells a stranger nothing;
//! both sides then learn, and tell, what differs.

use {
    super::{inbox::Slot, io::Io, member::Member, run::Driver, timers::Timer},
    crate::{
        PeerId,
        groups::{
            event::{Event, Mismatch},
            key::GroupKey,
            lanes::{Facets, Frame, Probe},
            link::Link,
        },
    },
    core::time::Duration,
    mosaik_primitives::{Digest, time::Instant},
    std::sync::LazyLock,
};

/// How long a member looks for others before it asks around; doubles each time.
const FIRST: Duration = Duration::from_secs(2);
/// The longest it waits in between.
const LONGEST: Duration = Duration::from_mins(1);
/// Peers asked at a time.
const PEERS: usize = 16;

/// Stands in for the id of a group in proofs that are made before any group is agreed upon.
static SUBJECT: LazyLock<Digest> = LazyLock::new(|| Digest::from("mosaik/groups/probe"));

/// When a member that finds nobody asks around.
#[derive(Debug, Default)]
pub(super) struct Probing {
    timer: Option<Instant>,
    rounds: u32,
}

fn proof(key: &GroupKey, link: &Link, peer: PeerId) -> Digest {
    key.generate_proof(link, peer, *SUBJECT)
}

impl Member {
    /// Sets the time of the next round, if the member is alone.
    pub(super) fn schedule_probe(&mut self, io: &mut Io) {
        let alone = self.listed.is_empty() && self.leaving.is_none();
        let wait = FIRST.saturating_mul(1 << self.probing.rounds.min(10));
        let at = alone.then(|| io.now + wait.min(LONGEST));
        let timer = Timer::Probe(self.slot);
        io.timers.set(timer, &mut self.probing.timer, at);
    }

    /// Ends all asking around.
    pub(super) fn stop_probing(&mut self, io: &mut Io) {
        let timer = Timer::Probe(self.slot);
        io.timers.set(timer, &mut self.probing.timer, None);
    }

    /// Asks the peers that are in some group whether they hold the key.
    pub(super) fn on_probe_timer(&mut self, io: &mut Io) {
        self.probing.timer = None;
        self.probing.rounds += 1;
        if self.listed.is_empty() {
            let others = io.discovery.infos().into_iter();
            let others: Vec<_> = others
                .filter(|info| !info.groups().is_empty())
                .map(|info| *info.id())
                .take(PEERS)
                .collect();
            for peer in others {
                io.peers.probe(peer, self.slot);
            }
        }
        self.schedule_probe(io);
    }

    /// The probe to be said on a lane.
    fn probe(&self, link: &Link, local: PeerId, answer: bool) -> Frame {
        Frame::Probe(Probe {
            answer,
            proof: proof(self.config.key(), link, local),
            facets: self.facets(),
        })
    }

    fn facets(&self) -> Facets {
        Facets {
            consensus: self.config.consensus().digest(),
            machine: *self.config.machine_signature(),
            sync: *self.config.sync_signature(),
            auth: self.config.auth_signature(),
        }
    }

    /// Tells what a holder of the key does differently.
    fn on_mismatch(&self, peer: PeerId, theirs: &Facets) {
        let ours = self.facets();
        let differs: Vec<_> = [
            (ours.consensus != theirs.consensus, Mismatch::Consensus),
            (ours.machine != theirs.machine, Mismatch::StateMachine),
            (ours.sync != theirs.sync, Mismatch::StateSync),
            (ours.auth != theirs.auth, Mismatch::TicketValidators),
        ]
        .into_iter()
        .filter_map(|(differs, what)| differs.then_some(what))
        .collect();
        if differs.is_empty() {
            // It is the same group: its entry has not arrived yet.
            return;
        }
        tracing::warn!(
            group = ?self.config.group_id(), peer = %peer.fmt_short(), ?differs,
            "a peer holds this group's key but runs another group with it",
        );
        self.shared.tell(Event::Mismatch { peer, differs });
    }
}

impl Driver {
    /// Says what is waiting to be asked on a lane that can be written.
    pub(super) fn say_probes(&mut self, peer: PeerId) {
        for (slot, answer) in self.io.peers.take_probes(&peer) {
            let Some((lane, link)) = self.io.peers.main(&peer) else {
                return;
            };
            if let Some(member) = self.members.get(&slot) {
                // Asked again later where the peer does not read.
                let _ = lane.send(member.probe(link, self.io.local(), answer));
            }
        }
        self.io.peers.close_unused(&peer);
    }

    /// A peer asks whether somebody here holds its key.
    pub(super) fn on_probe(&mut self, peer: PeerId, probe: &Probe) {
        if !self.io.peers.may_probe(&peer, self.io.now) {
            return;
        }
        let Some(link) = self.io.peers.incoming(&peer) else {
            return;
        };
        let holders: Vec<Slot> = self
            .members
            .iter()
            .filter(|(_, member)| {
                let key = member.config.key();
                key.validate_proof(link, probe.proof, *SUBJECT)
            })
            .map(|(slot, _)| *slot)
            .collect();
        for slot in holders {
            if let Some(member) = self.members.get(&slot) {
                member.on_mismatch(peer, &probe.facets);
            }
            if !probe.answer {
                self.io.peers.answer_probe(peer, slot);
            }
        }
        self.say_probes(peer);
    }
}
