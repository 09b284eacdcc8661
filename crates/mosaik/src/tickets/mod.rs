//! Tickets: opaque credentials on a peer's entry, and the validators that decide about them.
//!
//! A peer carries [`Ticket`]s on its discovery entry. Whoever admits peers (a producer, a
//! consumer, a group) names [`TicketValidator`]s; every validator must accept (AND), any one
//! ticket of the validator's class suffices (OR), and the earliest expiration binds.
//!
//! Absent on purpose: this module knows no ticket format and enforces nothing by itself; the
//! subsystems that admit peers do.

mod expiration;
mod ticket;
mod validator;

/// The signed duration of the `chrono` crate, under the name programs use.
pub use chrono::Duration;
/// The signed duration of the `chrono` crate, where `std::time::Duration` is also in scope.
pub use chrono::Duration as ChronoDuration;
pub use {
    expiration::Expiration,
    ticket::{Ticket, TicketClass},
    validator::{InvalidTicket, TicketValidator},
};
