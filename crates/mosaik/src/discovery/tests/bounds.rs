//! What stays bounded.

use {
    super::{close, fresh, node_with_peer, seconds, until},
    crate::{Network, network::Preset, tickets::Ticket},
    mosaik_primitives::{Digest, Limits},
};

fn with_limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::DEFAULT;
    change(&mut limits);
    limits
}

#[tokio::test]
async fn an_entry_that_is_too_large_is_not_published_and_the_last_one_stays() {
    let id = fresh();
    let limited = Network::builder(id)
        .with_preset(Preset::Isolated)
        .with_limits(with_limits(|limits| limits.entry_bytes = 4 << 10))
        .build()
        .await
        .unwrap();
    let other = node_with_peer(id, &limited).await;
    let peer = limited.local().id();
    until(other.discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 1
    })
    .await;

    limited.discovery().add_tags("small");
    until(
        other.discovery(),
        seconds(5.0),
        "the small entry",
        |catalog| {
            catalog
                .get(&peer)
                .is_some_and(|entry| entry.tags().len() == 1)
        },
    )
    .await;
    let large = Ticket::new(Digest::from("class"), vec![0; 8 << 10].into());
    limited.discovery().add_ticket(large.clone());
    assert_eq!(limited.discovery().me().tickets().len(), 1);
    limited.discovery().remove_ticket(large.id());
    limited.discovery().add_tags("still small");
    until(
        other.discovery(),
        seconds(5.0),
        "the entry once it fits again",
        |catalog| {
            catalog
                .get(&peer)
                .is_some_and(|entry| entry.tags().len() == 2)
        },
    )
    .await;
    close([limited, other]).await;
}

#[tokio::test]
async fn a_full_catalog_takes_no_more() {
    let id = fresh();
    let limited = Network::builder(id)
        .with_preset(Preset::Isolated)
        .with_limits(with_limits(|limits| limits.catalog_entries = 3))
        .build()
        .await
        .unwrap();
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(node_with_peer(id, &limited).await);
    }
    // The others are not limited, and still find each other through the limited one's links.
    until(limited.discovery(), seconds(10.0), "as many as fit", |c| {
        c.peers_count() >= 2
    })
    .await;
    assert!(limited.discovery().catalog().peers_count() <= 3);
    close(others.into_iter().chain([limited])).await;
}
