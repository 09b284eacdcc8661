//! The catalog of peers: who is in the network and what each of them said last.
//!
//! [`Catalog`] is a pure state machine. A driver turns sockets, clocks and the program into
//! [`Input`]s and carries out the [`Output`]s; keys and entry formats stay behind [`Authority`].
//!
//! How it works:
//! - **Entries** are opaque signed bytes with a [`Version`]; the newest wins, replays never
//!   regress, departures leave bounded tombstones ([`Refusal`] names everything turned away).
//! - **Changes** are broadcast whole when they fit a gossip message, else announced by digest
//!   and pulled. Between changes each node signs a small [`Announcement`] every interval.
//! - **Anti-entropy** compares fingerprints of key ranges with linked peers and exchanges only
//!   what differs (range-based set reconciliation: Meyer, SRDS 2023); equal catalogs cost one
//!   message, which also carries one byte a peer about how fresh its announcement is, so that
//!   announcements spread by the same exchange, each to each node once.
//! - **Failure detection**: every node probes its successor on each of three hash rings (the
//!   expander of Rapid, USENIX ATC 2018); silence becomes a signed [`Suspicion`], which a newer
//!   announcement of the suspect refutes (SWIM, DSN 2002), else the peer has departed. Only what
//!   the suspect has announced can be suspected: a report about anything newer waits for proof.
//!
//! Absent on purpose: sockets, clocks, entropy, the content of entries, and entries that a
//! program inserts by hand without a signature (the driver keeps those beside this catalog).

mod compare;
mod detector;
mod fingerprint;
mod io;
mod machine;
mod message;
mod pulls;
mod receive;
mod rings;
mod rtt;
mod store;
mod sync;
mod transfer;
mod types;
mod unproven;

pub use {
    io::{
        Config, ConfigError, Counters, Departure, EntryFault, Event, Input, LinkLoss, Output,
        Outputs, Refusal,
    },
    machine::Catalog,
    message::{
        AgeWindow, Carried, CompactAnnouncement, Dated, Gossip, Item, KeyPrefix, Message, Range,
        RangeContent, Request,
    },
    rtt::Rtt,
    types::{
        Announcement, Authority, Farewell, Head, NodeKey, Record, Signature, Suspicion, Version,
    },
};
