//! The directory of a store: who may use it, and how its file comes into being.

use {
    super::medium::FileMedium,
    mosaik_protocol::store::StoreError,
    std::{
        fs::{self, File, OpenOptions, TryLockError},
        io,
        path::{Path, PathBuf},
    },
    thiserror::Error,
};

/// Name of the store's file in its directory.
pub(super) const FILE: &str = "groups.redb";
/// The file under construction: renamed when its first commit is durable, so that a file of the
/// final name is never empty and an empty one is damage.
const UNFINISHED: &str = "groups.redb.new";
const LOCK: &str = "LOCK";

/// Why a disk store could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another store, of this process or another, has the directory open.
    #[error("{} is in use by another store", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// The file was written by a newer version of this crate.
    #[error("{file} has format {found}, this program reads up to {newest}")]
    UnknownFormat {
        /// The file.
        file: String,
        /// Its format.
        found: u16,
        /// The newest that is understood.
        newest: u16,
    },
    /// The file is damaged or the disk failed. Nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The lock on a directory, held until dropped. The operating system drops it with the process.
#[derive(Debug)]
pub(super) struct DirectoryLock(#[expect(dead_code, reason = "held, never read")] File);

impl DirectoryLock {
    pub(super) fn take(directory: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(directory).map_err(|error| failed(directory, "create", &error))?;
        let path = directory.join(LOCK);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| failed(&path, "open", &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
                directory: directory.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(failed(&path, "lock", &error).into()),
        }
    }
}

/// Opens the file of a locked directory. When there is none, `initialize` makes one.
pub(super) fn open_file(
    directory: &Path,
    initialize: impl FnOnce(FileMedium) -> Result<(), OpenError>,
) -> Result<FileMedium, OpenError> {
    let path = directory.join(FILE);
    let exists = path
        .try_exists()
        .map_err(|error| failed(&path, "find", &error))?;
    if !exists {
        let unfinished = directory.join(UNFINISHED);
        let medium = FileMedium::open(&unfinished, true);
        initialize(medium.map_err(|error| failed(&unfinished, "create", &error))?)?;
        fs::rename(&unfinished, &path).map_err(|error| failed(&path, "rename", &error))?;
        sync_directory(directory).map_err(|error| failed(directory, "fsync", &error))?;
    }
    FileMedium::open(&path, false).map_err(|error| failed(&path, "open", &error).into())
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()?;
    // The directory itself may be new as well.
    match directory.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Directories cannot be opened as files elsewhere; their entries are durable with the rename.
#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

fn failed(path: &Path, operation: &'static str, error: &io::Error) -> StoreError {
    let file = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull => StoreError::NoSpace { file },
        kind => StoreError::Io {
            file,
            operation,
            kind,
            detail: error.to_string(),
        },
    }
}
