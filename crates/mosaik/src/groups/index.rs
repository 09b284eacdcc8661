//! [`Index`] and [`Term`]: the two counters of a group's log.
//!
//! Both are numbers in a type of their own, so that one cannot stand in for the other, with the
//! arithmetic and comparisons that programs need against plain integers. Nothing here panics:
//! arithmetic saturates, and negative integers become zero.

use {
    core::{
        cmp::Ordering,
        fmt,
        ops::{Add, RangeInclusive, Sub},
    },
    mosaik_protocol::consensus as core_types,
    serde::{Deserialize, Serialize},
};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Zero: before the first.
            pub const fn zero() -> Self {
                Self(0)
            }

            /// One: the first.
            pub const fn one() -> Self {
                Self(1)
            }

            /// Whether this is zero.
            pub const fn is_zero(&self) -> bool {
                self.0 == 0
            }

            /// The one before; zero stays zero.
            #[must_use]
            pub const fn prev(&self) -> Self {
                Self(self.0.saturating_sub(1))
            }

            /// The one after; saturates.
            #[must_use]
            pub const fn next(&self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// As a `usize`; saturates where that is narrower.
            pub fn as_usize(&self) -> usize {
                usize::try_from(self.0).unwrap_or(usize::MAX)
            }

            /// As a `u64`.
            pub const fn as_u64(&self) -> u64 {
                self.0
            }

            /// How far apart the two are, whichever is larger.
            pub fn distance(&self, other: &Self) -> u64 {
                self.0.abs_diff(other.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<core_types::$name> for $name {
            fn from(value: core_types::$name) -> Self {
                Self(value.0)
            }
        }

        impl From<$name> for core_types::$name {
            fn from(value: $name) -> Self {
                Self(value.0)
            }
        }

        impl From<&Self> for $name {
            fn from(value: &Self) -> Self {
                *value
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl Add for $name {
            type Output = Self;

            /// Saturates.
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        impl Sub for $name {
            type Output = Self;

            /// Saturates at zero.
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        counter!(@integers $name: u8 u16 u32 u64 usize i8 i16 i32 i64);
        counter!(@unsigned $name: u8 u16 u32 u64 usize);
        counter!(@compared $name: u8 u16 u32 u64 i8 i16 i32 i64);
    };

    (@integers $name:ident: $($int:ty)*) => { $(
        impl From<$int> for $name {
            /// Negative values become zero.
            fn from(value: $int) -> Self {
                Self(u64::try_from(value).unwrap_or(0))
            }
        }

        impl From<&$int> for $name {
            /// Negative values become zero.
            fn from(value: &$int) -> Self {
                Self::from(*value)
            }
        }
    )* };

    (@unsigned $name:ident: $($int:ty)*) => { $(
        impl Add<$int> for $name {
            type Output = Self;

            /// Saturates.
            fn add(self, other: $int) -> Self {
                self + Self::from(other)
            }
        }

        impl Add<&$int> for $name {
            type Output = Self;

            /// Saturates.
            fn add(self, other: &$int) -> Self {
                self + Self::from(*other)
            }
        }

        impl Sub<$int> for $name {
            type Output = Self;

            /// Saturates at zero.
            fn sub(self, other: $int) -> Self {
                self - Self::from(other)
            }
        }
    )* };

    (@compared $name:ident: $($int:ty)*) => { $(
        impl PartialEq<$int> for $name {
            fn eq(&self, other: &$int) -> bool {
                i128::from(self.0) == i128::from(*other)
            }
        }

        impl PartialEq<&$int> for $name {
            fn eq(&self, other: &&$int) -> bool {
                self == *other
            }
        }

        impl PartialEq<$int> for &$name {
            fn eq(&self, other: &$int) -> bool {
                *self == other
            }
        }

        impl PartialOrd<$int> for $name {
            fn partial_cmp(&self, other: &$int) -> Option<Ordering> {
                Some(i128::from(self.0).cmp(&i128::from(*other)))
            }
        }

        impl PartialOrd<&$int> for $name {
            fn partial_cmp(&self, other: &&$int) -> Option<Ordering> {
                self.partial_cmp(*other)
            }
        }

        impl PartialOrd<$int> for &$name {
            fn partial_cmp(&self, other: &$int) -> Option<Ordering> {
                (*self).partial_cmp(other)
            }
        }
    )* };
}

counter! {
    /// Number of a command in a group, from 1, in the order commands are applied. Zero is "no
    /// command yet".
    ///
    /// Only commands are counted: elections and membership changes use no index up. The sequence
    /// has no gaps.
    Index
}
counter! {
    /// A reign: there is at most one leader in a term. Later terms are larger; terms without a
    /// leader exist.
    Term
}

/// The indices of commands that were taken together, first and last.
pub type IndexRange = RangeInclusive<Index>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Index::zero().prev(), Index::zero());
        assert_eq!(Index::from(u64::MAX).next(), Index::from(u64::MAX));
        assert_eq!(Index::from(u64::MAX) + 1u8, u64::MAX);
        assert_eq!(Index::one() - 7u64, 0);
        assert_eq!(Index::from(-3), Index::zero());
        assert_eq!(Term::from(7u8) + Term::from(&5usize), 12);
        assert_eq!(Index::from(3).distance(&Index::from(10)), 7);
        assert_eq!(Index::from(10).distance(&Index::from(3)), 7);
    }

    #[test]
    fn comparisons_with_integers_are_by_value_whatever_their_width_and_sign() {
        let index = Index::from(5u8);
        assert!(index == 5 && &index == 5u64 && index == 5i8);
        assert!(index > -1 && index > -1i64 && index < 6u16 && &index >= 5i32);
        assert!(Index::zero() != -1 && Index::zero() > i64::MIN);
        assert!(Index::from(u64::MAX) > i64::MAX && Index::from(u64::MAX) == u64::MAX);
    }

    #[test]
    fn is_a_plain_number_on_the_wire() {
        assert_eq!(serde_json::to_string(&Index::from(7)).unwrap(), "7");
        assert_eq!(postcard::to_stdvec(&Term::from(7)).unwrap(), [7]);
    }
}
