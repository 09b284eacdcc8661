//! `mosaik::primitives`: identifiers, data, encodings and how they are shown.

use {
    mosaik::{
        StreamId,
        primitives::{
            self, Abbreviated, BackoffFactory, Bytes, BytesMut, Datum, Digest, Encoded, FmtIter,
            IntoIterOrSingle, Pretty, PrettyFmtExt, Redacted, RedactedFmtExt, Short, ShortFmtExt,
            Tag, UniqueId, Variant,
            encoding::{
                DecodeError, EncodeError, deserialize, try_serialize, try_serialize_to_writer,
            },
        },
        streams::backoff::{Backoff, ExponentialBackoff, ExponentialBackoffBuilder},
    },
    serde::{Deserialize, Serialize, de::DeserializeOwned},
    std::{
        convert::Infallible,
        error::Error,
        fmt::{Debug, Display},
        hash::Hash,
        ops::{Deref, DerefMut},
        str::FromStr,
        sync::Arc,
        time::Duration,
    },
};

/// Names that programs import, from wherever they may.
mod paths {
    #![expect(unused_imports, reason = "compiling is the test")]
    use mosaik::{
        Bytes, BytesMut, Datum, Digest, Tag, UniqueId, futures, iroh,
        primitives::{
            bytes,
            bytes::Buf,
            datum::{Datum as DatumOfModule, Encoded},
            iter::IntoIterOrSingle,
        },
    };
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Reading {
    station: String,
    celsius: i16,
}

#[test]
fn owned_serde_types_are_data() {
    fn datum<D: Datum<EncodeError = EncodeError, DecodeError = DecodeError>>() {}
    fn bounds<D>()
    where
        D: Datum + Sized + Send + 'static,
        D::EncodeError: Error + Send + Sync + 'static,
        D::DecodeError: Error + Send + Sync + 'static,
    {
    }
    datum::<Reading>();
    datum::<(u8, Vec<Option<String>>)>();
    bounds::<Reading>();
    let reading = Reading {
        station: "Oslo".into(),
        celsius: -7,
    };
    let bytes: Result<Bytes, EncodeError> = reading.encode();
    let back: Result<Reading, DecodeError> = Reading::decode(&bytes.unwrap());
    assert_eq!(back.unwrap(), reading);
    let id: StreamId = Reading::derived_stream_id();
    assert_eq!(
        id,
        Digest::hash(std::any::type_name::<Reading>().as_bytes())
    );
}

#[test]
fn encoded_is_what_it_carries() {
    implements!(Encoded<Reading>: Clone + Debug + Eq + Hash + Serialize + DeserializeOwned);
    implements!(Encoded<u8>: From<u8> + Deref<Target = u8> + DerefMut);
    let mut carried = Encoded(vec![1u8]);
    carried.push(2);
    assert_eq!(carried, Encoded::from(vec![1, 2]));
    let Encoded(inner) = carried;
    assert_eq!(inner.len(), 2);
}

#[test]
fn digests_are_made_in_every_documented_way() {
    const ZERO: Digest = Digest::zero();
    const RAW: Digest = Digest::from_bytes([7; 32]);
    const BYTES: &[u8; 32] = RAW.as_bytes();
    const LEN: usize = RAW.len();
    const SMALL: [Digest; 2] = [Digest::from_u8(1), Digest::from_i8(-1)];
    assert_eq!((BYTES, LEN), (&[7; 32], 32));
    assert!(ZERO < RAW && SMALL[0] != SMALL[1]);
    let numbers: [Digest; 10] = [
        Digest::from_u16(1),
        Digest::from_u32(1),
        Digest::from_u64(1),
        Digest::from_u128(1),
        Digest::from_usize(1),
        Digest::from_i16(1),
        Digest::from_i32(1),
        Digest::from_i64(1),
        Digest::from_i128(1),
        Digest::from_isize(1),
    ];
    // Little-endian at the end: the place of the one depends on the width.
    assert_eq!(numbers[0].as_bytes()[30..], [1, 0]);
    assert_eq!(numbers[3].as_bytes()[16], 1);
    let hasher: blake3::Hasher = blake3::Hasher::new();
    assert_eq!(Digest::from_hasher(&hasher), Digest::hash(b""));
    assert_eq!(Digest::from_parts(&["a", "b"]), Digest::hash(b"ab"));
    assert_eq!(
        Digest::from_parts(&[vec![1u8], vec![2]]),
        Digest::hash(&[1, 2])
    );
    assert_ne!(Digest::random(), Digest::random());
    assert_eq!(RAW.derive("child"), RAW.derive(b"child"));
    assert_eq!(RAW.derive(ZERO), Digest::from_parts(&[RAW, ZERO]));
    assert_eq!(RAW.hashed(), Digest::hash(RAW.as_bytes()));
}

#[test]
fn digests_have_the_traits_that_programs_use() {
    implements!(Digest: AsRef<[u8]> + Clone + Copy + Debug + Display + Eq + Hash + Ord);
    implements!(Digest: Deref<Target = blake3::Hash> + Serialize + DeserializeOwned);
    implements!(Digest: From<blake3::Hash> + From<&'static blake3::Hash>);
    implements!(Digest: From<&'static Digest> + From<&'static [u8]> + From<&'static str>);
    implements!(Digest: FromStr<Err = Infallible> + PartialEq<&'static Digest>);
    implements!(&'static Digest: PartialEq<Digest>);
    implements!(Digest: Send + Sync + 'static);
    let (tag, id): (Tag, UniqueId) = ("a".into(), "a".parse().unwrap());
    assert_eq!(tag, id);
    let hash: blake3::Hash = *tag;
    assert_eq!(Digest::from(hash), tag);
    // Text of 64 hexadecimal digits is the digest itself, all else is hashed.
    assert_eq!(Digest::from(tag.to_string().as_str()), tag);
    assert_eq!(format!("{tag:?}"), tag.to_string());
    assert_eq!(tag, Digest::hash(b"a"));
    assert_eq!(Digest::from([7u8; 32].as_slice()), Digest::hash(&[7; 32]));
}

#[test]
fn values_are_encoded_and_decoded() {
    implements!(EncodeError: Error + Send + Sync + 'static);
    implements!(DecodeError: Error + Send + Sync + 'static);
    let bytes: Result<Bytes, EncodeError> = try_serialize(&(1u8, "one"));
    let bytes = bytes.unwrap();
    let mut written = Vec::new();
    let done: Result<(), EncodeError> = try_serialize_to_writer(&(1u8, "one"), &mut written);
    done.unwrap();
    assert_eq!(bytes, written);
    let back: Result<(u8, String), DecodeError> = deserialize(&bytes);
    assert_eq!(back.unwrap(), (1, "one".to_owned()));
    assert!(deserialize::<(u8, String)>(vec![1u8]).is_err());
    assert!(deserialize::<u8>([]).is_err());
    let mut buffer = BytesMut::new();
    buffer.extend_from_slice(&bytes);
    assert_eq!(buffer.freeze(), bytes);
}

#[test]
fn values_are_shown_short_pretty_or_not_at_all() {
    implements!(Short<Digest>: Debug + Display);
    implements!(Abbreviated<4, Digest>: Debug + Display);
    implements!(Redacted<String>: Debug + Display);
    implements!(Pretty<'static, Reading>: Debug + Display + AsRef<&'static Reading>);
    implements!(Pretty<'static, Reading>: Deref<Target = &'static Reading>);
    let id = Digest::from_bytes([0xab; 32]);
    let short: Short<&Digest> = id.short();
    assert_eq!(short.to_string(), "ababababab");
    assert_eq!(format!("{:?}", Abbreviated::<2, _>(id)), "abab");
    let secret = "secret".to_owned();
    let redacted: Redacted<&String> = secret.redacted();
    assert_eq!(redacted.to_string(), "<redacted>");
    let value = vec![1u8];
    assert_eq!(Pretty(&value).to_string(), format!("{value:#?}"));
    let pretty: Pretty<'_, Vec<u8>> = value.pretty();
    assert_eq!(pretty.len(), pretty.0.len());
    const LIST: FmtIter<Short<[u8; 1]>, [[u8; 1]; 2]> = Short::iter([[1], [2]]);
    assert_eq!(LIST.to_string(), "[01, 02]");
    const PRETTY: FmtIter<Pretty<'_, u8>, [u8; 1]> = Pretty::iter([3]);
    assert_eq!(PRETTY.to_string(), "[3]");
    const NEW: FmtIter<Redacted<u8>, [u8; 1]> = FmtIter::new([4]);
    assert_eq!(NEW.to_string(), "[<redacted>]");
    assert_eq!(NEW.0, [4]);
    assert_eq!(
        (Short(7u8).0, Redacted(8).0, Abbreviated::<1, _>(9).0),
        (7, 8, 9)
    );
}

#[test]
fn one_or_many_are_taken() {
    fn tags<V>(tags: impl IntoIterOrSingle<Tag, V>) -> Vec<Tag> {
        tags.iterator().collect()
    }
    let own: fn(Vec<&'static str>) -> Vec<Tag> = tags::<Variant<1>>;
    assert_eq!(own(vec!["a", "b"]).len(), tags(["a", "b"]).len());
    assert_eq!(tags("a"), tags(Tag::from("a")));
    let _: Option<Variant> = None;
}

/// A backoff of a program's own: as long each time.
#[derive(Clone)]
struct Steady(Duration);

impl Backoff for Steady {
    fn next_backoff(&mut self) -> Option<Duration> {
        Some(self.0)
    }
}

#[test]
fn backoffs_are_built_and_made_anew() {
    let chained: ExponentialBackoff = ExponentialBackoffBuilder::new()
        .with_initial_interval(Duration::from_millis(10))
        .with_randomization_factor(0.0)
        .with_multiplier(2.0)
        .with_max_interval(Duration::from_secs(1))
        .with_max_elapsed_time(Some(Duration::from_mins(1)))
        .build();
    let mut builder = ExponentialBackoffBuilder::default();
    builder.with_initial_interval(Duration::from_millis(10));
    let same: &mut ExponentialBackoffBuilder = builder.with_randomization_factor(0.0);
    same.with_max_elapsed_time(None);
    let stepwise: ExponentialBackoff = builder.build();
    let first = |mut backoff: ExponentialBackoff| backoff.next_backoff();
    assert_eq!(first(chained.clone()), first(stepwise.clone()));
    assert_eq!(stepwise.max_elapsed_time, None);
    let changed = ExponentialBackoff {
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    assert_eq!(changed.max_elapsed_time, None);
    implements!(ExponentialBackoff: Clone + Debug + Default + Backoff + Send + Sync + 'static);
    implements!(ExponentialBackoffBuilder: Debug + Default);

    let factory: BackoffFactory = Arc::new(|| Box::new(Steady(Duration::from_millis(3))));
    let mut made: Box<dyn Backoff + Send + Sync + 'static> = factory();
    made.reset();
    assert_eq!(made.next_backoff(), Some(Duration::from_millis(3)));
    let _: primitives::BackoffFactory = Arc::new(move || Box::new(chained.clone()));
}
