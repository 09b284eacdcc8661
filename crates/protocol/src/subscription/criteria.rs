//! [`Criteria`]: which items of a stream a subscriber wants.
//!
//! A selection is a flat program over tests on fields, in postfix order, so that neither decoding
//! nor evaluating what a peer sent can nest deeper than [`MAX_DEPTH`]. Every value of the type is
//! well formed, whether it was built, parsed or received; [`Criteria::check`] holds it against a
//! node's [`Limits`].

use {
    super::{
        literal::Literal,
        predicate::{Predicate, Test},
        walk::{Outcomes, Walk},
    },
    bytes::Bytes,
    core::ops::{BitAnd, BitOr, Not},
    mosaik_primitives::{
        Datum, Limits,
        codec::{BoundedDecodeError, Versioned},
    },
    serde::{Deserialize, Deserializer, Serialize, Serializer, de},
};

/// Operands that may wait for their operator: a `u64` holds them. Built and parsed selections
/// stay below 33 whatever their size.
pub const MAX_DEPTH: usize = 64;
/// Segments in the path of one field.
pub const MAX_PATH_SEGMENTS: usize = 32;

/// Which items of a stream a subscriber wants, how many of them, and how many past ones.
///
/// The default wants every item from now on. Criteria are evaluated at the producer: what is not
/// wanted is not sent.
///
/// ```
/// use mosaik_protocol::subscription::Criteria;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Reading { site: String, celsius: f32 }
/// let built = Criteria::field("celsius").gt(30) & Criteria::field("site").is_in(["oslo", "rome"]);
/// let parsed: Criteria = r#"celsius > 30 and site in ["oslo", "rome"]"#.parse()?;
/// assert_eq!(built, parsed);
/// assert!(built.matches(&Reading { site: "rome".into(), celsius: 31.5 }));
/// # Ok::<(), mosaik_protocol::subscription::ParseCriteriaError>(())
/// ```
///
/// # Fields
///
/// Fields are seen as a self-describing, human-readable format such as JSON would show them, with
/// the names serde gives them. A path leads through structs and maps by name, through sequences
/// and tuples by index, and into an enum's data by the variant's name; an enum itself reads as
/// the name of its variant. `Some` is transparent; `None`, unit and an absent field are null.
///
/// A datum that has its own encoding instead of serde's is opaque: it has no fields, not even
/// absent ones, and criteria that test any field, negated or not, select none of its kind.
///
/// # Comparisons
///
/// Null, booleans, numbers, and text with bytes compare with their own kind only; with another
/// kind, and for an absent field, every comparison is false but `ne`, which is exactly the
/// opposite of `eq`. Numbers compare by value across types: integers with floats exactly, an
/// `f32` at single precision. NaN equals nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Criteria {
    /// Ascending without duplicates, each used by the program.
    tests: Vec<Test>,
    /// Postfix; empty selects everything.
    program: Vec<Op>,
    sampling: Sampling,
    last: u64,
}

/// Part of the wire format: variants are only ever added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Op {
    /// The outcome of the test with this index.
    Test(u32),
    And,
    Or,
    Not,
    Always,
}

/// `keep` of every `of` matching items, spread evenly, the first one among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Sampling {
    pub(super) keep: u32,
    pub(super) of: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { keep: 1, of: 1 }
    }
}

/// Why criteria were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CriteriaError {
    /// The selection is larger than [`Limits::criteria_nodes`].
    #[error("the selection has {nodes} nodes, the limit is {max}")]
    TooManyNodes {
        /// Operators, tests and set members.
        nodes: usize,
        /// The limit.
        max: usize,
    },
    /// A path is longer than [`MAX_PATH_SEGMENTS`].
    #[error("a path has {segments} segments, the limit is {max}")]
    PathTooLong {
        /// Segments of the path.
        segments: usize,
        /// The limit.
        max: usize,
    },
    /// Not "`keep` of `of`" with `of` above zero and `keep` at most `of`.
    #[error("cannot keep {keep} of every {of} items")]
    Sampling {
        /// Items to keep.
        keep: u32,
        /// Items to keep them of.
        of: u32,
    },
    /// The selection nests deeper than [`MAX_DEPTH`].
    #[error("the selection nests deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Not a program that any builder makes.
    #[error("malformed selection: {0}")]
    Malformed(&'static str),
    /// Not an encoding of criteria.
    #[error(transparent)]
    Encoding(#[from] BoundedDecodeError),
}

/// A field that is about to be compared. Made by [`Criteria::field`].
#[derive(Clone, Debug)]
pub struct Field {
    path: Vec<String>,
}

impl Field {
    fn test(self, predicate: Predicate) -> Criteria {
        Criteria {
            tests: vec![Test {
                path: self.path,
                predicate,
            }],
            program: vec![Op::Test(0)],
            ..Criteria::default()
        }
    }

    /// The field of this name within the field; the name is taken whole, dots included.
    #[must_use]
    pub fn child(mut self, name: impl Into<String>) -> Self {
        self.path.push(name.into());
        self
    }

    /// Equal to `value`. [`Literal::NULL`] equals fields that are absent or null.
    pub fn eq(self, value: impl Into<Literal>) -> Criteria {
        self.test(Predicate::Eq(value.into()))
    }

    /// Not equal to `value`, or absent.
    pub fn ne(self, value: impl Into<Literal>) -> Criteria {
        self.test(Predicate::Ne(value.into()))
    }

    /// Below `value`.
    pub fn lt(self, value: impl Into<Literal>) -> Criteria {
        self.test(Predicate::Lt(value.into()))
    }

    /// Below or equal to `value`.
    pub fn le(self, value: impl Into<Literal>) -> Criteria {
        self.test(Predicate::Le(value.into()))
    }

    /// Above `value`.
    pub fn gt(self, value: impl Into<Literal>) -> Criteria {
        self.test(Predicate::Gt(value.into()))
    }

    /// Above or equal to `value`.
    pub fn ge(self, value: impl Into<Literal>) -> Criteria {
        self.test(Predicate::Ge(value.into()))
    }

    /// Equal to one of `values`.
    pub fn is_in<T: Into<Literal>>(self, values: impl IntoIterator<Item = T>) -> Criteria {
        self.test(Predicate::one_of(
            values.into_iter().map(Into::into).collect(),
        ))
    }

    /// A sequence with an element equal to `value`.
    pub fn has(self, value: impl Into<Literal>) -> Criteria {
        self.test(Predicate::Has(value.into()))
    }
}

impl Criteria {
    /// The field at a dotted path, `"position.altitude"` or `"samples.0"`. The empty path is the
    /// datum itself. For names that contain a dot see [`Field::child`].
    pub fn field(path: &str) -> Field {
        let path = path.split('.').filter(|segment| !segment.is_empty());
        Field {
            path: path.map(str::to_owned).collect(),
        }
    }

    /// Items that both criteria select. Sampling and history are taken from `self`, and from
    /// `other` where `self` has none.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.combine(other, Op::And)
    }

    /// Items that at least one of the criteria selects. Sampling and history are taken from
    /// `self`, and from `other` where `self` has none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.combine(other, Op::Or)
    }

    /// Items that the criteria do not select. Sampling and history stay.
    #[must_use]
    pub fn negate(mut self) -> Self {
        if self.program.is_empty() {
            self.program.push(Op::Always);
        }
        self.program.push(Op::Not);
        self
    }

    /// `keep` of every `of` selected items, spread evenly, the first one among them. Counted for
    /// each subscription at each producer, so the same items give the same sample.
    ///
    /// `of` must be above zero and `keep` at most `of`; [`Criteria::check`] says so otherwise.
    #[must_use]
    pub const fn sample(mut self, keep: u32, of: u32) -> Self {
        self.sampling = Sampling { keep, of };
        self
    }

    /// One of every `of` selected items, the first one among them.
    #[must_use]
    pub const fn one_in(self, of: u32) -> Self {
        self.sample(1, of)
    }

    /// Asks each producer for its last `count` wanted items before the live ones. A producer
    /// gives what its history still holds.
    #[must_use]
    pub const fn last(mut self, count: u64) -> Self {
        self.last = count;
        self
    }

    /// How many past items are asked for.
    pub const fn history(&self) -> u64 {
        self.last
    }

    /// Whether every item is wanted, so that there is nothing to evaluate.
    pub fn wants_everything(&self) -> bool {
        self.program.is_empty() && self.sampling.keep == self.sampling.of
    }

    /// Whether `item` is among the selected ones. Sampling and history are not looked at: see
    /// [`Selector`](super::Selector).
    pub fn matches<D: Datum>(&self, item: &D) -> bool {
        self.evaluate(|walk| item.inspect(walk).is_ok())
    }

    /// [`Criteria::matches`] for a value that can be serialised but is no datum.
    pub fn matches_value<T: Serialize + ?Sized>(&self, value: &T) -> bool {
        self.evaluate(|walk| value.serialize(walk).is_ok())
    }

    /// Whether this node takes the criteria: a producer asks before it accepts a subscriber, a
    /// consumer before it asks a producer.
    pub fn check(&self, limits: &Limits) -> Result<(), CriteriaError> {
        let nodes = self.nodes();
        if nodes > limits.criteria_nodes {
            return Err(CriteriaError::TooManyNodes {
                nodes,
                max: limits.criteria_nodes,
            });
        }
        self.check_form()
    }

    /// Operators, tests and set members of the selection.
    pub fn nodes(&self) -> usize {
        let members = |test: &Test| match &test.predicate {
            Predicate::In(set) => set.len(),
            _ => 0,
        };
        self.program.len() + self.tests.iter().map(members).sum::<usize>()
    }

    /// The versioned wire encoding.
    pub fn to_wire(&self) -> Bytes {
        let wire = Wire {
            tests: self.tests.clone(),
            program: self.program.clone(),
            sampling: self.sampling,
            last: self.last,
        };
        wire.to_versioned()
            .expect("encoding fails only for sequences of unknown length")
    }

    /// Reads what [`Criteria::to_wire`] wrote on any node, within `limits`.
    pub fn from_wire(bytes: &[u8], limits: &Limits) -> Result<Self, CriteriaError> {
        let criteria = Self::from_wire_unlimited(bytes, limits.greeting_bytes)?;
        criteria.check(limits)?;
        Ok(criteria)
    }

    fn from_wire_unlimited(bytes: &[u8], max: usize) -> Result<Self, CriteriaError> {
        let Wire {
            tests,
            program,
            sampling,
            last,
        } = Wire::from_versioned(bytes, max)?;
        let criteria = Self {
            tests,
            program,
            sampling,
            last,
        };
        criteria.check_form()?;
        Ok(criteria)
    }

    pub(super) fn tests(&self) -> &[Test] {
        &self.tests
    }

    pub(super) fn program(&self) -> &[Op] {
        &self.program
    }

    pub(super) const fn sampling(&self) -> Sampling {
        self.sampling
    }

    pub(super) fn of_path(path: Vec<String>) -> Field {
        Field { path }
    }

    /// Selects everything, as an operand that can be negated.
    pub(super) fn always() -> Self {
        Self {
            program: vec![Op::Always],
            ..Self::default()
        }
    }

    /// Operands commute, so the one that needs more room goes first: depth then grows with the
    /// logarithm of the size, and no selection that fits in memory reaches [`MAX_DEPTH`].
    fn combine(mut self, mut other: Self, op: Op) -> Self {
        let sampling = if self.sampling == Sampling::default() {
            other.sampling
        } else {
            self.sampling
        };
        let last = if self.last == 0 {
            other.last
        } else {
            self.last
        };
        // Everything is the neutral operand of "and", so a chain may start at the default.
        if op == Op::And && (self.program.is_empty() || other.program.is_empty()) {
            let part = if self.program.is_empty() { other } else { self };
            return Self {
                sampling,
                last,
                ..part
            };
        }
        for side in [&mut self, &mut other] {
            if side.program.is_empty() {
                side.program.push(Op::Always);
            }
        }
        let (first, second) = if depth(&other.program) > depth(&self.program) {
            (other, self)
        } else {
            (self, other)
        };
        let mut tests = [first.tests.as_slice(), second.tests.as_slice()].concat();
        tests.sort();
        tests.dedup();
        let renumber = |side: &Self, op: &Op| match *op {
            Op::Test(index) => {
                let test = &side.tests[index as usize];
                // Every test of both sides is in `tests`, so the position found is its own.
                Op::Test(tests.partition_point(|other| other < test) as u32)
            }
            other => other,
        };
        let mut program = Vec::with_capacity(first.program.len() + second.program.len() + 1);
        program.extend(first.program.iter().map(|op| renumber(&first, op)));
        program.extend(second.program.iter().map(|op| renumber(&second, op)));
        program.push(op);
        Self {
            tests,
            program,
            sampling,
            last,
        }
    }

    fn evaluate(&self, serialize: impl FnOnce(Walk<'_>) -> bool) -> bool {
        if self.program.is_empty() {
            return true;
        }
        let mut outcomes = Outcomes::of_absent(&self.tests);
        if !self.tests.is_empty() && !serialize(Walk::new(&self.tests, &mut outcomes)) {
            return false;
        }
        let mut stack = 0u64;
        for op in &self.program {
            stack = match *op {
                Op::Test(index) => stack << 1 | u64::from(outcomes.get(index as usize)),
                Op::Always => stack << 1 | 1,
                Op::Not => stack ^ 1,
                Op::And => stack >> 1 & (stack | !1),
                Op::Or => stack >> 1 | (stack & 1),
            };
        }
        stack & 1 == 1
    }

    /// What every value of the type has, and bytes from a peer must be shown to have.
    fn check_form(&self) -> Result<(), CriteriaError> {
        let Sampling { keep, of } = self.sampling;
        if of == 0 || keep > of {
            return Err(CriteriaError::Sampling { keep, of });
        }
        for test in &self.tests {
            let segments = test.path.len();
            if segments > MAX_PATH_SEGMENTS {
                return Err(CriteriaError::PathTooLong {
                    segments,
                    max: MAX_PATH_SEGMENTS,
                });
            }
            if !test.predicate.is_canonical() {
                return Err(CriteriaError::Malformed(
                    "a set or number is not in normal form",
                ));
            }
        }
        if self.tests.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(CriteriaError::Malformed("tests are not in order"));
        }
        let mut used = vec![false; self.tests.len()];
        for op in &self.program {
            if let Op::Test(index) = *op {
                *used
                    .get_mut(index as usize)
                    .ok_or(CriteriaError::Malformed("a test is missing"))? = true;
            }
        }
        if used.contains(&false) {
            return Err(CriteriaError::Malformed("a test is not used"));
        }
        check_stack(&self.program)
    }
}

/// Operands that wait at the same time in a well-formed program.
fn depth(program: &[Op]) -> usize {
    let (mut waiting, mut most) = (0, 0);
    for op in program {
        match op {
            Op::Test(_) | Op::Always => waiting += 1,
            Op::And | Op::Or => waiting -= 1,
            Op::Not => {}
        }
        most = most.max(waiting);
    }
    most
}

fn check_stack(program: &[Op]) -> Result<(), CriteriaError> {
    const STARVED: CriteriaError = CriteriaError::Malformed("an operator lacks an operand");
    let mut waiting = 0usize;
    for op in program {
        match op {
            Op::Test(_) | Op::Always => waiting += 1,
            Op::Not if waiting < 1 => return Err(STARVED),
            Op::And | Op::Or if waiting < 2 => return Err(STARVED),
            Op::And | Op::Or => waiting -= 1,
            Op::Not => {}
        }
        if waiting > MAX_DEPTH {
            return Err(CriteriaError::TooDeep);
        }
    }
    if waiting > 1 {
        return Err(CriteriaError::Malformed("an operand has no operator"));
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Wire {
    tests: Vec<Test>,
    program: Vec<Op>,
    sampling: Sampling,
    last: u64,
}

impl Versioned for Wire {
    const VERSION: u16 = 1;
}

impl Serialize for Criteria {
    /// Text where the format is human readable, otherwise [`Criteria::to_wire`] as bytes: what
    /// carries criteria need not know their version.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.to_wire().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Criteria {
    /// Well formed, but not held against any [`Limits`]: follow with [`Criteria::check`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(de::Error::custom)
        } else {
            let bytes = Bytes::deserialize(deserializer)?;
            Self::from_wire_unlimited(&bytes, bytes.len()).map_err(de::Error::custom)
        }
    }
}

impl BitAnd for Criteria {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.and(other)
    }
}

impl BitOr for Criteria {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

impl Not for Criteria {
    type Output = Self;

    fn not(self) -> Self {
        self.negate()
    }
}
