//! The groups' decoders, for `crate::fuzzing`.

use {
    super::{
        LogReplaySyncMessage,
        lanes::{Greeting, reparse},
    },
    mosaik_primitives::codec::{Versioned, deserialize, try_serialize},
};

pub(crate) fn greeting(bytes: &[u8]) -> bool {
    Greeting::from_versioned(bytes, 64).is_ok()
}

/// What stands on a lane, cut into chunks as the first byte says.
pub(crate) fn lane(bytes: &[u8]) -> bool {
    let Some((size, rest)) = bytes.split_first() else {
        return false;
    };
    reparse(rest, usize::from(*size) + 1)
}

/// What members say to each other who replay a log, and the commands in it.
pub(crate) fn replay(bytes: &[u8]) -> bool {
    type Message = LogReplaySyncMessage<(u32, String)>;
    let Ok(message) = deserialize::<Message>(bytes) else {
        return false;
    };
    let encoded = try_serialize(&message).expect("what was decoded encodes");
    let again = deserialize::<Message>(&encoded).expect("what was encoded is decoded");
    let once_more = try_serialize(&again).expect("what was decoded encodes");
    assert_eq!(encoded, once_more, "encoding and decoding changed it");
    true
}
