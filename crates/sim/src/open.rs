//! What is known to fail and not mended yet. None of it is about safety: a listed seed that fails
//! in any other way fails, and one that passes has to leave the list.

use crate::failure::Failure;

/// What these seeds fail in.
const PROGRESS: &str = "progress after the faults";

/// Seeds of the 2,000 in which lineages that each gave way to another, whose members have left
/// it or lost their disks since, never come together. Nothing acknowledged is lost; the group
/// takes no more commands. It takes groups that formed apart (`min_voters` of at most half).
const SEEDS: &[u64] = &[584, 1_273];

/// Planted faults that no simulated run notices, and why.
pub const UNNOTICED: &[(&str, &str)] = &[
    (
        "found-twice",
        "a member that forgets its lineage is another member here; the core's own tests notice it",
    ),
    (
        "vote-while-leader-lives",
        "it unseats leaders without need, which no invariant forbids; the core's own tests notice it",
    ),
];

/// Whether this failure is known.
pub fn is_known(seed: u64, failure: &Failure) -> bool {
    failure.what == PROGRESS && SEEDS.contains(&seed)
}

/// The known seeds among the first `count`.
pub fn seeds(count: u64) -> impl Iterator<Item = u64> {
    SEEDS.iter().copied().filter(move |seed| *seed < count)
}
