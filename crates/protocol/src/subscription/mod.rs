//! What one subscriber wants of a stream: pure, evaluated at the producer.
//!
//! * [`Criteria`]: which items, how many of them, and how many past ones. Built, written as text,
//!   or received from a peer.
//! * [`Selector`]: the criteria of one subscription applied item by item, with the little state
//!   that sampling needs.
//!
//! Absent on purpose: queues, histories and connections. A producer's driver owns those and asks
//! a [`Selector`] about each item.

mod criteria;
mod display;
mod key;
mod literal;
mod parse;
mod predicate;
mod selector;
mod walk;

pub use {
    criteria::{Criteria, CriteriaError, Field, MAX_DEPTH, MAX_PATH_SEGMENTS},
    literal::Literal,
    parse::ParseCriteriaError,
    selector::Selector,
};
