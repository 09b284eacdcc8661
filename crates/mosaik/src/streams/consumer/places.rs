//! [`Places`]: how far a consumer has come with each producer whose subscription has ended.
//!
//! A producer may leave the catalog, or not be wanted for a while, and come back: what the consumer
//! missed meanwhile is announced, and nothing comes twice, because it says where it stopped.

use {
    crate::{
        PeerId,
        streams::greeting::{Resume, Subscribed},
    },
    parking_lot::Mutex,
    std::collections::VecDeque,
};

/// Producers remembered, the one whose subscription ended first being forgotten first. To one that
/// was forgotten the consumer is a newcomer.
const MAX: usize = 256;

/// Where subscriptions to producers ended, oldest first.
#[derive(Debug, Default)]
pub(super) struct Places(VecDeque<(PeerId, Resume)>);

impl Places {
    /// Where the last subscription to a producer ended.
    pub(super) fn of(&self, producer: &PeerId) -> Option<Resume> {
        let known = self.0.iter().rfind(|(peer, _)| peer == producer);
        known.map(|(_, resume)| *resume)
    }

    fn remember(&mut self, producer: PeerId, resume: Resume) {
        self.0.retain(|(peer, _)| *peer != producer);
        if self.0.len() == MAX {
            self.0.pop_front();
        }
        self.0.push_back((producer, resume));
    }
}

/// What arrived of a subscription.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    pub(super) items: u64,
    /// Those of them that found room in the queue: the others do not reach the program.
    pub(super) delivered: u64,
    /// Items announced as missed.
    pub(super) missed: u64,
}

/// A subscription under way, whose place is remembered however it ends.
pub(super) struct Place<'s> {
    pub(super) places: &'s Mutex<Places>,
    pub(super) producer: PeerId,
    pub(super) subscribed: Subscribed,
    pub(super) received: Received,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let resume = Resume {
            subscribed: self.subscribed,
            received: self.received.delivered + self.received.missed,
        };
        self.places.lock().remember(self.producer, resume);
    }
}

#[cfg(test)]
mod tests {
    use {super::*, iroh::SecretKey};

    fn peer(n: usize) -> PeerId {
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&n.to_le_bytes());
        SecretKey::from_bytes(&secret).public()
    }

    #[test]
    fn the_last_place_with_each_producer_is_remembered_and_not_too_many() {
        let places = Mutex::default();
        let end = |n, received| {
            drop(Place {
                places: &places,
                producer: peer(n),
                subscribed: Subscribed {
                    session: 1,
                    subscription: 2,
                    start: 3,
                },
                received: Received {
                    items: received + 1,
                    delivered: received,
                    missed: 10,
                },
            });
        };
        let known = |n| places.lock().of(&peer(n)).map(|resume| resume.received);
        assert_eq!(known(0), None);
        end(0, 5);
        assert_eq!(
            known(0),
            Some(15),
            "what did not reach the program is missing"
        );
        for n in 1..MAX {
            end(n, 1);
        }
        end(0, 7);
        end(MAX, 1);
        assert_eq!((known(0), known(1), known(2)), (Some(17), None, Some(11)));
        assert_eq!(places.lock().0.len(), MAX);
    }
}
