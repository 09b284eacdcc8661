//! Faults that can be planted to see whether tests and the simulator notice.
//!
//! Compiled in only with `--cfg mosaik_mutants`; without it every check is the constant `false`
//! and none of this exists. With it, `plant` switches one on for the calling thread.

/// Every fault, with what it breaks. A checker that misses one is not good enough.
pub const MUTANTS: &[(&str, &str)] = &[
    (
        "quorum-from-links",
        "a majority of the voters that are linked commits and elects",
    ),
    (
        "vote-not-stored",
        "votes leave before, and without, being stored",
    ),
    (
        "vote-forgotten-on-restart",
        "a restarted member does not know whom it voted for",
    ),
    (
        "vote-ignores-log",
        "votes are given to candidates whose log is behind",
    ),
    (
        "commit-older-term",
        "entries of older terms are committed by counting",
    ),
    (
        "skip-pre-vote",
        "a member that hears no leader raises its term at once",
    ),
    (
        "vote-while-leader-lives",
        "a live leader is no objection to a vote",
    ),
    (
        "founded-by-few",
        "a majority of those that a genesis names founds, however few it names",
    ),
    ("count-observers", "observers count as voters"),
    ("count-learners", "learners count as voters"),
    (
        "two-changes-at-once",
        "a membership change does not wait for the one before",
    ),
    (
        "change-before-own-term",
        "a new leader changes the membership before committing",
    ),
    (
        "ack-before-persist",
        "entries are acknowledged before they are stored",
    ),
    (
        "count-self-before-persist",
        "a leader counts its own entries before they are stored",
    ),
    (
        "stale-read",
        "strong reads are answered without asking a majority",
    ),
    (
        "one-asker-suffices",
        "a follower's question proves that its leader leads, however many voters there are",
    ),
    (
        "read-before-own-term",
        "a new leader answers strong reads before it knows what is committed",
    ),
    (
        "window-dropped",
        "snapshots do not carry the applied operations",
    ),
    (
        "snapshot-over-newer",
        "an old snapshot replaces a newer log",
    ),
    (
        "keep-conflict",
        "a conflicting tail is kept when a leader's entries arrive",
    ),
    (
        "truncate-on-reorder",
        "an older append that arrives late cuts the log back",
    ),
    (
        "append-without-prev",
        "appends are taken without checking what they follow",
    ),
    (
        "forward-applied-twice",
        "a forwarded command that is sent again is appended again",
    ),
    (
        "merge-loses-last",
        "a lineage that gives way forgets its last command",
    ),
    (
        "merge-without-seal",
        "a lineage gives way without ending its log first",
    ),
    (
        "merge-applied-twice",
        "commands of a merged lineage are appended as often as they come",
    ),
    (
        "transfer-without-catch-up",
        "leadership is handed to a member that lags",
    ),
    (
        "no-check-quorum",
        "a leader that hears no majority goes on leading",
    ),
    (
        "commit-beyond-match",
        "followers commit up to what the leader says, matching or not",
    ),
    (
        "cut-log-gives-way",
        "a lineage gives way though commands were cut off its log",
    ),
    (
        "incarnation-ignored",
        "messages to another incarnation are taken",
    ),
    (
        "apply-uncommitted",
        "entries are handed out as soon as they are stored",
    ),
];

#[cfg(mosaik_mutants)]
std::thread_local! {
    static PLANTED: core::cell::Cell<Option<&'static str>> = const { core::cell::Cell::new(None) };
}

/// Switches the fault `name` on for this thread, and every other off. `None` switches all off.
///
/// Panics when there is no such fault.
#[cfg(mosaik_mutants)]
pub fn plant(name: Option<&str>) {
    let name = name.map(|name| {
        let known = MUTANTS.iter().find(|(known, _)| *known == name);
        known
            .unwrap_or_else(|| panic!("no mutant is called {name:?}"))
            .0
    });
    PLANTED.set(name);
}

#[cfg(mosaik_mutants)]
pub(super) fn planted(name: &'static str) -> bool {
    debug_assert!(MUTANTS.iter().any(|(known, _)| *known == name), "{name}");
    PLANTED.get() == Some(name)
}

macro_rules! mutant {
    ($name:literal) => {{
        #[cfg(mosaik_mutants)]
        let planted = $crate::consensus::mutants::planted($name);
        #[cfg(not(mosaik_mutants))]
        let planted = false;
        planted
    }};
}

pub(super) use mutant;
