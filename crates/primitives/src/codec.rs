//! How values become bytes: postcard, bounded on the way in.
//!
//! postcard's sequence decoder announces a length to serde only when the remaining input could
//! hold that many elements, so a decode allocates no more than its input justifies (times the
//! element's size). It reads bytes and strings by borrowing from the input. It never panics.
//!
//! Not promised: postcard is not self-describing. A value decodes only as the type it was encoded
//! as; adding a field to a type is a new format. Formats that outlive a process carry a version
//! in front (see [`Versioned`]).

use {
    bytes::{BufMut, Bytes, BytesMut},
    serde::{Serialize, de::DeserializeOwned},
    std::io::Write,
};

/// Why a value could not be encoded.
pub type EncodeError = postcard::Error;
/// Why bytes could not be decoded.
pub type DecodeError = postcard::Error;

/// Encodes `value` into new bytes.
pub fn try_serialize<T: Serialize>(value: &T) -> Result<Bytes, EncodeError> {
    postcard::to_stdvec(value).map(Bytes::from)
}

/// Encodes `value` into a writer.
///
/// A failing writer ends in [`postcard::Error::SerializeBufferFull`]; its cause is not kept.
pub fn try_serialize_to_writer<T: Serialize>(
    value: &T,
    writer: &mut impl Write,
) -> Result<(), EncodeError> {
    postcard::to_io(value, writer).map(|_| ())
}

/// Appends the encoding of `value` to `buffer`. On error `buffer` is as it was.
pub fn serialize_into<T: Serialize>(value: &T, buffer: &mut BytesMut) -> Result<(), EncodeError> {
    struct Append<'b>(&'b mut BytesMut);
    impl postcard::ser_flavors::Flavor for Append<'_> {
        type Output = ();

        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.put_u8(byte);
            Ok(())
        }

        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
    let before = buffer.len();
    postcard::serialize_with_flavor(value, Append(buffer)).inspect_err(|_| buffer.truncate(before))
}

/// Decodes a value from the front of `bytes`; what follows it is ignored.
pub fn deserialize<T: DeserializeOwned>(bytes: impl AsRef<[u8]>) -> Result<T, DecodeError> {
    postcard::from_bytes(bytes.as_ref())
}

/// Why bytes from a peer or a file were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoundedDecodeError {
    /// More bytes than the caller allows; nothing was decoded.
    #[error("{len} bytes exceed the limit of {max}")]
    TooLarge {
        /// Length of the input, bytes.
        len: usize,
        /// The caller's limit, bytes.
        max: usize,
    },
    /// The value ended before the bytes did.
    #[error("{0} bytes follow the value")]
    TrailingBytes(usize),
    /// The version in front is not one this program reads.
    #[error("format version {0} is not supported")]
    UnknownVersion(u16),
    /// Not an encoding of the type.
    #[error("malformed value: {0}")]
    Malformed(#[from] DecodeError),
}

/// Decodes a value that must fill `bytes` exactly and be at most `max` bytes long.
pub fn decode_bounded<T: DeserializeOwned>(
    bytes: &[u8],
    max: usize,
) -> Result<T, BoundedDecodeError> {
    if bytes.len() > max {
        return Err(BoundedDecodeError::TooLarge {
            len: bytes.len(),
            max,
        });
    }
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(BoundedDecodeError::TrailingBytes(rest.len())),
    }
}

/// A format that may change over time: a little-endian `u16` version in front of the encoding.
pub trait Versioned: Serialize + DeserializeOwned {
    /// The version written, and the only one read.
    const VERSION: u16;

    /// The version followed by the encoding.
    fn to_versioned(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_u16_le(Self::VERSION);
        serialize_into(self, &mut buffer)?;
        Ok(buffer.freeze())
    }

    /// Reads what [`Versioned::to_versioned`] wrote, at most `max` bytes in all.
    fn from_versioned(bytes: &[u8], max: usize) -> Result<Self, BoundedDecodeError> {
        if bytes.len() > max {
            return Err(BoundedDecodeError::TooLarge {
                len: bytes.len(),
                max,
            });
        }
        let Some((version, body)) = bytes.split_first_chunk::<2>() else {
            return Err(DecodeError::DeserializeUnexpectedEnd.into());
        };
        match u16::from_le_bytes(*version) {
            version if version == Self::VERSION => decode_bounded(body, max),
            other => Err(BoundedDecodeError::UnknownVersion(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use {super::*, proptest::prelude::*};

    #[test]
    fn a_huge_announced_length_allocates_nothing() {
        // Ten bytes that claim a sequence of 2^63 elements.
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x00];
        assert!(decode_bounded::<Vec<u64>>(&bytes, 64).is_err());
        assert!(decode_bounded::<Vec<u8>>(&bytes, 64).is_err());
        assert!(decode_bounded::<String>(&bytes, 64).is_err());
    }

    #[test]
    fn trailing_and_oversized_input_is_refused() {
        let bytes = try_serialize(&7u32).unwrap();
        let longer = [bytes.as_ref(), &[0]].concat();
        assert_eq!(
            decode_bounded::<u32>(&longer, 64),
            Err(BoundedDecodeError::TrailingBytes(1))
        );
        assert_eq!(
            decode_bounded::<u32>(&longer, 1),
            Err(BoundedDecodeError::TooLarge { len: 2, max: 1 })
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode_bounded::<Vec<(String, Option<Vec<u64>>)>>(&bytes, 256);
            let _ = decode_bounded::<std::collections::BTreeMap<u32, [u8; 32]>>(&bytes, 256);
        }

        #[test]
        fn values_round_trip(value in any::<(u64, String, Vec<Option<i32>>)>()) {
            let bytes = try_serialize(&value).unwrap();
            prop_assert_eq!(&decode_bounded::<(u64, String, Vec<Option<i32>>)>(&bytes, bytes.len()).unwrap(), &value);
            let mut appended = BytesMut::from(&b"x"[..]);
            serialize_into(&value, &mut appended).unwrap();
            prop_assert_eq!(&appended[1..], &bytes[..]);
        }
    }
}
