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
        refuse_remains(directory, &tables)?;
        initialize(&media(directory, UNFINISHED, true)?)?;
        let unfinished = directory.join(UNFINISHED);
        fs::rename(unfinished, &tables).map_err(|error| failed(&tables, "rename", &error))?;
        sync_directory(directory).map_err(|error| failed(directory, "fsync", &error))?;
    }
    Ok(media(directory, TABLES, false)?)
}

/// A journal that was written to, without any tables: they are lost, for those of a store under
/// construction are there before its journal is.
fn refuse_remains(directory: &Path, tables: &Path) -> Result<(), OpenError> {
    let len = |name: &str| match fs::metadata(directory.join(name)) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&directory.join(name), "find", &error)),
    };
    if len(UNFINISHED)?.is_some() {
        return Ok(());
    }
    for name in JOURNALS {
        if len(name)?.is_some_and(|len| len > 0) {
            let file = tables.display().to_string();
            let what = format!("the file is missing, yet {name} is there");
            return Err(corrupt(&file, "directory", what).into());
        }
    }
    Ok(())
}

/// Moves the files of a store that nobody has open into a directory beside them, as they are.
pub(super) fn set_aside(directory: &Path) -> Result<PathBuf, OpenError> {
    let _lock = DirectoryLock::take(directory)?;
    let mut number = 1_u32;
    let kept = loop {
        let kept = directory.join(format!("damaged-{number}"));
        match fs::create_dir(&kept) {
            Ok(()) => break kept,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(failed(&kept, "create", &error).into()),
        }
    };
    // The tables last: what a crash leaves behind without its journal is refused, and what it
    // leaves without its tables would be.
    for name in [JOURNALS[0], JOURNALS[1], UNFINISHED, TABLES] {
        let file = directory.join(name);
        match fs::rename(&file, kept.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&file, "rename", &error).into()),
        }
    }
    sync_directory(&kept).map_err(|error| failed(&kept, "fsync", &error))?;
    Ok(kept)
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
