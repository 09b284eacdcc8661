//! Stores on a directory and on a simulated disk, for every test file.
#![allow(dead_code, reason = "each test file uses its own part")]

use {
    mosaik_storage::{
        DiskOptions, DiskStore, Entry, GroupId, OpenError, WriteBatch, conformance::Fixture,
        faulty::SimulatedDisk,
    },
    std::{
        env, fs,
        path::{Path, PathBuf},
        process,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::{Wake, Waker},
        thread::{self, Thread},
    },
};

pub(crate) const GROUP: GroupId = GroupId::from_u8(1);

/// A directory that goes away with the value.
#[derive(Debug)]
pub(crate) struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    pub(crate) fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mosaik-storage-{name}-{}-{number}", process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file of the store in the directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // A directory left behind harms no other test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Stores in directories of the real file system.
pub(crate) struct OnDisk {
    name: &'static str,
    directories: Vec<TemporaryDirectory>,
}

impl OnDisk {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            directories: Vec::new(),
        }
    }
}

impl Fixture for OnDisk {
    type Store = DiskStore;

    fn fresh(&mut self) -> DiskStore {
        let directory = TemporaryDirectory::new(self.name);
        let store = DiskStore::open(directory.path()).expect("an empty directory opens");
        self.directories.push(directory);
        store
    }

    fn reopen(&mut self, store: DiskStore) -> DiskStore {
        drop(store);
        let directory = self.directories.last().expect("a store was made");
        DiskStore::open(directory.path()).expect("a closed store opens")
    }
}

/// A journal that is full after a few batches, so that tests see all of its life.
pub(crate) fn small_journal() -> DiskOptions {
    let mut options = DiskOptions::DEFAULT;
    options.journal_bytes = 16 << 10;
    options
}

pub(crate) fn try_open(disk: &Arc<SimulatedDisk>) -> Result<DiskStore, OpenError> {
    DiskStore::open_media(disk.media(), small_journal())
}

pub(crate) fn open(disk: &Arc<SimulatedDisk>) -> DiskStore {
    try_open(disk).expect("the store opens")
}

/// Stores on a disk whose power fails at every reopening, before the store can close its file.
pub(crate) struct OnSimulatedDisk {
    seed: u64,
    disk: Arc<SimulatedDisk>,
}

impl OnSimulatedDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            disk: Arc::new(SimulatedDisk::new(seed)),
        }
    }
}

impl Fixture for OnSimulatedDisk {
    type Store = DiskStore;

    fn fresh(&mut self) -> DiskStore {
        self.seed += 1;
        self.disk = Arc::new(SimulatedDisk::new(self.seed));
        open(&self.disk)
    }

    fn reopen(&mut self, store: DiskStore) -> DiskStore {
        self.disk.cut_power_after(0);
        drop(store);
        self.disk.restore_power();
        open(&self.disk)
    }
}

pub(crate) fn batch() -> WriteBatch {
    WriteBatch::new(GROUP)
}

pub(crate) fn entry(index: u64) -> Entry {
    Entry {
        index,
        term: 1 + index / 100,
        payload: format!("payload of {index}").into(),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(crate) fn unparks_this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}
