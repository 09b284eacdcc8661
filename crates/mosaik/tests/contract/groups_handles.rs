//! `Groups`, `GroupBuilder` and `Group` as programs use them, on a node that is alone.

use {
    mosaik::{
        Consistency, Group, GroupId, Network, NetworkId, PeerId, UniqueId,
        discovery::PeerEntry,
        groups::{
            self, ApplyContext, Bonds, CommandError, ConsensusConfig, Cursor, GroupBuilder,
            GroupConfig, Groups, InMemoryLogStore, Index, IndexRange, LogReplaySync, NoOp,
            QueryError, QueryResultAt, StateMachine, When,
        },
        network::Preset,
        tickets::{Expiration, InvalidTicket, TicketClass, TicketValidator},
    },
    std::{
        fmt::{Debug, Display},
        future::Future,
        time::Duration,
    },
};

#[derive(Default)]
struct Total(u64);

impl StateMachine for Total {
    type Command = u64;
    type Query = ();
    type QueryResult = u64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("contract.total")
    }

    fn apply(&mut self, command: u64, _: &dyn ApplyContext) {
        self.0 += command;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

struct Anyone;

impl TicketValidator for Anyone {
    fn class(&self) -> TicketClass {
        TicketClass::from("anyone")
    }

    fn signature(&self) -> UniqueId {
        UniqueId::from("anyone")
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        Ok(Expiration::Never)
    }
}

fn kept<F: Future + Send + Sync + 'static>(future: F) -> F {
    future
}

async fn alone() -> Network {
    Network::builder(NetworkId::random())
        .with_preset(Preset::Isolated)
        .with_groups(groups::Config::builder().with_handshake_timeout(Duration::from_secs(2)))
        .build()
        .await
        .expect("a node starts on loopback")
}

fn quick() -> ConsensusConfig {
    ConsensusConfig::builder()
        .with_bootstrap_delay(Duration::from_millis(50))
        .build()
        .expect("it works")
}

#[tokio::test]
async fn a_group_is_set_up_and_used() {
    let network = alone().await;
    let groups: &Groups = network.groups();
    let builder: GroupBuilder<'_> = groups.with_key("secret");
    let builder: GroupBuilder<'_, InMemoryLogStore<u64>, Total> =
        builder.with_state_machine(Total::default());
    let group: Group<Total> = builder
        .with_log_storage(InMemoryLogStore::default())
        .with_consensus_config(quick())
        .require_ticket(Anyone)
        .join();
    let _: (&GroupId, &GroupConfig, &When) = (group.id(), group.config(), group.when());
    let _: Bonds<Total> = group.bonds();
    assert_eq!(group.config().auth().len(), 1);
    tokio::time::timeout(Duration::from_mins(1), group.when().online())
        .await
        .expect("a node that is alone founds its group");
    assert!(group.is_leader());
    let leader: Option<PeerId> = group.leader();
    assert_eq!(leader, Some(network.local().id()));

    // Futures outlive the handle they came from, and go anywhere.
    let other = group.clone();
    let one = kept(other.execute(1));
    let many = kept(other.execute_many([2, 3]));
    let fed = kept(other.feed(4));
    let fed_many = kept(other.feed_many(vec![5, 6]));
    drop(other);
    let one: Result<Index, CommandError<Total>> = one.await;
    let many: Result<IndexRange, CommandError<Total>> = many.await;
    assert_eq!(one.expect("executed"), 1);
    assert_eq!(many.expect("executed"), Index::from(2)..=Index::from(3));
    assert_eq!(fed.await.expect("accepted"), 4);
    let fed_many: IndexRange = fed_many.await.expect("accepted");
    group.when().committed().reaches(fed_many).await;
    let (committed, position): (Index, Cursor) = (group.committed(), group.log_position());
    assert_eq!((committed, position.index()), (Index::from(6), committed));

    let answer = kept(group.query((), Consistency::Strong));
    let answer: Result<QueryResultAt<Total>, QueryError<Total>> = answer.await;
    let answer = answer.expect("answered");
    assert_eq!((*answer, answer.state_position()), (21, Index::from(6)));
    let weak = group.query((), mosaik::Weak).await.expect("answered");
    assert_eq!(weak.into(), 21);
    let nothing = group.execute_many([]).await;
    assert!(matches!(nothing, Err(CommandError::NoCommands)));
    network.close().await;
}

#[tokio::test]
async fn a_group_that_only_elects_needs_nothing_but_a_key() {
    fn shown<T: Display + Debug + Clone + Send + Sync + 'static>(_: &T) {}
    let network = alone().await;
    let group: Group<NoOp> = network
        .groups()
        .with_key(mosaik::GroupKey::random())
        .with_consensus_config(quick())
        .join();
    shown(&group);
    let leader = kept(group.when().leader_elected());
    let leader: PeerId = tokio::time::timeout(Duration::from_mins(1), leader)
        .await
        .expect("it elects itself");
    assert_eq!(leader, network.local().id());
    network.close().await;
    let closed = group.execute(()).await;
    assert!(matches!(closed, Err(CommandError::GroupTerminated)));
    let closed = group.query((), Consistency::Strong).await;
    assert!(matches!(closed, Err(QueryError::GroupTerminated)));
}
