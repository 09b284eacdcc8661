//! The memory store against a model: a list of all commands ever appended, and what was pruned.

use {super::*, proptest::prelude::*};

#[derive(Clone, Debug)]
enum Op {
    Append { term: u64 },
    Truncate(u64),
    Prune(u64),
    Reset { term: u64, index: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..3u64).prop_map(|term| Op::Append { term }),
        1 => (0..30u64).prop_map(Op::Truncate),
        1 => (0..30u64).prop_map(Op::Prune),
        1 => (0..5u64, 0..20u64).prop_map(|(term, index)| Op::Reset { term, index }),
    ];
    proptest::collection::vec(op, 0..60)
}

/// Every command by index, `None` where it is not held; index 0 is before the log.
#[derive(Debug, Default)]
struct Model {
    base: (u64, u64),
    held: Vec<(u64, u32, UnixMillis)>,
}

impl Model {
    fn last(&self) -> (u64, u64) {
        let term = self.held.last().map_or(self.base.0, |held| held.0);
        (term, self.base.1 + self.held.len() as u64)
    }

    fn apply(&mut self, store: &mut InMemoryLogStore<u32>, op: &Op, command: u32) {
        match *op {
            Op::Append { term } => {
                let term = self.last().0 + term;
                let time = UnixMillis(u64::from(command) / 3);
                let index = store.append_at(command, term.into(), time);
                self.held.push((term, command, time));
                assert_eq!(index, self.last().1);
            }
            Op::Truncate(at) => {
                store.truncate(at.into());
                let kept = at.saturating_sub(1).saturating_sub(self.base.1);
                self.held.truncate(kept as usize);
            }
            Op::Prune(up_to) => {
                store.prune_prefix(up_to.into());
                while self.base.1 < up_to && !self.held.is_empty() {
                    let (term, ..) = self.held.remove(0);
                    self.base = (term, self.base.1 + 1);
                }
            }
            Op::Reset { term, index } => {
                store.reset_to(Cursor::new(term.into(), index.into()));
                *self = Self {
                    base: (term, index),
                    held: Vec::new(),
                };
            }
        }
    }

    fn check(&self, store: &InMemoryLogStore<u32>) {
        let (term, last) = self.last();
        let first = self.base.1 + 1;
        assert_eq!(store.last(), Cursor::new(term.into(), last.into()));
        assert_eq!(store.available(), first.into()..=last.into());
        for index in 0..last + 3 {
            let held = index.checked_sub(first).map(|at| at as usize);
            let held = held.and_then(|at| self.held.get(at));
            let expected = held.map(|(term, command, _)| (*command, Term::from(*term)));
            assert_eq!(store.get(index.into()), expected);
            let term = held.map(|held| held.0.into());
            assert_eq!(store.term_at(index.into()), term);
            assert_eq!(store.time_at(index.into()), held.map(|held| held.2));
        }
    }
}

proptest! {
    #[test]
    fn holds_what_the_model_holds(ops in ops(), from in 0..40u64, len in 0..40u64) {
        let mut store = InMemoryLogStore::default();
        let mut model = Model::default();
        for (op, command) in ops.iter().zip(1..) {
            model.apply(&mut store, op, command);
            model.check(&store);
        }
        let range = Index::from(from)..=Index::from(from + len);
        let all: Vec<_> = (from..=from + len)
            .filter_map(|index| {
                let (command, term) = store.get(index.into())?;
                Some((term, Index::from(index), command))
            })
            .collect();
        prop_assert_eq!(store.get_range(&range), all);
    }
}

#[test]
fn ranges_that_make_no_sense_hold_nothing() {
    let mut store = InMemoryLogStore::default();
    for command in 0..4u32 {
        store.append(command, Term::one());
    }
    let from = |first: u64, last: u64| store.get_range(&(first.into()..=last.into()));
    assert_eq!(from(3, 2), []);
    assert_eq!(from(u64::MAX, u64::MAX), []);
    assert_eq!(from(0, 0), []);
    assert_eq!(from(0, u64::MAX).len(), 4);
}
