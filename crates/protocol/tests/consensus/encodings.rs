//! Bytes on the wire and on disk: committed once, bounded for ever, harmless whatever they are.

use {
    crate::cluster::{Cluster, peer},
    bytes::Bytes,
    mosaik_primitives::time::UnixMillis,
    mosaik_protocol::consensus::{
        Body, Core, Entry, EntryBody, Genesis, GroupKeyId, HardState, Index, Input, Lineage,
        LogIndex, Member, Membership, Message, OpRun, Origin, Position, Preference, Recovery, Seal,
        SnapshotMeta, Term,
        entry::encode_commands,
        message::{Forward, ForwardAnswer, Hello, Resubmit, Verdict},
    },
    proptest::prelude::*,
    std::fmt::Write as _,
};

fn member(id: u8) -> Member {
    Member::new(peer(id), 1_000 + u64::from(id))
}

fn position(term: u64, index: u64) -> Position {
    Position::new(Term(term), LogIndex(index))
}

fn run(id: u8, first: u64, count: u32) -> OpRun {
    OpRun {
        origin: Origin::Member(member(id)),
        first,
        count,
    }
}

fn membership() -> Membership {
    Membership::new(vec![member(1), member(2)], vec![member(3)], vec![member(4)]).unwrap()
}

fn entries() -> Vec<(&'static str, Bytes)> {
    let commands = [
        Bytes::from_static(b"one"),
        Bytes::new(),
        Bytes::from_static(b"three"),
    ];
    let runs = [run(1, 1 << 40, 2), run(2, 7, 1)];
    let genesis = Genesis {
        group: GroupKeyId([9; 32]),
        founder: member(1),
        nonce: 77,
        membership: membership(),
    };
    let (parent, lineage) = (Lineage([5; 32]), Lineage([6; 32]));
    vec![
        ("noop", EntryBody::Noop.encode()),
        (
            "commands",
            encode_commands(UnixMillis(1_700_000_000_000), &runs, commands.iter()),
        ),
        ("membership", EntryBody::Membership(membership()).encode()),
        ("genesis", EntryBody::Genesis(genesis).encode()),
        (
            "seal",
            EntryBody::Seal(Seal {
                lineage: parent,
                winner: lineage,
            })
            .encode(),
        ),
        (
            "recovery",
            EntryBody::Recovery(Recovery {
                parent,
                lineage,
                survivor: member(2),
            })
            .encode(),
        ),
    ]
}

fn hello() -> Box<Hello> {
    Box::new(Hello {
        group: GroupKeyId([9; 32]),
        age_ms: 300,
        preference: Preference::Reluctant { factor: 3 },
        formed: true,
        leader: Some(member(2)),
        committed: Index(1_000),
        voters: 3,
        sealed: false,
        cut: true,
        sees: vec![member(3), member(4)],
        answer: true,
    })
}

fn meta() -> SnapshotMeta {
    let mut cluster = Cluster::formed([1, 2, 3]);
    for n in 0..3 {
        cluster.execute(1, &n.to_string());
        cluster.execute(2, &n.to_string());
    }
    let applied = cluster.nodes[&1].status().applied;
    cluster.nodes[&1]
        .core
        .as_ref()
        .unwrap()
        .snapshot_meta(applied)
        .unwrap()
}

#[expect(clippy::too_many_lines, reason = "a few lines a sample")]
fn bodies() -> Vec<(&'static str, Body)> {
    let replicated = || {
        let body = encode_commands(UnixMillis(5), &[run(1, 3, 1)], [Bytes::from("x")].iter());
        vec![Entry {
            index: LogIndex(8),
            term: Term(2),
            body,
        }]
    };
    let commands = || vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")];
    let answer = |verdict| {
        Body::ForwardAnswer(ForwardAnswer {
            first: 9,
            count: 2,
            verdict,
        })
    };
    let matched = LogIndex(7);
    vec![
        ("hello", Body::Hello(hello())),
        ("genesis-offer", Body::Genesis(entries()[3].1.clone())),
        ("genesis-answer", Body::GenesisAnswer { granted: true }),
        (
            "join",
            Body::Join {
                member: member(5),
                preference: Preference::Observer,
            },
        ),
        ("leave", Body::Leave { member: member(5) }),
        ("removed", Body::Removed),
        (
            "pre-vote",
            Body::PreVote {
                last: position(2, 7),
            },
        ),
        (
            "pre-vote-answer",
            Body::PreVoteAnswer {
                term: Term(3),
                granted: false,
            },
        ),
        (
            "vote",
            Body::Vote {
                last: position(2, 7),
                transfer: true,
            },
        ),
        ("vote-answer", Body::VoteAnswer { granted: true }),
        (
            "append",
            Body::Append {
                prev: position(2, 7),
                commit: LogIndex(6),
                entries: replicated(),
            },
        ),
        ("append-ack", Body::AppendAck { matched }),
        (
            "append-reject",
            Body::AppendReject {
                prev: matched,
                hint: position(1, 4),
            },
        ),
        (
            "heartbeat",
            Body::Heartbeat {
                commit: LogIndex(300),
                round: 12,
                quiesce: true,
            },
        ),
        (
            "heartbeat-ack",
            Body::HeartbeatAck {
                round: 12,
                matched,
                stored: LogIndex(6),
                quiesced: false,
            },
        ),
        ("snapshot", Body::Snapshot(Box::new(meta()))),
        (
            "forward",
            Body::Forward(Forward {
                after: 8,
                first: 9,
                commands: commands(),
            }),
        ),
        ("taken", answer(Verdict::At(Index(70)))),
        ("missing", answer(Verdict::Missing { last: 4 })),
        ("skipped", answer(Verdict::Skipped)),
        ("forgotten", answer(Verdict::Forgotten)),
        ("busy", answer(Verdict::Busy)),
        (
            "not-leader",
            answer(Verdict::NotLeader {
                leader: Some(member(2)),
            }),
        ),
        ("read-index", Body::ReadIndex { seq: 4 }),
        (
            "read-index-answer",
            Body::ReadIndexAnswer {
                seq: 4,
                index: Some(matched),
            },
        ),
        (
            "read-index-refusal",
            Body::ReadIndexAnswer {
                seq: 4,
                index: None,
            },
        ),
        ("timeout-now", Body::TimeoutNow),
        ("ping", Body::Ping),
        ("pong", Body::Pong),
        (
            "resubmit",
            Body::Resubmit(Resubmit {
                upto: Index(12),
                runs: vec![run(1, 3, 1), run(2, 4, 1)],
                commands: commands(),
            }),
        ),
        (
            "resubmit-answer",
            Body::ResubmitAnswer {
                lineage: Lineage([5; 32]),
                leading: true,
                leader: Some(member(1)),
                upto: Index(12),
                taken: true,
                committed: false,
            },
        ),
        (
            "foreign",
            Body::Foreign {
                member: member(6),
                lineage: Lineage([5; 32]),
                hello: hello(),
            },
        ),
    ]
}

fn message(body: Body) -> Message {
    let (from, to) = (member(1), member(2));
    Message {
        lineage: Lineage([6; 32]),
        from,
        to,
        term: Term(2),
        body,
    }
}

fn hard_state() -> HardState {
    HardState {
        member: member(1),
        lineage: Lineage([6; 32]),
        term: Term(4),
        vote: Some(member(2)),
        starts: 3,
        commit: LogIndex(1_000),
        continued: Some((LogIndex(900), Lineage([7; 32]))),
    }
}

fn samples() -> Vec<(String, Bytes)> {
    let mut samples: Vec<(String, Bytes)> = entries()
        .into_iter()
        .map(|(name, bytes)| (format!("entry/{name}"), bytes))
        .collect();
    for (name, body) in bodies() {
        samples.push((format!("message/{name}"), message(body).encode()));
    }
    samples.push(("state/hard".into(), hard_state().encode()));
    samples.push(("state/snapshot".into(), meta().encode()));
    samples
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes what is written");
        text
    })
}

/// To add a sample, add its line; a line that changes is a new version of the format.
#[test]
fn encodings_are_the_committed_bytes() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/consensus-v1.txt"
    );
    let fixtures = std::fs::read_to_string(path).unwrap_or_default();
    let lines: String = samples()
        .iter()
        .fold(String::new(), |mut text, (name, bytes)| {
            writeln!(text, "{name} {}", hex(bytes)).expect("a string takes what is written");
            text
        });
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(path, &lines).unwrap();
        return;
    }
    for (ours, theirs) in lines.lines().zip(fixtures.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(lines.lines().count(), fixtures.lines().count());
}

#[test]
fn every_sample_reads_back_as_itself_and_no_part_of_it_reads_at_all() {
    for (name, bytes) in samples() {
        let read = |bytes: Bytes| -> Option<Bytes> {
            match name.split('/').next().unwrap() {
                "entry" => EntryBody::decode(bytes).ok().map(|entry| entry.encode()),
                "message" => Message::decode(bytes).ok().map(|message| message.encode()),
                _ if name == "state/hard" => HardState::decode(bytes).ok().map(|s| s.encode()),
                _ => SnapshotMeta::decode(bytes).ok().map(|meta| meta.encode()),
            }
        };
        assert_eq!(read(bytes.clone()).as_ref(), Some(&bytes), "{name}");
        for len in 0..bytes.len() {
            assert_eq!(read(bytes.slice(..len)), None, "{len} bytes of {name}");
        }
        let longer = Bytes::from([&bytes[..], &[0]].concat());
        assert_eq!(read(longer), None, "{name} and more");
    }
}

#[test]
fn decoding_shares_the_memory_of_its_input() {
    let commands = [Bytes::from(vec![7; 100])];
    let body = encode_commands(UnixMillis(5), &[run(1, 3, 1)], commands.iter());
    let entries = vec![Entry {
        index: LogIndex(8),
        term: Term(2),
        body,
    }];
    let append = Body::Append {
        prev: position(2, 7),
        commit: LogIndex(6),
        entries,
    };
    let bytes = message(append).encode();
    let inside = |part: &Bytes| bytes.as_ptr_range().contains(&part.as_ptr());
    let Body::Append { entries, .. } = Message::decode(bytes.clone()).unwrap().body else {
        panic!("it is an append");
    };
    assert!(inside(&entries[0].body));
    let EntryBody::Commands(commands) = entries[0].decode().unwrap() else {
        panic!("it has commands");
    };
    assert!(inside(&commands.iter().next().unwrap()));
}

/// Small numbers meet each other, and what a member knows, more often than large ones.
fn small() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..12, 1 => (u64::MAX - 3)..=u64::MAX, 1 => any::<u64>()]
}

fn any_position() -> impl Strategy<Value = Position> {
    (small(), small()).prop_map(|(term, index)| position(term, index))
}

fn any_member() -> impl Strategy<Value = Member> {
    (1u8..6, 0u64..3).prop_map(|(id, n)| Member::new(peer(id), [0, 1_000, 1_001][n as usize]))
}

fn any_entry_body() -> impl Strategy<Value = Bytes> {
    let change =
        (any_member(), any_member(), any_member()).prop_filter_map("unfit", |(a, b, c)| {
            Membership::new(vec![a], vec![b], vec![c])
                .ok()
                .map(|membership| EntryBody::Membership(membership).encode())
        });
    let commands =
        (any_member(), small(), 1u32..3, small()).prop_map(|(member, first, count, at)| {
            let first = first.clamp(1, u64::MAX - 9);
            let run = OpRun {
                origin: Origin::Member(member),
                first,
                count,
            };
            let commands = vec![Bytes::from_static(b"c"); count as usize];
            encode_commands(UnixMillis(at), &[run], commands.iter())
        });
    prop_oneof![
        Just(EntryBody::Noop.encode()),
        Just(
            EntryBody::Seal(Seal {
                lineage: Lineage([7; 32]),
                winner: Lineage([8; 32])
            })
            .encode()
        ),
        change,
        commands,
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from),
    ]
}

fn any_body() -> impl Strategy<Value = Body> {
    let entries = proptest::collection::vec((small(), any_entry_body()), 0..4);
    let append = (any_position(), small(), entries).prop_map(|(prev, commit, entries)| {
        let first = prev.index.next();
        let entries = entries
            .into_iter()
            .enumerate()
            .map(|(at, (term, body))| Entry {
                index: first.plus(at as u64),
                term: Term(term),
                body,
            });
        Body::Append {
            prev,
            commit: LogIndex(commit),
            entries: entries.collect(),
        }
    });
    let commands = proptest::collection::vec(Just(Bytes::from_static(b"f")), 0..4);
    let forward = (small(), small(), commands).prop_map(|(after, first, commands)| {
        Body::Forward(Forward {
            after,
            first,
            commands,
        })
    });
    let snapshot = (any_position(), any_member()).prop_map(|(last, member)| {
        let membership = Membership::new(vec![member], vec![], vec![]).unwrap();
        Body::Snapshot(Box::new(SnapshotMeta {
            last,
            membership,
            ..SnapshotMeta::default()
        }))
    });
    let samples: Vec<Body> = bodies().into_iter().map(|(_, body)| body).collect();
    prop_oneof![
        4 => append,
        2 => forward,
        1 => snapshot,
        2 => (small(), small(), any::<bool>()).prop_map(|(commit, round, quiesce)| {
            Body::Heartbeat { commit: LogIndex(commit), round, quiesce }
        }),
        2 => (small(), small(), small()).prop_map(|(round, a, b)| Body::HeartbeatAck {
            round,
            matched: LogIndex(a),
            stored: LogIndex(b),
            quiesced: a == b,
        }),
        2 => small().prop_map(|matched| Body::AppendAck { matched: LogIndex(matched) }),
        2 => (small(), any_position())
            .prop_map(|(prev, hint)| Body::AppendReject { prev: LogIndex(prev), hint }),
        1 => any_position().prop_map(|last| Body::PreVote { last }),
        1 => (any_position(), any::<bool>())
            .prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        1 => any_member().prop_map(|member| Body::Leave { member }),
        1 => any_member()
            .prop_map(|member| Body::Join { member, preference: Preference::Normal }),
        4 => proptest::sample::select(samples),
    ]
}

/// Members in every role that a small cluster brings about.
fn cores() -> Vec<(Lineage, Core)> {
    let mut cluster = Cluster::formed([1, 2, 3]);
    cluster.execute(2, "a");
    let lineage = cluster.nodes[&1].status().lineage;
    let mut fresh = Cluster::new([1]);
    let take = |cluster: &mut Cluster, id| {
        let core = cluster.nodes.get_mut(&id).unwrap().core.take().unwrap();
        (lineage, core)
    };
    let mut candidate = Cluster::formed([1, 2]);
    candidate.crash(1);
    candidate.run(core::time::Duration::from_secs(9));
    let other = candidate.nodes[&2].status().lineage;
    let mut cores = vec![
        take(&mut cluster, 1),
        take(&mut cluster, 2),
        take(&mut fresh, 1),
    ];
    cores.push((other, take(&mut candidate, 2).1));
    cores
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        // Whatever is read is as good as what was written.
        if let Ok(message) = Message::decode(bytes.clone()) {
            prop_assert_eq!(Message::decode(message.encode()), Ok(message));
        }
        if let Ok(entry) = EntryBody::decode(bytes.clone()) {
            prop_assert_eq!(EntryBody::decode(entry.encode()), Ok(entry));
        }
        let _ = (HardState::decode(bytes.clone()), SnapshotMeta::decode(bytes));
    }

    #[test]
    fn damaged_samples_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for (_, bytes) in samples() {
            let mut damaged = bytes.to_vec();
            let at = at.index(damaged.len());
            damaged[at] ^= byte;
            let damaged = Bytes::from(damaged);
            let _ = (Message::decode(damaged.clone()), EntryBody::decode(damaged.clone()));
            let _ = (HardState::decode(damaged.clone()), SnapshotMeta::decode(damaged));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_message_brings_a_member_down(
        messages in proptest::collection::vec((any_member(), 0u64..5, any_body(), 0u8..4), 1..30),
    ) {
        for (lineage, mut core) in cores() {
            let mut now = mosaik_primitives::time::Instant::from_millis(60_000);
            let mut out = Vec::new();
            for (from, term, body, kind) in &messages {
                let lineage = if *kind == 0 { Lineage([8; 32]) } else { lineage };
                let (from, term, to) = (*from, Term(*term), core.me());
                let message = Message { lineage, from, to, term, body: body.clone() };
                now += core::time::Duration::from_millis(u64::from(*kind) * 400);
                let before = core.status();
                core.handle(now, Input::Receive(message), &mut out);
                let after = core.status();
                prop_assert!(after.lineage != before.lineage || after.term >= before.term);
                prop_assert!(after.lineage != before.lineage || after.commit >= before.commit);
                for output in std::mem::take(&mut out) {
                    use mosaik_protocol::consensus::Output;
                    match output {
                        Output::Persist { token, .. } => {
                            core.handle(now, Input::Persisted(token), &mut out);
                        }
                        Output::FetchSnapshot { meta, .. } if core.wants_snapshot(meta.last) => {
                            core.handle(now, Input::SnapshotInstalled(meta.last), &mut out);
                        }
                        Output::Send(message) => {
                            prop_assert_eq!(Message::decode(message.encode()), Ok(message));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}
