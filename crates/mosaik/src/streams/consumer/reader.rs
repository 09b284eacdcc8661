//! From the transport's chunks to decoded items.

use {
    super::queue::Batch,
    crate::{
        primitives::Datum,
        streams::frame::{self, Control, Frame, FrameError, Parsed},
    },
    bytes::Bytes,
    iroh::endpoint::{ReadError, RecvStream},
};

/// Chunks taken from the transport at a time; each is at most a packet's payload.
const CHUNKS: usize = 64;
/// What is kept of the buffer for items that span chunks.
const KEPT_BYTES: usize = 64 << 10;

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReaderError {
    #[error(transparent)]
    Transport(#[from] ReadError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("item cannot be decoded: {0}")]
    Item(String),
    #[error("the stream ended within a frame")]
    Truncated,
}

/// How far a read came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// There may be more to parse.
    More,
    /// Items in the batch came before this.
    Control(Control),
    /// All that was fetched is parsed.
    Parsed,
    /// The transport's stream is finished.
    Finished,
}

/// Reads one subscription.
pub(super) struct Reader {
    recv: RecvStream,
    chunks: Vec<Bytes>,
    /// Chunks of the last read that are not parsed yet, as a range of `chunks`.
    unparsed: core::ops::Range<usize>,
    parser: Parser,
}

impl Reader {
    pub(super) fn new(recv: RecvStream, max_item_bytes: usize) -> Self {
        Self {
            recv,
            chunks: Vec::new(),
            unparsed: 0..0,
            parser: Parser {
                partial: Vec::new(),
                max_item_bytes,
            },
        }
    }

    /// Decodes items that were fetched into `batch`, until it has `max_items`.
    pub(super) fn parse<D: Datum>(
        &mut self,
        batch: &mut Batch<D>,
        max_items: usize,
    ) -> Result<Read, ReaderError> {
        while let Some(at) = self.unparsed.next() {
            let chunk = &mut self.chunks[at];
            let control = self.parser.parse(chunk, batch, max_items)?;
            if control.is_none() && batch.len() < max_items {
                continue;
            }
            // The rest of the chunk is parsed at the next call.
            self.unparsed.start = at;
            return Ok(control.map_or(Read::More, Read::Control));
        }
        Ok(Read::Parsed)
    }

    /// Fetches what has arrived, waiting for something if there is nothing.
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn fetch(&mut self) -> Result<Read, ReaderError> {
        self.chunks.resize(CHUNKS, Bytes::new());
        match self.recv.read_many_chunks(&mut self.chunks).await? {
            Some(count) => {
                self.unparsed = 0..count;
                Ok(Read::More)
            }
            None if self.parser.partial.is_empty() => Ok(Read::Finished),
            None => Err(ReaderError::Truncated),
        }
    }

    /// Tells the producer to stop.
    pub(super) fn stop(&mut self, code: iroh::endpoint::VarInt) {
        // Fails only when the stream has ended already.
        let _ = self.recv.stop(code);
    }
}

/// Parses frames that may span chunks.
struct Parser {
    /// The front of a frame whose rest has not arrived. Grows with what arrives, never with
    /// what a length announces.
    partial: Vec<u8>,
    max_item_bytes: usize,
}

impl Parser {
    /// Decodes the items of `chunk` into `batch` up to the next control frame or until it has
    /// `max_items`, consuming what was parsed.
    fn parse<D: Datum>(
        &mut self,
        chunk: &mut Bytes,
        batch: &mut Batch<D>,
        max_items: usize,
    ) -> Result<Option<Control>, ReaderError> {
        if !self.partial.is_empty()
            && let Some(control) = self.complete(chunk, batch)?
        {
            return Ok(Some(control));
        }
        if !self.partial.is_empty() {
            return Ok(None);
        }
        let mut at = 0;
        let control = loop {
            let rest = &chunk[at..];
            if rest.is_empty() || batch.len() >= max_items {
                break None;
            }
            match frame::parse(rest, self.max_item_bytes)? {
                Parsed::Frame(Frame::Item(bytes), len) => {
                    batch.push(decode(bytes)?, bytes.len());
                    at += len;
                }
                Parsed::Frame(Frame::Control(control), len) => {
                    at += len;
                    break Some(control);
                }
                Parsed::Incomplete(_) => {
                    self.partial.extend_from_slice(rest);
                    at = chunk.len();
                    break None;
                }
            }
        };
        let _parsed = chunk.split_to(at);
        Ok(control)
    }

    /// Completes the frame that earlier chunks began, as far as `chunk` reaches.
    fn complete<D: Datum>(
        &mut self,
        chunk: &mut Bytes,
        batch: &mut Batch<D>,
    ) -> Result<Option<Control>, ReaderError> {
        loop {
            let control = match frame::parse(&self.partial, self.max_item_bytes)? {
                Parsed::Incomplete(len) => {
                    let take = (len - self.partial.len()).min(chunk.len());
                    if take == 0 {
                        return Ok(None);
                    }
                    self.partial.extend_from_slice(&chunk.split_to(take));
                    continue;
                }
                Parsed::Frame(Frame::Item(bytes), _) => {
                    batch.push(decode(bytes)?, bytes.len());
                    None
                }
                Parsed::Frame(Frame::Control(control), _) => Some(control),
            };
            self.partial.clear();
            self.partial.shrink_to(KEPT_BYTES);
            return Ok(control);
        }
    }
}

/// Parses bytes that arrive in chunks of a size; whether all of them were frames.
#[cfg(fuzzing)]
pub(in crate::streams) fn parse_all(bytes: &[u8], chunk_bytes: usize) -> bool {
    let mut parser = Parser {
        partial: Vec::new(),
        max_item_bytes: 1 << 10,
    };
    let mut batch = Batch::<Vec<u32>>::default();
    bytes.chunks(chunk_bytes).all(|piece| {
        let mut chunk = Bytes::copy_from_slice(piece);
        while !chunk.is_empty() {
            if parser.parse(&mut chunk, &mut batch, usize::MAX).is_err() {
                return false;
            }
            assert!(parser.partial.len() <= parser.max_item_bytes + frame::MAX_PREFIX);
        }
        true
    })
}

fn decode<D: Datum>(bytes: &[u8]) -> Result<D, ReaderError> {
    D::decode(bytes).map_err(|error| ReaderError::Item(error.to_string()))
}

#[cfg(test)]
mod tests {
    use {super::*, bytes::BytesMut, proptest::prelude::*};

    fn framed(items: &[String]) -> Vec<u8> {
        let mut all = Vec::new();
        for item in items {
            let mut buffer = BytesMut::new();
            frame::begin_item(&mut buffer);
            item.encode_into(&mut buffer).unwrap();
            let start = frame::finish_item(&mut buffer);
            all.extend_from_slice(&buffer[start..]);
        }
        all
    }

    proptest! {
        #[test]
        fn items_survive_any_cutting_into_chunks(
            items in proptest::collection::vec(".{0,300}", 0..20),
            sizes in proptest::collection::vec(1usize..200, 1..50),
            control_at in 0usize..20,
            max_items in 1usize..30,
        ) {
            let control = Control::Missed(1_000);
            let at = control_at.min(items.len());
            let mut bytes = framed(&items[..at]);
            bytes.extend_from_slice(&control.encode());
            bytes.extend_from_slice(&framed(&items[at..]));

            let mut parser = Parser { partial: Vec::new(), max_item_bytes: 4096 };
            let mut batch = Batch::<String>::default();
            let (mut seen, mut got) = (Vec::new(), 0);
            let mut bytes = Bytes::from(bytes);
            let mut sizes = sizes.iter().cycle();
            while !bytes.is_empty() {
                let size = (*sizes.next().unwrap()).min(bytes.len());
                let mut chunk = bytes.split_to(size);
                while !chunk.is_empty() {
                    let found = parser.parse(&mut chunk, &mut batch, max_items).unwrap();
                    prop_assert!(batch.len() <= max_items);
                    seen.extend(found.map(|found| (got + batch.len(), found)));
                    if batch.len() == max_items {
                        got += batch.len();
                        batch = Batch::default();
                    }
                }
            }
            prop_assert_eq!(seen, vec![(at, control)]);
            prop_assert_eq!(got + batch.len(), items.len());
            prop_assert!(parser.partial.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            size in 1usize..100,
        ) {
            let mut parser = Parser { partial: Vec::new(), max_item_bytes: 128 };
            let mut batch = Batch::<Vec<u32>>::default();
            'all: for piece in bytes.chunks(size) {
                let mut chunk = Bytes::copy_from_slice(piece);
                while !chunk.is_empty() {
                    if parser.parse(&mut chunk, &mut batch, usize::MAX).is_err() {
                        break 'all;
                    }
                    prop_assert!(parser.partial.len() <= 128 + frame::MAX_PREFIX);
                }
            }
        }
    }
}
