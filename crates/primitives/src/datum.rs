//! [`Datum`]: anything that can travel through a stream, a call or a log.

use {
    crate::{
        codec::{self, DecodeError, EncodeError},
        digest::Digest,
    },
    bytes::{Bytes, BytesMut},
    core::{
        any::{Any, type_name},
        error::Error,
        ops::{Deref, DerefMut},
    },
    serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, ser},
};

/// A value that can be sent to other nodes. Every owned serde type is one.
///
/// A type that is not serde's can be one with an encoding of its own, by [`encode`](Self::encode)
/// and [`decode`](Self::decode). Selection does not see into it: criteria that test a field, the
/// negated ones too, select none of its values; all other criteria work.
pub trait Datum: Sized + Send + 'static {
    /// Why a value could not be encoded.
    type EncodeError: Error + Send + Sync + 'static;
    /// Why bytes could not be decoded.
    type DecodeError: Error + Send + Sync + 'static;

    /// The stream id used where none is given: the hash of the type's path.
    ///
    /// The path changes when the type is moved or renamed; give streams an explicit id to pin it.
    fn derived_stream_id() -> Digest {
        Digest::hash(type_name::<Self>().as_bytes())
    }

    /// The value's bytes.
    fn encode(&self) -> Result<Bytes, Self::EncodeError>;

    /// A value from its bytes.
    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError>;

    /// Appends the value's bytes to `buffer`, for serde types without an allocation of its own.
    /// On error `buffer` is as it was.
    #[doc(hidden)]
    fn encode_into(&self, buffer: &mut BytesMut) -> Result<(), EncodeError> {
        let bytes = self.encode().map_err(|error| {
            // Of a foreign error this one can say no more than that there was one.
            let error: &dyn Any = &error;
            let same: Option<&EncodeError> = error.downcast_ref();
            same.cloned().unwrap_or(EncodeError::SerdeSerCustom)
        })?;
        buffer.extend_from_slice(&bytes);
        Ok(())
    }

    /// Hands the value to a serde serializer: how selection looks at fields without a schema.
    /// A value that is opaque is an error.
    #[doc(hidden)]
    fn inspect<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("the datum is opaque"))
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Datum for T {
    type DecodeError = DecodeError;
    type EncodeError = EncodeError;

    fn encode(&self) -> Result<Bytes, EncodeError> {
        codec::try_serialize(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::deserialize(bytes)
    }

    fn encode_into(&self, buffer: &mut BytesMut) -> Result<(), EncodeError> {
        codec::serialize_into(self, buffer)
    }

    fn inspect<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }
}

/// A datum that is serialised as the bytes of its own encoding, so that containers which carry
/// it need not know its shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Encoded<T>(pub T);

impl<T> From<T> for Encoded<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Encoded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Encoded<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Datum> Serialize for Encoded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.encode().map_err(ser::Error::custom)?;
        bytes.serialize(serializer)
    }
}

impl<'de, T: Datum> Deserialize<'de> for Encoded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        T::decode(&bytes)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No serde type; the empty one cannot be encoded.
    #[derive(Clone, Debug, PartialEq)]
    struct Opaque(&'static str);

    #[derive(Debug, thiserror::Error)]
    #[error("empty")]
    struct Empty;

    impl Datum for Opaque {
        type DecodeError = DecodeError;
        type EncodeError = Empty;

        fn encode(&self) -> Result<Bytes, Empty> {
            match self.0 {
                "" => Err(Empty),
                text => Ok(Bytes::from_static(text.as_bytes())),
            }
        }

        fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
            match bytes {
                b"known" => Ok(Self("known")),
                _ => Err(DecodeError::DeserializeBadEncoding),
            }
        }
    }

    /// No serde type either; cannot be encoded, for a reason in our own words.
    struct Full;

    impl Datum for Full {
        type DecodeError = DecodeError;
        type EncodeError = EncodeError;

        fn encode(&self) -> Result<Bytes, EncodeError> {
            Err(EncodeError::SerializeBufferFull)
        }

        fn decode(_: &[u8]) -> Result<Self, DecodeError> {
            Ok(Self)
        }
    }

    #[test]
    fn an_encoding_of_one_s_own_is_what_is_appended() {
        let mut buffer = BytesMut::from(&b"before "[..]);
        Opaque("known").encode_into(&mut buffer).unwrap();
        assert_eq!(buffer, "before known");
        let custom = Opaque("").encode_into(&mut buffer).unwrap_err();
        assert_eq!(custom, EncodeError::SerdeSerCustom);
        let kept = Full.encode_into(&mut buffer).unwrap_err();
        assert_eq!(kept, EncodeError::SerializeBufferFull);
        assert_eq!(buffer, "before known", "an error appends nothing");
    }

    #[test]
    fn a_value_that_is_no_serde_type_is_opaque() {
        let mut seen = Vec::new();
        let mut json = serde_json::Serializer::new(&mut seen);
        let error = Opaque("known").inspect(&mut json).unwrap_err();
        assert_eq!(error.to_string(), "the datum is opaque");
        "known".to_owned().inspect(&mut json).unwrap();
        assert_eq!(seen, b"\"known\"");
    }

    #[test]
    fn encoded_carries_an_encoding_of_one_s_own() {
        let carried = Encoded(Opaque("known"));
        let bytes = codec::try_serialize(&carried).unwrap();
        let opaque: Bytes = codec::deserialize(&bytes).unwrap();
        assert_eq!(opaque, "known");
        let back: Encoded<Opaque> = codec::deserialize(&bytes).unwrap();
        assert_eq!(back, carried);
        assert!(codec::try_serialize(&Encoded(Opaque(""))).is_err());
    }

    #[test]
    fn encoded_hides_the_shape_of_what_it_carries() {
        let carried = Encoded((7u32, "seven".to_owned()));
        let bytes = codec::try_serialize(&carried).unwrap();
        let opaque: Bytes = codec::deserialize(&bytes).unwrap();
        assert_eq!(opaque, carried.0.encode().unwrap());
        let back: Encoded<(u32, String)> = codec::deserialize(&bytes).unwrap();
        assert_eq!(back, carried);
    }
}
