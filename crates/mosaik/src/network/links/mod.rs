//! Links: one QUIC connection a peer pair, and typed sub-streams on it for everything.
//!
//! A link is made when something first needs the peer, and closed when nothing has used it for
//! a while. Whoever needs a peer opens a sub-stream ([`Links::open`]); whoever offers something
//! serves its [`Protocol`] ([`Links::serve`]). Admission (tickets, predicates) is the serving
//! protocol's: it sees the authenticated peer and its greeting before it accepts.
//!
//! When both sides dial at once there are two connections for a while. Both work; new
//! sub-streams go to the one that the lower id dialled, and the other closes once it is unused.
//! No sub-stream is ever cut by that.
//!
//! Links that are in use are watched: a peer from which nothing arrives for
//! [`liveness::SILENCE`] although it was asked is lost, and everything on the link ends.
//!
//! What a peer can make this node hold unread: 4 MiB a connection, and
//! [`Limits::substream_window_bytes`] more for each sub-stream that was accepted, or opened by this
//! side, as many as there were at one time; those of a peer are at most
//! [`Limits::substreams_per_peer`], all its connections together. Sub-streams that are not accepted
//! yet share the 4 MiB, and one that its peer delays ends with the handshake timeout.
//!
//! [`Limits::substream_window_bytes`]: mosaik_primitives::Limits::substream_window_bytes
//! [`Limits::substreams_per_peer`]: mosaik_primitives::Limits::substreams_per_peer
//!
//! Protocols that keep connections of their own (gossip) get them whole, counted within the same
//! limits: see [`guests`].
//!
//! Not here: who the peers are (discovery), retries (their callers know what is worth retrying).

mod accept;
mod conn;
mod dial;
mod error;
mod guests;
pub(crate) mod header;
mod liveness;
mod meter;
mod share;
mod table;
#[cfg(test)]
mod tests;

pub use error::LinkError;
pub(crate) use {
    accept::Incoming,
    conn::LinkUse,
    guests::AlpnServer,
    header::Protocol,
    table::{DatagramKind, LinkEvent, Links, Opened},
};
