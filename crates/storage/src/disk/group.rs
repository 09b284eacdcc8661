//! How a batch changes the tables: the part of a transaction that is about one group.

use {
    super::{
        database::{Database, META, MetaTable, RECORDS, RecordTable, group_record},
        record::{self, GARBAGE_KEYS, Garbage, GroupRecord, NODE_KEY, NodeRecord, Space},
        shared::Shared,
    },
    mosaik_protocol::store::{Chunk, Entry, GroupId, GroupState, StoreError, WriteBatch},
    redb::{ReadableTable, WriteTransaction},
    std::{collections::BTreeMap, ops::RangeInclusive},
};

/// The tables of a running transaction.
pub(super) struct Tables<'t> {
    database: &'t Database,
    meta: MetaTable<'t>,
    records: RecordTable<'t>,
    buffer: Vec<u8>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(
        database: &'t Database,
        txn: &'t WriteTransaction,
    ) -> Result<Self, StoreError> {
        let meta = txn
            .open_table(META)
            .map_err(|error| database.error(error.into()))?;
        let records = txn
            .open_table(RECORDS)
            .map_err(|error| database.error(error.into()))?;
        Ok(Self {
            database,
            meta,
            records,
            buffer: Vec::new(),
        })
    }

    fn error(&self) -> impl Fn(redb::StorageError) -> StoreError + use<'t> {
        let database = self.database;
        move |error| database.error(error.into())
    }

    fn term_at(&self, group: GroupId, log: Space, index: u64) -> Result<u64, StoreError> {
        let key = (log.0, index);
        let damaged = |what| self.database.corrupt_record(group, key, what);
        let value = self.records.get(key).map_err(self.error())?;
        let value = value.ok_or_else(|| damaged("the entry is missing"))?;
        record::decode_entry(key, value.value())
            .map(|(term, _)| term)
            .map_err(damaged)
    }

    fn put_entry(&mut self, log: Space, entry: &Entry) -> Result<(), StoreError> {
        let error = self.error();
        let value = record::encode_entry(log, entry, &mut self.buffer);
        self.records
            .insert((log.0, entry.index), value)
            .map_err(error)?;
        Ok(())
    }

    fn put_chunk(&mut self, space: Space, chunk: &Chunk) -> Result<(), StoreError> {
        let error = self.error();
        let key = (space.0, u64::from(chunk.number));
        let value = record::encode_chunk(key, &chunk.data, &mut self.buffer);
        self.records.insert(key, value).map_err(error)?;
        Ok(())
    }

    fn delete_entries(&mut self, log: Space, range: RangeInclusive<u64>) -> Result<(), StoreError> {
        let keys = (log.0, *range.start())..=(log.0, *range.end());
        self.records
            .retain_in(keys, |_, _| false)
            .map_err(self.error())
    }

    fn put_garbage(&mut self, garbage: Garbage) -> Result<(), StoreError> {
        let error = self.error();
        let value = record::encode_garbage(garbage, &mut self.buffer);
        let key = record::garbage_key(garbage.space);
        self.meta.insert(key.as_slice(), value).map_err(error)?;
        Ok(())
    }

    /// Deletes up to `budget` records that nobody uses. False when none are left.
    fn collect_garbage(&mut self, budget: usize) -> Result<bool, StoreError> {
        let error = self.error();
        let mut deleted = 0;
        while deleted < budget {
            let Some(Garbage { space, through }) = self.first_garbage()? else {
                return Ok(false);
            };
            let keys = (space.0, 0)..=(space.0, through);
            let extracted = self
                .records
                .extract_from_if(keys, |_, _| true)
                .map_err(&error)?;
            for record in extracted.take(budget - deleted) {
                record.map_err(&error)?;
                deleted += 1;
            }
            if deleted < budget {
                let key = record::garbage_key(space);
                self.meta.remove(key.as_slice()).map_err(&error)?;
                // Empty spaces count too, so that the work stays bounded.
                deleted += 1;
            }
        }
        Ok(true)
    }

    fn first_garbage(&self) -> Result<Option<Garbage>, StoreError> {
        let mut range = self.meta.range(GARBAGE_KEYS).map_err(self.error())?;
        let Some(row) = range.next() else {
            return Ok(None);
        };
        let (key, value) = row.map_err(self.error())?;
        let garbage = record::decode_garbage(key.value(), value.value());
        garbage
            .map(Some)
            .map_err(|what| self.database.corrupt("table meta, garbage record", what))
    }
}

/// What one transaction would make of the store.
pub(super) struct Attempt {
    pub(super) node: NodeRecord,
    /// Groups that change; `None` when removed.
    pub(super) groups: BTreeMap<GroupId, Option<GroupRecord>>,
    /// Groups that this transaction begins: nothing older can be damaged.
    pub(super) created: Vec<GroupId>,
    pub(super) has_garbage: bool,
}

impl Attempt {
    pub(super) fn new(node: NodeRecord, has_garbage: bool) -> Self {
        Self {
            node,
            groups: BTreeMap::new(),
            created: Vec::new(),
            has_garbage,
        }
    }

    fn new_space(&mut self) -> Space {
        let space = Space(self.node.next_space);
        self.node.next_space += 1;
        space
    }

    fn retire(&mut self, tables: &mut Tables<'_>, space: Space) -> Result<(), StoreError> {
        self.discard(
            tables,
            Garbage {
                space,
                through: u64::MAX,
            },
        )
    }

    fn discard(&mut self, tables: &mut Tables<'_>, garbage: Garbage) -> Result<(), StoreError> {
        self.has_garbage = true;
        tables.put_garbage(garbage)
    }

    /// Applies a journaled batch. A group that turns out damaged is stopped, and the others go on.
    pub(super) fn apply_checked(
        &mut self,
        tables: &mut Tables<'_>,
        cache: &BTreeMap<GroupId, GroupRecord>,
        batch: &WriteBatch,
        shared: &Shared,
    ) -> Result<(), StoreError> {
        match self.apply(tables, cache, batch)? {
            Ok(()) => Ok(()),
            Err(error @ StoreError::Corrupt { .. }) => {
                shared.stop_group(batch.group, &error);
                Ok(())
            }
            // What the journal took was valid: the tables are not what they were.
            Err(error) => Err(tables.database.corrupt("table meta", error.to_string())),
        }
    }

    /// Applies one batch. The inner error concerns its group alone; the outer one the file.
    fn apply(
        &mut self,
        tables: &mut Tables<'_>,
        cache: &BTreeMap<GroupId, GroupRecord>,
        batch: &WriteBatch,
    ) -> Result<Result<(), StoreError>, StoreError> {
        let group = batch.group;
        let before = match (self.groups.get(&group), cache.get(&group)) {
            (Some(changed), _) => Ok(changed.clone()),
            (None, Some(cached)) => Ok(Some(cached.clone())),
            (None, None) => group_record(tables.database, &tables.meta, group),
        };
        let change = before.and_then(|before| {
            let state = before.as_ref().map(|record| &record.state);
            let log = before
                .as_ref()
                .map_or(Space::default(), |record| record.log);
            let change =
                GroupState::after(state, batch, |index| tables.term_at(group, log, index))?;
            let change = change.map_err(|reason| StoreError::Invalid { group, reason })?;
            Ok((before, change))
        });
        let (before, change) = match change {
            Ok(change) => change,
            Err(StoreError::Io {
                file,
                operation,
                kind,
                detail,
            }) => {
                return Err(StoreError::Io {
                    file,
                    operation,
                    kind,
                    detail,
                });
            }
            Err(error) => return Ok(Err(error)),
        };
        let record = match change.state {
            None => {
                self.forget(tables, before.as_ref())?;
                None
            }
            Some(state) => {
                let mut record = self.surviving(tables, before, batch)?;
                self.apply_chunks(tables, &mut record, batch)?;
                self.apply_log(tables, &mut record, &state, &change.kept, batch)?;
                record.state = state;
                Some(record)
            }
        };
        self.groups.insert(group, record);
        Ok(Ok(()))
    }

    fn forget(
        &mut self,
        tables: &mut Tables<'_>,
        record: Option<&GroupRecord>,
    ) -> Result<(), StoreError> {
        let spaces = record.map(|record| [record.log, record.chunks, record.staging]);
        spaces
            .into_iter()
            .flatten()
            .try_for_each(|space| self.retire(tables, space))
    }

    /// The record that the batch builds on: the one before, or a new one.
    fn surviving(
        &mut self,
        tables: &mut Tables<'_>,
        before: Option<GroupRecord>,
        batch: &WriteBatch,
    ) -> Result<GroupRecord, StoreError> {
        let Some(incarnation) = batch.create else {
            return Ok(before.expect("a group that is not created exists"));
        };
        self.forget(tables, before.as_ref())?;
        self.created.push(batch.group);
        let [log, chunks, staging] = [self.new_space(), self.new_space(), self.new_space()];
        Ok(GroupRecord {
            state: GroupState::new(incarnation),
            log,
            chunks,
            staging,
        })
    }

    fn apply_chunks(
        &mut self,
        tables: &mut Tables<'_>,
        record: &mut GroupRecord,
        batch: &WriteBatch,
    ) -> Result<(), StoreError> {
        for chunk in &batch.stage {
            if chunk.number == 0 {
                self.retire(tables, record.staging)?;
                record.staging = self.new_space();
            }
            tables.put_chunk(record.staging, chunk)?;
        }
        if batch.install.is_some() {
            self.retire(tables, record.chunks)?;
            record.chunks = record.staging;
            record.staging = self.new_space();
        }
        Ok(())
    }

    fn apply_log(
        &mut self,
        tables: &mut Tables<'_>,
        record: &mut GroupRecord,
        state: &GroupState,
        kept: &RangeInclusive<u64>,
        batch: &WriteBatch,
    ) -> Result<(), StoreError> {
        let stored = record.state.base.index + 1..=record.state.last.index;
        if !stored.is_empty() && kept.is_empty() {
            self.retire(tables, record.log)?;
            record.log = self.new_space();
        } else if !stored.is_empty() {
            if kept.start() > stored.start() {
                let through = kept.start() - 1;
                self.discard(
                    tables,
                    Garbage {
                        space: record.log,
                        through,
                    },
                )?;
            }
            if kept.end() < stored.end() {
                tables.delete_entries(record.log, kept.end() + 1..=*stored.end())?;
            }
        }
        for entry in batch
            .append
            .iter()
            .filter(|entry| entry.index > state.base.index)
        {
            tables.put_entry(record.log, entry)?;
        }
        Ok(())
    }

    /// Writes what the batches changed about their groups, and cleans up behind older ones.
    pub(super) fn finish(
        &mut self,
        tables: &mut Tables<'_>,
        garbage: usize,
    ) -> Result<(), StoreError> {
        let error = tables.error();
        for (group, record) in &self.groups {
            let key = record::group_key(group);
            match record {
                Some(record) => {
                    let value = record::encode_group(group, record, &mut tables.buffer);
                    tables.meta.insert(key.as_slice(), value).map_err(&error)?;
                }
                None => drop(tables.meta.remove(key.as_slice()).map_err(&error)?),
            }
        }
        if self.has_garbage && garbage > 0 {
            self.has_garbage = tables.collect_garbage(garbage)?;
        }
        let value = record::encode_node(self.node, &mut tables.buffer);
        tables.meta.insert(NODE_KEY, value).map_err(&error)?;
        Ok(())
    }
}
