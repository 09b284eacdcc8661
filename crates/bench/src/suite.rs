//! The figures, and what each has to reach.

use {
    crate::{
        groups,
        measure::Rate,
        nodes,
        raw::{Pair, RAW_BYTES_AT_GOAL},
        report::{Figure, Goal, Outcome},
        streams::{self, Numbered, Stage},
    },
    core::time::Duration,
    iroh::endpoint::{MtuDiscoveryConfig, QuicTransportConfig, VarInt},
    mosaik::Bytes,
    tokio::runtime::Runtime,
};

/// What is the same for every figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How long one figure is measured in a round.
    pub(crate) window: Duration,
}

const MEGABYTE: f64 = 1e6;
const KIB: usize = 1 << 10;

/// Items of eight bytes a second, where the raw stream is at [`RAW_BYTES_AT_GOAL`].
const SMALL_ITEMS_GOAL: f64 = 3e6;

const FIGURES: &[Figure] = &[
    Figure::new("raw-bytes", "raw stream, 64 KiB writes", "MB/s", None, None),
    Figure::new(
        "raw-tuned",
        "raw stream, mosaik's transport settings",
        "MB/s",
        Some("raw"),
        None,
    ),
    Figure::new(
        "raw-round-trip",
        "raw round trip, 64 B, from the main task",
        "µs",
        None,
        None,
    ),
    Figure::new(
        "raw-round-trip-task",
        "raw round trip, 64 B, from a spawned task",
        "µs",
        None,
        None,
    ),
    Figure::new(
        "items-64k",
        "64 KiB items, one consumer, lossless",
        "MB/s",
        Some("raw"),
        Some(Goal::RatioAtLeast(0.85)),
    ),
    Figure::new(
        "items-1k",
        "1 KiB items, one consumer, lossless",
        "MB/s",
        Some("raw"),
        Some(Goal::RatioAtLeast(0.65)),
    ),
    Figure::new(
        "items-8",
        "8 B items, one consumer, lossless",
        "items/s",
        Some("3 M at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    Figure::new(
        "fan-out-64",
        "64 B items, eight consumers on eight nodes, lossless",
        "deliveries/s",
        None,
        Some(Goal::AtLeast(3e6)),
    ),
    Figure::new(
        "send-to-recv",
        "send to recv, 64 B, from the main task",
        "µs",
        Some("raw round trip"),
        Some(Goal::RatioAtMost(0.6)),
    ),
    Figure::new(
        "send-to-recv-task",
        "send to recv, 64 B, from a spawned task",
        "µs",
        Some("raw round trip"),
        None,
    ),
    Figure::new(
        "start",
        "start of a network, no connectivity",
        "ms",
        None,
        Some(Goal::AtMost(100.0)),
    ),
    Figure::new(
        "join-100",
        "100 nodes given one peer, all catalogs complete",
        "s",
        None,
        Some(Goal::AtMost(2.0)),
    ),
    Figure::new(
        "idle-node",
        "memory of an idle node",
        "KiB",
        None,
        Some(Goal::AtMost(1_024.0)),
    ),
    Figure::new(
        "idle-subscription",
        "memory of an idle subscription, both ends",
        "KiB",
        None,
        Some(Goal::AtMost(64.0)),
    ),
];

/// The figures whose names begin with one of `names`; all when there are none.
pub(crate) fn select(names: &[String]) -> Vec<Figure> {
    let wanted = |figure: &&Figure| {
        names.is_empty()
            || names
                .iter()
                .any(|name| figure.name.starts_with(name.as_str()))
    };
    let all = FIGURES.iter().chain(groups::FIGURES);
    all.filter(wanted).copied().collect()
}

/// Measures one figure once, on a runtime of its own.
pub(crate) fn measure(figure: &Figure, settings: Settings) -> Outcome {
    let runtime = Runtime::new().expect("the system gives threads");
    let outcome = measure_on(&runtime, figure, settings.window);
    runtime.shutdown_background();
    outcome
}

fn measure_on(runtime: &Runtime, figure: &Figure, window: Duration) -> Outcome {
    match figure.name {
        "raw-bytes" => Outcome::alone(runtime.block_on(raw_rate(None, window)).a_second / MEGABYTE),
        "raw-tuned" => runtime.block_on(async {
            let raw = raw_rate(None, window).await;
            let tuned = raw_rate(Some(&mosaik_transport()), window).await;
            Outcome::rates(tuned.per(MEGABYTE), raw.per(MEGABYTE))
        }),
        "raw-round-trip" => Outcome::alone(runtime.block_on(raw_round_trip(window))),
        "raw-round-trip-task" => Outcome::alone(spawned(runtime, raw_round_trip(window))),
        "items-64k" => runtime.block_on(blobs(64 * KIB, 16, window)),
        "items-1k" => runtime.block_on(blobs(KIB, 1_024, window)),
        "items-8" => runtime.block_on(async {
            let raw = raw_rate(None, window).await;
            let items = rate(1, 4_096, 0.0_f64, window).await;
            Outcome::rates(items, raw.per(RAW_BYTES_AT_GOAL / SMALL_ITEMS_GOAL))
        }),
        "fan-out-64" => {
            let deliveries = runtime.block_on(rate(8, 4_096, [0.0_f64; 8], window));
            Outcome::alone(deliveries.a_second)
        }
        "send-to-recv" => runtime.block_on(async {
            let raw = raw_round_trip(window).await;
            Outcome::against(streams::send_to_recv(window).await, raw)
        }),
        "send-to-recv-task" => {
            let raw = spawned(runtime, raw_round_trip(window));
            Outcome::against(spawned(runtime, streams::send_to_recv(window)), raw)
        }
        "start" => Outcome::alone(runtime.block_on(nodes::starting())),
        "join-100" => Outcome::alone(runtime.block_on(nodes::complete(100))),
        "idle-node" | "idle-subscription" => Outcome::alone(nodes::memory_of(figure.name)),
        other => groups::measure(runtime, other, window),
    }
}

fn spawned(runtime: &Runtime, measurement: impl Future<Output = f64> + Send + 'static) -> f64 {
    let task = runtime.spawn(measurement);
    runtime
        .block_on(task)
        .expect("the measurement does not panic")
}

/// Megabytes of items of `len` bytes, next to the raw stream's.
async fn blobs(len: usize, buffer: usize, window: Duration) -> Outcome {
    let raw = raw_rate(None, window).await;
    let items = rate(1, buffer, Bytes::from(vec![7; len]), window).await;
    Outcome::rates(items.per(MEGABYTE / len as f64), raw.per(MEGABYTE))
}

async fn rate<D: Numbered>(consumers: usize, buffer: usize, item: D, window: Duration) -> Rate {
    Stage::set(consumers, buffer)
        .await
        .item_rate(item, window)
        .await
}

async fn raw_rate(config: Option<&QuicTransportConfig>, window: Duration) -> Rate {
    let pair = Pair::connect(config).await;
    let rate = pair.byte_rate(window).await;
    pair.close().await;
    rate
}

async fn raw_round_trip(window: Duration) -> f64 {
    let pair = Pair::connect(None).await;
    let median = pair.round_trip(window).await;
    pair.close().await;
    median
}

/// What mosaik sets where it matters to one stream on loopback.
fn mosaik_transport() -> QuicTransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(1_472);
    QuicTransportConfig::builder()
        .stream_receive_window(VarInt::from_u32(1 << 20))
        .receive_window(VarInt::MAX)
        .send_window(16 << 20)
        .mtu_discovery_config(Some(discovery))
        .build()
}
