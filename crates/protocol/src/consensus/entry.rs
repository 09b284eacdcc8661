//! Entries of the log and their bytes.
//!
//! An entry's body is encoded once, by the leader that writes it, and travels and is stored as
//! those very bytes. Layout: version, kind, then what the kind says. Commands are framed one by
//! one inside the body, so that reading them shares its memory.

use {
    super::{
        config::limits,
        ids::{GroupKeyId, Lineage, LogIndex, Member, OpRun, Origin, PeerKey, Position, Term},
        membership::Membership,
        wire::{Reader, WireError, put_bytes, put_member, put_varint, varint_len},
    },
    bytes::{BufMut, Bytes, BytesMut},
    mosaik_primitives::time::UnixMillis,
};

/// Version of entry bodies written, and the only one read.
pub const ENTRY_VERSION: u8 = 1;

/// An entry as it is stored and sent: its place and its encoded body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub index: LogIndex,
    /// Term of the leader that wrote it.
    pub term: Term,
    /// An encoded [`EntryBody`].
    pub body: Bytes,
}

impl Entry {
    /// Its place together with its term.
    pub const fn position(&self) -> Position {
        Position::new(self.term, self.index)
    }

    /// Decodes the body.
    pub fn decode(&self) -> Result<EntryBody, WireError> {
        EntryBody::decode(self.body.clone())
    }
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryBody {
    /// Nothing: the first entry of a leader's term.
    Noop,
    /// Commands for the state machine.
    Commands(Commands),
    /// The membership from here on, in force as soon as it is in a member's log.
    Membership(Membership),
    /// The first entry of a lineage: who founded it and with whom.
    Genesis(Genesis),
    /// The last entry of a lineage: nothing is committed after it.
    Seal(Seal),
    /// A lineage continued by one survivor after its majority was lost for good.
    Recovery(Recovery),
}

/// Commands that stand next to each other, in the order they are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// The leader's wall clock when it wrote the entry; never less than in an earlier entry.
    pub time: UnixMillis,
    /// Operation ids of the commands, in order; their counts add up to the number of commands.
    pub runs: Vec<OpRun>,
    /// The number of commands.
    pub count: u32,
    /// The commands with their lengths in front.
    framed: Bytes,
}

/// The first entry of a lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The group.
    pub group: GroupKeyId,
    /// Who proposed it and starts as leader of term 1.
    pub founder: Member,
    /// Makes two attempts of one founder different lineages.
    pub nonce: u64,
    /// Everyone who was there.
    pub membership: Membership,
}

/// The last entry of a lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The lineage that ends. Another one that goes on from this log keeps the entry.
    pub lineage: Lineage,
    /// The lineage it gives way to.
    pub winner: Lineage,
}

/// One survivor goes on alone, under a new lineage that shares the old one's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The lineage whose majority was lost.
    pub parent: Lineage,
    /// The new one.
    pub lineage: Lineage,
    /// Who goes on.
    pub survivor: Member,
}

const NOOP: u8 = 0;
const COMMANDS: u8 = 1;
const MEMBERSHIP: u8 = 2;
const GENESIS: u8 = 3;
const SEAL: u8 = 4;
const RECOVERY: u8 = 5;

impl Commands {
    /// The commands, in order; each shares the entry's memory.
    pub fn iter(&self) -> impl Iterator<Item = Bytes> + use<> {
        let mut reader = Reader::new(self.framed.clone());
        (0..self.count).map(move |_| {
            reader
                .bytes("command", limits::ENTRY_BYTES)
                .expect("frames were checked when decoded")
        })
    }

    /// The operation id of each command, in order.
    pub fn ops(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.runs
            .iter()
            .flat_map(|run| (0..u64::from(run.count)).map(move |at| (run.origin, run.first + at)))
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let time = UnixMillis(reader.varint()?);
        let runs = get_runs(reader)?;
        let count = reader.count("commands", limits::ENTRY_COMMANDS, 1)?;
        if runs.iter().map(|run| run.count as usize).sum::<usize>() != count {
            return Err(WireError::Invalid("operation ids do not match commands"));
        }
        let framed = core::mem::replace(reader, Reader::new(Bytes::new())).into_rest();
        let mut frames = Reader::new(framed.clone());
        for _ in 0..count {
            frames.skip_bytes("command", limits::ENTRY_BYTES)?;
        }
        frames.finish()?;
        Ok(Self {
            time,
            runs,
            count: count as u32,
            framed,
        })
    }
}

/// The body of an entry of `commands` with these operation ids.
///
/// Panics when the counts differ or exceed [`limits::ENTRY_COMMANDS`]: callers have checked.
pub fn encode_commands<'c>(
    time: UnixMillis,
    runs: &[OpRun],
    commands: impl Iterator<Item = &'c Bytes> + Clone,
) -> Bytes {
    let (mut count, mut bytes) = (0, 0);
    for command in commands.clone() {
        count += 1;
        bytes += varint_len(command.len() as u64) + command.len();
    }
    assert!(
        count <= limits::ENTRY_COMMANDS,
        "an entry holds too many commands"
    );
    assert_eq!(
        runs.iter().map(|run| run.count as usize).sum::<usize>(),
        count
    );
    let mut buf = BytesMut::with_capacity(32 + runs.len() * 56 + bytes);
    buf.put_u8(ENTRY_VERSION);
    buf.put_u8(COMMANDS);
    put_varint(&mut buf, time.0);
    put_runs(&mut buf, runs);
    put_varint(&mut buf, count as u64);
    for command in commands {
        put_bytes(&mut buf, command);
    }
    buf.freeze()
}

pub(super) fn put_runs(buf: &mut BytesMut, runs: &[OpRun]) {
    put_varint(buf, runs.len() as u64);
    for run in runs {
        put_origin(buf, &run.origin);
        put_varint(buf, run.first);
        put_varint(buf, u64::from(run.count));
    }
}

pub(super) fn get_runs(reader: &mut Reader) -> Result<Vec<OpRun>, WireError> {
    let count = reader.count("runs", limits::ENTRY_RUNS, 43)?;
    (0..count)
        .map(|_| {
            let origin = get_origin(reader)?;
            let first = reader.varint()?;
            let count = reader.varint()?;
            if count == 0 || count > limits::ENTRY_COMMANDS as u64 {
                return Err(WireError::Invalid(
                    "a run of operations has an impossible length",
                ));
            }
            if first == 0 || first.checked_add(count).is_none() {
                return Err(WireError::Invalid(
                    "operation ids start at 1 and do not wrap",
                ));
            }
            Ok(OpRun {
                origin,
                first,
                count: count as u32,
            })
        })
        .collect()
}

pub(super) fn put_origin(buf: &mut BytesMut, origin: &Origin) {
    match origin {
        Origin::Member(member) => {
            buf.put_u8(0);
            put_member(buf, member);
        }
    }
}

pub(super) fn get_origin(reader: &mut Reader) -> Result<Origin, WireError> {
    match reader.u8()? {
        0 => Ok(Origin::Member(reader.member()?)),
        tag => Err(WireError::UnknownTag {
            what: "origin",
            tag,
        }),
    }
}

impl EntryBody {
    /// The bytes of this body.
    pub fn encode(&self) -> Bytes {
        let mut buf = BytesMut::new();
        buf.put_u8(ENTRY_VERSION);
        match self {
            Self::Noop => buf.put_u8(NOOP),
            Self::Commands(commands) => {
                buf.put_u8(COMMANDS);
                put_varint(&mut buf, commands.time.0);
                put_runs(&mut buf, &commands.runs);
                put_varint(&mut buf, u64::from(commands.count));
                buf.extend_from_slice(&commands.framed);
            }
            Self::Membership(membership) => {
                buf.put_u8(MEMBERSHIP);
                membership.encode(&mut buf);
            }
            Self::Genesis(genesis) => {
                buf.put_u8(GENESIS);
                buf.extend_from_slice(&genesis.group.0);
                put_member(&mut buf, &genesis.founder);
                buf.put_u64_le(genesis.nonce);
                genesis.membership.encode(&mut buf);
            }
            Self::Seal(seal) => {
                buf.put_u8(SEAL);
                buf.extend_from_slice(&seal.lineage.0);
                buf.extend_from_slice(&seal.winner.0);
            }
            Self::Recovery(recovery) => {
                buf.put_u8(RECOVERY);
                buf.extend_from_slice(&recovery.parent.0);
                buf.extend_from_slice(&recovery.lineage.0);
                put_member(&mut buf, &recovery.survivor);
            }
        }
        buf.freeze()
    }

    /// Reads what [`EntryBody::encode`] or [`encode_commands`] wrote. Commands share the memory
    /// of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        if bytes.len() > limits::ENTRY_BYTES {
            let (len, max) = (bytes.len() as u64, limits::ENTRY_BYTES as u64);
            return Err(WireError::TooLarge {
                what: "entry",
                len,
                max,
            });
        }
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            ENTRY_VERSION => {}
            version => return Err(WireError::UnknownVersion(version)),
        }
        let body = match reader.u8()? {
            NOOP => Self::Noop,
            COMMANDS => Self::Commands(Commands::decode(&mut reader)?),
            MEMBERSHIP => Self::Membership(Membership::decode(&mut reader)?),
            GENESIS => Self::Genesis(Genesis {
                group: GroupKeyId(reader.array()?),
                founder: reader.member()?,
                nonce: reader.u64_le()?,
                membership: Membership::decode(&mut reader)?,
            }),
            SEAL => Self::Seal(Seal {
                lineage: Lineage(reader.array()?),
                winner: Lineage(reader.array()?),
            }),
            RECOVERY => Self::Recovery(Recovery {
                parent: Lineage(reader.array()?),
                lineage: Lineage(reader.array()?),
                survivor: Member::new(PeerKey(reader.array()?), reader.u64_le()?),
            }),
            tag => return Err(WireError::UnknownTag { what: "entry", tag }),
        };
        reader.finish()?;
        Ok(body)
    }
}

impl Genesis {
    /// The lineage this genesis starts: a hash of everything it says.
    pub fn lineage(&self) -> Lineage {
        let bytes = EntryBody::Genesis(self.clone()).encode();
        let parts = [b"mosaik consensus lineage".as_slice(), bytes.as_ref()];
        Lineage(*mosaik_primitives::Digest::from_parts(&parts).as_bytes())
    }
}
