//! [`TicketValidator`]: who decides whether a ticket admits a peer.

use {
    super::{Expiration, TicketClass},
    crate::discovery::PeerEntry,
    mosaik_primitives::UniqueId,
    std::sync::Arc,
};

/// The ticket does not admit the peer. Why is not said: the peer may be an attacker.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("Invalid ticket")]
pub struct InvalidTicket;

/// Decides whether tickets of one class admit a peer.
///
/// `validate` runs on the paths that admit peers: it must not block and must answer the same for
/// the same input until the expiration it returned.
pub trait TicketValidator: Send + Sync + 'static {
    /// The class of tickets this validator reads.
    fn class(&self) -> TicketClass;

    /// Identifies the validator's configuration: two validators with the same signature accept
    /// the same tickets. Part of the identity of what it protects.
    fn signature(&self) -> UniqueId;

    /// Whether `ticket`, the data of a ticket of this class found on `peer`'s entry, admits the
    /// peer, and until when.
    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket>;
}

impl<T: TicketValidator + ?Sized> TicketValidator for Arc<T> {
    fn class(&self) -> TicketClass {
        T::class(self)
    }

    fn signature(&self) -> UniqueId {
        T::signature(self)
    }

    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        T::validate(self, ticket, peer)
    }
}

impl<T: TicketValidator + ?Sized> TicketValidator for Box<T> {
    fn class(&self) -> TicketClass {
        T::class(self)
    }

    fn signature(&self) -> UniqueId {
        T::signature(self)
    }

    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        T::validate(self, ticket, peer)
    }
}
