//! Reading: every record is checked against its checksum before it is believed.

use {
    super::{
        database::{Database, Reader, group_record},
        record::{self, GroupRecord, Space},
    },
    bytes::Bytes,
    mosaik_protocol::store::{Entry, GroupId, Invalid, Position, StoreError},
    std::ops::RangeInclusive,
};

pub(super) fn groups(database: &Database) -> Result<Vec<GroupId>, StoreError> {
    let reader = database.read()?;
    let rows = reader
        .meta
        .range(record::GROUP_KEYS)
        .map_err(|error| database.error(error.into()))?;
    let mut groups = Vec::new();
    for row in rows {
        let (key, _) = row.map_err(|error| database.error(error.into()))?;
        let group = record::group_of_key(key.value());
        groups.push(group.ok_or_else(|| {
            database.corrupt("table meta", "a group's key does not have its length")
        })?);
    }
    Ok(groups)
}

/// The record of a group, after a check of all that it names when `verify` says so.
pub(super) fn load(
    database: &Database,
    group: GroupId,
    verify: bool,
) -> Result<Option<GroupRecord>, StoreError> {
    let reader = database.read()?;
    let Some(record) = group_record(database, &reader.meta, group)? else {
        return Ok(None);
    };
    if verify {
        let scan = Scan {
            database,
            reader: &reader,
            group,
        };
        scan.log(&record)?;
        let installed = record
            .state
            .snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.chunks);
        scan.chunks(record.chunks, installed)?;
        scan.chunks(record.staging, record.state.staged)?;
    }
    Ok(Some(record))
}

/// What is read of one group within one view of the file.
struct Scan<'r> {
    database: &'r Database,
    reader: &'r Reader,
    group: GroupId,
}

impl Scan<'_> {
    fn damaged(&self, space: Space, number: u64, what: &str) -> StoreError {
        self.database
            .corrupt_record(self.group, (space.0, number), what)
    }

    /// Calls `each` with every entry from `first` on, which must follow each other without a gap,
    /// until it returns false.
    fn entries(
        &self,
        log: Space,
        range: RangeInclusive<u64>,
        mut each: impl FnMut(Position, &[u8]) -> bool,
    ) -> Result<u64, StoreError> {
        let mut next = *range.start();
        let keys = (log.0, next)..=(log.0, *range.end());
        let rows = self.reader.records.range(keys);
        for row in rows.map_err(|error| self.database.error(error.into()))? {
            let (key, value) = row.map_err(|error| self.database.error(error.into()))?;
            let key = key.value();
            if key != (log.0, next) {
                return Err(self.damaged(log, next, "the entry is missing"));
            }
            let (term, payload) = record::decode_entry(key, value.value())
                .map_err(|what| self.damaged(log, next, what))?;
            if !each(Position { index: next, term }, payload) {
                break;
            }
            next += 1;
        }
        Ok(next)
    }

    fn log(&self, record: &GroupRecord) -> Result<(), StoreError> {
        let state = &record.state;
        let mut last = state.base;
        let mut terms_decrease = false;
        let range = state.base.index + 1..=u64::MAX;
        self.entries(record.log, range, |position, _| {
            terms_decrease |= position.term < last.term;
            last = position;
            !terms_decrease
        })?;
        if terms_decrease {
            return Err(self.damaged(record.log, last.index, "the term is below the one before"));
        }
        if last.index < state.last.index {
            return Err(self.damaged(record.log, last.index + 1, "the entry is missing"));
        }
        if last != state.last {
            return Err(self.damaged(record.log, last.index, "not where the log ends"));
        }
        Ok(())
    }

    fn chunks(&self, space: Space, count: u32) -> Result<(), StoreError> {
        for number in 0..count {
            if self.chunk(space, number)?.is_none() {
                return Err(self.damaged(space, number.into(), "the chunk is missing"));
            }
        }
        Ok(())
    }

    fn chunk(&self, space: Space, number: u32) -> Result<Option<Bytes>, StoreError> {
        let key = (space.0, u64::from(number));
        let value = self.reader.records.get(key);
        let Some(value) = value.map_err(|error| self.database.error(error.into()))? else {
            return Ok(None);
        };
        let data = record::decode_chunk(key, value.value());
        let data = data.map_err(|what| self.damaged(space, key.1, what))?;
        Ok(Some(Bytes::copy_from_slice(data)))
    }
}

/// The record of a group as the tables have it.
pub(super) fn record(
    database: &Database,
    group: GroupId,
) -> Result<Option<GroupRecord>, StoreError> {
    group_record(database, &database.read()?.meta, group)
}

/// The term of an entry that the tables hold.
pub(super) fn term_at(database: &Database, group: GroupId, index: u64) -> Result<u64, StoreError> {
    let reader = database.read()?;
    let record = known(database, &reader, group)?;
    let key = (record.log.0, index);
    let damaged = |what| database.corrupt_record(group, key, what);
    let value = reader
        .records
        .get(key)
        .map_err(|error| database.error(error.into()))?;
    let value = value.ok_or_else(|| damaged("the entry is missing"))?;
    record::decode_entry(key, value.value())
        .map(|(term, _)| term)
        .map_err(damaged)
}

fn known(database: &Database, reader: &Reader, group: GroupId) -> Result<GroupRecord, StoreError> {
    let record = group_record(database, &reader.meta, group)?;
    record.ok_or(StoreError::Invalid {
        group,
        reason: Invalid::UnknownGroup,
    })
}

pub(super) fn entries(
    database: &Database,
    group: GroupId,
    range: &RangeInclusive<u64>,
    max_bytes: usize,
) -> Result<Vec<Entry>, StoreError> {
    let reader = database.read()?;
    let record = known(database, &reader, group)?;
    let first = (*range.start()).max(record.state.base.index + 1);
    let last = (*range.end()).min(record.state.last.index);
    let mut entries = Vec::new();
    if first > last {
        return Ok(entries);
    }
    let scan = Scan {
        database,
        reader: &reader,
        group,
    };
    let (mut bytes, mut cut) = (0, false);
    let next = scan.entries(
        record.log,
        first..=last,
        |Position { index, term }, payload| {
            bytes += payload.len();
            cut = bytes > max_bytes && !entries.is_empty();
            if !cut {
                entries.push(Entry {
                    index,
                    term,
                    payload: Bytes::copy_from_slice(payload),
                });
            }
            !cut
        },
    )?;
    if !cut && next <= last {
        return Err(scan.damaged(record.log, next, "the entry is missing"));
    }
    Ok(entries)
}

pub(super) fn chunk(
    database: &Database,
    group: GroupId,
    number: u32,
) -> Result<Option<Bytes>, StoreError> {
    let reader = database.read()?;
    let record = known(database, &reader, group)?;
    let chunks = record
        .state
        .snapshot
        .as_ref()
        .map_or(0, |snapshot| snapshot.chunks);
    if number >= chunks {
        return Ok(None);
    }
    let scan = Scan {
        database,
        reader: &reader,
        group,
    };
    let data = scan.chunk(record.chunks, number)?;
    let missing = || scan.damaged(record.chunks, number.into(), "the chunk is missing");
    data.map_or_else(|| Err(missing()), |data| Ok(Some(data)))
}
