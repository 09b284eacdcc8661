//! A producer's keeper: cuts who is too slow, and who is no longer admitted.
//!
//! A consumer is too slow when senders find no room because of it, and either it took nothing
//! for [`STUCK`], or it stayed a whole buffer behind for [`BEHIND`] while others kept up. One
//! that is no faster than all the others sets the pace instead: cutting it would help nobody.
//! What it took is counted in bytes, as the transport takes them: an item may be so large that
//! the fastest consumer needs long for it.

use {
    super::{
        admission,
        fanout::{Standing, SubscriptionId},
        shared::Shared,
    },
    crate::{PeerId, discovery::Event, network::close::TooSlow, streams::Streams},
    core::time::Duration,
    std::{collections::HashMap, sync::Arc},
    tokio::sync::broadcast::error::RecvError,
};

/// How often the queue is looked at while senders find no room.
const LOOK: Duration = Duration::from_millis(50);
/// Looks without taking anything after which a consumer that holds senders up is cut: 2 s. One
/// that reads as fast as its connection allows makes room at the transport for an eighth of its
/// window at a time, 80 KiB, the first time after several round trips; that takes longer than a
/// moment where the path is long or narrow. While others keep up, [`BEHIND`] decides earlier.
const STUCK: u32 = 40;
/// Looks at a whole buffer behind the others after which a consumer is cut: 250 ms. Less would
/// cut off who was only not scheduled for a moment.
const BEHIND: u32 = 5;

/// Starts the keeper of a producer. It ends when the last subscription of a producer that closed
/// has: until then items are handed over, and only to who is admitted.
pub(super) fn spawn(streams: &Streams, shared: &Arc<Shared>) {
    let tasks = streams.0.links.tasks();
    if !shared.config.disconnect_lagging {
        tasks.spawn(readmit(streams.clone(), Arc::clone(shared)));
        return;
    }
    let (streams, shared) = (streams.clone(), Arc::clone(shared));
    tasks.spawn(async move {
        tokio::join!(cut_slow(Arc::clone(&shared)), readmit(streams, shared));
    });
}

/// What the referee remembers of a subscription between two looks.
#[derive(Clone, Copy, Default)]
struct Record {
    taken_bytes: u64,
    stuck: u32,
    behind: u32,
}

/// Decides who is too slow, from what it sees at each look.
#[derive(Default)]
struct Referee(HashMap<SubscriptionId, Record>);

impl Referee {
    /// Looks at a full queue; answers who has to go.
    fn look(&mut self, standings: &[Standing]) -> Vec<SubscriptionId> {
        // The queue is as full as its bounds in items and bytes allow, so the largest lag is a
        // whole buffer.
        let buffer = standings.iter().map(|one| one.lag).max().unwrap_or(0);
        let someone_keeps_up = standings.iter().any(|one| one.lag <= buffer / 2);
        let mut records = HashMap::with_capacity(standings.len());
        let mut slow = Vec::new();
        for one in standings {
            let holds_up = one.lag > 0 && one.lag >= buffer - buffer / 4;
            let known = self.0.get(&one.id);
            let mut record = known.copied().unwrap_or_default();
            let moved = known.is_none_or(|known| known.taken_bytes != one.taken_bytes);
            record.stuck = if holds_up && !moved {
                record.stuck + 1
            } else {
                0
            };
            // Who has more than half of it is not a whole buffer behind, though no item is whole.
            let has_half = one.part_bytes > one.lag_bytes / 2;
            record.behind = if holds_up && someone_keeps_up && !has_half {
                record.behind + 1
            } else {
                0
            };
            record.taken_bytes = one.taken_bytes;
            if record.stuck >= STUCK || record.behind >= BEHIND {
                slow.push(one.id);
            } else {
                records.insert(one.id, record);
            }
        }
        self.0 = records;
        slow
    }
}

/// Ends when the producer closes: after that nobody is held up.
async fn cut_slow(shared: Arc<Shared>) {
    loop {
        shared.refused.notified().await;
        let mut referee = Referee::default();
        loop {
            let standings = {
                let mut state = shared.state.lock();
                if state.fanout.is_closed() {
                    return;
                }
                // Senders that still wait count as refused anew.
                if !state.fanout.take_refused() && state.fanout.room() {
                    break;
                }
                state.fanout.standings()
            };
            for id in referee.look(&standings) {
                tracing::debug!(subscription = id, "consumer is too slow");
                shared.cut(id, TooSlow::REASON);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Looks again at who is admitted when entries change.
async fn readmit(streams: Streams, shared: Arc<Shared>) {
    let mut events = streams.0.discovery.events();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = shared.drained() => return,
        };
        let changed = match event {
            // One that had left the catalog is discovered again.
            Ok(Event::PeerUpdated(entry) | Event::PeerDiscovered(entry)) => Some(*entry.id()),
            Ok(_) => continue,
            // Some were missed: look at all.
            Err(RecvError::Lagged(_)) => None,
            Err(RecvError::Closed) => return,
        };
        for (key, channel) in shared.channels.snapshot().iter() {
            if changed.is_some_and(|changed| changed != channel.consumer_id) {
                continue;
            }
            let id = super::server::subscription_of(key);
            look_again(&streams, &shared, id, &channel.consumer_id);
        }
    }
}

/// Looks again whether a subscription's consumer is admitted, and until when.
pub(super) fn look_again(
    streams: &Streams,
    shared: &Shared,
    id: SubscriptionId,
    consumer: &PeerId,
) {
    let Some(peer) = streams.0.discovery.entry(consumer) else {
        return;
    };
    match admission::admit(&shared.config, &peer) {
        Ok(until) => shared.admissions.renew(id, peer.update_version(), until),
        Err(reason) => shared.cut(id, reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items of a hundred bytes.
    fn one(id: u64, lag: usize, taken: u64) -> Standing {
        Standing {
            id,
            lag,
            lag_bytes: 100 * lag,
            part_bytes: 0,
            taken_bytes: 100 * taken,
        }
    }

    #[test]
    fn who_takes_nothing_goes_even_when_alone() {
        let mut referee = Referee::default();
        for _ in 0..STUCK {
            assert!(referee.look(&[one(1, 100, 7)]).is_empty());
        }
        assert_eq!(referee.look(&[one(1, 100, 7)]), [1]);
    }

    #[test]
    fn who_is_behind_while_others_keep_up_goes() {
        let mut referee = Referee::default();
        for turn in 1..u64::from(BEHIND) {
            let standings = [one(1, 100, 20 * turn), one(2, 10, 90 + 20 * turn)];
            assert!(referee.look(&standings).is_empty());
        }
        assert_eq!(referee.look(&[one(1, 100, 500), one(2, 10, 590)]), [1]);
    }

    #[test]
    fn who_is_in_the_middle_of_an_item_is_neither_stuck_nor_a_buffer_behind() {
        let mut referee = Referee::default();
        for turn in 0..100 {
            let large = Standing {
                id: 1,
                lag: 1,
                lag_bytes: 1_000_000,
                part_bytes: 500_001 + turn,
                taken_bytes: 500_001 + turn as u64,
            };
            assert!(referee.look(&[large, one(2, 0, 10_000)]).is_empty());
        }
    }

    #[test]
    fn who_is_as_fast_as_all_others_sets_the_pace() {
        let mut referee = Referee::default();
        for turn in 0..100 {
            assert!(
                referee
                    .look(&[one(1, 100, turn), one(2, 90, turn + 10)])
                    .is_empty()
            );
        }
    }
}
