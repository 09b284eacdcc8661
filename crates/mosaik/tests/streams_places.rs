//! Who is refused a stream, and when it is asked for again.

mod support;

use {
    futures::StreamExt,
    mosaik::{
        Digest, Network,
        discovery::{self, PeerEntry},
        streams::{
            Consumer, Producer,
            backoff::Backoff,
            consumer::{ConsumerEvent, Events},
            status::ChannelConditions,
        },
    },
    std::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicUsize, Ordering},
        },
        time::{Duration, Instant},
    },
    support::{isolated, network_id, node, node_knowing, patience, until, within},
};

/// A few short waits, then as the test says, until it is reset; counts the latter.
#[derive(Clone)]
struct Then {
    after: Option<Duration>,
    short: u32,
    reached: Arc<AtomicUsize>,
}

/// Enough for an entry to arrive where it is asked for.
const SHORT: u32 = 20;
/// No test waits for this.
const HOUR: Duration = Duration::from_hours(1);

impl Then {
    fn new(after: Option<Duration>) -> Self {
        Self {
            after,
            short: SHORT,
            reached: Arc::default(),
        }
    }

    /// Resolves when the short waits are over.
    async fn reached(&self) {
        until("the short waits are over", || {
            self.reached.load(Ordering::Acquire) > 0
        })
        .await;
    }
}

impl Backoff for Then {
    fn reset(&mut self) {
        self.short = SHORT;
    }

    fn next_backoff(&mut self) -> Option<Duration> {
        if self.short == 0 {
            self.reached.fetch_add(1, Ordering::AcqRel);
            return self.after;
        }
        self.short -= 1;
        Some(Duration::from_millis(50))
    }
}

async fn refused(events: &mut Events) -> String {
    within("a refusal", async {
        loop {
            match events.next().await {
                Some(ConsumerEvent::Refused { reason, .. }) => {
                    break String::from_utf8_lossy(&reason.reason).into_owned();
                }
                Some(_) => {}
                None => panic!("the events ended"),
            }
        }
    })
    .await
}

/// A node in a runtime of its own. Ending the runtime ends all of the node's tasks at once,
/// like killing its process.
struct Doomed {
    runtime: tokio::runtime::Runtime,
    held: Vec<(Network, Vec<Consumer<u32>>)>,
}

impl Doomed {
    async fn consuming(id: Digest, peer: &Network, streams: &'static [&'static str]) -> Self {
        let addr = peer.local().addr();
        let start = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let held = runtime.block_on(async {
                let discovery = discovery::Config::builder().with_bootstrap(addr);
                let network = isolated(id).with_discovery(discovery).build().await;
                let network = network.expect("a node starts on loopback");
                let consume = |stream: &&str| {
                    let builder = network.streams().consumer::<u32>();
                    builder.with_stream_id(*stream).build()
                };
                let consumers = streams.iter().map(consume).collect();
                (network, consumers)
            });
            Self {
                runtime,
                held: vec![held],
            }
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    fn kill(self) {
        self.runtime.shutdown_background();
        // Dropping what it held would be a farewell.
        std::mem::forget(self.held);
    }
}

fn producer(at: &Network, stream: &str) -> Producer<u32> {
    let builder = at.streams().producer().with_stream_id(stream);
    builder.with_max_consumers(1).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_backoff_gave_up_is_still_admitted_later() {
    let id = network_id();
    let a = node(id).await;
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let producer = a
        .streams()
        .producer::<u32>()
        .require(move |_| is_open.load(Ordering::Acquire))
        .build()
        .unwrap();
    let b = node_knowing(id, &a).await;
    let gives_up = Then::new(None);
    let _consumer = b
        .streams()
        .consumer::<u32>()
        .with_backoff(gives_up.clone())
        .build();
    gives_up.reached().await;
    // No entry changes: nothing tells the consumer.
    open.store(true, Ordering::Release);
    within("admitted", producer.when().online()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_consumer_asks_again_when_its_own_entry_changes() {
    let id = network_id();
    let a = node(id).await;
    let producer = a
        .streams()
        .producer::<u32>()
        .require(|peer| peer.tags().contains(&"reader".into()))
        .build()
        .unwrap();
    let b = node_knowing(id, &a).await;
    let waits = Then::new(Some(HOUR));
    let _consumer = b
        .streams()
        .consumer::<u32>()
        .with_backoff(waits.clone())
        .build();
    waits.reached().await;
    b.discovery().add_tags("reader");
    within("admitted", producer.when().online()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freed_place_is_taken_however_long_the_backoff_waits() {
    let id = network_id();
    let a = node(id).await;
    let producer = producer(&a, "place");
    let b = node_knowing(id, &a).await;
    let consume = |at: &Network| {
        let builder = at.streams().consumer::<u32>().with_stream_id("place");
        let mut waits = Then::new(Some(HOUR));
        waits.short = 0;
        builder.with_backoff(waits).build()
    };
    let first = consume(&b);
    within("the first", producer.when().online()).await;
    let c = node_knowing(id, &a).await;
    let second = consume(&c);
    assert_eq!(refused(&mut second.events()).await, "NoCapacity");
    drop(first);
    let freed = Instant::now();
    let next = next(&producer, &c);
    within("the next", next).await;
    assert!(freed.elapsed() < patience(10), "{:?}", freed.elapsed());
}

/// Resolves when this node consumes.
fn next(producer: &Producer<u32>, at: &Network) -> ChannelConditions {
    let id = at.local().id();
    let is_it = move |peer: &PeerEntry| *peer.id() == id;
    producer.when().subscribed().with_predicate(is_it)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_place_of_a_killed_consumer_is_freed_and_goes_to_the_next() {
    let id = network_id();
    let a = node(id).await;
    let (alone, wanted) = (producer(&a, "alone"), producer(&a, "wanted"));
    let doomed = Doomed::consuming(id, &a, &["alone", "wanted"]).await;
    within("online", async {
        tokio::join!(alone.when().online(), wanted.when().online())
    })
    .await;
    let c = node_knowing(id, &a).await;
    let second = c
        .streams()
        .consumer::<u32>()
        .with_stream_id("wanted")
        .build();
    assert_eq!(refused(&mut second.events()).await, "NoCapacity");

    let killed = Instant::now();
    doomed.kill();
    let offline = tokio::time::timeout(patience(3), alone.when().offline());
    offline.await.expect("the producer is offline soon");
    println!("offline after {:?}", killed.elapsed());
    let admitted = tokio::time::timeout(patience(3), next(&wanted, &c));
    admitted.await.expect("the next is admitted soon");
    println!("the next is admitted after {:?}", killed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_requirements_must_be_met_whichever_way_they_are_given() {
    let id = network_id();
    let a = node(id).await;
    let producer = a
        .streams()
        .producer::<u32>()
        .require(|peer| peer.tags().contains(&"one".into()))
        .require(|peer| peer.tags().contains(&"two".into()))
        .build()
        .unwrap();
    let b = node_knowing(id, &a).await;
    let consumer = b
        .streams()
        .consumer::<u32>()
        .subscribe_if(|peer| peer.tags().contains(&"open".into()))
        .require(|peer| peer.tags().contains(&"fast".into()))
        .subscribe_if(|peer| !peer.tags().contains(&"closed".into()))
        .build();
    let tagged_at_b = |tag: &'static str| {
        let (a, catalog) = (a.local().id(), b.discovery().catalog_watch());
        move || {
            let catalog = catalog.borrow();
            let entry = catalog.get(&a);
            entry.is_some_and(|entry| entry.tags().contains(&tag.into()))
        }
    };
    // With one of two on the consumer's side, it does not even ask.
    a.discovery().add_tags("open");
    until("the tag is known", tagged_at_b("open")).await;
    assert_eq!(consumer.producers().count(), 0);
    let mut events = consumer.events();
    a.discovery().add_tags("fast");
    // With both, it asks, and has none of what the producer wants.
    assert_eq!(refused(&mut events).await, "NotAllowed");
    b.discovery().add_tags("one");
    assert_eq!(refused(&mut events).await, "NotAllowed");
    assert!(!producer.is_online());
    b.discovery().add_tags("two");
    within("admitted", producer.when().online()).await;
    a.discovery().add_tags("closed");
    within("cut off by the third", producer.when().offline()).await;
    a.discovery().remove_tags("closed");
    within("admitted again", producer.when().online()).await;
    b.discovery().remove_tags("one");
    within("cut off by the first", producer.when().offline()).await;
}
