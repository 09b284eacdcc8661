//! The demo's nodes: one that streams, the others that check what they get.

use {
    super::{
        super::failure::Failure,
        board::{NodeSample, Part, Sample},
        group::{Counting, GroupReport, MEMBERS},
        home::Home,
        reading::{Audit, Reading},
    },
    core::time::Duration,
    futures::SinkExt,
    mosaik::{
        Digest, Network, PeerId, StreamId, discovery, futures,
        network::Preset,
        streams::{Consumer, Producer},
    },
    std::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
        time::Instant,
    },
    tokio::{
        sync::watch,
        task::JoinHandle,
        time::{sleep, timeout},
    },
    tokio_util::sync::CancellationToken,
};

/// For the nodes to find each other, and for the consumers to get what is on its way.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two bursts at a given rate.
const BURST: Duration = Duration::from_millis(2);

/// All nodes of the demo.
pub(crate) struct Nodes {
    networks: Vec<Network>,
    /// Of those that live apart.
    homes: Vec<Option<Arc<Home>>>,
    tallies: Vec<Arc<Tally>>,
    counting: Counting,
    started: Instant,
}

/// What a node did, for the board.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) items: AtomicU64,
    bytes: AtomicU64,
    clean: AtomicBool,
    stop: CancellationToken,
}

/// What came of it.
pub(crate) struct Report {
    /// Items sent.
    pub(crate) sent: u64,
    /// How long sending took.
    pub(crate) took: Duration,
    /// By consumer; `None` for one that was killed.
    pub(crate) audits: Vec<Option<Audit>>,
    /// Of the group, if there is one.
    pub(crate) group: Option<GroupReport>,
    /// How many of how many pairs knew each other when sending began.
    pub(crate) acquaintance: (usize, usize),
    /// How long that took.
    pub(crate) acquainted_after: Duration,
}

impl Nodes {
    /// Starts the nodes; all but the first are given the first to begin with.
    pub(crate) async fn start(count: usize) -> Result<Self, Failure> {
        assert!(count >= 2, "a producer and a consumer");
        let network_id = Digest::random();
        let mut networks: Vec<Network> = Vec::with_capacity(count);
        let mut homes = Vec::with_capacity(count);
        let started = Instant::now();
        for index in 0..count {
            let mut discovery =
                discovery::Config::builder().with_rtt_probe_interval(Duration::from_millis(500));
            if let Some(first) = networks.first() {
                discovery = discovery.with_bootstrap(first.local().addr());
            }
            let building = Network::builder(network_id)
                .with_preset(Preset::Isolated)
                .with_discovery(discovery)
                .build();
            let is_member = count >= MEMBERS.end && MEMBERS.contains(&index);
            if is_member {
                let home = Home::new()?;
                networks.push(home.run(building).await??);
                homes.push(Some(Arc::new(home)));
            } else {
                networks.push(building.await?);
                homes.push(None);
            }
        }
        let tally = || {
            Arc::new(Tally {
                items: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                clean: AtomicBool::new(true),
                stop: CancellationToken::new(),
            })
        };
        let tallies: Vec<_> = networks.iter().map(|_| tally()).collect();
        let members = networks.iter().zip(&homes).zip(&tallies).enumerate();
        let members = members.filter_map(|(node, ((network, home), tally))| {
            Some((node, network, home.as_ref()?, tally))
        });
        let counting = Counting::start(members).await?;
        Ok(Self {
            networks,
            homes,
            tallies,
            counting,
            started,
        })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.networks
            .iter()
            .map(|network| network.local().id().to_string()[..6].into())
            .collect()
    }

    /// What the nodes did so far.
    pub(crate) fn sample(&self) -> Sample {
        let ids: Vec<PeerId> = self
            .networks
            .iter()
            .map(|network| network.local().id())
            .collect();
        let group = self.counting.sample();
        let nodes = self.networks.iter().zip(&self.tallies).enumerate();
        let nodes = nodes.map(|(index, (network, tally))| {
            let catalog = network.discovery().catalog();
            let rtt = |peer: &PeerId| network.discovery().rtt(peer);
            let part = match &group {
                Some(group) if group.killed == Some(index) => Part::Killed,
                Some(group) if group.leader == Some(index) => Part::Leader,
                Some(_) if MEMBERS.contains(&index) => Part::Member,
                _ => Part::None,
            };
            NodeSample {
                part,
                knows: ids.iter().map(|id| catalog.get(id).is_some()).collect(),
                items: tally.items.load(Ordering::Relaxed),
                bytes: tally.bytes.load(Ordering::Relaxed),
                clean: tally.clean.load(Ordering::Relaxed),
                rtt: if index == 0 {
                    ids.iter().filter_map(rtt).max()
                } else {
                    rtt(&ids[0])
                },
            }
        });
        Sample {
            at: self.started.elapsed(),
            nodes: nodes.collect(),
            group: group.clone(),
        }
    }

    /// Streams for `length`, or until it is told to stop, and waits for what is on its way.
    pub(crate) async fn stream(
        &self,
        length: Duration,
        rate: u32,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<Report, Failure> {
        let stream_id = StreamId::from("readings");
        let consumers = self.consume(stream_id);
        let others = consumers.len();
        let mut producer = self.networks[0]
            .streams()
            .producer::<Reading>()
            .with_stream_id(stream_id)
            .disconnect_lagging(false)
            .build()
            .map_err(|error| Failure::new(error.to_string()))?;
        let subscribed = producer.when().subscribed().minimum_of(others);
        let acquainted = async {
            self.acquainted().await;
            subscribed.await;
            self.counting.online().await;
        };
        let acquainted = tokio::select! {
            // Short of it, the demo goes on and reports it.
            acquainted = timeout(PATIENCE, acquainted) => acquainted,
            _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
        };
        let acquaintance = self.acquaintance();
        let acquainted_after = self.started.elapsed();
        if acquainted.is_err() {
            return Err(Failure::new("the nodes did not find each other"));
        }
        let begun = Instant::now();
        let until = begun + length;
        let mut interrupted = stopped.clone();
        let striking = async {
            tokio::select! {
                // The same for a demo that was stopped and one whose handle to stop it is gone.
                _ = interrupted.wait_for(|stopped| *stopped) => {}
                () = sleep(length / 3) => self.counting.strike().await,
            }
        };
        let producing = produce(&mut producer, until, rate, &self.tallies[0], stopped);
        let (sent, ()) = tokio::join!(producing, striking);
        let sent = sent?;
        let took = begun.elapsed();
        let audits = self.finish(consumers, sent).await?;
        Ok(Report {
            sent,
            took,
            audits,
            group: self.counting.report().await,
            acquaintance,
            acquainted_after,
        })
    }

    /// Lets all but the first node receive, each where it lives.
    fn consume(&self, stream_id: StreamId) -> Vec<JoinHandle<Audit>> {
        self.networks[1..]
            .iter()
            .zip(&self.homes[1..])
            .zip(&self.tallies[1..])
            .map(|((network, home), tally)| {
                let streams = network.streams().clone();
                let tally = Arc::clone(tally);
                let consuming = async move {
                    let builder = streams.consumer::<Reading>();
                    consume(builder.with_stream_id(stream_id).build(), tally).await
                };
                match home {
                    Some(home) => home.spawn(consuming),
                    None => tokio::spawn(consuming),
                }
            })
            .collect()
    }

    /// Waits until every consumer has everything, or nothing has come for a while.
    async fn finish(
        &self,
        consumers: Vec<JoinHandle<Audit>>,
        sent: u64,
    ) -> Result<Vec<Option<Audit>>, Failure> {
        let killed = self.counting.killed();
        let received = || -> Vec<u64> {
            let tallies = self.tallies.iter().enumerate().skip(1);
            tallies
                .filter(|(node, _)| Some(*node) != killed)
                .map(|(_, tally)| tally.items.load(Ordering::Relaxed))
                .collect()
        };
        let mut seen = received();
        let mut since = Instant::now();
        while seen.iter().any(|items| *items < sent) && since.elapsed() < PATIENCE {
            sleep(Duration::from_millis(10)).await;
            let now = received();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
        // A little longer, for what must not come: more than was sent.
        sleep(Duration::from_millis(100)).await;
        let mut audits = Vec::new();
        for ((consumer, tally), node) in consumers.into_iter().zip(&self.tallies[1..]).zip(1..) {
            tally.stop.cancel();
            let audit = consumer.await;
            audits.push(match audit {
                Ok(audit) => Some(audit),
                Err(_) if killed == Some(node) => None,
                Err(error) => return Err(Failure::new(error.to_string())),
            });
        }
        Ok(audits)
    }

    /// Resolves when every node knows every other.
    async fn acquainted(&self) {
        for network in &self.networks {
            let mut catalog = network.discovery().catalog_watch();
            let others = self.networks.len() - 1;
            // The sender lives as long as the network, so this ends only when it is met.
            if catalog
                .wait_for(|catalog| catalog.peers_count() >= others)
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// How many of how many pairs know each other.
    fn acquaintance(&self) -> (usize, usize) {
        let count = self.networks.len();
        let known = self
            .networks
            .iter()
            .map(|network| network.discovery().catalog().peers_count());
        (known.sum(), count * (count - 1))
    }

    /// Closes all nodes that were not killed.
    pub(crate) async fn close(self) {
        let killed = self.counting.killed();
        let (dead, alive): (Vec<_>, Vec<_>) = self
            .networks
            .into_iter()
            .enumerate()
            .partition(|(node, _)| Some(*node) == killed);
        let closing = alive.into_iter().map(|(_, network)| network.close());
        futures::future::join_all(closing).await;
        // The killed say nothing, not even that they were not closed.
        dead.into_iter().for_each(core::mem::forget);
    }
}

/// Sends readings at the given rate; answers how many.
async fn produce(
    producer: &mut Producer<Reading>,
    until: Instant,
    rate: u32,
    tally: &Tally,
    stopped: watch::Receiver<bool>,
) -> Result<u64, Failure> {
    let begun = Instant::now();
    let mut sent = 0u64;
    while Instant::now() < until && !*stopped.borrow() {
        let due = match rate {
            0 => sent + 1_000,
            rate => (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64 + 1,
        };
        while sent < due {
            let reading = Reading::nth(sent);
            producer
                .feed(reading)
                .await
                .map_err(|error| Failure::new(error.to_string()))?;
            sent += 1;
        }
        tally.items.store(sent, Ordering::Relaxed);
        let bytes: usize = producer
            .consumers()
            .map(|channel| channel.stats().bytes())
            .sum();
        tally.bytes.store(bytes as u64, Ordering::Relaxed);
        if rate > 0 {
            sleep(BURST).await;
        }
    }
    Ok(sent)
}

/// Takes readings until it is told to stop or the stream ends.
async fn consume(mut consumer: Consumer<Reading>, tally: Arc<Tally>) -> Audit {
    let mut audit = Audit::default();
    loop {
        let reading = tokio::select! {
            reading = consumer.recv() => reading,
            () = tally.stop.cancelled() => None,
        };
        let Some(reading) = reading else { return audit };
        audit.observe(&reading);
        while let Ok(reading) = consumer.try_recv() {
            audit.observe(&reading);
        }
        tally.items.store(audit.received, Ordering::Relaxed);
        tally
            .bytes
            .store(consumer.stats().bytes() as u64, Ordering::Relaxed);
        tally.clean.store(audit.is_clean(), Ordering::Relaxed);
    }
}
