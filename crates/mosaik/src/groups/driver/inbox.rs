//! What the driver is told, and the queue it takes it from.

use {
    crate::{
        PeerId,
        groups::{
            error::Halted,
            index::Index as CommandIndex,
            lanes::{Frame, LaneKind, LaneSender},
            link::Link,
            setup::{Join, SaveError},
            store::{Opened, Saved},
        },
        network::links::LinkError,
    },
    bytes::Bytes,
    core::any::Any,
    mosaik_primitives::Digest,
    mosaik_protocol::consensus::{Entry, Index, LogIndex, Outcome, Position, Term},
    mosaik_storage::StoreError,
    parking_lot::Mutex,
    std::sync::{Arc, atomic::AtomicBool},
    tokio::sync::{Notify, OwnedSemaphorePermit, oneshot},
};

/// The driver's name for a group of its node, never used again in a process.
pub(crate) type Slot = u32;
/// The driver's name for a lane, never used again in a process.
pub(crate) type LaneId = u64;

/// Requests of the program that may wait to be taken by the driver.
const REQUESTS: usize = 65_536;
/// Bytes of commands in them.
const REQUEST_BYTES: usize = 64 << 20;

/// A strong read as its group's typed side knows it.
pub(crate) type Question = Box<dyn Any + Send>;

/// Commands that somebody waits for.
#[derive(Debug)]
pub(crate) struct Propose {
    pub(crate) slot: Slot,
    pub(crate) commands: Vec<Bytes>,
    pub(crate) reply: Reply,
}

/// What became of a proposal, and where a leader had put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    pub(crate) accepted: Option<(Term, Index)>,
}

/// What a proposal's caller waits for.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Committed and applied here.
    Applied {
        to: oneshot::Sender<Settled>,
        accepted: Option<(Term, Index)>,
    },
    /// In a leader's log.
    Accepted(oneshot::Sender<Settled>),
    /// Nothing.
    Nobody,
}

impl Reply {
    /// Takes note of where a leader put the proposal. Whoever waits for no more than that is
    /// told.
    pub(super) fn accept(&mut self, term: Term, first: Index) {
        match self {
            Self::Applied { accepted, .. } => *accepted = Some((term, first)),
            Self::Accepted(_) => {
                std::mem::replace(self, Self::Nobody).send(Outcome::Accepted { first, term });
            }
            Self::Nobody => {}
        }
    }

    /// Tells the caller, if there is one.
    pub(crate) fn send(self, outcome: Outcome) {
        let (to, accepted) = match self {
            Self::Applied { to, accepted } => (to, accepted),
            Self::Accepted(to) => (to, None),
            Self::Nobody => return,
        };
        // Whoever asked may have stopped waiting.
        let _ = to.send(Settled { outcome, accepted });
    }
}

/// What a program wants of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    /// To hand over leadership.
    Transfer(Option<PeerId>),
    /// To go on alone.
    Recover,
    /// To leave; for good, where the group would otherwise be resumed at the next start.
    Leave { for_good: bool },
    /// To end the bond with a peer.
    CloseBond { peer: PeerId, code: u32 },
}

/// What lanes have to tell.
#[derive(Debug)]
pub(crate) enum LaneNews {
    /// A peer opened one.
    Accepted {
        link: Link,
        /// The reader stops when this is dropped.
        alive: oneshot::Sender<()>,
        /// Set once the peer has proven a key.
        proven: Arc<AtomicBool>,
    },
    /// Frames arrived.
    Frames {
        frames: Vec<Frame>,
        /// Held until the frames are dealt with.
        permit: OwnedSemaphorePermit,
    },
    /// The peer's ended.
    InEnded { violation: Option<String> },
    /// An attempt to open one has ended.
    Opened(Result<(LaneSender, Link), LinkError>),
    /// Our own ended.
    OutEnded,
}

/// What the driver is told.
#[derive(Debug)]
pub(crate) enum Command {
    Join(Box<Join>),
    /// What a group to be joined goes on from has been read.
    Opened {
        join: Box<Join>,
        opened: Result<Box<Opened>, StoreError>,
    },
    /// What a core wanted read back has been read.
    Fetched {
        slot: Slot,
        from: LogIndex,
        entries: Result<Vec<Entry>, StoreError>,
    },
    Propose(Propose),
    Read {
        slot: Slot,
        question: Question,
    },
    Wish {
        slot: Slot,
        wish: Wish,
    },
    Lane {
        peer: PeerId,
        lane: LaneId,
        kind: LaneKind,
        news: LaneNews,
    },
    /// The state machine has applied a good deal since this was said last.
    Applied(Slot),
    /// The state machine cannot go on.
    Halted {
        slot: Slot,
        why: Halted,
    },
    /// A message of the state synchronisation.
    Sync {
        slot: Slot,
        peer: PeerId,
        message: Bytes,
    },
    /// The state synchronisation that the core asked for has ended.
    Synced {
        slot: Slot,
        position: Position,
        installed: bool,
    },
    /// Up to where the state machine's side lets the log be cut.
    MayCut {
        slot: Slot,
        epoch: u64,
        safe: Option<CommandIndex>,
    },
    /// The state machine's state has been staged in the node's store, or not.
    Saved {
        slot: Slot,
        group: Digest,
        name: u64,
        saved: Result<Saved, SaveError>,
    },
    /// A peer that was not known has been asked for its entry.
    Resolved {
        peer: PeerId,
        slot: Slot,
    },
    /// Every group is to be left; answered when all are.
    Close(oneshot::Sender<()>),
}

/// Why a request was not taken. It surely has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too much is waiting.
    Overloaded,
    /// The driver has ended.
    Closed,
}

#[derive(Debug, Default)]
struct Queue {
    commands: Vec<Command>,
    requests: usize,
    bytes: usize,
    closed: bool,
}

/// The driver's queue. It takes all that is there at once, so that calls made at the same time
/// share one step.
///
/// Bounded by who fills it: requests of the program by number and size, here; frames by the
/// permits of their lane; all else comes once for a group, a peer or a lane.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    wake: Notify,
}

impl Inbox {
    /// Tells the driver; `false` when it has ended.
    pub(crate) fn tell(&self, command: Command) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        queue.commands.push(command);
        let first = queue.commands.len() == 1;
        drop(queue);
        if first {
            self.wake.notify_one();
        }
        true
    }

    /// Asks the driver for something on behalf of the program.
    ///
    /// What is not taken is handed back.
    pub(crate) fn ask(
        &self,
        command: Command,
        bytes: usize,
    ) -> Result<(), (Refusal, Box<Command>)> {
        let mut queue = self.queue.lock();
        let fits = queue.bytes == 0 || queue.bytes + bytes <= REQUEST_BYTES;
        let refusal = match queue.requests >= REQUESTS || !fits {
            _ if queue.closed => Some(Refusal::Closed),
            true => Some(Refusal::Overloaded),
            false => None,
        };
        if let Some(refusal) = refusal {
            drop(queue);
            return Err((refusal, Box::new(command)));
        }
        queue.requests += 1;
        queue.bytes += bytes;
        queue.commands.push(command);
        let first = queue.commands.len() == 1;
        drop(queue);
        if first {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits until there is something.
    pub(super) async fn ready(&self) {
        while self.queue.lock().commands.is_empty() {
            self.wake.notified().await;
        }
    }

    /// Takes all there is, leaving `commands`, which must be empty, in its place.
    pub(crate) fn take(&self, commands: &mut Vec<Command>) {
        debug_assert!(commands.is_empty(), "what was taken is dealt with");
        let mut queue = self.queue.lock();
        (queue.requests, queue.bytes) = (0, 0);
        std::mem::swap(&mut queue.commands, commands);
    }

    /// Takes nothing any more, and drops what is there: who waits for it is told by that.
    pub(super) fn close(&self) {
        let commands = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.commands)
        };
        drop(commands);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Command {
        Command::Propose(Propose {
            slot: 1,
            commands: Vec::new(),
            reply: Reply::Nobody,
        })
    }

    #[tokio::test]
    async fn requests_are_bounded_by_size_until_they_are_taken() {
        let inbox = Inbox::default();
        assert!(inbox.ask(request(), 2 * REQUEST_BYTES).is_ok());
        let refused = inbox.ask(request(), 1).map_err(|(refusal, _)| refusal);
        assert_eq!(refused, Err(Refusal::Overloaded));
        assert!(inbox.tell(Command::Applied(1)), "news is always taken");
        inbox.ready().await;
        let mut commands = Vec::new();
        inbox.take(&mut commands);
        assert_eq!(commands.len(), 2);
        assert!(inbox.ask(request(), 1).is_ok());
    }

    #[test]
    fn a_closed_inbox_drops_what_nobody_will_answer() {
        let inbox = Inbox::default();
        let (done, mut closed) = oneshot::channel();
        assert!(inbox.tell(Command::Close(done)));
        inbox.close();
        assert!(closed.try_recv().is_err());
        let refused = inbox.ask(request(), 0).map_err(|(refusal, _)| refusal);
        assert_eq!(refused, Err(Refusal::Closed));
        assert!(!inbox.tell(Command::Applied(1)));
    }
}
