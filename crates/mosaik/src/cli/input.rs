//! Items from a reader: lines with their ends, or frames of equal size.
//!
//! What is read is handed on at once, in batches that share one allocation. Writing all items one
//! after the other gives the input back byte for byte.

use {
    bytes::{Bytes, BytesMut},
    std::io::{self, Read},
    tokio::sync::mpsc,
};

/// Read at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Batches that wait for the sender.
const BATCHES: usize = 4;
/// The longest line.
const LINE_BYTES: usize = 16 << 20;

/// How the input becomes items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Up to and with each line feed.
    Lines,
    /// So many bytes each, the last one what is left.
    Frames(usize),
}

/// Reads on a thread of its own. The channel ends with the input, or with an error.
pub(crate) fn read(
    mut reader: impl Read + Send + 'static,
    framing: Framing,
) -> io::Result<mpsc::Receiver<io::Result<Vec<Bytes>>>> {
    let (batches, receiver) = mpsc::channel(BATCHES);
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            let mut splitter = Splitter {
                framing,
                pending: BytesMut::new(),
            };
            loop {
                let batch = splitter.next(&mut reader).transpose();
                let Some(batch) = batch else { return };
                let failed = batch.is_err();
                // Nobody is left to read for, or nothing more can be read.
                if batches.blocking_send(batch).is_err() || failed {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

struct Splitter {
    framing: Framing,
    /// Read, but not yet a whole item.
    pending: BytesMut,
}

impl Splitter {
    /// The next whole items; `None` at the end of the input.
    fn next(&mut self, reader: &mut impl Read) -> io::Result<Option<Vec<Bytes>>> {
        loop {
            let old = self.pending.len();
            self.pending.resize(old + CHUNK_BYTES, 0);
            let outcome = reader.read(&mut self.pending[old..]);
            self.pending
                .truncate(old + outcome.as_ref().map_or(0, |new| *new));
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(0) if self.pending.is_empty() => return Ok(None),
                Ok(0) => return Ok(Some(vec![self.pending.split().freeze()])),
                Ok(_) => {
                    let whole = self.whole(old);
                    if whole > 0 {
                        let whole = self.pending.split_to(whole).freeze();
                        return Ok(Some(self.items(&whole)));
                    }
                    if self.framing == Framing::Lines && self.pending.len() > LINE_BYTES {
                        return Err(io::Error::other(format!(
                            "a line is longer than {LINE_BYTES} bytes; --frames sends any bytes"
                        )));
                    }
                }
            }
        }
    }

    /// Length of what is whole items; the first `old` bytes have no line end.
    fn whole(&self, old: usize) -> usize {
        match self.framing {
            Framing::Frames(size) => self.pending.len() / size * size,
            Framing::Lines => {
                let end = self.pending[old..].iter().rposition(|byte| *byte == b'\n');
                end.map_or(0, |end| old + end + 1)
            }
        }
    }

    fn items(&self, whole: &Bytes) -> Vec<Bytes> {
        match self.framing {
            Framing::Frames(size) => whole
                .chunks(size)
                .map(|frame| whole.slice_ref(frame))
                .collect(),
            Framing::Lines => whole
                .split_inclusive(|byte| *byte == b'\n')
                .map(|line| whole.slice_ref(line))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives a few bytes at a time.
    struct Trickle(Vec<u8>, usize);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buffer.len());
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0.drain(..len);
            Ok(len)
        }
    }

    fn items(input: &[u8], step: usize, framing: Framing) -> Vec<Vec<u8>> {
        let mut batches = read(Trickle(input.to_vec(), step), framing).expect("a thread");
        let mut items = Vec::new();
        while let Some(batch) = batches.blocking_recv() {
            items.extend(batch.expect("readable").iter().map(|item| item.to_vec()));
        }
        items
    }

    #[test]
    fn lines_keep_their_ends_however_they_arrive() {
        let input = b"one\n\r\n\nfour is longer\nno end";
        for step in [1, 2, 3, 7, 1_000] {
            let lines = items(input, step, Framing::Lines);
            assert_eq!(lines.concat(), input);
            assert_eq!(lines.len(), 5, "in steps of {step}");
            assert_eq!(lines[3], b"four is longer\n");
        }
        assert!(items(b"", 1, Framing::Lines).is_empty());
    }

    #[test]
    fn frames_have_their_size_but_the_last() {
        let input: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        for (size, step) in [(1, 10), (7, 3), (300, 1_000), (1_000, 13), (5_000, 1)] {
            let frames = items(&input, step, Framing::Frames(size));
            assert_eq!(frames.concat(), input);
            assert!(frames.iter().rev().skip(1).all(|frame| frame.len() == size));
            assert_eq!(frames.len(), input.len().div_ceil(size));
        }
    }

    #[test]
    fn a_line_without_end_is_an_error_before_memory_ends() {
        let mut batches = read(io::repeat(b'x'), Framing::Lines).expect("a thread");
        let error = batches.blocking_recv().expect("an answer").unwrap_err();
        assert!(error.to_string().contains("--frames"), "{error}");
        assert!(batches.blocking_recv().is_none());
    }
}
