//! No acknowledged command is missing at the end, after restarts and merges.

use {
    crate::chronicle::Chronicle,
    mosaik_protocol::consensus::Lineage,
    std::collections::{BTreeSet, HashSet},
};

/// The acknowledged commands, by tag, that the surviving lineage does not hold.
pub fn missing(chronicle: &Chronicle, survivor: Lineage, acknowledged: &BTreeSet<u64>) -> Vec<u64> {
    let held: HashSet<u64> = chronicle
        .line(survivor)
        .into_iter()
        .flat_map(|line| line.commands.iter().map(|(.., command)| command.tag))
        .collect();
    acknowledged
        .iter()
        .copied()
        .filter(|tag| !held.contains(tag))
        .collect()
}
