//! The directory of a store: who may use it, and how its file comes into being.

use {
    super::{
        database::corrupt,
        medium::{FileMedium, JOURNALS, Media, Medium, TABLES},
    },
    mosaik_protocol::store::StoreError,
    std::{
        fs::{self, File, OpenOptions, TryLockError},
        io,
        path::{Path, PathBuf},
        sync::Arc,
    },
    thiserror::Error,
};

/// The tables under construction: renamed when they and the journal are durable, so that a store
/// whose tables have their final name is complete and anything missing is damage.
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

/// Opens the files of a locked directory. When there are none, `initialize` fills new ones.
pub(super) fn open_files(
    directory: &Path,
    initialize: impl FnOnce(&Media) -> Result<(), OpenError>,
) -> Result<Media, OpenError> {
    let tables = directory.join(TABLES);
    let exists = tables
        .try_exists()
        .map_err(|error| failed(&tables, "find", &error))?;
    if !exists {
        initialize(&media(directory, UNFINISHED, true)?)?;
        let unfinished = directory.join(UNFINISHED);
        fs::rename(unfinished, &tables).map_err(|error| failed(&tables, "rename", &error))?;
        sync_directory(directory).map_err(|error| failed(directory, "fsync", &error))?;
    }
    Ok(media(directory, TABLES, false)?)
}

fn media(directory: &Path, tables: &str, create: bool) -> Result<Media, StoreError> {
    let open = |name: &str| -> Result<Arc<dyn Medium>, StoreError> {
        let path = directory.join(name);
        match FileMedium::open(&path, create) {
            Ok(medium) => Ok(Arc::new(medium)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = path.display().to_string();
                Err(corrupt(&file, "directory", "the file is missing"))
            }
            Err(error) => Err(failed(&path, "open", &error)),
        }
    };
    let name = directory.display().to_string();
    let journals = [open(JOURNALS[0])?, open(JOURNALS[1])?];
    Ok(Media {
        name,
        tables: open(tables)?,
        journals,
    })
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
