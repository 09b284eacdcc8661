//! [`Digest`]: the 32-byte identifier that names everything in mosaik.

use {
    core::{
        cmp::Ordering,
        convert::Infallible,
        fmt,
        hash::{Hash, Hasher},
        ops::Deref,
        str::FromStr,
    },
    serde::{Deserialize, Deserializer, Serialize, Serializer, de},
};

/// A 32-byte identifier: a blake3 hash, or 32 bytes taken as they are.
///
/// Text becomes a digest in one way everywhere (command line, macros, `From<&str>`): exactly 64
/// hexadecimal characters are decoded to their 32 bytes, any other text is hashed with blake3.
///
/// Equality is not constant-time; do not compare secrets with it.
#[derive(Clone, Copy)]
pub struct Digest(blake3::Hash);

/// Any identifier of no particular kind.
pub type UniqueId = Digest;
/// A label that a peer puts on itself and others can select by.
pub type Tag = UniqueId;

/// A numeric id sits, in little-endian bytes, at the end of 32 zero bytes.
const fn numbered<const N: usize>(value: [u8; N]) -> Digest {
    let mut bytes = [0; Digest::LEN];
    let mut i = 0;
    while i < N {
        bytes[Digest::LEN - N + i] = value[i];
        i += 1;
    }
    Digest::from_bytes(bytes)
}

macro_rules! from_numbers {
    ($($name:ident: $int:ty),* $(,)?) => {
        impl Digest { $(
            #[doc = concat!("The digest that carries a `", stringify!($int), "` in its last bytes, little-endian.")]
            pub const fn $name(n: $int) -> Self {
                numbered(n.to_le_bytes())
            }
        )* }
    };
}

from_numbers!(
    from_u8: u8, from_u16: u16, from_u32: u32, from_u64: u64, from_u128: u128, from_usize: usize,
    from_i8: i8, from_i16: i16, from_i32: i32, from_i64: i64, from_i128: i128, from_isize: isize,
);

impl Digest {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Thirty-two zero bytes.
    pub const fn zero() -> Self {
        Self::from_bytes([0; Self::LEN])
    }

    /// Takes 32 bytes as they are, without hashing.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(blake3::Hash::from_bytes(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Always 32.
    #[expect(clippy::len_without_is_empty, reason = "a digest is never empty")]
    pub const fn len(&self) -> usize {
        Self::LEN
    }

    /// blake3 of `bytes`.
    pub fn hash(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes))
    }

    /// The current output of a blake3 hasher.
    pub fn from_hasher(hasher: &blake3::Hasher) -> Self {
        Self(hasher.finalize())
    }

    /// blake3 of the concatenation of `parts`.
    ///
    /// The parts are not framed by length: `["ab", "c"]` and `["a", "bc"]` are the same digest.
    pub fn from_parts(parts: &[impl AsRef<[u8]>]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part.as_ref());
        }
        Self::from_hasher(&hasher)
    }

    /// blake3 of this digest followed by `info`: a child identifier.
    #[must_use]
    pub fn derive(&self, info: impl AsRef<[u8]>) -> Self {
        Self::from_parts(&[self.as_bytes().as_slice(), info.as_ref()])
    }

    /// blake3 of this digest's bytes.
    #[must_use]
    pub fn hashed(&self) -> Self {
        Self::hash(self.as_bytes())
    }

    /// Thirty-two bytes of the operating system's entropy.
    ///
    /// # Panics
    /// When the operating system has no entropy source.
    #[cfg(feature = "random")]
    pub fn random() -> Self {
        let mut bytes = [0; Self::LEN];
        getrandom::fill(&mut bytes).expect("the operating system provides entropy");
        Self::from_bytes(bytes)
    }

    /// Parses exactly 64 hexadecimal characters; anything else is `None`.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 2 * Self::LEN {
            return None;
        }
        let mut bytes = [0; Self::LEN];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = (high << 4 | low) as u8;
        }
        Some(Self::from_bytes(bytes))
    }
}

impl Deref for Digest {
    type Target = blake3::Hash;

    fn deref(&self) -> &blake3::Hash {
        &self.0
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Digest {}

impl PartialEq<&Self> for Digest {
    fn eq(&self, other: &&Self) -> bool {
        self == *other
    }
}

impl PartialEq<Digest> for &Digest {
    fn eq(&self, other: &Digest) -> bool {
        *self == other
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Digest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<&Self> for Digest {
    fn from(digest: &Self) -> Self {
        *digest
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash)
    }
}

impl From<&blake3::Hash> for Digest {
    fn from(hash: &blake3::Hash) -> Self {
        Self(*hash)
    }
}

/// Sixty-four hexadecimal characters are decoded, all else is hashed; raw bytes are therefore
/// hashed too. Use [`Digest::from_bytes`] to take 32 bytes as they are.
impl From<&[u8]> for Digest {
    fn from(bytes: &[u8]) -> Self {
        core::str::from_utf8(bytes)
            .ok()
            .and_then(Self::from_hex)
            .unwrap_or_else(|| Self::hash(bytes))
    }
}

impl From<&str> for Digest {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl FromStr for Digest {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

/// Human-readable formats get the 64-character hexadecimal form, binary formats the 32 bytes.
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.0.to_hex())
        } else {
            self.as_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; Self::LEN]>::deserialize(deserializer).map(Self::from_bytes);
        }
        struct HexVisitor;
        impl de::Visitor<'_> for HexVisitor {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal characters")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                Digest::from_hex(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(HexVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_64_hex_characters_is_decoded_and_other_text_hashed() {
        let digest = Digest::hash(b"mosaik");
        assert_eq!(Digest::from(digest.to_string().as_str()), digest);
        assert_eq!(
            Digest::from(digest.to_string().to_uppercase().as_str()),
            digest
        );
        assert_eq!(Digest::from("mosaik"), digest);
        assert_eq!(Digest::from("mosaik".as_bytes()), digest);
        let sixty_four = "g".repeat(64);
        assert_eq!(
            Digest::from(sixty_four.as_str()),
            Digest::hash(sixty_four.as_bytes())
        );
    }

    #[test]
    fn numbers_sit_little_endian_at_the_end() {
        let mut expected = [0; 32];
        expected[28..].copy_from_slice(&[4, 3, 2, 1]);
        assert_eq!(Digest::from_u32(0x0102_0304), Digest::from_bytes(expected));
        assert_eq!(Digest::from_i8(-1).as_bytes()[31], 0xff);
    }

    #[test]
    fn serde_forms_are_hex_for_people_and_32_bytes_for_machines() {
        let digest = Digest::hash(b"x");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"not hex\"").is_err());
        let binary = postcard::to_stdvec(&digest).unwrap();
        assert_eq!(binary, digest.as_bytes());
        assert_eq!(postcard::from_bytes::<Digest>(&binary).unwrap(), digest);
    }

    #[test]
    fn derivations_are_blake3_of_the_concatenation() {
        let parent = Digest::hash(b"parent");
        let mut bytes = parent.as_bytes().to_vec();
        bytes.extend_from_slice(b"child");
        assert_eq!(parent.derive("child"), Digest::hash(&bytes));
        assert_eq!(parent.hashed(), Digest::hash(parent.as_bytes()));
        assert_eq!(Digest::from_parts(&["ab", "c"]), Digest::hash(b"abc"));
    }
}
