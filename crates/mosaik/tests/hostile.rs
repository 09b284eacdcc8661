//! What bad input gets: a typed reason, and nothing else is disturbed.

mod support;

use {
    futures::SinkExt,
    mosaik::{
        Digest, Network,
        iroh::{
            Endpoint, EndpointAddr, RelayMode,
            endpoint::{Connection, ConnectionError, RecvStream, presets},
        },
        primitives::Limits,
    },
    std::time::Duration,
    support::{isolated, network_id, node, node_knowing, within},
};

const ALPN: &[u8] = b"/mosaik/1";
const DISCOVERY: u8 = 1;
const STREAM: u8 = 2;

/// An endpoint that speaks QUIC and whatever bytes a test wants.
async fn stranger() -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .expect("a loopback address")
        .bind()
        .await
        .expect("an endpoint")
}

async fn connect(stranger: &Endpoint, addr: EndpointAddr) -> Connection {
    within("connect", stranger.connect(addr, ALPN))
        .await
        .expect("a connection")
}

/// A header as the links write it.
fn header(protocol: u8, network: Digest, resource: Digest, greeting: &[u8]) -> Vec<u8> {
    let mut body = b"mk\x01".to_vec();
    body.push(protocol);
    body.extend_from_slice(network.as_bytes());
    body.extend_from_slice(resource.as_bytes());
    body.extend_from_slice(greeting);
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

/// The code with which a sub-stream's opener was refused.
async fn refusal(mut answer: RecvStream) -> u32 {
    let answer = within("an answer", answer.read_to_end(64))
        .await
        .expect("an answer");
    assert_eq!(answer[..5], [0, 0, 0, 5, 1], "a refusal");
    u32::from_be_bytes(answer[5..9].try_into().expect("a code"))
}

async fn say(connection: &Connection, bytes: &[u8]) -> RecvStream {
    let (mut send, recv) = connection.open_bi().await.expect("a sub-stream");
    send.write_all(bytes).await.expect("written");
    send.finish().expect("finished");
    recv
}

/// Two nodes between which a stream goes on flowing whatever a stranger does to the first.
struct Pair {
    first: Network,
    second: Network,
    producer: mosaik::streams::Producer<u64>,
    consumer: mosaik::streams::Consumer<u64>,
    sent: u64,
}

impl Pair {
    async fn new(network: Digest) -> Self {
        let first = node(network).await;
        let second = node_knowing(network, &first).await;
        let producer = first
            .streams()
            .producer()
            .disconnect_lagging(false)
            .build()
            .unwrap();
        let consumer = second.streams().consume();
        within("online", producer.when().online()).await;
        Self {
            first,
            second,
            producer,
            consumer,
            sent: 0,
        }
    }

    async fn still_flows(&mut self) {
        for _ in 0..100 {
            within("send", self.producer.send(self.sent)).await.unwrap();
            assert_eq!(within("recv", self.consumer.recv()).await, Some(self.sent));
            self.sent += 1;
        }
        let catalog = self.second.discovery().catalog();
        assert_eq!(catalog.peers_count(), 1, "nobody was introduced");
        assert!(catalog.get(&self.first.local().id()).is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_headers_are_refused_by_reason() {
    let network = network_id();
    let mut pair = Pair::new(network).await;
    let addr = pair.first.local().addr();
    let stranger = stranger().await;
    let connection = connect(&stranger, addr).await;
    let good = header(STREAM, network, Digest::from("nothing"), b"");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (what, bytes, code) in [
        ("not ours", with(4, b'x'), 400),
        ("another version", with(6, 9), 400),
        ("no such protocol", with(7, 200), 400),
        (
            "a short header",
            [&10u32.to_be_bytes()[..], &[0; 10]].concat(),
            400,
        ),
        ("an oversized header", u32::MAX.to_be_bytes().to_vec(), 400),
        (
            "another network",
            header(STREAM, Digest::from("other"), Digest::from("x"), b""),
            101,
        ),
        (
            "no such stream",
            header(STREAM, network, Digest::from("x"), b"\x01\x00junk"),
            10404,
        ),
    ] {
        let answer = say(&connection, &bytes).await;
        assert_eq!(refusal(answer).await, code, "{what}");
    }
    let stream = *pair.producer.stream_id();
    let answer = say(&connection, &header(STREAM, network, stream, b"junk")).await;
    assert_eq!(refusal(answer).await, 400, "a greeting that is none");
    // Whatever discovery makes of junk, it ends.
    for junk in [&b""[..], b"\x00", &[0xff; 512]] {
        let mut answer = say(&connection, &header(DISCOVERY, network, network, junk)).await;
        // An answer or the stream's end; both are fine, silence is not.
        let _ = within("discovery ends it", answer.read_to_end(1 << 20)).await;
    }
    pair.still_flows().await;
    assert!(
        connection.close_reason().is_none(),
        "one bad sub-stream does not cost the others"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_without_an_entry_cannot_subscribe() {
    let network = network_id();
    let mut pair = Pair::new(network).await;
    let stranger = stranger().await;
    let connection = connect(&stranger, pair.first.local().addr()).await;
    // A well-formed greeting: version 2, criteria that want everything, no resumption.
    let criteria = mosaik::Criteria::default().to_wire();
    let greeting = [&[2, 0, criteria.len() as u8][..], &criteria, &[0]].concat();
    let stream = *pair.producer.stream_id();
    let answer = say(&connection, &header(STREAM, network, stream, &greeting)).await;
    assert_eq!(refusal(answer).await, 401);
    pair.still_flows().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_says_nothing_is_closed_after_the_handshake_timeout() {
    let network = network_id();
    let mut limits = Limits::default();
    limits.handshake_timeout = Duration::from_millis(500);
    let quick = isolated(network).with_limits(limits).build().await.unwrap();
    let stranger = stranger().await;
    let silent = connect(&stranger, quick.local().addr()).await;
    let halting = connect(&stranger, quick.local().addr()).await;
    let (mut send, recv) = halting.open_bi().await.unwrap();
    send.write_all(b"\x00\x00").await.unwrap();

    let closed = within("the silent one is closed", silent.closed()).await;
    let ConnectionError::ApplicationClosed(close) = closed else {
        panic!("{closed}")
    };
    assert_eq!(&close.reason[..], b"HandshakeTimeout");
    assert_eq!(refusal_or_closed(recv).await, 408);
    drop(send);
}

/// As [`refusal`], where the connection may be closed first, with the same reason.
async fn refusal_or_closed(mut answer: RecvStream) -> u32 {
    match within("an answer", answer.read_to_end(64)).await {
        Ok(answer) => u32::from_be_bytes(answer[5..9].try_into().expect("a code")),
        Err(_) => 408,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_peers_stop_nobody_elses_discovery_or_streams() {
    let network = network_id();
    let first = node(network).await;
    let stranger = stranger().await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(connect(&stranger, first.local().addr()).await);
    }
    let second = node_knowing(network, &first).await;
    let mut producer = first.streams().produce::<u64>();
    let mut consumer = second.streams().consume::<u64>();
    within("send", producer.send(7)).await.unwrap();
    assert_eq!(within("recv", consumer.recv()).await, Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_holds_no_more_connections_than_its_limit() {
    let network = network_id();
    let first = node(network).await;
    let stranger = stranger().await;
    let mut held = Vec::new();
    for _ in 0..=Limits::DEFAULT.connections_per_peer {
        let connection = connect(&stranger, first.local().addr()).await;
        // In use, so that it is not closed as a second connection that nobody needs. The one
        // that is over the limit may be closed already.
        let substream = connection.open_bi().await;
        if let Ok((mut send, recv)) = substream {
            let _ = send.write_all(b"\x00").await;
            held.push((connection, Some((send, recv))));
        } else {
            held.push((connection, None));
        }
    }
    // Which of them is the surplus is the accepting side's to say.
    let closed = futures::future::select_all(held.iter().map(|(one, _)| Box::pin(one.closed())));
    let (closed, _, _) = within("the surplus is closed", closed).await;
    let ConnectionError::ApplicationClosed(close) = closed else {
        panic!("{closed}")
    };
    assert_eq!(&close.reason[..], b"TooManyConnections");
    let open = held
        .iter()
        .filter(|(one, _)| one.close_reason().is_none())
        .count();
    assert_eq!(open, Limits::DEFAULT.connections_per_peer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_application_protocol_is_not_negotiated() {
    let first = node(network_id()).await;
    let stranger = stranger().await;
    let refused = within(
        "refused",
        stranger.connect(first.local().addr(), b"/other/1"),
    )
    .await;
    assert!(refused.is_err());
}
