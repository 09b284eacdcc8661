//! The reading side of a lane: from the transport's chunks to frames.

use {
    super::frame::{CONTROL_BYTES, Frame, FrameError, PREFIX},
    bytes::{Buf, Bytes, BytesMut},
    iroh::endpoint::{ReadError, RecvStream, VarInt},
    mosaik_protocol::consensus::limits,
};

/// Chunks taken from the transport at a time; each is at most a packet's payload.
const CHUNKS: usize = 64;
/// Frames up to this size get memory of their own, so that one that is kept for long keeps
/// nothing else; larger ones share the buffer in which they arrived.
const COPY_BYTES: usize = 16 << 10;
/// What is kept of the buffer when nothing is in it.
const KEPT_BYTES: usize = 64 << 10;
/// A payload frame from a peer that has proven no key yet.
const UNPROVEN_BYTES: usize = 4 << 10;
/// A payload frame.
const PAYLOAD_BYTES: usize = limits::MESSAGE_BYTES + 64;

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReaderError {
    #[error(transparent)]
    Transport(#[from] ReadError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the lane ended within a frame")]
    Truncated,
}

impl ReaderError {
    /// What the peer did wrong, if it is that.
    pub(crate) fn violation(&self) -> Option<String> {
        match self {
            Self::Frame(error) => Some(error.to_string()),
            Self::Transport(_) | Self::Truncated => None,
        }
    }
}

/// What one read yielded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Frames.
    Frames,
    /// The next frame may only be read once the peer has proven a key.
    NeedsProof,
    /// The peer has finished the lane.
    Finished,
}

/// Reads one lane.
#[derive(Debug)]
pub(crate) struct Reader {
    recv: RecvStream,
    chunks: Vec<Bytes>,
    parser: Parser,
}

impl Reader {
    pub(crate) fn new(recv: RecvStream) -> Self {
        Self {
            recv,
            chunks: Vec::new(),
            parser: Parser::default(),
        }
    }

    /// Reads what there is to the end of `frames`, waiting for a frame if there is none.
    pub(crate) async fn read(
        &mut self,
        frames: &mut Vec<Frame>,
        proven: bool,
    ) -> Result<Read, ReaderError> {
        loop {
            let complete = self.parser.parse(frames, proven)?;
            if !frames.is_empty() {
                return Ok(Read::Frames);
            }
            if !complete {
                return Ok(Read::NeedsProof);
            }
            // Only the first time: those that were taken have been emptied.
            self.chunks.resize(CHUNKS, Bytes::new());
            match self.recv.read_many_chunks(&mut self.chunks).await? {
                Some(count) => {
                    for chunk in &mut self.chunks[..count] {
                        // Nothing is kept of the transport's memory.
                        let chunk = std::mem::take(chunk);
                        self.parser.buffer.extend_from_slice(&chunk);
                    }
                }
                None if self.parser.buffer.is_empty() => return Ok(Read::Finished),
                None => return Err(ReaderError::Truncated),
            }
        }
    }

    /// Tells the peer to stop.
    pub(crate) fn stop(&mut self, code: u32) {
        // Fails only when the stream has ended already.
        let _ = self.recv.stop(VarInt::from_u32(code));
    }
}

/// Cuts what has arrived into frames. Grows with what arrives, never with what a length
/// announces.
#[derive(Debug, Default)]
struct Parser {
    buffer: BytesMut,
}

impl Parser {
    /// Takes all whole frames; `false` when the next one is too large for a peer that has
    /// proven nothing.
    fn parse(&mut self, frames: &mut Vec<Frame>, proven: bool) -> Result<bool, FrameError> {
        while let Some((head, _)) = self.buffer.split_first_chunk::<PREFIX>() {
            let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let max = if Frame::is_payload(head[4]) {
                PAYLOAD_BYTES
            } else {
                CONTROL_BYTES
            };
            if len > max {
                return Err(FrameError::TooLarge { len, max });
            }
            if len > UNPROVEN_BYTES && !proven {
                return Ok(false);
            }
            if self.buffer.len() < 4 + len {
                break;
            }
            self.buffer.advance(4);
            let body = if len <= COPY_BYTES {
                let body = Bytes::copy_from_slice(&self.buffer[..len]);
                self.buffer.advance(len);
                body
            } else {
                self.buffer.split_to(len).freeze()
            };
            frames.push(Frame::decode(body)?);
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = BytesMut::new();
        }
        Ok(true)
    }
}

/// Parses bytes that arrive in chunks of a size, of a peer that has proven a key; whether all of
/// them were frames. What is a frame is the same after encoding it again.
#[cfg(fuzzing)]
pub(in crate::groups) fn reparse(bytes: &[u8], chunk_bytes: usize) -> bool {
    let mut parser = Parser::default();
    let mut frames = Vec::new();
    let parsed = bytes.chunks(chunk_bytes).all(|chunk| {
        parser.buffer.extend_from_slice(chunk);
        parser.parse(&mut frames, true).is_ok()
    });
    for frame in frames {
        let limit = frame.len();
        let (head, payload) = frame.clone().encode();
        let again = Bytes::from([head, payload.unwrap_or_default()].concat());
        assert!(
            again.len() <= limit,
            "a frame measures at most what it says"
        );
        assert_eq!(Frame::decode(again.slice(4..)), Ok(frame));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use {super::*, proptest::prelude::*};

    fn framed(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            let (head, payload) = frame.clone().encode();
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(&payload.unwrap_or_default());
        }
        bytes
    }

    fn core(len: usize) -> Frame {
        Frame::Core {
            slot: 3,
            message: vec![7; len].into(),
        }
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            lens in proptest::collection::vec(0usize..40_000, 0..10),
            sizes in proptest::collection::vec(1usize..20_000, 1..20),
        ) {
            let frames: Vec<_> = lens.into_iter().map(core).collect();
            let bytes = framed(&frames);
            let mut parser = Parser::default();
            let mut seen = Vec::new();
            let mut sizes = sizes.iter().cycle();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let size = (*sizes.next().unwrap()).min(rest.len());
                parser.buffer.extend_from_slice(&rest[..size]);
                rest = &rest[size..];
                prop_assert!(parser.parse(&mut seen, true).unwrap());
            }
            prop_assert_eq!(seen, frames);
            prop_assert!(parser.buffer.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let mut parser = Parser { buffer: BytesMut::from(&bytes[..]) };
            let _ = parser.parse(&mut Vec::new(), true);
        }
    }

    #[test]
    fn announced_lengths_allocate_nothing_and_are_bounded() {
        let mut parser = Parser::default();
        parser
            .buffer
            .extend_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0]);
        let refused = parser.parse(&mut Vec::new(), true);
        assert!(matches!(refused, Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn strangers_may_send_little() {
        let mut parser = Parser::default();
        let frames = [core(10), core(UNPROVEN_BYTES)];
        parser.buffer.extend_from_slice(&framed(&frames));
        let mut seen = Vec::new();
        assert_eq!(parser.parse(&mut seen, false), Ok(false));
        assert_eq!(seen, frames[..1]);
        assert_eq!(parser.parse(&mut seen, true), Ok(true));
        assert_eq!(seen, frames);
    }
}
