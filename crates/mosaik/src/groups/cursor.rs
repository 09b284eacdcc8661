//! [`Cursor`]: a place in a group's log.

use {
    super::index::{Index, Term},
    core::{cmp::Ordering, fmt},
    serde::{Deserialize, Serialize},
};

/// A place in a group's log: the command with this index, and the term in which a leader took it.
///
/// Ordered by term first, then by index: of two members' logs the one whose cursor is larger is
/// the more recent one. The zero cursor is "before the log".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Cursor(Term, Index);

impl Cursor {
    /// The command `index`, taken in `term`.
    pub const fn new(term: Term, index: Index) -> Self {
        Self(term, index)
    }

    /// Before the log.
    pub const fn zero() -> Self {
        Self(Term::zero(), Index::zero())
    }

    /// Whether this is the zero cursor.
    pub const fn is_zero(&self) -> bool {
        self.0.is_zero() && self.1.is_zero()
    }

    /// The term in which the command was taken.
    pub const fn term(&self) -> Term {
        self.0
    }

    /// The command's index.
    pub const fn index(&self) -> Index {
        self.1
    }

    /// Whether a log that ends here is less recent than one that ends at `other`.
    pub fn is_behind(&self, other: &Self) -> bool {
        self < other
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:{}]", self.0, self.1)
    }
}

impl From<(Term, Index)> for Cursor {
    fn from((term, index): (Term, Index)) -> Self {
        Self(term, index)
    }
}

impl From<Cursor> for (Term, Index) {
    fn from(cursor: Cursor) -> Self {
        (cursor.0, cursor.1)
    }
}

impl From<Cursor> for Index {
    fn from(cursor: Cursor) -> Self {
        cursor.1
    }
}

impl From<Cursor> for Term {
    fn from(cursor: Cursor) -> Self {
        cursor.0
    }
}

impl PartialEq<Index> for Cursor {
    fn eq(&self, index: &Index) -> bool {
        self.1 == *index
    }
}

impl PartialEq<Cursor> for Index {
    fn eq(&self, cursor: &Cursor) -> bool {
        *self == cursor.1
    }
}

impl PartialOrd<Index> for Cursor {
    fn partial_cmp(&self, index: &Index) -> Option<Ordering> {
        Some(self.1.cmp(index))
    }
}

impl PartialOrd<Cursor> for Index {
    fn partial_cmp(&self, cursor: &Cursor) -> Option<Ordering> {
        Some(self.cmp(&cursor.1))
    }
}

impl PartialEq<Term> for Cursor {
    fn eq(&self, term: &Term) -> bool {
        self.0 == *term
    }
}

impl PartialOrd<Term> for Cursor {
    fn partial_cmp(&self, term: &Term) -> Option<Ordering> {
        Some(self.0.cmp(term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, index: u64) -> Cursor {
        Cursor::new(term.into(), index.into())
    }

    #[test]
    fn a_later_term_is_more_recent_than_any_longer_log_of_an_earlier_one() {
        assert!(at(1, 100).is_behind(&at(2, 3)));
        assert!(at(2, 3).is_behind(&at(2, 4)));
        assert!(!at(2, 4).is_behind(&at(2, 4)));
    }

    #[test]
    fn compares_with_an_index_and_a_term_by_that_part() {
        let cursor = at(2, 9);
        assert!(cursor == Index::from(9) && Index::from(9) == cursor);
        assert!(cursor > Index::from(8) && Index::from(10) > cursor);
        assert!(cursor == Term::from(2) && cursor < Term::from(3));
        assert_eq!(Index::from(cursor), 9);
        assert_eq!(cursor.to_string(), "[2:9]");
    }
}
