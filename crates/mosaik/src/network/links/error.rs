//! [`LinkError`]: why a sub-stream could not be opened.

use {
    crate::network::close::{self, Reason},
    core::fmt,
    iroh::endpoint::{ApplicationClose, ConnectionError},
    std::sync::Arc,
};

/// Why a sub-stream to a peer could not be opened. In every case the peer has not accepted it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer could not be reached.
    Dial(Arc<str>),
    /// The peer refused, and said why.
    Refused(ApplicationClose),
    /// The connection ended before the peer answered.
    Lost(Arc<str>),
    /// The peer did not answer in time.
    Timeout,
    /// What was to be said first is larger than [`Limits::greeting_bytes`].
    ///
    /// [`Limits::greeting_bytes`]: mosaik_primitives::Limits::greeting_bytes
    GreetingTooLarge {
        /// Its length, bytes.
        len: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// The peer answered with bytes that are not an answer.
    Malformed,
    /// A node cannot have a link to itself.
    OwnId,
    /// The local network is shutting down.
    Shutdown,
}

impl LinkError {
    pub(crate) fn refused(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }

    /// The reason with which the peer refused, if it did.
    pub(crate) fn refusal(&self) -> Option<Reason> {
        match self {
            Self::Refused(close) => Some(close::known(close.error_code.into_inner())),
            _ => None,
        }
    }
}

impl From<ConnectionError> for LinkError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Refused(close),
            other => Self::Lost(other.to_string().into()),
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(why) => write!(f, "peer cannot be reached: {why}"),
            Self::Refused(close) => write!(f, "peer refused: {close}"),
            Self::Lost(why) => write!(f, "connection lost: {why}"),
            Self::Timeout => f.write_str("peer did not answer in time"),
            Self::GreetingTooLarge { len, max } => {
                write!(f, "greeting of {len} bytes exceeds the limit of {max}")
            }
            Self::Malformed => f.write_str("peer answered with malformed bytes"),
            Self::OwnId => f.write_str("a node cannot dial itself"),
            Self::Shutdown => f.write_str("the network is shutting down"),
        }
    }
}

impl std::error::Error for LinkError {}
