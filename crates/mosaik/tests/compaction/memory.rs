//! Members that keep their logs in memory.

use {
    super::{
        ledger::{Bookkeeper, Command, Ledger, MANY, Member, formed, join_group_of},
        support::{
            groups::{event, quick},
            network_id, node, node_knowing, nodes, until, within,
        },
    },
    core::ops::RangeInclusive,
    mosaik::groups::{Cursor, Event, InMemoryLogStore, Index, Storage, Term},
    std::{
        slice::from_ref,
        sync::{Arc, Mutex},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_joiner_gets_the_state_where_the_log_is_gone_and_the_others_go_on() {
    let network = network_id();
    let nodes = nodes(network, 3).await;
    let members = formed(&nodes, false).await;
    members[0].enter(0..MANY).await;
    for member in &members {
        member.is_cut().await;
        assert_eq!(member.trace().sessions, 0, "nobody lags");
    }
    let late_node = node_knowing(network, &nodes[0]).await;
    let late = join_group_of(3, &late_node, false);
    let online = within("online", late.group.when().online());
    tokio::join!(online, members[1].enter(MANY..MANY + 8));
    let expected = Ledger::of(0..MANY + 8);
    for member in members.iter().chain([&late]) {
        assert_eq!(member.ledger().await, expected);
    }
    let trace = late.trace();
    assert!(trace.sessions >= 1 && trace.applied < MANY, "{trace:?}");
    late.enter([100]).await;
    assert_eq!(members[2].ledger().await.sum, expected.sum + 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_bounded_however_much_is_written() {
    let nodes = nodes(network_id(), 2).await;
    let members = formed(&nodes, false).await;
    for round in 0..5 {
        members[0].enter(round * MANY..(round + 1) * MANY).await;
        for member in &members {
            let status = member.group.status();
            assert!(status.log_entries < 3 * MANY, "{status:?}");
        }
    }
    for member in &members {
        assert_eq!(member.ledger().await, Ledger::of(0..5 * MANY));
        assert!(member.group.status().snapshot > Index::from(2 * MANY));
    }
}

/// A store of commands that a test can look into.
#[derive(Clone, Default)]
struct Window(Arc<Mutex<InMemoryLogStore<Command>>>);

impl Window {
    fn look<T>(&self, look: impl FnOnce(&mut InMemoryLogStore<Command>) -> T) -> T {
        look(&mut self.0.lock().expect("not poisoned"))
    }
}

impl Storage<Command> for Window {
    fn append(&mut self, command: Command, term: Term) -> Index {
        self.look(|store| store.append(command, term))
    }

    fn available(&self) -> RangeInclusive<Index> {
        self.look(|store| store.available())
    }

    fn get(&self, index: Index) -> Option<(Command, Term)> {
        self.look(|store| store.get(index))
    }

    fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, Command)> {
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

    fn reset_to(&mut self, cursor: Cursor) {
        self.look(|store| store.reset_to(cursor));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_of_commands_is_cut_with_the_log() {
    let node = node(network_id()).await;
    let store = Window::default();
    let group = node
        .groups()
        .with_key("the key")
        .with_state_machine(Bookkeeper::default())
        .with_log_storage(store.clone())
        .with_consensus_config(quick())
        .join();
    within("online", group.when().online()).await;
    let member = Member {
        group,
        trace: Arc::default(),
    };
    member.enter(0..MANY).await;
    member.is_cut().await;
    until("the commands are cut", || *store.available().start() > 1).await;
    let held = store.available();
    assert_eq!(*held.end(), Index::from(MANY), "a tail stays");
    let (value, _) = store.get(*held.start()).expect("held").0;
    assert_eq!(value + 1, u64::from(*held.start()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_side_that_has_cut_its_log_is_given_way_to() {
    let network = network_id();
    let (first, second) = (node(network).await, node(network).await);
    let (one, two) = (
        formed(from_ref(&first), true).await.remove(0),
        formed(from_ref(&second), true).await.remove(0),
    );
    one.enter(0..MANY).await;
    one.is_cut().await;
    // More commands than on the other side, which nevertheless stays.
    let values = 1_000..1_000 + 2 * MANY;
    let small = values.clone().map(|value| (value, Vec::new()));
    within("commands", two.group.execute_many(small))
        .await
        .expect("executed");
    let mut events = two.group.events();
    second.discovery().dial(first.local().addr()).await;
    let merged = |event| match event {
        Event::Merged {
            commands, dropped, ..
        } => Some((commands, dropped)),
        _ => None,
    };
    let all = (Index::from(2 * MANY), 0);
    assert_eq!(event(&mut events, merged).await, all);
    within("online", two.group.when().online()).await;
    let expected = Ledger::of((0..MANY).chain(values));
    assert_eq!(one.ledger().await, expected);
    assert_eq!(two.ledger().await, expected);
    let trace = two.trace();
    assert!(trace.restored == 1 && trace.sessions >= 1, "{trace:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sides_that_have_cut_their_logs_say_so_and_keep_what_they_have() {
    let network = network_id();
    let (first, second) = (node(network).await, node(network).await);
    let (one, two) = (
        formed(from_ref(&first), true).await.remove(0),
        formed(from_ref(&second), true).await.remove(0),
    );
    one.enter(0..MANY).await;
    two.enter(1_000..1_000 + MANY).await;
    one.is_cut().await;
    two.is_cut().await;
    let (mut of_one, mut of_two) = (one.group.events(), two.group.events());
    let apart = |event| matches!(event, Event::Apart(_)).then_some(());
    second.discovery().dial(first.local().addr()).await;
    within("either says so", async {
        tokio::select! {
            () = event(&mut of_one, apart) => {}
            () = event(&mut of_two, apart) => {}
        }
    })
    .await;
    one.enter([7]).await;
    two.enter([8]).await;
    assert_eq!(one.ledger().await, Ledger::of((0..MANY).chain([7])));
    assert_eq!(
        two.ledger().await,
        Ledger::of((1_000..1_000 + MANY).chain([8]))
    );
}
