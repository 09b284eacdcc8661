//! [`DiskStore`]: a handle on the store of a directory.

use {
    super::{
        database::{Database, guard},
        lock::{DirectoryLock, FILE, OpenError, open_file},
        medium::Medium,
        queue::{Mailbox, Pending, Queue, Reply, Slot, lock},
        read,
        shared::Shared,
        writer::Writer,
    },
    bytes::Bytes,
    core::{ops::RangeInclusive, task::Waker},
    mosaik_protocol::store::{
        Completion, Entry, GroupId, GroupState, LogStore, StoreError, StoreLimits, SubmitError,
        Token, WriteBatch,
    },
    std::{
        io,
        path::Path,
        sync::{Arc, Mutex},
        thread::{self, JoinHandle},
    },
};

/// How a disk store is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskOptions {
    /// Bounds of what is queued.
    pub limits: StoreLimits,
    /// Pages of the file kept in memory, bytes. 64 MiB.
    pub cache_bytes: usize,
}

impl DiskOptions {
    /// The defaults, as listed at each field.
    pub const DEFAULT: Self = Self {
        limits: StoreLimits::DEFAULT,
        cache_bytes: 64 << 20,
    };
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A durable store: all groups in one file of a directory that nobody else may open meanwhile.
///
/// Clones are handles on the same store, each with its own tokens and completions. When the
/// last one is dropped, what was submitted is written, then the file is closed.
///
/// A failed fsync stops the store: every group gets [`StoreError::Io`] once and
/// [`StoreError::Stopped`] from then on, and the file is not touched again. A full disk fails the
/// batches that it hits with [`StoreError::NoSpace`]; later ones are tried.
///
/// The last commit before a crash that left it incomplete is taken back when the store is
/// opened. Damage anywhere else is an error that names the place. Not promised: telling damage of
/// the very last commit from a commit that the crash cut short.
#[derive(Debug)]
pub struct DiskStore {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    next_token: u64,
    /// Ends the writer with the last handle.
    thread: Arc<Thread>,
}

#[derive(Debug)]
struct Thread {
    shared: Arc<Shared>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(handle) = lock(&self.handle).take() {
            // A writer that panicked has nobody left to tell.
            let _ = handle.join();
        }
    }
}

impl Clone for DiskStore {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            mailbox: Arc::default(),
            next_token: 0,
            thread: Arc::clone(&self.thread),
        }
    }
}

impl DiskStore {
    /// Opens the store of a directory, both created when missing.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(directory, DiskOptions::DEFAULT)
    }

    /// [`Self::open`] with other options.
    pub fn open_with(directory: impl AsRef<Path>, options: DiskOptions) -> Result<Self, OpenError> {
        let directory = directory.as_ref();
        let directory_lock = DirectoryLock::take(directory)?;
        let file = directory.join(FILE).display().to_string();
        let medium = open_file(directory, |medium| {
            let medium: Arc<dyn Medium> = Arc::new(medium);
            Ok(Database::initialize(&medium, &file, options.cache_bytes)?)
        })?;
        Self::start(Arc::new(medium), &file, options, Some(directory_lock))
    }

    /// Opens the store in a file of any kind, which is made a store when it is empty. `name`
    /// stands for it in errors. Keeping others away from the medium is up to the caller.
    pub fn open_medium(
        medium: Arc<dyn Medium>,
        name: &str,
        options: DiskOptions,
    ) -> Result<Self, OpenError> {
        // An unreadable length shows again, with its error, when the file is opened.
        if medium.is_empty().unwrap_or(false) {
            Database::initialize(&medium, name, options.cache_bytes)?;
        }
        Self::start(medium, name, options, None)
    }

    fn start(
        medium: Arc<dyn Medium>,
        file: &str,
        options: DiskOptions,
        directory_lock: Option<DirectoryLock>,
    ) -> Result<Self, OpenError> {
        let (database, node) = Database::open(&medium, file, options.cache_bytes)?;
        let queue = Queue::new(options.limits);
        let shared = Shared::new(database, medium, options.cache_bytes, queue, directory_lock);
        let shared = Arc::new(shared);
        let writer = Writer::new(Arc::clone(&shared), node);
        let builder = thread::Builder::new().name("mosaik-storage".to_owned());
        let handle = builder
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Io {
                file: file.to_owned(),
                operation: "start of the writer thread",
                kind: error.kind(),
                detail: error.to_string(),
            })?;
        let handle = Mutex::new(Some(handle));
        let thread = Arc::new(Thread {
            shared: Arc::clone(&shared),
            handle,
        });
        Ok(Self {
            shared,
            mailbox: Arc::default(),
            next_token: 0,
            thread,
        })
    }

    fn check_size(&self, batch: &WriteBatch) -> Result<usize, StoreError> {
        let (bytes, limit) = (batch.size_bytes(), self.shared.queue.limits().batch_bytes);
        if bytes > limit {
            Err(StoreError::TooLarge { bytes, limit })
        } else {
            Ok(bytes)
        }
    }

    /// Runs a read that concerns `group`, which stops when it is damaged.
    fn read<T>(
        &self,
        group: GroupId,
        run: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(stopped) = self.shared.stopped(group) {
            return Err(stopped);
        }
        let database = self.shared.database()?;
        guard(&self.shared.file, || run(&database)).inspect_err(|error| match error {
            StoreError::Corrupt { .. } => self.shared.stop_group(group, error),
            StoreError::Io { kind, .. } if *kind != io::ErrorKind::Interrupted => {
                self.shared.stop(error);
            }
            _ => {}
        })
    }
}

impl LogStore for DiskStore {
    fn is_durable(&self) -> bool {
        true
    }

    fn groups(&mut self) -> Result<Vec<GroupId>, StoreError> {
        let database = self.shared.database()?;
        guard(&self.shared.file, || read::groups(&database))
    }

    fn submit(&mut self, batch: WriteBatch) -> Result<Token, SubmitError> {
        let bytes = match self.check_size(&batch) {
            Ok(bytes) => bytes,
            Err(reason) => {
                return Err(SubmitError::Refused {
                    batch: Box::new(batch),
                    reason,
                });
            }
        };
        if !self
            .mailbox
            .reserve(self.shared.queue.limits().queued_batches)
        {
            return Err(SubmitError::Full(Box::new(batch)));
        }
        let token = Token(self.next_token);
        let reply = Reply::Later {
            handle: Arc::clone(&self.mailbox),
            token,
        };
        if let Err(pending) = self.shared.queue.try_push(Pending {
            batch,
            bytes,
            reply,
        }) {
            self.mailbox.release();
            return Err(SubmitError::Full(Box::new(pending.batch)));
        }
        self.next_token += 1;
        Ok(token)
    }

    fn completed(&mut self, out: &mut Vec<Completion>) {
        self.mailbox.take(out);
    }

    fn wake_on_completion(&mut self, waker: &Waker) {
        self.mailbox.set_waker(waker);
    }

    fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        let bytes = self.check_size(&batch)?;
        let slot = Arc::new(Slot::default());
        let reply = Reply::Waiting(Arc::clone(&slot));
        self.shared.queue.push(Pending {
            batch,
            bytes,
            reply,
        });
        slot.wait()
    }

    fn load(&mut self, group: GroupId) -> Result<Option<GroupState>, StoreError> {
        let verify = !self.shared.is_verified(group);
        let record = self.read(group, |database| read::load(database, group, verify))?;
        self.shared.set_verified(group);
        Ok(record.map(|record| record.state))
    }

    fn entries(
        &mut self,
        group: GroupId,
        range: RangeInclusive<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.read(group, |database| {
            read::entries(database, group, &range, max_bytes)
        })
    }

    fn chunk(&mut self, group: GroupId, number: u32) -> Result<Option<Bytes>, StoreError> {
        self.read(group, |database| read::chunk(database, group, number))
    }
}
