//! [`Database`]: the redb file, its two tables, and its errors made ours.

use {
    super::{
        OpenError,
        medium::{Medium, Watched},
        read,
        record::{self, FORMAT, NODE_KEY, NodeRecord, RecordKey},
    },
    mosaik_protocol::store::{GroupId, StoreError},
    redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition},
    std::{
        any::Any,
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
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
    /// `None` only while it is dropped.
    db: Option<redb::Database>,
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
    /// Opens the file in `medium`, which must hold a store, and reads what it says of itself and
    /// which groups were verified on the way.
    /// A commit that was cut short by a crash is taken back here.
    pub(super) fn open(
        medium: &Arc<dyn Medium>,
        file: &str,
        cache_bytes: usize,
    ) -> Result<(Self, NodeRecord, Vec<GroupId>), OpenError> {
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
            let (mut database, was_closed) = Self::attach(medium, file, cache_bytes)?;
            let mut verified = Vec::new();
            if was_closed {
                verified = database.verify().inspect_err(|_| database.seal())?;
            }
            let node = database.node().inspect_err(|_| database.seal())?;
            Ok((database, node, verified))
        })
    }

    /// Makes the empty file in `medium` a store.
    pub(super) fn initialize(
        medium: &Arc<dyn Medium>,
        file: &str,
        cache_bytes: usize,
        node: NodeRecord,
    ) -> Result<(), StoreError> {
        guard(file, || {
            let (database, _) = Self::attach(medium, file, cache_bytes)?;
            let txn = database.begin_write(true)?;
            let ours = |error| database.error(error);
            {
                let mut meta = txn.open_table(META).map_err(|error| ours(error.into()))?;
                txn.open_table(RECORDS)
                    .map_err(|error| ours(error.into()))?;
                let mut buffer = Vec::new();
                let value = record::encode_node(node, &mut buffer);
                meta.insert(NODE_KEY, value)
                    .map_err(|error| ours(error.into()))?;
            }
            txn.commit().map_err(|error| ours(error.into()))
        })
    }

    /// The file, and whether it was closed well.
    fn attach(
        medium: &Arc<dyn Medium>,
        file: &str,
        cache_bytes: usize,
    ) -> Result<(Self, bool), StoreError> {
        let watched = Watched::new(Arc::clone(medium));
        let repaired = Arc::new(AtomicBool::new(false));
        let mut builder = redb::Database::builder();
        builder.set_cache_size(cache_bytes);
        let is_repaired = Arc::clone(&repaired);
        builder.set_repair_callback(move |_| is_repaired.store(true, Ordering::Relaxed));
        let db = builder.create_with_backend(watched.clone());
        let db = db.map_err(|error| watched.error(file, error.into()))?;
        let was_closed = !repaired.load(Ordering::Relaxed);
        Ok((
            Self {
                db: Some(db),
                watched,
                file: file.to_owned(),
            },
            was_closed,
        ))
    }

    /// Checks a file that was closed well, which redb opens unseen: our records, because they can
    /// name the place of damage, then every page, because damage of the free list would let
    /// later commits overwrite live pages. Should redb fall back to the commit before, the
    /// journal repeats what is missing or shows the gap.
    fn verify(&mut self) -> Result<Vec<GroupId>, StoreError> {
        let groups = read::groups(self)?;
        for &group in &groups {
            read::load(self, group, true)?;
        }
        let db = self.db.as_mut().expect("it is there until it is dropped");
        let checked = db.check_integrity();
        checked.map_err(|error| self.watched.error(&self.file, error.into()))?;
        Ok(groups)
    }

    fn db(&self) -> &redb::Database {
        self.db.as_ref().expect("it is there until it is dropped")
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

    /// A transaction that is durable with its commit, or with that of a later one that is.
    pub(super) fn begin_write(&self, durable: bool) -> Result<redb::WriteTransaction, StoreError> {
        let mut txn = self
            .db()
            .begin_write()
            .map_err(|error| self.error(error.into()))?;
        let durability = if durable {
            Durability::Immediate
        } else {
            Durability::None
        };
        let set = txn.set_durability(durability);
        set.map_err(|error| self.error(error.into()))?;
        Ok(txn)
    }

    /// A view of the last commit.
    pub(super) fn read(&self) -> Result<Reader, StoreError> {
        let txn = self
            .db()
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

impl Drop for Database {
    fn drop(&mut self) {
        let db = self.db.take();
        // Closing a file with a damaged free list panics. The file then counts as not closed,
        // and all of it is checked when it is opened next.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
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
