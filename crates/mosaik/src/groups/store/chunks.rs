//! A state in the node's store: written and read as a stream, kept in chunks.
//!
//! Written chunks wait in the group's staging area, where nobody reads them, until the driver
//! installs them with what the core has to know of them, in one step. Both sides may block.

use {
    super::super::cursor::Cursor,
    bytes::{Bytes, BytesMut},
    mosaik_primitives::Digest,
    mosaik_storage::{LogStore, StoreError, WriteBatch},
    std::io::{self, Read, Write},
};

/// Bytes of one chunk, and so what a state costs in memory while it is written or read.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 17;

/// What a store holds of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Chunks, numbered from 0.
    pub(crate) chunks: u32,
    /// Bytes in them.
    pub(crate) bytes: u64,
}

/// Writes a state into the staging area of a group.
///
/// Whoever writes is the only one that stages for the group.
#[derive(Debug)]
pub(crate) struct ChunkWriter<'s, S> {
    store: &'s mut S,
    group: Digest,
    next: u32,
    bytes: u64,
    buffer: BytesMut,
    failed: Option<StoreError>,
}

impl<'s, S: LogStore> ChunkWriter<'s, S> {
    /// Starts a state that holds the effect of the commands up to `position`.
    pub(crate) fn new(store: &'s mut S, group: Digest, position: Cursor) -> Self {
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES.min(4 << 10));
        buffer.extend_from_slice(&[VERSION]);
        buffer.extend_from_slice(&u64::from(position.term()).to_le_bytes());
        buffer.extend_from_slice(&u64::from(position.index()).to_le_bytes());
        Self {
            store,
            group,
            next: 0,
            bytes: 0,
            buffer,
            failed: None,
        }
    }

    /// Stages what is left; nothing is missing when this succeeds.
    pub(crate) fn finish(mut self) -> Result<Saved, StoreError> {
        if let Some(error) = self.failed.take() {
            // Whoever wrote may have gone on as if nothing were.
            return Err(error);
        }
        if !self.buffer.is_empty() {
            self.stage()?;
        }
        Ok(Saved {
            chunks: self.next,
            bytes: self.bytes,
        })
    }

    /// Why writing has failed, if it was the store.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.failed.clone()
    }

    fn stage(&mut self) -> Result<(), StoreError> {
        let data = self.buffer.split().freeze();
        let bytes = data.len() as u64;
        let batch = WriteBatch::new(self.group).stage(self.next, data);
        self.store.write(batch)?;
        self.next += 1;
        self.bytes += bytes;
        Ok(())
    }
}

impl<S: LogStore> Write for ChunkWriter<'_, S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(io::Error::other(error.clone()));
        }
        let taken = data.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&data[..taken]);
        if self.buffer.len() == CHUNK_BYTES
            && let Err(error) = self.stage()
        {
            self.failed = Some(error.clone());
            return Err(io::Error::other(error));
        }
        Ok(taken)
    }

    /// Nothing: only a state that is finished is of any use.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the state that is installed for a group.
#[derive(Debug)]
pub(crate) struct ChunkReader<'s, S> {
    store: &'s mut S,
    group: Digest,
    next: u32,
    chunks: u32,
    chunk: Bytes,
}

impl<'s, S: LogStore> ChunkReader<'s, S> {
    /// Starts to read a state of so many chunks; says up to which command it holds the effect.
    pub(crate) fn new(store: &'s mut S, group: Digest, chunks: u32) -> io::Result<(Self, Cursor)> {
        let mut this = Self {
            store,
            group,
            next: 0,
            chunks,
            chunk: Bytes::new(),
        };
        let mut header = [0; HEADER_BYTES];
        this.read_exact(&mut header)?;
        if header[0] != VERSION {
            let what = format!("a stored state of the unknown version {}", header[0]);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let position = Cursor::new(number(1).into(), number(9).into());
        Ok((this, position))
    }
}

impl<S: LogStore> Read for ChunkReader<'_, S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && self.next < self.chunks {
            let chunk = self.store.chunk(self.group, self.next);
            self.chunk = chunk.map_err(io::Error::other)?.ok_or_else(|| {
                let what = format!("chunk {} of a stored state is missing", self.next);
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?;
            self.next += 1;
        }
        let taken = out.len().min(self.chunk.len());
        out[..taken].copy_from_slice(&self.chunk.split_to(taken));
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        mosaik_storage::{Incarnation, MemoryStore, Position, SnapshotMeta},
    };

    fn group() -> Digest {
        Digest::hash(b"group")
    }

    fn install(store: &mut MemoryStore, chunks: u32) -> Result<(), StoreError> {
        store.write(WriteBatch::new(group()).install(SnapshotMeta {
            last: Position { index: 7, term: 1 },
            chunks,
            meta: Bytes::new(),
        }))
    }

    #[test]
    fn a_state_is_read_as_it_was_written_whatever_its_size() {
        let position = Cursor::new(3.into(), 70.into());
        let sizes = [0, 1, CHUNK_BYTES - HEADER_BYTES, CHUNK_BYTES, 3_333_333];
        for (size, chunks) in sizes.into_iter().zip([1, 1, 1, 2, 4]) {
            let mut store = MemoryStore::default();
            store.open(group(), Incarnation(1)).expect("opened");
            let state: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let mut writer = ChunkWriter::new(&mut store, group(), position);
            for piece in state.chunks(77_777) {
                writer.write_all(piece).expect("written");
            }
            let saved = writer.finish().expect("finished");
            assert_eq!((saved.chunks, saved.bytes), (chunks, (size + 17) as u64));
            install(&mut store, saved.chunks).expect("installed");
            let (mut reader, at) = ChunkReader::new(&mut store, group(), chunks).expect("a header");
            let mut read = Vec::new();
            reader.read_to_end(&mut read).expect("read");
            assert!(read == state && at == position, "{size}");
        }
    }

    #[test]
    fn a_store_that_fails_is_not_taken_for_one_that_has_the_state() {
        // A group that the store does not know takes no chunks.
        let mut store = MemoryStore::default();
        let mut writer = ChunkWriter::new(&mut store, group(), Cursor::zero());
        let data = vec![0; 2 * CHUNK_BYTES];
        assert!(writer.write_all(&data).is_err());
        assert!(writer.write(&data[..1]).is_err() && writer.failure().is_some());
        assert!(writer.finish().is_err());
    }

    #[test]
    fn a_state_that_is_not_all_there_is_an_error() {
        let mut store = MemoryStore::default();
        store.open(group(), Incarnation(1)).expect("opened");
        assert!(ChunkReader::new(&mut store, group(), 0).is_err());
        let mut writer = ChunkWriter::new(&mut store, group(), Cursor::zero());
        writer.write_all(&[1; 100]).expect("written");
        let chunks = writer.finish().expect("finished").chunks;
        install(&mut store, chunks).expect("installed");
        let (mut reader, _) = ChunkReader::new(&mut store, group(), chunks + 1).expect("a header");
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
}
