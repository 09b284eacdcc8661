//! The registers that processes replicate: once as a machine whose log is kept and replayed, once
//! as one whose log is cut, because its state is saved and handed over.

use {
    super::history::{Call, Id},
    core::{
        pin::Pin,
        task::{Context, Poll},
        time::Duration,
    },
    mosaik::{
        PeerId, UniqueId,
        groups::{
            ApplyContext, Cursor, Index, LogReplaySync, StateMachine, StateSync, StateSyncProvider,
            StateSyncSession, SyncContext, SyncProviderContext, SyncSessionContext, Term,
        },
    },
    serde::{Deserialize, Serialize},
    std::{collections::BTreeMap, io},
    tokio::time::{Sleep, sleep},
};

/// Commands shown at a time.
const PAGE: usize = 10_000;

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) id: Id,
    pub(crate) key: usize,
    pub(crate) call: Call,
    /// What takes room in a log, so that it is cut.
    pub(crate) padding: Vec<u8>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Query {
    Value(usize),
    Before(Id),
    /// Some commands, from the one with so many before it.
    Held(usize),
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Answer {
    Value(u64),
    Held(Vec<Id>),
}

/// Registers that remember every command and what was there before it.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Registers {
    values: BTreeMap<usize, u64>,
    before: BTreeMap<Id, u64>,
    held: Vec<Id>,
}

impl Registers {
    fn apply(&mut self, command: &Command) {
        let value = self.values.entry(command.key).or_default();
        self.before.insert(command.id, *value);
        *value = command.call.after(*value);
        self.held.push(command.id);
    }

    fn query(&self, query: &Query) -> Answer {
        match query {
            Query::Value(key) => Answer::Value(self.values.get(key).copied().unwrap_or(0)),
            Query::Before(id) => Answer::Value(self.before[id]),
            Query::Held(from) => {
                let some = self.held.iter().skip(*from).take(PAGE);
                Answer::Held(some.copied().collect())
            }
        }
    }
}

/// What the members' clients need of either machine.
pub(crate) trait Served:
    StateMachine<Command = Command, Query = Query, QueryResult = Answer> + Default
{
    /// Bytes of padding in each command.
    const PADDING: usize;
}

/// Whoever lacks something is fed from the log, which is kept.
#[derive(Default)]
pub(crate) struct Replayed(Registers);

impl Served for Replayed {
    const PADDING: usize = 0;
}

impl StateMachine for Replayed {
    type Command = Command;
    type Query = Query;
    type QueryResult = Answer;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("test.registers.replayed")
    }

    fn apply(&mut self, command: Command, _: &dyn ApplyContext) {
        self.0.apply(&command);
    }

    fn query(&self, query: Query) -> Answer {
        self.0.query(&query)
    }

    fn start_over(&mut self) -> bool {
        *self = Self::default();
        true
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

/// The log is cut; whoever lacks what was cut off gets the state.
#[derive(Default)]
pub(crate) struct HandedOver(Registers);

impl Served for HandedOver {
    const PADDING: usize = 1 << 10;
}

impl StateMachine for HandedOver {
    type Command = Command;
    type Query = Query;
    type QueryResult = Answer;
    type StateSync = HandOver;

    fn signature(&self) -> UniqueId {
        UniqueId::from("test.registers.handed-over")
    }

    fn apply(&mut self, command: Command, _: &dyn ApplyContext) {
        self.0.apply(&command);
    }

    fn query(&self, query: Query) -> Answer {
        self.0.query(&query)
    }

    fn start_over(&mut self) -> bool {
        *self = Self::default();
        true
    }

    fn save(&self, out: &mut dyn io::Write) -> io::Result<bool> {
        serde_json::to_writer(out, &self.0)?;
        Ok(true)
    }

    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<bool> {
        self.0 = serde_json::from_reader(from)?;
        Ok(true)
    }

    fn state_sync(&self) -> HandOver {
        HandOver
    }
}

/// Hands the state over in one message.
pub(crate) struct HandOver;

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Say {
    Please,
    Here(Cursor, State),
}

/// All that a machine holds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct State(Registers);

pub(crate) struct Giver;

/// Asks everyone until somebody has enough.
pub(crate) struct Taker {
    target: Cursor,
    got: Option<(Cursor, State)>,
    ask_at: Pin<Box<Sleep>>,
}

impl StateSync for HandOver {
    type Machine = HandedOver;
    type Message = Say;
    type Provider = Giver;
    type Session = Taker;

    fn signature(&self) -> UniqueId {
        UniqueId::from("test.hand-over")
    }

    fn create_provider(&self, _: &dyn SyncContext<Self>) -> Giver {
        Giver
    }

    fn create_session(
        &self,
        _: &mut dyn SyncSessionContext<Self>,
        target: Cursor,
        _: Index,
        _: Vec<(Command, Term)>,
    ) -> Taker {
        Taker {
            target,
            got: None,
            ask_at: Box::pin(sleep(Duration::ZERO)),
        }
    }
}

impl StateSyncProvider for Giver {
    type Owner = HandOver;

    fn receive(
        &mut self,
        message: Say,
        sender: PeerId,
        cx: &mut dyn SyncProviderContext<HandOver>,
    ) -> Result<(), Say> {
        let Say::Please = message else {
            return Err(message);
        };
        let state = State(cx.state_machine().0.clone());
        let here = Say::Here(cx.committed(), state);
        cx.send_to(sender, here).expect("it encodes");
        Ok(())
    }

    fn safe_to_prune_prefix(&self, cx: &mut dyn SyncProviderContext<HandOver>) -> Option<Index> {
        Some(cx.committed().index())
    }
}

impl StateSyncSession for Taker {
    type Owner = HandOver;

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        driver: &mut dyn SyncSessionContext<HandOver>,
    ) -> Poll<Cursor> {
        if let Some((at, State(registers))) = self.got.take() {
            driver.state_machine_mut().0 = registers;
            driver.set_committed(at);
            return Poll::Ready(at);
        }
        while self.ask_at.as_mut().poll(cx).is_ready() {
            driver.broadcast(Say::Please).expect("it encodes");
            self.ask_at.set(sleep(Duration::from_millis(200)));
        }
        Poll::Pending
    }

    fn receive(&mut self, said: Say, _: PeerId, _: &mut dyn SyncSessionContext<HandOver>) {
        if let Say::Here(at, state) = said
            && at.index() >= self.target.index()
        {
            self.got = Some((at, state));
        }
    }

    fn buffer(
        &mut self,
        _: Cursor,
        _: Vec<(Command, Term)>,
        _: &mut dyn SyncSessionContext<HandOver>,
    ) {
    }
}
