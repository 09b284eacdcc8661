//! Who is cut off for being slow, and who is not: seen by consumers that speak to the transport
//! themselves.

mod support;

use {
    futures::SinkExt,
    mosaik::{
        Digest, Network, SecretKey,
        iroh::{
            Endpoint, RelayMode,
            endpoint::{Connection, QuicTransportConfig, RecvStream, SendStream, VarInt, presets},
        },
        streams::Producer,
    },
    std::time::Duration,
    support::{isolated, network_id, node, within},
};

const STREAM: u8 = 2;
/// What is read at a time, and an eighth of the window: as much as its news say at a time.
const STEP_BYTES: usize = 4 << 10;

/// A consumer that takes from the transport exactly what a test wants it to.
struct Bare {
    recv: RecvStream,
    _send: SendStream,
    _connection: Connection,
    _endpoint: Endpoint,
}

impl Bare {
    /// Subscribes to everything of a stream.
    async fn subscribe(network: &Network, stream: Digest) -> Self {
        let key = SecretKey::from_bytes(Digest::random().as_bytes());
        let id = *network.network_id();
        // A node of that key says who it is.
        let known = isolated(id).with_secret_key(key.clone()).build().await;
        let known = known.expect("a node starts on loopback");
        assert!(network.discovery().insert(known.discovery().me()));
        known.close().await;
        let window = VarInt::from_u32(8 * STEP_BYTES as u32);
        let transport = QuicTransportConfig::builder().stream_receive_window(window);
        let endpoint = Endpoint::builder(presets::Minimal)
            .secret_key(key)
            .transport_config(transport.build())
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")
            .expect("a loopback address")
            .bind()
            .await
            .expect("an endpoint");
        let connecting = endpoint.connect(network.local().addr(), b"/mosaik/1");
        let connection = within("connect", connecting).await.expect("a connection");
        let (mut send, mut recv) = connection.open_bi().await.expect("a sub-stream");
        let criteria = mosaik::Criteria::default().to_wire();
        let body = [
            &b"mk\x01"[..],
            &[STREAM],
            id.as_bytes(),
            stream.as_bytes(),
            &[2, 0, criteria.len() as u8],
            &criteria,
            &[0],
        ]
        .concat();
        let header = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
        send.write_all(&header).await.expect("written");
        let mut len = [0; 4];
        let read = recv.read_exact(&mut len);
        within("an answer", read).await.expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(len) as usize];
        recv.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer[0], 0, "accepted");
        Self {
            recv,
            _send: send,
            _connection: connection,
            _endpoint: endpoint,
        }
    }

    /// Reads this much, a little at a time.
    async fn read(&mut self, bytes: usize, pause: Duration) {
        let mut step = vec![0; STEP_BYTES];
        let mut left = bytes;
        while left > 0 {
            let len = left.min(STEP_BYTES);
            let read = self.recv.read_exact(&mut step[..len]).await;
            read.unwrap_or_else(|error| panic!("{left} bytes before the end: {error}"));
            left -= len;
            tokio::time::sleep(pause).await;
        }
    }
}

/// A producer that holds one item, and its only consumer.
async fn pair(network: &Network) -> (Producer<Vec<u8>>, Bare) {
    let builder = network.streams().producer().with_buffer_size(1);
    let producer = builder.build().unwrap();
    let consumer = Bare::subscribe(network, *producer.stream_id()).await;
    within("online", producer.when().online()).await;
    (producer, consumer)
}

/// Sends an item that is read with these pauses, and another that waits for the first.
async fn send_and_read(item_bytes: usize, pause: Duration) {
    let network = node(network_id()).await;
    let (mut producer, mut consumer) = pair(&network).await;
    let sending = async {
        for _ in 0..2 {
            producer.send(vec![7; item_bytes]).await.unwrap();
        }
    };
    let both = async { tokio::join!(sending, consumer.read(item_bytes, pause)) };
    within("the first item, and room for another", both).await;
    assert_eq!(producer.consumers().count(), 1);
}

/// Only whole items counted, and one that takes the transport a while was never whole: nothing
/// arrived, however often the consumer came back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_takes_a_large_item_slowly_but_steadily_is_not_cut_off() {
    // At this pace it takes five seconds.
    send_and_read(2 << 20, Duration::from_millis(10)).await;
}

/// The transport makes room in steps, which are far apart where the path is long or narrow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_makes_room_in_steps_is_not_cut_off_between_two() {
    send_and_read(64 << 10, Duration::from_millis(400)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_stops_in_the_middle_of_an_item_is_cut_off() {
    const ITEM_BYTES: usize = 1 << 20;
    let network = node(network_id()).await;
    let (mut producer, mut consumer) = pair(&network).await;
    let gone = producer.when().offline();
    let sending = async {
        loop {
            producer.send(vec![7; ITEM_BYTES]).await.unwrap();
        }
    };
    let reading = consumer.read(ITEM_BYTES / 2, Duration::ZERO);
    within("the cut", async {
        tokio::select! {
            ((), ()) = async { tokio::join!(gone, reading) } => {}
            () = sending => unreachable!("its only consumer takes no more"),
        }
    })
    .await;
    let next = within("the reason", consumer.recv.read_to_end(ITEM_BYTES)).await;
    let reason = next.expect_err("the rest never comes").to_string();
    assert!(reason.contains("10413"), "TooSlow, not {reason}");
}
