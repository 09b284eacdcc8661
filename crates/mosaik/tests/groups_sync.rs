//! What programs are promised that bring their own store of commands or state synchronisation.

mod support;

use {
    core::{
        ops::RangeInclusive,
        task::{Context, Poll},
        time::Duration,
    },
    mosaik::{
        Network, PeerId, UniqueId,
        groups::{
            ApplyContext, Bond, ConsensusConfig, Cursor, Group, InMemoryLogStore, Index,
            StateMachine, StateSync, StateSyncProvider, StateSyncSession, Storage, SyncContext,
            SyncProviderContext, SyncSessionContext, Term,
        },
    },
    serde::{Deserialize, Serialize},
    std::{
        collections::{BTreeMap, BTreeSet},
        sync::{Arc, Mutex},
    },
    support::{network_id, nodes, until, within},
};

/// What the synchronisation of a node did.
#[derive(Debug, Default)]
struct Trace {
    committed: Vec<Cursor>,
    /// The hellos that came, by sender and number.
    heard: BTreeSet<(PeerId, u64)>,
    polled: u64,
}

impl Trace {
    /// Who has said hello.
    fn heard_of(&self) -> BTreeSet<PeerId> {
        self.heard.iter().map(|(peer, _)| *peer).collect()
    }
}

/// What the leader's synchronisation proposes.
const FED: u64 = 1_000_000;

type Shared<T> = Arc<Mutex<T>>;

/// Adds up, with a synchronisation that says hello.
struct Sum {
    total: u64,
    trace: Shared<Trace>,
}

struct Greeting {
    trace: Shared<Trace>,
}

#[derive(Clone, Serialize, Deserialize)]
enum Hello {
    /// With its sender's number for it, and something to carry.
    Hello(u64, Vec<u8>),
    /// For sessions, of which there are none.
    Session,
}

struct Host {
    trace: Shared<Trace>,
    /// The bonds on which hello was said.
    greeted: BTreeMap<PeerId, Bond<Sum>>,
    hellos: u64,
    fed: bool,
}

struct NoSession;

impl StateMachine for Sum {
    type Command = u64;
    type Query = ();
    type QueryResult = u64;
    type StateSync = Greeting;

    fn signature(&self) -> UniqueId {
        UniqueId::from("sum")
    }

    fn apply(&mut self, command: u64, _: &dyn ApplyContext) {
        self.total += command;
    }

    fn query(&self, (): ()) -> u64 {
        self.total
    }

    fn state_sync(&self) -> Greeting {
        let trace = Arc::clone(&self.trace);
        Greeting { trace }
    }
}

impl StateSync for Greeting {
    type Machine = Sum;
    type Message = Hello;
    type Provider = Host;
    type Session = NoSession;

    fn signature(&self) -> UniqueId {
        UniqueId::from("greeting")
    }

    fn create_provider(&self, cx: &dyn SyncContext<Self>) -> Host {
        assert!(cx.committed().is_zero() && cx.log().last().is_zero());
        Host {
            trace: Arc::clone(&self.trace),
            greeted: BTreeMap::new(),
            hellos: 0,
            fed: false,
        }
    }

    fn create_session(
        &self,
        _: &mut dyn SyncSessionContext<Self>,
        _: Cursor,
        _: Index,
        _: Vec<(u64, Term)>,
    ) -> NoSession {
        NoSession
    }
}

impl StateSyncProvider for Host {
    type Owner = Greeting;

    fn poll(&mut self, _: &mut Context<'_>, _: &mut dyn SyncProviderContext<Greeting>) -> Poll<()> {
        self.trace.lock().expect("not poisoned").polled += 1;
        Poll::Ready(())
    }

    fn receive(
        &mut self,
        message: Hello,
        sender: PeerId,
        cx: &mut dyn SyncProviderContext<Greeting>,
    ) -> Result<(), Hello> {
        let Hello::Hello(number, carried) = message else {
            return Err(message);
        };
        assert_eq!(carried.len(), 100_000);
        // From another member. The bond that it came on may have ended by now.
        assert_ne!(sender, cx.local_id());
        let mut trace = self.trace.lock().expect("not poisoned");
        let is_new = trace.heard.insert((sender, number));
        drop(trace);
        assert!(is_new, "delivered twice");
        Ok(())
    }

    fn committed(&mut self, at: Cursor, cx: &mut dyn SyncProviderContext<Greeting>) {
        assert_eq!(cx.committed(), at);
        self.trace.lock().expect("not poisoned").committed.push(at);
        for bond in cx.bonds().iter() {
            let peer = *bond.peer().id();
            // What was said on a bond that has ended may be lost.
            if self.greeted.get(&peer).is_none_or(Bond::is_terminated) {
                self.greeted.insert(peer, bond);
                self.hellos += 1;
                let hello = Hello::Hello(self.hellos, vec![7; 100_000]);
                cx.send_to(peer, hello).expect("it encodes");
                cx.send_to(peer, Hello::Session).expect("it encodes");
            }
        }
        if cx.is_leader() && !self.fed && at.index() >= 3 {
            self.fed = true;
            cx.feed_command(FED).expect("there is room");
        }
    }
}

impl StateSyncSession for NoSession {
    type Owner = Greeting;

    fn poll(
        &mut self,
        _: &mut Context<'_>,
        _: &mut dyn SyncSessionContext<Greeting>,
    ) -> Poll<Cursor> {
        Poll::Pending
    }

    fn receive(&mut self, _: Hello, _: PeerId, _: &mut dyn SyncSessionContext<Greeting>) {}

    fn buffer(&mut self, _: Cursor, _: Vec<(u64, Term)>, _: &mut dyn SyncSessionContext<Greeting>) {
    }
}

/// A store that a program can look into.
#[derive(Clone, Default)]
struct Window(Shared<InMemoryLogStore<u64>>);

impl Window {
    fn look<T>(&self, look: impl FnOnce(&mut InMemoryLogStore<u64>) -> T) -> T {
        look(&mut self.0.lock().expect("not poisoned"))
    }
}

impl Storage<u64> for Window {
    fn append(&mut self, command: u64, term: Term) -> Index {
        self.look(|store| store.append(command, term))
    }

    fn available(&self) -> RangeInclusive<Index> {
        self.look(|store| store.available())
    }

    fn get(&self, index: Index) -> Option<(u64, Term)> {
        self.look(|store| store.get(index))
    }

    fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, u64)> {
        self.look(|store| store.get_range(range))
    }

    fn truncate(&mut self, at: Index) {
        self.look(|store| store.truncate(at));
    }

    fn last(&self) -> Cursor {
        self.look(|store| store.last())
    }

    fn prune_prefix(&mut self, up_to: Index) {
        self.look(|store| store.prune_prefix(up_to));
    }
}

struct Member {
    group: Group<Sum>,
    trace: Shared<Trace>,
    store: Window,
}

/// Joins the group that takes so many voters to be founded.
fn join(node: &Network, voters: usize) -> Member {
    let millis = Duration::from_millis;
    let consensus = ConsensusConfig::builder()
        .with_heartbeat_interval(millis(100))
        .with_heartbeat_jitter(millis(20))
        .with_election_timeout(millis(400))
        .with_bootstrap_delay(millis(500))
        .with_forward_timeout(Duration::from_secs(10))
        // The machine cannot start over, as a side of a group that formed twice would have to.
        .with_min_voters(voters as u32)
        .build()
        .expect("a configuration that works");
    let (trace, store) = (Shared::<Trace>::default(), Window::default());
    let machine = Sum {
        total: 0,
        trace: Arc::clone(&trace),
    };
    let group = node
        .groups()
        .with_key("the key")
        .with_state_machine(machine)
        .with_log_storage(store.clone())
        .with_consensus_config(consensus)
        .join();
    Member {
        group,
        trace,
        store,
    }
}

async fn formed(nodes: &[Network]) -> Vec<Member> {
    let join = |node| join(node, nodes.len());
    let members: Vec<_> = nodes.iter().map(join).collect();
    for member in &members {
        within("online", member.group.when().online()).await;
    }
    members
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_the_program_holds_what_is_committed_on_every_member() {
    let nodes = nodes(network_id(), 3).await;
    let members = formed(&nodes).await;
    let mut last = Index::zero();
    for (member, n) in members.iter().cycle().zip(0..30u64) {
        let many = within("executed", member.group.execute_many([2 * n, 2 * n + 1])).await;
        last = *many.expect("executed").end();
        assert!(
            member.store.last().index() >= last,
            "kept before it is told"
        );
    }
    let all = Index::one()..=last;
    for member in &members {
        within("applied", member.group.when().committed().reaches(last)).await;
        let (ours, first) = (&member.store, &members[0].store);
        assert_eq!(ours.get_range(&all), first.get_range(&all));
        // All but what the leaders' synchronisation has fed.
        let held = ours.get_range(&all).into_iter().map(|held| held.2);
        let executed = held.filter(|command| *command != FED);
        assert!(executed.eq(0..60));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_follow_the_group_and_talk_to_each_other() {
    let nodes = nodes(network_id(), 3).await;
    let members = formed(&nodes).await;
    let ids: BTreeSet<PeerId> = nodes.iter().map(|node| node.local().id()).collect();
    let (mut n, mut executed) = (0u64, 0);
    let met = || {
        members.iter().zip(&nodes).all(|(member, node)| {
            let heard = member.trace.lock().expect("not poisoned").heard_of();
            let others = ids.iter().filter(|id| **id != node.local().id());
            others.copied().collect::<BTreeSet<_>>() == heard
        })
    };
    // Bonds may be made after some commands: hellos come with later ones.
    within("everyone has heard everyone", async {
        while !met() {
            let member = &members[n as usize % 3];
            member.group.execute(n).await.expect("executed");
            executed += 1;
            n += 1;
        }
    })
    .await;
    for _ in executed..3 {
        members[0].group.execute(0).await.expect("executed");
    }
    until("there are bonds with all who were heard", || {
        members.iter().all(|member| {
            let heard = member.trace.lock().expect("not poisoned").heard_of();
            let bonds = member.group.bonds();
            heard.iter().all(|peer| bonds.contains_peer(peer))
        })
    })
    .await;
    until("what the leader fed is applied", || {
        members.iter().all(|member| {
            let store = &member.store;
            let upto = store.last().index();
            let held = store.get_range(&(Index::one()..=upto));
            held.iter().any(|held| held.2 == FED)
        })
    })
    .await;
    until("providers know all that is committed", || {
        members.iter().all(|member| {
            let trace = member.trace.lock().expect("not poisoned");
            assert!(trace.committed.is_sorted() && trace.polled > 0);
            trace.committed.last() == Some(&member.store.last())
        })
    })
    .await;
}
