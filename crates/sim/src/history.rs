//! What clients saw: the input of the linearizability checker.
//!
//! One operation touches one key, so a history is linearizable when each key's part of it is.

use {
    crate::{linearizability::Model, queue::Nanos},
    std::collections::{BTreeMap, HashMap},
};

/// What a client asks of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Sets the value and answers the one before.
    Swap(u64),
    /// Sets the value when it is the expected one, and answers whether it was.
    CompareAndSet {
        /// The value that must be there.
        expected: u64,
        /// The value to put there.
        new: u64,
    },
    /// Answers the value.
    Read,
}

/// What a client got back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The value read, or the one that a swap replaced.
    Value(u64),
    /// Whether a compare-and-set took place.
    Done(bool),
}

/// One operation as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which key it touched.
    pub key: u8,
    /// What was asked.
    pub call: Call,
    /// When it was asked.
    pub invoked: Nanos,
    /// When and what was answered; `None` when it ended unknown and may take effect at any time
    /// after `invoked`, or never.
    pub answered: Option<(Nanos, Reply)>,
    /// Where it seems to stand among the others, where that is known: a hint for the checker,
    /// which believes it only after having tested it.
    pub place: Option<Place>,
}

/// A place in an order of operations: the command's number, or the number of commands before a
/// read.
pub type Place = (u64, bool);

/// A register a key; every key starts at zero.
#[derive(Clone, Copy, Debug)]
pub struct Register;

impl Register {
    /// What `call` does to a register that holds `value`: the value after it, and the answer.
    pub fn apply(value: u64, call: Call) -> (u64, Reply) {
        match call {
            Call::Swap(new) => (new, Reply::Value(value)),
            Call::CompareAndSet { expected, new } if value == expected => (new, Reply::Done(true)),
            Call::CompareAndSet { .. } => (value, Reply::Done(false)),
            Call::Read => (value, Reply::Value(value)),
        }
    }
}

impl Model for Register {
    type State = u64;
    type Call = Call;
    type Reply = Reply;

    fn initial() -> u64 {
        0
    }

    fn step(state: &u64, call: &Call, reply: Option<&Reply>) -> Option<u64> {
        let (after, answer) = Self::apply(*state, *call);
        reply.is_none_or(|reply| *reply == answer).then_some(after)
    }
}

/// Everything that the clients of a run saw.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
}

/// Names an operation of a [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(usize);

impl History {
    /// Records that a client asked.
    pub fn invoke(&mut self, at: Nanos, key: u8, call: Call) -> OperationId {
        self.operations.push(Operation {
            key,
            call,
            invoked: at,
            answered: None,
            place: None,
        });
        OperationId(self.operations.len() - 1)
    }

    /// Records that a client was answered.
    pub fn answer(&mut self, id: OperationId, at: Nanos, reply: Reply) {
        let operation = &mut self.operations[id.0];
        assert!(operation.answered.is_none(), "a client is answered once");
        operation.answered = Some((at, reply));
    }

    /// Records how many commands had been applied where a read was answered.
    pub fn place_read(&mut self, id: OperationId, commands: u64) {
        self.operations[id.0].place = Some((commands, true));
    }

    /// Forgets an operation that surely did not happen.
    pub fn refuse(&mut self, id: OperationId) {
        // A read without an answer constrains nothing.
        self.operations[id.0].call = Call::Read;
        self.operations[id.0].answered = None;
    }

    /// All operations, in the order in which they were asked.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The part that concerns one lineage: with answers where `answered` says so, and without
    /// where the operation is only known to be `held` by its log.
    ///
    /// An operation that no log holds had no effect, so that leaving it out loses nothing.
    #[must_use]
    pub fn restricted(
        &self,
        held: &HashMap<OperationId, u64>,
        answered: impl Fn(OperationId) -> bool,
    ) -> Self {
        let mut operations = Vec::new();
        for (at, operation) in self.operations.iter().enumerate() {
            let id = OperationId(at);
            let number = held.get(&id).map(|number| (*number, false));
            let place = number.or(operation.place);
            if operation.answered.is_some() && answered(id) {
                operations.push(Operation {
                    place,
                    ..operation.clone()
                });
            } else if number.is_some() {
                operations.push(Operation {
                    answered: None,
                    place,
                    ..operation.clone()
                });
            }
        }
        Self { operations }
    }

    /// The operations of each key. Unanswered reads are left out: they constrain nothing.
    pub fn by_key(&self) -> BTreeMap<u8, Vec<Operation>> {
        let mut keys: BTreeMap<u8, Vec<Operation>> = BTreeMap::new();
        for operation in &self.operations {
            if operation.call != Call::Read || operation.answered.is_some() {
                keys.entry(operation.key)
                    .or_default()
                    .push(operation.clone());
            }
        }
        keys
    }
}
