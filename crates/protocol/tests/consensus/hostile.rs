//! Messages that no correct member sends.

use {
    crate::cluster::{Cluster, peer},
    bytes::{BufMut, BytesMut},
    mosaik_protocol::consensus::{
        Body, Event, Index, Input, LogIndex, Message, Output, Position, SnapshotMeta, WireError,
    },
};

/// The leader looked for the entry in its store, over and over.
#[test]
fn a_rejection_of_what_was_never_sent_is_ignored() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let status = cluster.nodes[&leader].status();
    let from = cluster.nodes[&cluster.others(leader)[0]].status().me;
    let far = LogIndex(1 << 40);
    let message = Message {
        lineage: status.lineage,
        from,
        to: status.me,
        term: status.term,
        body: Body::AppendReject {
            prev: far,
            hint: Position::new(status.term, far),
        },
    };
    let now = cluster.now;
    let core = cluster.nodes.get_mut(&leader).unwrap().core.as_mut();
    let (core, mut out) = (core.unwrap(), Vec::new());
    core.handle(now, Input::Receive(message), &mut out);
    let fetches = |output: &Output| matches!(output, Output::Fetch { .. });
    assert!(!out.iter().any(fetches), "{out:?}");
    let blamed = |output: &Output| matches!(output, Output::Event(Event::Violation { peer, .. }) if *peer == from.peer);
    assert!(out.iter().any(blamed), "{out:?}");
}

/// A snapshot whose window knows one origin, of which it has forgotten all operations up to `seq`.
fn forgetful(seq: u64) -> bytes::Bytes {
    let meta = SnapshotMeta::default().encode();
    let (origins, before) = meta.split_last().unwrap();
    assert_eq!(*origins, 0, "the window comes last");
    let mut bytes = BytesMut::from(before);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&peer(1).0);
    bytes.put_u64_le(1);
    let mut rest = seq;
    while rest >= 0x80 {
        bytes.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.put_u8(rest as u8);
    bytes.put_u8(0);
    bytes.freeze()
}

/// The next operation of such an origin has a number that does not exist.
#[test]
fn a_window_that_has_seen_every_operation_there_can_be_is_refused() {
    assert!(SnapshotMeta::decode(forgetful(5)).is_ok());
    assert!(matches!(
        SnapshotMeta::decode(forgetful(u64::MAX)),
        Err(WireError::Invalid(_))
    ));
}

/// Public indices would stand still at their end.
#[test]
fn a_snapshot_of_more_commands_than_there_can_be_is_refused() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let follower = cluster.others(leader)[0];
    let status = cluster.nodes[&follower].status();
    let meta = SnapshotMeta {
        last: Position::new(status.term, status.last.index.plus(5)),
        commands: Index(u64::MAX - 1),
        membership: status.membership,
        ..SnapshotMeta::default()
    };
    let message = Message {
        lineage: status.lineage,
        from: cluster.nodes[&leader].status().me,
        to: status.me,
        term: status.term,
        body: Body::Snapshot(Box::new(meta)),
    };
    let now = cluster.now;
    let core = cluster.nodes.get_mut(&follower).unwrap().core.as_mut();
    let mut out = Vec::new();
    core.unwrap().handle(now, Input::Receive(message), &mut out);
    let taken = |output: &Output| matches!(output, Output::FetchSnapshot { .. });
    assert!(!out.iter().any(taken), "{out:?}");
}
