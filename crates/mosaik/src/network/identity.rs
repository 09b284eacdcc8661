//! The identity that a node keeps in its data directory.

use {
    iroh::SecretKey,
    std::{
        fs::{self, File, OpenOptions},
        io::{self, Read, Write},
        path::Path,
    },
};

/// The file's name.
const FILE: &str = "identity";

/// The key kept in `directory`, made where there is none. The file is its owner's alone, and on
/// disk before it is used.
pub(super) fn load(directory: &Path) -> io::Result<SecretKey> {
    let path = directory.join(FILE);
    match File::open(&path) {
        Ok(mut file) => {
            let mut bytes = [0; 32];
            file.read_exact(&mut bytes)?;
            return Ok(SecretKey::from_bytes(&bytes));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::create_dir_all(directory)?;
    let key = SecretKey::generate();
    let new = directory.join("identity.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(&key.to_bytes())?;
    file.sync_all()?;
    // The name appears with the whole content or not at all.
    fs::rename(&new, &path)?;
    File::open(directory)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_made_once_and_kept() {
        let name = format!("mosaik-identity-{}", mosaik_primitives::Digest::random());
        let directory = std::env::temp_dir().join(name);
        let made = load(&directory).expect("made");
        let kept = load(&directory).expect("kept");
        assert_eq!(made.to_bytes(), kept.to_bytes());
        fs::write(directory.join(FILE), b"short").expect("written");
        assert!(
            load(&directory).is_err(),
            "a damaged identity is not replaced"
        );
        fs::remove_dir_all(&directory).expect("removed");
    }
}
