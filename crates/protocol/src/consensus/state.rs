//! What outlives a member's process: its hard state, and what a snapshot must carry besides the
//! state machine's own data.

use {
    super::{
        ids::{Index, Lineage, LogIndex, Member, PeerKey, Position, Term},
        membership::Membership,
        window::Window,
        wire::{Reader, WireError, put_member, put_option_member, put_position, put_varint},
    },
    bytes::{BufMut, Bytes, BytesMut},
    mosaik_primitives::time::UnixMillis,
};

const HARD_STATE_VERSION: u8 = 1;
const SNAPSHOT_VERSION: u8 = 1;

/// What a member must not forget, besides its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The member this node is; a node that finds no hard state becomes a new one.
    pub member: Member,
    /// The lineage it belongs to; [`Lineage::NONE`] while it belongs to none. A log that is
    /// found next to no lineage is left over and not used.
    pub lineage: Lineage,
    /// The latest term it has seen in that lineage.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<Member>,
    /// How often it started; makes operation ids of different runs differ.
    pub starts: u64,
    /// An index up to which the log was known to be committed, and was stored before this. May lag.
    pub commit: LogIndex,
    /// The entry with which this lineage began here, when this member went on from the log of
    /// another one, and which that was. The entry is written right after the hard state; a member
    /// that finds this without it writes it again.
    pub continued: Option<(LogIndex, Lineage)>,
}

impl HardState {
    /// The bytes to store.
    pub fn encode(&self) -> Bytes {
        let mut buf = BytesMut::with_capacity(160);
        buf.put_u8(HARD_STATE_VERSION);
        put_member(&mut buf, &self.member);
        buf.extend_from_slice(&self.lineage.0);
        put_varint(&mut buf, self.term.0);
        put_option_member(&mut buf, self.vote.as_ref());
        put_varint(&mut buf, self.starts);
        put_varint(&mut buf, self.commit.0);
        let (index, parent) = self.continued.unwrap_or_default();
        put_varint(&mut buf, index.0);
        if !index.is_zero() {
            buf.extend_from_slice(&parent.0);
        }
        buf.freeze()
    }

    /// Reads what [`HardState::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            HARD_STATE_VERSION => {}
            version => return Err(WireError::UnknownVersion(version)),
        }
        let mut state = Self {
            member: Member::new(PeerKey(reader.array()?), reader.u64_le()?),
            lineage: Lineage(reader.array()?),
            term: Term(reader.varint()?),
            vote: reader.option_member()?,
            starts: reader.varint()?,
            commit: LogIndex(reader.varint()?),
            continued: None,
        };
        let index = LogIndex(reader.varint()?);
        if !index.is_zero() {
            state.continued = Some((index, Lineage(reader.array()?)));
        }
        reader.finish()?;
        Ok(state)
    }
}

/// What a snapshot carries besides the state machine's data: everything the core would know had
/// it read the log up to there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry the snapshot covers.
    pub last: Position,
    /// Commands applied up to there.
    pub commands: Index,
    /// Committed time of the latest command.
    pub time: UnixMillis,
    /// The membership in force there.
    pub membership: Membership,
    /// Operations known to be applied.
    pub window: Window,
}

impl SnapshotMeta {
    /// The bytes to store and to send.
    pub fn encode(&self) -> Bytes {
        let mut buf = BytesMut::new();
        buf.put_u8(SNAPSHOT_VERSION);
        put_position(&mut buf, self.last);
        put_varint(&mut buf, self.commands.0);
        put_varint(&mut buf, self.time.0);
        self.membership.encode(&mut buf);
        self.window.encode(&mut buf);
        buf.freeze()
    }

    /// Reads what [`SnapshotMeta::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            SNAPSHOT_VERSION => {}
            version => return Err(WireError::UnknownVersion(version)),
        }
        let meta = Self {
            last: reader.position()?,
            commands: Index(reader.varint()?),
            time: UnixMillis(reader.varint()?),
            membership: Membership::decode(&mut reader)?,
            window: Window::decode(&mut reader)?,
        };
        reader.finish()?;
        Ok(meta)
    }
}
