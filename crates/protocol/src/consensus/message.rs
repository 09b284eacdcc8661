//! What members say to each other.
//!
//! Every message names its lineage, both members with their incarnations, and the sender's term.
//! What does not fit the receiver's lineage or incarnation is ignored or answered, never obeyed.
//! A message may be lost, duplicated, delayed and reordered.

use super::{
    entry::Entry,
    ids::{GroupKeyId, Index, Lineage, LogIndex, Member, OpRun, Position, Term},
    membership::Preference,
    state::SnapshotMeta,
};
use bytes::Bytes;

/// A message of one member to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's lineage; [`Lineage::NONE`] while it has none. A [`Body::Genesis`] names the
    /// lineage it proposes.
    pub lineage: Lineage,
    /// Who says it.
    pub from: Member,
    /// To whom. Other incarnations of the same peer ignore it.
    pub to: Member,
    /// The sender's term in its lineage.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// Who I am, in which lineage, and whom I see. The only message that crosses lineages
    /// besides [`Body::Resubmit`].
    Hello(Box<Hello>),
    /// The sender founds the lineage named in the envelope; the body is an encoded
    /// [`super::EntryBody::Genesis`], which becomes the first entry.
    Genesis(Bytes),
    /// Whether the genesis was taken and is stored. A grant is a vote in term 1.
    GenesisAnswer {
        /// Taken and stored.
        granted: bool,
    },
    /// Asks for `member` to be made a member. Goes to the leader; others pass it on.
    Join {
        /// Who wants to join; the sender, or whom it passes on.
        member: Member,
        /// What it wants to be.
        preference: Preference,
    },
    /// Asks for `member` to be removed. Goes to the leader; others pass it on.
    Leave {
        /// Who wants to leave.
        member: Member,
    },
    /// The receiver is no member of the sender's lineage (any more).
    Removed,
    /// Would you vote for me in the term after mine? Changes nothing at the receiver.
    PreVote {
        /// End of the sender's log.
        last: Position,
    },
    /// Answer to [`Body::PreVote`].
    PreVoteAnswer {
        /// The term asked for.
        term: Term,
        /// Would.
        granted: bool,
    },
    /// Vote for me in the envelope's term.
    Vote {
        /// End of the sender's log.
        last: Position,
        /// The leader told the sender to stand, so that its being alive is no objection.
        transfer: bool,
    },
    /// Answer to [`Body::Vote`], for the envelope's term.
    VoteAnswer {
        /// Voted, and stored.
        granted: bool,
    },
    /// Entries that follow `prev`.
    Append {
        /// The entry before the first.
        prev: Position,
        /// The leader's commit index.
        commit: LogIndex,
        /// The entries, without gaps.
        entries: Vec<Entry>,
    },
    /// The receiver's log holds the leader's log up to `matched`, stored.
    AppendAck {
        /// The last entry known to be the leader's and stored.
        matched: LogIndex,
    },
    /// The receiver's log does not hold `prev`.
    AppendReject {
        /// Index of the `prev` that was refused.
        prev: LogIndex,
        /// Where the two logs may meet: the last place of the receiver's log, at or before
        /// `prev`, whose term does not exceed `prev`'s.
        hint: Position,
    },
    /// The leader is alive.
    Heartbeat {
        /// The leader's commit index, as far as the receiver's log is known to match.
        commit: LogIndex,
        /// Number of this round; an answer shows that the sender was leader when it was sent.
        round: u64,
        /// There is nothing to do: fall silent once this is answered.
        quiesce: bool,
    },
    /// Answer to [`Body::Heartbeat`].
    HeartbeatAck {
        /// The round answered.
        round: u64,
        /// How far the sender's log, stored or not, is known to be the leader's: shows losses.
        matched: LogIndex,
        /// How far it is stored: counts like an [`Body::AppendAck`].
        stored: LogIndex,
        /// The receiver fell silent.
        quiesced: bool,
    },
    /// The receiver lags behind the leader's log: it must fetch this snapshot's data, by means
    /// of its driver, from the leader or whoever has it.
    Snapshot(Box<SnapshotMeta>),
    /// Commands for the leader to append, in the sender's order.
    Forward(Forward),
    /// What became of forwarded commands.
    ForwardAnswer(ForwardAnswer),
    /// Up to where must I have applied to answer a strong read?
    ReadIndex {
        /// Number given by the sender, growing.
        seq: u64,
    },
    /// Answer to [`Body::ReadIndex`], after a majority confirmed the sender's leadership.
    ReadIndexAnswer {
        /// The number asked with.
        seq: u64,
        /// Where to read; `None`: not now.
        index: Option<LogIndex>,
    },
    /// Stand for election at once.
    TimeoutNow,
    /// Are you there? Sent to a leader whose heartbeat is late; wakes a silent one.
    Ping,
    /// Yes.
    Pong,
    /// Commands that another lineage had committed and that are to be applied here, once.
    Resubmit(Resubmit),
    /// How far a batch of another lineage's commands is in this one.
    ResubmitAnswer {
        /// The lineage they come from.
        lineage: Lineage,
        /// Whether the answer is the leader's; otherwise only `leader` means something.
        leading: bool,
        /// Whom to ask instead.
        leader: Option<Member>,
        /// The batch, by the index of its last command in its own lineage.
        upto: Index,
        /// All of it is in the leader's log.
        taken: bool,
        /// All of it is committed.
        committed: bool,
    },
    /// Passed on to the leader: a member of another lineage said this.
    Foreign {
        /// Who.
        member: Member,
        /// Of which lineage.
        lineage: Lineage,
        /// What.
        hello: Box<Hello>,
    },
}

/// Who a member is and what it sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The group; others are ignored.
    pub group: GroupKeyId,
    /// How long the sender has been running, milliseconds.
    pub age_ms: u64,
    /// What the sender wants to be.
    pub preference: Preference,
    /// Whether the sender's lineage is known to have committed anything: before that, nobody
    /// can rely on it, and fresh members do not wait for it.
    pub formed: bool,
    /// The leader the sender follows; itself when it leads and has committed in its term.
    pub leader: Option<Member>,
    /// Commands known committed.
    pub committed: Index,
    /// Voters of the sender's lineage; the most there were since it leads, where it does.
    pub voters: u32,
    /// Whether the sender's log ends in a seal.
    pub sealed: bool,
    /// Whether the sender's log was cut: only a snapshot has the effect of its first commands, and
    /// they cannot be handed over to another lineage.
    pub cut: bool,
    /// Fresh members the sender hears.
    pub sees: Vec<Member>,
    /// Whether the sender would like to hear the receiver's hello.
    pub answer: bool,
}

/// Commands on their way to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The operation just before the first that is still to be applied; 0 when there is none.
    /// The leader waits for it to keep the sender's order.
    pub after: u64,
    /// Sequence number of the first command.
    pub first: u64,
    /// The commands.
    pub commands: Vec<Bytes>,
}

/// What became of forwarded commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAnswer {
    /// Sequence number of the first command answered for.
    pub first: u64,
    /// How many commands.
    pub count: u32,
    /// What became of them.
    pub verdict: Verdict,
}

/// A leader's verdict on forwarded commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In the leader's log, from this command on. Not committed yet.
    At(Index),
    /// Not taken: an earlier operation of the sender is missing. Send from there again.
    Missing {
        /// The last operation of the sender in the log.
        last: u64,
    },
    /// Not taken, and never will be: later operations were.
    Skipped,
    /// Their turn passed so long ago that the leader cannot say.
    Forgotten,
    /// Not taken: the leader is handing over, or overloaded. Try again later.
    Busy,
    /// Not taken: the receiver is not the leader.
    NotLeader {
        /// Who is, if known.
        leader: Option<Member>,
    },
}

/// Commands of another lineage. The sender waits for one batch to be committed before the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resubmit {
    /// The index in the sender's lineage of the last of these commands.
    pub upto: Index,
    /// Operation ids, one for each command, as runs.
    pub runs: Vec<OpRun>,
    /// The commands. None: only asks how far they are.
    pub commands: Vec<Bytes>,
}
