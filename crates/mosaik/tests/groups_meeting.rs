//! Who is let into a group, what those are told who are not, and sides that had formed apart.

mod support;

use {
    mosaik::{
        Network, UniqueId,
        groups::{
            ApplyContext, ConsensusConfig, Consistency, Event, LeadershipPreference, LogReplaySync,
            Side, StateMachine,
        },
    },
    std::{sync::LazyLock, time::Duration},
    support::{
        groups::{Counter, event, join, join_with, quick, sum},
        network_id, node, nodes, within,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holders_of_a_key_that_run_it_differently_are_told_what_differs() {
    let nodes = nodes(network_id(), 2).await;
    let one = join(&nodes[0]);
    let mut of_one = one.events();
    let other_timing = ConsensusConfig {
        heartbeat_jitter: Duration::from_millis(21),
        ..quick()
    };
    let two = join_with(&nodes[1], other_timing);
    let mut of_two = two.events();
    let mismatch = |event| match event {
        Event::Mismatch { peer, differs } => Some((peer, differs)),
        _ => None,
    };
    let ids = [nodes[0].local().id(), nodes[1].local().id()];
    let expected = vec![mosaik::groups::Mismatch::Consensus];
    assert_eq!(
        event(&mut of_one, mismatch).await,
        (ids[1], expected.clone())
    );
    assert_eq!(event(&mut of_two, mismatch).await, (ids[0], expected));
    assert!(one.bonds().is_empty() && two.bonds().is_empty());
}

/// When guests have to leave.
static GUEST: LazyLock<mosaik::tickets::Expiration> =
    LazyLock::new(|| mosaik::tickets::Expiration::after(chrono::TimeDelta::seconds(4)));

/// Accepts the tickets of a class whose data is the right one.
#[derive(Clone)]
struct Password;

impl mosaik::tickets::TicketValidator for Password {
    fn class(&self) -> UniqueId {
        UniqueId::from("password")
    }

    fn signature(&self) -> UniqueId {
        UniqueId::from("the password")
    }

    fn validate(
        &self,
        ticket: &[u8],
        _: &mosaik::discovery::PeerEntry,
    ) -> Result<mosaik::tickets::Expiration, mosaik::tickets::InvalidTicket> {
        match ticket {
            b"friend" => Ok(mosaik::tickets::Expiration::Never),
            b"guest" => Ok(*GUEST),
            _ => Err(mosaik::tickets::InvalidTicket),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_a_ticket_is_refused_and_both_sides_say_why() {
    let nodes = nodes(network_id(), 2).await;
    let join = |node: &Network| {
        node.groups()
            .with_key("the key")
            .with_state_machine(Counter::default())
            .with_consensus_config(quick())
            .require_ticket(Password)
            .join()
    };
    let ticket = |data: &'static [u8]| mosaik::tickets::Ticket::new("password".into(), data.into());
    nodes[0].discovery().add_ticket(ticket(b"friend"));
    let one = join(&nodes[0]);
    let two = join(&nodes[1]);
    let (mut of_one, mut of_two) = (one.events(), two.events());
    // The one with a ticket may be refused as well at first, by whom does not know it yet.
    let refused = |side| {
        move |event| match event {
            Event::Refused { reason, by, .. } if by == side => Some(reason.to_string()),
            _ => None,
        }
    };
    let reason = event(&mut of_one, refused(Side::Local)).await;
    assert!(reason.contains("NotAllowed"), "{reason}");
    let reason = event(&mut of_two, refused(Side::Peer)).await;
    assert!(reason.contains("NotAllowed"), "{reason}");

    // A ticket that expires lets it in, and out again.
    nodes[1].discovery().add_ticket(ticket(b"guest"));
    let bonded = |event| matches!(event, Event::Bonded(_)).then_some(());
    event(&mut of_two, bonded).await;
    let ended = |event| match event {
        Event::Unbonded { reason, .. } => Some(reason.to_string()),
        _ => None,
    };
    let reason = event(&mut of_two, ended).await;
    assert!(reason.contains("NotAllowed"), "{reason}");
}

/// A peer may be met before its entry has come. That was told as a refusal, as if there were
/// something to mend.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_not_known_yet_is_no_refusal() {
    let network = network_id();
    let (known, stranger) = (node(network).await, node(network).await);
    let one = join(&known);
    let mut of_one = one.events();
    within("online", one.when().online()).await;
    let two = join(&stranger);
    let mut of_two = two.events();
    // The one that is known knows nobody.
    assert!(stranger.discovery().feed(known.discovery().me()));
    let first = |event| match event {
        Event::Bonded(_) => Some(true),
        Event::Refused { .. } => Some(false),
        _ => None,
    };
    assert!(event(&mut of_one, first).await);
    assert!(event(&mut of_two, first).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sides_that_formed_apart_merge_and_lose_nothing() {
    let network = network_id();
    let (first, second) = (node(network).await, node(network).await);
    let (one, two) = (join(&first), join(&second));
    for group in [&one, &two] {
        within("online", group.when().online()).await;
    }
    within("here", one.execute_many([1, 2, 3]))
        .await
        .expect("executed");
    within("there", two.execute_many([10, 20]))
        .await
        .expect("executed");
    let mut events = two.events();
    second.discovery().dial(first.local().addr()).await;
    let merged = |event| match event {
        Event::Merged {
            resubmitted,
            dropped,
            ..
        } => Some((resubmitted, dropped)),
        _ => None,
    };
    assert_eq!(
        event(&mut events, merged).await,
        (2, 0),
        "the smaller side gives way"
    );
    within("everything is here", async {
        while sum(&one).await != (36, 5) {}
    })
    .await;
    within("online", two.when().online()).await;
    assert_eq!(sum(&two).await, (36, 5));
    within("a command", two.execute(4)).await.expect("executed");
    assert_eq!(sum(&one).await, (40, 6));
}

/// A counter that never votes.
#[derive(Default)]
struct Spectator(Counter);

impl StateMachine for Spectator {
    type Command = i64;
    type Query = ();
    type QueryResult = (i64, u64);
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        self.0.signature()
    }

    fn apply(&mut self, command: i64, ctx: &dyn ApplyContext) {
        self.0.apply(command, ctx);
    }

    fn query(&self, (): ()) -> (i64, u64) {
        self.0.query(())
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        LeadershipPreference::Observer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_reads_and_writes_but_is_never_counted() {
    let nodes = nodes(network_id(), 2).await;
    let spectator = nodes[0]
        .groups()
        .with_key("the key")
        .with_state_machine(Spectator::default())
        .with_consensus_config(quick())
        .join();
    let group = join(&nodes[1]);
    within("online", group.when().online()).await;
    assert_eq!(spectator.id(), group.id());
    within("online", spectator.when().online()).await;
    within("a command", spectator.execute(3))
        .await
        .expect("executed");
    let answer = within("an answer", spectator.query((), Consistency::Strong)).await;
    assert_eq!(answer.expect("an answer").result, (3, 1));
    let status = group.status();
    assert_eq!(status.voters().count(), 1);
    assert_eq!(status.of(mosaik::groups::Standing::Observer).count(), 1);
    assert!(!spectator.is_leader() && group.is_leader());
}
