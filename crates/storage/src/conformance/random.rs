//! Random batches against the model.

use {
    super::{Fixture, model::Model, waiting::wait_for},
    crate::faulty::SplitMix,
    mosaik_protocol::store::{
        Entry, GroupId, Incarnation, LogStore, Position, SnapshotMeta, StoreError, Token,
        WriteBatch,
    },
    std::collections::VecDeque,
};

/// Four numbers that are read as a step of the test: what to do, with which group, and two
/// arguments. Any numbers make sense, which is what a shrinking property test needs.
pub type RawStep = [u8; 4];

/// `count` steps that follow from `seed`.
pub fn random_steps(seed: u64, count: usize) -> Vec<RawStep> {
    let mut rng = SplitMix::new(seed);
    (0..count)
        .map(|_| (rng.next() as u32).to_le_bytes())
        .collect()
}

/// Takes a fresh store through `steps` and compares it with the model on the way.
///
/// # Panics
/// When the store accepts, refuses, shows or keeps something else than the model.
pub fn run_random<F: Fixture>(fixture: &mut F, steps: &[RawStep]) {
    let store = fixture.fresh();
    let mut run = Run {
        store: Some(store),
        model: Model::default(),
        batch: WriteBatch::new(group(0)),
        submitted: VecDeque::new(),
    };
    for id in 0..2 {
        run.send(
            WriteBatch::new(group(id)).create(Incarnation(id.into())),
            true,
        );
    }
    for (number, &[kind, id, a, b]) in steps.iter().enumerate() {
        if run.batch.group != group(id) {
            run.flush(a % 2 == 0);
            run.batch = WriteBatch::new(group(id));
        }
        match kind % 16 {
            12 => run.flush(false),
            13 => run.flush(true),
            14 => run.reopen(fixture, a),
            other => run.extend(other, u64::from(a), u64::from(b)),
        }
        if number % 16 == 15 {
            run.check("after a while");
        }
    }
    run.check("at the end");
    run.reopen(fixture, 0);
    run.check("after the end");
}

fn group(number: u8) -> GroupId {
    GroupId::from_u8(number % 3)
}

struct Run<S> {
    /// `None` only while it is being reopened.
    store: Option<S>,
    model: Model,
    batch: WriteBatch,
    submitted: VecDeque<(Token, bool)>,
}

impl<S: LogStore> Run<S> {
    fn store(&mut self) -> &mut S {
        self.store.as_mut().expect("the store is open")
    }

    /// Adds a part to the batch that is being built.
    fn extend(&mut self, kind: u8, a: u64, b: u64) {
        let known = self.model.groups.get(&self.batch.group).cloned();
        let group = known.unwrap_or_default();
        let last = group.last();
        let batch = &mut self.batch;
        let log_end = batch.append.last().map_or(last, Entry::position);
        match kind {
            0..=4 => {
                let restart = batch.truncate_from.filter(|_| batch.append.is_empty());
                let first = restart.unwrap_or(log_end.index + 1);
                let term = log_end.term + u64::from(b.is_multiple_of(8));
                for index in first..=first + a % 4 {
                    let payload = vec![b as u8; (a as usize * 7) % 300].into();
                    batch.append.push(Entry {
                        index,
                        term,
                        payload,
                    });
                }
            }
            5 => batch.hard_state = Some(vec![a as u8; b as usize % 40].into()),
            6 => batch.truncate_from = Some(last.index.saturating_sub(a % 6)),
            7 => batch.compact_through = Some(log_end.index.saturating_sub(a % 6)),
            8 | 9 => {
                let staged = batch.stage.last().map(|chunk| chunk.number + 1);
                let next = staged.unwrap_or(group.staged.len() as u32);
                let number = if b.is_multiple_of(5) {
                    0
                } else {
                    next + u32::from(b.is_multiple_of(31))
                };
                let data = vec![b as u8; a as usize * 5];
                *batch = batch.clone().stage(number, data);
            }
            10 => {
                let staged = batch.stage.last().map(|chunk| chunk.number + 1);
                let index = (last.index + 2).saturating_sub(a % 6);
                let stored = group.log.get(&index).map_or(last.term, |&(term, _)| term);
                batch.install = Some(SnapshotMeta {
                    last: Position {
                        index,
                        term: stored + u64::from(b.is_multiple_of(6)),
                    },
                    chunks: staged.unwrap_or(group.staged.len() as u32) + u32::from(b % 31 == 1),
                    meta: vec![b as u8; 9].into(),
                });
            }
            11 if a.is_multiple_of(4) => batch.remove = true,
            11 => {}
            _ if a.is_multiple_of(2) => batch.create = Some(Incarnation(b)),
            _ => {
                let index = log_end.index + 1 + u64::from(b.is_multiple_of(4));
                let payload = "late".into();
                batch.append.push(Entry {
                    index,
                    term: log_end.term,
                    payload,
                });
            }
        }
    }

    fn flush(&mut self, blocking: bool) {
        let next = WriteBatch::new(self.batch.group);
        let batch = std::mem::replace(&mut self.batch, next);
        self.send(batch, blocking);
    }

    fn send(&mut self, batch: WriteBatch, blocking: bool) {
        let accepted = self.model.apply(&batch);
        if blocking {
            let result = self.store().write(batch.clone());
            check_result(result, accepted, &format!("{batch:?}"));
        } else {
            let token = self.store().submit(batch).expect("the queue has room");
            self.submitted.push_back((token, accepted));
        }
    }

    /// Waits for what was submitted; completions come in its order within a group.
    fn settle(&mut self) {
        let Some(&(last, _)) = self.submitted.back() else {
            return;
        };
        let mut completions = wait_for(self.store(), last);
        while completions.len() < self.submitted.len() {
            let missing = self.submitted.iter().map(|&(token, _)| token);
            let mut missing = missing.filter(|token| completions.iter().all(|c| c.token != *token));
            let missing = missing.next_back().expect("some are missing");
            completions.extend(wait_for(self.store(), missing));
        }
        let mut latest = std::collections::BTreeMap::new();
        for completion in completions {
            let before = latest.insert(completion.group, completion.token);
            assert!(
                before < Some(completion.token),
                "batches of a group complete in order"
            );
            let number = self
                .submitted
                .iter()
                .position(|&(token, _)| token == completion.token);
            let number = number.expect("a batch completes once");
            let (token, accepted) = self.submitted.remove(number).expect("it was just found");
            check_result(completion.result, accepted, &format!("{token:?}"));
        }
        assert!(self.submitted.is_empty(), "every batch completes");
    }

    fn check(&mut self, when: &str) {
        self.settle();
        let store = self.store.as_mut().expect("the store is open");
        self.model.check(store, when);
    }

    fn reopen<F: Fixture<Store = S>>(&mut self, fixture: &mut F, a: u8) {
        self.flush(a.is_multiple_of(2));
        self.settle();
        if let Some(store) = self.store.take_if(|store| store.is_durable()) {
            self.store = Some(fixture.reopen(store));
            self.check("after reopening");
        }
    }
}

fn check_result(result: Result<(), StoreError>, accepted: bool, what: &str) {
    match result {
        Ok(()) => assert!(accepted, "accepted against the rules: {what}"),
        Err(StoreError::Invalid { reason, .. }) => {
            assert!(!accepted, "refused against the rules, {reason}: {what}");
        }
        Err(other) => panic!("{other}: {what}"),
    }
}
