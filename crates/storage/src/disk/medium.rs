//! [`Medium`]: the few things that the disk store asks of a file, so that tests can break them.

use {
    mosaik_protocol::store::StoreError,
    redb::{StorageBackend, backends::FileBackend},
    std::{
        fmt,
        fs::{File, OpenOptions},
        io,
        path::Path,
        sync::{Arc, Mutex, PoisonError},
        time::{Duration, Instant},
    },
};

/// A random-access file. Whatever is written is safe from a loss of power only after `sync`.
pub trait Medium: fmt::Debug + Send + Sync + 'static {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether nothing was ever written.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
    /// Fills `out` from `offset`, or fails with `UnexpectedEof`.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Cuts the file or extends it by zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Writes all of `data` at `offset`, within the length.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Returns when all that was written and the length would survive a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// The files of a store.
#[derive(Clone, Debug)]
pub struct Media {
    /// Stands in front of the files' names in errors.
    pub name: String,
    /// The tables, `groups.redb`.
    pub tables: Arc<dyn Medium>,
    /// The journal, `journal-0` and `journal-1`.
    pub journals: [Arc<dyn Medium>; 2],
}

/// Is told how long each [`Medium::sync`] of a store has taken, on the thread that has waited for it.
pub type SyncObserver = Arc<dyn Fn(Duration) + Send + Sync>;

/// A medium whose syncs are observed.
struct Observed {
    medium: Arc<dyn Medium>,
    observer: SyncObserver,
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.medium.fmt(f)
    }
}

impl Medium for Observed {
    fn len(&self) -> io::Result<u64> {
        self.medium.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.medium.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.medium.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.medium.write(offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        let started = Instant::now();
        self.medium.sync()?;
        (self.observer)(started.elapsed());
        Ok(())
    }
}

impl Media {
    /// The same files, of whose syncs the observer is told.
    #[must_use]
    pub fn observed(self, observer: &SyncObserver) -> Self {
        let observed = |medium| {
            let observer = Arc::clone(observer);
            Arc::new(Observed { medium, observer }) as Arc<dyn Medium>
        };
        Self {
            name: self.name,
            tables: observed(self.tables),
            journals: self.journals.map(observed),
        }
    }

    pub(super) fn named_journals(&self) -> [(Arc<dyn Medium>, String); 2] {
        [0, 1].map(|number| {
            let name = Path::new(&self.name).join(JOURNALS[number]);
            (
                Arc::clone(&self.journals[number]),
                name.display().to_string(),
            )
        })
    }

    pub(super) fn tables_name(&self) -> String {
        Path::new(&self.name).join(TABLES).display().to_string()
    }
}

/// Name of the tables' file.
pub(super) const TABLES: &str = "groups.redb";
/// Names of the journal's files.
pub(super) const JOURNALS: [&str; 2] = ["journal-0", "journal-1"];

/// A file of the operating system.
#[derive(Debug)]
pub struct FileMedium(FileBackend);

impl FileMedium {
    /// Opens a file for reading and writing, which is created when `create` says so.
    pub fn open(path: &Path, create: bool) -> io::Result<Self> {
        let file: File = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(create)
            .open(path)?;
        FileBackend::new(file).map(Self).map_err(io::Error::other)
    }
}

impl Medium for FileMedium {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// The first failure of a medium.
#[derive(Clone, Debug)]
struct Fault {
    operation: &'static str,
    kind: io::ErrorKind,
    detail: String,
}

/// What redb gets: a medium that is not touched again after its first failure to write, and
/// that remembers what failed, which redb's errors do not tell.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    medium: Arc<dyn Medium>,
    fault: Arc<Mutex<Option<Fault>>>,
}

impl Watched {
    pub(super) fn new(medium: Arc<dyn Medium>) -> Self {
        Self {
            medium,
            fault: Arc::default(),
        }
    }

    /// Lets nothing be written any more.
    pub(super) fn seal(&self) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.get_or_insert_with(|| Fault {
            operation: "use after a fatal error",
            kind: io::ErrorKind::Other,
            detail: "the file is sealed".to_owned(),
        });
    }

    fn fault(&self) -> Option<Fault> {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn watch<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&dyn Medium) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = &*fault {
            return Err(io::Error::new(earlier.kind, earlier.detail.clone()));
        }
        run(&*self.medium).inspect_err(|error| {
            let detail = error.to_string();
            *fault = Some(Fault {
                operation,
                kind: error.kind(),
                detail,
            });
        })
    }

    /// The typed error for what redb reports on this medium.
    pub(super) fn error(&self, file: &str, error: redb::Error) -> StoreError {
        let file = file.to_owned();
        match (error, self.fault()) {
            (redb::Error::Corrupted(what), _) => StoreError::Corrupt {
                file,
                position: "b-tree".to_owned(),
                what,
            },
            (redb::Error::Io(error), None) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let what = "the file is shorter than its header says".to_owned();
                StoreError::Corrupt {
                    file,
                    position: "end of file".to_owned(),
                    what,
                }
            }
            // A full disk that shows at the fsync leaves unknown what was written.
            (_, Some(fault)) if fault.operation != "fsync" && is_full(fault.kind) => {
                StoreError::NoSpace { file }
            }
            (
                _,
                Some(Fault {
                    operation,
                    kind,
                    detail,
                }),
            ) => StoreError::Io {
                file,
                operation,
                kind,
                detail,
            },
            (redb::Error::Io(error), None) => {
                let (kind, detail) = (error.kind(), error.to_string());
                StoreError::Io {
                    file,
                    operation: "read",
                    kind,
                    detail,
                }
            }
            (other, None) => {
                let (kind, detail) = (io::ErrorKind::Other, other.to_string());
                StoreError::Io {
                    file,
                    operation: "transaction",
                    kind,
                    detail,
                }
            }
        }
    }
}

pub(super) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.medium.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.medium.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch("resize", |medium| medium.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch("fsync", Medium::sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.watch("write", |medium| medium.write(offset, data))
    }
}
