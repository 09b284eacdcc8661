//! [`Io`]: what all groups of a driver share.

use {
    super::{
        inbox::{Command, Inbox, Slot, Wish},
        peers::Peers,
        timers::Timers,
    },
    crate::{
        PeerId,
        discovery::Discovery,
        groups::{Config, store::Disk},
        network::links::Links,
    },
    core::time::Duration,
    mosaik_primitives::{
        Digest,
        time::{Instant, UnixMillis},
    },
    mosaik_protocol::consensus::{Outputs, PeerKey},
    std::{sync::Arc, time::SystemTime},
};

/// What all groups of a driver share.
#[derive(Debug)]
pub(super) struct Io {
    /// The time, as of this round.
    pub(super) now: Instant,
    origin: tokio::time::Instant,
    pub(super) inbox: Arc<Inbox>,
    pub(super) links: Links,
    pub(super) discovery: Discovery,
    pub(super) config: Config,
    departure_window: Duration,
    pub(super) timers: Timers,
    pub(super) peers: Peers,
    /// The node's store, where it has a data directory.
    pub(super) disk: Option<Disk>,
    /// Scratch space for a core's outputs.
    pub(super) outputs: Outputs,
}

impl Io {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        links: Links,
        discovery: Discovery,
        config: Config,
        departure_window: Duration,
        disk: Option<Disk>,
    ) -> Self {
        let peers = Peers::new(Arc::clone(&inbox), links.clone(), discovery.clone());
        Self {
            now: Instant::ZERO,
            origin: tokio::time::Instant::now(),
            inbox,
            links,
            discovery,
            config,
            departure_window,
            timers: Timers::default(),
            peers,
            disk,
            outputs: Outputs::new(),
        }
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self) {
        self.now = Instant::ZERO + self.origin.elapsed();
    }

    /// The driver's clock, to be looked at elsewhere.
    pub(super) fn clock(&self) -> impl Fn() -> Instant + use<> {
        let origin = self.origin;
        move || Instant::ZERO + origin.elapsed()
    }

    /// When the next timer is due, by the runtime's clock.
    pub(super) fn wake_at(&self) -> Option<tokio::time::Instant> {
        let at = self.timers.next().filter(|at| *at < Instant::FAR_FUTURE)?;
        Some(self.runtime_time(at))
    }

    /// The runtime's clock at an instant of the driver's, which must be of a reasonable future.
    fn runtime_time(&self, at: Instant) -> tokio::time::Instant {
        let wait = at.since(Instant::ZERO).min(Duration::from_hours(24 * 365));
        self.origin + wait
    }

    /// How long leaving may take.
    pub(super) const fn departure_window(&self) -> Duration {
        self.departure_window
    }

    /// Says to all peers that this node is in a group.
    pub(super) fn list(&self, group: Digest) {
        self.discovery.update_local(|entry| entry.add_groups(group));
    }

    /// Says to all peers that this node is no more in a group.
    pub(super) fn unlist(&self, group: Digest) {
        self.discovery
            .update_local(|entry| entry.remove_groups(group));
    }

    /// Has a bond ended once the present step is done.
    pub(super) fn close_bond(&self, slot: Slot, peer: PeerId, code: u32) {
        let wish = Wish::CloseBond { peer, code };
        self.inbox.tell(Command::Wish { slot, wish });
    }

    /// Runs what may wait for a disk; the network closes when it has ended.
    pub(super) fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        let running = tokio::task::spawn_blocking(work);
        self.links.tasks().spawn_to_end(async move {
            // A panic in it has been shown; who waits for the outcome has its own patience.
            drop(running.await);
        });
    }

    /// This node.
    pub(super) fn local(&self) -> PeerId {
        self.links.local_id()
    }
}

/// What the wall clock shows.
pub(crate) fn wall_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixMillis(since.map_or(0, |since| since.as_millis() as u64))
}

/// A number that nobody can guess.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&Digest::random().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// A peer as the core knows it.
pub(crate) fn peer_key(peer: &PeerId) -> PeerKey {
    PeerKey(*peer.as_bytes())
}

/// How long to wait before the next attempt after so many that failed: from 100 ms, doubling,
/// to 15 s, a quarter of it at random.
pub(super) fn backoff(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(15);
    let wait = FIRST
        .saturating_mul(1 << failures.clamp(1, 10).saturating_sub(1))
        .min(LONGEST);
    let random = (random() % 256) as u32;
    wait.saturating_sub(wait * random / 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_grow_rarer_up_to_a_bound() {
        let mut before = Duration::ZERO;
        for failures in 1..6 {
            let wait = backoff(failures);
            assert!(wait > before, "{failures}: {wait:?}");
            before = wait;
        }
        assert!(backoff(u32::MAX) <= Duration::from_secs(15));
        assert!(backoff(0) >= Duration::from_millis(75));
    }
}
