//! The catalog of peers.
