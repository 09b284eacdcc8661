//! What clients asked and were told, and whether one machine could have told them.

use {
    serde::{Deserialize, Serialize},
    std::collections::{BTreeMap, BTreeSet},
};

/// Names an operation: unique among all processes and their lives.
pub(crate) type Id = u64;

/// What can be asked of one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Call {
    /// Sets the value, and answers the one before.
    Swap(u64),
    /// Sets the second value if the first is there, and answers the one before.
    Replace(u64, u64),
    /// Answers the value.
    Read,
}

impl Call {
    /// The value after this, where `value` was.
    pub(crate) const fn after(self, value: u64) -> u64 {
        match self {
            Self::Swap(new) => new,
            Self::Replace(expected, new) if expected == value => new,
            Self::Replace(..) | Self::Read => value,
        }
    }
}

/// What a client writes down.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Note {
    /// It asks.
    Asked {
        id: Id,
        at: u64,
        key: usize,
        call: Call,
    },
    /// It was told the value before, if there was time to ask for it, and the command's index; of
    /// a read, the last command that the answer reflects.
    Told {
        id: Id,
        at: u64,
        value: Option<u64>,
        index: u64,
    },
    /// It was told that this surely did not happen.
    Refused { id: Id },
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    asked: u64,
    key: usize,
    call: Call,
    /// When, and which value and index.
    told: Option<(u64, Option<u64>, u64)>,
    refused: bool,
}

/// Everything that the clients of a run saw.
#[derive(Debug, Default)]
pub(crate) struct History(BTreeMap<Id, Operation>);

impl History {
    pub(crate) fn of(notes: impl IntoIterator<Item = Note>) -> Self {
        let mut history = Self::default();
        for note in notes {
            history.note(note);
        }
        history
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Asked { id, at, key, call } => {
                let operation = Operation {
                    asked: at,
                    key,
                    call,
                    told: None,
                    refused: false,
                };
                let known = self.0.insert(id, operation);
                assert!(known.is_none(), "operation {id} was asked twice");
            }
            Note::Told {
                id,
                at,
                value,
                index,
            } => {
                let operation = self.0.get_mut(&id).expect("it was asked");
                operation.told = Some((at, value, index));
            }
            Note::Refused { id } => {
                self.0.get_mut(&id).expect("it was asked").refused = true;
            }
        }
    }

    /// How many operations there are.
    pub(crate) fn asked(&self) -> usize {
        self.0.len()
    }

    /// How many operations have been answered.
    pub(crate) fn told(&self) -> usize {
        let told = self.0.values().filter(|operation| operation.told.is_some());
        told.count()
    }

    /// Checks it against what the group holds: the commands in their order.
    pub(crate) fn check(&self, held: &[Id]) {
        let unique: BTreeSet<_> = held.iter().collect();
        assert_eq!(unique.len(), held.len(), "a command was applied twice");
        let numbers: BTreeMap<Id, u64> = held.iter().copied().zip(1..).collect();
        let mut order: Vec<(u64, u64, Id)> = Vec::new();
        for (id, operation) in &self.0 {
            let number = numbers.get(id).copied();
            assert!(
                number.is_none() || !operation.refused,
                "operation {id} was refused, and is there: {operation:?}"
            );
            match (operation.call, operation.told, number) {
                (Call::Read, Some((.., index)), _) => order.push((index, operation.asked, *id)),
                (Call::Read, None, _) | (_, None, None) => {}
                (_, Some((.., index)), number) => {
                    let there = number == Some(index);
                    assert!(
                        there,
                        "acknowledged at {index}, found at {number:?}: {operation:?}"
                    );
                    order.push((index, 0, *id));
                }
                (_, None, Some(number)) => order.push((number, 0, *id)),
            }
        }
        order.sort_unstable();
        self.explain(&order);
    }

    /// Whether this order explains every answer, and contradicts no client's sense of time.
    ///
    /// Writes stand where the group has put them, and reads behind the last command that they
    /// reflect: if the group is linearizable this order is a witness.
    fn explain(&self, order: &[(u64, u64, Id)]) {
        let mut values: BTreeMap<usize, u64> = BTreeMap::new();
        let mut latest = (0, 0);
        for (_, _, id) in order {
            let operation = &self.0[id];
            let value = values.entry(operation.key).or_default();
            if let Some((at, told, _)) = operation.told {
                assert!(
                    told.is_none_or(|told| told == *value),
                    "operation {id} did not see {value}: {operation:?}"
                );
                assert!(
                    at >= latest.0,
                    "operation {id} ended at {at}, before {} began, and comes after it: \
                     {operation:?}",
                    latest.1
                );
            }
            latest = latest.max((operation.asked, *id));
            *value = operation.call.after(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn asked(id: Id, at: u64, call: Call) -> Note {
        let key = 0;
        Note::Asked { id, at, key, call }
    }

    const fn told(id: Id, at: u64, value: u64, index: u64) -> Note {
        let value = Some(value);
        Note::Told {
            id,
            at,
            value,
            index,
        }
    }

    /// A write and a read after it, with the read's answer.
    fn check(read: u64, index: u64, held: &[Id]) -> bool {
        let notes = [
            asked(1, 10, Call::Swap(7)),
            told(1, 20, 0, 1),
            asked(2, 30, Call::Read),
            told(2, 40, read, index),
        ];
        let history = History::of(notes);
        let check = std::panic::AssertUnwindSafe(|| history.check(held));
        std::panic::catch_unwind(check).is_ok()
    }

    #[test]
    fn what_no_single_machine_would_say_is_noticed() {
        assert!(check(7, 1, &[1]));
        assert!(!check(0, 1, &[1]), "a read that does not see the write");
        assert!(!check(0, 0, &[1]), "a stale read");
        assert!(!check(7, 1, &[]), "a lost write");
        assert!(!check(7, 1, &[9, 1]), "a write that moved");
        assert!(!check(7, 1, &[1, 1]), "a write that was applied twice");
    }
}
