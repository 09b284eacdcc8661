//! The frames of a subscription: what a producer writes after it accepted.
//!
//! ```text
//! item      varint(length + 1) │ length bytes
//! control   varint(0) │ kind u8 │ …
//!             1 missed   varint(count)    items of this subscription that the consumer missed;
//!                                     0: some, perhaps, and how many is not known
//!             2 end      varint(code)     no more items, for this reason (`network::close`)
//! ```
//!
//! Varints are LEB128, at most five bytes. The length is bounded before anything is allocated.

use bytes::{BufMut, BytesMut};

/// The longest prefix of an item.
pub(super) const MAX_PREFIX: usize = 5;

const MISSED: u8 = 1;
const END: u8 = 2;

/// Writes a varint right-aligned into `space`; returns where it starts.
fn varint_right_aligned(mut value: u32, space: &mut [u8; MAX_PREFIX]) -> usize {
    let mut len = 1;
    let mut rest = value >> 7;
    while rest > 0 {
        len += 1;
        rest >>= 7;
    }
    let start = MAX_PREFIX - len;
    for byte in &mut space[start..] {
        *byte = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
    }
    space[MAX_PREFIX - 1] &= 0x7f;
    start
}

fn put_varint(value: u32, buffer: &mut BytesMut) {
    let mut space = [0; MAX_PREFIX];
    let start = varint_right_aligned(value, &mut space);
    buffer.put_slice(&space[start..]);
}

/// Reserves room for an item's prefix; encode the item behind it, then call [`finish_item`].
pub(super) fn begin_item(buffer: &mut BytesMut) {
    buffer.clear();
    buffer.put_slice(&[0; MAX_PREFIX]);
}

/// Fills the prefix of the item that follows [`begin_item`]'s reserve; the frame starts at the
/// returned offset. The caller has bounded the item's length below `u32::MAX`.
pub(super) fn finish_item(buffer: &mut BytesMut) -> usize {
    let len = buffer.len() - MAX_PREFIX;
    let mut space = [0; MAX_PREFIX];
    let start = varint_right_aligned(len as u32 + 1, &mut space);
    buffer[..MAX_PREFIX].copy_from_slice(&space);
    start
}

/// A control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// The consumer missed this many items; 0 where it is not known how many, or whether any.
    Missed(u32),
    /// No item follows; the code says why.
    End(u32),
}

impl Control {
    pub(super) fn encode(self) -> BytesMut {
        let mut buffer = BytesMut::with_capacity(2 + MAX_PREFIX);
        let (kind, value) = match self {
            Self::Missed(count) => (MISSED, count),
            Self::End(code) => (END, code),
        };
        buffer.put_u8(0);
        buffer.put_u8(kind);
        put_varint(value, &mut buffer);
        buffer
    }
}

/// One frame at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'b> {
    Item(&'b [u8]),
    Control(Control),
}

/// What stands at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'b> {
    /// A frame, and how many bytes it takes.
    Frame(Frame<'b>, usize),
    /// The front of a frame that takes at least this many bytes.
    Incomplete(usize),
}

/// Why bytes are not frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("item of {len} bytes exceeds the limit of {max}")]
    TooLarge { len: usize, max: usize },
    #[error("length is not a varint of 32 bits")]
    Varint,
    #[error("control frame {0} is unknown")]
    Control(u8),
}

/// A varint at the front of `bytes` and its length; `None` when it is incomplete.
fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, FrameError> {
    let mut value = 0u32;
    for (i, byte) in bytes.iter().take(MAX_PREFIX).enumerate() {
        let part = u32::from(byte & 0x7f);
        if i == MAX_PREFIX - 1 && part > 0x0f {
            return Err(FrameError::Varint);
        }
        value |= part << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((value, i + 1)));
        }
    }
    if bytes.len() >= MAX_PREFIX {
        Err(FrameError::Varint)
    } else {
        Ok(None)
    }
}

/// Parses the frame at the front of `bytes`; an item may have at most `max` bytes.
pub(super) fn parse(bytes: &[u8], max: usize) -> Result<Parsed<'_>, FrameError> {
    let Some((first, at)) = varint(bytes)? else {
        return Ok(Parsed::Incomplete(bytes.len() + 1));
    };
    if first == 0 {
        return parse_control(bytes, at);
    }
    let len = first as usize - 1;
    if len > max {
        return Err(FrameError::TooLarge { len, max });
    }
    match bytes.get(at..at + len) {
        Some(item) => Ok(Parsed::Frame(Frame::Item(item), at + len)),
        None => Ok(Parsed::Incomplete(at + len)),
    }
}

fn parse_control(bytes: &[u8], at: usize) -> Result<Parsed<'_>, FrameError> {
    let Some(kind) = bytes.get(at).copied() else {
        return Ok(Parsed::Incomplete(at + 2));
    };
    if !matches!(kind, MISSED | END) {
        return Err(FrameError::Control(kind));
    }
    let Some((value, len)) = varint(&bytes[at + 1..])? else {
        return Ok(Parsed::Incomplete(bytes.len() + 1));
    };
    let control = if kind == MISSED {
        Control::Missed(value)
    } else {
        Control::End(value)
    };
    Ok(Parsed::Frame(Frame::Control(control), at + 1 + len))
}

#[cfg(test)]
mod tests {
    use {super::*, proptest::prelude::*};

    fn item(payload: &[u8]) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        begin_item(&mut buffer);
        buffer.extend_from_slice(payload);
        let start = finish_item(&mut buffer);
        buffer[start..].to_vec()
    }

    #[test]
    fn items_of_every_length_class_round_trip() {
        for len in [0, 1, 126, 127, 128, 16_382, 16_383, 16_384, 300_000] {
            let payload = vec![7; len];
            let frame = item(&payload);
            assert_eq!(
                parse(&frame, len),
                Ok(Parsed::Frame(Frame::Item(&payload), frame.len())),
                "{len}"
            );
        }
    }

    #[test]
    fn an_item_over_the_limit_is_refused_from_its_length_alone() {
        let frame = item(&[0; 200]);
        assert_eq!(
            parse(&frame[..2], 199),
            Err(FrameError::TooLarge { len: 200, max: 199 })
        );
    }

    #[test]
    fn control_frames_round_trip_and_unknown_ones_are_refused() {
        for control in [
            Control::Missed(u32::MAX),
            Control::End(10_413),
            Control::Missed(0),
        ] {
            let bytes = control.encode();
            assert_eq!(
                parse(&bytes, 0),
                Ok(Parsed::Frame(Frame::Control(control), bytes.len()))
            );
            for cut in 0..bytes.len() {
                assert!(matches!(parse(&bytes[..cut], 0), Ok(Parsed::Incomplete(n)) if n > cut));
            }
        }
        assert_eq!(parse(&[0, 9, 0], 0), Err(FrameError::Control(9)));
        assert_eq!(parse(&[0xff; 5], 0), Err(FrameError::Varint));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_never_claim_more_than_there_is(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            match parse(&bytes, 256) {
                Ok(Parsed::Frame(_, len)) => prop_assert!(len <= bytes.len() && len > 0),
                Ok(Parsed::Incomplete(len)) => prop_assert!(len > bytes.len()),
                Err(_) => {}
            }
        }
    }
}
