//! Everything a member can be told, and everything it can ask for.
//!
//! The driver's contract, in full:
//!
//! - [`Input`]s are handed over one at a time; outputs are carried out in order.
//! - A message is handed to the transport as soon as it comes out: whatever it depends on is
//!   stored already. The core keeps back what is not.
//! - [`Output::Persist`] is stored in order and confirmed with [`Input::Persisted`], for which
//!   confirming the latest is enough. A crash may leave any prefix of the writes. When storing
//!   fails, [`Input::StorageFailed`] ends the member; there is no second try.
//! - `Core::next_deadline` says when [`Input::Tick`] is due. Early and late ticks are
//!   harmless.
//! - Nothing told here about connections or discovery is ever an input to quorum. It speeds up
//!   formation and elections.

use {
    super::{
        entry::Entry,
        ids::{Index, Lineage, LogIndex, Member, PeerKey, Position, Term, Token},
        membership::Membership,
        message::Message,
        state::SnapshotMeta,
    },
    bytes::Bytes,
    mosaik_primitives::time::UnixMillis,
};

/// The driver's name for a proposal; it comes back with the outcome. Names of proposals that
/// have no outcome yet must differ.
pub type ProposalId = u64;
/// The driver's name for a strong read; it comes back with the outcome.
pub type ReadId = u64;

/// Commands to be applied next to each other, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The driver's name for it.
    pub id: ProposalId,
    /// The commands; at least one.
    pub commands: Vec<Bytes>,
}

/// What a member can be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// Time has passed.
    Tick,
    /// What the wall clock shows now. Stamps commands when this member leads; never decides
    /// anything. Said at the start and now and then.
    Clock(UnixMillis),
    /// A message came from the peer it names as its sender; the driver has verified that.
    Receive(Message),
    /// Everything up to this token is stored.
    Persisted(Token),
    /// The store has failed; the member stops.
    StorageFailed,
    /// Commands to apply. Proposals handed over together share an entry.
    Propose(Vec<Proposal>),
    /// A strong read.
    Read(ReadId),
    /// The state machine has applied the log up to here.
    Applied(LogIndex),
    /// Answer to [`Output::Fetch`], one to each: entries from `from` on, without gaps. None: the
    /// store does not hold `from`.
    Fetched {
        /// Index asked for.
        from: LogIndex,
        /// What the store holds there.
        entries: Vec<Entry>,
    },
    /// A snapshot with the meta that `Core::snapshot_meta` gave is stored durably. The
    /// log may be cut up to `upto`, which is at most the snapshot's last index.
    SnapshotTaken {
        /// What the snapshot covers.
        meta: SnapshotMeta,
        /// Up to where entries are not needed any more.
        upto: LogIndex,
    },
    /// The snapshot asked for with [`Output::FetchSnapshot`] is stored durably, with its meta,
    /// and is the state machine's state now. Nothing happens when `Core::wants_snapshot` says that
    /// it is not wanted any more.
    SnapshotInstalled(Position),
    /// It cannot be had now.
    SnapshotFailed(Position),
    /// A link to this peer, on which both sides have proven the group's key, is up.
    LinkUp(PeerKey),
    /// The last link to this peer is lost, or the group has ended there.
    LinkDown(PeerKey),
    /// The peers, other than this node, that discovery shows in this group. Speeds formation up.
    Discovered(Vec<PeerKey>),
    /// Hand leadership to this member, or to the best one. Nothing happens at a member that does
    /// not lead.
    Transfer(Option<Member>),
    /// Leave the group for good: hand over leadership, commit the own removal, then
    /// [`Event::Left`].
    Leave,
    /// The majority is lost for good and this member shall go on alone, under a new lineage.
    /// Dangerous: commits that only the lost majority knew are lost.
    Recover,
}

/// One step for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Write {
    /// Replaces the hard state by these bytes ([`super::HardState`]).
    HardState(Bytes),
    /// Removes entries from this index on.
    Truncate(LogIndex),
    /// Appends entries, without a gap to what is there.
    Append(Vec<Entry>),
    /// Empties the log; the next entry follows this position. At [`Position::ZERO`] nothing is
    /// kept, no snapshot either: the member belongs to another lineage from now on, or to none.
    Reset(Position),
    /// Removes entries up to and including this index. A snapshot covers them.
    Compact(LogIndex),
}

/// What a member asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Output {
    /// Send this to the peer it names. May be dropped when there is no link.
    Send(Message),
    /// Store these, in order.
    Persist {
        /// To be confirmed.
        token: Token,
        /// What to store.
        writes: Vec<Write>,
    },
    /// These entries are committed: apply them. Without gaps, and each once in a run of the
    /// process, except that a snapshot installed replaces what came before.
    Apply(Vec<CommittedEntry>),
    /// Read entries from the store and answer with [`Input::Fetched`].
    Fetch {
        /// The first wanted.
        from: LogIndex,
        /// The last wanted; fewer may be given, at least one if the store has it.
        upto: LogIndex,
        /// Bytes wanted at most, unless the first alone is larger.
        max_bytes: usize,
    },
    /// Get the state machine's data for this snapshot, from `source` or whoever has it, store it
    /// together with the meta, make it the state machine's state, and say so with
    /// [`Input::SnapshotInstalled`]; but only if [`super::Core::wants_snapshot`] says at that
    /// moment that it is still wanted.
    FetchSnapshot {
        /// What it covers.
        meta: Box<SnapshotMeta>,
        /// The leader that offered it.
        source: Member,
    },
    /// What became of a proposal.
    Proposal(ProposalId, Outcome),
    /// What became of a strong read.
    Read(ReadId, ReadOutcome),
    /// Something the driver may want to show.
    Event(Event),
}

/// An entry handed out to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedEntry {
    /// The entry.
    pub entry: Entry,
    /// Commands before it: the number of its first command is the one after.
    pub before: Index,
    /// Commands in it; 0 for entries that concern the core alone.
    pub count: u32,
}

/// What became of a proposal. [`Outcome::Accepted`] may come first; exactly one of the others
/// comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A leader gave the first command this index. Holds unless that leader is deposed before it
    /// commits.
    Accepted {
        /// Index of the first command.
        first: Index,
        /// The leader's term.
        term: Term,
    },
    /// Committed. Comes after the [`Output::Apply`] that holds it.
    Committed {
        /// Index of the first command.
        first: Index,
    },
    /// Surely not applied, now or ever.
    NotDone(NotDone),
    /// It cannot be known now whether it is or will be applied.
    Unknown,
}

/// Why a proposal was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotDone {
    /// There was no leader to take it within the time allowed.
    Offline,
    /// It has no commands, too many, or too many bytes.
    Size,
    /// Too much is waiting already.
    Overloaded,
    /// The member has stopped or left.
    Stopped,
}

/// What became of a strong read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadOutcome {
    /// The state machine may answer once it has applied the log up to here; the [`Output::Apply`]
    /// that leads there came before.
    Ready(LogIndex),
    /// No leader confirmed in time.
    Offline,
    /// Too many reads are waiting already.
    Overloaded,
}

/// What happened to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Another leader, or none, or a new term.
    Leader {
        /// Who leads.
        leader: Option<Member>,
        /// In which term.
        term: Term,
    },
    /// The membership in force changed.
    Membership(Membership),
    /// The member belongs to this lineage from now on.
    Lineage(Lineage),
    /// This member goes on from its log in a lineage of its own: it was told to
    /// ([`Input::Recover`]), or its lineage gave way to one that is not heard of any more. The
    /// state machine stays as it is. [`Event::Lineage`] follows.
    Continued {
        /// The lineage left.
        from: Lineage,
        /// The lineage that starts where the other one's log ended.
        into: Lineage,
    },
    /// This lineage gives way to another: nothing will be committed in it any more.
    Sealed {
        /// The lineage that ends.
        lineage: Lineage,
        /// The one that goes on.
        winner: Lineage,
        /// Commands committed in the one that ends.
        commands: Index,
    },
    /// This member has left a lineage that gave way; the state machine starts anew.
    Merged {
        /// The lineage left.
        from: Lineage,
        /// The lineage to join.
        into: Lineage,
        /// Commands that were committed in the lineage left.
        commands: Index,
        /// Of these, how many this member proposed to the other lineage.
        resubmitted: u64,
        /// Of these, how many were not proposed because the policy is to discard them.
        dropped: u64,
    },
    /// Another lineage of the group was met, and this one stays apart: the policy says so, or
    /// neither can give way, because of both only a snapshot has the effect of the first commands.
    /// Somebody has to decide, by starting one side's members with [`super::MergePolicy::Discard`].
    Apart(Lineage),
    /// The other members removed this one. It asks to be taken back.
    Removed,
    /// This member has left the group, as asked.
    Left,
    /// A peer sent something that no correct member sends; it was ignored.
    Violation {
        /// Who.
        peer: PeerKey,
        /// What.
        what: &'static str,
    },
    /// The member has stopped and does nothing any more.
    Stopped(&'static str),
}

/// Where outputs are put. Reused between calls to save allocations.
pub type Outputs = Vec<Output>;
