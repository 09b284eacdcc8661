//! The transport alone: two endpoints on loopback and one stream between them.
//!
//! What mosaik reaches is told as a ratio to these figures, measured in the same run. Nothing of
//! mosaik is used here, so that a slow link layer cannot flatter the ratio.

use {
    crate::measure::{self, Counter, Rate},
    bytes::Bytes,
    core::time::Duration,
    iroh::{
        Endpoint, RelayMode,
        endpoint::{Connection, PortmapperConfig, QuicTransportConfig, presets},
    },
    std::time::Instant,
};

const ALPN: &[u8] = b"mosaik-bench/raw";
/// What is reached is set against the raw stream; where the goal is a number of items, it is the
/// number at this rate of the raw stream. What others leave of a machine shows in both.
pub(crate) const RAW_BYTES_AT_GOAL: f64 = 900e6;
/// Bytes of one write in the throughput figure.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes of one message in the latency figures.
pub(crate) const PING_BYTES: usize = 64;
/// Round trips made before any is counted.
const WARM_UP_PINGS: usize = 200;

/// Two connected endpoints.
pub(crate) struct Pair {
    dialled: Connection,
    accepted: Connection,
    endpoints: [Endpoint; 2],
}

impl Pair {
    /// Connects two endpoints; `None` keeps the transport's own defaults.
    pub(crate) async fn connect(config: Option<&QuicTransportConfig>) -> Self {
        let (dialler, acceptor) = (bind(config).await, bind(config).await);
        let address = acceptor.addr();
        let listening = acceptor.clone();
        let accepting = tokio::spawn(async move {
            let incoming = listening.accept().await.expect("the endpoint is open");
            incoming.await.expect("the handshake succeeds on loopback")
        });
        let dialled = dialler
            .connect(address, ALPN)
            .await
            .expect("loopback connects");
        let accepted = accepting.await.expect("the acceptor does not panic");
        Self {
            dialled,
            accepted,
            endpoints: [dialler, acceptor],
        }
    }

    /// Bytes through one stream, both ends on this machine.
    pub(crate) async fn byte_rate(&self, window: Duration) -> Rate {
        let (mut send, _reverse) = self
            .dialled
            .open_bi()
            .await
            .expect("the connection is open");
        let writer = tokio::spawn(async move {
            let chunk = Bytes::from(vec![7; WRITE_BYTES]);
            while send.write_chunk(chunk.clone()).await.is_ok() {}
        });
        let (_reverse, mut recv) = self.accepted.accept_bi().await.expect("the stream arrives");
        let counter = Counter::default();
        let counted = counter.clone();
        let reader = tokio::spawn(async move {
            let mut chunks = vec![Bytes::new(); 64];
            while let Ok(Some(read)) = recv.read_many_chunks(&mut chunks).await {
                counted.add(chunks[..read].iter().map(Bytes::len).sum());
            }
        });
        let rate = counter.rate(window).await;
        reader.abort();
        writer.abort();
        measure::ended(reader).await;
        measure::ended(writer).await;
        rate
    }

    /// The median round trip of 64 bytes in microseconds, asked from the calling task.
    pub(crate) async fn round_trip(&self, window: Duration) -> f64 {
        let (mut send, mut recv) = self
            .dialled
            .open_bi()
            .await
            .expect("the connection is open");
        let mut message = [1; PING_BYTES];
        send.write_all(&message)
            .await
            .expect("the connection is open");
        let (mut back, mut there) = self.accepted.accept_bi().await.expect("the stream arrives");
        let echo = tokio::spawn(async move {
            let mut message = [0; PING_BYTES];
            while there.read_exact(&mut message).await.is_ok() {
                if back.write_all(&message).await.is_err() {
                    break;
                }
            }
        });
        recv.read_exact(&mut message)
            .await
            .expect("the echo answers");
        let mut samples = Vec::with_capacity(1 << 17);
        let mut left = WARM_UP_PINGS;
        let mut end = Instant::now() + window;
        loop {
            let asked = Instant::now();
            send.write_all(&message)
                .await
                .expect("the connection is open");
            recv.read_exact(&mut message)
                .await
                .expect("the echo answers");
            if left > 0 {
                left -= 1;
                end = Instant::now() + window;
                continue;
            }
            samples.push(asked.elapsed());
            if asked > end {
                break;
            }
        }
        echo.abort();
        measure::ended(echo).await;
        measure::median(&mut samples)
    }

    /// Closes both ends.
    pub(crate) async fn close(self) {
        self.dialled.close(0u32.into(), b"done");
        drop(self.accepted);
        for endpoint in self.endpoints {
            endpoint.close().await;
        }
    }
}

async fn bind(config: Option<&QuicTransportConfig>) -> Endpoint {
    let mut builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .portmapper_config(PortmapperConfig::Disabled)
        .alpns(vec![ALPN.to_vec()])
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .expect("a loopback address is valid");
    if let Some(config) = config {
        builder = builder.transport_config(config.clone());
    }
    builder.bind().await.expect("loopback can be bound")
}
