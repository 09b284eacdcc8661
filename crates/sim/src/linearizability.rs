//! Whether clients could tell the group from one machine: a linearizability checker.
//!
//! Wing and Gong's search (1993) with Lowe's cache of configurations already visited (2017). The
//! caller splits a history by key first (P-compositionality), which keeps the search small.
//!
//! Not decided: nothing. A search that passes its budget says so rather than passing the history.

use {
    crate::history::{History, Operation, Register},
    core::hash::Hash,
    std::collections::HashSet,
};

/// A sequential specification.
pub trait Model {
    /// The state between operations.
    type State: Clone + Eq + Hash;
    /// What is asked.
    type Call;
    /// What is answered.
    type Reply;

    /// The state before the first operation.
    fn initial() -> Self::State;

    /// The state after `call`, or `None` when it could not have been answered with `reply`.
    /// Without a reply any answer would do.
    fn step(
        state: &Self::State,
        call: &Self::Call,
        reply: Option<&Self::Reply>,
    ) -> Option<Self::State>;
}

/// What the checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Some order of the operations explains every answer.
    Linearizable,
    /// No order does. The operations are those of the longest order that explains a prefix, by
    /// their positions in the history that was checked.
    Violated {
        /// Positions of the operations that could be ordered, in that order.
        longest: Vec<usize>,
    },
    /// The search took more steps than allowed.
    TooHard,
}

/// An operation with the times that order it: it takes effect between `start` and `end`.
#[derive(Clone, Debug)]
pub struct Span<C, R> {
    /// What was asked.
    pub call: C,
    /// When it was asked.
    pub start: u64,
    /// When and what was answered, if anything was.
    pub end: Option<(u64, R)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Head,
    Call(usize),
    Return(usize),
}

/// A doubly linked list of calls and returns in time order; position 0 is its head.
struct Timeline {
    marks: Vec<Mark>,
    next: Vec<usize>,
    previous: Vec<usize>,
    call_at: Vec<usize>,
    return_at: Vec<Option<usize>>,
}

impl Timeline {
    fn new<C, R>(spans: &[Span<C, R>]) -> Self {
        // At one instant calls come before returns: such operations overlap.
        let mut marks: Vec<(u64, u8, Mark)> = Vec::with_capacity(spans.len() * 2);
        for (index, span) in spans.iter().enumerate() {
            marks.push((span.start, 0, Mark::Call(index)));
            if let Some((end, _)) = &span.end {
                marks.push((*end, 1, Mark::Return(index)));
            }
        }
        marks.sort_by_key(|(at, kind, _)| (*at, *kind));
        let marks: Vec<Mark> = core::iter::once(Mark::Head)
            .chain(marks.into_iter().map(|(.., mark)| mark))
            .collect();
        let len = marks.len();
        let mut timeline = Self {
            next: (1..=len).collect(),
            previous: (0..len).map(|at| at.saturating_sub(1)).collect(),
            call_at: vec![0; spans.len()],
            return_at: vec![None; spans.len()],
            marks,
        };
        for (at, mark) in timeline.marks.iter().enumerate() {
            match *mark {
                Mark::Head => {}
                Mark::Call(index) => timeline.call_at[index] = at,
                Mark::Return(index) => timeline.return_at[index] = Some(at),
            }
        }
        timeline
    }

    fn first(&self) -> usize {
        self.next[0]
    }

    fn mark(&self, at: usize) -> Option<Mark> {
        self.marks.get(at).copied()
    }

    fn unlink(&mut self, at: usize) {
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before] = after;
        if let Some(previous) = self.previous.get_mut(after) {
            *previous = before;
        }
    }

    fn relink(&mut self, at: usize) {
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before] = at;
        if let Some(previous) = self.previous.get_mut(after) {
            *previous = at;
        }
    }

    fn lift(&mut self, operation: usize) {
        self.unlink(self.call_at[operation]);
        if let Some(at) = self.return_at[operation] {
            self.unlink(at);
        }
    }

    fn unlift(&mut self, operation: usize) {
        if let Some(at) = self.return_at[operation] {
            self.relink(at);
        }
        self.relink(self.call_at[operation]);
    }
}

/// Searches an order of `spans` that `M` explains, in at most `budget` steps.
pub fn check<M: Model>(spans: &[Span<M::Call, M::Reply>], budget: u64) -> Verdict {
    let mut timeline = Timeline::new(spans);
    let mut open = spans.iter().filter(|span| span.end.is_some()).count();
    let mut state = M::initial();
    let mut done = vec![0_u64; spans.len().div_ceil(64)];
    let mut visited: HashSet<(Vec<u64>, M::State)> = HashSet::new();
    let mut stack: Vec<(usize, M::State)> = Vec::new();
    let mut longest: Vec<usize> = Vec::new();
    let mut at = timeline.first();
    let mut steps = 0;
    while open > 0 {
        steps += 1;
        if steps > budget {
            return Verdict::TooHard;
        }
        if let Some(Mark::Call(index)) = timeline.mark(at) {
            let span = &spans[index];
            let reply = span.end.as_ref().map(|(_, reply)| reply);
            if let Some(after) = M::step(&state, &span.call, reply) {
                done[index / 64] |= 1 << (index % 64);
                if visited.insert((done.clone(), after.clone())) {
                    stack.push((index, core::mem::replace(&mut state, after)));
                    open -= usize::from(span.end.is_some());
                    timeline.lift(index);
                    at = timeline.first();
                    if stack.len() > longest.len() {
                        longest = stack.iter().map(|(index, _)| *index).collect();
                    }
                    continue;
                }
                done[index / 64] &= !(1 << (index % 64));
            }
            at = timeline.next[at];
            continue;
        }
        // A return (or the end) is reached: an operation before it was ordered wrongly.
        let Some((index, before)) = stack.pop() else {
            return Verdict::Violated { longest };
        };
        state = before;
        done[index / 64] &= !(1 << (index % 64));
        open += usize::from(spans[index].end.is_some());
        timeline.unlift(index);
        at = timeline.next[timeline.call_at[index]];
    }
    Verdict::Linearizable
}

/// Whether `order`, positions in `spans`, is itself an order that `M` explains and that no
/// operation's time contradicts: a proof, found without a search.
pub fn explains<M: Model>(spans: &[Span<M::Call, M::Reply>], order: &[usize]) -> bool {
    let mut state = M::initial();
    let mut latest_start = 0;
    let mut seen = vec![false; spans.len()];
    for at in order {
        let span = &spans[*at];
        // An operation must not stand behind one that began after it had ended.
        if span
            .end
            .as_ref()
            .is_some_and(|(end, _)| *end < latest_start)
        {
            return false;
        }
        latest_start = latest_start.max(span.start);
        let reply = span.end.as_ref().map(|(_, reply)| reply);
        let Some(after) = M::step(&state, &span.call, reply) else {
            return false;
        };
        state = after;
        seen[*at] = true;
    }
    spans
        .iter()
        .zip(seen)
        .all(|(span, seen)| seen || span.end.is_none())
}

/// Steps that the search of one key may take.
pub const BUDGET: u64 = 3_000_000;

/// Checks every key of a history; the first key that fails, with its operations and the verdict.
pub fn check_history(history: &History) -> Result<(), (u8, Vec<Operation>, Verdict)> {
    for (key, operations) in history.by_key() {
        let spans: Vec<_> = operations
            .iter()
            .map(|operation| Span {
                call: operation.call,
                start: operation.invoked,
                end: operation.answered,
            })
            .collect();
        let mut hinted: Vec<usize> = (0..spans.len())
            .filter(|at| operations[*at].place.is_some())
            .collect();
        hinted.sort_by_key(|at| (operations[*at].place, operations[*at].invoked));
        if explains::<Register>(&spans, &hinted) {
            continue;
        }
        let verdict = check::<Register>(&spans, BUDGET);
        if verdict != Verdict::Linearizable {
            return Err((key, operations, verdict));
        }
    }
    Ok(())
}
