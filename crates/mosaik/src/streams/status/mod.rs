//! What can be known, and waited for, of the channels between producers and consumers.

mod channel;
mod conditions;
mod stats;
mod when;

pub(crate) use {channel::ChannelsSender, when::Online};
pub use {
    channel::{ActiveChannelsMap, ChannelInfo, State},
    conditions::ChannelConditions,
    stats::Stats,
    when::When,
};
