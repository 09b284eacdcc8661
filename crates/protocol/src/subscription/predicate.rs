//! One test on one field.

use {
    super::literal::{Literal, Scalar},
    core::cmp::Ordering,
    serde::{Deserialize, Serialize},
};

/// Part of the wire format: variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Predicate {
    Eq(Literal),
    Ne(Literal),
    Lt(Literal),
    Le(Literal),
    Gt(Literal),
    Ge(Literal),
    /// The field is one of these, ascending by [`Scalar::position`] without duplicates.
    In(Vec<Literal>),
    /// The field is a sequence that holds this.
    Has(Literal),
}

/// A predicate on the value at a path. The derived order groups tests by path, a path before
/// those that lead through it: evaluation relies on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Test {
    pub(super) path: Vec<String>,
    pub(super) predicate: Predicate,
}

impl Predicate {
    /// The predicate that holds for the members of `set`. NaN equals nothing and is left out.
    pub(super) fn one_of(mut set: Vec<Literal>) -> Self {
        set.retain(|literal| literal.scalar().position(literal).is_some());
        set.sort_by(|a, b| a.scalar().position(b).unwrap_or(Ordering::Equal));
        set.dedup_by(|a, b| a.scalar().position(b) == Some(Ordering::Equal));
        Self::In(set)
    }

    /// Whether it holds for a value at the path. An absent field is [`Scalar::Null`].
    pub(super) fn holds(&self, value: Scalar<'_>) -> bool {
        match self {
            Self::Eq(literal) => value.compare(literal) == Some(Ordering::Equal),
            Self::Ne(literal) => value.compare(literal) != Some(Ordering::Equal),
            Self::Lt(literal) => value.compare(literal).is_some_and(Ordering::is_lt),
            Self::Le(literal) => value.compare(literal).is_some_and(Ordering::is_le),
            Self::Gt(literal) => value.compare(literal).is_some_and(Ordering::is_gt),
            Self::Ge(literal) => value.compare(literal).is_some_and(Ordering::is_ge),
            Self::In(set) => is_member(set, value),
            Self::Has(_) => false,
        }
    }

    /// Whether it holds for a sequence with this element.
    pub(super) fn holds_for_element(&self, element: Scalar<'_>) -> bool {
        matches!(self, Self::Has(literal) if element.compare(literal) == Some(Ordering::Equal))
    }

    pub(super) fn literals(&self) -> &[Literal] {
        match self {
            Self::In(set) => set,
            Self::Eq(one)
            | Self::Ne(one)
            | Self::Lt(one)
            | Self::Le(one)
            | Self::Gt(one)
            | Self::Ge(one)
            | Self::Has(one) => core::slice::from_ref(one),
        }
    }

    /// Whether it is in the form that [`Predicate::one_of`] gives it.
    pub(super) fn is_canonical(&self) -> bool {
        let ascending =
            |pair: &[Literal]| pair[0].scalar().position(&pair[1]) == Some(Ordering::Less);
        let in_order = match self {
            Self::In(set) => {
                set.windows(2).all(ascending)
                    && set
                        .first()
                        .is_none_or(|one| one.scalar().position(one).is_some())
            }
            _ => true,
        };
        in_order && self.literals().iter().all(Literal::is_canonical)
    }
}

fn is_member(set: &[Literal], value: Scalar<'_>) -> bool {
    // A value without a place in the order (NaN, a compound) is in no set.
    set.binary_search_by(|literal| {
        value
            .position(literal)
            .map_or(Ordering::Greater, Ordering::reverse)
    })
    .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_values_of_any_kind_once() {
        let set = Predicate::one_of(vec![
            "b".into(),
            3.into(),
            3.0.into(),
            f64::NAN.into(),
            "a".into(),
            true.into(),
            Literal::NULL,
        ]);
        assert_eq!(set.literals().len(), 5);
        assert!(set.is_canonical());
        for inside in [
            Scalar::Null,
            Scalar::Bool(true),
            Scalar::Float(3.0),
            Scalar::Blob(b"a"),
        ] {
            assert!(set.holds(inside), "{inside:?}");
        }
        for outside in [
            Scalar::Bool(false),
            Scalar::Int(4),
            Scalar::Float(f64::NAN),
            Scalar::Blob(b"c"),
            Scalar::Compound,
        ] {
            assert!(!set.holds(outside), "{outside:?}");
        }
    }
}
