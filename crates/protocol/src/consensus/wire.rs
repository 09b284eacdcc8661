//! Bytes in, bytes out: varints and slices, without copying payloads.
//!
//! Reading never allocates more than the input justifies: every count is checked against its
//! named limit and against what the rest of the input could hold before anything is reserved.

use {
    super::ids::{LogIndex, Member, PeerKey, Position, Term},
    bytes::{Buf, BufMut, Bytes, BytesMut},
};

/// Why bytes from a peer or a file were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end before the value does.
    #[error("the bytes end before the value does")]
    Truncated,
    /// The value ends before the bytes do.
    #[error("{0} bytes follow the value")]
    TrailingBytes(usize),
    /// The version in front is not one this program reads.
    #[error("format version {0} is not supported")]
    UnknownVersion(u8),
    /// A tag names no known alternative.
    #[error("{what} has no alternative {tag}")]
    UnknownTag {
        /// What was being read.
        what: &'static str,
        /// The tag found.
        tag: u8,
    },
    /// A count or a size exceeds its limit; nothing was reserved for it.
    #[error("{what}: {len} exceeds the limit of {max}")]
    TooLarge {
        /// What was being read.
        what: &'static str,
        /// What the bytes claim.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// Well-formed bytes that say something impossible.
    #[error("{0}")]
    Invalid(&'static str),
}

pub(super) fn put_varint(buf: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buf.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

/// Bytes [`put_varint`] writes for `value`.
pub(super) const fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(super) fn put_bytes(buf: &mut BytesMut, bytes: &[u8]) {
    put_varint(buf, bytes.len() as u64);
    buf.extend_from_slice(bytes);
}

pub(super) fn put_bool(buf: &mut BytesMut, value: bool) {
    buf.put_u8(u8::from(value));
}

pub(super) fn put_member(buf: &mut BytesMut, member: &Member) {
    buf.extend_from_slice(&member.peer.0);
    buf.put_u64_le(member.incarnation);
}

pub(super) fn put_option_member(buf: &mut BytesMut, member: Option<&Member>) {
    put_bool(buf, member.is_some());
    if let Some(member) = member {
        put_member(buf, member);
    }
}

pub(super) fn put_position(buf: &mut BytesMut, position: Position) {
    put_varint(buf, position.term.0);
    put_varint(buf, position.index.0);
}

/// Reads from the front of some bytes; what it returns shares their memory.
#[derive(Clone, Debug)]
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn remaining(&self) -> usize {
        self.0.len()
    }

    /// What has not been read.
    pub(super) fn into_rest(self) -> Bytes {
        self.0
    }

    /// Ends reading: nothing may be left.
    pub(super) fn finish(self) -> Result<(), WireError> {
        match self.0.len() {
            0 => Ok(()),
            rest => Err(WireError::TrailingBytes(rest)),
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        let byte = *self.0.first().ok_or(WireError::Truncated)?;
        self.0.advance(1);
        Ok(byte)
    }

    pub(super) fn u64_le(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(WireError::UnknownTag { what: "bool", tag }),
        }
    }

    pub(super) fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                return Err(WireError::Invalid("varint exceeds 64 bits"));
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.0.advance(at + 1);
                return Ok(value);
            }
        }
        match self.0.len() {
            0..10 => Err(WireError::Truncated),
            _ => Err(WireError::Invalid("varint exceeds 64 bits")),
        }
    }

    /// A count of things of at least `min_bytes` each: at most `max`, and no more than the rest
    /// of the input could hold.
    pub(super) fn count(
        &mut self,
        what: &'static str,
        max: usize,
        min_bytes: usize,
    ) -> Result<usize, WireError> {
        let len = self.varint()?;
        if len > max as u64 {
            return Err(WireError::TooLarge {
                what,
                len,
                max: max as u64,
            });
        }
        if len as usize * min_bytes > self.remaining() {
            return Err(WireError::Truncated);
        }
        Ok(len as usize)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let array = *self.0.first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.0.advance(N);
        Ok(array)
    }

    /// Bytes with their length in front; shares memory.
    pub(super) fn bytes(&mut self, what: &'static str, max: usize) -> Result<Bytes, WireError> {
        let len = self.count(what, max, 1)?;
        Ok(self.0.split_to(len))
    }

    /// Passes over bytes with their length in front.
    pub(super) fn skip_bytes(&mut self, what: &'static str, max: usize) -> Result<(), WireError> {
        let len = self.count(what, max, 1)?;
        self.0.advance(len);
        Ok(())
    }

    pub(super) fn member(&mut self) -> Result<Member, WireError> {
        Ok(Member::new(PeerKey(self.array()?), self.u64_le()?))
    }

    pub(super) fn option_member(&mut self) -> Result<Option<Member>, WireError> {
        if self.bool()? {
            self.member().map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn members(
        &mut self,
        what: &'static str,
        max: usize,
    ) -> Result<Vec<Member>, WireError> {
        let count = self.count(what, max, 40)?;
        (0..count).map(|_| self.member()).collect()
    }

    pub(super) fn position(&mut self) -> Result<Position, WireError> {
        Ok(Position::new(
            Term(self.varint()?),
            LogIndex(self.varint()?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_their_edges() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut buf = BytesMut::new();
                put_varint(&mut buf, value);
                assert_eq!(buf.len(), varint_len(value));
                let mut reader = Reader::new(buf.freeze());
                assert_eq!(reader.varint(), Ok(value));
                assert_eq!(reader.finish(), Ok(()));
            }
        }
        let overlong = Bytes::from_static(&[0xff; 11]);
        assert!(matches!(
            Reader::new(overlong).varint(),
            Err(WireError::Invalid(_))
        ));
        assert_eq!(
            Reader::new(Bytes::from_static(&[0x80])).varint(),
            Err(WireError::Truncated)
        );
    }

    #[test]
    fn a_count_larger_than_the_input_reserves_nothing() {
        let mut buf = BytesMut::new();
        put_varint(&mut buf, 1_000);
        let mut reader = Reader::new(buf.freeze());
        assert_eq!(reader.members("members", 1_024), Err(WireError::Truncated));
    }
}
