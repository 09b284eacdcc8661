//! What is known not to be noticed.

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
