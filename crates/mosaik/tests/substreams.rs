//! What sub-streams can make a node hold, before it has accepted them and after.

mod support;

use {
    futures::{SinkExt, future::join_all},
    mosaik::{
        Digest,
        iroh::{
            Endpoint, EndpointAddr, RelayMode,
            endpoint::{Connection, ConnectionError, QuicTransportConfig, RecvStream, presets},
        },
        network::NetworkBuilder,
        primitives::Limits,
        streams::StreamDef,
    },
    std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    },
    support::{header, isolated, network_id, node, node_knowing, patience, until, within},
};

const MOSAIK: &[u8] = b"/mosaik/1";
const GOSSIP: &[u8] = b"/iroh-gossip/1";
const DISCOVERY: u8 = 1;
const STREAM: u8 = 2;
const PROBE: &[u8] = &[2];
const WHO_ARE_YOU: &[u8] = &[3];
/// Bytes that one sub-stream may have in flight unread.
const WINDOW: usize = Limits::DEFAULT.substream_window_bytes as usize;

async fn stranger(transport: QuicTransportConfig) -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .transport_config(transport)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .expect("a loopback address")
        .bind()
        .await
        .expect("an endpoint")
}

/// A stranger that takes in no answer.
async fn deaf() -> Endpoint {
    let transport = QuicTransportConfig::builder().stream_receive_window(0u32.into());
    stranger(transport.build()).await
}

async fn connect(stranger: &Endpoint, addr: EndpointAddr, alpn: &[u8]) -> Connection {
    within("connect", stranger.connect(addr, alpn))
        .await
        .expect("a connection")
}

fn with_patience(network: Digest, handshake: Duration) -> NetworkBuilder {
    let mut limits = Limits::default();
    limits.handshake_timeout = handshake;
    isolated(network).with_limits(limits)
}

async fn answer(mut answer: RecvStream) -> Vec<u8> {
    within("an answer", answer.read_to_end(1 << 20))
        .await
        .expect("an answer")
}

/// Nobody reads streams that go one way only, so a link has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_on_which_a_one_way_stream_is_opened_is_closed() {
    let first = node(network_id()).await;
    let stranger = stranger(QuicTransportConfig::default()).await;
    let link = connect(&stranger, first.local().addr(), MOSAIK).await;
    let mut send = link.open_uni().await.expect("a stream");
    send.write_all(b"x").await.expect("written");
    let closed = within("the link is closed", link.closed()).await;
    let ConnectionError::ApplicationClosed(close) = closed else {
        panic!("{closed}")
    };
    assert_eq!(&close.reason[..], b"ProtocolViolation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_in_no_answer_holds_no_substream_longer_than_a_handshake_may_take() {
    let id = network_id();
    let quick = with_patience(id, Duration::from_secs(2)).build();
    let quick = quick.await.unwrap();
    let stranger = deaf().await;
    let link = connect(&stranger, quick.local().addr(), MOSAIK).await;
    let junk = vec![0; WINDOW / 2];
    let mut held = Vec::new();
    for protocol in [DISCOVERY, STREAM, 200] {
        let (mut send, recv) = link.open_bi().await.expect("a sub-stream");
        let begin = header(protocol, id, WHO_ARE_YOU);
        send.write_all(&begin).await.expect("written");
        // May be stopped at once, where it is refused.
        let _ = send.write_all(&junk).await;
        held.push((send, recv));
    }
    for (send, recv) in &mut held {
        within("nobody reads on", send.stopped()).await.unwrap();
        within("nobody answers any more", recv.received_reset())
            .await
            .unwrap();
    }
    assert!(link.close_reason().is_none(), "the others may go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_substreams_at_once_than_are_answered_at_a_time_are_all_answered() {
    let id = network_id();
    let first = node(id).await;
    let stranger = stranger(QuicTransportConfig::default()).await;
    let link = connect(&stranger, first.local().addr(), MOSAIK).await;
    let ask = async || {
        let (mut send, recv) = link.open_bi().await.expect("a sub-stream");
        send.write_all(&header(DISCOVERY, id, PROBE))
            .await
            .expect("written");
        assert_eq!(answer(recv).await, [0, 0, 0, 1, 0], "accepted");
    };
    within("all are answered", join_all((0..500).map(|_| ask()))).await;
}

/// To admit a subscription a node may have to ask who the subscriber is. Did subscriptions take
/// the places of such questions, two nodes with many consumers each would wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn substreams_of_one_protocol_take_no_places_of_another() {
    let id = network_id();
    let first = with_patience(id, patience(300)).build().await.unwrap();
    let stranger = deaf().await;
    let link = connect(&stranger, first.local().addr(), MOSAIK).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        let (mut send, recv) = link.open_bi().await.expect("a sub-stream");
        let begin = header(DISCOVERY, id, WHO_ARE_YOU);
        send.write_all(&begin).await.expect("written");
        held.push((send, recv));
    }
    let (mut send, _recv) = link.open_bi().await.expect("a sub-stream");
    send.write_all(&header(STREAM, id, b"")).await.unwrap();
    within("refused, and so not read", send.stopped())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_several_connections_has_no_more_substreams_than_with_one() {
    let id = network_id();
    let mut limits = Limits::default();
    limits.substreams_per_peer = 3;
    limits.handshake_timeout = patience(300);
    let first = isolated(id).with_limits(limits).build().await.unwrap();
    let addr = first.local().addr();
    let stranger = stranger(QuicTransportConfig::default()).await;
    let ask = async |link: &Connection, bytes: &[u8]| {
        let (mut send, recv) = link.open_bi().await.expect("a sub-stream");
        send.write_all(bytes).await.expect("written");
        (send, recv)
    };
    let links = [
        connect(&stranger, addr.clone(), MOSAIK).await,
        connect(&stranger, addr, MOSAIK).await,
    ];
    // Answered, so that the connection is known to be served.
    let probe = header(DISCOVERY, id, PROBE);
    for link in &links {
        assert_eq!(answer(ask(link, &probe).await.1).await, [0, 0, 0, 1, 0]);
    }
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(ask(&links[0], &probe[..8]).await);
    }
    // Which of them arrives last is not known, so they are asked for until all have arrived.
    let refused = [0, 0, 0, 5, 1, 0, 0, 1, 173];
    within("one too many is refused", async {
        while answer(ask(&links[1], &probe).await.1).await != refused {}
    })
    .await;
    held.clear();
    within("and has its place when another has gone", async {
        while answer(ask(&links[1], &probe).await.1).await == refused {}
    })
    .await;
    assert!(links.iter().all(|link| link.close_reason().is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_to_nobody_is_bounded_for_all_streams_of_a_connection_together() {
    /// What a connection takes, and what the stranger has on its own side.
    const BOUND: usize = (4 << 20) + (64 << 10);
    let id = network_id();
    let first = node(id).await;
    let transport = QuicTransportConfig::builder().send_window(64 << 10);
    let stranger = stranger(transport.build()).await;
    let guest = connect(&stranger, first.local().addr(), GOSSIP).await;
    let written = Arc::new(AtomicUsize::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (mut send, _) = guest.open_bi().await.expect("a stream");
        let written = Arc::clone(&written);
        writers.spawn(async move {
            while let Ok(bytes) = send.write(&[0; 1024]).await {
                written.fetch_add(bytes, Ordering::Relaxed);
            }
        });
    }
    let written = || written.load(Ordering::Relaxed);
    until("the bound is reached", || written() >= BOUND - (128 << 10)).await;
    // Whatever would go beyond it has the time for it.
    let second = node_knowing(id, &first).await;
    let mut producer = first.streams().produce::<u64>();
    let mut consumer = second.streams().consume::<u64>();
    within("online", producer.when().online()).await;
    for n in 0..500 {
        within("send", producer.send(n)).await.unwrap();
        assert_eq!(within("recv", consumer.recv()).await, Some(n));
    }
    assert!(written() <= BOUND, "{} bytes", written());
    writers.shutdown().await;
}

/// Together they hold more unread than a connection takes from strangers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_stalled_subscriptions_slow_nothing_else_between_the_two_peers() {
    const ITEM: usize = 50_000;
    let id = network_id();
    let mut limits = Limits::default();
    (limits.producer_bytes, limits.consumer_bytes) = (ITEM, ITEM);
    let first = isolated(id).with_limits(limits.clone()).build();
    let first = first.await.unwrap();
    let known = mosaik::discovery::Config::builder().with_bootstrap(first.local().addr());
    let second = isolated(id).with_limits(limits).with_discovery(known);
    let second = second.build().await.unwrap();
    let mut unread = Vec::new();
    let mut blocked = tokio::task::JoinSet::new();
    for n in 0..10 {
        let def = StreamDef::<Vec<u8>>::with_stream_id(format!("stalled-{n}").as_str().into());
        let producer = first.streams().producer_of(def);
        let mut producer = producer.disconnect_lagging(false).build().unwrap();
        unread.push(second.streams().consumer_of(def).build());
        within("online", producer.when().online()).await;
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        blocked.spawn(async move {
            while producer.send(vec![0; ITEM]).await.is_ok() {
                count.fetch_add(ITEM, Ordering::Relaxed);
            }
        });
        until("it has filled its window", || {
            sent.load(Ordering::Relaxed) >= WINDOW
        })
        .await;
    }
    let flowing = first.streams().producer::<u64>();
    let mut flowing = flowing.disconnect_lagging(false).build().unwrap();
    let mut read = second.streams().consume::<u64>();
    within("online", flowing.when().online()).await;
    for n in 0..500 {
        within("send", flowing.send(n)).await.unwrap();
        assert_eq!(within("recv", read.recv()).await, Some(n));
    }
    drop(unread);
    blocked.shutdown().await;
}
