//! As much as may come at once, and what comes of it.

use {
    crate::cluster::{Cluster, Id},
    mosaik_protocol::consensus::{LogIndex, Outcome, limits},
};

/// Proposes as many commands as one proposal may have, and waits until they are committed.
fn fill(cluster: &mut Cluster, ids: &[Id], what: &str) {
    let commands: Vec<_> = (0..limits::ENTRY_COMMANDS)
        .map(|n| format!("{what}{n}"))
        .collect();
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let proposals: Vec<_> = ids
        .iter()
        .map(|id| (*id, cluster.propose_many(*id, &commands)))
        .collect();
    for (id, proposal) in proposals {
        let outcome = cluster.outcome(id, proposal);
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    }
}

/// Small commands of one member, so many that a batch bounded by bytes alone held more of them
/// than a message may: it could not be read, and the merge never ended.
#[test]
fn a_merge_hands_over_more_small_commands_than_fit_one_message() {
    let mut cluster = Cluster::new([]);
    for id in 1..=5 {
        cluster.add(crate::cluster::config(id));
        cluster.cut_silently(&[1, 2]);
    }
    cluster.partition(&[1, 2]);
    cluster.until("both sides have founded", |c| {
        c.leaders.len() == 2 && c.nodes.values().all(|n| n.status().commit >= LogIndex(2))
    });
    fill(&mut cluster, &[2, 2], "s");
    fill(&mut cluster, &[4, 4, 4], "l");
    cluster.heal();
    cluster.all_applied(5 * limits::ENTRY_COMMANDS);
    let mut texts = cluster.texts(1);
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 2 * limits::ENTRY_COMMANDS);
}
