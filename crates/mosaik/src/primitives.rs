//! Identifiers, data and their display.

use std::sync::Arc;

pub use {
    bytes::{self, Bytes, BytesMut},
    mosaik_primitives::{
        Abbreviated, Datum, Digest, Encoded, FmtIter, Limits, LimitsError, Pretty, PrettyFmtExt,
        Redacted, RedactedFmtExt, Short, ShortFmtExt, Tag, UniqueId, datum,
        iter::{self, IntoIterOrSingle, Variant},
    },
};

/// Values to bytes and back, bounded on the way in.
pub mod encoding {
    pub use mosaik_primitives::codec::{
        DecodeError, EncodeError, deserialize, try_serialize, try_serialize_to_writer,
    };
}

/// Makes a backoff of its own for each use.
pub type BackoffFactory = Arc<
    dyn Fn() -> Box<dyn crate::streams::backoff::Backoff + Send + Sync + 'static>
        + Send
        + Sync
        + 'static,
>;
