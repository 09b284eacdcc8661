//! [`News`]: changes of the catalog that are told once its snapshot shows them.
//!
//! A program subscribes and then looks, so that it misses nothing. That holds only if no change is
//! told before it can be seen: whoever subscribes between the two would learn it by neither.

use {
    super::{AnnounceEvent, Event, PeerEntry, PeerEntryVersion, SignedPeerEntry},
    crate::network::PeerId,
    std::sync::Arc,
    tokio::sync::broadcast,
};

/// Announcements are rare next to their size.
const ANNOUNCES_BACKLOG: usize = 64;

/// A change that is yet to be told.
#[derive(Debug)]
pub(super) enum Change {
    Discovered(Arc<SignedPeerEntry>),
    Updated(Arc<SignedPeerEntry>),
    /// Put in by the program; `is_new` unless it replaced another.
    Inserted {
        entry: Arc<PeerEntry>,
        is_new: bool,
    },
    Departed(PeerId),
    Farewell(PeerId, PeerEntryVersion),
}

/// What is yet to be told, and whom to tell. Its owner guards it with the snapshot.
#[derive(Debug)]
pub(super) struct News {
    untold: Vec<Change>,
    events: broadcast::Sender<Event>,
    announces: broadcast::Sender<AnnounceEvent>,
}

impl News {
    pub(super) fn new(events_backlog: usize) -> Self {
        Self {
            untold: Vec::new(),
            events: broadcast::Sender::new(events_backlog),
            announces: broadcast::Sender::new(ANNOUNCES_BACKLOG),
        }
    }

    /// Those who are told, for subscriptions that need not wait for the owner's lock.
    pub(super) fn senders(&self) -> (broadcast::Sender<Event>, broadcast::Sender<AnnounceEvent>) {
        (self.events.clone(), self.announces.clone())
    }

    pub(super) fn push(&mut self, change: Change) {
        self.untold.push(change);
    }

    /// Tells what there is; the snapshot shows all of it by now.
    pub(super) fn tell(&mut self) {
        for change in self.untold.drain(..) {
            tell(&self.events, || change.event());
            tell(&self.announces, || change.announcement());
        }
    }
}

/// Makes news for receivers only where there are any.
fn tell<T>(receivers: &broadcast::Sender<T>, news: impl FnOnce() -> Option<T>) {
    if receivers.receiver_count() > 0
        && let Some(news) = news()
    {
        // The last receiver may go at this moment.
        let _ = receivers.send(news);
    }
}

impl Change {
    fn event(&self) -> Option<Event> {
        Some(match self {
            Self::Discovered(entry) => Event::PeerDiscovered(PeerEntry::clone(entry)),
            Self::Updated(entry) => Event::PeerUpdated(PeerEntry::clone(entry)),
            Self::Inserted { entry, is_new } => {
                let entry = PeerEntry::clone(entry);
                if *is_new {
                    Event::PeerDiscovered(entry)
                } else {
                    Event::PeerUpdated(entry)
                }
            }
            Self::Departed(peer) => Event::PeerDeparted(*peer),
            Self::Farewell(..) => return None,
        })
    }

    fn announcement(&self) -> Option<AnnounceEvent> {
        match self {
            Self::Discovered(entry) | Self::Updated(entry) => Some(
                AnnounceEvent::PeerEntryReceived(SignedPeerEntry::clone(entry)),
            ),
            Self::Farewell(peer, version) => Some(AnnounceEvent::PeerDeparted(*peer, *version)),
            Self::Inserted { .. } | Self::Departed(_) => None,
        }
    }
}
