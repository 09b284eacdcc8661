//! [`IntoIterOrSingle`]: a parameter that takes one value or many.

/// One `impl Into<T>`, or any iterator of them.
///
/// `V` only tells the two implementations apart; functions leave it to inference:
///
/// ```
/// use mosaik_primitives::{Tag, iter::IntoIterOrSingle};
///
/// fn count<V>(tags: impl IntoIterOrSingle<Tag, V>) -> usize {
///     tags.iterator().count()
/// }
/// assert_eq!(count("one"), 1);
/// assert_eq!(count(["one", "two"]), 2);
/// ```
///
/// A type that is both (convertible, and an iterator of convertibles) is ambiguous and does not
/// compile without naming `V`.
pub trait IntoIterOrSingle<T, V = Variant> {
    /// The values, converted, in order.
    fn iterator(self) -> impl Iterator<Item = T>;
}

/// Tells the implementations of [`IntoIterOrSingle`] apart; has no values.
#[doc(hidden)]
#[derive(Debug)]
pub enum Variant<const U: usize = 0> {}

impl<T, S: Into<T>> IntoIterOrSingle<T, Variant<0>> for S {
    fn iterator(self) -> impl Iterator<Item = T> {
        core::iter::once(self.into())
    }
}

impl<T, I: IntoIterator<Item: Into<T>>> IntoIterOrSingle<T, Variant<1>> for I {
    fn iterator(self) -> impl Iterator<Item = T> {
        self.into_iter().map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use {super::*, crate::Tag};

    fn tags<V>(tags: impl IntoIterOrSingle<Tag, V>) -> Vec<Tag> {
        tags.iterator().collect()
    }

    #[test]
    fn takes_one_value_or_many_in_order() {
        let (a, b) = (Tag::from("a"), Tag::from("b"));
        assert_eq!(tags("a"), [a]);
        assert_eq!(tags(a), [a]);
        assert_eq!(tags(["a", "b"]), [a, b]);
        assert_eq!(tags(vec![b, a]), [b, a]);
        assert_eq!(tags([a, b].iter()), [a, b]);
        assert_eq!(tags("b a".split(' ')), [b, a]);
        assert_eq!(tags(Some(a)), [a]);
        assert!(tags(Vec::<Tag>::new()).is_empty());
    }
}
