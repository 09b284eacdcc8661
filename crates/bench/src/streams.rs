//! mosaik's streams: items a second, and how long one takes.

use {
    crate::{
        measure::{self, Counter, Rate},
        nodes,
    },
    core::{fmt::Debug, time::Duration},
    mosaik::{
        Bytes, Datum, Network,
        futures::SinkExt,
        primitives::Digest,
        streams::{Consumer, Producer},
    },
    std::time::Instant,
    tokio::{sync::mpsc, task::JoinHandle},
};

/// How long producers and consumers have to find each other.
const SETTING_UP: Duration = Duration::from_secs(30);
/// Items sent before a latency is counted.
const WARM_UP_ITEMS: usize = 200;
/// Items a consumer takes before it adds them to the common count.
const COUNTED_AT_ONCE: usize = 64;

/// An item that tells whether it is the one that had to come.
pub(crate) trait Numbered: Datum + Clone + Debug + Sync {
    /// The item with this number, where the size leaves room for one.
    fn number(&self, number: u64) -> Self;

    /// Whether this may be the item with this number.
    fn is_number(&self, number: u64) -> bool;
}

/// Eight bytes, whatever their value.
impl Numbered for f64 {
    fn number(&self, number: u64) -> Self {
        number as Self
    }

    fn is_number(&self, number: u64) -> bool {
        self.to_bits() == (number as Self).to_bits()
    }
}

/// Sixty-four bytes, whatever their value.
impl Numbered for [f64; 8] {
    fn number(&self, number: u64) -> Self {
        [number as f64; 8]
    }

    fn is_number(&self, number: u64) -> bool {
        self[7].to_bits() == (number as f64).to_bits()
    }
}

/// Shared between all items, so that making an item costs nothing; only the size is told.
impl Numbered for Bytes {
    fn number(&self, _: u64) -> Self {
        self.clone()
    }

    fn is_number(&self, _: u64) -> bool {
        true
    }
}

/// One node that produces, others that consume, all connected.
pub(crate) struct Stage<D: Datum> {
    nodes: Vec<Network>,
    producer: Producer<D>,
    consumers: Vec<Consumer<D>>,
}

impl<D: Numbered> Stage<D> {
    /// Starts the nodes; returns when every consumer is subscribed.
    pub(crate) async fn set(consumers: usize, buffer: usize) -> Self {
        let stream = Digest::from("mosaik-bench/stream");
        let hub = nodes::start(None).await;
        let producer = hub
            .streams()
            .producer::<D>()
            .with_stream_id(stream)
            .disconnect_lagging(false)
            .with_buffer_size(buffer)
            .online_when(move |when| when.minimum_of(consumers))
            .build()
            .expect("the stream has no other producer");
        let mut stage = Self {
            nodes: vec![hub],
            producer,
            consumers: Vec::new(),
        };
        for _ in 0..consumers {
            let node = nodes::start(Some(&stage.nodes[0])).await;
            stage
                .consumers
                .push(node.streams().consumer().with_stream_id(stream).build());
            stage.nodes.push(node);
        }
        tokio::time::timeout(SETTING_UP, stage.producer.when().online())
            .await
            .expect("consumers find the producer in time");
        stage
    }

    /// Items delivered, all consumers together; asserts order and that none is lost.
    pub(crate) async fn item_rate(self, item: D, window: Duration) -> Rate {
        let counter = Counter::default();
        let readers: Vec<JoinHandle<()>> = self
            .consumers
            .into_iter()
            .map(|consumer| tokio::spawn(count(consumer, counter.clone())))
            .collect();
        let mut producer = self.producer;
        let sender = tokio::spawn(async move {
            let mut number = 0;
            while producer.send(item.number(number)).await.is_ok() {
                number += 1;
            }
        });
        let rate = counter.rate(window).await;
        sender.abort();
        measure::ended(sender).await;
        for reader in readers {
            reader.abort();
            measure::ended(reader).await;
        }
        nodes::close(self.nodes).await;
        rate
    }
}

async fn count<D: Numbered>(mut consumer: Consumer<D>, counter: Counter) {
    let mut number = 0;
    while let Some(item) = consumer.recv().await {
        assert!(
            item.is_number(number),
            "expected item {number}, received {item:?}"
        );
        number += 1;
        if number.is_multiple_of(COUNTED_AT_ONCE as u64) {
            counter.add(COUNTED_AT_ONCE);
        }
    }
}

/// The median time from `send` to `recv` of 64 bytes in microseconds: the calling task sends, a
/// task of the other node receives, and the next item goes out when the last has arrived.
pub(crate) async fn send_to_recv(window: Duration) -> f64 {
    let Stage {
        nodes,
        mut producer,
        mut consumers,
    } = Stage::<[f64; 8]>::set(1, 1_024).await;
    let mut consumer = consumers.pop().expect("the stage has one consumer");
    let epoch = Instant::now();
    let (arrived, mut arrivals) = mpsc::channel::<Duration>(16);
    let reader = tokio::spawn(async move {
        while let Some(sent) = consumer.recv().await {
            let took = epoch
                .elapsed()
                .saturating_sub(Duration::from_secs_f64(sent[0]));
            if arrived.send(took).await.is_err() {
                break;
            }
        }
    });
    let mut samples = Vec::with_capacity(1 << 17);
    let mut left = WARM_UP_ITEMS;
    let mut end = Instant::now() + window;
    loop {
        let sent = [epoch.elapsed().as_secs_f64(); 8];
        producer.send(sent).await.expect("the producer is open");
        let took = arrivals.recv().await.expect("the consumer receives");
        if left > 0 {
            left -= 1;
            end = Instant::now() + window;
            continue;
        }
        samples.push(took);
        if Instant::now() > end {
            break;
        }
    }
    reader.abort();
    measure::ended(reader).await;
    drop(producer);
    nodes::close(nodes).await;
    measure::median(&mut samples)
}
