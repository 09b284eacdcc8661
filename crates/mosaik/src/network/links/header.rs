//! What opens a sub-stream: a header from the opener, an answer from the acceptor.
//!
//! ```text
//! header   length u32 BE │ "mk" │ version u8 │ protocol u8 │ network 32 │ resource 32 │ greeting
//! answer   length u32 BE │ 0 │ reply                 accepted
//!          length u32 BE │ 1 │ code u32 BE           refused, see `network::close`
//! ```
//!
//! The length counts what follows it. Both are bounded before anything is allocated.

use {
    crate::network::close::{self, Reason},
    bytes::{BufMut, Bytes, BytesMut},
    iroh::endpoint::{ReadError, ReadExactError, RecvStream},
    mosaik_primitives::Digest,
};

/// Version of everything behind the header; peers of another version are refused.
pub(crate) const VERSION: u8 = 1;
const MAGIC: [u8; 2] = *b"mk";
const FIXED_LEN: usize = 2 + 1 + 1 + 32 + 32;

/// What runs on a sub-stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Protocol {
    /// Catalog anti-entropy, pulls and introductions.
    Discovery = 1,
    /// One subscription of a consumer to a producer.
    Stream = 2,
    /// One direction of what two nodes' common groups have to say.
    Groups = 3,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Discovery, Self::Stream, Self::Groups];

    /// Its place in [`Self::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize - 1
    }

    fn from_wire(byte: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protocol| *protocol as u8 == byte)
    }
}

/// The opener's first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) protocol: Protocol,
    pub(crate) network: Digest,
    pub(crate) resource: Digest,
    /// What the protocol itself says first, opaque here.
    pub(crate) greeting: Bytes,
}

/// Why a header was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("shorter than a header")]
    Short,
    #[error("not a mosaik header")]
    Magic,
    #[error("header version {0} is not spoken here")]
    Version(u8),
    #[error("protocol {0} is not spoken here")]
    Protocol(u8),
}

impl Header {
    pub(crate) fn encode(&self) -> Bytes {
        let len = FIXED_LEN + self.greeting.len();
        let mut bytes = BytesMut::with_capacity(4 + len);
        bytes.put_u32(len as u32);
        bytes.put_slice(&MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u8(self.protocol as u8);
        bytes.put_slice(self.network.as_bytes());
        bytes.put_slice(self.resource.as_bytes());
        bytes.put_slice(&self.greeting);
        bytes.freeze()
    }

    /// Decodes what follows the length.
    pub(crate) fn decode(body: &Bytes) -> Result<Self, HeaderError> {
        let (fixed, _) = body
            .split_first_chunk::<FIXED_LEN>()
            .ok_or(HeaderError::Short)?;
        if fixed[..2] != MAGIC {
            return Err(HeaderError::Magic);
        }
        if fixed[2] != VERSION {
            return Err(HeaderError::Version(fixed[2]));
        }
        let digest = |at: usize| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(&fixed[at..at + 32]);
            Digest::from_bytes(bytes)
        };
        Ok(Self {
            protocol: Protocol::from_wire(fixed[3]).ok_or(HeaderError::Protocol(fixed[3]))?,
            network: digest(4),
            resource: digest(36),
            greeting: body.slice(FIXED_LEN..),
        })
    }

    /// Reads the part of a header that is of the same length in each, and says how long the
    /// greeting is that follows.
    pub(super) async fn read_start(
        recv: &mut RecvStream,
        greeting_bytes: usize,
    ) -> Result<(Self, usize), ReadHeaderError> {
        let len = read_len(recv, FIXED_LEN + greeting_bytes).await?;
        let greeting = len.checked_sub(FIXED_LEN).ok_or(HeaderError::Short)?;
        let start = read_exact(recv, FIXED_LEN).await?;
        Ok((Self::decode(&start)?, greeting))
    }
}

/// The acceptor's first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted(Bytes),
    Refused(Reason),
}

impl Answer {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Accepted(reply) => {
                bytes.put_u32(1 + reply.len() as u32);
                bytes.put_u8(0);
                bytes.put_slice(reply);
            }
            Self::Refused(reason) => {
                bytes.put_u32(5);
                bytes.put_u8(1);
                bytes.put_u32(reason.code);
            }
        }
        bytes.freeze()
    }

    /// Decodes what follows the length; `None` is not an answer.
    pub(crate) fn decode(body: &Bytes) -> Option<Self> {
        match body.split_first()? {
            (0, _) => Some(Self::Accepted(body.slice(1..))),
            (1, code) => {
                let code = u32::from_be_bytes(code.try_into().ok()?);
                Some(Self::Refused(close::known(u64::from(code))))
            }
            _ => None,
        }
    }
}

/// Why a length-prefixed body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadBodyError {
    #[error("{len} bytes exceed the limit of {max}")]
    TooLarge { len: usize, max: usize },
    #[error("the sub-stream ended: {0}")]
    Ended(#[from] ReadExactError),
}

impl ReadBodyError {
    /// The reason for which the other side gave the sub-stream up, where it said one.
    pub(super) fn reset(&self) -> Option<Reason> {
        match self {
            Self::Ended(ReadExactError::ReadError(ReadError::Reset(code))) => {
                close::find(code.into_inner())
            }
            _ => None,
        }
    }
}

/// Why the start of a header could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadHeaderError {
    #[error(transparent)]
    Body(#[from] ReadBodyError),
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// Reads a `u32` length and as many bytes, refusing more than `max` before allocating.
pub(crate) async fn read_body(recv: &mut RecvStream, max: usize) -> Result<Bytes, ReadBodyError> {
    let len = read_len(recv, max).await?;
    read_exact(recv, len).await
}

async fn read_len(recv: &mut RecvStream, max: usize) -> Result<usize, ReadBodyError> {
    let mut len = [0; 4];
    recv.read_exact(&mut len).await?;
    let len = u32::from_be_bytes(len) as usize;
    if len > max {
        return Err(ReadBodyError::TooLarge { len, max });
    }
    Ok(len)
}

/// Reads as many bytes, which the caller has bounded.
pub(super) async fn read_exact(recv: &mut RecvStream, len: usize) -> Result<Bytes, ReadBodyError> {
    let mut body = BytesMut::zeroed(len);
    recv.read_exact(&mut body).await?;
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use {super::*, crate::network::close::TooSlow, proptest::prelude::*};

    fn sample() -> Header {
        Header {
            protocol: Protocol::Stream,
            network: Digest::hash(b"network"),
            resource: Digest::hash(b"resource"),
            greeting: Bytes::from_static(b"hello"),
        }
    }

    #[test]
    fn headers_and_answers_round_trip() {
        let bytes = sample().encode();
        assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_be_bytes());
        assert_eq!(Header::decode(&bytes.slice(4..)), Ok(sample()));
        for answer in [
            Answer::Accepted(Bytes::from_static(b"reply")),
            Answer::Refused(TooSlow::REASON),
        ] {
            assert_eq!(Answer::decode(&answer.encode().slice(4..)), Some(answer));
        }
    }

    #[test]
    fn foreign_bytes_are_told_apart() {
        let good = sample().encode().slice(4..);
        let with = |at: usize, byte: u8| {
            let mut bytes = BytesMut::from(&good[..]);
            bytes[at] = byte;
            Header::decode(&bytes.freeze())
        };
        assert_eq!(with(0, b'x'), Err(HeaderError::Magic));
        assert_eq!(with(2, 9), Err(HeaderError::Version(9)));
        assert_eq!(with(3, 0), Err(HeaderError::Protocol(0)));
        assert_eq!(
            Header::decode(&good.slice(..FIXED_LEN - 1)),
            Err(HeaderError::Short)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = Header::decode(&bytes);
            let _ = Answer::decode(&bytes);
        }
    }
}
