//! Members that keep their logs on disk.

use {
    super::{
        ledger::{
            Bookkeeper, Ledger, MANY, Member, formed, join, join_group_of, join_late, join_saving,
            join_with, on_disk,
        },
        support::{
            groups::{self, Directory},
            network_id, nodes, until, within,
        },
    },
    mosaik::{
        Network,
        groups::{Consistency, Event, Halted},
    },
    std::{
        io,
        sync::{
            Condvar, Mutex,
            atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        },
    },
};

/// What holds up a state that is being saved.
struct Gate {
    reached: AtomicBool,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    const fn new() -> Self {
        Self {
            reached: AtomicBool::new(false),
            is_open: Mutex::new(false),
            opened: Condvar::new(),
        }
    }

    /// Blocks until it is opened.
    fn pass(&self) {
        self.reached.store(true, SeqCst);
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |open| !*open).unwrap());
    }

    fn is_reached(&self) -> bool {
        self.reached.load(SeqCst)
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

async fn online(node: &Network, saves: bool) -> Member {
    let member = join(node, saves);
    within("online", member.group.when().online()).await;
    member
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_goes_on_from_its_snapshot_and_what_follows_it() {
    let (network, directory) = (network_id(), Directory::new());
    for start in 0..3 {
        let node = on_disk(network, &directory.0, None).await;
        let member = online(&node, true).await;
        assert_eq!(member.ledger().await, Ledger::of(0..start * MANY));
        if start > 0 {
            let trace = member.trace();
            assert!(trace.restored == 1 && trace.applied < MANY, "{trace:?}");
        }
        member.enter(start * MANY..(start + 1) * MANY).await;
        member.is_cut().await;
        drop(member);
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_while_the_others_cut_their_logs_comes_back() {
    let network = network_id();
    let directories = [Directory::new(), Directory::new(), Directory::new()];
    let mut nodes: Vec<Network> = Vec::new();
    for directory in &directories {
        nodes.push(on_disk(network, &directory.0, nodes.first()).await);
    }
    let mut members = formed(&nodes, true).await;
    members[0].enter(0..5).await;
    for member in &members {
        within("applied", member.group.when().committed().reaches(5u64)).await;
    }
    drop(members.remove(2));
    nodes.remove(2).close().await;
    members[0].enter(5..5 + MANY).await;
    for member in &members {
        member.is_cut().await;
    }
    // Twice: what it has caught up with is on its disk.
    for start in 0..2 {
        let back = on_disk(network, &directories[2].0, nodes.first()).await;
        let member = join_group_of(3, &back, true);
        within("online", member.group.when().online()).await;
        assert_eq!(member.ledger().await, Ledger::of(0..5 + MANY + start));
        let trace = member.trace();
        assert_eq!((trace.sessions, trace.restored), (1 - start, start));
        member.enter([5 + MANY + start]).await;
        drop(member);
        back.close().await;
    }
    assert_eq!(members[1].ledger().await, Ledger::of(0..7 + MANY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_joiner_puts_what_it_gets_on_its_disk() {
    let network = network_id();
    let directories = [Directory::new(), Directory::new()];
    let first = on_disk(network, &directories[0].0, None).await;
    let one = online(&first, true).await;
    one.enter(0..MANY).await;
    one.is_cut().await;
    let second = on_disk(network, &directories[1].0, Some(&first)).await;
    let two = join_late(&second).await;
    assert_eq!(two.ledger().await, Ledger::of(0..MANY));
    assert!(two.trace().sessions >= 1 && two.trace().saved >= 2);
    until("both vote", || one.group.status().voters().count() == 2).await;
    drop((one, two));
    first.close().await;
    second.close().await;
    let first = on_disk(network, &directories[0].0, None).await;
    let second = on_disk(network, &directories[1].0, Some(&first)).await;
    // The group is the one that the first founded alone.
    let members = [&first, &second].map(|node| join(node, true));
    for member in &members {
        within("online", member.group.when().online()).await;
    }
    members[1].enter([MANY]).await;
    for member in &members {
        assert_eq!(member.ledger().await, Ledger::of(0..=MANY));
        assert_eq!(member.trace().restored, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_cannot_be_saved_keeps_its_log() {
    let (network, directory) = (network_id(), Directory::new());
    let node = on_disk(network, &directory.0, None).await;
    let member = online(&node, false).await;
    member.enter(0..2 * MANY).await;
    let status = member.group.status();
    assert!(status.log_entries > 2 * MANY && status.snapshot.is_zero());
    drop(member);
    node.close().await;
    let node = on_disk(network, &directory.0, None).await;
    let member = online(&node, false).await;
    assert_eq!(member.ledger().await, Ledger::of(0..2 * MANY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_cannot_be_saved_says_so_where_it_would_have_to_be() {
    let network = network_id();
    let nodes = nodes(network, 1).await;
    let members = formed(&nodes, false).await;
    members[0].enter(0..MANY).await;
    members[0].is_cut().await;
    let directory = Directory::new();
    let second = on_disk(network, &directory.0, nodes.first()).await;
    let late = join(&second, false);
    until("it has stopped", || {
        late.group.status().halted == Some(Halted::CannotSave)
    })
    .await;
    members[0].enter([1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_takes_long_to_save_holds_up_nothing_but_its_group() {
    static GATE: Gate = Gate::new();
    let (network, directory) = (network_id(), Directory::new());
    let node = on_disk(network, &directory.0, None).await;
    let member = join_saving(&node, 0, || {
        GATE.pass();
        Ok(())
    });
    let other = groups::join(&node);
    for group in [member.group.when().online(), other.when().online()] {
        within("online", group).await;
    }
    let command = |value| {
        member
            .group
            .execute((value, vec![7; super::ledger::PADDING]))
    };
    let commands: Vec<_> = (0..MANY).map(command).collect();
    until("it is being saved", || GATE.is_reached()).await;
    for value in 1..=20 {
        within("a command", other.execute(value))
            .await
            .expect("executed");
    }
    assert_eq!(groups::sum(&other).await, (210, 20));
    GATE.open();
    for command in commands {
        // Some waited longer than the group promises to.
        drop(within("a command", command).await);
    }
    let answer = within("an answer", member.group.query((), Consistency::Weak)).await;
    assert!(answer.expect("an answer").entries > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_joined_again_while_its_state_is_still_being_saved_starts_when_that_has_ended() {
    static GATE: Gate = Gate::new();
    let (network, directory) = (network_id(), Directory::new());
    let node = on_disk(network, &directory.0, None).await;
    let member = join_saving(&node, 0, || {
        GATE.pass();
        Ok(())
    });
    within("online", member.group.when().online()).await;
    let padding = || vec![7; super::ledger::PADDING];
    let commands: Vec<_> = (0..MANY)
        .map(|value| member.group.execute((value, padding())))
        .collect();
    until("it is being saved", || GATE.is_reached()).await;
    let ended = member.group.ended();
    drop((member, commands));
    within("left", ended).await;
    let again = join(&node, true);
    GATE.open();
    within("online", again.group.when().online()).await;
    assert_eq!(again.ledger().await, Ledger::of(0..MANY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_could_not_be_saved_is_saved_another_time() {
    static TRIED: AtomicU64 = AtomicU64::new(0);
    let (network, directory) = (network_id(), Directory::new());
    let node = on_disk(network, &directory.0, None).await;
    let member = join_saving(&node, 0, || {
        if TRIED.fetch_add(1, SeqCst) == 0 {
            return Err(io::Error::other("not today"));
        }
        Ok(())
    });
    within("online", member.group.when().online()).await;
    member.enter(0..MANY).await;
    until("it was tried", || TRIED.load(SeqCst) == 1).await;
    assert!(member.group.status().log_entries > MANY);
    member.enter(MANY..2 * MANY).await;
    member.is_cut().await;
    assert_eq!(member.ledger().await, Ledger::of(0..2 * MANY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_saving_stops_the_group_on_this_node() {
    let (network, directory) = (network_id(), Directory::new());
    let node = on_disk(network, &directory.0, None).await;
    let member = join_saving(&node, 0, || panic!("out of ink"));
    within("online", member.group.when().online()).await;
    let command = |value| {
        member
            .group
            .execute((value, vec![7; super::ledger::PADDING]))
    };
    let commands: Vec<_> = (0..MANY).map(command).collect();
    until("it has stopped", || {
        let halted = member.group.status().halted;
        halted.is_some_and(|why| why.to_string().contains("out of ink"))
    })
    .await;
    for command in commands {
        // They end, whatever became of them.
        drop(within("a command", command).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_does_not_restore_what_it_saved_stops_the_group_on_this_node() {
    let (network, directory) = (network_id(), Directory::new());
    let node = on_disk(network, &directory.0, None).await;
    let member = online(&node, true).await;
    member.enter(0..MANY).await;
    member.is_cut().await;
    drop(member);
    node.close().await;
    for forgets in [true, false] {
        let node = on_disk(network, &directory.0, None).await;
        let machine = Bookkeeper {
            saves: true,
            forgets,
            ..Bookkeeper::default()
        };
        let member = join_with(&node, machine);
        if forgets {
            until("it has stopped", || {
                let halted = member.group.status().halted;
                halted.is_some_and(|why| why.to_string().contains("StateMachine::restore"))
            })
            .await;
        } else {
            within("online", member.group.when().online()).await;
            assert_eq!(member.ledger().await, Ledger::of(0..MANY));
        }
        drop(member);
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_on_alone_says_so_and_keeps_its_state() {
    let (network, directories) = (network_id(), [Directory::new(), Directory::new()]);
    let first = on_disk(network, &directories[0].0, None).await;
    let second = on_disk(network, &directories[1].0, Some(&first)).await;
    let member = online(&first, true).await;
    let lost = join_late(&second).await;
    member.enter(0..MANY).await;
    member.is_cut().await;
    until("both vote", || member.group.status().voters().count() == 2).await;
    // On its disk it keeps its place, and so the group its majority of two.
    drop(lost);
    second.close().await;
    let mut events = member.group.events();
    let (from, into) = within("it goes on", async {
        loop {
            // A leader does not until it has noticed that it is alone.
            member.group.recover();
            let next = tokio::time::timeout(core::time::Duration::from_millis(200), events.recv());
            if let Ok(Ok(Event::Continued { from, into })) = next.await {
                return (from, into);
            }
        }
    })
    .await;
    assert_ne!(from, into);
    until("it has a lineage of its own", || {
        member.group.status().lineage.is_some_and(|now| now != from)
    })
    .await;
    within("online", member.group.when().online()).await;
    member.enter([MANY]).await;
    drop(member);
    first.close().await;
    let first = on_disk(network, &directories[0].0, None).await;
    let member = online(&first, true).await;
    assert_eq!(member.ledger().await, Ledger::of(0..=MANY));
    assert_eq!(member.trace().restored, 1);
}
