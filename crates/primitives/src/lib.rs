//! What every part of mosaik agrees on: identifiers, how a value becomes bytes, how large
//! anything may grow, and how time is counted.
//!
//! Absent on purpose: no async runtime, no sockets, no clock, and no entropy unless the feature
//! `random` is on. State machines that import this crate stay deterministic.

pub mod codec;
pub mod datum;
mod digest;
mod fmt;
pub mod iter;
pub mod lag;
pub mod limits;
pub mod prng;
pub mod time;

pub use {
    codec::{DecodeError, EncodeError},
    datum::{Datum, Encoded},
    digest::{Digest, Tag, UniqueId},
    fmt::{
        Abbreviated, FmtIter, Pretty, PrettyFmtExt, Redacted, RedactedFmtExt, Short, ShortFmtExt,
    },
    iter::Variant,
    limits::{Limits, LimitsError},
};
