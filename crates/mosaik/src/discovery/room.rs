//! [`Buffer`]: room for messages that wait, of which no peer takes more than its share.
//!
//! What one peer sends, or does not read, keeps nothing of any other peer's from being taken. Room
//! is for bytes that are here; none is kept for bytes that a peer has promised.

use {
    crate::PeerId,
    parking_lot::Mutex,
    std::{
        collections::{HashMap, hash_map::Entry},
        sync::Arc,
    },
    tokio::sync::{OwnedSemaphorePermit, Semaphore},
};

/// One peer's share, unless its longest message is longer, KiB.
const SHARE_KIB: u32 = 8 << 10;
/// Shares that there is room for at one time.
const SHARES: u32 = 4;
/// What an item costs besides its bytes, KiB. A share of the smallest items fills half an inbox.
const ITEM_KIB: u32 = 16;

/// A bounded buffer's account. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Buffer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    share_kib: u32,
    total: Arc<Semaphore>,
    /// What is taken of each share, KiB; never zero.
    taken: Mutex<HashMap<PeerId, u32>>,
}

/// Room that one item takes; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    buffer: Buffer,
    peer: PeerId,
    permit: OwnedSemaphorePermit,
}

impl Buffer {
    /// A buffer for messages of at most so many bytes each.
    pub(super) fn new(max_message_bytes: usize) -> Self {
        let share_kib = SHARE_KIB.max(kib(max_message_bytes));
        let total = share_kib.saturating_mul(SHARES) as usize;
        Self(Arc::new(Inner {
            share_kib,
            total: Arc::new(Semaphore::new(total.min(Semaphore::MAX_PERMITS))),
            taken: Mutex::default(),
        }))
    }

    /// Room for an item of so many bytes that is a peer's or for a peer, if there is.
    pub(super) fn take(&self, peer: PeerId, bytes: usize) -> Option<Room> {
        let permit = self.charge(peer, kib(bytes))?;
        Some(Room {
            buffer: self.clone(),
            peer,
            permit,
        })
    }

    fn charge(&self, peer: PeerId, kib: u32) -> Option<OwnedSemaphorePermit> {
        let mut shares = self.0.taken.lock();
        let taken = shares.get(&peer).copied().unwrap_or(0);
        let would_be = taken.checked_add(kib)?;
        if would_be > self.0.share_kib {
            return None;
        }
        let permit = Arc::clone(&self.0.total).try_acquire_many_owned(kib).ok()?;
        shares.insert(peer, would_be);
        Some(permit)
    }

    /// Resolves when nothing takes room; none is given from now to then.
    pub(super) async fn emptied(&self) {
        let all = self.0.share_kib.saturating_mul(SHARES);
        // The semaphore is never closed.
        let _ = self.0.total.acquire_many(all).await;
    }
}

impl Room {
    /// Makes it room for so many bytes in all, if there is.
    #[must_use]
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let held = self.permit.num_permits();
        let lacking = (kib(bytes) as usize).saturating_sub(held) as u32;
        match self.buffer.charge(self.peer, lacking) {
            Some(more) => {
                self.permit.merge(more);
                true
            }
            None => false,
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Entry::Occupied(mut share) = self.buffer.0.taken.lock().entry(self.peer) {
            let left = (*share.get() as usize).saturating_sub(self.permit.num_permits());
            match left {
                0 => drop(share.remove()),
                _ => *share.get_mut() = left as u32,
            }
        }
    }
}

fn kib(bytes: usize) -> u32 {
    let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
    kib.saturating_add(ITEM_KIB)
}

#[cfg(test)]
mod tests {
    use {super::*, futures::FutureExt, iroh::SecretKey};

    fn peer(n: u8) -> PeerId {
        SecretKey::from_bytes(&[n; 32]).public()
    }

    const MIB: usize = 1 << 20;

    #[test]
    fn one_peer_fills_its_share_and_no_more() {
        let buffer = Buffer::new(MIB);
        let held: Vec<_> = core::iter::from_fn(|| buffer.take(peer(1), MIB)).collect();
        assert_eq!(held.len(), 7);
        let room = buffer.take(peer(2), MIB);
        assert!(room.is_some());
        drop(held);
        assert!(buffer.take(peer(1), MIB).is_some());
        drop(room);
        assert!(buffer.0.taken.lock().is_empty());
    }

    #[test]
    fn room_grows_with_what_has_come_and_within_the_share() {
        let buffer = Buffer::new(MIB);
        let mut rooms: Vec<_> = (0..64).filter_map(|_| buffer.take(peer(1), 0)).collect();
        assert_eq!(rooms.len(), 64);
        let grown = rooms
            .iter_mut()
            .filter_map(|room| room.grow_to(MIB).then_some(()));
        assert_eq!(grown.count(), 7);
        assert!(
            buffer
                .take(peer(2), MIB)
                .is_some_and(|mut room| room.grow_to(7 * MIB))
        );
        drop(rooms);
        assert!(buffer.0.taken.lock().is_empty());
    }

    #[test]
    fn the_longest_message_fits_whatever_the_limits_are() {
        let buffer = Buffer::new(100 * MIB);
        assert!(buffer.take(peer(1), 100 * MIB).is_some());
    }

    #[test]
    fn it_is_emptied_when_the_last_room_is_given_back() {
        let buffer = Buffer::new(MIB);
        let mut room = buffer.take(peer(1), 10).unwrap();
        assert!(room.grow_to(MIB));
        assert!(buffer.emptied().now_or_never().is_none());
        drop(room);
        assert!(buffer.emptied().now_or_never().is_some());
    }
}
