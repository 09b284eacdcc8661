//! Map keys and sequence indices as the segments of a path.

use {
    super::walk::Unreadable,
    core::fmt::{self, Write},
    serde::{Serialize, Serializer, ser::Impossible},
};

/// An integer as decimal text, without an allocation.
pub(super) struct Digits {
    text: [u8; 40],
    len: usize,
}

impl Digits {
    pub(super) fn of(number: impl fmt::Display) -> Self {
        let mut digits = Self {
            text: [0; 40],
            len: 0,
        };
        // Forty characters hold every 128-bit integer, so the write cannot fail; text that is
        // not an integer is cut, and then names no segment.
        if write!(digits, "{number}").is_err() {
            digits.len = 0;
        }
        digits
    }

    pub(super) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

impl Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.text
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Serialises a map key by handing its name to a function. Keys that are no text, number,
/// boolean or unit variant have no name and end in [`Unreadable`].
pub(super) struct Key<F>(pub(super) F);

macro_rules! named {
    ($($method:ident $type:ty)*) => {$(
        fn $method(self, value: $type) -> Result<R, Unreadable> {
            Ok((self.0)(Digits::of(value).as_str()))
        }
    )*};
}

macro_rules! nameless {
    ($($method:ident($($arg:ty),*) -> $result:ty;)*) => {$(
        fn $method(self, $(_: $arg),*) -> Result<$result, Unreadable> {
            Err(Unreadable)
        }
    )*};
}

impl<R, F: FnOnce(&str) -> R> Serializer for Key<F> {
    type Error = Unreadable;
    type Ok = R;
    type SerializeMap = Impossible<R, Unreadable>;
    type SerializeSeq = Impossible<R, Unreadable>;
    type SerializeStruct = Impossible<R, Unreadable>;
    type SerializeStructVariant = Impossible<R, Unreadable>;
    type SerializeTuple = Impossible<R, Unreadable>;
    type SerializeTupleStruct = Impossible<R, Unreadable>;
    type SerializeTupleVariant = Impossible<R, Unreadable>;

    named!(
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64 serialize_u128 u128
        serialize_bool bool serialize_char char
    );

    nameless!(
        serialize_f32(f32) -> R;
        serialize_f64(f64) -> R;
        serialize_bytes(&[u8]) -> R;
        serialize_none() -> R;
        serialize_unit() -> R;
        serialize_unit_struct(&'static str) -> R;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    );

    fn serialize_str(self, value: &str) -> Result<R, Unreadable> {
        Ok((self.0)(value))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<R, Unreadable> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<R, Unreadable> {
        Ok((self.0)(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<R, Unreadable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<R, Unreadable> {
        Err(Unreadable)
    }
}
