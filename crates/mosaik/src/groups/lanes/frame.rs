//! What stands on a lane.
//!
//! ```text
//! frame    length u32 BE │ kind u8 │ body          the length counts what follows it
//! core     kind 0 │ slot u32 BE │ a message of the consensus core
//! hello    kind 1 │ group 32 │ slot u32 BE │ nonce u64 BE │ heard u64 BE │ proof 32
//! refused  kind 2 │ group 32 │ nonce u64 BE │ code u32 BE
//! bye      kind 3 │ slot u32 BE │ code u32 BE
//! sync     kind 4 │ slot u32 BE │ a message between state synchronisations
//! probe    kind 5 │ answer u8 │ proof 32 │ consensus 32 │ machine 32 │ sync 32 │ auth 32
//! ```
//!
//! Slots are the receiver's names for its groups: it hands them out in its own hello and need
//! not keep a table that the sender could fill.

use {
    bytes::{Buf, BufMut, Bytes, BytesMut},
    mosaik_primitives::Digest,
};

const CORE: u8 = 0;
const HELLO: u8 = 1;
const REFUSED: u8 = 2;
const BYE: u8 = 3;
const SYNC: u8 = 4;
const PROBE: u8 = 5;

/// Length and kind.
pub(super) const PREFIX: usize = 5;
/// What comes before the payload of a core or sync frame.
const SLOTTED: usize = PREFIX + 4;
/// What a frame may measure that carries no payload.
pub(super) const CONTROL_BYTES: usize = 256;

/// The two sides of a bond introduce themselves.
///
/// Each side says hello with a nonce of its own, and again when what it has heard of the other
/// has changed. A side that hears its own nonce come back with a hello that it accepts knows
/// that both have proven the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) group: Digest,
    /// The sender's name for the group, to be put on what is sent to it.
    pub(crate) slot: u32,
    /// Names this attempt of the sender.
    pub(crate) nonce: u64,
    /// The receiver's nonce that the sender has accepted; 0 for none.
    pub(crate) heard: u64,
    /// That the sender has the group's key, bound to the lane's connection.
    pub(crate) proof: Digest,
}

/// What members must agree on besides the key, as digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facets {
    pub(crate) consensus: Digest,
    pub(crate) machine: Digest,
    pub(crate) sync: Digest,
    pub(crate) auth: Digest,
}

/// Asks who holds the same key, whatever is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Whether it answers a probe, and needs no answer.
    pub(crate) answer: bool,
    /// That the sender holds the key, bound to the lane's connection.
    pub(crate) proof: Digest,
    pub(crate) facets: Facets,
}

/// What a lane carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A message of the consensus core.
    Core { slot: u32, message: Bytes },
    /// An introduction.
    Hello(Hello),
    /// The hello with this nonce is refused.
    Refused {
        group: Digest,
        nonce: u64,
        code: u32,
    },
    /// The bond has ended.
    Bye { slot: u32, code: u32 },
    /// A message between state synchronisations.
    Sync { slot: u32, message: Bytes },
    /// A question to holders of the same key.
    Probe(Probe),
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {len} bytes exceeds the limit of {max}")]
    TooLarge { len: usize, max: usize },
    #[error("frame kind {0} is not spoken here")]
    Kind(u8),
    #[error("a frame of {0} bytes is not what its kind measures")]
    Length(usize),
}

impl Frame {
    /// Whether its size is up to the sender.
    pub(super) const fn is_payload(kind: u8) -> bool {
        matches!(kind, CORE | SYNC)
    }

    /// Decodes what follows the length. Payloads share the memory of `body`.
    pub(super) fn decode(mut body: Bytes) -> Result<Self, FrameError> {
        let len = body.len();
        if len == 0 {
            return Err(FrameError::Length(0));
        }
        let kind = body.get_u8();
        let fixed = match kind {
            CORE | SYNC if body.len() >= 4 => body.len(),
            CORE | SYNC => return Err(FrameError::Length(len)),
            HELLO => 32 + 4 + 8 + 8 + 32,
            REFUSED => 32 + 8 + 4,
            BYE => 4 + 4,
            PROBE => 1 + 5 * 32,
            other => return Err(FrameError::Kind(other)),
        };
        if body.len() != fixed {
            return Err(FrameError::Length(len));
        }
        Ok(match kind {
            CORE => Self::Core {
                slot: body.get_u32(),
                message: body,
            },
            SYNC => Self::Sync {
                slot: body.get_u32(),
                message: body,
            },
            HELLO => Self::Hello(Hello {
                group: digest(&mut body),
                slot: body.get_u32(),
                nonce: body.get_u64(),
                heard: body.get_u64(),
                proof: digest(&mut body),
            }),
            REFUSED => Self::Refused {
                group: digest(&mut body),
                nonce: body.get_u64(),
                code: body.get_u32(),
            },
            BYE => Self::Bye {
                slot: body.get_u32(),
                code: body.get_u32(),
            },
            _ => Self::Probe(Probe {
                answer: body.get_u8() != 0,
                proof: digest(&mut body),
                facets: Facets {
                    consensus: digest(&mut body),
                    machine: digest(&mut body),
                    sync: digest(&mut body),
                    auth: digest(&mut body),
                },
            }),
        })
    }

    /// The payload's prefix and the payload, or everything in one piece.
    pub(super) fn encode(self) -> (Bytes, Option<Bytes>) {
        let mut bytes = BytesMut::with_capacity(CONTROL_BYTES);
        let payload = match self {
            Self::Core { slot, message } => {
                put_slotted(&mut bytes, CORE, slot, message.len());
                Some(message)
            }
            Self::Sync { slot, message } => {
                put_slotted(&mut bytes, SYNC, slot, message.len());
                Some(message)
            }
            Self::Hello(hello) => {
                put_prefix(&mut bytes, HELLO, 32 + 4 + 8 + 8 + 32);
                bytes.put_slice(hello.group.as_bytes());
                bytes.put_u32(hello.slot);
                bytes.put_u64(hello.nonce);
                bytes.put_u64(hello.heard);
                bytes.put_slice(hello.proof.as_bytes());
                None
            }
            Self::Refused { group, nonce, code } => {
                put_prefix(&mut bytes, REFUSED, 32 + 8 + 4);
                bytes.put_slice(group.as_bytes());
                bytes.put_u64(nonce);
                bytes.put_u32(code);
                None
            }
            Self::Probe(probe) => {
                put_prefix(&mut bytes, PROBE, 1 + 5 * 32);
                bytes.put_u8(u8::from(probe.answer));
                let Facets {
                    consensus,
                    machine,
                    sync,
                    auth,
                } = probe.facets;
                for digest in [probe.proof, consensus, machine, sync, auth] {
                    bytes.put_slice(digest.as_bytes());
                }
                None
            }
            Self::Bye { slot, code } => {
                put_prefix(&mut bytes, BYE, 4 + 4);
                bytes.put_u32(slot);
                bytes.put_u32(code);
                None
            }
        };
        (bytes.freeze(), payload)
    }

    /// What it measures on the lane.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Core { message, .. } | Self::Sync { message, .. } => SLOTTED + message.len(),
            _ => CONTROL_BYTES,
        }
    }
}

fn put_prefix(bytes: &mut BytesMut, kind: u8, len: usize) {
    bytes.put_u32(1 + len as u32);
    bytes.put_u8(kind);
}

fn put_slotted(bytes: &mut BytesMut, kind: u8, slot: u32, len: usize) {
    put_prefix(bytes, kind, 4 + len);
    bytes.put_u32(slot);
}

fn digest(body: &mut Bytes) -> Digest {
    let mut bytes = [0; Digest::LEN];
    body.copy_to_slice(&mut bytes);
    Digest::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use {super::*, proptest::prelude::*};

    fn all() -> Vec<Frame> {
        let message = Bytes::from_static(b"message");
        let group = Digest::hash(b"group");
        vec![
            Frame::Core {
                slot: 7,
                message: message.clone(),
            },
            Frame::Sync { slot: 8, message },
            Frame::Hello(Hello {
                group,
                slot: 9,
                nonce: 10,
                heard: 11,
                proof: Digest::hash(b"proof"),
            }),
            Frame::Refused {
                group,
                nonce: 12,
                code: 30_405,
            },
            Frame::Bye {
                slot: 13,
                code: 204,
            },
            Frame::Probe(Probe {
                answer: true,
                proof: group,
                facets: Facets {
                    consensus: Digest::hash(b"consensus"),
                    machine: Digest::hash(b"machine"),
                    sync: Digest::hash(b"sync"),
                    auth: Digest::hash(b"auth"),
                },
            }),
        ]
    }

    fn bytes(frame: Frame) -> Bytes {
        let (head, payload) = frame.encode();
        [head, payload.unwrap_or_default()].concat().into()
    }

    #[test]
    fn frames_round_trip_and_say_their_length() {
        for frame in all() {
            let bytes = bytes(frame.clone());
            assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_be_bytes());
            assert!(bytes.len() <= frame.len());
            assert_eq!(Frame::decode(bytes.slice(4..)), Ok(frame));
        }
    }

    #[test]
    fn other_lengths_and_kinds_are_no_frames() {
        for frame in all() {
            let payload = matches!(frame, Frame::Core { .. } | Frame::Sync { .. });
            let bytes = bytes(frame);
            if !payload {
                let longer: Bytes = [&bytes[4..], &[0]].concat().into();
                assert!(matches!(Frame::decode(longer), Err(FrameError::Length(_))));
            }
            let short = bytes.slice(4..8);
            assert!(matches!(Frame::decode(short), Err(FrameError::Length(_))));
        }
        assert_eq!(Frame::decode(Bytes::new()), Err(FrameError::Length(0)));
        let unknown = Bytes::from_static(&[6, 0]);
        assert_eq!(Frame::decode(unknown), Err(FrameError::Kind(6)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frame::decode(body.into());
        }
    }
}
