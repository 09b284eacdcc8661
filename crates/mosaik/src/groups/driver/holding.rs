//! [`Holding`]: when a leader's batch of commands waits for more to come.
//!
//! Callers that get their answers are likely to call again at once, and one larger entry costs all
//! members less than several small ones. One caller alone never waits, once others that there were are
//! forgotten. Waiting ends by the driver's timers, which are a millisecond late at most.

use {core::time::Duration, mosaik_primitives::time::Instant};

/// Commands that make a batch worth an entry of its own.
const FULL_BATCH: usize = 64;
/// How long a batch may wait where nothing slower than processors decides.
const HOLD: Duration = Duration::from_millis(1);
/// How long a batch may wait for a disk.
const HOLD_FOR_DISK: Duration = Duration::from_millis(20);
/// A store that takes this long decides the pace: no call comes back sooner for being stored
/// apart.
const SLOW_STORE: Duration = Duration::from_micros(500);

/// A batch that could be proposed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) calls: usize,
    pub(super) commands: usize,
    /// Calls proposed before it and not answered yet.
    pub(super) under_way: usize,
}

/// Whether a group's batches wait.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// Since when there is a batch that waits.
    since: Option<Instant>,
    /// Until when it does.
    until: Option<Instant>,
    /// What the store takes when nothing else is before it; nothing where all is in memory.
    store_time: Duration,
    /// As many calls as there were at once of late.
    callers: usize,
    /// When calls were answered last.
    answered: Option<Instant>,
}

impl Holding {
    /// The store has taken so long for a batch.
    pub(super) fn note_stored(&mut self, took: Duration) {
        // The least of late: what is more was spent in a queue.
        let longer = self.store_time + self.store_time / 16 + Duration::from_micros(1);
        self.store_time = match self.store_time {
            Duration::ZERO => took,
            _ => took.min(longer),
        };
    }

    /// Calls have been answered: who made them may come back.
    pub(super) fn note_answered(&mut self, now: Instant) {
        self.answered = Some(now);
    }

    /// Whether a batch of a leader waits a moment longer.
    pub(super) fn holds(&mut self, batch: Batch, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let callers = batch.calls + batch.under_way;
        self.callers = self.callers.max(callers);
        self.until = self.patience(batch, since).filter(|until| *until > now);
        if self.until.is_none() {
            // Those that stay away are forgotten.
            self.callers = callers.max(self.callers - self.callers.div_ceil(4));
            self.since = None;
        }
        self.until.is_some()
    }

    /// Until when a batch waits that is there since then; nothing where there is nothing to wait
    /// for.
    fn patience(&self, batch: Batch, since: Instant) -> Option<Instant> {
        if batch.commands >= FULL_BATCH {
            return None;
        }
        if self.store_time < SLOW_STORE {
            // As many as are under way gain nothing by waiting for them.
            return (batch.calls < batch.under_way).then(|| since + HOLD);
        }
        if batch.under_way > 0 {
            // It would only wait in the store's queue.
            return Some(since + (self.store_time * 2).min(HOLD_FOR_DISK));
        }
        let missing = batch.calls < self.callers;
        let answered = self.answered.filter(|_| missing)?;
        Some(answered + self.store_time.min(HOLD_FOR_DISK) / 4)
    }

    /// Until when a batch waits that was held.
    pub(super) const fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use {super::*, std::collections::VecDeque};

    fn at(micros: u64) -> Instant {
        Instant::ZERO + Duration::from_micros(micros)
    }

    fn batch(calls: usize, under_way: usize) -> Batch {
        Batch {
            calls,
            commands: calls,
            under_way,
        }
    }

    fn with_store(time: Duration) -> Holding {
        let mut holding = Holding::default();
        holding.note_stored(time);
        holding
    }

    /// Entries and calls answered in a second of so many callers, each of which calls again
    /// `back` after its answer, on a store that takes `time` for whatever it was given.
    fn run(callers: usize, time: Duration, back: Duration) -> (usize, usize) {
        const STEP: Duration = Duration::from_micros(50);
        let mut holding = with_store(time);
        let (mut calls, mut under_way) = (0, 0);
        // Half of them call at first, and the others a moment later.
        let mut returning = VecDeque::from([(at(0), callers / 2), (at(100), callers.div_ceil(2))]);
        let mut queued = VecDeque::new();
        let mut storing: Option<(Instant, usize)> = None;
        let (mut entries, mut answered) = (0, 0);
        let mut now = at(0);
        while now < at(1_000_000) {
            if let Some((until, count)) = storing.take_if(|(until, _)| *until <= now) {
                holding.note_answered(until);
                under_way -= count;
                answered += count;
                returning.push_back((now + back, count));
            }
            if storing.is_none() && !queued.is_empty() {
                // What waits in the store's queue is stored together.
                storing = Some((now + time, queued.drain(..).sum()));
            }
            while let Some((_, count)) = returning.pop_front_if(|(at, _)| *at <= now) {
                calls += count;
            }
            if calls > 0 && !holding.holds(batch(calls, under_way), now) {
                queued.push_back(calls);
                under_way += std::mem::take(&mut calls);
                entries += 1;
            }
            now += STEP;
        }
        (entries, answered)
    }

    #[test]
    fn one_caller_alone_never_waits() {
        for store_time in [Duration::ZERO, Duration::from_millis(5)] {
            let mut holding = with_store(store_time);
            for round in 0..100 {
                holding.note_answered(at(round * 1_000));
                assert!(!holding.holds(batch(1, 0), at(round * 1_000 + 1)));
            }
        }
    }

    #[test]
    fn in_memory_a_batch_waits_for_more_than_it_has_and_not_for_long() {
        let mut holding = Holding::default();
        assert!(holding.holds(batch(5, 6), at(0)));
        assert_eq!(holding.until(), Some(at(1_000)));
        assert!(!holding.holds(batch(5, 6), at(1_000)), "it has waited");
        assert!(!holding.holds(batch(6, 6), at(1_001)), "it has as many");
        assert!(!holding.holds(batch(FULL_BATCH, 100), at(1_002)));
        assert_eq!(holding.until(), None);
    }

    #[test]
    fn halves_that_would_take_turns_at_a_slow_store_come_together() {
        for callers in [2, 7, 63, 64] {
            let (entries, answered) = run(callers, Duration::from_millis(4), at(300).since(at(0)));
            // 4.3 ms and what the steps of this test add for each; with turns it would be half.
            assert!(answered >= callers * 215, "{callers}: {answered}");
            assert!(entries * callers <= answered + 4 * callers, "{entries}");
        }
    }

    #[test]
    fn callers_that_stay_away_are_forgotten() {
        let mut holding = with_store(Duration::from_millis(4));
        assert!(!holding.holds(batch(FULL_BATCH, 0), at(0)));
        let mut now = at(10_000);
        let mut waited = 0;
        for _ in 0..100 {
            holding.note_answered(now);
            now += Duration::from_micros(100);
            if holding.holds(batch(1, 0), now) {
                let until = holding.until().expect("it waits for a time");
                assert!(until.since(now) <= Duration::from_millis(1));
                assert!(!holding.holds(batch(1, 0), until));
                now = until;
                waited += 1;
            }
            now += Duration::from_millis(4);
        }
        assert!((1..20).contains(&waited), "{waited}");
    }

    #[test]
    fn nobody_waits_longer_for_a_store_than_twice_what_it_takes() {
        for (store_time, longest) in [(4, 8), (1_000, 20)] {
            let mut holding = with_store(Duration::from_millis(store_time));
            assert!(holding.holds(batch(1, 1), at(0)));
            assert_eq!(holding.until(), Some(at(longest * 1_000)));
            assert!(!holding.holds(batch(1, 1), at(longest * 1_000)));
        }
    }

    #[test]
    fn what_the_store_takes_is_told_from_what_waited_before_it() {
        let mut holding = with_store(Duration::from_millis(1));
        for _ in 0..10 {
            holding.note_stored(Duration::from_millis(2));
            holding.note_stored(Duration::from_millis(1));
        }
        assert!(holding.store_time <= Duration::from_micros(1_100));
        for _ in 0..100 {
            holding.note_stored(Duration::from_millis(2));
        }
        assert_eq!(holding.store_time, Duration::from_millis(2));
    }
}
