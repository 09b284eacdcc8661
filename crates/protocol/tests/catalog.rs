//! What the catalog promises, in a simulated network.

#[path = "catalog/world.rs"]
mod world;

use {
    core::time::Duration,
    mosaik_primitives::time::Instant,
    mosaik_protocol::catalog::{Event, Input},
    world::{World, key},
};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// `size` nodes that start within `spread` and know node 0.
fn network(seed: u64, size: usize, spread: Duration) -> World {
    let mut world = World::new(seed, |_| {});
    for index in 0..size {
        world.add(Instant::ZERO + spread * index as u32 / size as u32);
    }
    world.run_for(spread);
    world
}

#[test]
fn nodes_given_one_peer_know_all_within_two_seconds() {
    for (seed, size) in [(1, 2), (2, 5), (3, 100)] {
        let mut world = network(seed, size, Duration::from_millis(500));
        let took = world.run_until_complete(secs(2));
        eprintln!("{size} nodes complete {took:?} after the last start");
        assert!(world.nodes.iter().all(|node| node.refused.is_empty()));
    }
}

/// The same with 1,000 nodes: `cargo run --release --example catalog_figures`.
#[test]
fn two_hundred_nodes_are_complete_and_frugal() {
    let mut world = network(4, 200, secs(1));
    let took = world.run_until_complete(secs(10));
    world.run_for(secs(60));
    let (mean, max, cost) = world.measure(secs(40));
    eprintln!(
        "200 nodes: complete after {took:?}, {mean:.0} bit/s a node (at most {max:.0}), {cost:?}"
    );
    assert!(mean <= 20_000.0, "{mean} bit/s");
    assert_eq!(world.false_departures(Instant::ZERO), 0);
}

#[test]
fn a_killed_node_is_reported_by_all_within_three_seconds() {
    for (seed, size) in [(5, 2), (6, 3), (7, 5), (8, 100)] {
        let mut world = network(seed, size, Duration::from_millis(500));
        world.run_until_complete(secs(2));
        world.run_for(secs(20));
        for victim in 1..size.min(4) {
            let killed = world.now;
            world.kill(victim);
            world.run_for(secs(6));
            let reports = world.departures(victim, killed);
            let latest = reports
                .iter()
                .map(|at| at.expect("reported").since(killed))
                .max();
            eprintln!(
                "{size} nodes: the last learns of a death after {:?}",
                latest.unwrap()
            );
            assert!(latest.unwrap() <= secs(3), "seed {seed}");
        }
        assert_eq!(world.false_departures(Instant::ZERO), 0);
        assert!(world.is_complete());
    }
}

#[test]
fn nobody_alive_is_reported_departed_even_with_a_fifth_of_packets_lost() {
    for loss in [0.0, 0.05, 0.2] {
        let mut world = network(9, 60, Duration::from_millis(500));
        world.run_until_complete(secs(2));
        world.loss = loss;
        world.run_for(secs(80));
        let suspicions: u64 = world
            .nodes
            .iter()
            .map(|node| node.catalog.counters().suspicions)
            .sum();
        eprintln!("loss {loss}: {suspicions} suspicions");
        assert_eq!(world.false_departures(Instant::ZERO), 0);
        assert!(world.is_complete());
    }
}

#[test]
fn a_partition_heals() {
    let mut world = network(10, 40, Duration::from_millis(500));
    world.run_until_complete(secs(2));
    world.partition(|index| index % 2);
    world.run_for(secs(30));
    assert!(world.nodes.iter().all(|node| node.catalog.len() == 20));
    world.partition(|_| 0);
    let took = world.run_until_complete(secs(30));
    eprintln!("healed after {took:?}");
}

#[test]
fn a_node_that_is_starved_does_not_blame_others() {
    let mut world = network(11, 5, Duration::from_millis(100));
    world.run_until_complete(secs(2));
    world.run_for(secs(5));
    let before = world.now;
    for _ in 0..5 {
        // A loaded machine: nobody runs for a while, all at once.
        (0..5).for_each(|index| world.pause(index, secs(4)));
        world.run_for(secs(10));
    }
    assert_eq!(world.false_departures(before), 0);
}

#[test]
fn a_farewell_is_believed_and_a_restart_is_seen() {
    let mut world = network(12, 20, Duration::from_millis(100));
    world.run_until_complete(secs(2));
    let left = world.now;
    world.input(3, Input::Leave);
    world.kill(3);
    world.run_for(Duration::from_millis(500));
    assert!(world.departures(3, left).iter().all(Option::is_some));
    world.run_for(secs(10));
    world.restart(3);
    world.run_until_complete(secs(5));
    // Killed and restarted at once: the new entry replaces the old one.
    world.kill(4);
    world.run_for(Duration::from_millis(100));
    world.restart(4);
    let took = world.run_until_complete(secs(5));
    eprintln!("a restart is known everywhere after {took:?}");
}

#[test]
fn large_entries_arrive_whole() {
    let mut world = network(13, 20, Duration::from_millis(100));
    world.run_until_complete(secs(2));
    world.publish(7, 200 << 10);
    let took = world.run_until_complete(secs(5));
    eprintln!("200 KiB known by 20 nodes after {took:?}");
    // And to one that comes later.
    world.add(world.now);
    world.run_for(Duration::from_millis(1));
    world.run_until_complete(secs(5));
}

#[test]
fn an_entry_leaves_when_announcements_stop_and_returns_with_the_next() {
    let mut world = World::new(14, |config| {
        config.purge_after = secs(10);
        config.announce_interval = secs(30);
        config.announce_jitter = 0.0;
    });
    for _ in 0..3 {
        world.add(Instant::ZERO);
    }
    world.run_for(secs(2));
    assert!(world.is_complete());
    world.run_for(secs(13));
    // Alive and answering probes, but silent for longer than the purge time.
    assert!(world.nodes.iter().all(|node| node.catalog.len() == 1));
    world.run_for(secs(22));
    assert!(world.is_complete());
    let again = world.nodes[0]
        .events
        .iter()
        .filter(|(_, event)| matches!(event, Event::Discovered(record) if record.peer == key(1)));
    assert_eq!(again.count(), 2);
}

#[test]
fn a_requested_comparison_reports_its_end() {
    let mut world = network(15, 30, Duration::from_millis(100));
    world.run_until_complete(secs(2));
    let asked = world.now;
    world.input(5, Input::SyncWith(key(9)));
    world.run_for(secs(1));
    assert!(
        world.nodes[5]
            .synced
            .iter()
            .any(|(at, peer)| *at >= asked && *peer == key(9))
    );
}

#[test]
fn most_of_a_network_may_die_at_once() {
    let mut world = network(16, 5, Duration::from_millis(100));
    world.run_until_complete(secs(2));
    world.run_for(secs(7));
    let killed = world.now;
    (1..4).for_each(|victim| world.kill(victim));
    world.run_for(secs(6));
    for victim in 1..4 {
        for report in world.departures(victim, killed) {
            assert!(report.expect("reported").since(killed) <= secs(3));
        }
    }
}

#[test]
fn a_node_that_stands_still_is_given_up_and_found_again() {
    let mut world = network(17, 7, Duration::from_millis(100));
    world.run_until_complete(secs(2));
    world.run_for(secs(5));
    // Short of the time to refute: not even given up.
    world.pause(2, Duration::from_millis(1_400));
    world.run_for(secs(5));
    assert_eq!(world.false_departures(Instant::ZERO), 0);
    let paused = world.now;
    world.pause(2, secs(8));
    world.run_for(secs(7));
    assert!(
        world
            .departures(2, paused)
            .iter()
            .filter(|report| report.is_some())
            .count()
            >= 6
    );
    world.run_for(secs(1));
    let took = world.run_until_complete(secs(6));
    eprintln!("found again {took:?} after it went on");
}

#[test]
fn a_death_is_noticed_in_spite_of_lost_packets() {
    let mut world = network(18, 50, Duration::from_millis(100));
    world.run_until_complete(secs(2));
    world.loss = 0.2;
    world.run_for(secs(20));
    let killed = world.now;
    world.kill(1);
    world.run_for(secs(10));
    let reports = world.departures(1, killed);
    let latest = reports
        .iter()
        .map(|at| at.expect("reported").since(killed))
        .max()
        .unwrap();
    eprintln!("with a fifth of packets lost, the last learns of a death after {latest:?}");
    assert!(latest <= secs(5));
}

#[test]
fn many_large_entries_at_once_and_a_newcomer_to_them() {
    let mut world = network(19, 30, Duration::from_millis(100));
    world.run_until_complete(secs(2));
    let spent = |world: &World| {
        world
            .nodes
            .iter()
            .map(|node| node.cost.total())
            .sum::<u64>()
    };
    let before = spent(&world);
    (0..30).for_each(|index| world.publish(index, 150 << 10));
    let took = world.run_until_complete(secs(5));
    let sent = spent(&world) - before;
    eprintln!(
        "30 entries of 150 KiB known by 30 nodes after {took:?}, {} MB sent",
        sent >> 20
    );
    // Each entry goes to each node hardly more than once.
    assert!(sent < 30 * 30 * (150 << 10) * 3 / 2);
    world.add(world.now);
    world.run_for(Duration::from_millis(1));
    let took = world.run_until_complete(secs(2));
    eprintln!("and by a newcomer after {took:?}");
}
