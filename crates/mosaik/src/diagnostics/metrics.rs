//! What each metric means. Names and labels are part of the public contract.

use {
    crate::groups::descriptions as groups,
    metrics::{Unit, describe_counter, describe_gauge, describe_histogram},
};

/// Describes every metric to the process' recorder, which may have come since another network
/// started.
pub(crate) fn describe() {
    for (name, unit, text) in COUNTERS {
        describe_counter!(*name, *unit, *text);
    }
    for (name, text) in groups::COUNTERS {
        describe_counter!(*name, Unit::Count, *text);
    }
    for (name, unit, text) in groups::HISTOGRAMS {
        describe_histogram!(*name, *unit, *text);
    }
    for (name, text) in GAUGES.iter().chain(groups::GAUGES) {
        describe_gauge!(*name, *text);
    }
}

const COUNTERS: &[(&str, Unit, &str)] = &[
    (
        "mosaik.network.connections.opened",
        Unit::Count,
        "Connections made, by either side",
    ),
    (
        "mosaik.network.connections.refused",
        Unit::Count,
        "Connections refused or closed for what they cost, by reason",
    ),
    (
        "mosaik.network.connections.lost",
        Unit::Count,
        "Connections ended because the peer was silent",
    ),
    (
        "mosaik.network.substreams.refused",
        Unit::Count,
        "Sub-streams refused at their header, by reason",
    ),
    (
        "mosaik.network.egress.bytes",
        Unit::Bytes,
        "Bytes sent, all protocols",
    ),
    (
        "mosaik.network.ingress.bytes",
        Unit::Bytes,
        "Bytes received, all protocols",
    ),
    (
        "mosaik.discovery.refused",
        Unit::Count,
        "What peers sent to discovery and was turned away, by reason",
    ),
    (
        "mosaik.discovery.catalog.syncs",
        Unit::Count,
        "Catalog synchronisations completed",
    ),
    (
        "mosaik.discovery.peers.discovered",
        Unit::Count,
        "Peers that entered the catalog",
    ),
    (
        "mosaik.discovery.peers.updated",
        Unit::Count,
        "Entries replaced by newer ones",
    ),
    (
        "mosaik.discovery.peers.departed",
        Unit::Count,
        "Peers that left the catalog",
    ),
    (
        "mosaik.streams.producer.consumers.accepted",
        Unit::Count,
        "Subscriptions accepted",
    ),
    (
        "mosaik.streams.producer.consumers.rejected",
        Unit::Count,
        "Subscriptions refused or cut, by reason",
    ),
    (
        "mosaik.streams.producer.items.sent",
        Unit::Count,
        "Items handed to the transport, a consumer each",
    ),
    (
        "mosaik.streams.producer.items.dropped",
        Unit::Count,
        "Items that a consumer missed",
    ),
    (
        "mosaik.streams.producer.bytes.sent",
        Unit::Bytes,
        "Bytes of items handed to the transport",
    ),
    (
        "mosaik.streams.connections.accepted",
        Unit::Count,
        "Subscriptions of this node's consumers that a producer accepted",
    ),
    (
        "mosaik.streams.connections.rejected",
        Unit::Count,
        "Subscriptions of this node's consumers that a producer refused",
    ),
    (
        "mosaik.streams.consumer.items.received",
        Unit::Count,
        "Items received",
    ),
    (
        "mosaik.streams.consumer.bytes.received",
        Unit::Bytes,
        "Bytes of items received",
    ),
    (
        "mosaik.streams.datums.total",
        Unit::Count,
        "Items sent and received",
    ),
    (
        "mosaik.streams.bytes.total",
        Unit::Bytes,
        "Bytes of items sent and received",
    ),
];

const GAUGES: &[(&str, &str)] = &[
    (
        "mosaik.discovery.catalog.size",
        "Peers in the catalog, this node included",
    ),
    (
        "mosaik.discovery.gossip.neighbors",
        "Direct gossip neighbours",
    ),
    ("mosaik.streams.producers.active", "Producers on this node"),
    (
        "mosaik.streams.producer.consumers",
        "Consumers connected to a producer",
    ),
    ("mosaik.streams.consumers.active", "Consumers on this node"),
    (
        "mosaik.streams.consumer.producers",
        "Producers a consumer is connected to",
    ),
];
