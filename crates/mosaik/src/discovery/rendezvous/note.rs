//! [`Note`]: what a node leaves in the rendezvous directory.

use {
    crate::{
        discovery::{PeerEntryVersion, signature::Statement, version::unix_micros},
        network::{NetworkId, PeerId},
    },
    bytes::Bytes,
    iroh::{EndpointAddr, SecretKey, Signature},
    mosaik_primitives::{
        Digest,
        codec::{self, BoundedDecodeError, Versioned},
    },
    rustix::{
        io::Errno,
        process::{Pid, test_kill_process},
    },
    serde::{Deserialize, Serialize},
    std::time::Duration,
};

/// A note that is older was left by a node that is gone.
pub(super) const EXPIRY: Duration = Duration::from_mins(1);

/// Where a node of a network listens, and which process it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) address: EndpointAddr,
    /// The process, and the namespace in which its number means something.
    pid: i32,
    pid_namespace: u64,
    /// When the note was written, microseconds since the Unix epoch.
    issued_us: u64,
}

/// A note and its signature, as they are written.
#[derive(Serialize, Deserialize)]
struct Signed {
    note: Bytes,
    signature: Signature,
}

impl Versioned for Signed {
    const VERSION: u16 = 1;
}

/// Why a note was turned away.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoteError {
    #[error("not a note: {0}")]
    Malformed(#[from] BoundedDecodeError),
    #[error("not signed by the peer that it is named after")]
    Signature,
}

impl Note {
    /// The longest note, bytes.
    pub(super) const MAX_BYTES: usize = 4 << 10;

    /// A note of this process.
    pub(super) fn new(address: EndpointAddr) -> Self {
        Self {
            address,
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            pid_namespace: pid_namespace(),
            issued_us: unix_micros(),
        }
    }

    /// The note as it is written; `None` when the node has more addresses than fit.
    pub(super) fn encode(&self, secret: &SecretKey, network: &NetworkId) -> Option<Bytes> {
        let note = codec::try_serialize(self).expect("a note in memory always encodes");
        let digest = Digest::hash(&note);
        let signature = Statement::Note.sign(secret, network, VERSION, &digest);
        let bytes = Signed { note, signature }.to_versioned();
        let bytes = bytes.expect("a note in memory always encodes");
        (bytes.len() <= Self::MAX_BYTES).then_some(bytes)
    }

    /// Reads a note that was found under the name of `peer`.
    pub(super) fn decode(
        bytes: &[u8],
        network: &NetworkId,
        peer: &PeerId,
    ) -> Result<Self, NoteError> {
        let signed = Signed::from_versioned(bytes, Self::MAX_BYTES)?;
        let note: Self = codec::decode_bounded(&signed.note, Self::MAX_BYTES)?;
        let digest = Digest::hash(&signed.note);
        let valid = note.address.id == *peer
            && Statement::Note.verify(&signed.signature, network, peer, VERSION, &digest);
        if valid {
            Ok(note)
        } else {
            Err(NoteError::Signature)
        }
    }

    /// Whether whoever left it is gone: the process has ended, or no longer refreshes it.
    pub(super) fn is_stale(&self) -> bool {
        let age = unix_micros().saturating_sub(self.issued_us);
        u128::from(age) > EXPIRY.as_micros() || self.process_has_ended()
    }

    fn process_has_ended(&self) -> bool {
        let pid = Pid::from_raw(self.pid);
        self.pid_namespace == pid_namespace()
            && pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH))
    }
}

/// Takes any bytes for a note as it is written, and for what its signature covers.
#[cfg(fuzzing)]
pub(in crate::discovery) fn fuzz(bytes: &[u8]) -> bool {
    let network = NetworkId::from("fuzz");
    let signed = Signed::from_versioned(bytes, Note::MAX_BYTES);
    let peer = SecretKey::from_bytes(&[1; 32]).public();
    let taken = Note::decode(bytes, &network, &peer);
    assert!(taken.is_err() || signed.is_ok());
    let Ok(note) = codec::decode_bounded::<Note>(bytes, Note::MAX_BYTES) else {
        return signed.is_ok();
    };
    // Whatever process it names, asking for it does no harm.
    note.is_stale();
    let encoded = codec::try_serialize(&note).expect("a note in memory always encodes");
    let again = codec::decode_bounded::<Note>(&encoded, usize::MAX);
    assert_eq!(again.expect("what was encoded is decoded"), note);
    true
}

/// A note has no versions: the newest replaces the one before.
const VERSION: PeerEntryVersion = PeerEntryVersion::NONE;

/// Tells containers apart that share the directory but not their process numbers.
fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SecretKey {
        SecretKey::from_bytes(&[1; 32])
    }

    fn note() -> Note {
        Note::new(EndpointAddr::new(secret().public()).with_ip_addr(([127, 0, 0, 1], 7).into()))
    }

    #[test]
    fn a_note_is_good_for_its_peer_and_network_only() {
        let network = NetworkId::from("net");
        let bytes = note().encode(&secret(), &network).unwrap();
        let decode = |network: NetworkId, secret: SecretKey| {
            Note::decode(&bytes, &network, &secret.public())
        };
        assert_eq!(decode(network, secret()).unwrap().address, note().address);
        assert!(decode(NetworkId::from("other"), secret()).is_err());
        assert!(decode(network, SecretKey::from_bytes(&[2; 32])).is_err());
        let foreign = note()
            .encode(&SecretKey::from_bytes(&[2; 32]), &network)
            .unwrap();
        assert!(Note::decode(&foreign, &network, &secret().public()).is_err());
    }

    #[test]
    fn damaged_and_oversized_notes_are_refused() {
        let network = NetworkId::from("net");
        let bytes = note().encode(&secret(), &network).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert!(Note::decode(&damaged, &network, &secret().public()).is_err());
        }
        let oversized = vec![0; Note::MAX_BYTES + 1];
        assert!(Note::decode(&oversized, &network, &secret().public()).is_err());
        let mut address = EndpointAddr::new(secret().public());
        for port in 1..2_000 {
            address = address.with_ip_addr(([127, 0, 0, 1], port).into());
        }
        assert!(Note::new(address).encode(&secret(), &network).is_none());
    }

    #[test]
    fn a_note_goes_stale_with_its_process_or_its_age() {
        assert!(!note().is_stale());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        child.wait().unwrap();
        assert!(Note { pid, ..note() }.is_stale());
        assert!(
            !Note {
                pid,
                pid_namespace: u64::MAX,
                ..note()
            }
            .is_stale()
        );
        let old = unix_micros() - EXPIRY.as_micros() as u64 - 1_000_000;
        assert!(
            Note {
                issued_us: old,
                ..note()
            }
            .is_stale()
        );
    }
}
