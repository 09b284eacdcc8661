//! What machines and their users are promised about commands, answers and places.

mod support;

use {
    core::{num::NonZero, time::Duration},
    mosaik::{
        Network, PeerId, Strong, UniqueId, Weak,
        discovery::PeerEntry,
        groups::{
            ApplyContext, CommandError, ConsensusConfig, Cursor, Event, Group, Index,
            LeadershipPreference, LogReplaySync, StateMachine,
        },
        tickets::{Expiration, InvalidTicket, Ticket, TicketClass, TicketValidator},
    },
    std::time::SystemTime,
    support::{
        groups::{late, quick, together},
        network_id, node, node_knowing, nodes, patience, until, within,
    },
};

/// What a machine saw while it applied a command.
type Seen = (Vec<u8>, Cursor, SystemTime);

/// Notes what it sees.
#[derive(Default)]
struct Witness {
    seen: Vec<Seen>,
    preference: LeadershipPreference,
}

impl StateMachine for Witness {
    type Command = Vec<u8>;
    type Query = ();
    type QueryResult = Vec<Seen>;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("witness")
    }

    fn apply(&mut self, command: Vec<u8>, ctx: &dyn ApplyContext) {
        self.seen
            .push((command, ctx.committed(), ctx.committed_time()));
    }

    fn query(&self, (): ()) -> Vec<Seen> {
        self.seen.clone()
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        self.preference
    }
}

fn join_as(
    node: &Network,
    preference: LeadershipPreference,
    consensus: ConsensusConfig,
) -> Group<Witness> {
    let machine = Witness {
        preference,
        ..Witness::default()
    };
    let builder = node.groups().with_key("the key");
    let builder = builder.with_consensus_config(consensus);
    builder.with_state_machine(machine).join()
}

async fn formed(nodes: &[Network]) -> Vec<Group<Witness>> {
    let join = |node| join_as(node, LeadershipPreference::Normal, together(nodes.len()));
    let groups: Vec<_> = nodes.iter().map(join).collect();
    for group in &groups {
        within("online", group.when().online()).await;
    }
    groups
}

async fn seen(group: &Group<Witness>) -> Vec<Seen> {
    let answer = within("an answer", group.query((), Strong)).await;
    answer.expect("an answer").into()
}

fn numbered(numbers: impl IntoIterator<Item = u32>) -> Vec<Vec<u8>> {
    let numbers = numbers.into_iter();
    numbers.map(|n| n.to_le_bytes().to_vec()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_one_handle_are_applied_in_the_order_of_the_calls() {
    let nodes = nodes(network_id(), 3).await;
    let groups = formed(&nodes).await;
    for group in &groups {
        let before = seen(group).await.len();
        let calls: Vec<_> = numbered(0..500)
            .into_iter()
            .map(|command| group.execute(command))
            .collect();
        let mut last = Index::zero();
        for call in calls {
            let index = within("executed", call).await.expect("executed");
            assert!(index > last, "indices rise with the calls");
            last = index;
        }
        let all = seen(group).await;
        let own: Vec<_> = all[before..].iter().map(|seen| seen.0.clone()).collect();
        assert!(own == numbered(0..500), "not in the order of the calls");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_sees_the_same_place_and_time_of_every_command() {
    let nodes = nodes(network_id(), 3).await;
    let groups = formed(&nodes).await;
    let started = SystemTime::now();
    for (group, n) in groups.iter().cycle().zip(0..30u32) {
        let many = numbered(10 * n..10 * n + 10);
        within("executed", group.execute_many(many))
            .await
            .expect("executed");
    }
    let first = seen(&groups[0]).await;
    for group in &groups {
        assert_eq!(seen(group).await, first);
    }
    assert_eq!(first.len(), 300);
    for (seen, index) in first.iter().zip(1u64..) {
        assert_eq!(seen.1.index(), index, "a command knows its own index");
    }
    assert!(first.is_sorted_by_key(|seen| (seen.1, seen.2)));
    // Clocks of one machine; the driver reads them now and then.
    let slack = Duration::from_mins(1);
    let range = started - slack..SystemTime::now() + slack;
    assert!(first.iter().all(|seen| range.contains(&seen.2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_executed_is_seen_by_its_caller_and_by_strong_queries_everywhere() {
    let nodes = nodes(network_id(), 3).await;
    let groups = formed(&nodes).await;
    for (n, group) in groups.iter().cycle().take(15).enumerate() {
        let index = within("executed", group.execute(vec![n as u8])).await;
        let index = index.expect("executed");
        assert!(group.committed() >= index);
        let own = within("answer", group.query((), Weak)).await;
        let own = own.expect("an answer");
        assert!(own.state_position() >= index && own.len() == n + 1);
        for other in &groups {
            assert_eq!(seen(other).await.len(), n + 1);
        }
        for other in &groups {
            let reached = within("reached", other.when().committed().reaches(index)).await;
            assert!(reached >= index);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_follows_and_never_leads() {
    let network = network_id();
    let reader = node(network).await;
    let observer = join_as(&reader, LeadershipPreference::Observer, quick());
    let writer = node_knowing(network, &reader).await;
    let group = join_as(&writer, LeadershipPreference::Normal, quick());
    within("online", group.when().online()).await;
    within("the observer is online", observer.when().online()).await;
    assert_eq!(observer.leader(), Some(writer.local().id()));
    let index = within("a command at the observer", observer.execute(vec![1])).await;
    assert_eq!(index.expect("executed"), 1);
    assert_eq!(seen(&observer).await.len(), 1);

    let offline = observer.when().offline();
    drop(group);
    writer.close().await;
    within("the observer is alone", offline).await;
    assert!(!observer.is_leader());
    let answer = observer.query((), Weak).await.expect("an answer");
    assert_eq!(answer.len(), 1, "what it had applied it still tells");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_taken_is_handed_back_and_was_not_executed() {
    let nodes = nodes(network_id(), 1).await;
    let groups = formed(&nodes).await;
    let group = &groups[0];
    let large = within("refused", group.execute(vec![7; 17 << 20])).await;
    let Err(error @ CommandError::TooLarge { .. }) = large else {
        panic!("not refused: {large:?}");
    };
    assert!(error.is_surely_not_done());
    assert_eq!(error.into_commands()[0].len(), 17 << 20);
    let many = within("refused", group.execute_many(numbered(0..65_537))).await;
    let Err(error @ CommandError::TooMany { .. }) = many else {
        panic!("not refused: {many:?}");
    };
    assert_eq!(error.into_commands(), numbered(0..65_537));
    let most = within("taken", group.execute_many(numbered(0..65_536))).await;
    assert_eq!(most.expect("executed"), Index::one()..=Index::from(65_536));
    let large = within("taken", group.execute(vec![7; 15 << 20])).await;
    assert_eq!(large.expect("executed"), 65_537);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_commands_come_back_in_time() {
    let network = network_id();
    let reader = node(network).await;
    let machine = Witness {
        preference: LeadershipPreference::Observer,
        ..Witness::default()
    };
    let short = ConsensusConfig {
        forward_timeout: Duration::from_millis(200),
        query_timeout: Duration::from_millis(200),
        ..quick()
    };
    let builder = reader.groups().with_key("the key");
    let builder = builder.with_consensus_config(short);
    let alone = builder.with_state_machine(machine).join();
    let refused = within("refused", alone.execute(vec![1])).await;
    let Err(CommandError::Offline(commands)) = refused else {
        panic!("not refused: {refused:?}");
    };
    assert_eq!(commands, [[1]]);
    let refused = within("refused", alone.query((), Strong)).await;
    assert!(refused.is_err());
    assert!(alone.query((), Weak).await.is_ok());
}

/// Takes tickets that say so.
struct Stamped;

const CLASS: &str = "stamped";

impl TicketValidator for Stamped {
    fn class(&self) -> TicketClass {
        TicketClass::from(CLASS)
    }

    fn signature(&self) -> UniqueId {
        UniqueId::from(CLASS)
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        match ticket {
            b"stamp" => Ok(Expiration::Never),
            _ => Err(InvalidTicket),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_members_with_a_ticket_meet() {
    let nodes = nodes(network_id(), 3).await;
    for (node, stamp) in nodes.iter().zip([&b"stamp"[..], b"stamp", b"forged"]) {
        let ticket = Ticket::new(TicketClass::from(CLASS), stamp.into());
        node.discovery().add_ticket(ticket);
    }
    let join = |node: &Network, consensus| {
        let builder = node.groups().with_key("the key").require_ticket(Stamped);
        let builder = builder.with_consensus_config(consensus);
        builder.with_state_machine(Witness::default()).join()
    };
    let first = join(&nodes[0], quick());
    within("online", first.when().online()).await;
    let groups = [first, join(&nodes[1], late()), join(&nodes[2], quick())];
    let ids: Vec<PeerId> = nodes.iter().map(|node| node.local().id()).collect();
    until("the two meet", || {
        groups[0].bonds().contains_peer(&ids[1]) && groups[1].bonds().contains_peer(&ids[0])
    })
    .await;
    within("executed", groups[0].execute(vec![1]))
        .await
        .expect("executed");
    within("there too", groups[1].when().committed().reaches(1)).await;
    // The third founds a group of its own, for nobody lets it in.
    within("alone", groups[2].when().online()).await;
    assert_eq!(groups[2].leader(), Some(ids[2]));
    assert!(groups[2].bonds().is_empty() && groups[2].committed().is_zero());
    assert!(!groups[0].bonds().contains_peer(&ids[2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bond_ends_when_the_ticket_that_admitted_it_is_withdrawn() {
    let nodes = nodes(network_id(), 2).await;
    let join = |node: &Network| {
        let ticket = Ticket::new(TicketClass::from(CLASS), b"stamp".as_slice().into());
        node.discovery().add_ticket(ticket);
        let builder = node.groups().with_key("the key").require_ticket(Stamped);
        let builder = builder.with_consensus_config(quick());
        builder.with_state_machine(Witness::default()).join()
    };
    let groups: Vec<_> = nodes.iter().map(join).collect();
    let peer = nodes[1].local().id();
    until("bonded", || groups[0].bonds().contains_peer(&peer)).await;
    let bond = groups[0].bonds().get(&peer).expect("it is there");
    nodes[1].discovery().remove_tickets_of(CLASS.into());
    let ended = tokio::time::timeout(patience(5), bond.terminated()).await;
    let reason = ended.expect("within the time that is promised");
    assert!(reason.to_string().contains("NotAllowed"), "{reason}");
    // It comes back with its ticket.
    let ticket = Ticket::new(TicketClass::from(CLASS), b"stamp".as_slice().into());
    nodes[1].discovery().add_ticket(ticket);
    until("bonded again", || groups[0].bonds().contains_peer(&peer)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_keys_machines_and_timing_are_different_groups() {
    let nodes = nodes(network_id(), 2).await;
    let base = |n: usize| nodes[n].groups().with_key("the key");
    let one = base(0)
        .with_consensus_config(quick())
        .with_state_machine(Witness::default())
        .join();
    let other_timing = ConsensusConfig {
        heartbeat_interval: Duration::from_millis(110),
        ..quick()
    };
    let others = [
        base(1)
            .with_consensus_config(other_timing)
            .with_state_machine(Witness::default())
            .join(),
        nodes[1]
            .groups()
            .with_key("another key")
            .with_consensus_config(quick())
            .with_state_machine(Witness::default())
            .join(),
    ];
    let noop = base(1).with_consensus_config(quick()).join();
    assert_ne!(one.id(), noop.id());
    for other in &others {
        assert_ne!(one.id(), other.id());
        within("online", other.when().online()).await;
        assert!(other.is_leader() && other.bonds().is_empty());
    }
    within("online", one.when().online()).await;
    assert!(one.is_leader() && one.bonds().is_empty());
}

/// Counts, and is wrong on one of the nodes from the tenth command on.
struct Faulty {
    count: u64,
    is_faulty: bool,
}

impl StateMachine for Faulty {
    type Command = ();
    type Query = ();
    type QueryResult = u64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("faulty")
    }

    fn apply(&mut self, (): (), ctx: &dyn ApplyContext) {
        let wrong = self.is_faulty && ctx.committed().index() >= 10;
        self.count += 1 + u64::from(wrong);
    }

    fn query(&self, (): ()) -> u64 {
        self.count
    }

    fn digest(&self) -> Option<UniqueId> {
        Some(UniqueId::from_u64(self.count))
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_compare_their_states_find_the_one_that_differs() {
    let nodes = nodes(network_id(), 3).await;
    let consensus = ConsensusConfig {
        digest_interval: NonZero::new(5),
        ..together(3)
    };
    let groups: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| {
            let machine = Faulty {
                count: 0,
                is_faulty: at == 2,
            };
            let builder = node.groups().with_key("the key");
            let builder = builder.with_consensus_config(consensus.clone());
            builder.with_state_machine(machine).join()
        })
        .collect();
    for (group, node) in groups.iter().zip(&nodes) {
        within("online", group.when().online()).await;
        let others = nodes.len() - 1;
        until("all are bonded", || group.bonds().len() == others).await;
        assert!(!group.bonds().contains_peer(&node.local().id()));
    }
    let mut events = groups[0].events();
    for _ in 0..20 {
        within("executed", groups[0].execute(()))
            .await
            .expect("executed");
    }
    let faulty = nodes[2].local().id();
    let found = within("the difference is told", async {
        loop {
            let event = events.recv().await.expect("events");
            if let Event::Diverged { peer, index } = event {
                return (peer, index);
            }
        }
    });
    let (peer, index) = found.await;
    assert_eq!(peer, faulty);
    assert!(index >= 10 && index.as_u64().is_multiple_of(5), "{index}");
}
