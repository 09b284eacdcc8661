//! What a consumer says when it subscribes, and what the producer replies.

use {
    bytes::Bytes,
    mosaik_primitives::codec::Versioned,
    serde::{Deserialize, Serialize},
};

/// The greeting of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subscribe {
    /// `Criteria::to_wire`.
    pub(super) criteria: Bytes,
    /// The subscription that this one continues.
    pub(super) resume: Option<Resume>,
}

/// Where an earlier subscription ended, as the consumer saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resume {
    pub(super) subscribed: Subscribed,
    /// Items that arrived, and those that were announced as missed.
    pub(super) received: u64,
}

impl Resume {
    /// The place of the next item in the producer's order, for one that takes everything.
    pub(super) const fn position(&self) -> u64 {
        self.subscribed.start.saturating_add(self.received)
    }
}

/// The reply to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subscribed {
    /// Names this life of the producer.
    pub(super) session: u64,
    /// Names the subscription within it.
    pub(super) subscription: u64,
    /// The place in the producer's order of the first item, or of the first of those that are
    /// announced as missed, for one that takes everything.
    pub(super) start: u64,
}

impl Versioned for Subscribe {
    const VERSION: u16 = 2;
}

impl Versioned for Subscribed {
    const VERSION: u16 = 2;
}
