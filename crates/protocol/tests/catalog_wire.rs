//! The bytes of every catalog message, and of every signed statement, stay as they are.
//!
//! A change here is a new version of the format, in a new fixture beside the old one.

use {
    mosaik_primitives::{Digest, codec::Versioned, time::UnixMillis},
    mosaik_protocol::catalog::{
        AgeWindow, Announcement, Carried, CompactAnnouncement, Dated, Farewell, Gossip, Item,
        Message, NodeKey, Range, RangeContent, Request, Signature, Suspicion, Version,
    },
    std::fmt::Write,
};

const PEER: NodeKey = NodeKey([0x11; 32]);
const REPORTER: NodeKey = NodeKey([0x22; 32]);
const DIGEST: Digest = Digest::from_bytes([0x33; 32]);
const NETWORK: Digest = Digest::from_bytes([0x44; 32]);
const VERSION: Version = Version {
    start: 1_700_000_000_000,
    seq: 3,
};
const ISSUED: UnixMillis = UnixMillis(1_700_000_001_000);

fn signature() -> Signature {
    Signature::from_bytes([0x55; 64])
}

fn statements() -> Vec<(&'static str, Gossip)> {
    let announcement = Announcement {
        peer: PEER,
        version: VERSION,
        digest: DIGEST,
        issued: ISSUED,
        incarnation: 2,
        signature: signature(),
    };
    let farewell = Farewell {
        peer: PEER,
        version: VERSION,
        issued: ISSUED,
        signature: signature(),
    };
    let suspicion = Suspicion {
        peer: PEER,
        version: VERSION,
        incarnation: 2,
        reporter: REPORTER,
        signature: signature(),
    };
    vec![
        ("gossip entry", Gossip::Entry(vec![1, 2, 3].into())),
        ("gossip announcement", Gossip::Announcement(announcement)),
        ("gossip farewell", Gossip::Farewell(farewell)),
        ("gossip suspicion", Gossip::Suspicion(suspicion)),
    ]
}

fn compare(item: Item) -> Message {
    Message::Compare {
        session: 7,
        opener: true,
        ranges: vec![
            Range {
                end: Some(PEER),
                content: RangeContent::Skip,
            },
            Range {
                end: Some(REPORTER),
                content: RangeContent::Fingerprint {
                    count: 300,
                    fingerprint: [0x66; 16],
                },
            },
            Range {
                end: None,
                content: RangeContent::Items(vec![item]),
            },
        ],
        ages: Some(AgeWindow {
            first: 0,
            ages: vec![1, 255].into(),
        }),
    }
}

fn messages() -> Vec<(&'static str, Message)> {
    let item = Item {
        peer: PEER,
        version: VERSION,
        digest: DIGEST,
        issued: ISSUED,
    };
    let dated = Dated {
        issued: ISSUED,
        incarnation: 2,
        signature: signature(),
    };
    let compact = CompactAnnouncement {
        prefix: [0x11; 4],
        issued: ISSUED,
        incarnation: 2,
        signature: signature(),
    };
    let carried = |latest| Carried {
        entry: vec![1, 2, 3].into(),
        latest,
    };
    vec![
        (
            "message direct",
            Message::Direct(Gossip::Entry(vec![1, 2, 3].into())),
        ),
        ("message compare", compare(item)),
        (
            "message end",
            Message::End {
                session: 7,
                more: true,
            },
        ),
        (
            "message announcements",
            Message::Announcements {
                fresh: vec![compact],
                wanted: vec![[0x22; 4]],
            },
        ),
        (
            "message entries",
            Message::Entries(vec![carried(None), carried(Some(dated))]),
        ),
        ("message offer", Message::Offer(vec![item])),
        (
            "message pull",
            Message::Pull(vec![Request {
                peer: PEER,
                version: VERSION,
            }]),
        ),
        ("message lacking", Message::Lacking(vec![PEER])),
    ]
}

fn line(text: &mut String, name: &str, bytes: &[u8]) {
    write!(text, "{name}: ").unwrap();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text.push('\n');
}

#[test]
fn the_encodings_are_those_of_version_1() {
    let mut text = String::new();
    for (name, gossip) in statements() {
        let bytes = gossip.to_versioned().unwrap();
        assert_eq!(Gossip::from_versioned(&bytes, bytes.len()).unwrap(), gossip);
        line(&mut text, name, &bytes);
    }
    for (name, message) in messages() {
        let bytes = message.to_versioned().unwrap();
        assert_eq!(
            Message::from_versioned(&bytes, bytes.len()).unwrap(),
            message
        );
        line(&mut text, name, &bytes);
    }
    let signed = Announcement::statement(&NETWORK, &PEER, VERSION, &DIGEST, ISSUED, 2);
    line(&mut text, "signed announcement", &signed);
    let signed = Farewell::statement(&NETWORK, &PEER, VERSION, ISSUED);
    line(&mut text, "signed farewell", &signed);
    let signed = Suspicion::statement(&NETWORK, &PEER, VERSION, 2, &REPORTER);
    line(&mut text, "signed suspicion", &signed);
    assert_eq!(
        text,
        include_str!("fixtures/catalog-v1.hex"),
        "the format has changed:\n{text}"
    );
}
