//! No acknowledged command is missing at the end, after restarts and merges.

use {
    crate::chronicle::Chronicle,
    mosaik_protocol::consensus::Lineage,
    std::collections::{BTreeSet, HashSet},
};

/// The acknowledged commands, by tag, that none of the surviving lineages holds. There is one,
/// unless lineages stay apart.
pub fn missing(
    chronicle: &Chronicle,
    survivors: &BTreeSet<Lineage>,
    acknowledged: impl Iterator<Item = u64>,
) -> Vec<u64> {
    let lines = survivors
        .iter()
        .filter_map(|survivor| chronicle.line(*survivor));
    let held: HashSet<u64> = lines
        .flat_map(|line| line.commands.iter().map(|(.., command)| command.tag))
        .collect();
    acknowledged.filter(|tag| !held.contains(tag)).collect()
}
