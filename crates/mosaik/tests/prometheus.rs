//! Metrics are served over HTTP. Alone in its process: a recorder is the process'.

#![cfg(feature = "prometheus")]

mod support;

use {
    futures::SinkExt,
    mosaik::network::NetworkError,
    std::net::{Ipv4Addr, SocketAddr, TcpListener},
    support::{isolated, network_id, node_knowing, within},
    tokio::io::{AsyncReadExt, AsyncWriteExt},
};

async fn scrape(address: SocketAddr) -> String {
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    connection.write_all(request).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_served_and_count_what_happened() {
    // A port that was free a moment ago.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let id = network_id();
    let a = isolated(id)
        .with_prometheus_addr(address)
        .build()
        .await
        .unwrap();
    let b = node_knowing(id, &a).await;
    let mut producer = a.streams().produce::<u32>();
    let mut consumer = b.streams().consume::<u32>();
    for n in 0..10 {
        within("send", producer.send(n)).await.unwrap();
        assert_eq!(within("recv", consumer.recv()).await, Some(n));
    }
    let expected = [
        ("mosaik_streams_producer_items_sent", "10"),
        ("mosaik_streams_consumer_items_received", "10"),
        ("mosaik_streams_datums_total", "20"),
        ("mosaik_streams_producer_consumers", "1"),
        ("mosaik_streams_consumer_producers", "1"),
        ("mosaik_streams_producers_active", "1"),
        ("mosaik_streams_consumers_active", "1"),
        ("mosaik_streams_producer_consumers_accepted", "1"),
        ("mosaik_streams_connections_accepted", "1"),
        ("mosaik_discovery_catalog_size", ""),
        ("mosaik_network_connections_opened", ""),
        ("mosaik_network_egress_bytes", ""),
    ];
    // What is sampled appears with the next sample.
    let shown = within("all metrics", async {
        loop {
            let page = scrape(address).await;
            let has = |(name, value): &(&str, &str)| {
                page.lines()
                    .any(|line| line.starts_with(&format!("{name}{{")) && line.ends_with(value))
            };
            if expected.iter().all(has) {
                break page;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    let short = id.to_string()[..10].to_owned();
    assert!(shown.contains(&format!("network=\"{short}\"")), "{shown}");
    assert!(
        shown.contains("# HELP mosaik_streams_datums_total "),
        "described"
    );

    let second = isolated(id).with_prometheus_addr(address).build().await;
    assert!(
        matches!(second, Err(NetworkError::Prometheus(_))),
        "one recorder a process"
    );
}
