//! Every decoder takes any bytes: random ones, and valid ones that were changed a little.
//!
//! The fuzz targets look much longer at the same checks; this keeps them true on stable Rust.

#[path = "../../../fuzz/src/lib.rs"]
pub mod decoders;

use {
    decoders::DECODERS,
    proptest::{prelude::*, sample::Index},
};

#[test]
fn valid_bytes_are_accepted() {
    for decoder in DECODERS {
        for seed in (decoder.seeds)() {
            assert!((decoder.check)(&seed), "{}: {seed:?}", decoder.name);
        }
    }
}

#[test]
fn fuzz_targets_cover_every_decoder() {
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    for decoder in DECODERS {
        decoders::run(decoder.name, &[]);
        assert!(
            manifest.contains(&format!("name = \"{}\"", decoder.name)),
            "{} has no fuzz target",
            decoder.name
        );
    }
}

/// A change of some bytes.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index),
    Repeat(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (
            at(),
            prop_oneof![Just(0), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()]
        )
            .prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (at(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        at().prop_map(Change::Cut),
        (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        match self {
            Self::Insert(at, inserted) => {
                let at = at.index(len + 1);
                bytes.splice(at..at, inserted);
            }
            _ if len == 0 => {}
            Self::Set(at, byte) => bytes[at.index(len)] = byte,
            Self::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                let part = bytes[from.min(to)..=from.max(to)].to_vec();
                bytes.extend(part);
            }
        }
    }
}

proptest! {
    // A failure prints the bytes; they belong into a test of their own, not into a file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        for decoder in DECODERS {
            (decoder.check)(&bytes);
        }
    }

    #[test]
    fn changed_bytes_never_panic(
        which in any::<Index>(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        for decoder in DECODERS {
            let seeds = (decoder.seeds)();
            let mut bytes = seeds[which.index(seeds.len())].clone();
            for change in changes.clone() {
                change.apply(&mut bytes);
            }
            (decoder.check)(&bytes);
        }
    }
}
