//! The facade's own decoders, for fuzz targets; built with `--cfg fuzzing` only.
//!
//! Each takes any bytes, must not panic, and says whether they were taken.

use {
    crate::{
        discovery::{SignedPeerEntry, fuzzing as discovery},
        groups::fuzzing as groups,
        network::links::header::{Answer, Header},
        streams::fuzzing as streams,
    },
    bytes::Bytes,
    mosaik_primitives::{Limits, codec::decode_bounded},
};

/// The header that opens a sub-stream.
pub fn header(bytes: &[u8]) -> bool {
    Header::decode(&Bytes::copy_from_slice(bytes)).is_ok()
}

/// The answer to a sub-stream's header.
pub fn answer(bytes: &[u8]) -> bool {
    Answer::decode(&Bytes::copy_from_slice(bytes)).is_some()
}

/// A discovery entry with its signature.
pub fn signed_entry(bytes: &[u8]) -> bool {
    decode_bounded::<SignedPeerEntry>(bytes, Limits::DEFAULT.entry_bytes).is_ok()
}

/// What opens one of discovery's sub-streams.
pub fn discovery_greeting(bytes: &[u8]) -> bool {
    discovery::greeting(bytes)
}

/// A probe or its answer.
pub fn discovery_datagram(bytes: &[u8]) -> bool {
    discovery::datagram(bytes)
}

/// A note in the rendezvous directory.
pub fn note(bytes: &[u8]) -> bool {
    discovery::note(bytes)
}

/// The greeting of a subscription.
pub fn subscribe(bytes: &[u8]) -> bool {
    streams::subscribe(bytes)
}

/// The reply to a subscription.
pub fn subscribed(bytes: &[u8]) -> bool {
    streams::subscribed(bytes)
}

/// The frames of a subscription, cut into chunks as the first byte says.
pub fn frames(bytes: &[u8]) -> bool {
    streams::frames(bytes)
}

/// What the opener of a lane between members of groups says first.
pub fn lane_greeting(bytes: &[u8]) -> bool {
    groups::greeting(bytes)
}

/// The frames of a lane, hellos among them, cut into chunks as the first byte says.
pub fn lane(bytes: &[u8]) -> bool {
    groups::lane(bytes)
}

/// The messages of a log's replay, and the commands in them.
pub fn replay(bytes: &[u8]) -> bool {
    groups::replay(bytes)
}
