//! What is known of each peer, and the rules by which two pieces of news become one.
//!
//! Three sets of disjoint keys: entries that are up (the visible catalog), entries of peers that
//! are down (kept until the purge, so that a returning peer needs no transfer), and farewells of
//! peers that left. Within its bounds the outcome does not depend on the order of the news.
//! Signatures are checked by the caller.

use {
    super::{
        fingerprint::{ItemHash, Sum},
        io::{Config, Refusal},
        message::{Carried, CompactAnnouncement, Dated, Item, KeyPrefix},
        types::{Announcement, Farewell, NodeKey, Record, Signature, Version},
    },
    core::time::Duration,
    mosaik_primitives::{Digest, time::UnixMillis},
    std::{
        collections::{BTreeMap, BTreeSet},
        ops::Bound,
    },
};

/// The newest announcement known of a peer. Without a signature it is the entry's own date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) issued: UnixMillis,
    pub(super) incarnation: u64,
    pub(super) signature: Option<Signature>,
}

impl Latest {
    pub(super) const fn of_entry(issued: UnixMillis) -> Self {
        Self {
            issued,
            incarnation: 0,
            signature: None,
        }
    }

    pub(super) const fn of(announcement: &Announcement) -> Self {
        Self {
            issued: announcement.issued,
            incarnation: announcement.incarnation,
            signature: Some(announcement.signature),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) record: Record,
    pub(super) latest: Latest,
    hash: ItemHash,
    /// When it went down, by this node's clock.
    down_at: UnixMillis,
}

impl Slot {
    fn rank(&self) -> (Version, Digest) {
        (self.record.version, self.record.digest)
    }

    pub(super) fn item(&self) -> Item {
        Item {
            peer: self.record.peer,
            version: self.record.version,
            digest: self.record.digest,
            issued: self.latest.issued,
        }
    }

    /// The newest announcement, if it was more than the entry itself.
    pub(super) fn announcement(&self) -> Option<Announcement> {
        self.latest.signature.map(|signature| Announcement {
            peer: self.record.peer,
            version: self.record.version,
            digest: self.record.digest,
            issued: self.latest.issued,
            incarnation: self.latest.incarnation,
            signature,
        })
    }

    fn dated(&self) -> Option<Dated> {
        let Latest {
            issued,
            incarnation,
            signature,
        } = self.latest;
        signature.map(|signature| Dated {
            issued,
            incarnation,
            signature,
        })
    }

    pub(super) fn carried(&self) -> Carried {
        Carried {
            entry: self.record.bytes.clone(),
            latest: self.dated(),
        }
    }

    pub(super) fn prefix(&self) -> KeyPrefix {
        *self
            .record
            .peer
            .0
            .first_chunk()
            .expect("a key has 32 bytes")
    }

    pub(super) fn compact(&self) -> Option<CompactAnnouncement> {
        let Dated {
            issued,
            incarnation,
            signature,
        } = self.dated()?;
        Some(CompactAnnouncement {
            prefix: self.prefix(),
            issued,
            incarnation,
            signature,
        })
    }
}

/// What became of an entry or an announcement that was news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// The peer is in the visible catalog and was not.
    Discovered,
    /// The peer's entry was replaced.
    Updated,
    /// Only the time of the newest announcement changed.
    Refreshed,
}

/// What an announcement is to the store, before its signature is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// About the entry that is here.
    Known,
    /// About an entry that is not here.
    Missing,
}

#[derive(Debug)]
pub(super) struct Store {
    me: NodeKey,
    max_entries: usize,
    max_bytes: usize,
    max_entry_bytes: usize,
    max_tombstones: usize,
    purge_after: Duration,
    max_time_drift: Duration,
    up: BTreeMap<NodeKey, Slot>,
    down: BTreeMap<NodeKey, Slot>,
    farewells: BTreeMap<NodeKey, Farewell>,
    /// Every slot and every farewell, by the date of the newest announcement.
    by_age: BTreeSet<(UnixMillis, NodeKey)>,
    farewells_by_age: BTreeSet<(UnixMillis, NodeKey)>,
    sum: Sum,
    bytes: usize,
    pub(super) tombstones_dropped: u64,
    pub(super) evicted: u64,
}

const fn later(time: UnixMillis, by: Duration) -> UnixMillis {
    UnixMillis(time.0.saturating_add(by.as_millis() as u64))
}

impl Store {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            me: config.me,
            max_entries: config.limits.catalog_entries,
            max_bytes: config.limits.catalog_bytes,
            max_entry_bytes: config.limits.entry_bytes,
            max_tombstones: config.tombstones,
            purge_after: config.purge_after,
            max_time_drift: config.max_time_drift,
            up: BTreeMap::new(),
            down: BTreeMap::new(),
            farewells: BTreeMap::new(),
            by_age: BTreeSet::new(),
            farewells_by_age: BTreeSet::new(),
            sum: Sum::default(),
            bytes: 0,
            tombstones_dropped: 0,
            evicted: 0,
        }
    }

    pub(super) const fn up(&self) -> &BTreeMap<NodeKey, Slot> {
        &self.up
    }

    pub(super) const fn down(&self) -> &BTreeMap<NodeKey, Slot> {
        &self.down
    }

    pub(super) fn farewell_of(&self, peer: &NodeKey) -> Option<&Farewell> {
        self.farewells.get(peer)
    }

    pub(super) const fn sum(&self) -> &Sum {
        &self.sum
    }

    /// The visible entries with `first <= key < end`.
    pub(super) fn range(
        &self,
        first: NodeKey,
        end: Option<NodeKey>,
    ) -> impl Iterator<Item = &Slot> {
        // An empty or reversed range of a hostile peer must not reach `BTreeMap::range`.
        let end = end.map_or(Bound::Unbounded, |end| Bound::Excluded(end.max(first)));
        let first = match end {
            Bound::Excluded(end) if end == first => Bound::Excluded(first),
            _ => Bound::Included(first),
        };
        let empty = matches!((first, end), (Bound::Excluded(a), Bound::Excluded(b)) if a == b);
        let bounds = if empty { None } else { Some((first, end)) };
        bounds
            .into_iter()
            .flat_map(|bounds| self.up.range(bounds))
            .map(|(_, slot)| slot)
    }

    pub(super) fn range_sum(&self, first: NodeKey, end: Option<NodeKey>) -> Sum {
        let mut sum = Sum::default();
        for slot in self.range(first, end) {
            sum.add(&slot.hash);
        }
        sum
    }

    /// The visible entries whose keys begin with `prefix`.
    pub(super) fn with_prefix(&self, prefix: KeyPrefix) -> impl Iterator<Item = &Slot> {
        let mut first = [0; 32];
        first[..4].copy_from_slice(&prefix);
        let mut last = [0xff; 32];
        last[..4].copy_from_slice(&prefix);
        self.up
            .range(NodeKey(first)..=NodeKey(last))
            .map(|(_, slot)| slot)
    }

    /// Whether something dated `issued` is not too far ahead at `wall`.
    pub(super) fn check_future(&self, wall: UnixMillis, issued: UnixMillis) -> Result<(), Refusal> {
        if issued > later(wall, self.max_time_drift) {
            return Err(Refusal::FutureDated);
        }
        Ok(())
    }

    /// Whether something dated `issued` may be merged at `wall`.
    pub(super) fn check_time(&self, wall: UnixMillis, issued: UnixMillis) -> Result<(), Refusal> {
        self.check_future(wall, issued)?;
        if later(issued, self.purge_after) < wall {
            return Err(Refusal::Stale);
        }
        Ok(())
    }

    fn check_departed(&self, peer: &NodeKey, version: Version) -> Result<(), Refusal> {
        match self.farewells.get(peer) {
            Some(farewell) if farewell.version >= version => Err(Refusal::Departed),
            _ => Ok(()),
        }
    }

    /// Whether an entry of this name would be merged as news, as far as its name tells.
    pub(super) fn lacks(&self, wall: UnixMillis, item: &Item) -> bool {
        if self.check_time(wall, item.issued).is_err()
            || self.check_departed(&item.peer, item.version).is_err()
        {
            return false;
        }
        let rank = (item.version, item.digest);
        match (self.up.get(&item.peer), self.down.get(&item.peer)) {
            (Some(slot), _) | (_, Some(slot)) => rank > slot.rank(),
            _ => true,
        }
    }

    /// Merges an entry whose newest known announcement is `latest`.
    pub(super) fn admit(
        &mut self,
        wall: UnixMillis,
        record: Record,
        latest: Latest,
    ) -> Result<Merged, Refusal> {
        assert!(
            latest.issued >= record.issued,
            "the latest announcement is at least the entry"
        );
        if record.bytes.len() > self.max_entry_bytes {
            return Err(Refusal::EntryTooLarge);
        }
        self.check_time(wall, latest.issued)?;
        self.check_departed(&record.peer, record.version)?;
        let peer = record.peer;
        let known = self.up.get(&peer).or_else(|| self.down.get(&peer));
        if let Some(slot) = known {
            let rank = (record.version, record.digest);
            if rank < slot.rank() {
                return Err(Refusal::Superseded);
            }
            if rank == slot.rank() {
                return self.refresh(&peer, latest);
            }
        }
        self.make_room(&peer, record.bytes.len())?;
        let was_up = self.up.contains_key(&peer);
        self.take(&peer);
        if let Some(farewell) = self.farewells.remove(&peer) {
            self.farewells_by_age.remove(&(farewell.issued, peer));
        }
        let hash = ItemHash::new(&peer, record.version, &record.digest);
        self.put_up(Slot {
            record,
            latest,
            hash,
            down_at: UnixMillis(0),
        });
        Ok(if was_up {
            Merged::Updated
        } else {
            Merged::Discovered
        })
    }

    /// What an announcement would be, if its signature holds.
    pub(super) fn classify(
        &self,
        wall: UnixMillis,
        announcement: &Announcement,
    ) -> Result<News, Refusal> {
        self.check_time(wall, announcement.issued)?;
        self.check_departed(&announcement.peer, announcement.version)?;
        let peer = &announcement.peer;
        let Some(slot) = self.up.get(peer).or_else(|| self.down.get(peer)) else {
            return Ok(News::Missing);
        };
        let rank = (announcement.version, announcement.digest);
        if rank > slot.rank() {
            return Ok(News::Missing);
        }
        if rank < slot.rank() || announcement.issued <= slot.latest.issued {
            return Err(Refusal::Superseded);
        }
        Ok(News::Known)
    }

    /// Merges the time of an announcement about the entry that is here.
    pub(super) fn refresh(&mut self, peer: &NodeKey, latest: Latest) -> Result<Merged, Refusal> {
        let slot = self.up.get_mut(peer).or_else(|| self.down.get_mut(peer));
        let slot = slot.ok_or(Refusal::Superseded)?;
        if latest.issued <= slot.latest.issued {
            return Err(Refusal::Superseded);
        }
        self.by_age.remove(&(slot.latest.issued, *peer));
        // What a peer said before it went down may still be on its way and proves nothing.
        let speaks = latest.incarnation > slot.latest.incarnation || latest.issued > slot.down_at;
        slot.latest = latest;
        self.by_age.insert((latest.issued, *peer));
        let returning = if speaks { self.down.remove(peer) } else { None };
        match returning {
            Some(slot) => {
                self.sum.add(&slot.hash);
                self.up.insert(*peer, slot);
                Ok(Merged::Discovered)
            }
            None => Ok(Merged::Refreshed),
        }
    }

    /// Whether a farewell is news, before its signature is checked.
    pub(super) fn is_news(&self, wall: UnixMillis, farewell: &Farewell) -> Result<(), Refusal> {
        self.check_time(wall, farewell.issued)?;
        let newer_entry = |slot: &Slot| slot.record.version > farewell.version;
        let peer = &farewell.peer;
        if self
            .up
            .get(peer)
            .or_else(|| self.down.get(peer))
            .is_some_and(newer_entry)
        {
            return Err(Refusal::Superseded);
        }
        match self.farewells.get(peer) {
            Some(known) if (known.version, known.issued) >= (farewell.version, farewell.issued) => {
                Err(Refusal::Superseded)
            }
            _ => Ok(()),
        }
    }

    /// Merges a farewell that is news. The version that left the visible catalog, if one did.
    pub(super) fn depart(&mut self, farewell: Farewell) -> Option<Version> {
        let peer = farewell.peer;
        let version = self.up.get(&peer).map(|slot| slot.record.version);
        self.take(&peer);
        if let Some(older) = self.farewells.insert(peer, farewell) {
            self.farewells_by_age.remove(&(older.issued, peer));
        }
        self.farewells_by_age.insert((farewell.issued, peer));
        while self.farewells.len() > self.max_tombstones {
            let (_, oldest) = self
                .farewells_by_age
                .pop_first()
                .expect("every farewell has an age");
            self.farewells.remove(&oldest);
            self.tombstones_dropped += 1;
        }
        version
    }

    /// Takes an entry out of the visible catalog until its peer is heard of again.
    pub(super) fn set_down(&mut self, wall: UnixMillis, peer: &NodeKey) -> Option<Version> {
        let mut slot = self.up.remove(peer)?;
        slot.down_at = wall;
        self.sum.subtract(&slot.hash);
        let version = slot.record.version;
        self.down.insert(*peer, slot);
        Some(version)
    }

    /// Removes one entry whose last announcement is too old; what was visible is reported.
    pub(super) fn purge_one(&mut self, wall: UnixMillis) -> Option<(NodeKey, Option<Version>)> {
        while let Some((issued, peer)) = self.farewells_by_age.first().copied() {
            // Entries this old are refused for their age; the tombstone has nothing left to do.
            if later(later(issued, self.purge_after), self.max_time_drift) >= wall {
                break;
            }
            self.farewells_by_age.pop_first();
            self.farewells.remove(&peer);
        }
        let mut aged = self
            .by_age
            .iter()
            .take_while(|(issued, _)| self.is_purged(wall, *issued));
        let peer = aged.find(|(_, peer)| *peer != self.me)?.1;
        let visible = self.up.get(&peer).map(|slot| slot.record.version);
        self.take(&peer);
        Some((peer, visible))
    }

    fn is_purged(&self, wall: UnixMillis, issued: UnixMillis) -> bool {
        later(issued, self.purge_after) < wall
    }

    /// When [`Store::purge_one`] has something to remove next.
    pub(super) fn next_purge(&self) -> Option<UnixMillis> {
        let (issued, _) = self.by_age.iter().find(|(_, peer)| *peer != self.me)?;
        Some(later(
            later(*issued, self.purge_after),
            Duration::from_millis(1),
        ))
    }

    fn put_up(&mut self, slot: Slot) {
        self.bytes += slot.record.bytes.len();
        self.by_age.insert((slot.latest.issued, slot.record.peer));
        self.sum.add(&slot.hash);
        let replaced = self.up.insert(slot.record.peer, slot);
        assert!(replaced.is_none(), "a slot is taken before it is replaced");
    }

    fn take(&mut self, peer: &NodeKey) {
        let slot = match self.up.remove(peer) {
            Some(slot) => {
                self.sum.subtract(&slot.hash);
                slot
            }
            None => match self.down.remove(peer) {
                Some(slot) => slot,
                None => return,
            },
        };
        self.bytes -= slot.record.bytes.len();
        self.by_age.remove(&(slot.latest.issued, *peer));
    }

    /// Room for an entry of `peer` of `len` bytes, at the cost of peers that are down.
    fn make_room(&mut self, peer: &NodeKey, len: usize) -> Result<(), Refusal> {
        let replaced = self.up.get(peer).or_else(|| self.down.get(peer));
        let (old_entries, old_bytes) = replaced.map_or((0, 0), |slot| (1, slot.record.bytes.len()));
        loop {
            let entries = self.up.len() + self.down.len() - old_entries + 1;
            let bytes = self.bytes - old_bytes + len;
            if entries <= self.max_entries && bytes <= self.max_bytes {
                return Ok(());
            }
            let oldest = self
                .down
                .iter()
                .filter(|(key, _)| *key != peer)
                .min_by_key(|(_, slot)| slot.latest.issued)
                .map(|(key, _)| *key)
                .ok_or(Refusal::CatalogFull)?;
            self.take(&oldest);
            self.evicted += 1;
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
