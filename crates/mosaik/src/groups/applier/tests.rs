//! What becomes of commands, outcomes and queries while the state is being replaced by that of
//! others, or saved.

use {
    super::*,
    crate::{
        NetworkId,
        groups::{
            ApplyContext, ConsensusConfig, Cursor, GroupConfig, GroupKey, Halted, InMemoryLogStore,
            StateMachine, StateSync, StateSyncProvider, StateSyncSession, SyncContext,
            SyncProviderContext, SyncSessionContext, Term,
            driver::{Command, Propose, Settled, Wish},
            metrics::Metrics,
            replica::Outlet,
        },
        primitives::{Datum, encoding::try_serialize},
    },
    core::{
        task::{Context, Poll},
        time::Duration,
    },
    iroh::SecretKey,
    mosaik_primitives::{UniqueId, time::UnixMillis},
    mosaik_protocol::consensus::{Entry, Member, OpRun, Origin, PeerKey, Position, entry},
    serde::{Deserialize, Serialize},
};

/// Keeps all numbers. Its sessions begin with none, and take what they are given.
#[derive(Default)]
struct Sheet(Vec<u32>);

struct Replace;

#[derive(Clone, Serialize, Deserialize)]
enum Say {
    /// For providers.
    Please,
    Here(Vec<u32>),
    Unreadable(Unreadable),
}

/// Panics where it is decoded.
#[derive(Clone, Serialize)]
struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("what cannot be read")
    }
}

#[derive(Default)]
struct Asked(usize);

struct Taker {
    target: Cursor,
    begun: bool,
    got: Option<Vec<u32>>,
}

impl StateMachine for Sheet {
    type Command = u32;
    type Query = ();
    type QueryResult = Vec<u32>;
    type StateSync = Replace;

    fn signature(&self) -> UniqueId {
        UniqueId::from("sheet")
    }

    fn apply(&mut self, command: u32, _: &dyn ApplyContext) {
        self.0.push(command);
    }

    fn query(&self, (): ()) -> Vec<u32> {
        self.0.clone()
    }

    fn state_sync(&self) -> Replace {
        Replace
    }
}

impl StateSync for Replace {
    type Machine = Sheet;
    type Message = Say;
    type Provider = Asked;
    type Session = Taker;

    fn signature(&self) -> UniqueId {
        UniqueId::from("replace")
    }

    fn create_provider(&self, _: &dyn SyncContext<Self>) -> Asked {
        Asked::default()
    }

    fn create_session(
        &self,
        _: &mut dyn SyncSessionContext<Self>,
        target: Cursor,
        _: Index,
        _: Vec<(u32, Term)>,
    ) -> Taker {
        Taker {
            target,
            begun: false,
            got: None,
        }
    }
}

impl StateSyncProvider for Asked {
    type Owner = Replace;

    fn receive(
        &mut self,
        message: Say,
        _: PeerId,
        cx: &mut dyn SyncProviderContext<Replace>,
    ) -> Result<(), Say> {
        let Say::Please = message else {
            return Err(message);
        };
        // Shows that it was asked, and what it would have given.
        self.0 = cx.state_machine().0.len();
        let said = u32::try_from(self.0).expect("few");
        cx.feed_command(said).map_err(|_| Say::Please)
    }
}

impl StateSyncSession for Taker {
    type Owner = Replace;

    fn poll(
        &mut self,
        _: &mut Context<'_>,
        driver: &mut dyn SyncSessionContext<Replace>,
    ) -> Poll<Cursor> {
        if !self.begun {
            return Poll::Pending;
        }
        driver.state_machine_mut().0.clear();
        let Some(got) = self.got.take() else {
            return Poll::Pending;
        };
        driver.state_machine_mut().0 = got;
        driver.set_committed(self.target);
        Poll::Ready(self.target)
    }

    fn receive(&mut self, said: Say, _: PeerId, _: &mut dyn SyncSessionContext<Replace>) {
        if let Say::Here(got) = said {
            self.begun = true;
            self.got = (!got.is_empty()).then_some(got);
        }
    }

    fn buffer(&mut self, _: Cursor, _: Vec<(u32, Term)>, _: &mut dyn SyncSessionContext<Replace>) {}
}

struct Node {
    applier: Arc<Applier<Sheet>>,
    running: tokio::task::JoinHandle<()>,
    inbox: Arc<Inbox>,
    peer: PeerId,
}

fn node() -> Node {
    let (machine, network) = (Sheet::default(), NetworkId::from("net"));
    let consensus = ConsensusConfig::default();
    let config = GroupConfig::new(GroupKey::from("k"), consensus, &machine, Vec::new());
    let inbox = Arc::<Inbox>::default();
    let shared = Arc::new(Shared::new(Metrics::new(&network, config.group_id())));
    let peer = SecretKey::from_bytes(&[2; 32]).public();
    let outlet = Outlet {
        slot: 7,
        local: SecretKey::from_bytes(&[1; 32]).public(),
        inbox: Arc::clone(&inbox),
        shared: Arc::clone(&shared),
    };
    let log = InMemoryLogStore::default();
    let replica = Replica::new(machine, log, network, &config, outlet);
    let tasks = Tasks::default();
    let applier = Arc::new(Applier::new(7, Arc::clone(&inbox), shared, tasks));
    let running = tokio::spawn(Arc::clone(&applier).run(replica));
    Node {
        applier,
        running,
        inbox,
        peer,
    }
}

/// One command an entry.
fn entries(indices: core::ops::RangeInclusive<u32>) -> Vec<CommittedEntry> {
    indices
        .map(|index| {
            let before = consensus::Index(u64::from(index) - 1);
            let run = OpRun {
                origin: Origin::Member(Member::new(PeerKey([9; 32]), 1)),
                first: u64::from(index),
                count: 1,
            };
            let command = index.encode().expect("encodes");
            let body = entry::encode_commands(UnixMillis(1), &[run], [command].iter());
            CommittedEntry {
                entry: Entry {
                    index: LogIndex(u64::from(index)),
                    term: consensus::Term(1),
                    body,
                },
                before,
                count: 1,
            }
        })
        .collect()
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let deadline = tokio::time::timeout(Duration::from_mins(1), future);
    deadline.await.unwrap_or_else(|_| panic!("{what}"))
}

impl Node {
    fn apply(&self, indices: core::ops::RangeInclusive<u32>) {
        Machine::apply(&*self.applier, entries(indices));
    }

    fn say(&self, said: &Say) {
        let mut message = vec![0];
        message.extend_from_slice(&try_serialize(said).expect("encodes"));
        self.applier.receive(self.peer, message.into());
    }

    fn synchronise(&self, upto: u64) {
        let meta = SnapshotMeta {
            last: Position::new(consensus::Term(1), LogIndex(upto)),
            commands: consensus::Index(upto),
            ..SnapshotMeta::default()
        };
        let source = Member::new(PeerKey(*self.peer.as_bytes()), 1);
        Machine::synchronise(&*self.applier, meta, source);
    }

    fn ask(&self) -> oneshot::Receiver<Answer<Sheet>> {
        let (reply, answer) = oneshot::channel();
        self.applier.query(super::Asked { query: (), reply });
        answer
    }

    async fn weak(&self) -> Answer<Sheet> {
        within("an answer", self.ask()).await.expect("an answer")
    }

    fn strong(&self) -> oneshot::Receiver<Answer<Sheet>> {
        let (reply, answer) = oneshot::channel();
        let asked = super::Asked::<Sheet> { query: (), reply };
        Machine::answer(&*self.applier, Box::new(asked));
        answer
    }

    fn committed(&self) -> oneshot::Receiver<Settled> {
        let (to, settled) = oneshot::channel();
        let reply = Reply::Applied { to, accepted: None };
        let first = consensus::Index(1);
        self.applier.resolve(reply, Outcome::Committed { first });
        settled
    }

    /// What the driver was told, but for how much is applied.
    fn told(&self) -> Vec<Command> {
        let mut commands = Vec::new();
        self.inbox.take(&mut commands);
        commands
    }

    /// Begins a session up to the fifth command, and waits until it has the state half changed.
    async fn tear(&self) {
        self.synchronise(5);
        self.say(&Say::Here(Vec::new()));
        self.is_torn().await;
    }

    /// Waits until the state is half changed.
    async fn is_torn(&self) {
        within("the session begins", async {
            while !matches!(self.weak().await, Err(QueryError::Offline(()))) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn numbers(answer: Answer<Sheet>) -> Vec<u32> {
    answer.expect("an answer").result
}

#[tokio::test]
async fn what_has_to_see_the_state_waits_for_a_session_that_changes_it() {
    let node = node();
    node.apply(1..=2);
    node.tear().await;
    node.apply(3..=7);
    let (mut settled, mut answer) = (node.committed(), node.strong());
    node.is_torn().await;
    assert!(settled.try_recv().is_err() && answer.try_recv().is_err());
    node.say(&Say::Here(vec![1, 2, 3, 4, 5]));
    let settled = within("an outcome", settled).await.expect("told");
    assert!(matches!(settled.outcome, Outcome::Committed { .. }));
    let all = within("an answer", answer).await.expect("told");
    assert_eq!(numbers(all), [1, 2, 3, 4, 5, 6, 7]);
    let told = node.told();
    let [
        Command::Synced {
            installed: true, ..
        },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
}

#[tokio::test]
async fn what_was_not_done_is_told_while_a_session_changes_the_state() {
    let node = node();
    node.tear().await;
    let mut committed = node.committed();
    let (to, settled) = oneshot::channel();
    let outcome = Outcome::NotDone(consensus::NotDone::Offline);
    let reply = Reply::Applied { to, accepted: None };
    node.applier.resolve(reply, outcome);
    let settled = within("an outcome", settled).await.expect("told");
    assert_eq!(settled.outcome, outcome);
    assert!(committed.try_recv().is_err(), "it is not applied yet");
}

#[tokio::test]
async fn a_panic_while_a_message_is_decoded_ends_the_bond_and_nothing_else() {
    let node = node();
    node.apply(1..=2);
    node.say(&Say::Unreadable(Unreadable));
    assert_eq!(numbers(node.weak().await), [1, 2]);
    let told = node.told();
    let [
        Command::Wish {
            wish: Wish::CloseBond { .. },
            ..
        },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
}

#[tokio::test]
async fn an_applier_that_is_cancelled_leaves_nobody_waiting() {
    let node = node();
    node.tear().await;
    node.apply(1..=7);
    let (settled, answer) = (node.committed(), node.strong());
    node.is_torn().await;
    node.running.abort();
    assert!(within("the outcome", settled).await.is_err());
    assert!(within("the answer", answer).await.is_err());
    let late = node.weak().await;
    assert!(matches!(late, Err(QueryError::GroupTerminated)), "{late:?}");
}

#[tokio::test]
async fn a_state_that_is_half_changed_is_not_given_to_others() {
    let node = node();
    node.apply(1..=2);
    node.say(&Say::Please);
    assert_eq!(numbers(node.weak().await), [1, 2]);
    let fed = |told: Vec<Command>| told.iter().filter(|told| is_fed(told)).count();
    assert_eq!(fed(node.told()), 1);
    node.tear().await;
    node.say(&Say::Please);
    node.is_torn().await;
    assert_eq!(fed(node.told()), 0);
}

fn is_fed(told: &Command) -> bool {
    matches!(told, Command::Propose(Propose { .. }))
}

#[tokio::test]
async fn a_session_that_replaces_another_has_to_end_what_that_one_has_begun() {
    let node = node();
    node.apply(1..=2);
    node.tear().await;
    // This one has not begun yet, and the log leads beyond it.
    node.synchronise(6);
    node.is_torn().await;
    node.apply(3..=8);
    node.is_torn().await;
    node.say(&Say::Here(vec![1, 2, 3, 4, 5, 6]));
    let all = within("an answer", node.strong()).await.expect("told");
    assert_eq!(numbers(all), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(node.told().len(), 1, "one has ended");
}

#[tokio::test]
async fn a_session_that_has_changed_nothing_gives_way_to_a_log_that_leads_further() {
    let node = node();
    node.apply(1..=2);
    node.synchronise(5);
    node.apply(3..=4);
    assert_eq!(numbers(node.weak().await), [1, 2, 3, 4]);
    assert!(node.told().is_empty(), "it goes on");
    node.apply(5..=7);
    assert_eq!(numbers(node.weak().await), [1, 2, 3, 4, 5, 6, 7]);
    let told = node.told();
    let [
        Command::Synced {
            installed: false, ..
        },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
}

#[tokio::test]
async fn what_waits_is_not_applied_to_another_lineage() {
    let node = node();
    node.tear().await;
    node.apply(1..=7);
    let (settled, answer) = (node.committed(), node.strong());
    Machine::start_over(&*node.applier);
    let settled = within("an outcome", settled).await.expect("told");
    assert_eq!(settled.outcome, Outcome::Unknown);
    let answer = within("an answer", answer).await.expect("told");
    assert!(matches!(answer, Err(QueryError::Offline(()))), "{answer:?}");
    // This machine cannot start over, and says so: its state was half changed.
    let told = node.told();
    assert!(matches!(&told[..], [Command::Halted { .. }]), "{told:?}");
}

#[tokio::test]
async fn commands_that_are_missing_stop_the_group() {
    let node = node();
    node.apply(1..=2);
    node.apply(4..=5);
    let answer = node.weak().await;
    assert!(
        matches!(answer, Err(QueryError::Halted((), Halted::Other(_)))),
        "{answer:?}"
    );
}
