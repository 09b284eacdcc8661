//! Discovery: who is in the network, what they offer, and where they are.
//!
//! Every peer publishes one signed [`PeerEntry`]; every node holds everybody's in its
//! [`Catalog`]. Changes are gossiped, missed ones are found by comparing catalogs, peers that
//! fall silent are found by probes. The protocol itself is the pure state machine
//! `mosaik_protocol::catalog`; here are its keys (`authority`), its memory (`state`), its
//! hands (`driver`, `transport`, `gossip`) and the ways to first peers (`introduce`,
//! `rendezvous`, `mdns`).
//!
//! Absent on purpose: whether a peer may do something (tickets, asked by whoever admits), and
//! any promise that two nodes see the same peers at one moment.

mod authority;
mod catalog;
mod config;
mod driver;
mod entry;
mod error;
mod event;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod gossip;
mod handle;
mod info;
mod introduce;
mod local;
mod lookup;
mod mdns;
mod metrics;
mod news;
mod rendezvous;
mod room;
mod signature;
mod signed;
mod state;
#[cfg(test)]
mod tests;
mod transport;
mod version;
mod wire;

pub use {
    catalog::Catalog,
    config::{Config, ConfigBuilder, ConfigBuilderError, IntoConfig},
    entry::PeerEntry,
    error::Error,
    event::{AnnounceEvent, Event},
    handle::Discovery,
    info::PeerInfo,
    signed::SignedPeerEntry,
    version::PeerEntryVersion,
};
