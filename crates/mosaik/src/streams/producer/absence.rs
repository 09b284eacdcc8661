//! What a consumer missed between a subscription and the one that continues it.
//!
//! Who takes everything says itself at which place of the producer's order it stopped, and needs
//! no memory here. What a selection would have selected cannot be told later, so subscriptions
//! that select are remembered for a while; who comes back after that is told that it may have
//! missed something, and not how much.

use {
    super::fanout::SubscriptionId,
    crate::{PeerId, primitives::Datum, streams::greeting::Resume},
    mosaik_protocol::subscription::Selector,
    std::{
        collections::VecDeque,
        time::{Duration, Instant},
    },
};

/// Subscriptions that ended are remembered this long, to tell who comes back what it missed.
const ABSENCE: Duration = Duration::from_mins(2);
/// And this many of them at most, the oldest going first.
const ABSENT_MAX: usize = 256;

/// Items missed since the subscription that another one continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// This many.
    Counted(u64),
    /// Nobody knows how many, or whether any.
    Uncounted,
}

impl Missed {
    /// What is known to be missed.
    pub(super) const fn at_least(self) -> u64 {
        match self {
            Self::Counted(count) => count,
            Self::Uncounted => 0,
        }
    }

    /// What is missed by a consumer that was to be told this, was offered so many items after
    /// it, and has been told of and received so many.
    pub(super) const fn and(self, offered: u64, received: u64) -> Self {
        match self {
            Self::Counted(missed) => Self::Counted((missed + offered).saturating_sub(received)),
            // It is told before the first item: who received one has been told.
            Self::Uncounted if received == 0 => Self::Uncounted,
            Self::Uncounted => Self::Counted(offered.saturating_sub(received)),
        }
    }
}

/// A subscription that selects.
pub(super) struct Selecting {
    pub(super) id: SubscriptionId,
    pub(super) peer: PeerId,
    pub(super) selector: Selector,
    /// What its consumer is told first.
    pub(super) missed: Missed,
}

/// One that ended and may be resumed.
struct Absent {
    of: Selecting,
    /// Items it was or would have been offered.
    offered: u64,
    since: Instant,
}

/// The subscriptions that ended and may be resumed, oldest first.
#[derive(Default)]
pub(super) struct Absences(VecDeque<Absent>);

impl Absences {
    pub(super) fn remember(&mut self, of: Selecting, offered: u64, since: Instant) {
        self.forget(since);
        if self.0.len() == ABSENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Absent { of, offered, since });
    }

    fn forget(&mut self, now: Instant) {
        let is_over = |one: &Absent| now.duration_since(one.since) > ABSENCE;
        while self.0.front().is_some_and(is_over) {
            self.0.pop_front();
        }
    }

    /// Counts an item for those that would have been offered it.
    pub(super) fn push<D: Datum>(&mut self, item: &D) {
        if self.0.is_empty() {
            return;
        }
        self.forget(Instant::now());
        for absent in &mut self.0 {
            absent.offered += u64::from(absent.of.selector.wants(item));
        }
    }

    /// What a returning consumer missed; `None` when its subscription is not remembered.
    pub(super) fn take(&mut self, peer: PeerId, resume: Resume, now: Instant) -> Option<Missed> {
        self.forget(now);
        let id = resume.subscribed.subscription;
        let at = self
            .0
            .iter()
            .position(|one| one.of.id == id && one.of.peer == peer)?;
        let absent = self.0.remove(at)?;
        Some(absent.of.missed.and(absent.offered, resume.received))
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::{
            Digest,
            streams::{
                Criteria, frame,
                greeting::Subscribed,
                producer::{
                    ProducerConfig,
                    fanout::FrameSource,
                    shared::{Meter, Shared, Subscription},
                },
                status::ChannelsSender,
            },
        },
        bytes::BytesMut,
        std::sync::Arc,
    };

    const SESSION: u64 = 7;

    fn producer() -> Arc<Shared> {
        let config = ProducerConfig {
            stream_id: Digest::from_u8(1),
            buffer_size: 1024,
            disconnect_lagging: true,
            require: Box::new(|_| true),
            online_when: Box::new(|conditions| conditions),
            network_id: Digest::from_u8(2),
            max_consumers: usize::MAX,
            ticket_validators: Vec::new(),
            history: 0,
        };
        let meter = Meter::new(&["network", "stream"].map(|key| (key, String::new())));
        let channels = ChannelsSender::new();
        let shared = Shared::new(config, SESSION, |_, _| true, channels, meter, 1 << 20);
        Arc::new(shared)
    }

    fn push(producer: &Shared, items: core::ops::Range<u64>) {
        for item in items {
            let mut buffer = BytesMut::new();
            frame::begin_item(&mut buffer);
            item.encode_into(&mut buffer).unwrap();
            let start = frame::finish_item(&mut buffer);
            let mut frame = FrameSource::new(&mut buffer, start);
            let mut state = producer.state.lock();
            producer.push(&mut state, &item, &mut frame, &mut Vec::new());
        }
    }

    fn peer() -> PeerId {
        iroh::SecretKey::generate().public()
    }

    fn even() -> Criteria {
        Criteria::default().sample(1, 2)
    }

    /// What the consumer of a subscription says of it later.
    fn left(subscription: &Subscription, received: u64) -> Resume {
        let subscribed = Subscribed {
            session: SESSION,
            subscription: subscription.id,
            start: subscription.start,
        };
        Resume {
            subscribed,
            received,
        }
    }

    fn strangers(producer: &Arc<Shared>, criteria: &Criteria) {
        for _ in 0..=ABSENT_MAX {
            drop(producer.subscribe(peer(), criteria, None));
        }
    }

    #[test]
    fn who_takes_everything_is_told_what_it_missed_however_many_came_and_went() {
        let (producer, peer, all) = (producer(), peer(), Criteria::default());
        push(&producer, 0..10);
        let first = producer.subscribe(peer, &all, None).unwrap();
        push(&producer, 0..5);
        let resume = Some(left(&first, 3));
        drop(first);
        push(&producer, 0..4);
        strangers(&producer, &all);
        strangers(&producer, &even());
        let second = producer.subscribe(peer, &all, resume).unwrap();
        assert_eq!(second.missed, Missed::Counted(2 + 4));
        // The connection is lost before the consumer hears of it.
        let resume = Some(left(&second, 0));
        push(&producer, 0..1);
        let third = producer.subscribe(peer, &all, resume).unwrap();
        assert_eq!(third.missed, Missed::Counted(2 + 4 + 1));
        let resume = Some(left(&third, 7));
        drop((second, third));
        let fourth = producer.subscribe(peer, &all, resume).unwrap();
        assert_eq!(fourth.missed, Missed::Counted(0));
    }

    #[test]
    fn who_selects_and_is_forgotten_is_told_that_it_may_have_missed_something() {
        let (producer, peer) = (producer(), peer());
        let first = producer.subscribe(peer, &even(), None).unwrap();
        push(&producer, 0..10);
        let resume = Some(left(&first, 2));
        drop(first);
        strangers(&producer, &even());
        let second = producer.subscribe(peer, &even(), resume).unwrap();
        assert_eq!(second.missed, Missed::Uncounted);
        // The connection is lost before the consumer hears of it.
        let resume = Some(left(&second, 0));
        drop(second);
        let third = producer.subscribe(peer, &even(), resume).unwrap();
        assert_eq!(third.missed, Missed::Uncounted);
        push(&producer, 0..10);
        let resume = Some(left(&third, 4));
        drop(third);
        let fourth = producer.subscribe(peer, &even(), resume).unwrap();
        assert_eq!(fourth.missed, Missed::Counted(1));
    }

    #[test]
    fn who_selects_is_told_what_it_missed_before_its_old_subscription_was_given_up() {
        let (producer, consumer) = (producer(), peer());
        let first = producer.subscribe(consumer, &even(), None).unwrap();
        push(&producer, 0..10);
        let resume = Some(left(&first, 2));
        let second = producer.subscribe(consumer, &even(), resume).unwrap();
        assert_eq!(second.missed, Missed::Counted(3));
        let other = producer.subscribe(peer(), &even(), resume).unwrap();
        assert_eq!(other.missed, Missed::Uncounted, "it was another's");
    }

    #[test]
    fn an_absence_is_forgotten_in_time() {
        let (mut absences, peer, now) = (Absences::default(), peer(), Instant::now());
        let of = |id| Selecting {
            id,
            peer,
            selector: Selector::new(even()),
            missed: Missed::Counted(0),
        };
        let resume = |subscription| Resume {
            subscribed: Subscribed {
                session: SESSION,
                subscription,
                start: 0,
            },
            received: 1,
        };
        absences.remember(of(1), 3, now);
        absences.remember(of(2), 3, now);
        let told = absences.take(peer, resume(1), now + ABSENCE);
        assert_eq!(told, Some(Missed::Counted(2)));
        let later = now + ABSENCE + Duration::from_secs(1);
        assert_eq!(absences.take(peer, resume(2), later), None);
    }
}
