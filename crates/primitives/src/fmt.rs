//! How identifiers and values are shown to people: shortened, spread out, or hidden.
//!
//! The byte-wise wrappers work on anything that is `AsRef<[u8]>`, so they serve identifiers of
//! other crates too. Absent on purpose: parsing. What is shown here cannot be read back.

use core::{
    fmt::{self, Debug, Display, Formatter},
    marker::PhantomData,
    ops::Deref,
};

/// Bytes that [`Short`] shows.
const SHORT_BYTES: usize = 5;

fn write_hex(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Shows the first five bytes as ten hexadecimal characters.
///
/// Enough to tell peers apart in a log, far too little to identify one.
#[derive(Clone, Copy)]
pub struct Short<T>(pub T);

impl<T> Short<T> {
    /// Shows every item of `iter` this way, in brackets.
    pub const fn iter<I: IntoIterator<Item = T>>(iter: I) -> FmtIter<Self, I> {
        FmtIter::new(iter)
    }
}

impl<T: AsRef<[u8]>> Display for Short<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&Abbreviated::<SHORT_BYTES, _>(&self.0), f)
    }
}

impl<T: AsRef<[u8]>> Debug for Short<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// `value.short()` in place of `Short(&value)`.
pub trait ShortFmtExt {
    /// The value, to be shown as ten hexadecimal characters.
    fn short(&self) -> Short<&Self>;
}

impl<T> ShortFmtExt for T
where
    Short<T>: Display,
{
    fn short(&self) -> Short<&Self> {
        Short(self)
    }
}

/// Shows the first `LEN` bytes in hexadecimal, or all of them when there are fewer.
#[derive(Clone, Copy)]
pub struct Abbreviated<const LEN: usize, T>(pub T);

impl<const LEN: usize, T: AsRef<[u8]>> Display for Abbreviated<LEN, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_ref();
        write_hex(&bytes[..bytes.len().min(LEN)], f)
    }
}

impl<const LEN: usize, T: AsRef<[u8]>> Debug for Abbreviated<LEN, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Shows the value's structure over several lines: its alternate debug form.
pub struct Pretty<'a, T: ?Sized>(pub &'a T);

impl<T> Pretty<'_, T> {
    /// Shows every item of `iter` this way, in brackets.
    pub const fn iter<I: IntoIterator<Item = T>>(iter: I) -> FmtIter<Self, I> {
        FmtIter::new(iter)
    }
}

impl<T: Debug + ?Sized> Display for Pretty<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:#?}", self.0)
    }
}

impl<T: Debug + ?Sized> Debug for Pretty<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl<'a, T: ?Sized> Deref for Pretty<'a, T> {
    type Target = &'a T;

    fn deref(&self) -> &&'a T {
        &self.0
    }
}

impl<'a, T: ?Sized> AsRef<&'a T> for Pretty<'a, T> {
    fn as_ref(&self) -> &&'a T {
        &self.0
    }
}

/// `value.pretty()` in place of `Pretty(&value)`.
pub trait PrettyFmtExt<'a> {
    /// The value, to be shown over several lines.
    fn pretty(&'a self) -> Pretty<'a, Self>;
}

impl<'a, T: 'a> PrettyFmtExt<'a> for T
where
    Pretty<'a, T>: Display,
{
    fn pretty(&'a self) -> Pretty<'a, Self> {
        Pretty(self)
    }
}

/// Shows `<redacted>` whatever the value: for secrets inside values that are logged.
#[derive(Clone, Copy)]
pub struct Redacted<T>(pub T);

impl<T> Display for Redacted<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl<T> Debug for Redacted<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// `value.redacted()` in place of `Redacted(&value)`.
pub trait RedactedFmtExt {
    /// The value, to be shown as `<redacted>`.
    fn redacted(&self) -> Redacted<&Self>;
}

impl<T> RedactedFmtExt for T
where
    Redacted<T>: Display,
{
    fn redacted(&self) -> Redacted<&Self> {
        Redacted(self)
    }
}

/// Shows the items of `I`, each as the wrapper `W` shows it: `[a, b, c]`.
///
/// Showing needs `I: Clone`: a value may be shown more than once.
pub struct FmtIter<W, I>(pub I, PhantomData<W>);

impl<W, I> FmtIter<W, I> {
    /// Items to be shown through `W`.
    pub const fn new(iter: I) -> Self {
        Self(iter, PhantomData)
    }
}

fn write_list<T>(
    items: impl IntoIterator<Item = T>,
    f: &mut Formatter<'_>,
    mut write_item: impl FnMut(&T, &mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    f.write_str("[")?;
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write_item(&item, f)?;
    }
    f.write_str("]")
}

impl<T: AsRef<[u8]>, I: IntoIterator<Item = T> + Clone> Display for FmtIter<Short<T>, I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_list(self.0.clone(), f, |item, f| Display::fmt(&Short(item), f))
    }
}

impl<T: Debug, I: IntoIterator<Item = T> + Clone> Display for FmtIter<Pretty<'_, T>, I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_list(self.0.clone(), f, |item, f| Display::fmt(&Pretty(item), f))
    }
}

impl<T, I: IntoIterator<Item = T> + Clone> Display for FmtIter<Redacted<T>, I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_list(self.0.clone(), f, |item, f| {
            Display::fmt(&Redacted(item), f)
        })
    }
}

impl<const LEN: usize, T, I> Display for FmtIter<Abbreviated<LEN, T>, I>
where
    T: AsRef<[u8]>,
    I: IntoIterator<Item = T> + Clone,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_list(self.0.clone(), f, |item, f| {
            Display::fmt(&Abbreviated::<LEN, _>(item), f)
        })
    }
}

#[cfg(test)]
mod tests {
    use {super::*, crate::Digest};

    /// Stands for an identifier of another crate.
    struct Foreign([u8; 32]);

    impl AsRef<[u8]> for Foreign {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    #[test]
    fn short_is_the_first_five_bytes_in_hex() {
        let digest = Digest::hash(b"mosaik");
        let full = digest.to_string();
        assert_eq!(digest.short().to_string(), full[..10]);
        assert_eq!(format!("{:?}", Short(digest)), full[..10]);
        assert_eq!(Foreign([0xab; 32]).short().to_string(), "ababababab");
        assert_eq!(
            Short(b"abc").to_string(),
            "616263",
            "fewer bytes are shown whole"
        );
    }

    #[test]
    fn abbreviated_shows_as_many_bytes_as_asked() {
        assert_eq!(Abbreviated::<2, _>(Foreign([1; 32])).to_string(), "0101");
        assert_eq!(Abbreviated::<99, _>([7_u8, 8]).to_string(), "0708");
    }

    #[test]
    fn lists_are_shown_item_by_item_and_more_than_once() {
        let ids = [Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32])];
        let short = Short::iter(ids.iter());
        assert_eq!(short.to_string(), "[0101010101, 0202020202]");
        assert_eq!(short.to_string(), "[0101010101, 0202020202]");
        assert_eq!(Short::iter(Vec::<Digest>::new()).to_string(), "[]");
        assert_eq!(Pretty::iter([1, 2]).to_string(), "[1, 2]");
        let hidden = FmtIter::<Redacted<u8>, _>::new([1, 2]);
        assert_eq!(hidden.to_string(), "[<redacted>, <redacted>]");
        let two = FmtIter::<Abbreviated<2, &Digest>, _>::new(&ids);
        assert_eq!(two.to_string(), "[0101, 0202]");
    }

    #[test]
    fn pretty_is_the_alternate_debug_form() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "read through Debug")]
        struct Point {
            x: u8,
        }
        assert_eq!(Point { x: 1 }.pretty().to_string(), "Point {\n    x: 1,\n}");
        assert_eq!(Pretty("text").len(), 4, "the value stays reachable");
    }

    #[test]
    fn redacted_shows_nothing_of_the_value() {
        assert_eq!("secret".redacted().to_string(), "<redacted>");
        assert_eq!(format!("{:?}", Redacted("secret")), "<redacted>");
    }
}
