//! [`Datum`]: anything that can travel through a stream, a call or a log.

use {
    crate::{
        codec::{self, DecodeError, EncodeError},
        digest::Digest,
    },
    bytes::{Bytes, BytesMut},
    core::{
        any::type_name,
        error::Error,
        ops::{Deref, DerefMut},
    },
    serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned},
};

/// A value that can be sent to other nodes. Every owned serde type is one.
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

    /// Appends the value's bytes to `buffer`, without an allocation of its own. On error
    /// `buffer` is as it was.
    #[doc(hidden)]
    fn encode_into(&self, buffer: &mut BytesMut) -> Result<(), EncodeError>;

    /// Hands the value to a serde serializer: how selection looks at fields without a schema.
    #[doc(hidden)]
    fn inspect<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
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
        let bytes = self.0.encode().map_err(serde::ser::Error::custom)?;
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
