//! [`DiskStore`]: a handle on the store of a directory.

use {
    super::{
        applier::Applier,
        database::{Database, guard},
        frame::StoreId,
        journal::Journal,
        lock::{DirectoryLock, OpenError, open_files, set_aside},
        medium::{Media, SyncObserver},
        pipeline::Pipeline,
        queue::{Mailbox, Pending, Queue, Reply, Slot, lock},
        read,
        record::NodeRecord,
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
        fmt,
        hash::{BuildHasher, Hasher, RandomState},
        io,
        panic::{AssertUnwindSafe, catch_unwind},
        path::{Path, PathBuf},
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
    /// Pages of the tables kept in memory, bytes. 64 MiB.
    pub cache_bytes: usize,
    /// Size of each of the two journal files of a new store, bytes; a batch that is larger
    /// extends a file. What is journaled and not yet in the tables is read again at opening. 8 MiB.
    pub journal_bytes: u64,
}

impl DiskOptions {
    /// The defaults, as listed at each field.
    pub const DEFAULT: Self = Self {
        limits: StoreLimits::DEFAULT,
        cache_bytes: 64 << 20,
        journal_bytes: 8 << 20,
    };
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A durable store: all groups in one journal and one set of tables, in a directory that nobody else may open meanwhile.
///
/// Clones are handles on the same store, each with its own tokens and completions. When the
/// last one is dropped, what was submitted is written, then the file is closed.
///
/// A failed fsync stops the store: every group gets [`StoreError::Io`] once and
/// [`StoreError::Stopped`] from then on, and the file is not touched again. A full disk fails the
/// batches that it hits with [`StoreError::NoSpace`]; later ones are tried.
///
/// A last commit that a crash left incomplete is cut off when the store is opened. Damage anywhere else is an error that names the place. Not promised: telling damage of
/// the very last commit from a commit that the crash cut short.
pub struct DiskStore {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    next_token: u64,
    /// Ends the writer with the last handle.
    thread: Arc<Thread>,
}

/// Not what is queued: payloads are nobody's business.
impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore")
            .field("file", &self.shared.file)
            .finish_non_exhaustive()
    }
}

struct Thread {
    shared: Arc<Shared>,
    /// The writer, then the applier that it closes.
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.queue.close();
        for handle in lock(&self.handles).drain(..) {
            // A thread that panicked has stopped the store and has nobody left to tell.
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

    /// [`Self::open`], with an observer of the syncs that writes wait for.
    pub fn open_observed(
        directory: impl AsRef<Path>,
        observer: &SyncObserver,
    ) -> Result<Self, OpenError> {
        Self::open_directory(directory.as_ref(), DiskOptions::DEFAULT, |media| {
            media.observed(observer)
        })
    }

    /// [`Self::open`] with other options.
    pub fn open_with(directory: impl AsRef<Path>, options: DiskOptions) -> Result<Self, OpenError> {
        Self::open_directory(directory.as_ref(), options, |media| media)
    }

    fn open_directory(
        directory: &Path,
        options: DiskOptions,
        through: impl FnOnce(Media) -> Media,
    ) -> Result<Self, OpenError> {
        let directory_lock = DirectoryLock::take(directory)?;
        let media = open_files(directory, |media| initialize(media, options))?;
        Self::start(through(media), options, Some(directory_lock))
    }

    /// Moves the files of a directory's store, as they are, into a new directory `damaged-N` beside
    /// them, and returns that. The next store of the directory is an empty one.
    ///
    /// For a damaged store that nobody has open: whatever depends on what it held has to be told.
    /// After a crash in the middle of it the directory is refused as damaged, and can be set
    /// aside again; nothing is ever removed.
    pub fn set_aside(directory: impl AsRef<Path>) -> Result<PathBuf, OpenError> {
        set_aside(directory.as_ref())
    }

    /// Opens the store in files of any kind, which are made a store when the tables are empty.
    /// Keeping others away from them is up to the caller.
    pub fn open_media(media: Media, options: DiskOptions) -> Result<Self, OpenError> {
        // An unreadable length shows again, with its error, when the file is opened.
        if media.tables.is_empty().unwrap_or(false) {
            initialize(&media, options)?;
        }
        Self::start(media, options, None)
    }

    fn start(
        media: Media,
        options: DiskOptions,
        directory_lock: Option<DirectoryLock>,
    ) -> Result<Self, OpenError> {
        let (file, cache_bytes) = (media.tables_name(), options.cache_bytes);
        let (database, node, verified) = Database::open(&media.tables, &file, cache_bytes)?;
        let journals = media.named_journals();
        let opened = Journal::open(journals, node.id, node.journal_bytes, node.applied);
        let (journal, replay) = opened.inspect_err(|_| database.seal())?;
        let queue = Queue::new(options.limits);
        let pipeline = Pipeline::new(node.applied);
        let tables = media.tables;
        let shared = Shared::new(
            database,
            tables,
            cache_bytes,
            queue,
            pipeline,
            directory_lock,
        );
        let shared = Arc::new(shared);
        for group in verified {
            shared.set_verified(group);
        }
        let mut applier = Applier::new(Arc::clone(&shared), node);
        applier
            .replay(replay)
            .inspect_err(|error| shared.stop(error))?;
        let writer = Writer::new(Arc::clone(&shared), journal);
        let thread = Arc::new(Thread {
            shared: Arc::clone(&shared),
            handles: Mutex::default(),
        });
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| -> Result<(), StoreError> {
            let shared = Arc::clone(&shared);
            let builder = thread::Builder::new().name(name.to_owned());
            let handle = builder.spawn(move || run_thread(&shared, run));
            let handle = handle.map_err(|error| StoreError::Io {
                file: file.clone(),
                operation: "start of a thread",
                kind: error.kind(),
                detail: error.to_string(),
            })?;
            lock(&thread.handles).push(handle);
            Ok(())
        };
        spawn("mosaik-journal", Box::new(|| writer.run()))?;
        // Should this fail, dropping `thread` ends the writer.
        spawn("mosaik-tables", Box::new(|| applier.run()))?;
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
        self.shared.pipeline.wait_applied()?;
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

/// Fills the empty files of a new store.
fn initialize(media: &Media, options: DiskOptions) -> Result<(), OpenError> {
    // No secret, only unlikely to be that of another store.
    let random = || RandomState::new().build_hasher().finish().to_le_bytes();
    let mut id = StoreId::default();
    id[..8].copy_from_slice(&random());
    id[8..].copy_from_slice(&random());
    let journal_bytes = options.journal_bytes;
    Journal::initialize(&media.named_journals(), journal_bytes)?;
    let node = NodeRecord {
        next_space: 0,
        applied: 0,
        id,
        journal_bytes,
    };
    let (file, cache_bytes) = (media.tables_name(), options.cache_bytes);
    Ok(Database::initialize(
        &media.tables,
        &file,
        cache_bytes,
        node,
    )?)
}

/// A thread that panics stops the store, so that nobody waits for it.
fn run_thread(shared: &Shared, run: Box<dyn FnOnce() + Send>) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        let error = StoreError::Stopped {
            reason: "a thread of the store panicked".to_owned(),
        };
        shared.stop(&error);
        shared.pipeline.set_blocked(error);
        shared.queue.abandon();
        shared.pipeline.close();
    }
}

impl LogStore for DiskStore {
    fn is_durable(&self) -> bool {
        true
    }

    fn groups(&mut self) -> Result<Vec<GroupId>, StoreError> {
        self.shared.pipeline.wait_applied()?;
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
        if let Err(batch) = self.shared.queue.try_push(batch, bytes, reply) {
            self.mailbox.release();
            return Err(SubmitError::Full(batch));
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
        self.shared.queue.push(Pending::new(batch, bytes, reply));
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
