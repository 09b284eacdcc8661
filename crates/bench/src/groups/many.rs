//! Many groups on the same nodes.

use {
    super::members::{join, nodes_that_know_each_other, online},
    crate::{measure::Counter, nodes},
    core::time::Duration,
    std::time::Instant,
};

/// Groups that three nodes have in common.
const GROUPS: usize = 1_000;

/// What many groups cost, measured in a process that does nothing else.
pub(crate) async fn many_here(what: &str) -> f64 {
    const SETTLING: Duration = Duration::from_secs(8);
    let nodes = nodes_that_know_each_other(3, None).await;
    let first: Vec<_> = nodes.iter().map(|node| join(node, "first")).collect();
    for group in &first {
        online(group).await;
    }
    let before = nodes::resident_kib();
    let started = Instant::now();
    let groups: Vec<_> = (0..GROUPS)
        .flat_map(|number| nodes.iter().map(move |node| (node, number)))
        .map(|(node, number)| join(node, &format!("bench {number}")))
        .collect();
    for group in &groups {
        online(group).await;
    }
    let took = started.elapsed().as_secs_f64();
    if what == "group-1000" {
        return took;
    }
    tokio::time::sleep(SETTLING).await;
    if what == "group-memory" {
        return (nodes::resident_kib() - before) / (GROUPS * 3) as f64;
    }
    Counter::busy(Duration::from_secs(10)).await * 100.0
}
