//! [`Group`]: the program's handle on a group.

use {
    super::{
        applier::{Answer, Applier, Asked},
        bond::Bonds,
        config::GroupConfig,
        cursor::Cursor,
        driver::{Command, Inbox, Propose, Question, Refusal, Reply, Settled, Slot, Wish},
        error::{CommandError, QueryError},
        event::Event,
        index::{Index, IndexRange},
        key::GroupId,
        machine::StateMachine,
        query::{Consistency, QueryResultAt},
        setup::Shared,
        status::GroupStatus,
        when::When,
    },
    crate::{PeerId, primitives::Datum},
    bytes::{Bytes, BytesMut},
    core::{fmt, future::Future},
    mosaik_primitives::ShortFmtExt,
    mosaik_protocol::consensus::{NotDone, Outcome, limits},
    std::sync::Arc,
    tokio::sync::{broadcast, oneshot},
};

/// Bytes of commands that are taken at once.
const COMMAND_BYTES: usize = 16 << 20;

/// What the handles of a group share; the last one leaves the group.
pub(super) struct Inner<M: StateMachine> {
    pub(super) slot: Slot,
    pub(super) local: PeerId,
    pub(super) config: Arc<GroupConfig>,
    pub(super) shared: Arc<Shared>,
    pub(super) applier: Arc<Applier<M>>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) when: When,
}

impl<M: StateMachine> Drop for Inner<M> {
    fn drop(&mut self) {
        self.inbox.tell(Command::Wish {
            slot: self.slot,
            wish: Wish::Leave { for_good: false },
        });
    }
}

/// A group that this node is in. Cheap to clone; the last clone that is dropped leaves the group
/// in the background: leadership is handed over, and the other members go on without this one.
pub struct Group<M: StateMachine>(pub(super) Arc<Inner<M>>);

impl<M: StateMachine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: StateMachine> fmt::Display for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id().short())
    }
}

impl<M: StateMachine> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("id", self.id())
            .field("leader", &self.leader())
            .field("committed", &self.committed())
            .finish_non_exhaustive()
    }
}

impl<M: StateMachine> Group<M> {
    /// The group's id.
    pub fn id(&self) -> &GroupId {
        self.0.config.group_id()
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.0.local)
    }

    /// Who leads, as far as is known.
    pub fn leader(&self) -> Option<PeerId> {
        self.0.shared.leadership.borrow().leader
    }

    /// The members that this node has a bond with.
    pub fn bonds(&self) -> Bonds<M> {
        self.0.shared.bonds.bonds()
    }

    /// What the group runs with.
    pub fn config(&self) -> &GroupConfig {
        &self.0.config
    }

    /// Waits for something to become true.
    pub fn when(&self) -> &When {
        &self.0.when
    }

    /// The last command that is committed and applied here.
    pub fn committed(&self) -> Index {
        self.0.shared.progress.borrow().committed
    }

    /// The end of this member's log, committed or not.
    pub fn log_position(&self) -> Cursor {
        self.0.shared.progress.borrow().log
    }

    /// This member's view of itself and the group.
    pub fn status(&self) -> GroupStatus {
        self.0.shared.status.lock().clone()
    }

    /// What happens to the group on this node from now on. A receiver that lags is told how many
    /// events it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.shared.events()
    }

    /// Executes a command: resolves when it is committed and applied here, with its index.
    ///
    /// The command is on its way when this returns, in the order of the calls; dropping the
    /// future does not take it back. Ends by `forward_timeout` at the latest, unless applying
    /// takes longer.
    pub fn execute(
        &self,
        command: M::Command,
    ) -> impl Future<Output = Result<Index, CommandError<M>>> + Send + Sync + 'static + use<M> {
        let indices = self.propose(vec![command], Wanted::Applied);
        async move { indices.await.map(|indices| *indices.start()) }
    }

    /// Executes commands next to each other, all or none. See [`Group::execute`].
    pub fn execute_many<I: IntoIterator<Item = M::Command>>(
        &self,
        commands: I,
    ) -> impl Future<Output = Result<IndexRange, CommandError<M>>> + Send + Sync + 'static + use<M, I>
    {
        self.propose(commands.into_iter().collect(), Wanted::Applied)
    }

    /// Hands a command to the leader: resolves when it is in the leader's log, with the index
    /// that it has if this leader stays until it is committed.
    pub fn feed(
        &self,
        command: M::Command,
    ) -> impl Future<Output = Result<Index, CommandError<M>>> + Send + Sync + 'static + use<M> {
        let indices = self.propose(vec![command], Wanted::Accepted);
        async move { indices.await.map(|indices| *indices.start()) }
    }

    /// Hands commands to the leader, to be next to each other. See [`Group::feed`].
    pub fn feed_many<I: IntoIterator<Item = M::Command>>(
        &self,
        commands: I,
    ) -> impl Future<Output = Result<IndexRange, CommandError<M>>> + Send + Sync + 'static + use<M, I>
    {
        self.propose(commands.into_iter().collect(), Wanted::Accepted)
    }

    /// Asks the state machine.
    ///
    /// Weak answers come from what this member has applied. Strong ones reflect everything that
    /// was committed anywhere when this was called; they end by `query_timeout` at the latest,
    /// unless applying takes longer.
    pub fn query(
        &self,
        query: M::Query,
        consistency: Consistency,
    ) -> impl Future<Output = Result<QueryResultAt<M>, QueryError<M>>> + Send + Sync + 'static + use<M>
    {
        let answer = self.ask(query, consistency);
        async move { answer.await.unwrap_or(Err(QueryError::GroupTerminated)) }
    }

    /// Hands leadership over, to `peer` or to the member that is best suited. Nothing happens
    /// where this node does not lead. Watch [`When::leader_changed`].
    pub fn transfer_leadership(&self, peer: Option<PeerId>) {
        self.wish(Wish::Transfer(peer));
    }

    /// Goes on alone, when a majority of the voters is lost for good.
    ///
    /// **Dangerous**: commands that only the lost majority knew are lost, and should the others
    /// come back, the group exists twice until the two sides merge. To be used when nothing else
    /// is left.
    pub fn recover(&self) {
        tracing::warn!(group = %self, "recovering without the majority");
        self.wish(Wish::Recover);
    }

    /// Leaves the group for good, also where this node would otherwise resume it at its next
    /// start; resolves when it is left.
    pub async fn leave(&self) {
        self.wish(Wish::Leave { for_good: true });
        self.ended().await;
    }

    /// Resolves when the group has ended on this node, because it was left, the network closed,
    /// or it could not go on: [`Group::status`] says which.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<M> {
        let mut ended = self.0.shared.ended.subscribe();
        async move {
            // A driver that is gone has ended its groups.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    fn wish(&self, wish: Wish) {
        let slot = self.0.slot;
        self.0.inbox.tell(Command::Wish { slot, wish });
    }

    fn ask(&self, query: M::Query, consistency: Consistency) -> oneshot::Receiver<Answer<M>> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { query, reply };
        match consistency {
            Consistency::Weak => self.0.applier.query(asked),
            Consistency::Strong => {
                let question: Question = Box::new(asked);
                let slot = self.0.slot;
                let command = Command::Read { slot, question };
                if let Err((refusal, command)) = self.0.inbox.ask(command, 0) {
                    Self::not_asked(refusal, *command);
                }
            }
        }
        answer
    }

    fn not_asked(refusal: Refusal, command: Command) {
        let Command::Read { question, .. } = command else {
            return;
        };
        let Ok(asked) = question.downcast::<Asked<M>>() else {
            return;
        };
        asked.fail(|query| match refusal {
            Refusal::Overloaded => QueryError::Overloaded(query),
            Refusal::Closed => QueryError::GroupTerminated,
        });
    }

    /// Sends commands on their way.
    fn propose(
        &self,
        commands: Vec<M::Command>,
        wanted: Wanted,
    ) -> impl Future<Output = Result<IndexRange, CommandError<M>>> + Send + Sync + 'static + use<M>
    {
        let count = commands.len() as u64;
        let sent = match encode::<M>(&commands) {
            Ok((encoded, bytes)) => {
                let (to, settled) = oneshot::channel();
                let reply = match wanted {
                    Wanted::Applied => Reply::Applied { to, accepted: None },
                    Wanted::Accepted => Reply::Accepted(to),
                };
                let propose = Propose {
                    slot: self.0.slot,
                    commands: encoded,
                    reply,
                };
                let sent = self.0.inbox.ask(Command::Propose(propose), bytes);
                sent.map(|()| settled)
                    .map_err(|(refusal, _)| match refusal {
                        Refusal::Overloaded => NotSent::Overloaded,
                        Refusal::Closed => NotSent::Closed,
                    })
            }
            Err(not_sent) => Err(not_sent),
        };
        let shared = Arc::clone(&self.0.shared);
        async move {
            let settled = match sent {
                Ok(settled) => settled.await.ok(),
                Err(not_sent) => return Err(not_sent.error(commands)),
            };
            match settled {
                Some(Settled {
                    outcome: Outcome::Accepted { first, .. } | Outcome::Committed { first },
                    ..
                }) => {
                    let first = Index::from(first);
                    Ok(first..=Index::from(u64::from(first) + count - 1))
                }
                Some(settled) => Err(not_done(settled, commands, &shared)),
                None => Err(CommandError::GroupTerminated),
            }
        }
    }
}

/// What the caller of a proposal waits for.
#[derive(Clone, Copy)]
enum Wanted {
    Applied,
    Accepted,
}

/// Why commands were not sent on their way.
enum NotSent {
    Nothing,
    TooMany,
    TooLarge(usize),
    Encoding(crate::primitives::encoding::EncodeError),
    Overloaded,
    Closed,
}

impl NotSent {
    fn error<M: StateMachine>(self, commands: Vec<M::Command>) -> CommandError<M> {
        match self {
            Self::Nothing => CommandError::NoCommands,
            Self::TooMany => CommandError::TooMany {
                commands,
                max: limits::ENTRY_COMMANDS,
            },
            Self::TooLarge(bytes) => CommandError::TooLarge {
                commands,
                bytes,
                max: COMMAND_BYTES,
            },
            Self::Encoding(error) => CommandError::Encoding(commands, error),
            Self::Overloaded => CommandError::Overloaded(commands),
            Self::Closed => CommandError::GroupTerminated,
        }
    }
}

/// The commands' bytes, all in one piece of memory, and how many they count for.
fn encode<M: StateMachine>(commands: &[M::Command]) -> Result<(Vec<Bytes>, usize), NotSent> {
    /// What the core counts for each command besides its bytes.
    const OVERHEAD: usize = 8;
    if commands.is_empty() {
        return Err(NotSent::Nothing);
    }
    if commands.len() > limits::ENTRY_COMMANDS {
        return Err(NotSent::TooMany);
    }
    let mut buffer = BytesMut::new();
    let mut ends = Vec::with_capacity(commands.len());
    for command in commands {
        command
            .encode_into(&mut buffer)
            .map_err(NotSent::Encoding)?;
        ends.push(buffer.len());
    }
    let bytes = buffer.len() + OVERHEAD * commands.len();
    if bytes > COMMAND_BYTES {
        return Err(NotSent::TooLarge(bytes));
    }
    let all = buffer.freeze();
    let mut start = 0;
    let encoded = ends
        .into_iter()
        .map(|end| {
            let command = all.slice(start..end);
            start = end;
            command
        })
        .collect();
    Ok((encoded, bytes))
}

/// The error of commands that were not committed, as far as is known.
fn not_done<M: StateMachine>(
    settled: Settled,
    commands: Vec<M::Command>,
    shared: &Shared,
) -> CommandError<M> {
    match settled.outcome {
        Outcome::NotDone(NotDone::Offline) => CommandError::Offline(commands),
        Outcome::NotDone(NotDone::Overloaded) => CommandError::Overloaded(commands),
        Outcome::NotDone(NotDone::Size) => CommandError::TooLarge {
            commands,
            bytes: COMMAND_BYTES + 1,
            max: COMMAND_BYTES,
        },
        Outcome::NotDone(_) => match shared.status.lock().halted.clone() {
            Some(why) => CommandError::Halted(commands, why),
            None => CommandError::GroupTerminated,
        },
        _ => CommandError::Unknown {
            commands,
            accepted: settled
                .accepted
                .map(|(term, index)| Cursor::new(term.into(), index.into())),
        },
    }
}
