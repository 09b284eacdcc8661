//! What the groups' metrics mean.

use metrics::Unit;

pub(crate) const COUNTERS: &[(&str, &str)] = &[
    (
        "mosaik.groups.bonds.bytes.sent",
        "Bytes of messages queued to members",
    ),
    (
        "mosaik.groups.bonds.bytes.received",
        "Bytes of messages from members",
    ),
    (
        "mosaik.groups.bonds.messages.sent",
        "Messages queued to members",
    ),
    (
        "mosaik.groups.bonds.messages.received",
        "Messages from members",
    ),
    (
        "mosaik.groups.bonds.messages.dropped",
        "Messages dropped because a member reads too slowly",
    ),
    (
        "mosaik.groups.bonds.refused",
        "Bonds that could not be made, whoever refused",
    ),
    (
        "mosaik.groups.raft.elections",
        "Elections that this node has won",
    ),
    (
        "mosaik.groups.raft.leader.changes",
        "Leaders that this node has come to follow",
    ),
    (
        "mosaik.groups.merges",
        "Times that a side of the group which had formed apart was left for the other",
    ),
    (
        "mosaik.groups.quarantines",
        "Commands skipped because their application panicked",
    ),
    (
        "mosaik.groups.violations",
        "Peers cut off for what no correct member sends",
    ),
    (
        "mosaik.groups.divergences",
        "States of members that were found to differ after the same command",
    ),
    (
        "mosaik.groups.snapshots.taken",
        "States saved, so that the log could be cut",
    ),
    (
        "mosaik.groups.snapshots.installed",
        "States taken over from other members",
    ),
    (
        "mosaik.groups.snapshots.failed",
        "States that could not be saved or taken over",
    ),
];

pub(crate) const GAUGES: &[(&str, &str)] = &[
    ("mosaik.groups.active", "Groups that this node is in"),
    ("mosaik.groups.bonds.active", "Bonds with members"),
    (
        "mosaik.groups.raft.committed",
        "Commands committed and handed out to be applied",
    ),
    ("mosaik.groups.raft.committee.voters", "Voters of the group"),
    (
        "mosaik.groups.raft.committee.non_voters",
        "Members that do not vote",
    ),
    ("mosaik.groups.raft.committee.size", "Members of the group"),
    (
        "mosaik.groups.snapshots.bytes",
        "Size of the last state that was saved",
    ),
    (
        "mosaik.groups.log.entries",
        "Entries of the log that are kept",
    ),
];

pub(crate) const HISTOGRAMS: &[(&str, Unit, &str)] = &[
    (
        "mosaik.groups.commit.seconds",
        Unit::Seconds,
        "From a proposal of this node to its commit",
    ),
    (
        "mosaik.groups.proposal.commands",
        Unit::Count,
        "Commands of this node proposed together",
    ),
    (
        "mosaik.groups.apply.lag.commands",
        Unit::Count,
        "Commands committed and not applied yet",
    ),
    (
        "mosaik.groups.store.seconds",
        Unit::Seconds,
        "From handing something to the store until it is durable",
    ),
    (
        "mosaik.groups.store.sync.seconds",
        Unit::Seconds,
        "Each time that the store waited for the disk to make what was written durable",
    ),
];
