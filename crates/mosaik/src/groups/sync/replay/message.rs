//! What the two sides of a log replay say to each other.

use {
    crate::groups::{
        index::{IndexRange, Term},
        machine::Command,
    },
    mosaik_primitives::{Encoded, time::UnixMillis},
    serde::{Deserialize, Serialize},
};

/// Bytes of commands in one answer at most, unless one command alone is larger.
pub(super) const RESPONSE_BYTES: usize = 2 << 20;
/// Commands in one answer at most.
pub(super) const RESPONSE_COMMANDS: u64 = 65_536;

/// What the two sides of a log replay say to each other.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum LogReplaySyncMessage<C: Command> {
    /// Which commands are held there?
    AvailabilityRequest,
    /// These, of those that are committed. An empty range says none.
    AvailabilityResponse(IndexRange),
    /// The commands of this range are wanted, or as many from its beginning on as will do.
    FetchEntriesRequest(IndexRange),
    /// The commands of this range. Without any: those that were asked for are not held.
    FetchEntriesResponse {
        /// What is sent, or what was asked for when nothing is.
        range: IndexRange,
        /// The commands and their terms, in order.
        entries: Vec<(Encoded<C>, Term)>,
        /// Their committed times, each with the number of commands in a row that have it. Empty
        /// when they are not known.
        times: Vec<(UnixMillis, u32)>,
    },
}
