//! Messages that no correct member sends.

use {
    crate::cluster::Cluster,
    mosaik_protocol::consensus::{Body, Event, Input, LogIndex, Message, Output, Position},
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
