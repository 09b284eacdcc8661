//! What can go wrong for a producer; the item comes back where it was not taken.

use {
    super::handle::Producer,
    crate::primitives::{Datum, encoding::EncodeError},
    core::fmt,
};

/// Why an item was not sent. It surely was not, and comes back.
#[derive(Clone, PartialEq, thiserror::Error)]
pub enum Error<D> {
    /// The producer or its network is closed.
    #[error("Producer is closed")]
    Closed(Option<D>),
    /// There is no room now. Only [`Producer::try_send`] answers this; `send` waits.
    #[error("Producer is busy")]
    Full(D),
    /// The conditions given as `online_when` are not met. Only [`Producer::try_send`] answers
    /// this; `send` waits.
    #[error("Producer is temporarily offline")]
    Offline(D),
    /// The item cannot be encoded, or is larger than [`Limits::frame_bytes`].
    ///
    /// [`Limits::frame_bytes`]: crate::primitives::Limits::frame_bytes
    #[error("Datum serialization error")]
    Encoding(D, EncodeError),
}

impl<D> fmt::Debug for Error<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "Closed",
            Self::Full(_) => "Full",
            Self::Offline(_) => "Offline",
            Self::Encoding(_, error) => return write!(f, "Encoding({error})"),
        })
    }
}

/// Why a producer was not built.
#[derive(thiserror::Error)]
pub enum BuilderError<D: Datum> {
    /// The network has a producer for this stream, which is this one.
    #[error("Producer for this stream id already exists")]
    AlreadyExists(Producer<D>),
}

impl<D: Datum> fmt::Debug for BuilderError<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyExists(producer) => {
                f.debug_tuple("AlreadyExists").field(producer).finish()
            }
        }
    }
}
