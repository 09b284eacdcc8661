//! How batches look in the journal: frames of one commit each, found again after a crash.
//!
//! A frame is written only after the one before it is durable. So the last frame may be torn and
//! nobody was told of it, while a frame that is missing before a whole one is damage. The checksum is
//! keyed with an id of the store: no payload can pass for a frame, and no other store's journal
//! for this one's.

use {
    super::record::{Reader, put_bytes},
    bytes::Bytes,
    mosaik_protocol::store::{
        Chunk, Entry, GroupId, Incarnation, Position, SnapshotMeta, WriteBatch,
    },
};

/// Frames begin at multiples of this, so that a search tries few places.
pub(super) const ALIGNMENT: usize = 64;
const CHECKSUM_LEN: usize = 8;
const MAGIC: [u8; 8] = *b"mosaikJ1";
pub(super) const HEADER_LEN: usize = CHECKSUM_LEN + MAGIC.len() + 8 + 8;

/// Drawn when a store is made.
pub(super) type StoreId = [u8; 16];

/// A frame that is being built.
#[derive(Debug)]
pub(super) struct FrameBuilder(Vec<u8>);

impl FrameBuilder {
    pub(super) fn new() -> Self {
        Self(vec![0; HEADER_LEN])
    }

    pub(super) fn clear(&mut self) {
        self.0.truncate(HEADER_LEN);
    }

    /// What the frame takes in the journal.
    pub(super) fn len(&self) -> u64 {
        self.0.len().next_multiple_of(ALIGNMENT) as u64
    }

    pub(super) fn push(&mut self, batch: &WriteBatch) {
        encode_batch(batch, &mut self.0);
    }

    /// The finished frame, padded to [`ALIGNMENT`].
    pub(super) fn finish(&mut self, id: &StoreId, sequence: u64) -> &[u8] {
        let frame = &mut self.0;
        let body_len = (frame.len() - HEADER_LEN) as u64;
        frame[8..16].copy_from_slice(&MAGIC);
        frame[16..24].copy_from_slice(&body_len.to_le_bytes());
        frame[24..32].copy_from_slice(&sequence.to_le_bytes());
        let sum = checksum(id, &frame[CHECKSUM_LEN..]);
        frame[..CHECKSUM_LEN].copy_from_slice(&sum);
        frame.resize(frame.len().next_multiple_of(ALIGNMENT), 0);
        frame
    }
}

fn checksum(id: &StoreId, bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(id).update(bytes);
    let mut sum = [0; CHECKSUM_LEN];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_LEN]);
    sum
}

/// A whole frame in a journal file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<'f> {
    pub(super) sequence: u64,
    pub(super) offset: usize,
    /// Where the next frame begins.
    pub(super) end: usize,
    pub(super) body: &'f [u8],
}

/// Every whole frame of a file, wherever it is.
pub(super) fn find_all<'f>(id: &StoreId, file: &'f [u8]) -> Vec<Found<'f>> {
    let mut found = Vec::new();
    let mut offset = 0;
    while offset + HEADER_LEN <= file.len() {
        match find(id, file, offset) {
            Some(frame) => {
                offset = frame.end;
                found.push(frame);
            }
            None => offset += ALIGNMENT,
        }
    }
    found
}

fn find<'f>(id: &StoreId, file: &'f [u8], offset: usize) -> Option<Found<'f>> {
    let frame = &file[offset..];
    if frame[8..16] != MAGIC {
        return None;
    }
    let number = |range: core::ops::Range<usize>| {
        u64::from_le_bytes(frame[range].try_into().expect("a range of eight bytes"))
    };
    let len = usize::try_from(number(16..24))
        .ok()?
        .checked_add(HEADER_LEN)?;
    let frame = frame.get(..len)?;
    let whole = checksum(id, &frame[CHECKSUM_LEN..]) == frame[..CHECKSUM_LEN];
    let end = offset + len.next_multiple_of(ALIGNMENT);
    let body = &frame[HEADER_LEN..];
    whole.then(|| Found {
        sequence: number(24..32),
        offset,
        end,
        body,
    })
}

const REMOVE: u8 = 1;
const CREATE: u8 = 1 << 1;
const HARD_STATE: u8 = 1 << 2;
const INSTALL: u8 = 1 << 3;
const TRUNCATE: u8 = 1 << 4;
const COMPACT: u8 = 1 << 5;

fn encode_batch(batch: &WriteBatch, out: &mut Vec<u8>) {
    out.extend_from_slice(batch.group.as_bytes());
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(
        flag(batch.remove, REMOVE)
            | flag(batch.create.is_some(), CREATE)
            | flag(batch.hard_state.is_some(), HARD_STATE)
            | flag(batch.install.is_some(), INSTALL)
            | flag(batch.truncate_from.is_some(), TRUNCATE)
            | flag(batch.compact_through.is_some(), COMPACT),
    );
    if let Some(Incarnation(incarnation)) = batch.create {
        out.extend_from_slice(&incarnation.to_le_bytes());
    }
    if let Some(hard_state) = &batch.hard_state {
        put_bytes(out, hard_state);
    }
    out.extend_from_slice(&(batch.stage.len() as u32).to_le_bytes());
    for chunk in &batch.stage {
        out.extend_from_slice(&chunk.number.to_le_bytes());
        put_bytes(out, &chunk.data);
    }
    if let Some(SnapshotMeta { last, chunks, meta }) = &batch.install {
        out.extend_from_slice(&last.index.to_le_bytes());
        out.extend_from_slice(&last.term.to_le_bytes());
        out.extend_from_slice(&chunks.to_le_bytes());
        put_bytes(out, meta);
    }
    if let Some(from) = batch.truncate_from {
        out.extend_from_slice(&from.to_le_bytes());
    }
    out.extend_from_slice(&(batch.append.len() as u32).to_le_bytes());
    for entry in &batch.append {
        out.extend_from_slice(&entry.index.to_le_bytes());
        out.extend_from_slice(&entry.term.to_le_bytes());
        put_bytes(out, &entry.payload);
    }
    if let Some(through) = batch.compact_through {
        out.extend_from_slice(&through.to_le_bytes());
    }
}

/// The batches of a frame.
pub(super) fn decode_batches(body: &[u8]) -> Result<Vec<WriteBatch>, &'static str> {
    let mut reader = Reader::new(body);
    let mut batches = Vec::new();
    while !reader.is_empty() {
        batches.push(decode_batch(&mut reader)?);
    }
    Ok(batches)
}

fn decode_batch(reader: &mut Reader<'_>) -> Result<WriteBatch, &'static str> {
    let mut batch = WriteBatch::new(GroupId::from_bytes(reader.array()?));
    let [flags] = reader.array()?;
    batch.remove = flags & REMOVE != 0;
    if flags & CREATE != 0 {
        batch.create = Some(Incarnation(reader.u64()?));
    }
    if flags & HARD_STATE != 0 {
        batch.hard_state = Some(reader.bytes()?);
    }
    for _ in 0..reader.u32()? {
        batch.stage.push(Chunk {
            number: reader.u32()?,
            data: reader.bytes()?,
        });
    }
    if flags & INSTALL != 0 {
        let last: Position = reader.position()?;
        let (chunks, meta): (u32, Bytes) = (reader.u32()?, reader.bytes()?);
        batch.install = Some(SnapshotMeta { last, chunks, meta });
    }
    if flags & TRUNCATE != 0 {
        batch.truncate_from = Some(reader.u64()?);
    }
    for _ in 0..reader.u32()? {
        let Position { index, term } = reader.position()?;
        batch.append.push(Entry {
            index,
            term,
            payload: reader.bytes()?,
        });
    }
    if flags & COMPACT != 0 {
        batch.compact_through = Some(reader.u64()?);
    }
    Ok(batch)
}
