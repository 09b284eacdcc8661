//! [`ApplyContext`]: what a machine can know while it applies a command, and the one way in which
//! commands are applied.

use {
    super::{cursor::Cursor, index::Term, key::GroupId, machine::StateMachine},
    crate::NetworkId,
    core::{cell::Cell, time::Duration},
    mosaik_primitives::time::UnixMillis,
    std::time::SystemTime,
};

/// What a machine can know while it applies a command.
pub trait ApplyContext {
    /// The command being applied, and its term. In a batch: the last one that was taken from it.
    ///
    /// How commands are put into batches differs between members. A machine that takes a batch
    /// apart by itself must not let this influence the state.
    fn committed(&self) -> Cursor;

    /// The end of this member's log. Differs between members: must not influence the state.
    fn log_position(&self) -> Cursor;

    /// This member's term. Differs between members: must not influence the state.
    fn current_term(&self) -> Term;

    /// The group.
    fn group_id(&self) -> &GroupId;

    /// The network.
    fn network_id(&self) -> &NetworkId;

    /// When a leader took the command being applied, by its wall clock, to the millisecond. All
    /// commands of a batch have the same.
    ///
    /// The same on every member, and never earlier than for the command before: fit for
    /// deadlines inside a state machine. Not promised: agreement with any other clock; it stands
    /// still while a new leader's clock is behind. A context that does not know it says the Unix
    /// epoch.
    fn committed_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// A committed command, ready to be applied.
#[derive(Debug)]
pub(crate) struct Committed<C> {
    pub(crate) command: C,
    pub(crate) term: Term,
    pub(crate) time: UnixMillis,
}

/// Applies commands to a machine, and is the context that the machine sees.
///
/// After a panic of the machine, [`ApplyContext::committed`] tells at which command.
#[derive(Clone, Debug)]
pub(crate) struct Applying {
    network_id: NetworkId,
    group_id: GroupId,
    log_position: Cursor,
    current_term: Term,
    committed: Cell<Cursor>,
    time: Cell<UnixMillis>,
}

impl Applying {
    /// To apply the commands that follow `committed`.
    pub(crate) fn new(network_id: NetworkId, group_id: GroupId, committed: Cursor) -> Self {
        Self {
            network_id,
            group_id,
            log_position: committed,
            current_term: committed.term(),
            committed: Cell::new(committed),
            time: Cell::default(),
        }
    }

    /// What the machine is told of this member's log and term.
    pub(crate) const fn set_member(&mut self, log_position: Cursor, current_term: Term) {
        self.log_position = log_position;
        self.current_term = current_term;
    }

    /// Applies `commands`, which follow what was applied before, in batches of one committed
    /// time each. The context follows the machine from command to command.
    pub(crate) fn apply<M: StateMachine>(
        &self,
        machine: &mut M,
        commands: impl IntoIterator<Item = Committed<M::Command>>,
    ) {
        let mut commands = commands.into_iter().peekable();
        while let Some(time) = commands.peek().map(|next| next.time) {
            self.time.set(time);
            let mut batch = core::iter::from_fn(|| {
                let next = commands.next_if(|next| next.time == time)?;
                let index = self.committed.get().index().next();
                self.committed.set(Cursor::new(next.term, index));
                Some(next.command)
            });
            machine.apply_batch(&mut batch, self);
            // What a machine leaves in its batch is not for the next one.
            batch.for_each(drop);
        }
    }
}

impl ApplyContext for Applying {
    fn committed(&self) -> Cursor {
        self.committed.get()
    }

    fn log_position(&self) -> Cursor {
        self.log_position
    }

    fn current_term(&self) -> Term {
        self.current_term
    }

    fn group_id(&self) -> &GroupId {
        &self.group_id
    }

    fn network_id(&self) -> &NetworkId {
        &self.network_id
    }

    fn committed_time(&self) -> SystemTime {
        // Times beyond what the system can express are the last it can.
        let since = Duration::from_millis(self.time.get().0);
        SystemTime::UNIX_EPOCH
            .checked_add(since)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::groups::{LogReplaySync, index::Index},
        mosaik_primitives::UniqueId,
    };

    /// Notes what it saw at each command.
    #[derive(Default)]
    struct Notes(Vec<(u32, Cursor, u64)>);

    impl StateMachine for Notes {
        type Command = u32;
        type Query = ();
        type QueryResult = ();
        type StateSync = LogReplaySync<Self>;

        fn signature(&self) -> UniqueId {
            UniqueId::from("notes")
        }

        fn apply(&mut self, command: u32, ctx: &dyn ApplyContext) {
            let time = ctx.committed_time();
            let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            self.0
                .push((command, ctx.committed(), time.as_millis() as u64));
        }

        fn query(&self, (): ()) {}

        fn state_sync(&self) -> LogReplaySync<Self> {
            LogReplaySync::default()
        }
    }

    /// Takes two commands of each batch, and notes where it was after the first.
    #[derive(Default)]
    struct Picky(Vec<(u32, Cursor)>);

    impl StateMachine for Picky {
        type Command = u32;
        type Query = ();
        type QueryResult = ();
        type StateSync = LogReplaySync<Self>;

        fn signature(&self) -> UniqueId {
            UniqueId::from("picky")
        }

        fn apply(&mut self, _: u32, _: &dyn ApplyContext) {}

        fn apply_batch(&mut self, commands: impl IntoIterator<Item = u32>, ctx: &dyn ApplyContext) {
            let first = commands.into_iter().next();
            self.0
                .extend(first.map(|command| (command, ctx.committed())));
        }

        fn query(&self, (): ()) {}

        fn state_sync(&self) -> LogReplaySync<Self> {
            LogReplaySync::default()
        }
    }

    fn commands() -> Vec<Committed<u32>> {
        [(10, 1, 5), (11, 1, 5), (12, 2, 5), (13, 2, 9)]
            .map(|(command, term, time)| Committed {
                command,
                term: Term::from(term),
                time: UnixMillis(time),
            })
            .into()
    }

    fn at(term: u64, index: u64) -> Cursor {
        Cursor::new(term.into(), index.into())
    }

    #[test]
    fn each_command_sees_its_own_place_and_time() {
        let applying = Applying::new(NetworkId::zero(), GroupId::zero(), at(1, 6));
        let mut notes = Notes::default();
        applying.apply(&mut notes, commands());
        let expected = [
            (10, at(1, 7), 5),
            (11, at(1, 8), 5),
            (12, at(2, 9), 5),
            (13, at(2, 10), 9),
        ];
        assert_eq!(notes.0, expected);
        assert_eq!(applying.committed().index(), Index::from(10));
    }

    #[test]
    fn what_a_machine_leaves_in_a_batch_is_passed_over_on_every_member_alike() {
        let applying = Applying::new(NetworkId::zero(), GroupId::zero(), at(1, 6));
        let mut picky = Picky::default();
        applying.apply(&mut picky, commands());
        assert_eq!(picky.0, [(10, at(1, 7)), (13, at(2, 10))]);
    }
}
