//! The identity that a node keeps in its data directory.
//!
//! The file is the secret key and, so that damage shows, the public key that belongs to it. A
//! damaged identity, or a lost one, is never replaced where the node has stored something: the
//! groups' logs are those of the node that it was.

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
/// The store's tables, which are there if anything was ever stored.
const STORED: &str = "groups.redb";

/// The key kept in `directory`, made where there is neither a key nor a store. The file is its
/// owner's alone, and on disk before it is used.
pub(super) fn load(directory: &Path) -> io::Result<SecretKey> {
    let path = directory.join(FILE);
    match File::open(&path) {
        Ok(file) => return read(file).map_err(|error| unusable(&path, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if directory.join(STORED).try_exists()? {
                return Err(unusable(
                    &path,
                    &"missing, yet something is stored beside it",
                ));
            }
        }
        Err(error) => return Err(unusable(&path, &error)),
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
    file.write_all(key.public().as_bytes())?;
    file.sync_all()?;
    // The name appears with the whole content or not at all.
    fs::rename(&new, &path)?;
    File::open(directory)?.sync_all()?;
    Ok(key)
}

fn read(file: File) -> io::Result<SecretKey> {
    let (mut secret, mut public) = ([0; 32], Vec::new());
    let mut file = file.take(65);
    file.read_exact(&mut secret)?;
    file.read_to_end(&mut public)?;
    let key = SecretKey::from_bytes(&secret);
    if public == key.public().as_bytes() {
        Ok(key)
    } else {
        Err(io::Error::other("damaged"))
    }
}

/// What is wrong, and what to do.
fn unusable(path: &Path, what: &dyn std::fmt::Display) -> io::Error {
    let path = path.display();
    io::Error::other(format!(
        "{path}: {what}. Put back a copy of it, give the node's key to the builder, or remove the \
         whole directory to become another node"
    ))
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
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_damaged_or_lost_identity_is_not_replaced() {
        let name = format!("mosaik-identity-{}", mosaik_primitives::Digest::random());
        let directory = std::env::temp_dir().join(name);
        load(&directory).expect("made");
        let path = directory.join(FILE);
        let good = fs::read(&path).expect("read");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).expect("written");
            let error = load(&directory).expect_err("damage at each byte is noticed");
            assert!(error.to_string().contains("identity: damaged"), "{error}");
            assert_eq!(fs::read(&path).expect("read"), bad, "it is left as it is");
        }
        for other in [&good[..40], &[good.clone(), vec![0]].concat()] {
            fs::write(&path, other).expect("written");
            load(&directory).expect_err("another length is noticed");
        }
        fs::remove_file(&path).expect("removed");
        fs::write(directory.join(STORED), b"logs").expect("written");
        load(&directory).expect_err("the logs are not another node's");
        assert!(!path.exists());
        fs::remove_dir_all(&directory).expect("removed");
    }
}
