//! Prints what a simulated network of catalogs reaches: time to be complete, bits a second in
//! steady state, time until a death is known. Arguments: nodes (1000), seed (1).
//!
//! Exits with an error when a figure is missed: complete within 10 s, 20 kbit/s a node.

#[path = "../tests/catalog/world.rs"]
#[allow(dead_code, reason = "used by tests")]
mod world;

use {core::time::Duration, mosaik_primitives::time::Instant, world::World};

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse().expect("a number"));
    let size: usize = arguments.next().unwrap_or(1_000);
    let seed = arguments.next().unwrap_or(1) as u64;
    let spread = Duration::from_secs(1);
    let mut world = World::new(seed, |_| {});
    for index in 0..size {
        world.add(Instant::ZERO + spread * index as u32 / size as u32);
    }
    world.run_for(spread);
    let complete = world.run_until_complete(Duration::from_secs(30));
    let first = world
        .nodes
        .iter()
        .map(|node| node.cost.total())
        .sum::<u64>()
        / size as u64;
    println!("{size} nodes, all given one peer, started within {spread:?}");
    println!("  complete after the last start  {complete:?} ({first} bytes sent a node)");

    world.run_for(Duration::from_mins(3));
    let (mean, max, cost) = world.measure(Duration::from_mins(2));
    let share = |bytes: u64| bytes as f64 * 8.0 / 120.0 / size as f64;
    println!("  steady state, sent a node      {mean:.0} bit/s (most of any node {max:.0})");
    println!(
        "    comparisons, announcements   {:.0} bit/s",
        share(cost.messages)
    );
    println!(
        "    probes                       {:.0} bit/s",
        share(cost.probes)
    );
    println!(
        "    broadcasts                   {:.0} bit/s",
        share(cost.gossip)
    );
    println!(
        "    handshakes                   {:.0} bit/s",
        share(cost.handshakes)
    );
    let wall = world.wall();
    let ages = world.nodes.iter().flat_map(|node| {
        let peers = node.catalog.iter().map(|record| record.peer);
        peers.filter_map(|peer| node.catalog.last_announced(&peer))
    });
    let mut ages: Vec<_> = ages
        .map(|issued| wall.0.saturating_sub(issued.0) / 1_000)
        .collect();
    ages.sort_unstable();
    let at = |share: usize| ages[(ages.len() - 1) * share / 100];
    println!(
        "  age of announcements           median {} s, 99 % {} s, most {} s",
        at(50),
        at(99),
        at(100)
    );
    let falsely = world.false_departures(Instant::ZERO);
    println!("  false departures               {falsely}");

    let slowest = slowest_report(&mut world);
    println!("  ten deaths, known to the last  {slowest:?}");
    assert!(
        complete <= Duration::from_secs(10),
        "complete within ten seconds"
    );
    assert!(mean <= 20_000.0, "20 kbit/s a node");
    assert_eq!(falsely, 0, "nobody alive is reported departed");
}

/// Kills ten nodes one after the other; how long the last to learn of a death took.
fn slowest_report(world: &mut World) -> Duration {
    let mut slowest = Duration::ZERO;
    for victim in 1..=10 {
        let killed = world.now;
        world.kill(victim);
        world.run_for(Duration::from_secs(10));
        for report in world.departures(victim, killed) {
            slowest = slowest.max(report.expect("every death is reported").since(killed));
        }
    }
    slowest
}
