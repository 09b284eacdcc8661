//! How records look in the file: a checksum, then little-endian fields.
//!
//! The checksum covers the record's key too, so that a record read in another's place is damage.
//! It finds decay, not malice: 8 bytes of blake3, without a key.

use {
    super::frame::StoreId,
    bytes::Bytes,
    mosaik_protocol::store::{Entry, GroupId, GroupState, Incarnation, Position, SnapshotMeta},
};

/// Format of the file as a whole, and of every record in it.
pub(super) const FORMAT: u16 = 1;
const CHECKSUM_LEN: usize = 8;

/// Names the records of one log or of one set of chunks. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Space(pub(super) u64);

/// Key of a record: the space, then a log index or a chunk number.
pub(super) type RecordKey = (u64, u64);

/// A group as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupRecord {
    pub(super) state: GroupState,
    pub(super) log: Space,
    pub(super) chunks: Space,
    pub(super) staging: Space,
}

/// What the file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct NodeRecord {
    /// The next space that was never used.
    pub(super) next_space: u64,
    /// The last commit of the journal that the tables hold.
    pub(super) applied: u64,
    /// Tells the journal of this store from others.
    pub(super) id: StoreId,
    /// Size of a journal file.
    pub(super) journal_bytes: u64,
}

/// Records that no group uses any more and that are yet to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbage {
    pub(super) space: Space,
    pub(super) through: u64,
}

pub(super) const NODE_KEY: &[u8] = b"node";
const GROUP_PREFIX: u8 = b'g';
const GARBAGE_PREFIX: u8 = b'x';

pub(super) fn group_key(group: &GroupId) -> [u8; 33] {
    let mut key = [GROUP_PREFIX; 33];
    key[1..].copy_from_slice(group.as_bytes());
    key
}

/// All group keys lie in this range.
pub(super) const GROUP_KEYS: core::ops::Range<&[u8]> = b"g".as_slice()..b"h".as_slice();
/// All garbage keys lie in this range.
pub(super) const GARBAGE_KEYS: core::ops::Range<&[u8]> = b"x".as_slice()..b"y".as_slice();

pub(super) fn group_of_key(key: &[u8]) -> Option<GroupId> {
    let (&GROUP_PREFIX, id) = key.split_first()? else {
        return None;
    };
    Some(GroupId::from_bytes(id.try_into().ok()?))
}

/// Garbage of one space is one range that begins at 0, so that a second compaction of the same
/// log widens it.
pub(super) fn garbage_key(space: Space) -> [u8; 9] {
    let mut key = [GARBAGE_PREFIX; 9];
    key[1..].copy_from_slice(&space.0.to_be_bytes());
    key
}

fn checksum(key: &[u8], body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key).update(body);
    let mut sum = [0; CHECKSUM_LEN];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_LEN]);
    sum
}

fn key_bytes((space, number): RecordKey) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&space.to_le_bytes());
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Puts the checksum in front of `parts`, in the buffer `out` that is reused between records.
fn seal<'o>(key: &[u8], parts: &[&[u8]], out: &'o mut Vec<u8>) -> &'o [u8] {
    out.clear();
    out.extend_from_slice(&[0; CHECKSUM_LEN]);
    for part in parts {
        out.extend_from_slice(part);
    }
    let sum = checksum(key, &out[CHECKSUM_LEN..]);
    out[..CHECKSUM_LEN].copy_from_slice(&sum);
    out
}

fn unseal<'v>(key: &[u8], value: &'v [u8]) -> Result<&'v [u8], &'static str> {
    let (sum, body) = value
        .split_at_checked(CHECKSUM_LEN)
        .ok_or("record too short")?;
    if checksum(key, body) == sum {
        Ok(body)
    } else {
        Err("checksum does not match")
    }
}

/// A record of any body, as if it had been written.
#[cfg(fuzzing)]
pub(super) fn reseal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    seal(key, &[body], &mut out);
    out
}

pub(super) fn encode_entry<'o>(space: Space, entry: &Entry, out: &'o mut Vec<u8>) -> &'o [u8] {
    let key = key_bytes((space.0, entry.index));
    seal(&key, &[&entry.term.to_le_bytes(), &entry.payload], out)
}

/// Term and payload of an entry.
pub(super) fn decode_entry(key: RecordKey, value: &[u8]) -> Result<(u64, &[u8]), &'static str> {
    let mut body = Reader(unseal(&key_bytes(key), value)?);
    Ok((body.u64()?, body.0))
}

pub(super) fn encode_chunk<'o>(key: RecordKey, data: &[u8], out: &'o mut Vec<u8>) -> &'o [u8] {
    seal(&key_bytes(key), &[data], out)
}

pub(super) fn decode_chunk(key: RecordKey, value: &[u8]) -> Result<&[u8], &'static str> {
    unseal(&key_bytes(key), value)
}

pub(super) fn encode_node(node: NodeRecord, out: &mut Vec<u8>) -> &[u8] {
    let NodeRecord {
        next_space,
        applied,
        id,
        journal_bytes,
    } = node;
    let numbers = [next_space, applied, journal_bytes].map(u64::to_le_bytes);
    let [next_space, applied, journal_bytes] = &numbers;
    seal(
        NODE_KEY,
        &[
            &FORMAT.to_le_bytes(),
            next_space,
            applied,
            journal_bytes,
            &id,
        ],
        out,
    )
}

/// The format, and the record when it is the known one.
pub(super) fn decode_node(value: &[u8]) -> Result<(u16, Option<NodeRecord>), &'static str> {
    let mut body = Reader(unseal(NODE_KEY, value)?);
    let format = body.u16()?;
    if format != FORMAT {
        return Ok((format, None));
    }
    let [next_space, applied, journal_bytes] = [body.u64()?, body.u64()?, body.u64()?];
    let node = NodeRecord {
        next_space,
        applied,
        id: body.array()?,
        journal_bytes,
    };
    body.end()?;
    Ok((format, Some(node)))
}

pub(super) fn encode_garbage(garbage: Garbage, out: &mut Vec<u8>) -> &[u8] {
    seal(
        &garbage_key(garbage.space),
        &[&garbage.through.to_le_bytes()],
        out,
    )
}

pub(super) fn decode_garbage(key: &[u8], value: &[u8]) -> Result<Garbage, &'static str> {
    let space = key
        .get(1..)
        .and_then(|space| space.try_into().ok())
        .ok_or("key too short")?;
    let mut body = Reader(unseal(key, value)?);
    let garbage = Garbage {
        space: Space(u64::from_be_bytes(space)),
        through: body.u64()?,
    };
    body.end()?;
    Ok(garbage)
}

pub(super) fn encode_group<'o>(
    group: &GroupId,
    record: &GroupRecord,
    out: &'o mut Vec<u8>,
) -> &'o [u8] {
    let GroupRecord {
        state,
        log,
        chunks,
        staging,
    } = record;
    let mut fixed = Vec::with_capacity(96);
    let numbers = [
        state.incarnation.0,
        log.0,
        chunks.0,
        staging.0,
        state.base.index,
        state.base.term,
        state.last.index,
        state.last.term,
    ];
    for number in numbers {
        fixed.extend_from_slice(&number.to_le_bytes());
    }
    fixed.extend_from_slice(&state.staged.to_le_bytes());
    put_optional(&mut fixed, state.hard_state.as_ref());
    put_optional(
        &mut fixed,
        state.snapshot.as_ref().map(|snapshot| &snapshot.meta),
    );
    if let Some(snapshot) = &state.snapshot {
        fixed.extend_from_slice(&snapshot.last.index.to_le_bytes());
        fixed.extend_from_slice(&snapshot.last.term.to_le_bytes());
        fixed.extend_from_slice(&snapshot.chunks.to_le_bytes());
    }
    seal(&group_key(group), &[&fixed], out)
}

pub(super) fn decode_group(group: &GroupId, value: &[u8]) -> Result<GroupRecord, &'static str> {
    let mut body = Reader(unseal(&group_key(group), value)?);
    let incarnation = Incarnation(body.u64()?);
    let [log, chunks, staging] = [Space(body.u64()?), Space(body.u64()?), Space(body.u64()?)];
    let [base, last] = [body.position()?, body.position()?];
    let staged = body.u32()?;
    let hard_state = body.optional()?;
    let snapshot = match body.optional()? {
        None => None,
        Some(meta) => Some(SnapshotMeta {
            last: body.position()?,
            chunks: body.u32()?,
            meta,
        }),
    };
    body.end()?;
    let state = GroupState {
        incarnation,
        hard_state,
        snapshot,
        staged,
        base,
        last,
    };
    Ok(GroupRecord {
        state,
        log,
        chunks,
        staging,
    })
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    out.push(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        put_bytes(out, bytes);
    }
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Takes fields off the front of a record.
pub(super) struct Reader<'v>(&'v [u8]);

impl<'v> Reader<'v> {
    pub(super) const fn new(record: &'v [u8]) -> Self {
        Self(record)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, &'static str> {
        let len = usize::try_from(self.u64()?).map_err(|_| "length out of range")?;
        self.take(len).map(Bytes::copy_from_slice)
    }

    fn take(&mut self, len: usize) -> Result<&'v [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("record too short")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)
            .map(|bytes| bytes.try_into().expect("as many bytes as were asked for"))
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, &'static str> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, &'static str> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn position(&mut self) -> Result<Position, &'static str> {
        Ok(Position {
            index: self.u64()?,
            term: self.u64()?,
        })
    }

    fn optional(&mut self) -> Result<Option<Bytes>, &'static str> {
        match self.array()? {
            [0] => Ok(None),
            [1] => self.bytes().map(Some),
            [_] => Err("neither absent nor present"),
        }
    }

    fn end(&self) -> Result<(), &'static str> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err("record too long")
        }
    }
}
