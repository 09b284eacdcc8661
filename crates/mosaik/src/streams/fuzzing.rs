//! The streams' decoders, for `crate::fuzzing`.

use {
    super::{
        consumer::parse_all,
        greeting::{Subscribe, Subscribed},
    },
    mosaik_primitives::{Limits, codec::Versioned},
};

pub(crate) fn subscribe(bytes: &[u8]) -> bool {
    Subscribe::from_versioned(bytes, Limits::DEFAULT.greeting_bytes).is_ok()
}

pub(crate) fn subscribed(bytes: &[u8]) -> bool {
    Subscribed::from_versioned(bytes, Limits::DEFAULT.reply_bytes).is_ok()
}

pub(crate) fn frames(bytes: &[u8]) -> bool {
    let Some((size, rest)) = bytes.split_first() else {
        return false;
    };
    parse_all(rest, usize::from(*size) + 1)
}
