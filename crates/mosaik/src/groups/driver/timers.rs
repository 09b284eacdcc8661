//! When the driver has to look at what.

use {
    super::inbox::Slot, crate::PeerId, mosaik_primitives::time::Instant,
    mosaik_protocol::consensus::PeerKey, std::collections::BTreeSet,
};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A core's tick.
    Core(Slot),
    /// A bond's next attempt, or the end of its patience or its ticket.
    Bond(Slot, PeerKey),
    /// The end of a group's departure.
    Leave(Slot),
    /// The next round of asking around.
    Probe(Slot),
    /// The time to look again at what is held back of members that catch up.
    Pacing(Slot),
    /// The next attempt to open a lane.
    Lane(PeerId),
}

/// Deadlines in their order. What is quiet has none and costs nothing.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    /// Moves a timer from where its owner says that it is to `next`.
    pub(super) fn set(&mut self, timer: Timer, at: &mut Option<Instant>, next: Option<Instant>) {
        if *at == next {
            return;
        }
        if let Some(at) = *at {
            self.0.remove(&(at, timer));
        }
        if let Some(next) = next {
            self.0.insert((next, timer));
        }
        *at = next;
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.0.first()?;
        if at > now {
            return None;
        }
        self.0.remove(&(at, timer));
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_move_and_come_in_order() {
        let mut timers = Timers::default();
        let (mut one, mut two) = (None, None);
        let at = Instant::from_millis;
        timers.set(Timer::Core(1), &mut one, Some(at(30)));
        timers.set(Timer::Core(2), &mut two, Some(at(20)));
        timers.set(Timer::Core(1), &mut one, Some(at(10)));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.pop(at(25)), Some(Timer::Core(1)));
        assert_eq!(timers.pop(at(25)), Some(Timer::Core(2)));
        timers.set(Timer::Core(1), &mut None, Some(at(1)));
        timers.set(Timer::Core(1), &mut Some(at(1)), None);
        assert_eq!(timers.next(), None);
    }
}
