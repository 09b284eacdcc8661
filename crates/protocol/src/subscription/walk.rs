//! Looks at the fields of a value that tests ask for, and at no others.
//!
//! A serde serializer that serialises nothing: it follows the paths of the tests, hands what it
//! meets at their ends to their predicates, and keeps one bit a test. Values off the paths are
//! not visited. It descends at most as deep as the longest path, so a deep value costs no stack.
//! Nothing is allocated for up to [`INLINE_TESTS`] tests.

use {
    super::{
        key::{Digits, Key},
        literal::Scalar,
        predicate::{Predicate, Test},
    },
    core::fmt::{self, Display},
    serde::{Serialize, Serializer, ser},
};

const WORDS: usize = 4;
/// Up to so many tests their outcomes are held without an allocation.
const INLINE_TESTS: usize = WORDS * 64;

/// One bit a test.
pub(super) struct Outcomes {
    inline: [u64; WORDS],
    spilled: Vec<u64>,
}

impl Outcomes {
    /// The outcomes for a value that has none of the fields.
    pub(super) fn of_absent(tests: &[Test]) -> Self {
        let spilled = if tests.len() > INLINE_TESTS {
            vec![0; tests.len().div_ceil(64)]
        } else {
            Vec::new()
        };
        let mut outcomes = Self {
            inline: [0; WORDS],
            spilled,
        };
        for (index, test) in tests.iter().enumerate() {
            outcomes.set(index, test.predicate.holds(Scalar::Null));
        }
        outcomes
    }

    pub(super) fn get(&self, index: usize) -> bool {
        let words = if self.spilled.is_empty() {
            &self.inline[..]
        } else {
            &self.spilled
        };
        words[index / 64] >> (index % 64) & 1 == 1
    }

    fn set(&mut self, index: usize, holds: bool) {
        let words = if self.spilled.is_empty() {
            &mut self.inline[..]
        } else {
            &mut self.spilled
        };
        let bit = 1 << (index % 64);
        if holds {
            words[index / 64] |= bit;
        } else {
            words[index / 64] &= !bit;
        }
    }
}

/// The value's own `Serialize` failed.
#[derive(Debug)]
pub(super) struct Unreadable;

impl Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value cannot be serialised")
    }
}

impl core::error::Error for Unreadable {}

impl ser::Error for Unreadable {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

/// A place in the value and the tests whose paths lead to or through it.
pub(super) struct Walk<'w> {
    /// Sorted by path; all share the first `depth` segments.
    tests: &'w [Test],
    /// Index of `tests[0]` among all tests.
    base: usize,
    depth: usize,
    /// Inside a sequence at the end of a path: only [`Predicate::Has`] is asked.
    element: bool,
    outcomes: &'w mut Outcomes,
}

impl<'w> Walk<'w> {
    pub(super) const fn new(tests: &'w [Test], outcomes: &'w mut Outcomes) -> Self {
        Self {
            tests,
            base: 0,
            depth: 0,
            element: false,
            outcomes,
        }
    }

    /// How many of the tests end here; they are the first ones.
    fn ending_here(&self) -> usize {
        self.tests
            .iter()
            .take_while(|test| test.path.len() == self.depth)
            .count()
    }

    fn observe(&mut self, value: Scalar<'_>) {
        for (offset, test) in self.tests[..self.ending_here()].iter().enumerate() {
            if !self.element {
                self.outcomes
                    .set(self.base + offset, test.predicate.holds(value));
            } else if test.predicate.holds_for_element(value) {
                self.outcomes.set(self.base + offset, true);
            }
        }
    }

    fn compound(mut self) -> Compound<'w> {
        self.observe(Scalar::Compound);
        let ending = self.ending_here();
        let asks_elements = !self.element
            && self.tests[..ending]
                .iter()
                .any(|test| matches!(test.predicate, Predicate::Has(_)));
        Compound {
            ending: &self.tests[..ending],
            through: &self.tests[ending..],
            asks_elements,
            walk: self,
            index: 0,
            key: (0, 0),
        }
    }
}

/// The inside of a struct, map, sequence or tuple.
pub(super) struct Compound<'w> {
    walk: Walk<'w>,
    ending: &'w [Test],
    through: &'w [Test],
    asks_elements: bool,
    index: usize,
    /// The tests in `through` for the map key that was seen last.
    key: (usize, usize),
}

impl Compound<'_> {
    /// The tests in `through` whose next segment is `name`.
    fn find(&self, name: &str) -> (usize, usize) {
        let depth = self.walk.depth;
        let segment = |test: &Test| test.path[depth].as_str().cmp(name);
        let from = self.through.partition_point(|test| segment(test).is_lt());
        let len = self.through[from..].partition_point(|test| segment(test).is_eq());
        (from, from + len)
    }

    fn descend<T: Serialize + ?Sized>(
        &mut self,
        (from, to): (usize, usize),
        value: &T,
    ) -> Result<(), Unreadable> {
        if from == to {
            return Ok(());
        }
        value.serialize(Walk {
            tests: &self.through[from..to],
            base: self.walk.base + self.ending.len() + from,
            depth: self.walk.depth + 1,
            element: false,
            outcomes: self.walk.outcomes,
        })
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Unreadable> {
        if self.through.is_empty() {
            return Ok(());
        }
        self.descend(self.find(name), value)
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unreadable> {
        if self.asks_elements {
            value.serialize(Walk {
                tests: self.ending,
                base: self.walk.base,
                depth: self.walk.depth,
                element: true,
                outcomes: self.walk.outcomes,
            })?;
        }
        if !self.through.is_empty() {
            let name = Digits::of(self.index);
            self.field(name.as_str(), value)?;
        }
        self.index += 1;
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident $int:ty)*) => {$(
        fn $method(mut self, value: $int) -> Result<(), Unreadable> {
            self.observe(Scalar::Int(i128::from(value)));
            Ok(())
        }
    )*};
}

impl<'w> Serializer for Walk<'w> {
    type Error = Unreadable;
    type Ok = ();
    type SerializeMap = Compound<'w>;
    type SerializeSeq = Compound<'w>;
    type SerializeStruct = Compound<'w>;
    type SerializeStructVariant = Compound<'w>;
    type SerializeTuple = Compound<'w>;
    type SerializeTupleStruct = Compound<'w>;
    type SerializeTupleVariant = Compound<'w>;

    integers!(
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64
    );

    fn serialize_u128(mut self, value: u128) -> Result<(), Unreadable> {
        self.observe(Scalar::unsigned(value));
        Ok(())
    }

    fn serialize_bool(mut self, value: bool) -> Result<(), Unreadable> {
        self.observe(Scalar::Bool(value));
        Ok(())
    }

    fn serialize_f32(mut self, value: f32) -> Result<(), Unreadable> {
        self.observe(Scalar::Single(value));
        Ok(())
    }

    fn serialize_f64(mut self, value: f64) -> Result<(), Unreadable> {
        self.observe(Scalar::Float(value));
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Unreadable> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(mut self, value: &str) -> Result<(), Unreadable> {
        self.observe(Scalar::Blob(value.as_bytes()));
        Ok(())
    }

    fn serialize_bytes(mut self, value: &[u8]) -> Result<(), Unreadable> {
        self.observe(Scalar::Blob(value));
        Ok(())
    }

    fn serialize_none(mut self) -> Result<(), Unreadable> {
        self.observe(Scalar::Null);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unreadable> {
        value.serialize(self)
    }

    fn serialize_unit(mut self) -> Result<(), Unreadable> {
        self.observe(Scalar::Null);
        Ok(())
    }

    fn serialize_unit_struct(mut self, _: &'static str) -> Result<(), Unreadable> {
        self.observe(Scalar::Null);
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Unreadable> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unreadable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unreadable> {
        let mut compound = self.compound();
        compound.walk.observe(Scalar::Blob(variant.as_bytes()));
        compound.field(variant, value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'w>, Unreadable> {
        Ok(self.compound())
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'w>, Unreadable> {
        Ok(self.compound())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'w>, Unreadable> {
        Ok(self.compound())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'w>, Unreadable> {
        Ok(self.compound().variant(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'w>, Unreadable> {
        Ok(self.compound())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'w>, Unreadable> {
        Ok(self.compound())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'w>, Unreadable> {
        Ok(self.compound().variant(variant))
    }
}

impl Compound<'_> {
    /// An enum's value: it reads as the variant's name, and its fields are below that name.
    fn variant(mut self, name: &str) -> Self {
        self.walk.observe(Scalar::Blob(name.as_bytes()));
        let (from, to) = self.find(name);
        let base = self.walk.base + self.ending.len() + from;
        let inside = Walk {
            tests: &self.through[from..to],
            base,
            depth: self.walk.depth + 1,
            element: self.walk.element,
            outcomes: self.walk.outcomes,
        };
        inside.compound()
    }
}

macro_rules! compound_items {
    ($($trait:ident $method:ident)*) => {$(
        impl ser::$trait for Compound<'_> {
            type Error = Unreadable;
            type Ok = ();

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unreadable> {
                self.item(value)
            }

            fn end(self) -> Result<(), Unreadable> {
                Ok(())
            }
        }
    )*};
}
compound_items!(
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
);

macro_rules! compound_fields {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Compound<'_> {
            type Error = Unreadable;
            type Ok = ();

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Unreadable> {
                self.field(key, value)
            }

            fn end(self) -> Result<(), Unreadable> {
                Ok(())
            }
        }
    )*};
}
compound_fields!(SerializeStruct SerializeStructVariant);

impl ser::SerializeMap for Compound<'_> {
    type Error = Unreadable;
    type Ok = ();

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unreadable> {
        self.key = (0, 0);
        if !self.through.is_empty() {
            // A key that is no name (a tuple, say) is on no path.
            self.key = key
                .serialize(Key(|name: &str| self.find(name)))
                .unwrap_or((0, 0));
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unreadable> {
        self.descend(self.key, value)
    }

    fn end(self) -> Result<(), Unreadable> {
        Ok(())
    }
}
