//! What programs implement of `mosaik::groups`: machines, stores, contexts, state
//! synchronisation. Written with what is required and nothing else.

use {
    mosaik::{
        NetworkId, PeerId, UniqueId,
        groups::{
            ApplyContext, Bond, Bonds, Command, ConsensusConfig, Cursor, GroupConfig, GroupId,
            GroupKey, InMemoryLogStore, Index, LeadershipPreference, LogReplaySync,
            LogReplaySyncMessage, Machine, Message, NoOp, Provider, Query, QueryResult, Session,
            StateMachine, StateMachineMessage, StateSync, StateSyncMessage, StateSyncProvider,
            StateSyncSession, Storage, SyncContext, SyncProviderContext, SyncSessionContext, Term,
        },
        iroh::endpoint::ApplicationClose,
        network::CloseReason,
        tickets::{Expiration, InvalidTicket},
    },
    serde::{Deserialize, Serialize},
    std::{
        collections::BTreeMap,
        future::Future,
        num::NonZero,
        ops::RangeInclusive,
        task::{Context, Poll},
        time::Duration,
    },
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Change {
    Add(i64),
    Reset,
}

/// A machine that knows nothing of committed times, with the provided synchronisation.
#[derive(Default)]
struct Counter {
    value: i64,
    at: Cursor,
}

impl StateMachine for Counter {
    type Command = Change;
    type Query = ();
    type QueryResult = i64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("contract.counter")
    }

    fn apply(&mut self, command: Change, ctx: &dyn ApplyContext) {
        match command {
            Change::Add(amount) => self.value += amount,
            Change::Reset => self.value = 0,
        }
        self.at = ctx.committed();
    }

    fn query(&self, (): ()) -> i64 {
        self.value
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
            .with_batch_size(NonZero::new(500).expect("not zero"))
            .with_fetch_timeout(Duration::from_secs(5))
    }
}

/// A context of a program's own tests.
struct Fake {
    id: UniqueId,
}

impl ApplyContext for Fake {
    fn committed(&self) -> Cursor {
        Cursor::new(Term::one(), Index::one())
    }

    fn log_position(&self) -> Cursor {
        self.committed()
    }

    fn current_term(&self) -> Term {
        Term::one()
    }

    fn group_id(&self) -> &GroupId {
        &self.id
    }

    fn network_id(&self) -> &NetworkId {
        &self.id
    }
}

#[test]
fn a_machine_can_be_tested_without_a_group() {
    let ctx = Fake {
        id: UniqueId::zero(),
    };
    let mut counter = Counter::default();
    counter.apply(Change::Add(5), &ctx);
    counter.apply_batch([Change::Reset, Change::Add(2), Change::Add(1)], &ctx);
    assert_eq!((counter.query(()), counter.at.index()), (3, Index::one()));
    let preference: LeadershipPreference = counter.leadership_preference();
    assert_eq!(preference, LeadershipPreference::Normal);
    NoOp.apply((), &ctx);
}

#[test]
fn bounds_hold_for_whatever_can_be_sent() {
    fn command<T: Command + StateMachineMessage + StateSyncMessage>() {}
    fn query<T: Query + QueryResult>() {}
    command::<Change>();
    query::<BTreeMap<String, Vec<u64>>>();
    command::<LogReplaySyncMessage<Change>>();
}

#[test]
fn a_group_s_configuration_tells_its_id() {
    let key = GroupKey::from("contract");
    let machine = Counter::default();
    let config = GroupConfig::new(key, ConsensusConfig::default(), &machine, Vec::new());
    let other = GroupConfig::new(key, ConsensusConfig::default(), &NoOp, Vec::new());
    let (id, _): (&GroupId, &GroupKey) = (config.group_id(), config.key());
    assert_ne!(id, other.group_id());
    assert!(config.auth().is_empty());
    assert_eq!(config.consensus(), &ConsensusConfig::default());
    fn signature(
        _: fn(
            &GroupConfig,
            &mosaik::discovery::SignedPeerEntry,
        ) -> Result<Option<Expiration>, InvalidTicket>,
    ) {
    }
    signature(GroupConfig::authorize_peer);
}

/// A store with the required methods only.
#[derive(Default)]
struct Listed<C>(Vec<(C, Term)>);

impl<C: Command> Storage<C> for Listed<C> {
    fn append(&mut self, command: C, term: Term) -> Index {
        self.0.push((command, term));
        Index::from(self.0.len())
    }

    fn available(&self) -> RangeInclusive<Index> {
        Index::one()..=Index::from(self.0.len())
    }

    fn get(&self, index: Index) -> Option<(C, Term)> {
        self.0.get(index.as_usize().checked_sub(1)?).cloned()
    }

    fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, C)> {
        let held = self.0.iter().zip(1u64..);
        held.map(|((command, term), index)| (*term, Index::from(index), command.clone()))
            .filter(|(_, index, _)| range.contains(index))
            .collect()
    }

    fn truncate(&mut self, at: Index) {
        self.0.truncate(at.prev().as_usize());
    }

    fn last(&self) -> Cursor {
        let term = self.0.last().map_or(Term::zero(), |(_, term)| *term);
        Cursor::new(term, Index::from(self.0.len()))
    }

    fn prune_prefix(&mut self, _: Index) {}
}

#[test]
fn a_store_of_a_program_s_own_starts_over_where_it_can() {
    let mut store = Listed::default();
    store.append(7u8, Term::one());
    store.append(8, Term::from(2));
    let memory = &mut InMemoryLogStore::default();
    memory.append(7u8, Term::one());
    assert_eq!(store.term_at(Index::one()), memory.term_at(Index::one()));
    store.reset_to(Cursor::zero());
    assert_eq!(store.last(), Cursor::zero());
}

/// A machine with a synchronisation of its own: the whole state in one message.
struct Whole(u64);

struct WholeSync;

#[derive(Clone, Serialize, Deserialize)]
enum WholeMessage {
    Ask,
    State(u64, Cursor),
}

struct WholeProvider {
    committed: Cursor,
}

struct WholeSession {
    state: Option<(u64, Cursor)>,
    later: Vec<(u64, Term)>,
    reached: Index,
}

impl StateMachine for Whole {
    type Command = u64;
    type Query = ();
    type QueryResult = u64;
    type StateSync = WholeSync;

    fn signature(&self) -> UniqueId {
        UniqueId::from("contract.whole")
    }

    fn apply(&mut self, command: u64, _: &dyn ApplyContext) {
        self.0 ^= command;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn state_sync(&self) -> WholeSync {
        WholeSync
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        LeadershipPreference::Observer
    }
}

impl StateSync for WholeSync {
    type Machine = Whole;
    type Message = WholeMessage;
    type Provider = WholeProvider;
    type Session = WholeSession;

    fn signature(&self) -> UniqueId {
        UniqueId::from("contract.whole.sync")
    }

    fn create_provider(&self, cx: &dyn SyncContext<Self>) -> WholeProvider {
        let _: (PeerId, GroupId, NetworkId) = (cx.local_id(), cx.group_id(), cx.network_id());
        WholeProvider {
            committed: cx.committed(),
        }
    }

    fn create_session(
        &self,
        cx: &mut dyn SyncSessionContext<Self>,
        position: Cursor,
        leader_commit: Index,
        entries: Vec<(u64, Term)>,
    ) -> WholeSession {
        let leader = cx.leader();
        if cx.send_to(leader, WholeMessage::Ask).is_err() {
            let asked: Vec<PeerId> = cx.broadcast(WholeMessage::Ask).unwrap_or_default();
            assert!(asked.len() <= cx.bonds().len());
        }
        WholeSession {
            state: None,
            later: entries,
            reached: leader_commit.min(position.index()),
        }
    }
}

impl StateSyncProvider for WholeProvider {
    type Owner = WholeSync;

    fn receive(
        &mut self,
        message: Message<WholeSync>,
        sender: PeerId,
        cx: &mut dyn SyncProviderContext<WholeSync>,
    ) -> Result<(), Message<WholeSync>> {
        if !matches!(message, WholeMessage::Ask) {
            return Err(message);
        }
        if cx.is_leader() && cx.leader().is_some() {
            let _: Result<(), u64> = cx.feed_command(0);
        }
        let state = WholeMessage::State(cx.state_machine().0, cx.committed());
        cx.send_to(sender, state).map_err(|_| WholeMessage::Ask)
    }

    fn safe_to_prune_prefix(&self, _: &mut dyn SyncProviderContext<WholeSync>) -> Option<Index> {
        Some(self.committed.index())
    }

    fn committed(&mut self, at: Cursor, _: &mut dyn SyncProviderContext<WholeSync>) {
        self.committed = at;
    }
}

impl StateSyncSession for WholeSession {
    type Owner = WholeSync;

    fn poll(
        &mut self,
        _: &mut Context<'_>,
        driver: &mut dyn SyncSessionContext<WholeSync>,
    ) -> Poll<Cursor> {
        let Some((state, at)) = self
            .state
            .take()
            .filter(|(_, at)| at.index() >= self.reached)
        else {
            return Poll::Pending;
        };
        driver.state_machine_mut().0 = state;
        driver.log_mut().reset_to(at);
        driver.set_committed(at);
        for (command, term) in self.later.drain(..) {
            driver.log_mut().append(command, term);
        }
        Poll::Ready(driver.log().last())
    }

    fn receive(
        &mut self,
        message: Message<WholeSync>,
        _: PeerId,
        _: &mut dyn SyncSessionContext<WholeSync>,
    ) {
        if let WholeMessage::State(state, at) = message {
            self.state = Some((state, at));
        }
    }

    fn buffer(
        &mut self,
        _: Cursor,
        entries: Vec<(<Machine<WholeSync> as StateMachine>::Command, Term)>,
        _: &mut dyn SyncSessionContext<WholeSync>,
    ) {
        self.later.extend(entries);
    }
}

#[test]
fn a_synchronisation_of_a_program_s_own_is_part_of_the_id() {
    fn parts<S: StateSync>(_: &S) -> (Option<Provider<S>>, Option<Session<S>>) {
        (None, None)
    }
    fn words<S: StateSync>(_: &S) -> (Option<Message<S>>, Option<Machine<S>>) {
        (None, None)
    }
    assert!(parts(&WholeSync).0.is_none() && words(&WholeSync).1.is_none());
    let id = |machine: &Whole| {
        let config = GroupConfig::new(
            GroupKey::from("k"),
            ConsensusConfig::default(),
            machine,
            vec![],
        );
        *config.group_id()
    };
    assert_eq!(id(&Whole(1)), id(&Whole(2)));
}

/// What a program can ask of its bonds.
#[expect(dead_code, reason = "compiling is the test")]
async fn bonds(bonds: &Bonds<Counter>, reason: impl CloseReason, peer: PeerId) {
    let (_, _, _): (usize, bool, bool) =
        (bonds.len(), bonds.is_empty(), bonds.contains_peer(&peer));
    bonds.changed().await;
    let all: Vec<Bond<Counter>> = bonds.clone().iter().collect();
    assert!(all.iter().all(|bond| !bond.is_terminated()));
    if let Some(bond) = bonds.get(&peer) {
        println!("{bond} {bond:?} {} {}", bond.id(), bond.peer().id());
        let ended = bond.terminated();
        bond.clone().close(reason).await;
        let _: ApplicationClose = ended.await;
    }
    fn kept(_: impl Future<Output = ApplicationClose> + Send + Sync + 'static) {}
    for bond in all {
        kept(bond.terminated());
    }
}

#[test]
fn a_group_without_bonds_has_none() {
    let none = Bonds::<Counter>::default();
    assert!(none.is_empty() && none.iter().next().is_none());
    assert_eq!(format!("{none:?}"), "[]");
}
