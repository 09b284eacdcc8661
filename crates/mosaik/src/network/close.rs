//! Close reasons: the numbers and names with which one side tells the other why it ends a
//! connection or a sub-stream.

use {
    bytes::Bytes,
    core::{error::Error, fmt},
    iroh::endpoint::{ApplicationClose, VarInt},
};

/// A reason for ending a connection or a sub-stream: a number on the wire, a type in the program.
pub trait CloseReason:
    Error + Into<ApplicationClose> + PartialEq<ApplicationClose> + Clone + Sized + Send + Sync + 'static
{
}

/// A close reason as a value, for places that handle any of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason {
    pub(crate) code: u32,
    pub(crate) text: &'static str,
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.code)
    }
}

impl From<Reason> for ApplicationClose {
    fn from(reason: Reason) -> Self {
        Self {
            error_code: VarInt::from_u32(reason.code),
            reason: Bytes::from_static(reason.text.as_bytes()),
        }
    }
}

macro_rules! close_reasons {
    ($known:ident: $($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name;

            impl $name {
                pub(crate) const REASON: Reason = Reason { code: $code, text: stringify!($name) };
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(stringify!($name))
                }
            }

            impl Error for $name {}

            impl From<$name> for ApplicationClose {
                fn from(_: $name) -> Self {
                    $name::REASON.into()
                }
            }

            impl From<$name> for Reason {
                fn from(_: $name) -> Self {
                    $name::REASON
                }
            }

            impl PartialEq<ApplicationClose> for $name {
                fn eq(&self, close: &ApplicationClose) -> bool {
                    close.error_code == VarInt::from_u32($code)
                }
            }

            impl CloseReason for $name {}
        )*

        /// Every reason of this list.
        pub(crate) const $known: &[Reason] = &[$($name::REASON),*];
    };
}

close_reasons! {
    KNOWN:
    /// The other side speaks no protocol that is served here.
    InvalidAlpn = 100;
    /// The other side belongs to another network.
    DifferentNetwork = 101;
    /// The operation was abandoned by its caller.
    Cancelled = 102;
    /// The connection ended without a reason.
    UnexpectedClose = 103;
    /// All that was wanted is done.
    Success = 200;
    /// The other side is shutting down.
    GracefulShutdown = 204;
    /// Bytes that the protocol does not allow.
    ProtocolViolation = 400;
    /// The other side is not in the local catalog.
    UnknownPeer = 401;
    /// Nothing valid arrived within the handshake timeout.
    HandshakeTimeout = 408;
    /// The node holds as many connections or sub-streams as its limits allow.
    TooManyConnections = 429;
    /// The stream's producer or consumer does not accept this peer.
    NotAllowed = 10403;
    /// The stream is not produced here.
    StreamNotFound = 10404;
    /// The consumer fell further behind than the producer's buffer reaches.
    TooSlow = 10413;
    /// The producer serves as many consumers as it accepts.
    NoCapacity = 10509;
}

/// Why a bond of a group ends, or cannot be.
pub(crate) mod groups {
    use super::{ApplicationClose, CloseReason, Error, Reason, VarInt, fmt};

    close_reasons! {
        GROUPS:
        /// What was said does not fit the handshake.
        InvalidHandshake = 30400;
        /// The group does not let this peer in.
        NotAllowed = 30403;
        /// The other side is not in the group.
        GroupNotFound = 30404;
        /// The other side did not show that it has the group's key.
        InvalidProof = 30405;
        /// The handshake took too long.
        Timeout = 30408;
        /// There is a bond already.
        AlreadyBonded = 30429;
    }
}

/// The reason behind a number from the wire; unknown numbers are [`UnexpectedClose`].
pub(crate) fn known(code: u64) -> Reason {
    find(code).unwrap_or(UnexpectedClose::REASON)
}

/// The reason behind a number, if it is one of mosaik's own.
pub(crate) fn find(code: u64) -> Option<Reason> {
    KNOWN
        .iter()
        .chain(groups::GROUPS)
        .copied()
        .find(|reason| u64::from(reason.code) == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_reasons_match_both_ways() {
        for reason in KNOWN.iter().chain(groups::GROUPS) {
            assert_eq!(known(u64::from(reason.code)), *reason);
        }
        assert_eq!(known(u64::MAX), UnexpectedClose::REASON);
        let close = ApplicationClose::from(TooSlow);
        assert!(TooSlow == close && NoCapacity != close);
        assert_eq!(&close.reason[..], b"TooSlow");
    }
}
