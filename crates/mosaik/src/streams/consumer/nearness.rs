//! Measures producers whose distance decides whether they are wanted.
//!
//! Only peers with a link are measured anyway, and who is not subscribed to needs none. So a
//! consumer that wants near producers has those measured that it would take if they were near.

use {
    crate::{
        PeerId,
        discovery::{Discovery, PeerInfo},
    },
    core::{convert::Infallible, time::Duration},
    futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered},
    std::collections::HashMap,
    tokio::time::Instant,
};

/// Producers that one consumer has measured at one time.
const AT_ONCE: usize = 4;
/// No producer is measured more often, whatever is configured.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Whether another round-trip time would change what `wanted` says of a peer.
///
/// A predicate cannot be looked into, so it is asked about times from 16 us to 18 minutes, each
/// four times the one before.
pub(super) fn decides(peer: &PeerInfo, wanted: impl Fn(&PeerInfo) -> bool) -> bool {
    let now = wanted(peer);
    (2..16)
        .map(|turn| Duration::from_micros(1 << (2 * turn)))
        .any(|rtt| wanted(&peer.with_rtt(rtt)) != now)
}

/// The producers to be measured, and the measurements under way.
pub(super) struct Measuring {
    discovery: Discovery,
    interval: Duration,
    /// When each is due.
    due: HashMap<PeerId, Instant>,
    under_way: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Measuring {
    pub(super) fn new(discovery: Discovery) -> Self {
        let interval = discovery.measure_interval().max(INTERVAL_MIN);
        // A configuration of centuries is as good as one of an hour.
        let interval = interval.min(Duration::from_hours(1));
        Self {
            discovery,
            interval,
            due: HashMap::new(),
            under_way: FuturesUnordered::new(),
        }
    }

    /// Measures exactly these from now on: at once where nothing is known yet.
    pub(super) fn set(&mut self, peers: &[PeerInfo]) {
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.due);
        for peer in peers {
            let first = || peer.rtt().map_or(now, |_| now + self.interval);
            let due = before.remove(peer.id()).unwrap_or_else(first);
            self.due.insert(*peer.id(), due);
        }
    }

    /// Measures until it is dropped; what is under way goes on at the next call.
    pub(super) async fn run(&mut self) -> Infallible {
        loop {
            let next = self.start_due();
            let next = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(()) = self.under_way.next() => {}
                () = next => {}
            }
        }
    }

    /// Starts what is due and has room; answers when the next is due, should there be room.
    fn start_due(&mut self) -> Option<Instant> {
        while self.under_way.len() < AT_ONCE {
            let (peer, due) = self.due.iter_mut().min_by_key(|(_, due)| **due)?;
            let now = Instant::now();
            if *due > now {
                return Some(*due);
            }
            *due = now + self.interval;
            let (peer, discovery) = (*peer, self.discovery.clone());
            let measured = async move { discovery.measure(peer).await };
            self.under_way.push(Box::pin(measured));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::{
            Digest, Network,
            discovery::{Config, ConfigBuilder},
            network::Preset,
            streams::Producer,
        },
    };

    /// A producer's node, and one that was told of it by nobody and has no link with it.
    async fn two(config: ConfigBuilder) -> (Network, Network, Producer<u32>) {
        let network = || Network::builder(Digest::from_u8(1)).with_preset(Preset::Isolated);
        let first = network().build().await.unwrap();
        let producer = first.streams().produce::<u32>();
        let second = network().with_discovery(config).build().await.unwrap();
        assert!(second.discovery().feed(first.discovery().me()));
        (first, second, producer)
    }

    /// Awaits `future` for a minute, or longer on a machine that `TIME_FACTOR` says is slow.
    async fn in_time(what: &str, future: impl Future<Output = ()>) {
        let factor = std::env::var("TIME_FACTOR").ok();
        let factor = factor.and_then(|factor| factor.parse().ok());
        let patience = Duration::from_mins(1).mul_f64(factor.unwrap_or(1.0_f64).max(0.1));
        let ended = tokio::time::timeout(patience, future).await;
        ended.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    #[tokio::test]
    async fn a_round_trip_decides_only_where_a_predicate_asks_for_it() {
        let (_first, second, _producer) = two(Config::builder()).await;
        let peer = &second.discovery().infos()[0];
        assert_eq!(peer.rtt(), None);
        let ms = Duration::from_millis;
        assert!(decides(peer, |peer| peer.rtt_below(ms(1))));
        assert!(decides(peer, |peer| peer.rtt().is_none()));
        assert!(decides(peer, |peer| peer.rtt_below(ms(50))
            && !peer.rtt_below(ms(10))));
        assert!(!decides(peer, |_| true));
        assert!(!decides(peer, |peer| peer.rtt_below(ms(1))
            && !peer.tags().is_empty()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_producer_that_is_too_far_is_dropped_and_taken_again_when_it_is_nearer() {
        let config = Config::builder()
            .with_max_rtt(Duration::from_secs(30))
            .with_rtt_probe_interval(INTERVAL_MIN);
        let (first, second, producer) = two(config).await;
        let _consumer = second.streams().consume::<u32>();
        in_time("unmeasured, it is taken", producer.when().online()).await;
        // No entry changes: it is the measurement that tells.
        let far = Duration::from_hours(1);
        second.discovery().pretend_rtt(&first.local().id(), far);
        in_time("too far", producer.when().offline()).await;
        in_time("nearer with each measurement", producer.when().online()).await;
    }
}
