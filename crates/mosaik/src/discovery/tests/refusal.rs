//! What a hostile or broken peer can send, and what becomes of it: nothing.

use {
    super::{close, fresh, known, node, node_with_peer, seconds, until},
    crate::{
        Network, SecretKey,
        discovery::{
            Config, PeerEntry, SignedPeerEntry, authority::node_key, version::unix_micros,
        },
        network::{Preset, links::Protocol},
    },
    bytes::Bytes,
    iroh::EndpointAddr,
    mosaik_primitives::{Digest, codec::Versioned, time::UnixMillis},
    mosaik_protocol::catalog::{self, Carried, Gossip, Input, Item, Message, Range, RangeContent},
    std::time::Duration,
};

/// Hands the node messages as if `from` had sent them, and a valid entry last, so that it is
/// known when all of them were handled.
async fn send_all(node: &Network, from: &Network, messages: Vec<Message>) {
    let secret = SecretKey::generate();
    let address = EndpointAddr::new(secret.public());
    let marker = PeerEntry::starting_now(*node.network_id(), address)
        .sign(&secret)
        .unwrap();
    let state = &node.discovery().state();
    let from = node_key(&from.local().id());
    let last = entries([marker.encode()]);
    for message in messages.into_iter().chain([last]) {
        let bytes = message.to_versioned().unwrap();
        state.handle(Input::Message { from, bytes });
    }
    until(
        node.discovery(),
        seconds(10.0),
        "the valid entry",
        |catalog| catalog.get(&secret.public()).is_some(),
    )
    .await;
}

/// Entries as a comparison carries them.
fn entries(entries: impl IntoIterator<Item = Bytes>) -> Message {
    let carry = |entry| Carried {
        entry,
        latest: None,
    };
    Message::Entries(entries.into_iter().map(carry).collect())
}

fn entry_of(node: &Network, secret: &SecretKey) -> PeerEntry {
    PeerEntry::starting_now(*node.network_id(), EndpointAddr::new(secret.public()))
}

/// The entry with a signature of somebody else's.
fn forged(entry: &PeerEntry) -> Bytes {
    let signature = SecretKey::generate().sign(b"anything");
    mosaik_primitives::codec::try_serialize(&(entry, signature)).unwrap()
}

#[tokio::test]
async fn entries_that_are_not_what_they_claim_are_refused() {
    let id = fresh();
    let victim = node(id).await;
    let attacker = node_with_peer(id, &victim).await;
    until(victim.discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 1
    })
    .await;

    let secret = SecretKey::generate();
    let sign = |entry: PeerEntry| entry.sign(&secret).unwrap().encode();
    let missigned = forged(&entry_of(&victim, &secret));
    let other_network = PeerEntry::starting_now(fresh(), EndpointAddr::new(secret.public()));
    let ahead_us = unix_micros() + 120_000_000;
    let future = entry_of(&victim, &secret).dated(ahead_us);
    let past = entry_of(&victim, &secret).dated(unix_micros() - 400_000_000);
    let messages = vec![
        entries([missigned.clone()]),
        Message::Direct(Gossip::Entry(missigned)),
        entries([sign(other_network)]),
        entries([sign(future)]),
        entries([sign(past)]),
        entries([Bytes::from_static(b"not an entry"), Bytes::new()]),
    ];
    send_all(&victim, &attacker, messages).await;
    assert!(victim.discovery().catalog().get(&secret.public()).is_none());
    assert!(known(victim.discovery()).contains(&attacker.local().id()));
    close([victim, attacker]).await;
}

#[tokio::test]
async fn a_lie_about_a_nodes_own_entry_does_not_freeze_it() {
    let id = fresh();
    let victim = node(id).await;
    let attacker = node_with_peer(id, &victim).await;
    let peer = victim.local().id();
    until(attacker.discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 1
    })
    .await;

    let last = catalog::Version {
        start: u64::MAX,
        seq: u64::MAX,
    };
    let lie = Item {
        peer: node_key(&peer),
        version: last,
        digest: Digest::from("anything"),
        issued: UnixMillis(unix_micros() / 1_000),
    };
    let compare = Message::Compare {
        session: 1,
        opener: true,
        ranges: vec![Range {
            end: None,
            content: RangeContent::Items(vec![lie]),
        }],
        ages: None,
    };
    send_all(&victim, &attacker, vec![compare, Message::Offer(vec![lie])]).await;
    victim.discovery().add_tags("after the lie");
    assert_eq!(victim.discovery().me().tags().len(), 1);
    until(attacker.discovery(), seconds(10.0), "the tag", |c| {
        c.get(&peer).is_some_and(|entry| entry.tags().len() == 1)
    })
    .await;
    close([victim, attacker]).await;
}

#[tokio::test]
async fn a_node_goes_beyond_what_it_signed_before_its_clock_was_set_back() {
    let id = fresh();
    let secret = SecretKey::generate();
    let other = node(id).await;
    let before = entry_of(&other, &secret)
        .dated(unix_micros() + 20_000_000)
        .sign(&secret)
        .unwrap();
    assert!(other.discovery().feed(before.clone()));
    let again = Network::builder(id)
        .with_preset(Preset::Isolated)
        .with_secret_key(secret.clone())
        .with_discovery(Config::builder().with_bootstrap(other.local().addr()))
        .build()
        .await
        .unwrap();
    until(other.discovery(), seconds(10.0), "the newer entry", |c| {
        c.get(&secret.public())
            .is_some_and(|entry| entry.update_version() > before.update_version())
    })
    .await;
    close([other, again]).await;
}

#[tokio::test]
async fn replays_do_not_regress() {
    let id = fresh();
    let victim = node(id).await;
    let attacker = node_with_peer(id, &victim).await;
    until(victim.discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 1
    })
    .await;
    let old = attacker.discovery().me();
    attacker.discovery().add_tags("new");
    let new: SignedPeerEntry = attacker.discovery().me();
    let peer = attacker.local().id();
    until(victim.discovery(), seconds(10.0), "the new", |c| {
        c.get_signed(&peer) == Some(&new)
    })
    .await;
    send_all(
        &victim,
        &attacker,
        vec![
            entries([old.encode()]),
            Message::Direct(Gossip::Entry(old.encode())),
        ],
    )
    .await;
    assert_eq!(victim.discovery().catalog().get_signed(&peer), Some(&new));

    // Nor does a replay bring back who has left.
    attacker.close().await;
    until(victim.discovery(), seconds(5.0), "gone", |c| {
        c.get(&peer).is_none()
    })
    .await;
    let stranger = node(id).await;
    send_all(
        &victim,
        &stranger,
        vec![entries([old.encode(), new.encode()])],
    )
    .await;
    assert!(victim.discovery().catalog().get(&peer).is_none());
    close([victim, stranger]).await;
}

#[tokio::test]
async fn bytes_that_are_no_message_disturb_nothing() {
    let id = fresh();
    let victim = node(id).await;
    let attacker = node(id).await;
    let links = attacker.discovery().links();
    let greetings: [&[u8]; 6] = [
        &[],
        &[9],
        &[0],
        &[0, 1, 2, 3],
        &[1, 0xff, 0xff, 0xff, 0xff],
        &[2, 2],
    ];
    for greeting in greetings {
        let greeting = Bytes::from_static(Box::leak(greeting.to_vec().into_boxed_slice()));
        let opened = links
            .open(
                victim.local().addr(),
                Protocol::Discovery,
                Digest::zero(),
                greeting,
            )
            .await;
        // Refused or accepted and then ignored; either way the link stays usable.
        drop(opened);
    }
    let third = node_with_peer(id, &victim).await;
    until(victim.discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 1
    })
    .await;
    assert!(
        attacker
            .discovery()
            .sync_with(victim.local().addr())
            .await
            .is_ok()
    );
    close([victim, attacker, third]).await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_disturbs_nobody() {
    let id = fresh();
    let victim = node(id).await;
    let silent = iroh::Endpoint::builder(iroh::endpoint::presets::Minimal)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .bind()
        .await
        .unwrap();
    let mosaik = silent
        .connect(victim.local().addr(), crate::network::ALPN)
        .await
        .unwrap();
    let gossip = silent
        .connect(victim.local().addr(), iroh_gossip::ALPN)
        .await
        .unwrap();
    // A message that is promised and never comes.
    let (mut send, _recv) = mosaik.open_bi().await.unwrap();
    send.write_all(&[0, 0]).await.unwrap();

    let started = tokio::time::Instant::now();
    let others = [
        node_with_peer(id, &victim).await,
        node_with_peer(id, &victim).await,
    ];
    for node in others.iter().chain([&victim]) {
        until(node.discovery(), seconds(5.0), "met", |c| {
            c.peers_count() == 2
        })
        .await;
    }
    assert!(started.elapsed() < Duration::from_secs(10).min(seconds(5.0)));
    drop((mosaik, gossip));
    silent.close().await;
    close(others.into_iter().chain([victim])).await;
}
