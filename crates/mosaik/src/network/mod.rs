//! A node's part in a network: its identity, its socket, its links.
//!
//! Starting a network binds a socket and returns; it never waits for anything outside. The
//! subsystems stand under one [`Network`] handle and reach each other's peers over its links.

mod address_book;
mod builder;
pub(crate) mod close;
pub mod error;
mod handle;
mod identity;
pub(crate) mod links;
mod local;
mod preset;
mod store;
pub(crate) mod tasks;
mod transport;

pub use {
    builder::{NetworkBuilder, NetworkConfig},
    close::CloseReason,
    error::{Error, Error as NetworkError},
    handle::Network,
    iroh::RelayMode,
    links::LinkError,
    local::LocalNode,
    preset::{Preset, UnknownPreset},
    store::DamagedData,
};

/// Names a network; text becomes an id by hashing (see [`Digest`](mosaik_primitives::Digest)).
pub type NetworkId = mosaik_primitives::Digest;
/// Names a node: its ed25519 public key.
pub type PeerId = iroh::EndpointId;

/// The one application protocol of the shared connection of two nodes.
pub(crate) const ALPN: &[u8] = b"/mosaik/1";
