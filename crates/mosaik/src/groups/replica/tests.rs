//! Replicas without a driver: what they ask of it is carried out by hand.

use {
    super::{
        super::{
            ApplyContext, Index, LogReplaySync, StateMachine, Storage, Term,
            bond::{BondControl, BondState, PeerCell},
            consensus::{ConsensusConfig, PanicPolicy},
            driver::{Command, Inbox, Wish},
            log_store::InMemoryLogStore,
            metrics::Metrics,
            setup::Shared,
        },
        *,
    },
    crate::{
        PeerId,
        discovery::{PeerEntry, SignedPeerEntry},
        groups::GroupKey,
    },
    bytes::Bytes,
    core::{future::poll_fn, num::NonZero, ops::RangeInclusive, task::Poll, time::Duration},
    iroh::{EndpointAddr, SecretKey, endpoint::ApplicationClose},
    mosaik_primitives::{UniqueId, time::UnixMillis},
    mosaik_protocol::consensus::{
        self, Entry, LogIndex, Member, OpRun, Origin, PeerKey, Position, SnapshotMeta, entry,
    },
    std::sync::Arc,
};

/// Notes every command; panics at 13, and starts over if it may.
#[derive(Default)]
struct Notes {
    seen: Vec<(u32, Cursor)>,
    starts_over: bool,
    /// What makes its state another than the same commands would.
    fault: u8,
}

impl StateMachine for Notes {
    type Command = u32;
    type Query = ();
    type QueryResult = Vec<(u32, Cursor)>;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("notes")
    }

    fn apply(&mut self, command: u32, ctx: &dyn ApplyContext) {
        assert_ne!(command, 13, "thirteen");
        self.seen.push((command, ctx.committed()));
    }

    fn query(&self, (): ()) -> Vec<(u32, Cursor)> {
        self.seen.clone()
    }

    fn digest(&self) -> Option<UniqueId> {
        let seen = self.seen.iter().map(|(command, _)| command.to_le_bytes());
        Some(UniqueId::hash(
            &seen.flatten().chain([self.fault]).collect::<Vec<_>>(),
        ))
    }

    fn start_over(&mut self) -> bool {
        self.seen.clear();
        self.starts_over
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

struct NoControl;

impl BondControl for NoControl {
    fn close(&self, _: ApplicationClose) {}

    fn rtt(&self) -> Option<Duration> {
        None
    }
}

fn entry_of(id: u8) -> SignedPeerEntry {
    let secret = SecretKey::from_bytes(&[id; 32]);
    let address = EndpointAddr::new(secret.public());
    let entry = PeerEntry::starting_now(NetworkId::from("net"), address);
    entry.sign(&secret).unwrap()
}

/// A replica and the ways out of it.
struct Node {
    id: PeerId,
    inbox: Arc<Inbox>,
    shared: Arc<Shared>,
    replica: Replica<Notes>,
}

fn node_with(id: u8, log: impl Storage<u32>, policy: PanicPolicy, starts_over: bool) -> Node {
    let machine = Notes {
        starts_over,
        ..Notes::default()
    };
    let consensus = ConsensusConfig {
        panic_policy: policy,
        digest_interval: NonZero::new(25),
        ..ConsensusConfig::default()
    };
    let config = GroupConfig::new(GroupKey::from("k"), consensus, &machine, Vec::new());
    let network = NetworkId::from("net");
    let node = (Arc::<Inbox>::default(), *entry_of(id).id());
    let shared = Arc::new(Shared::new(Metrics::new(&network, config.group_id())));
    let outlet = Outlet {
        slot: 7,
        local: node.1,
        inbox: Arc::clone(&node.0),
        shared: Arc::clone(&shared),
    };
    Node {
        id: node.1,
        inbox: node.0,
        shared,
        replica: Replica::new(machine, log, network, &config, outlet),
    }
}

fn node(id: u8) -> Node {
    node_with(id, Kept::default(), PanicPolicy::Halt, true)
}

/// A store that is somebody's own.
#[derive(Default)]
struct Kept(InMemoryLogStore<u32>);

impl Storage<u32> for Kept {
    fn append(&mut self, command: u32, term: Term) -> Index {
        self.0.append(command, term)
    }

    fn append_at(&mut self, command: u32, term: Term, time: UnixMillis) -> Index {
        self.0.append_at(command, term, time)
    }

    fn available(&self) -> RangeInclusive<Index> {
        self.0.available()
    }

    fn get(&self, index: Index) -> Option<(u32, Term)> {
        self.0.get(index)
    }

    fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, u32)> {
        self.0.get_range(range)
    }

    fn truncate(&mut self, at: Index) {
        self.0.truncate(at);
    }

    fn last(&self) -> Cursor {
        self.0.last()
    }

    fn time_at(&self, index: Index) -> Option<UnixMillis> {
        self.0.time_at(index)
    }

    fn prune_prefix(&mut self, up_to: Index) {
        self.0.prune_prefix(up_to);
    }
}

impl Node {
    fn commands(&self) -> Vec<Command> {
        let mut commands = Vec::new();
        self.inbox.take(&mut commands);
        commands
    }

    fn seen(&self) -> Vec<(u32, Cursor)> {
        self.replica.query(()).unwrap().into()
    }

    fn bond(&self, id: u8) {
        let peer = entry_of(id);
        let id = *peer.id();
        let bond = BondState::new(UniqueId::zero(), PeerCell::new(Arc::new(peer)), NoControl);
        self.shared.bonds.insert(id, bond);
    }
}

fn committed(index: u64, term: u64, before: u64, commands: &[Bytes]) -> CommittedEntry {
    let run = OpRun {
        origin: Origin::Member(Member::new(PeerKey([9; 32]), 1)),
        first: before + 1,
        count: commands.len() as u32,
    };
    let body = entry::encode_commands(UnixMillis(1_000 + index), &[run], commands.iter());
    CommittedEntry {
        entry: Entry {
            index: LogIndex(index),
            term: consensus::Term(term),
            body,
        },
        before: consensus::Index(before),
        count: commands.len() as u32,
    }
}

/// Entries of ten commands each; the commands are their own indices, plus `offset`.
fn entries(count: u64, offset: u32) -> Vec<CommittedEntry> {
    (0..count)
        .map(|n| {
            let commands = (1..=10).map(|k| (10 * n as u32 + k + offset).encode().unwrap());
            let commands: Vec<_> = commands.collect();
            committed(3 + n, 1 + n / 20, 10 * n, &commands)
        })
        .collect()
}

fn meta(entries: &[CommittedEntry]) -> SnapshotMeta {
    let last = entries.last().unwrap();
    SnapshotMeta {
        last: Position::new(consensus::Term(last.entry.term.0 + 1), LogIndex(90)),
        commands: consensus::Index(last.before.0 + u64::from(last.count)),
        ..SnapshotMeta::default()
    }
}

fn member(node: &Node) -> Member {
    Member::new(PeerKey(*node.id.as_bytes()), 1)
}

/// Lets `joiner` ask `source` until its session comes to an end, or has nothing to say.
async fn talk(joiner: &mut Node, source: &mut Node, deliver: bool) -> Option<CaughtUp> {
    poll_fn(|cx| {
        loop {
            if let Some(end) = joiner.replica.poll(cx).unwrap() {
                return Poll::Ready(Some(end));
            }
            let questions = joiner.commands();
            if questions.is_empty() {
                return Poll::Ready(None);
            }
            for question in questions {
                let Command::Sync { peer, message, .. } = question else {
                    panic!("not a question: {question:?}");
                };
                assert_eq!(peer, source.id);
                source.replica.receive(joiner.id, &message).unwrap();
            }
            for answer in source.commands() {
                if let (Command::Sync { message, .. }, true) = (answer, deliver) {
                    joiner.replica.receive(source.id, &message).unwrap();
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_session_brings_a_replica_to_where_others_are_and_entries_go_on_from_there() {
    let (mut source, mut joiner) = (node(1), node(2));
    joiner.bond(1);
    let all = entries(100, 1_000);
    source.replica.apply(&all).unwrap();
    let (past, _) = all.split_at(70);
    let meta = meta(past);
    joiner.replica.synchronise(&meta, member(&source)).unwrap();
    let end = talk(&mut joiner, &mut source, true).await;
    let expected = CaughtUp {
        position: meta.last,
        installed: true,
    };
    assert_eq!(end, Some(expected));
    assert_eq!(joiner.replica.committed().index(), 700);
    assert!(joiner.seen() == source.seen()[..700]);
    // Entries that reach back are passed over as far as they are known.
    joiner.replica.apply(&all[65..]).unwrap();
    assert!(joiner.seen() == source.seen());
    let (ours, theirs) = (&joiner.replica.parts.log, &source.replica.parts.log);
    let range = Index::one()..=Index::from(1_000);
    assert!(ours.get_range(&range) == theirs.get_range(&range));
    assert_eq!(ours.last().index(), 1_000);
}

#[tokio::test]
async fn what_a_session_reached_of_another_lineage_is_forgotten() {
    for starts_over in [true, false] {
        let (mut source, mut joiner) = (
            node(1),
            node_with(2, Kept::default(), PanicPolicy::Halt, starts_over),
        );
        joiner.bond(1);
        let all = entries(50, 1_000);
        source.replica.apply(&all[..30]).unwrap();
        let target = meta(&all);
        joiner
            .replica
            .synchronise(&target, member(&source))
            .unwrap();
        // The source has not got all of it.
        assert_eq!(talk(&mut joiner, &mut source, true).await, None);
        assert_eq!(joiner.replica.committed().index(), 300);
        let changed = joiner.replica.change_lineage(UniqueId::zero());
        assert_eq!(changed.is_ok(), starts_over);
        if starts_over {
            assert!(joiner.seen().is_empty() && joiner.replica.parts.log.last().is_zero());
            joiner.replica.apply(&entries(1, 5_000)).unwrap();
            assert_eq!(joiner.seen()[0].0, 5_001);
        }
    }
}

#[tokio::test]
async fn a_lineage_that_changes_without_a_session_changes_no_state() {
    let mut node = node(1);
    node.replica.apply(&entries(3, 1_000)).unwrap();
    node.replica.change_lineage(UniqueId::zero()).unwrap();
    assert_eq!(node.seen().len(), 30);
}

#[test]
fn a_store_that_outlives_the_process_keeps_what_is_the_same() {
    let all = entries(30, 1_000);
    let mut log = Kept::default();
    for index in 1..=250u32 {
        // From the 205th on it holds what was never committed.
        let term = if index < 205 {
            1 + (index - 1) / 200
        } else {
            1
        };
        log.append(1_000 + index, Term::from(term));
    }
    let mut node = node_with(1, log, PanicPolicy::Halt, true);
    node.replica.apply(&all[..10]).unwrap();
    assert_eq!(node.replica.parts.log.last().index(), 250);
    node.replica.apply(&all[10..]).unwrap();
    let log = &node.replica.parts.log;
    assert_eq!(log.last(), Cursor::new(Term::from(2), Index::from(300)));
    let kept = log.get_range(&(Index::one()..=Index::from(300)));
    let seen = node.seen();
    assert_eq!(kept.len(), 300);
    for ((term, index, command), (applied, at)) in kept.into_iter().zip(seen) {
        assert_eq!((command, Cursor::new(term, index)), (applied, at));
    }
}

/// Each side of a group that forms counts its terms from one: a command of the same place and term
/// was taken for the same command.
#[test]
fn a_store_that_knows_another_life_of_the_group_keeps_nothing_of_it() {
    let all = entries(3, 1_000);
    let mut log = Kept::default();
    for index in 1..=40u32 {
        // The first ten are the same.
        let other = if index <= 10 { 0 } else { 5_000 };
        log.append(1_000 + index + other, Term::from(1u64));
    }
    let mut node = node_with(1, log, PanicPolicy::Halt, true);
    node.replica.apply(&all).unwrap();
    let log = &node.replica.parts.log;
    let kept = log.get_range(&(Index::one()..=Index::from(40)));
    let seen = node.seen();
    assert_eq!((kept.len(), seen.len()), (30, 30));
    for ((term, index, command), (applied, at)) in kept.into_iter().zip(seen) {
        assert_eq!((command, Cursor::new(term, index)), (applied, at));
    }
}

/// A store that loses every third command.
#[derive(Default)]
struct Lossy(InMemoryLogStore<u32>, u32);

impl Storage<u32> for Lossy {
    fn append(&mut self, command: u32, term: Term) -> Index {
        self.1 += 1;
        if self.1.is_multiple_of(3) {
            return self.0.last().index();
        }
        self.0.append(command, term)
    }

    fn available(&self) -> RangeInclusive<Index> {
        self.0.available()
    }

    fn get(&self, index: Index) -> Option<(u32, Term)> {
        self.0.get(index)
    }

    fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, u32)> {
        self.0.get_range(range)
    }

    fn truncate(&mut self, at: Index) {
        self.0.truncate(at);
    }

    fn last(&self) -> Cursor {
        self.0.last()
    }

    fn prune_prefix(&mut self, up_to: Index) {
        self.0.prune_prefix(up_to);
    }
}

#[test]
fn a_store_that_loses_commands_stops_the_group() {
    let mut node = node_with(1, Lossy::default(), PanicPolicy::Halt, true);
    let stopped = node.replica.apply(&entries(1, 1_000));
    assert!(matches!(stopped, Err(Halted::Storage(_))), "{stopped:?}");
}

#[test]
fn a_panic_tells_the_command_and_is_passed_over_where_that_is_agreed() {
    let all = entries(2, 0);
    let mut halting = node(1);
    let stopped = halting.replica.apply(&all).unwrap_err();
    let Halted::Panicked { index, message } = stopped else {
        panic!("{stopped:?}");
    };
    assert!(index == 13 && message.contains("thirteen"));
    let log = Kept::default();
    let mut skipping = node_with(2, log, PanicPolicy::Skip, true);
    skipping.replica.apply(&all).unwrap();
    assert_eq!(skipping.seen().len(), 19);
    assert_eq!(skipping.seen().last().unwrap().1.index(), 20);
    assert_eq!(skipping.replica.parts.log.last().index(), 20);
}

#[test]
fn commands_before_one_that_cannot_be_read_are_applied() {
    let mut node = node(1);
    let garbage = Bytes::from_static(&[0xff; 9]);
    let commands = [7u32.encode().unwrap(), garbage, 8u32.encode().unwrap()];
    let stopped = node.replica.apply(&[committed(1, 1, 0, &commands)]);
    let Err(Halted::Undecodable { index, .. }) = stopped else {
        panic!("{stopped:?}");
    };
    assert_eq!(index, 2);
    assert_eq!(node.seen().len(), 1);
}

#[test]
fn a_peer_that_talks_nonsense_loses_its_bond() {
    let mut node = node(1);
    let peer = *entry_of(2).id();
    node.replica.receive(peer, &[0xff; 40]).unwrap();
    let said = node.commands();
    let [Command::Wish { slot: 7, wish }] = &said[..] else {
        panic!("{said:?}");
    };
    assert!(matches!(wish, Wish::CloseBond { peer: cut, .. } if *cut == peer));
}

#[test]
fn commands_that_nobody_looks_for_are_not_kept_twice() {
    let log = InMemoryLogStore::default();
    let mut node = node_with(1, log, PanicPolicy::Halt, true);
    node.replica.apply(&entries(2, 1_000)).unwrap();
    assert_eq!(node.seen().len(), 20);
    assert!(node.replica.parts.log.last().is_zero());
}

/// Two members of these lineages, the second with a fault, and whether each notices.
fn notices(lineages: [u8; 2], fault: u8) -> [Vec<Index>; 2] {
    let mut nodes = [node(1), node(2)];
    nodes[0].bond(2);
    nodes[1].bond(1);
    nodes[1].replica.parts.machine.fault = fault;
    let mut events = [nodes[0].shared.events(), nodes[1].shared.events()];
    for (node, lineage) in nodes.iter_mut().zip(lineages) {
        let lineage = UniqueId::from_u8(lineage);
        node.replica.change_lineage(lineage).unwrap();
    }
    let all = entries(9, 1_000);
    nodes[0].replica.apply(&all[..6]).unwrap();
    for upto in [4, 9] {
        nodes[1].replica.apply(&all[..upto]).unwrap();
        for (from, to) in [(0, 1), (1, 0)] {
            let sender = nodes[from].id;
            for said in nodes[from].commands() {
                let Command::Sync { peer, message, .. } = said else {
                    panic!("not a message: {said:?}");
                };
                assert_eq!(peer, nodes[to].id);
                nodes[to].replica.receive(sender, &message).unwrap();
            }
        }
    }
    assert!(nodes[0].seen() == nodes[1].seen()[..60]);
    [0, 1].map(|node| {
        core::iter::from_fn(|| events[node].try_recv().ok())
            .map(|event| match event {
                Event::Diverged { index, .. } => index,
                other => panic!("{other:?}"),
            })
            .collect()
    })
}

#[test]
fn members_whose_states_differ_notice_and_others_do_not() {
    let differs = |index: u64| Index::from(index);
    let nothing = <[Vec<Index>; 2]>::default();
    assert_eq!(notices([1, 1], 0), nothing);
    // At 50 the second was behind when the first spoke.
    let expected = [
        vec![differs(25), differs(50)],
        vec![differs(25), differs(50)],
    ];
    assert_eq!(notices([1, 1], 7), expected);
    assert_eq!(notices([1, 2], 7), nothing, "there is nothing to compare");
}
