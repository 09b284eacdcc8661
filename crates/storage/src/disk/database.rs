//! [`Database`]: the redb file, its two tables, and its errors made ours.

use {
    super::{
        OpenError,
        medium::{Medium, Watched},
        record::{self, FORMAT, NODE_KEY, NodeRecord, RecordKey},
    },
    mosaik_protocol::store::{GroupId, StoreError},
    redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition},
    std::{
        any::Any,
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Arc,
    },
};

/// Node, groups and garbage, by key prefix: in one table, so that a commit touches few pages.
pub(super) const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
/// Entries and chunks.
pub(super) const RECORDS: TableDefinition<'_, RecordKey, &[u8]> = TableDefinition::new("records");

pub(super) type MetaTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;
pub(super) type RecordTable<'t> = redb::Table<'t, RecordKey, &'static [u8]>;

/// An open file.
#[derive(Debug)]
pub(super) struct Database {
    db: redb::Database,
    watched: Watched,
    file: String,
}

/// Makes a damaged tree an error, which redb partly answers with a panic.
pub(super) fn guard<T, E: From<StoreError>>(
    file: &str,
    run: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let what = format!("the tree's own checks failed: {}", panic_text(&*panic));
        Err(corrupt(file, "b-tree", what).into())
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

pub(super) fn corrupt(
    file: &str,
    position: impl Into<String>,
    what: impl Into<String>,
) -> StoreError {
    StoreError::Corrupt {
        file: file.to_owned(),
        position: position.into(),
        what: what.into(),
    }
}

impl Database {
    /// Opens the file in `medium`, which must hold a store, and reads what it says of itself.
    /// A commit that was cut short by a crash is taken back here.
    pub(super) fn open(
        medium: &Arc<dyn Medium>,
        file: &str,
        cache_bytes: usize,
    ) -> Result<(Self, NodeRecord), OpenError> {
        let len = medium.len().map_err(|error| StoreError::Io {
            file: file.to_owned(),
            operation: "read",
            kind: error.kind(),
            detail: error.to_string(),
        })?;
        if len == 0 {
            return Err(corrupt(file, "byte 0", "the file is empty").into());
        }
        guard(file, || {
            let database = Self::attach(medium, file, cache_bytes)?;
            let node = database.node().inspect_err(|_| database.seal())?;
            Ok((database, node))
        })
    }

    /// Makes the empty file in `medium` a store.
    pub(super) fn initialize(
        medium: &Arc<dyn Medium>,
        file: &str,
        cache_bytes: usize,
    ) -> Result<(), StoreError> {
        guard(file, || {
            let database = Self::attach(medium, file, cache_bytes)?;
            let txn = database.begin_write()?;
            let ours = |error| database.error(error);
            {
                let mut meta = txn.open_table(META).map_err(|error| ours(error.into()))?;
                txn.open_table(RECORDS)
                    .map_err(|error| ours(error.into()))?;
                let mut buffer = Vec::new();
                let value = record::encode_node(NodeRecord::default(), &mut buffer);
                meta.insert(NODE_KEY, value)
                    .map_err(|error| ours(error.into()))?;
            }
            txn.commit().map_err(|error| ours(error.into()))
        })
    }

    fn attach(
        medium: &Arc<dyn Medium>,
        file: &str,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        let watched = Watched::new(Arc::clone(medium));
        let mut builder = redb::Database::builder();
        builder.set_cache_size(cache_bytes);
        match builder.create_with_backend(watched.clone()) {
            Ok(db) => Ok(Self {
                db,
                watched,
                file: file.to_owned(),
            }),
            Err(error) => Err(watched.error(file, error.into())),
        }
    }

    fn node(&self) -> Result<NodeRecord, OpenError> {
        let reader = self.read()?;
        let value = reader
            .meta
            .get(NODE_KEY)
            .map_err(|error| self.error(error.into()))?;
        let position = "table meta, node record";
        let value = value.ok_or_else(|| self.corrupt(position, "the record is missing"))?;
        match record::decode_node(value.value()) {
            Ok((_, Some(node))) => Ok(node),
            Ok((found, None)) => Err(OpenError::UnknownFormat {
                file: self.file.clone(),
                found,
                newest: FORMAT,
            }),
            Err(what) => Err(self.corrupt(position, what).into()),
        }
    }

    /// Lets nothing be written any more, not even what redb writes when it closes a file.
    pub(super) fn seal(&self) {
        self.watched.seal();
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    pub(super) fn error(&self, error: redb::Error) -> StoreError {
        self.watched.error(&self.file, error)
    }

    pub(super) fn corrupt(
        &self,
        position: impl Into<String>,
        what: impl Into<String>,
    ) -> StoreError {
        corrupt(&self.file, position, what)
    }

    pub(super) fn corrupt_record(&self, group: GroupId, key: RecordKey, what: &str) -> StoreError {
        let (space, number) = key;
        self.corrupt(
            format!("table records, key ({space}, {number}), group {group}"),
            what,
        )
    }

    pub(super) fn begin_write(&self) -> Result<redb::WriteTransaction, StoreError> {
        let mut txn = self
            .db
            .begin_write()
            .map_err(|error| self.error(error.into()))?;
        let durable = txn.set_durability(Durability::Immediate);
        durable.map_err(|error| self.error(error.into()))?;
        Ok(txn)
    }

    /// A view of the last commit.
    pub(super) fn read(&self) -> Result<Reader, StoreError> {
        let txn = self
            .db
            .begin_read()
            .map_err(|error| self.error(error.into()))?;
        let meta = txn
            .open_table(META)
            .map_err(|error| self.table_error(error))?;
        let records = txn
            .open_table(RECORDS)
            .map_err(|error| self.table_error(error))?;
        Ok(Reader { meta, records })
    }

    fn table_error(&self, error: redb::TableError) -> StoreError {
        match error {
            redb::TableError::Storage(error) => self.error(error.into()),
            other => self.corrupt("table directory", other.to_string()),
        }
    }
}

/// The tables as of one commit.
pub(super) struct Reader {
    pub(super) meta: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(super) records: redb::ReadOnlyTable<RecordKey, &'static [u8]>,
}

/// The record of a group, from a reader's or a writer's table.
pub(super) fn group_record(
    database: &Database,
    meta: &impl ReadableTable<&'static [u8], &'static [u8]>,
    group: GroupId,
) -> Result<Option<record::GroupRecord>, StoreError> {
    let key = record::group_key(&group);
    let value = meta
        .get(key.as_slice())
        .map_err(|error| database.error(error.into()))?;
    let Some(value) = value else { return Ok(None) };
    let record = record::decode_group(&group, value.value());
    record
        .map(Some)
        .map_err(|what| database.corrupt(format!("table meta, group {group}"), what))
}
