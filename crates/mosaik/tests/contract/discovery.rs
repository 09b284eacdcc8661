//! `mosaik::discovery`: the handle, the catalog, its events and the configuration.

use {
    crate::support::{network_id, node, node_knowing, until, within},
    mosaik::{
        NetworkId, PeerId, SecretKey, Tag,
        discovery::{
            AnnounceEvent, Catalog, Config, ConfigBuilder, ConfigBuilderError, Discovery, Error,
            Event, IntoConfig, PeerEntry, PeerEntryVersion, SignedPeerEntry,
        },
        iroh::EndpointAddr,
        primitives::Bytes,
        tickets::Ticket,
    },
    serde::{Serialize, de::DeserializeOwned},
    std::{
        fmt::{Debug, Display},
        future::Future,
        time::Duration,
    },
    tokio::sync::{broadcast, watch},
};

#[test]
fn types_have_the_traits_that_programs_use() {
    implements!(AnnounceEvent: Clone + Debug + Send + Sync + 'static);
    implements!(Event: Clone + Debug + Eq + Send + Sync + 'static);
    implements!(Catalog: Clone + Debug + Send + Sync + 'static);
    implements!(Config: Clone + Debug + PartialEq + Serialize + DeserializeOwned + IntoConfig);
    implements!(ConfigBuilder: Clone + Debug + Default + IntoConfig);
    implements!(ConfigBuilderError: Debug + Display + std::error::Error + From<String>);
    implements!(Discovery: Clone + Debug + Send + Sync + 'static);
    implements!(Error: Debug + Display + std::error::Error + Send + Sync + 'static);
    implements!(Error: From<iroh_gossip::api::ApiError>);
    implements!(Error: From<Box<dyn std::error::Error + Send + Sync>>);
}

#[test]
fn a_configuration_is_built_and_read() {
    let peer = SecretKey::from_bytes(&[1; 32]).public();
    let address = EndpointAddr::new(peer);
    let seconds = Duration::from_secs;
    let builder: ConfigBuilder = Config::builder();
    let built: Result<Config, ConfigBuilderError> = builder
        .with_events_backlog(7)
        .with_bootstrap(peer)
        .with_bootstrap(address.clone())
        .with_bootstrap(vec![address.clone()])
        .with_tags("one")
        .with_tags(["two", "three"])
        .with_tags(vec![Tag::from("four")])
        .with_purge_after(seconds(2))
        .with_max_time_drift(seconds(3))
        .with_announce_interval(seconds(4))
        .with_announce_jitter(0.25)
        .with_no_dht_bootstrap(false)
        .no_dht_bootstrap()
        .with_rtt_probe_interval(seconds(5))
        .with_max_rtt(seconds(6))
        .build();
    let config = built.expect("it works");
    let expected = Config {
        events_backlog: 7,
        bootstrap_peers: vec![address; 3],
        tags: ["one", "two", "three", "four"].map(Tag::from).to_vec(),
        purge_after: seconds(2),
        max_time_drift: seconds(3),
        announce_interval: seconds(4),
        announce_jitter: 0.25,
        no_dht_bootstrap: true,
        rtt_probe_interval: seconds(5),
        max_rtt: Some(seconds(6)),
        graceful_departure_window: Duration::from_millis(500),
    };
    assert_eq!(config, expected);
    let ids: Vec<PeerId> = config.bootstrap_peers_ids();
    assert_eq!(ids, [peer; 3]);
    let same: Result<Config, ConfigBuilderError> = config.into_config();
    assert_eq!(same.expect("it works"), expected);
    const fn changed(builder: ConfigBuilder) -> ConfigBuilder {
        builder
            .no_dht_bootstrap()
            .with_max_rtt(Duration::from_secs(1))
    }
    assert!(changed(Config::builder()).into_config().is_ok());
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = Config::builder().build().expect("the defaults work");
    let expected = Config {
        events_backlog: 100,
        bootstrap_peers: vec![],
        tags: vec![],
        purge_after: Duration::from_mins(5),
        max_time_drift: Duration::from_secs(50),
        announce_interval: Duration::from_secs(45),
        announce_jitter: 0.5,
        no_dht_bootstrap: false,
        rtt_probe_interval: Duration::from_secs(30),
        max_rtt: None,
        graceful_departure_window: Duration::from_millis(500),
    };
    assert_eq!(config, expected);
}

/// What is waited for can be kept anywhere.
fn kept<F: Future + Send + Sync + 'static>(future: F) -> F {
    future
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_see_each_other_change_and_leave() {
    let id = network_id();
    let a = node(id).await;
    let discovery: &Discovery = a.discovery();
    let mut events: broadcast::Receiver<Event> = discovery.events();
    let mut watch: watch::Receiver<Catalog> = discovery.catalog_watch();
    let b = node_knowing(id, &a).await;
    let peer: PeerId = b.local().id();
    let seen = within("discovered", events.recv()).await;
    assert!(matches!(seen, Ok(Event::PeerDiscovered(entry)) if *entry.id() == peer));
    within(
        "discovered",
        watch.wait_for(|catalog| catalog.get(&peer).is_some()),
    )
    .await
    .expect("the network is there");

    b.discovery().add_tags(["one", "two"]);
    b.discovery().remove_tags("two");
    within("updated", async {
        loop {
            if let Ok(Event::PeerUpdated(entry)) = events.recv().await
                && entry.tags().contains(&Tag::from("one"))
            {
                break;
            }
        }
    })
    .await;
    let synced: Result<(), Error> = kept(discovery.sync_with(b.local().addr())).await;
    synced.expect("the other side answers");
    kept(discovery.sync_with(peer)).await.expect("it is known");
    discovery.dial(b.local().addr()).await;
    discovery.dial([peer, peer]).await;

    b.close().await;
    within("departed", async {
        while events.recv().await != Ok(Event::PeerDeparted(peer)) {}
    })
    .await;
    a.close().await;
}

#[tokio::test]
async fn the_local_entry_is_changed_by_the_handle() {
    let a = node(network_id()).await;
    let discovery = a.discovery();
    let ticket = |class: &str, data: &'static str| Ticket::new(class.into(), data.into());
    discovery.add_tags("one");
    discovery.add_ticket(ticket("a", "first"));
    discovery.add_ticket(ticket("a", "second"));
    discovery.add_ticket(ticket("b", "other"));
    discovery.replace_ticket(ticket("a", "third"));
    discovery.remove_ticket(ticket("b", "other").id());
    let me: SignedPeerEntry = discovery.me();
    let carried: Vec<&Bytes> = me.tickets().values().map(|ticket| &ticket.data).collect();
    assert_eq!(carried, ["third"]);
    discovery.remove_tickets_of("a".into());
    discovery.remove_tags(["one"]);
    assert!(discovery.me().tickets().is_empty() && discovery.me().tags().is_empty());
    until("published", || {
        discovery.catalog().local() == &discovery.me()
    })
    .await;
    a.close().await;
}

#[tokio::test]
async fn entries_are_put_in_and_taken_out_by_hand() {
    let id = network_id();
    let (a, b) = (node(id).await, node(id).await);
    let discovery = a.discovery();
    let (signed, peer): (SignedPeerEntry, PeerId) = (b.discovery().me(), b.local().id());
    let unsigned: PeerEntry = signed.clone().into_unsigned();
    let (fresh, again): (bool, bool) = (discovery.insert(unsigned), discovery.clear_unsigned());
    assert!(fresh && again && !discovery.clear_unsigned());
    assert!(discovery.insert(&signed) && discovery.feed(signed.clone()));

    let catalog: Catalog = discovery.catalog();
    const fn ids(catalog: &Catalog) -> (PeerId, NetworkId) {
        (catalog.local_id(), catalog.network_id())
    }
    assert_eq!(ids(&catalog), (a.local().id(), id));
    let counts: (usize, usize) = (catalog.peers_count(), catalog.signed_peers_count());
    assert_eq!(counts, (1, 1));
    let of_peer: (Option<&PeerEntry>, Option<&SignedPeerEntry>) =
        (catalog.get(&peer), catalog.get_signed(&peer));
    assert_eq!(of_peer, (Some(&*signed), Some(&signed)));
    let local: &SignedPeerEntry = catalog.local();
    fn listed<'c, T: 'c>(entries: impl DoubleEndedIterator<Item = &'c T>) -> usize {
        entries.rev().count()
    }
    assert_eq!(listed::<PeerEntry>(catalog.peers()), 1);
    assert_eq!(listed::<SignedPeerEntry>(catalog.signed_peers()), 1);
    assert_eq!(listed::<PeerEntry>(catalog.unsigned_peers()), 0);
    assert_eq!(listed::<PeerEntry>(catalog.iter()), 2);
    assert_eq!(listed::<SignedPeerEntry>(catalog.iter_signed()), 2);
    assert_eq!(local.id(), &a.local().id());

    let removed: bool = discovery.remove(peer);
    assert!(removed && !discovery.remove(peer));
    b.close().await;
    a.close().await;
}

/// Everything that can happen is told by these.
#[expect(dead_code, reason = "compiling is the test")]
fn told(event: Event, announced: AnnounceEvent) -> PeerId {
    let _: PeerId = match event {
        Event::PeerDiscovered(entry) | Event::PeerUpdated(entry) => *entry.id(),
        Event::PeerDeparted(peer) => peer,
    };
    match announced {
        AnnounceEvent::PeerEntryReceived(entry) => {
            let entry: SignedPeerEntry = entry;
            *entry.id()
        }
        AnnounceEvent::PeerDeparted(peer, version) => {
            let _: PeerEntryVersion = version;
            peer
        }
    }
}
