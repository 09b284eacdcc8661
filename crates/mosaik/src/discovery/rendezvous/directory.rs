//! [`Directory`]: one network's rendezvous directory, opened so that nothing leads out of it.
//!
//! Every step is taken relative to an open directory and follows no link. A directory that is
//! not the user's own, or that others may enter, is refused: somebody else could put notes into
//! it, or read who is there.

use {
    super::note::{EXPIRY, Note},
    crate::network::{NetworkId, PeerId},
    rustix::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        fs::{self, AtFlags, Dir, FileType, Mode, OFlags},
        io::Errno,
    },
    std::{
        ffi::OsString,
        fs::File,
        io::{Read, Write},
        path::{Path, PathBuf},
        time::{SystemTime, UNIX_EPOCH},
    },
};

/// Names looked at in one go; a directory with more is not ours to sort out.
const MAX_NAMES: usize = 4_096;
const OWNER_ONLY: Mode = Mode::RWXU;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    #[error("{} belongs to another user", .0.display())]
    Foreign(PathBuf),
    #[error("{} can be entered by other users", .0.display())]
    Open(PathBuf),
    #[error("{} cannot be used: {}", .0.display(), .1)]
    Io(PathBuf, Errno),
}

/// Which directory to use.
#[derive(Clone, Debug)]
pub(super) struct Location {
    base: PathBuf,
    network: String,
}

/// An open rendezvous directory.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

impl Location {
    /// A network's directory under the user's runtime directory.
    pub(super) fn of(network: &NetworkId) -> Self {
        let from_env = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let runtime = from_env("MOSAIK_RUNTIME_DIR").or_else(|| from_env("XDG_RUNTIME_DIR"));
        let base = runtime.map_or_else(
            || {
                let user = rustix::process::geteuid().as_raw();
                std::env::temp_dir().join(format!("mosaik-{user}"))
            },
            |runtime| PathBuf::from(runtime).join("mosaik"),
        );
        Self::under(base, network)
    }

    pub(super) fn under(base: PathBuf, network: &NetworkId) -> Self {
        Self {
            base,
            network: network.to_string(),
        }
    }

    /// Opens the directory, making it where it is missing.
    pub(super) fn open(&self) -> Result<Directory, DirectoryError> {
        let base = open_own(fs::CWD, &self.base, &self.base)?;
        let path = self.base.join(&self.network);
        let network = open_own(base.as_fd(), Path::new(&self.network), &path)?;
        Ok(Directory(network))
    }

    /// Removes the network's directory if nothing is left in it.
    pub(super) fn remove_if_empty(&self) {
        if let Ok(base) = open_own(fs::CWD, &self.base, &self.base) {
            // Others are still there, or have done the same.
            let _ = fs::unlinkat(base, &*self.network, AtFlags::REMOVEDIR);
        }
    }
}

/// Opens a directory of the user's own, making it where it is missing.
fn open_own(parent: BorrowedFd<'_>, name: &Path, path: &Path) -> Result<OwnedFd, DirectoryError> {
    let failed = |errno| DirectoryError::Io(path.to_owned(), errno);
    match fs::mkdirat(parent, name, OWNER_ONLY) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = fs::openat(parent, name, flags, Mode::empty()).map_err(failed)?;
    let status = fs::fstat(&directory).map_err(failed)?;
    if status.st_uid != rustix::process::geteuid().as_raw() {
        return Err(DirectoryError::Foreign(path.to_owned()));
    }
    if Mode::from_raw_mode(status.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
        return Err(DirectoryError::Open(path.to_owned()));
    }
    Ok(directory)
}

impl Directory {
    /// The peers that left a note, in no order.
    pub(super) fn peers(&self) -> Result<Vec<PeerId>, Errno> {
        let mut peers = Vec::new();
        for name in self.names()? {
            match name.parse::<PeerId>() {
                Ok(peer) if peer.to_string() == name => peers.push(peer),
                _ => self.remove_leftover(&name),
            }
        }
        Ok(peers)
    }

    fn names(&self) -> Result<Vec<String>, Errno> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
            if names.len() == MAX_NAMES {
                break;
            }
        }
        Ok(names)
    }

    /// What is no note is one that was being written when its process ended, unless it is young.
    fn remove_leftover(&self, name: &str) {
        let Ok(status) = fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let age_s = now.saturating_sub(u64::try_from(status.st_mtime).unwrap_or(0));
        let is_file = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
        if name.starts_with('.') && is_file && age_s > EXPIRY.as_secs() {
            // Another node may have done the same.
            let _ = fs::unlinkat(&self.0, name, AtFlags::empty());
        }
    }

    /// The bytes of a peer's note; `None` when there is none that can be read.
    pub(super) fn read(&self, peer: &PeerId) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(&self.0, peer.to_string(), flags, Mode::empty()).ok()?;
        let status = fs::fstat(&file).ok()?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return None;
        }
        let mut bytes = Vec::new();
        File::from(file)
            .take(Note::MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .ok()?;
        Some(bytes)
    }

    /// Puts a note in place of the peer's last one, in one step.
    pub(super) fn write(&self, peer: &PeerId, note: &[u8]) -> std::io::Result<()> {
        let name = peer.to_string();
        let temporary = format!(".{name}");
        match fs::unlinkat(&self.0, &*temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = fs::openat(&self.0, &*temporary, flags, mode)?;
        File::from(file).write_all(note)?;
        fs::renameat(&self.0, &*temporary, &self.0, &*name)?;
        Ok(())
    }

    /// Removes a peer's note, if it is there.
    pub(super) fn remove(&self, peer: &PeerId) {
        // Another node may have done the same.
        let _ = fs::unlinkat(&self.0, peer.to_string(), AtFlags::empty());
    }
}

#[cfg(test)]
pub(in crate::discovery) mod tests {
    use {super::*, iroh::SecretKey, std::os::unix::fs::PermissionsExt};

    /// A directory that is removed at the end of the test.
    pub(in crate::discovery) struct Scratch(pub(in crate::discovery) PathBuf);

    impl Scratch {
        pub(in crate::discovery) fn new() -> Self {
            let name = format!("mosaik-test-{}", mosaik_primitives::Digest::random());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn location(&self) -> Location {
            Location::under(self.0.join("mosaik"), &NetworkId::from("net"))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn peer(n: u8) -> PeerId {
        SecretKey::from_bytes(&[n; 32]).public()
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn notes_are_written_read_listed_and_removed() {
        let scratch = Scratch::new();
        let directory = scratch.location().open().unwrap();
        directory.write(&peer(1), b"one").unwrap();
        directory.write(&peer(1), b"another").unwrap();
        directory.write(&peer(2), b"two").unwrap();
        assert_eq!(directory.read(&peer(1)).unwrap(), b"another");
        assert_eq!(directory.read(&peer(3)), None);
        let mut peers = directory.peers().unwrap();
        peers.sort();
        let mut expected = [peer(1), peer(2)];
        expected.sort();
        assert_eq!(peers, expected);
        directory.remove(&peer(1));
        directory.remove(&peer(1));
        assert_eq!(directory.peers().unwrap(), [peer(2)]);
        scratch.location().remove_if_empty();
        assert_eq!(directory.peers().unwrap(), [peer(2)]);
        directory.remove(&peer(2));
        scratch.location().remove_if_empty();
        assert!(directory.write(&peer(1), b"into nowhere").is_err());
        scratch
            .location()
            .open()
            .unwrap()
            .write(&peer(1), b"anew")
            .unwrap();
    }

    #[test]
    fn everything_made_is_for_the_owner_only() {
        let scratch = Scratch::new();
        scratch
            .location()
            .open()
            .unwrap()
            .write(&peer(1), b"note")
            .unwrap();
        let base = scratch.0.join("mosaik");
        let network = base.join(NetworkId::from("net").to_string());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&base), mode(&network)), (0o700, 0o700));
        assert_eq!(mode(&network.join(peer(1).to_string())), 0o600);
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let scratch = Scratch::new();
        drop(scratch.location().open().unwrap());
        set_mode(&scratch.0.join("mosaik"), 0o755);
        assert!(matches!(
            scratch.location().open(),
            Err(DirectoryError::Open(_))
        ));
    }

    #[test]
    fn links_are_not_followed() {
        let scratch = Scratch::new();
        let elsewhere = scratch.0.join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        set_mode(&elsewhere, 0o700);
        std::os::unix::fs::symlink(&elsewhere, scratch.0.join("mosaik")).unwrap();
        assert!(matches!(
            scratch.location().open(),
            Err(DirectoryError::Io(_, _))
        ));

        std::fs::remove_file(scratch.0.join("mosaik")).unwrap();
        let directory = scratch.location().open().unwrap();
        let network = scratch
            .0
            .join("mosaik")
            .join(NetworkId::from("net").to_string());
        std::fs::write(elsewhere.join("note"), b"outside").unwrap();
        let link = network.join(peer(1).to_string());
        std::os::unix::fs::symlink(elsewhere.join("note"), &link).unwrap();
        assert_eq!(directory.read(&peer(1)), None);
        directory.write(&peer(1), b"inside").unwrap();
        assert_eq!(std::fs::read(elsewhere.join("note")).unwrap(), b"outside");
        assert_eq!(directory.read(&peer(1)).unwrap(), b"inside");
    }

    #[test]
    fn what_is_no_file_and_what_is_too_long_is_not_read_whole() {
        let scratch = Scratch::new();
        let directory = scratch.location().open().unwrap();
        let network = scratch
            .0
            .join("mosaik")
            .join(NetworkId::from("net").to_string());
        std::fs::create_dir(network.join(peer(1).to_string())).unwrap();
        assert_eq!(directory.read(&peer(1)), None);
        directory.write(&peer(2), &vec![0; 1 << 20]).unwrap();
        assert_eq!(directory.read(&peer(2)).unwrap().len(), Note::MAX_BYTES + 1);
    }
}
