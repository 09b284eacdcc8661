//! The registers that processes replicate: once as a machine whose log is kept and replayed, once
//! as one whose log is cut, because its state is saved and handed over.

use {
    super::{
        hand_over::{HandOver, Whole},
        history::{Call, Id},
    },
    mosaik::{
        UniqueId,
        groups::{ApplyContext, LogReplaySync, StateMachine},
    },
    serde::{Deserialize, Serialize},
    std::{collections::BTreeMap, io},
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
    type StateSync = HandOver<Self>;

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

    fn state_sync(&self) -> HandOver<Self> {
        HandOver::default()
    }
}

impl Whole for HandedOver {
    type State = State;

    fn state(&self) -> State {
        State(self.0.clone())
    }

    fn become_like(&mut self, State(registers): State) {
        self.0 = registers;
    }
}

/// All that a machine holds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct State(Registers);
