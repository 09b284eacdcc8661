//! What the two sides of a log replay say to each other.

use {
    crate::groups::{
        index::{IndexRange, Term},
        machine::Command,
    },
    mosaik_primitives::{Encoded, time::UnixMillis},
    serde::{Deserialize, Serialize},
};

/// Bytes of commands in one answer at most, unless one command alone is larger.
pub(super) const RESPONSE_BYTES: usize = 2 << 20;
/// Commands in one answer at most.
pub(super) const RESPONSE_COMMANDS: u64 = 65_536;

/// What the two sides of a log replay say to each other.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum LogReplaySyncMessage<C: Command> {
    /// Which commands are held there?
    AvailabilityRequest,
    /// These, of those that are committed. An empty range says none.
    AvailabilityResponse(IndexRange),
    /// The commands of this range are wanted, or as many from its beginning on as will do.
    FetchEntriesRequest(IndexRange),
    /// The commands of this range. Without any: those that were asked for are not held.
    FetchEntriesResponse {
        /// What is sent, or what was asked for when nothing is.
        range: IndexRange,
        /// The commands and their terms, in order.
        entries: Vec<(Encoded<C>, Term)>,
        /// Their committed times, each with the number of commands in a row that have it. Empty
        /// when they are not known.
        times: Vec<(UnixMillis, u32)>,
    },
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::groups::index::Index,
        mosaik_primitives::codec::{deserialize, try_serialize},
        proptest::prelude::*,
    };

    type Message = LogReplaySyncMessage<(u32, String)>;

    fn serialize(message: &Message) -> Vec<u8> {
        try_serialize(message).expect("it encodes").to_vec()
    }

    fn all() -> Vec<Vec<u8>> {
        let range = Index::from(3u8)..=Index::from(4u8);
        let entries =
            ["three", "four"].map(|text| (Encoded((7, text.to_owned())), Term::from(2u8)));
        let messages: [Message; 4] = [
            LogReplaySyncMessage::AvailabilityRequest,
            LogReplaySyncMessage::AvailabilityResponse(range.clone()),
            LogReplaySyncMessage::FetchEntriesRequest(range.clone()),
            LogReplaySyncMessage::FetchEntriesResponse {
                range,
                entries: entries.to_vec(),
                times: vec![(UnixMillis(1), 2)],
            },
        ];
        messages.map(|message| serialize(&message)).into()
    }

    proptest! {
        #[test]
        fn what_is_nearly_a_message_never_panics_and_what_is_one_round_trips(
            message in 0..4usize,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            is_cut in any::<bool>(),
        ) {
            let mut bytes = all().swap_remove(message);
            let whole = bytes.clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            match deserialize::<Message>(&bytes) {
                Ok(message) => {
                    let again = serialize(&message);
                    let back = deserialize::<Message>(&again);
                    prop_assert!(back.is_ok_and(|back| serialize(&back) == again));
                }
                Err(_) => prop_assert!(bytes != whole, "what was encoded is decoded"),
            }
        }
    }
}
