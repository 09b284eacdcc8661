//! Constants in selections, and how a value seen in a datum compares with one.
//!
//! Four kinds of values compare with their own kind only: null, booleans, numbers, and text with
//! bytes (by their bytes). Numbers of any width and signedness compare by value, integers with
//! floats exactly. A single-precision value compares at single precision, so that `3.1` selects
//! the `f32` that prints as 3.1. NaN equals nothing and is neither below nor above anything.

use {
    bytes::Bytes,
    core::cmp::Ordering,
    mosaik_primitives::Digest,
    serde::{Deserialize, Serialize},
};

/// A constant that fields of a datum are compared with. Made by `From`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Literal(pub(super) Repr);

/// Part of the wire format: variants are only ever added at the end.
///
/// The derived order is structural and serves to sort tests; [`Scalar::position`] is the order
/// by value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Repr {
    Null,
    Bool(bool),
    Int(i128),
    /// Above `i128::MAX`.
    Big(u128),
    /// The bits of an `f64`, so that literals have a structural equality.
    Float(u64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A value met in a datum.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'v> {
    Null,
    Bool(bool),
    Int(i128),
    Big(u128),
    Single(f32),
    Float(f64),
    Blob(&'v [u8]),
    /// A struct, map or sequence: equal to no literal, and not null.
    Compound,
}

impl<'v> Scalar<'v> {
    /// The value of an unsigned integer.
    pub(super) fn unsigned(value: u128) -> Self {
        i128::try_from(value).map_or(Self::Big(value), Self::Int)
    }

    const fn kind(self) -> Option<u8> {
        match self {
            Self::Null => Some(0),
            Self::Bool(_) => Some(1),
            Self::Int(_) | Self::Big(_) | Self::Single(_) | Self::Float(_) => Some(2),
            Self::Blob(_) => Some(3),
            Self::Compound => None,
        }
    }

    /// How the value stands to `literal` where both are of one kind.
    pub(super) fn compare(self, literal: &'v Literal) -> Option<Ordering> {
        let literal = literal.scalar();
        (self.kind() == literal.kind()).then(|| self.by_value(literal))?
    }

    /// The value's place in a total order over all kinds; `None` where it has none (NaN,
    /// compounds).
    pub(super) fn position(self, literal: &'v Literal) -> Option<Ordering> {
        let literal = literal.scalar();
        match self.kind()?.cmp(&literal.kind()?) {
            Ordering::Equal => self.by_value(literal),
            other => Some(other),
        }
    }

    /// Order of two values of one kind.
    fn by_value(self, other: Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Bool(a), Self::Bool(b)) => a.cmp(&b),
            (Self::Blob(a), Self::Blob(b)) => a.cmp(b),
            (Self::Single(a), b) => return a.partial_cmp(&b.to_single()?),
            (a, Self::Single(b)) => return a.to_single()?.partial_cmp(&b),
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Big(a), Self::Big(b)) => a.cmp(&b),
            (Self::Int(_), Self::Big(_)) => Ordering::Less,
            (Self::Big(_), Self::Int(_)) => Ordering::Greater,
            (Self::Float(a), Self::Float(b)) => return a.partial_cmp(&b),
            (Self::Int(a), Self::Float(b)) => return int_and_float(a, b),
            (Self::Float(a), Self::Int(b)) => return int_and_float(b, a).map(Ordering::reverse),
            (Self::Big(a), Self::Float(b)) => return big_and_float(a, b),
            (Self::Float(a), Self::Big(b)) => return big_and_float(b, a).map(Ordering::reverse),
            _ => return None,
        })
    }

    /// A number at single precision.
    fn to_single(self) -> Option<f32> {
        match self {
            Self::Int(value) => Some(value as f32),
            Self::Big(value) => Some(value as f32),
            Self::Single(value) => Some(value),
            Self::Float(value) => Some(value as f32),
            Self::Null | Self::Bool(_) | Self::Blob(_) | Self::Compound => None,
        }
    }
}

const TWO_POW_127: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
const TWO_POW_128: f64 = 2.0 * TWO_POW_127;

/// Exact: no integer is rounded to a float.
fn int_and_float(int: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        None
    } else if float >= TWO_POW_127 {
        Some(Ordering::Less)
    } else if float < -TWO_POW_127 {
        Some(Ordering::Greater)
    } else {
        let whole = float.trunc();
        Some(int.cmp(&(whole as i128)).then(whole.partial_cmp(&float)?))
    }
}

/// `big` is above `i128::MAX`, where every float is a whole number.
fn big_and_float(big: u128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        None
    } else if float >= TWO_POW_128 {
        Some(Ordering::Less)
    } else if float < TWO_POW_127 {
        Some(Ordering::Greater)
    } else {
        Some(big.cmp(&(float as u128)))
    }
}

impl Literal {
    /// Matches fields that are absent or null (`None`, unit).
    pub const NULL: Self = Self(Repr::Null);

    pub(super) fn scalar(&self) -> Scalar<'_> {
        match &self.0 {
            Repr::Null => Scalar::Null,
            Repr::Bool(value) => Scalar::Bool(*value),
            Repr::Int(value) => Scalar::Int(*value),
            Repr::Big(value) => Scalar::Big(*value),
            Repr::Float(bits) => Scalar::Float(f64::from_bits(*bits)),
            Repr::Text(text) => Scalar::Blob(text.as_bytes()),
            Repr::Bytes(bytes) => Scalar::Blob(bytes),
        }
    }

    /// Whether the literal is in the one form its value has.
    pub(super) fn is_canonical(&self) -> bool {
        match self.0 {
            Repr::Big(value) => i128::try_from(value).is_err(),
            _ => true,
        }
    }
}

impl From<u128> for Literal {
    fn from(value: u128) -> Self {
        Self(i128::try_from(value).map_or(Repr::Big(value), Repr::Int))
    }
}

macro_rules! from_integers {
    ($($int:ty)*) => {$(
        impl From<$int> for Literal {
            fn from(value: $int) -> Self {
                Self(Repr::Int(i128::from(value)))
            }
        }
    )*};
}
from_integers!(i8 i16 i32 i64 i128 u8 u16 u32 u64);

impl From<usize> for Literal {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

impl From<isize> for Literal {
    fn from(value: isize) -> Self {
        Self::from(value as i64)
    }
}

impl From<bool> for Literal {
    fn from(value: bool) -> Self {
        Self(Repr::Bool(value))
    }
}

impl From<f64> for Literal {
    fn from(value: f64) -> Self {
        Self(Repr::Float(value.to_bits()))
    }
}

impl From<f32> for Literal {
    fn from(value: f32) -> Self {
        Self::from(f64::from(value))
    }
}

impl From<char> for Literal {
    fn from(value: char) -> Self {
        Self(Repr::Text(value.to_string()))
    }
}

impl From<&str> for Literal {
    fn from(value: &str) -> Self {
        Self(Repr::Text(value.to_owned()))
    }
}

impl From<String> for Literal {
    fn from(value: String) -> Self {
        Self(Repr::Text(value))
    }
}

impl From<&[u8]> for Literal {
    fn from(value: &[u8]) -> Self {
        Self(Repr::Bytes(value.to_vec()))
    }
}

impl From<Vec<u8>> for Literal {
    fn from(value: Vec<u8>) -> Self {
        Self(Repr::Bytes(value))
    }
}

impl From<Bytes> for Literal {
    fn from(value: Bytes) -> Self {
        Self(Repr::Bytes(value.into()))
    }
}

impl From<Digest> for Literal {
    /// The hex text that a digest is in a field of a datum.
    fn from(value: Digest) -> Self {
        Self(Repr::Text(value.to_string()))
    }
}

impl<T: Into<Self>> From<Option<T>> for Literal {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NULL, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_value_whatever_their_type() {
        let cases = [
            (Scalar::Int(3), Literal::from(3.0), Some(Ordering::Equal)),
            (Scalar::Int(3), Literal::from(3.5), Some(Ordering::Less)),
            (
                Scalar::Int(-3),
                Literal::from(-3.5),
                Some(Ordering::Greater),
            ),
            (
                Scalar::Float(2.5),
                Literal::from(2u8),
                Some(Ordering::Greater),
            ),
            (Scalar::Float(f64::NAN), Literal::from(2), None),
            (Scalar::Float(2.0), Literal::from(f64::NAN), None),
            (
                Scalar::Int(i128::MAX),
                Literal::from(f64::INFINITY),
                Some(Ordering::Less),
            ),
            (
                Scalar::Int(i128::MIN),
                Literal::from(-TWO_POW_127),
                Some(Ordering::Equal),
            ),
            (
                Scalar::unsigned(u128::MAX),
                Literal::from(TWO_POW_128),
                Some(Ordering::Less),
            ),
            (
                Scalar::unsigned(1 << 127),
                Literal::from(TWO_POW_127),
                Some(Ordering::Equal),
            ),
            (
                Scalar::unsigned(u128::MAX),
                Literal::from(i128::MAX),
                Some(Ordering::Greater),
            ),
            (
                Scalar::Single(3.1),
                Literal::from(3.1),
                Some(Ordering::Equal),
            ),
            (Scalar::Bool(true), Literal::from(1), None),
            (
                Scalar::Blob(b"a"),
                Literal::from("a"),
                Some(Ordering::Equal),
            ),
            (
                Scalar::Blob(b"a"),
                Literal::from(&b"b"[..]),
                Some(Ordering::Less),
            ),
            (
                Scalar::Null,
                Literal::from(None::<u8>),
                Some(Ordering::Equal),
            ),
            (Scalar::Compound, Literal::NULL, None),
        ];
        for (scalar, literal, expected) in cases {
            assert_eq!(
                scalar.compare(&literal),
                expected,
                "{scalar:?} to {literal:?}"
            );
        }
        // 2^53 + 1 is no f64: comparing as floats would call these equal.
        let odd = Scalar::Int((1 << 53) + 1);
        assert_eq!(
            odd.compare(&Literal::from(9_007_199_254_740_992.0)),
            Some(Ordering::Greater)
        );
    }
}
