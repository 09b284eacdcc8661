//! The task that keeps this node's note fresh and meets whoever left another.

use {
    super::{
        directory::{Directory, Location},
        note::Note,
    },
    crate::{
        PeerId,
        discovery::{driver::random_below, introduce::Introducer, state::State},
        network::{NetworkId, links::Links},
    },
    iroh::{Endpoint, EndpointAddr, SecretKey},
    parking_lot::Mutex,
    std::{collections::HashMap, sync::Arc, time::Duration},
    tokio::time::Instant,
};

/// Time between two looks at the directory, at first and at most.
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// How long a node looks often.
const EAGER: Duration = Duration::from_secs(3);
/// Time between two refreshes of the own note.
const REFRESH: Duration = Duration::from_secs(15);
/// Unknown peers met after one look; they know the others.
const MEET: usize = 4;

/// This node's part in the rendezvous directory.
pub(in crate::discovery) struct Rendezvous(Arc<Desk>);

/// Leaves a note and starts looking for those of others.
pub(in crate::discovery) fn start(links: &Links, introducer: &Introducer) -> Option<Rendezvous> {
    start_at(Location::of(links.network_id()), links, introducer)
}

pub(super) fn start_at(
    location: Location,
    links: &Links,
    introducer: &Introducer,
) -> Option<Rendezvous> {
    if let Err(error) = location.open() {
        tracing::warn!(%error, "no rendezvous with other processes of this machine");
        return None;
    }
    let endpoint = links.endpoint()?;
    let desk = Arc::new(Desk {
        location,
        network: *links.network_id(),
        secret: endpoint.secret_key().clone(),
        state: Arc::clone(&introducer.state),
        left: Mutex::new(false),
    });
    let watcher = Watcher {
        desk: Arc::clone(&desk),
        endpoint,
        introducer: introducer.clone(),
    };
    links.tasks().spawn(watcher.run());
    Some(Rendezvous(desk))
}

impl Rendezvous {
    /// Takes this node's note away, for good.
    pub(in crate::discovery) async fn leave(&self) {
        let desk = Arc::clone(&self.0);
        blocking(move || desk.leave()).await;
    }
}

struct Watcher {
    desk: Arc<Desk>,
    endpoint: Endpoint,
    introducer: Introducer,
}

/// What touches the file system; it runs on threads that may block.
struct Desk {
    location: Location,
    network: NetworkId,
    secret: SecretKey,
    state: Arc<State>,
    /// Set when the note was taken away; held while the directory is written to.
    left: Mutex<bool>,
}

/// A note that was looked at, so that it is not checked again until it changes.
type Seen = HashMap<PeerId, (Vec<u8>, Option<Note>)>;

impl Watcher {
    async fn run(self) {
        let started = Instant::now();
        let mut delay = LOOK_MIN;
        let mut written: Option<(EndpointAddr, Instant)> = None;
        let mut seen = Seen::new();
        loop {
            let address = self.endpoint.addr();
            let due = written
                .as_ref()
                .is_none_or(|(before, at)| *before != address || at.elapsed() >= REFRESH);
            let note = due.then(|| Note::new(address.clone()));
            let desk = Arc::clone(&self.desk);
            let looked = blocking(move || {
                let unknown = desk.look(note.as_ref(), &mut seen);
                (unknown, seen)
            })
            .await;
            let Some((unknown, now_seen)) = looked else {
                return;
            };
            seen = now_seen;
            match unknown {
                Ok(unknown) => {
                    if due {
                        written = Some((address, Instant::now()));
                    }
                    self.meet(unknown);
                }
                Err(error) => {
                    tracing::debug!(%error, "rendezvous directory");
                    written = None;
                }
            }
            if started.elapsed() > EAGER {
                delay = (delay * 3 / 2).min(LOOK_MAX);
            }
            tokio::time::sleep(delay).await;
        }
    }

    fn meet(&self, mut unknown: Vec<EndpointAddr>) {
        for _ in 0..MEET {
            if unknown.is_empty() {
                return;
            }
            let address = unknown.swap_remove(random_below(unknown.len()));
            self.introducer.found(address);
        }
    }
}

impl Desk {
    /// Leaves `note`, clears stale ones away, and says who is there that is not known yet.
    fn look(&self, note: Option<&Note>, seen: &mut Seen) -> Result<Vec<EndpointAddr>, String> {
        let left = self.left.lock();
        if *left {
            return Ok(Vec::new());
        }
        let directory = self.location.open().map_err(|error| error.to_string())?;
        let me = self.secret.public();
        if let Some(note) = note {
            let bytes = note
                .encode(&self.secret, &self.network)
                .ok_or("this node has more addresses than a note holds")?;
            directory
                .write(&me, &bytes)
                .map_err(|error| error.to_string())?;
        }
        let peers = directory.peers().map_err(|error| error.to_string())?;
        seen.retain(|peer, _| peers.contains(peer));
        let mut unknown = Vec::new();
        let mut is_there = false;
        for peer in peers {
            if peer == me {
                is_there = true;
                continue;
            }
            if let Some(address) = self.examine(&directory, &peer, seen)
                && !self.state.knows(&peer)
            {
                unknown.push(address);
            }
        }
        if is_there {
            Ok(unknown)
        } else {
            Err("the own note is gone".to_owned())
        }
    }

    fn leave(&self) {
        *self.left.lock() = true;
        if let Ok(directory) = self.location.open() {
            directory.remove(&self.secret.public());
            self.location.remove_if_empty();
        }
    }

    /// Where a peer is, if its note is good.
    fn examine(
        &self,
        directory: &Directory,
        peer: &PeerId,
        seen: &mut Seen,
    ) -> Option<EndpointAddr> {
        let bytes = directory.read(peer)?;
        if seen.get(peer).is_none_or(|(before, _)| *before != bytes) {
            let note = Note::decode(&bytes, &self.network, peer);
            if let Err(error) = &note {
                tracing::debug!(peer = %peer.fmt_short(), %error, "note refused");
            }
            seen.insert(*peer, (bytes, note.ok()));
        }
        let note = seen.get(peer)?.1.as_ref();
        // A note that cannot be read was not left by a node of this version; its age is unknown.
        let note = note?;
        if note.is_stale() {
            directory.remove(peer);
            return None;
        }
        Some(note.address.clone())
    }
}

/// Runs what touches the file system; `None` when the runtime ends.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
