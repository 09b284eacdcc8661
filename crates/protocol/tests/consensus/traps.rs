//! The known ways to get it wrong, one scripted scene each.

use {
    crate::cluster::{Cluster, Id, config, peer},
    core::time::Duration,
    mosaik_protocol::consensus::{
        Body, Core, Entry, EntryBody, Genesis, GroupKeyId, Input, LogIndex, Member, Membership,
        Message, Outcome, Position, Preference, ReadOutcome, RoleName, Term,
        message::{Forward, ForwardAnswer, Verdict},
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// Has `from` say something to `to`, in its lineage and `term`, and gives the answers.
fn say(cluster: &mut Cluster, from: Id, to: Id, term: Term, body: Body) -> Vec<Message> {
    let status = cluster.nodes[&to].status();
    let core = cluster.nodes.get(&from).and_then(|node| node.core.as_ref());
    let from = core.map_or(Member::new(peer(from), 1_000), Core::me);
    let message = Message {
        lineage: status.lineage,
        from,
        to: status.me,
        term,
        body,
    };
    cluster.recorded = Some(Vec::new());
    cluster.input(to, Input::Receive(message));
    cluster.recorded.take().unwrap()
}

fn granted(answers: &[Message]) -> bool {
    answers
        .iter()
        .any(|message| matches!(message.body, Body::VoteAnswer { granted: true }))
}

fn last(cluster: &Cluster, id: Id) -> Position {
    cluster.nodes[&id].status().last
}

/// Drops appends to everyone, so that a new leader commits nothing.
fn starve(cluster: &mut Cluster) {
    cluster.filter = Some(Box::new(|message| {
        !matches!(message.body, Body::Append { .. })
    }));
}

/// A leader of a new term that has committed nothing in it, with an entry of the old term that
/// nobody else has.
fn unready_leader() -> (Cluster, Id, LogIndex) {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    starve(&mut cluster);
    cluster.propose(leader, "old");
    let old = last(&cluster, leader).index;
    let me = cluster.nodes[&leader].status().me;
    cluster.filter = Some(Box::new(move |message| match message.body {
        Body::Append { .. } => false,
        Body::PreVote { .. } | Body::Vote { .. } => message.from == me,
        _ => true,
    }));
    cluster.crash(leader);
    cluster.start(leader);
    let term = cluster.nodes[&leader].status().term;
    cluster.until("it leads again", |c| {
        let status = c.nodes[&leader].status();
        status.role == RoleName::Leader && status.term > term
    });
    assert!(cluster.nodes[&leader].status().commit < old);
    (cluster, leader, old)
}

#[test]
fn a_member_votes_once_a_term_across_a_restart() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let term = cluster.nodes[&2].status().term.plus(5);
    let vote = Body::Vote {
        last: last(&cluster, 2),
        transfer: true,
    };
    assert!(granted(&say(&mut cluster, 1, 2, term, vote.clone())));
    cluster.kill_silently(2);
    cluster.start(2);
    assert_eq!(cluster.nodes[&2].status().term, term);
    assert!(!granted(&say(&mut cluster, 3, 2, term, vote.clone())));
    assert!(granted(&say(&mut cluster, 1, 2, term, vote)));
}

#[test]
fn a_vote_is_stored_before_it_is_told() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let term = cluster.nodes[&2].status().term.plus(5);
    let vote = Body::Vote {
        last: last(&cluster, 2),
        transfer: true,
    };
    cluster.nodes.get_mut(&2).unwrap().slow_disk = true;
    assert!(!granted(&say(&mut cluster, 1, 2, term, vote)));
    cluster.recorded = Some(Vec::new());
    cluster.confirm(2);
    assert!(granted(&cluster.recorded.take().unwrap()));
}

/// A confirmation had to wait for a vote to be stored, while a later leader replaced the entry.
#[test]
fn what_is_removed_meanwhile_is_not_confirmed() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let [follower, other] = cluster.others(leader)[..] else {
        panic!("there are three")
    };
    let (term, prev) = (
        cluster.nodes[&leader].status().term,
        last(&cluster, follower),
    );
    cluster.filter = Some(Box::new(|message| {
        !matches!(message.body, Body::AppendAck { .. })
    }));
    cluster.propose(leader, "a");
    cluster.run(SECOND / 50);
    let end = last(&cluster, follower);
    assert!(cluster.nodes[&follower].status().commit < end.index);
    cluster.nodes.get_mut(&follower).unwrap().slow_disk = true;
    let append = |prev, entries| Body::Append {
        prev,
        commit: LogIndex(0),
        entries,
    };
    let transfer = true;
    let vote = Body::Vote {
        last: end,
        transfer,
    };
    let next = term.plus(1);
    say(&mut cluster, other, follower, next, vote);
    say(&mut cluster, other, follower, next, append(end, vec![]));
    let entry = Entry {
        index: end.index,
        term: term.plus(2),
        body: EntryBody::Noop.encode(),
    };
    let replaced = append(prev, vec![entry]);
    say(&mut cluster, leader, follower, term.plus(2), replaced);
    cluster.recorded = Some(Vec::new());
    cluster.confirm(follower);
    let mut said = cluster.recorded.take().unwrap();
    assert!(granted(&said));
    said.retain(|message| matches!(message.body, Body::AppendAck { .. }));
    assert!(said.iter().all(|ack| ack.term > next), "{said:?}");
}

#[test]
fn a_candidate_whose_log_is_behind_gets_no_vote() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    cluster.execute(1, "a");
    cluster.all_applied(1);
    let term = cluster.nodes[&2].status().term.plus(5);
    let Position { term: at, index } = last(&cluster, 2);
    let vote = Body::Vote {
        last: Position::new(at, index.prev()),
        transfer: true,
    };
    assert!(!granted(&say(&mut cluster, 3, 2, term, vote)));
}

#[test]
fn a_live_leader_is_an_objection_to_any_vote() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    cluster.run(SECOND);
    let leader = cluster.lead();
    let [a, b] = cluster.others(leader)[..] else {
        panic!("there are three")
    };
    let before = cluster.nodes[&a].status();
    let position = last(&cluster, a);
    let vote = Body::Vote {
        last: position,
        transfer: false,
    };
    assert!(!granted(&say(
        &mut cluster,
        b,
        a,
        before.term.plus(1),
        vote
    )));
    let answers = say(
        &mut cluster,
        b,
        a,
        before.term,
        Body::PreVote { last: position },
    );
    assert!(
        answers
            .iter()
            .all(|m| !matches!(m.body, Body::PreVoteAnswer { granted: true, .. }))
    );
    assert_eq!(cluster.nodes[&a].status().term, before.term);
}

/// Figure 8 of the Raft paper.
#[test]
fn entries_of_older_terms_are_not_committed_by_counting() {
    let (mut cluster, leader, old) = unready_leader();
    let term = cluster.nodes[&leader].status().term;
    for id in cluster.others(leader) {
        say(
            &mut cluster,
            id,
            leader,
            term,
            Body::AppendAck { matched: old },
        );
    }
    assert!(cluster.nodes[&leader].status().commit < old);
    for id in cluster.others(leader) {
        say(
            &mut cluster,
            id,
            leader,
            term,
            Body::AppendAck {
                matched: old.next(),
            },
        );
    }
    assert_eq!(cluster.nodes[&leader].status().commit, old.next());
}

#[test]
fn a_new_leader_answers_no_strong_read_before_it_has_committed() {
    let (mut cluster, leader, _) = unready_leader();
    cluster.input(leader, Input::Read(77));
    cluster.run(SECOND / 4);
    assert!(!cluster.nodes[&leader].reads.contains_key(&77));
    cluster.filter = None;
    cluster.until("the read is served", |c| {
        c.nodes[&leader].reads.contains_key(&77)
    });
    let (outcome, seen) = cluster.nodes[&leader].reads[&77];
    assert!(matches!(outcome, ReadOutcome::Ready(_)));
    assert_eq!(seen, 1, "the old entry was committed before the read");
}

/// That the one who asks still follows proves something only where the two are a majority.
#[test]
fn a_leader_without_a_majority_does_not_answer_the_one_who_asks() {
    let mut cluster = Cluster::formed([1, 2, 3, 4, 5]);
    let old = cluster.lead();
    let asker = cluster.others(old)[0];
    cluster.cut_silently(&[old, asker]);
    cluster.input(asker, Input::Read(77));
    cluster.run(SECOND);
    assert!(!cluster.nodes[&asker].reads.contains_key(&77));
}

/// The bug of single-server changes that was found after the dissertation.
#[test]
fn a_new_leader_changes_no_membership_before_it_has_committed() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let old = cluster.lead();
    let new = cluster.others(old)[0];
    starve(&mut cluster);
    let target = cluster.nodes[&new].status().me;
    cluster.input(old, Input::Transfer(Some(target)));
    cluster.until("it leads", |c| c.leader() == Some(new));
    let status = cluster.nodes[&new].status();
    assert!(status.membership_index <= status.commit && status.commit < status.last.index);
    let (member, preference) = (Member::new(peer(8), 1_000), Preference::Normal);
    say(
        &mut cluster,
        8,
        new,
        status.term,
        Body::Join { member, preference },
    );
    assert_eq!(cluster.membership(new).len(), 3);
    cluster.filter = None;
    cluster.until("it is in", |c| c.membership(new).len() == 4);
}

#[test]
fn learners_and_observers_are_not_counted() {
    let mut cluster = Cluster::new([]);
    for id in 1..=7 {
        let mut config = config(id);
        config.max_voters = 3;
        if id > 5 {
            config.preference = Preference::Observer;
        }
        cluster.add(config);
    }
    cluster.until("everyone is there", |c| {
        c.nodes.values().all(|n| {
            let membership = n.status().membership;
            membership.voters().len() == 3 && membership.learners().len() == 2
        })
    });
    let leader = cluster.lead();
    let voters = cluster.membership(leader);
    let others = voters
        .voters()
        .iter()
        .map(|member| member.peer.0[0])
        .filter(|id| *id != leader);
    for id in others.collect::<Vec<_>>() {
        cluster.kill_silently(id);
    }
    let proposal = cluster.propose(leader, "a");
    cluster.input(leader, Input::Read(77));
    cluster.run(SECOND * 10);
    assert_eq!(
        cluster.nodes[&leader].ended(proposal),
        Some(Outcome::Unknown)
    );
    assert_eq!(cluster.nodes[&leader].reads[&77].0, ReadOutcome::Offline);
    assert_eq!(cluster.leader(), None);
}

#[test]
fn a_membership_change_waits_for_the_one_before() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let term = cluster.nodes[&leader].status().term;
    starve(&mut cluster);
    for id in [8, 9] {
        let (member, preference) = (Member::new(peer(id), 1_000), Preference::Normal);
        say(
            &mut cluster,
            id,
            leader,
            term,
            Body::Join { member, preference },
        );
    }
    assert_eq!(cluster.membership(leader).len(), 4);
    cluster.filter = None;
    cluster.until("both are in", |c| c.membership(leader).len() == 5);
}

#[test]
fn a_snapshot_carries_what_keeps_retries_from_being_applied_again() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    cluster.partition(&[3]);
    cluster.recorded = Some(Vec::new());
    for n in 0..20 {
        cluster.execute(2, &n.to_string());
    }
    let sent = cluster.recorded.take().unwrap();
    let forward = sent.into_iter().find_map(|message| match message.body {
        Body::Forward(forward) => Some(forward),
        _ => None,
    });
    cluster.all_applied_by(&[1, 2], 20);
    cluster.snapshot(1);
    cluster.snapshot(2);
    cluster.heal();
    cluster.all_applied(20);
    let target = cluster.nodes[&3].status().me;
    cluster.input(1, Input::Transfer(Some(target)));
    cluster.until("it leads and knows what is committed", |c| {
        let status = c.nodes[&3].status();
        status.role == RoleName::Leader && status.commit == status.last.index
    });
    let term = cluster.nodes[&3].status().term;
    let before = last(&cluster, 3);
    let Forward {
        first, commands, ..
    } = forward.unwrap();
    let again = Body::Forward(Forward {
        after: 0,
        first,
        commands,
    });
    let answers = say(&mut cluster, 2, 3, term, again);
    let known = |m: &Message| {
        let Body::ForwardAnswer(ForwardAnswer { verdict, .. }) = &m.body else {
            return false;
        };
        matches!(verdict, Verdict::At(index) if index.0 == 1)
    };
    assert!(answers.iter().any(known), "{answers:?}");
    assert_eq!(last(&cluster, 3), before);
}

#[test]
fn leadership_is_not_handed_to_a_member_that_lags() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let target = cluster.others(leader)[0];
    let target = cluster.nodes[&target].status().me;
    cluster.filter = Some(Box::new(move |message| {
        !(message.to == target && matches!(message.body, Body::Append { .. }))
    }));
    cluster.execute(leader, "a");
    cluster.recorded = Some(Vec::new());
    cluster.input(leader, Input::Transfer(Some(target)));
    cluster.run(SECOND / 4);
    let told = |cluster: &Cluster| {
        let recorded = cluster.recorded.as_ref().unwrap();
        recorded
            .iter()
            .any(|message| message.body == Body::TimeoutNow)
    };
    assert!(!told(&cluster));
    cluster.filter = None;
    cluster.until("it leads", |c| c.leader() == Some(target.peer.0[0]));
    assert!(told(&cluster));
}

#[test]
fn a_heartbeat_commits_nothing_that_is_not_known_to_be_the_leaders() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let old = cluster.lead();
    cluster.cut_silently(&[old]);
    for n in 0..5 {
        cluster.propose(old, &format!("lost {n}"));
    }
    cluster.run(SECOND * 3);
    let new = cluster.others(old)[0];
    cluster.until("another leads", |c| c.leader().is_some_and(|l| l != old));
    for n in 0..5 {
        cluster.execute(new, &format!("kept {n}"));
    }
    let own = cluster.nodes[&old].status().me;
    cluster.filter = Some(Box::new(move |message| {
        !(message.to == own && matches!(message.body, Body::Append { .. }))
    }));
    cluster.heal();
    cluster.run(SECOND * 2);
    assert!(cluster.nodes[&old].machine.is_empty());
    cluster.filter = None;
    cluster.all_applied(5);
    assert_eq!(cluster.texts(old), cluster.texts(new));
}

#[test]
fn a_fresh_member_takes_one_genesis_only() {
    let mut cluster = Cluster::new([3]);
    let me = cluster.nodes[&3].status().me;
    let mut offer = |id: u8| {
        let founder = Member::new(peer(id), 1_000);
        let membership = Membership::new(vec![founder, me], vec![], vec![]).unwrap();
        let group = GroupKeyId([9; 32]);
        let genesis = Genesis {
            group,
            founder,
            nonce: 5,
            membership,
        };
        let (lineage, entry) = (genesis.lineage(), EntryBody::Genesis(genesis).encode());
        cluster.recorded = Some(Vec::new());
        let to = cluster.nodes[&3].status().me;
        let body = Body::Genesis(entry);
        let message = Message {
            lineage,
            from: founder,
            to,
            term: Term(1),
            body,
        };
        cluster.input(3, Input::Receive(message));
        let answers = cluster.recorded.take().unwrap();
        answers
            .iter()
            .any(|m| m.body == Body::GenesisAnswer { granted: true })
    };
    assert!(offer(1));
    assert!(!offer(2));
    assert!(offer(1), "an answer that got lost is repeated");
}

/// An append that was overtaken does not cut back what came after it.
#[test]
fn an_append_that_arrives_late_removes_nothing() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let follower = cluster.others(leader)[0];
    let to = cluster.nodes[&follower].status().me;
    cluster.recorded = Some(Vec::new());
    for n in 0..5 {
        cluster.execute(leader, &n.to_string());
    }
    let sent = cluster.recorded.take().unwrap();
    let appends: Vec<_> = sent
        .into_iter()
        .filter(|m| m.to == to && matches!(m.body, Body::Append { .. }))
        .collect();
    let before = last(&cluster, follower);
    assert!(appends.len() >= 5);
    for late in appends.into_iter().rev() {
        cluster.input(follower, Input::Receive(late));
        assert_eq!(last(&cluster, follower), before);
    }
}

#[test]
fn a_late_append_does_not_cut_back_what_is_not_committed_either() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let follower = cluster.others(leader)[0];
    let to = cluster.nodes[&follower].status().me;
    cluster.filter = Some(Box::new(|m| {
        !matches!(m.body, Body::AppendAck { .. } | Body::HeartbeatAck { .. })
    }));
    cluster.recorded = Some(Vec::new());
    for n in 0..3 {
        cluster.propose(leader, &n.to_string());
    }
    cluster.run(SECOND / 50);
    let mut sent = cluster.recorded.take().unwrap();
    sent.retain(|m| m.to == to && matches!(m.body, Body::Append { .. }));
    let before = last(&cluster, follower);
    assert!(cluster.nodes[&follower].status().commit < before.index);
    for late in sent {
        cluster.input(follower, Input::Receive(late));
        assert_eq!(last(&cluster, follower), before);
    }
}

#[test]
fn an_old_snapshot_does_not_replace_a_newer_log() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let follower = cluster.others(leader)[0];
    cluster.execute(leader, "a");
    cluster.all_applied(1);
    cluster.snapshot(leader);
    let (old, _) = cluster.nodes[&leader].disk.snapshot.clone().unwrap();
    cluster.execute(leader, "b");
    cluster.all_applied(2);
    cluster.snapshot(follower);
    let before = cluster.nodes[&follower].status();
    let body = Body::Snapshot(Box::new(old));
    say(&mut cluster, leader, follower, before.term, body);
    assert_eq!(cluster.nodes[&follower].status().commit, before.commit);
    assert_eq!(cluster.texts(follower), ["a", "b"]);
}

#[test]
fn messages_to_another_incarnation_or_lineage_change_nothing() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let follower = cluster.others(leader)[0];
    let status = cluster.nodes[&follower].status();
    let entry = mosaik_protocol::consensus::Entry {
        index: status.last.index.next(),
        term: status.term,
        body: EntryBody::Noop.encode(),
    };
    let append = Body::Append {
        prev: status.last,
        commit: status.commit.plus(1),
        entries: vec![entry],
    };
    let from = cluster.nodes[&leader].status().me;
    let message = |lineage, to, term| Message {
        lineage,
        from,
        to,
        term,
        body: append.clone(),
    };
    let stranger = Member::new(status.me.peer, 7);
    let other = mosaik_protocol::consensus::Lineage([1; 32]);
    for message in [
        message(status.lineage, stranger, status.term),
        message(other, status.me, status.term),
        message(status.lineage, status.me, Term(0)),
    ] {
        cluster.input(follower, Input::Receive(message));
        assert_eq!(cluster.nodes[&follower].status().last, status.last);
    }
}

/// The tests of this file, for those who want to see them fail.
#[cfg(mosaik_mutants)]
pub(crate) const ALL: &[(&str, fn())] = named![
    a_late_append_does_not_cut_back_what_is_not_committed_either,
    an_old_snapshot_does_not_replace_a_newer_log,
    a_member_votes_once_a_term_across_a_restart,
    a_vote_is_stored_before_it_is_told,
    a_candidate_whose_log_is_behind_gets_no_vote,
    a_live_leader_is_an_objection_to_any_vote,
    entries_of_older_terms_are_not_committed_by_counting,
    a_leader_without_a_majority_does_not_answer_the_one_who_asks,
    a_new_leader_answers_no_strong_read_before_it_has_committed,
    a_new_leader_changes_no_membership_before_it_has_committed,
    learners_and_observers_are_not_counted,
    a_membership_change_waits_for_the_one_before,
    a_snapshot_carries_what_keeps_retries_from_being_applied_again,
    leadership_is_not_handed_to_a_member_that_lags,
    a_heartbeat_commits_nothing_that_is_not_known_to_be_the_leaders,
    a_fresh_member_takes_one_genesis_only,
    an_append_that_arrives_late_removes_nothing,
    messages_to_another_incarnation_or_lineage_change_nothing,
];
