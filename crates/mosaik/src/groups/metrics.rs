//! The groups' metrics.

use {
    metrics::{Counter, Gauge, Histogram},
    mosaik_primitives::{Digest, ShortFmtExt},
};

/// The metrics of one group on one node, looked up once.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) active: Gauge,
    pub(crate) bonds: Gauge,
    pub(crate) bytes_sent: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) messages_sent: Counter,
    pub(crate) messages_received: Counter,
    pub(crate) messages_dropped: Counter,
    pub(crate) committed: Gauge,
    pub(crate) elections: Counter,
    pub(crate) leader_changes: Counter,
    pub(crate) voters: Gauge,
    pub(crate) non_voters: Gauge,
    pub(crate) committee: Gauge,
    pub(crate) merges: Counter,
    pub(crate) quarantines: Counter,
    pub(crate) violations: Counter,
    pub(crate) divergences: Counter,
    pub(crate) refusals: Counter,
    pub(crate) snapshots_taken: Counter,
    pub(crate) snapshots_installed: Counter,
    pub(crate) snapshots_failed: Counter,
    pub(crate) snapshot_bytes: Gauge,
    pub(crate) log_entries: Gauge,
    pub(crate) commit_latency: Histogram,
    pub(crate) batch_commands: Histogram,
    pub(crate) apply_lag: Histogram,
    pub(crate) store_time: Histogram,
}

impl core::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(crate) fn new(network_id: &Digest, group_id: &Digest) -> Self {
        let (network, group) = (network_id.short().to_string(), group_id.short().to_string());
        let counter = |name: &'static str| metrics::counter!(name, "network" => network.clone(), "group" => group.clone());
        let gauge = |name: &'static str| metrics::gauge!(name, "network" => network.clone(), "group" => group.clone());
        let histogram = |name: &'static str| metrics::histogram!(name, "network" => network.clone(), "group" => group.clone());
        Self {
            active: metrics::gauge!("mosaik.groups.active", "network" => network.clone()),
            bonds: gauge("mosaik.groups.bonds.active"),
            bytes_sent: counter("mosaik.groups.bonds.bytes.sent"),
            bytes_received: counter("mosaik.groups.bonds.bytes.received"),
            messages_sent: counter("mosaik.groups.bonds.messages.sent"),
            messages_received: counter("mosaik.groups.bonds.messages.received"),
            messages_dropped: counter("mosaik.groups.bonds.messages.dropped"),
            committed: gauge("mosaik.groups.raft.committed"),
            elections: counter("mosaik.groups.raft.elections"),
            leader_changes: counter("mosaik.groups.raft.leader.changes"),
            voters: gauge("mosaik.groups.raft.committee.voters"),
            non_voters: gauge("mosaik.groups.raft.committee.non_voters"),
            committee: gauge("mosaik.groups.raft.committee.size"),
            merges: counter("mosaik.groups.merges"),
            quarantines: counter("mosaik.groups.quarantines"),
            violations: counter("mosaik.groups.violations"),
            divergences: counter("mosaik.groups.divergences"),
            refusals: counter("mosaik.groups.bonds.refused"),
            snapshots_taken: counter("mosaik.groups.snapshots.taken"),
            snapshots_installed: counter("mosaik.groups.snapshots.installed"),
            snapshots_failed: counter("mosaik.groups.snapshots.failed"),
            snapshot_bytes: gauge("mosaik.groups.snapshots.bytes"),
            log_entries: gauge("mosaik.groups.log.entries"),
            commit_latency: histogram("mosaik.groups.commit.seconds"),
            batch_commands: histogram("mosaik.groups.proposal.commands"),
            apply_lag: histogram("mosaik.groups.apply.lag.commands"),
            store_time: histogram("mosaik.groups.store.seconds"),
        }
    }
}
