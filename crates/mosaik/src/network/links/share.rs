//! [`Share`]: what one peer may have of this node, over all its connections.

use {
    super::header::Protocol,
    crate::PeerId,
    std::{
        collections::HashMap,
        sync::{Arc, Weak},
    },
    tokio::sync::{OwnedSemaphorePermit, Semaphore},
};

/// Sub-streams of one protocol that a peer may have in the hands of its server and neither
/// accepted nor refused; those that follow wait their turn with their greetings unread.
///
/// Each protocol has its own: to admit a subscription a node may have to ask the subscriber who it
/// is, while the other side does the same.
const UNANSWERED: usize = 64;

/// What one peer has taken of its bounds.
#[derive(Debug)]
pub(super) struct Share {
    substreams: Arc<Semaphore>,
    unanswered: [Arc<Semaphore>; Protocol::ALL.len()],
}

impl Share {
    fn new(substreams: u32) -> Self {
        Self {
            substreams: Arc::new(Semaphore::new(substreams as usize)),
            unanswered: Protocol::ALL.map(|_| Arc::new(Semaphore::new(UNANSWERED))),
        }
    }

    /// A place for one more sub-stream, if there is one.
    pub(super) fn substream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.substreams).try_acquire_owned().ok()
    }

    /// Waits for a place among those of `protocol` that are not answered yet.
    pub(super) async fn unanswered(&self, protocol: Protocol) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.unanswered[protocol.index()]);
        places.acquire_owned().await.expect("is never closed")
    }
}

/// The shares of all peers that have any.
#[derive(Default)]
pub(super) struct Shares(HashMap<PeerId, Weak<Share>>);

impl Shares {
    /// A peer's share. It lasts as long as whatever is on any of its connections, so that no peer
    /// has it anew by connecting anew.
    pub(super) fn of(&mut self, peer: PeerId, substreams: u32) -> Arc<Share> {
        if let Some(share) = self.0.get(&peer).and_then(Weak::upgrade) {
            return share;
        }
        self.0.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Share::new(substreams));
        self.0.insert(peer, Arc::downgrade(&share));
        share
    }
}
