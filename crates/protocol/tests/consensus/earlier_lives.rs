//! What others still say of a node's life before it lost its log.

use {
    crate::{
        cluster::{Cluster, peer},
        merging::sealed,
    },
    mosaik_protocol::consensus::{
        Body, Index, Input, Lineage, Member, Message, Output, message::Hello,
    },
};

/// Somebody of the other side followed it there before it lost its log and went to this side.
#[test]
fn a_sealed_member_that_is_told_to_ask_its_own_earlier_life_does_not_ask_itself() {
    let mut cluster = sealed();
    let winner = cluster.nodes[&3].status();
    let retired = cluster.nodes[&1].status();
    let me = retired.me;
    let answer = Message {
        lineage: winner.lineage,
        from: winner.me,
        to: me,
        term: winner.term,
        body: Body::ResubmitAnswer {
            lineage: retired.lineage,
            leading: false,
            leader: Some(Member::new(me.peer, me.incarnation - 1)),
            upto: Index(0),
            taken: false,
            committed: false,
        },
    };
    let mut now = cluster.now;
    let core = cluster.nodes.get_mut(&1).unwrap().core.as_mut();
    let (core, mut out) = (core.unwrap(), Vec::new());
    core.handle(now, Input::Receive(answer), &mut out);
    // Until it has asked again.
    for _ in 0..20 {
        now = core.next_deadline().expect("it asks again").max(now);
        core.handle(now, Input::Tick, &mut out);
    }
    let sent = |output: &Output| match output {
        Output::Send(message) => Some((message.to, matches!(message.body, Body::Resubmit(_)))),
        _ => None,
    };
    let sent: Vec<_> = out.iter().filter_map(sent).collect();
    assert!(sent.iter().any(|(_, resubmits)| *resubmits), "{out:?}");
    assert!(sent.iter().all(|(to, _)| to.peer != me.peer), "{out:?}");
}

/// What it had said before it lost its log was passed on once it led here.
#[test]
fn a_leader_does_not_give_way_to_an_earlier_life_of_its_own() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let status = cluster.nodes[&leader].status();
    let passed_on = |cluster: &mut Cluster, member: Member| {
        let hello = Hello {
            group: cluster.nodes[&leader].config.group,
            formed: true,
            leader: Some(member),
            committed: Index(1_000),
            voters: 5,
            ..Hello::default()
        };
        let message = Message {
            lineage: status.lineage,
            from: cluster.nodes[&cluster.others(leader)[0]].status().me,
            to: status.me,
            term: status.term,
            body: Body::Foreign {
                member,
                lineage: Lineage([1; 32]),
                hello: Box::new(hello),
            },
        };
        cluster.input(leader, Input::Receive(message));
        cluster.nodes[&leader].status().sealed
    };
    let earlier = Member::new(status.me.peer, status.me.incarnation - 1);
    assert!(!passed_on(&mut cluster, earlier));
    assert!(
        passed_on(&mut cluster, Member::new(peer(9), 1_000)),
        "it would to another"
    );
}
