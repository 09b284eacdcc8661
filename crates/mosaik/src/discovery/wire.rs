//! What discovery says on the links: messages of the catalog, probes, and "who are you?".
//!
//! ```text
//! sub-stream greeting   0 │ message                       a catalog message that fits
//!                       1 │ length u32 BE                 one that does not: it follows as the body
//!                       2                                 probe, where there is no link yet
//!                       3                                 who are you? → reply: the signed entry
//! datagram              0 │ nonce u64 BE                  probe
//!                       1 │ nonce u64 BE                  its answer
//! ```
//!
//! Every sub-stream carries one thing and ends. Probes are answered without the catalog.

use bytes::{BufMut, Bytes, BytesMut};

/// What a sub-stream carries, decoded from its greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    Message(Bytes),
    LongMessage { len: u32 },
    Probe,
    WhoAreYou,
}

impl Greeting {
    /// The bytes before a message in its greeting.
    pub(super) const OVERHEAD: usize = 1;

    pub(super) fn encode(&self) -> Bytes {
        match self {
            Self::Message(message) => {
                let mut bytes = BytesMut::with_capacity(Self::OVERHEAD + message.len());
                bytes.put_u8(0);
                bytes.put_slice(message);
                bytes.freeze()
            }
            Self::LongMessage { len } => {
                let mut bytes = BytesMut::with_capacity(5);
                bytes.put_u8(1);
                bytes.put_u32(*len);
                bytes.freeze()
            }
            Self::Probe => Bytes::from_static(&[2]),
            Self::WhoAreYou => Bytes::from_static(&[3]),
        }
    }

    /// `None` for bytes that are no greeting.
    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match (kind, rest) {
            (0, _) => Some(Self::Message(bytes.slice(1..))),
            (1, len) => Some(Self::LongMessage {
                len: u32::from_be_bytes(len.try_into().ok()?),
            }),
            (2, []) => Some(Self::Probe),
            (3, []) => Some(Self::WhoAreYou),
            _ => None,
        }
    }
}

/// A probe or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datagram {
    Probe(u64),
    Answer(u64),
}

impl Datagram {
    pub(super) fn encode(self) -> [u8; 9] {
        let (kind, nonce) = match self {
            Self::Probe(nonce) => (0, nonce),
            Self::Answer(nonce) => (1, nonce),
        };
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&nonce.to_be_bytes());
        bytes
    }

    /// `None` for bytes that are neither.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, nonce) = bytes.split_first()?;
        let nonce = u64::from_be_bytes(nonce.try_into().ok()?);
        match kind {
            0 => Some(Self::Probe(nonce)),
            1 => Some(Self::Answer(nonce)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use {super::*, proptest::prelude::*};

    #[test]
    fn greetings_and_datagrams_round_trip() {
        for greeting in [
            Greeting::Message(Bytes::from_static(b"message")),
            Greeting::Message(Bytes::new()),
            Greeting::LongMessage { len: 70_000 },
            Greeting::Probe,
            Greeting::WhoAreYou,
        ] {
            assert_eq!(Greeting::decode(&greeting.encode()), Some(greeting));
        }
        for datagram in [Datagram::Probe(7), Datagram::Answer(u64::MAX)] {
            assert_eq!(Datagram::decode(&datagram.encode()), Some(datagram));
        }
        assert_eq!(Greeting::decode(&Bytes::from_static(&[2, 0])), None);
        assert_eq!(Greeting::decode(&Bytes::new()), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
            let _ = Datagram::decode(&bytes);
            let _ = Greeting::decode(&Bytes::from(bytes));
        }
    }
}
