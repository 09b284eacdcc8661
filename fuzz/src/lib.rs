//! What each decoder must do with any bytes, shared by the fuzz targets and by the smoke test that
//! runs on stable Rust.
//!
//! A decoder refuses or accepts, and never panics. What it accepts encodes again, and that decodes
//! to the same value.

use {
    core::fmt::Debug,
    mosaik_primitives::{
        Digest, Limits,
        codec::{Versioned, decode_bounded, try_serialize},
        time::UnixMillis,
    },
    mosaik_protocol::{
        catalog::{self, Gossip, NodeKey, Version},
        consensus::{
            self, Body, Entry, EntryBody, GroupKeyId, HardState, Lineage, LogIndex, Member,
            Membership, PeerKey, Position, SnapshotMeta, Term,
        },
        subscription::Criteria,
    },
};

/// One decoder under test.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    /// The fuzz target's name.
    pub name: &'static str,
    /// Decodes, checks what was accepted, and says whether it was.
    pub check: fn(&[u8]) -> bool,
    /// Valid inputs, to be changed a little.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every decoder that a peer's or a disk's bytes reach.
pub const DECODERS: &[Decoder] = &[
    Decoder {
        name: "codec",
        check: codec,
        seeds: codec_seeds,
    },
    Decoder {
        name: "catalog_message",
        check: catalog_message,
        seeds: catalog_message_seeds,
    },
    Decoder {
        name: "catalog_gossip",
        check: catalog_gossip,
        seeds: catalog_gossip_seeds,
    },
    Decoder {
        name: "consensus_message",
        check: consensus_message,
        seeds: consensus_message_seeds,
    },
    Decoder {
        name: "consensus_entry",
        check: consensus_entry,
        seeds: consensus_entry_seeds,
    },
    Decoder {
        name: "consensus_state",
        check: consensus_state,
        seeds: consensus_state_seeds,
    },
    Decoder {
        name: "criteria",
        check: criteria,
        seeds: criteria_seeds,
    },
    Decoder {
        name: "criteria_text",
        check: criteria_text,
        seeds: criteria_text_seeds,
    },
];

/// Decodes `bytes`; on success, checks that encoding and decoding again changes nothing.
fn round_trip<T: PartialEq + Debug, E: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> bool {
    let Ok(value) = decode(bytes) else {
        return false;
    };
    let again = decode(&encode(&value)).expect("what was encoded is decoded");
    assert_eq!(value, again, "encoding and decoding changed the value");
    true
}

/// A type with every shape that postcard treats differently.
type Sample = Vec<(u64, Option<String>, Vec<i16>, Result<bool, [u8; 3]>)>;

fn codec(bytes: &[u8]) -> bool {
    let encode = |value: &Sample| try_serialize(value).expect("plain values encode").to_vec();
    round_trip(
        bytes,
        |bytes| decode_bounded::<Sample>(bytes, 4_096),
        encode,
    )
}

fn codec_seeds() -> Vec<Vec<u8>> {
    let sample: Sample = vec![
        (1, Some("text".into()), vec![-1, 300], Ok(true)),
        (u64::MAX, None, vec![], Err([1, 2, 3])),
    ];
    vec![
        try_serialize(&sample)
            .expect("plain values encode")
            .to_vec(),
    ]
}

fn versioned<T: Versioned + PartialEq + Debug>(bytes: &[u8]) -> bool {
    round_trip(
        bytes,
        |bytes| T::from_versioned(bytes, 1 << 20),
        to_versioned,
    )
}

fn to_versioned<T: Versioned>(value: &T) -> Vec<u8> {
    value.to_versioned().expect("messages encode").to_vec()
}

fn catalog_message(bytes: &[u8]) -> bool {
    versioned::<catalog::Message>(bytes)
}

fn catalog_message_seeds() -> Vec<Vec<u8>> {
    let peer = NodeKey([7; 32]);
    let version = Version {
        start: 1_700_000_000_000,
        seq: 3,
    };
    let item = catalog::Item {
        peer,
        version,
        digest: Digest::hash(b"entry"),
        issued: UnixMillis(1_700_000_000_000),
    };
    let dated = catalog::Dated {
        issued: UnixMillis(1_700_000_000_000),
        incarnation: 2,
        signature: catalog::Signature::from_bytes([9; 64]),
    };
    let range = |content| catalog::Range {
        end: Some(peer),
        content,
    };
    let compare = catalog::Message::Compare {
        session: 9,
        opener: true,
        ranges: vec![
            range(catalog::RangeContent::Fingerprint {
                count: 2,
                fingerprint: [1; 16],
            }),
            range(catalog::RangeContent::Items(vec![item])),
        ],
        ages: Some(catalog::AgeWindow {
            first: 0,
            ages: vec![1, 2, 3].into(),
        }),
    };
    let messages = [
        compare,
        catalog::Message::Direct(Gossip::Entry(vec![5; 40].into())),
        catalog::Message::Entries(vec![
            catalog::Carried {
                entry: vec![1; 10].into(),
                latest: None,
            },
            catalog::Carried {
                entry: vec![].into(),
                latest: Some(dated),
            },
        ]),
        catalog::Message::Announcements {
            fresh: vec![catalog::CompactAnnouncement {
                prefix: [7; 4],
                issued: dated.issued,
                incarnation: dated.incarnation,
                signature: dated.signature,
            }],
            wanted: vec![[8; 4]],
        },
        catalog::Message::Offer(vec![item]),
        catalog::Message::Pull(vec![catalog::Request { peer, version }]),
        catalog::Message::Lacking(vec![peer, peer]),
        catalog::Message::End {
            session: 1,
            more: false,
        },
    ];
    messages.iter().map(to_versioned).collect()
}

fn catalog_gossip(bytes: &[u8]) -> bool {
    versioned::<Gossip>(bytes)
}

fn catalog_gossip_seeds() -> Vec<Vec<u8>> {
    let peer = NodeKey([7; 32]);
    let version = Version {
        start: 1_700_000_000_000,
        seq: 3,
    };
    let issued = UnixMillis(1_700_000_000_000);
    let signature = catalog::Signature::from_bytes([9; 64]);
    let digest = Digest::hash(b"entry");
    let announcement = catalog::Announcement {
        peer,
        version,
        digest,
        issued,
        incarnation: 2,
        signature,
    };
    let farewell = catalog::Farewell {
        peer,
        version,
        issued,
        signature,
    };
    let reporter = NodeKey([8; 32]);
    let suspicion = catalog::Suspicion {
        peer,
        version,
        incarnation: 2,
        reporter,
        signature,
    };
    [
        Gossip::Entry(vec![5; 40].into()),
        Gossip::Announcement(announcement),
        Gossip::Farewell(farewell),
        Gossip::Suspicion(suspicion),
    ]
    .iter()
    .map(to_versioned)
    .collect()
}

fn member(byte: u8) -> Member {
    Member::new(PeerKey([byte; 32]), u64::from(byte))
}

fn consensus_message(bytes: &[u8]) -> bool {
    let decode = |bytes: &[u8]| consensus::Message::decode(bytes.to_vec().into());
    round_trip(bytes, decode, |message| message.encode().to_vec())
}

fn consensus_message_seeds() -> Vec<Vec<u8>> {
    let position = Position::new(Term(3), LogIndex(8));
    let entry = Entry {
        index: LogIndex(9),
        term: Term(3),
        body: EntryBody::Noop.encode(),
    };
    let hello = consensus::message::Hello {
        sees: vec![member(1)],
        ..Default::default()
    };
    let bodies = [
        Body::Hello(Box::new(hello)),
        Body::Vote {
            last: position,
            transfer: false,
        },
        Body::Append {
            prev: position,
            commit: LogIndex(4),
            entries: vec![entry],
        },
        Body::Snapshot(Box::default()),
        Body::Forward(consensus::message::Forward {
            after: 1,
            first: 2,
            commands: vec![vec![1, 2, 3].into(), vec![].into()],
        }),
        Body::ReadIndexAnswer {
            seq: 1,
            index: Some(LogIndex(2)),
        },
    ];
    let message = |body| consensus::Message {
        lineage: Lineage([1; 32]),
        from: member(1),
        to: member(2),
        term: Term(3),
        body,
    };
    bodies
        .into_iter()
        .map(|body| message(body).encode().to_vec())
        .collect()
}

fn consensus_entry(bytes: &[u8]) -> bool {
    let decode = |bytes: &[u8]| {
        let body = EntryBody::decode(bytes.to_vec().into())?;
        if let EntryBody::Commands(commands) = &body {
            assert_eq!(commands.iter().count(), commands.count as usize);
            assert_eq!(commands.ops().count(), commands.count as usize);
        }
        Ok::<_, consensus::WireError>(body)
    };
    round_trip(bytes, decode, |body| body.encode().to_vec())
}

fn consensus_entry_seeds() -> Vec<Vec<u8>> {
    let seal = consensus::Seal {
        lineage: Lineage([5; 32]),
        winner: Lineage([4; 32]),
    };
    let genesis = consensus::Genesis {
        group: GroupKeyId([3; 32]),
        founder: member(1),
        nonce: 5,
        membership: Membership::default().with(member(1), Some(consensus::Standing::Voter)),
    };
    let bodies = [
        EntryBody::Noop,
        EntryBody::Seal(seal),
        EntryBody::Genesis(genesis),
    ];
    bodies.iter().map(|body| body.encode().to_vec()).collect()
}

/// What is read back from a disk.
fn consensus_state(bytes: &[u8]) -> bool {
    let hard = |bytes: &[u8]| HardState::decode(bytes.to_vec().into());
    let meta = |bytes: &[u8]| SnapshotMeta::decode(bytes.to_vec().into());
    round_trip(bytes, hard, |state| state.encode().to_vec())
        | round_trip(bytes, meta, |meta| meta.encode().to_vec())
}

fn consensus_state_seeds() -> Vec<Vec<u8>> {
    let state = HardState {
        member: member(1),
        lineage: Lineage([1; 32]),
        term: Term(300),
        vote: Some(member(2)),
        starts: 4,
        commit: LogIndex(5),
        continued: None,
    };
    vec![
        state.encode().to_vec(),
        SnapshotMeta::default().encode().to_vec(),
    ]
}

/// Texts that mean something, for both forms of criteria.
const CRITERIA: &[&str] = &[
    "true",
    "price > 3.5 and symbol in [\"A\", \"B\"]",
    ".0 has 'x' sample 1/3 last 5",
    "not (a.b.c == null or d != -17)",
];

fn criteria(bytes: &[u8]) -> bool {
    let decode = |bytes: &[u8]| {
        let criteria = Criteria::from_wire(bytes, &Limits::DEFAULT)?;
        // Evaluation must be as harmless as decoding.
        criteria.matches_value(&(1, "text", [Some(2.5), None]));
        Ok::<_, mosaik_protocol::subscription::CriteriaError>(criteria)
    };
    round_trip(bytes, decode, |criteria| criteria.to_wire().to_vec())
}

fn criteria_seeds() -> Vec<Vec<u8>> {
    let parsed = CRITERIA.iter().map(|text| text.parse::<Criteria>());
    parsed
        .map(|criteria| criteria.expect("the text is valid").to_wire().to_vec())
        .collect()
}

fn criteria_text(bytes: &[u8]) -> bool {
    let decode = |bytes: &[u8]| String::from_utf8_lossy(bytes).parse::<Criteria>();
    round_trip(bytes, decode, |criteria| criteria.to_string().into_bytes())
}

fn criteria_text_seeds() -> Vec<Vec<u8>> {
    CRITERIA
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect()
}

/// Checks the decoder of this name; the entry point of the fuzz targets.
pub fn run(name: &str, bytes: &[u8]) {
    let decoder = DECODERS.iter().find(|decoder| decoder.name == name);
    (decoder.expect("the target is named after a decoder").check)(bytes);
}
