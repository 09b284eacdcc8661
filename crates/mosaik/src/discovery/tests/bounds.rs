//! What stays bounded.

use {
    super::{close, fresh, node, node_with_peer, seconds, until},
    crate::{
        Network,
        discovery::wire::Greeting,
        network::{
            Preset,
            links::{Opened, Protocol},
        },
        tickets::Ticket,
    },
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

/// Promises the victim 32 MiB of messages: as much as all of them may take together.
async fn promise(attacker: &Network, victim: &Network) -> Vec<Opened> {
    let longest = victim.discovery().state().max_message_bytes;
    let mut lengths = vec![longest; 25];
    lengths.push((32 << 20) - 26 * 1_024 - 25 * longest);
    let mut promised = Vec::new();
    for len in lengths {
        let greeting = Greeting::LongMessage { len: len as u32 };
        let links = attacker.discovery().links();
        let opened = links
            .open(
                victim.local().addr(),
                Protocol::Discovery,
                Digest::zero(),
                greeting.encode(),
            )
            .await;
        promised.push(opened.expect("a message may be promised"));
    }
    promised
}

/// Messages of another peer are taken, small and large ones.
async fn others_are_heard(victim: &Network) {
    let other = node(*victim.network_id()).await;
    let large = Ticket::new(Digest::from("class"), vec![0; 100 << 10].into());
    other.discovery().add_ticket(large);
    let synced = other.discovery().sync_with(victim.local().addr()).await;
    assert!(synced.is_ok(), "{synced:?}");
    let peer = other.local().id();
    until(
        victim.discovery(),
        seconds(5.0),
        "the large entry",
        |catalog| {
            catalog
                .get(&peer)
                .is_some_and(|entry| entry.tickets().len() == 1)
        },
    )
    .await;
    close([other]).await;
}

#[tokio::test]
async fn messages_that_are_promised_and_do_not_come_keep_nobody_elses_out() {
    let id = fresh();
    let (victim, attacker) = (node(id).await, node(id).await);
    let promised = promise(&attacker, &victim).await;
    others_are_heard(&victim).await;
    drop(promised);
    close([victim, attacker]).await;
}

#[tokio::test]
async fn messages_that_do_not_end_keep_nobody_elses_out() {
    let id = fresh();
    let (victim, attacker) = (node(id).await, node(id).await);
    let promised = promise(&attacker, &victim).await;
    let bytes = bytes::Bytes::from(vec![0; victim.discovery().state().max_message_bytes - 1]);
    let writing = promised.into_iter().map(|mut opened| {
        let bytes = bytes.clone();
        tokio::spawn(async move {
            // What is not taken is refused by the victim.
            let _ = opened.send.write_chunk(bytes).await;
            core::future::pending::<()>().await;
            drop(opened);
        })
    });
    let writing: Vec<_> = writing.collect();
    others_are_heard(&victim).await;
    for task in writing {
        task.abort();
    }
    close([victim, attacker]).await;
}
