//! What the handles of a store and its writer share.

use {
    super::{
        OpenError,
        database::Database,
        lock::DirectoryLock,
        medium::Medium,
        pipeline::Pipeline,
        queue::{Queue, lock},
        record::NodeRecord,
    },
    mosaik_protocol::store::{GroupId, StoreError},
    std::{
        collections::{BTreeMap, BTreeSet},
        sync::{Arc, Mutex},
    },
};

#[derive(Debug)]
pub(super) struct Shared {
    /// `None` between a full disk and the attempt that opens the file again, and after the end.
    database: Mutex<Option<Arc<Database>>>,
    status: Mutex<Status>,
    pub(super) queue: Queue,
    pub(super) pipeline: Pipeline,
    pub(super) file: String,
    medium: Arc<dyn Medium>,
    cache_bytes: usize,
    /// Last, so that it is given back when the file is closed.
    _lock: Option<DirectoryLock>,
}

#[derive(Debug, Default)]
struct Status {
    store: Option<StoreError>,
    groups: BTreeMap<GroupId, StoreError>,
    verified: BTreeSet<GroupId>,
}

impl Shared {
    pub(super) fn new(
        database: Database,
        medium: Arc<dyn Medium>,
        cache_bytes: usize,
        queue: Queue,
        pipeline: Pipeline,
        directory_lock: Option<DirectoryLock>,
    ) -> Self {
        Self {
            file: database.file().to_owned(),
            database: Mutex::new(Some(Arc::new(database))),
            status: Mutex::default(),
            queue,
            pipeline,
            medium,
            cache_bytes,
            _lock: directory_lock,
        }
    }

    /// The open file, for a read or a commit.
    pub(super) fn database(&self) -> Result<Arc<Database>, StoreError> {
        if let Some(error) = &lock(&self.status).store {
            return Err(error.clone());
        }
        let database = lock(&self.database).clone();
        database.ok_or_else(|| StoreError::NoSpace {
            file: self.file.clone(),
        })
    }

    /// Closes the file and opens it again, which takes back what was not committed. Only after
    /// writes that failed before any fsync.
    pub(super) fn reopen(&self) -> Result<NodeRecord, StoreError> {
        *lock(&self.database) = None;
        match Database::open(&self.medium, &self.file, self.cache_bytes) {
            Ok((database, node, _)) => {
                *lock(&self.database) = Some(Arc::new(database));
                Ok(node)
            }
            Err(OpenError::Store(error)) => Err(error),
            Err(other) => Err(super::database::corrupt(
                &self.file,
                "header",
                other.to_string(),
            )),
        }
    }

    /// Ends the store after `error`: nothing touches the file again.
    pub(super) fn stop(&self, error: &StoreError) {
        let mut status = lock(&self.status);
        status.store.get_or_insert_with(|| error.stopped());
        if let Some(database) = lock(&self.database).take() {
            database.seal();
        }
    }

    pub(super) fn stop_group(&self, group: GroupId, error: &StoreError) {
        lock(&self.status)
            .groups
            .entry(group)
            .or_insert_with(|| error.stopped());
    }

    /// The error that everything of this group gets, if it stopped.
    pub(super) fn stopped(&self, group: GroupId) -> Option<StoreError> {
        let status = lock(&self.status);
        status
            .store
            .as_ref()
            .or_else(|| status.groups.get(&group))
            .cloned()
    }

    pub(super) fn is_verified(&self, group: GroupId) -> bool {
        lock(&self.status).verified.contains(&group)
    }

    pub(super) fn set_verified(&self, group: GroupId) {
        lock(&self.status).verified.insert(group);
    }
}
