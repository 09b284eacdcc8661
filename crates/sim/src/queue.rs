//! Virtual time: what happens next, and when.
//!
//! Events at one instant come out in the order in which they were scheduled, so that a run does
//! not depend on how a heap breaks ties.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Nanoseconds of virtual time since the start of a run.
pub type Nanos = u64;

/// One millisecond.
pub const MILLI: Nanos = 1_000_000;
/// One second.
pub const SECOND: Nanos = 1_000 * MILLI;

#[derive(Clone, Debug)]
struct Scheduled<E> {
    at: Nanos,
    order: u64,
    event: E,
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The events still to come.
#[derive(Clone, Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Scheduled<E>>>,
    now: Nanos,
    scheduled: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            now: 0,
            scheduled: 0,
        }
    }
}

impl<E> Queue<E> {
    /// The time of the last event taken.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Adds an event; one for the past happens now.
    pub fn schedule(&mut self, at: Nanos, event: E) {
        self.scheduled += 1;
        let at = at.max(self.now);
        self.heap.push(Reverse(Scheduled {
            at,
            order: self.scheduled,
            event,
        }));
    }

    /// Takes the next event that happens at or before `until`, moving time to it; moves time to
    /// `until` when there is none.
    pub fn next(&mut self, until: Nanos) -> Option<E> {
        if self
            .heap
            .peek()
            .is_some_and(|Reverse(first)| first.at <= until)
        {
            let Reverse(first) = self.heap.pop()?;
            self.now = first.at;
            return Some(first.event);
        }
        self.now = self.now.max(until);
        None
    }

    /// Number of events still to come.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is to come.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_time_order_and_ties_in_scheduling_order() {
        let mut queue = Queue::default();
        queue.schedule(5, "b");
        queue.schedule(3, "a");
        queue.schedule(5, "c");
        assert_eq!(queue.next(4), Some("a"));
        assert_eq!(queue.next(4), None);
        assert_eq!(queue.now(), 4);
        queue.schedule(1, "late");
        let rest: Vec<_> = core::iter::from_fn(|| queue.next(9)).collect();
        assert_eq!((rest, queue.now()), (vec!["late", "b", "c"], 9));
    }
}
