//! Who may take part in a stream, and for how long.

mod support;

use {
    futures::{SinkExt, StreamExt},
    mosaik::{
        Bytes, UniqueId,
        discovery::PeerEntry,
        streams::{
            consumer::{ConsumerEvent, Events},
            status::State,
        },
        tickets::{Expiration, InvalidTicket, Ticket, TicketClass, TicketValidator},
    },
    std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::{Duration, Instant},
    },
    support::{network_id, node, node_knowing, until, within},
};

/// Accepts a ticket whose content is its word, for a time that the test decides.
struct Word {
    word: &'static [u8],
    expiration: Expiration,
}

const CLASS: TicketClass = UniqueId::from_u8(7);

impl TicketValidator for Word {
    fn class(&self) -> TicketClass {
        CLASS
    }

    fn signature(&self) -> UniqueId {
        CLASS.derive(self.word)
    }

    fn validate(&self, ticket: &[u8], _peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        if ticket == self.word {
            Ok(self.expiration)
        } else {
            Err(InvalidTicket)
        }
    }
}

fn word(word: &'static [u8]) -> Word {
    Word {
        word,
        expiration: Expiration::Never,
    }
}

fn ticket(content: &'static [u8]) -> Ticket {
    Ticket::new(CLASS, Bytes::from_static(content))
}

/// The reason of the next event that says that there is no subscription.
async fn ended(events: &mut Events) -> String {
    within("an end", async {
        loop {
            match events.next().await {
                Some(
                    ConsumerEvent::Refused { reason, .. }
                    | ConsumerEvent::Disconnected { reason, .. },
                ) => break String::from_utf8_lossy(&reason.reason).into_owned(),
                Some(_) => {}
                None => panic!("the events ended"),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_validators_must_accept_one_ticket_each() {
    let id = network_id();
    let a = node(id).await;
    let mut producer = a
        .streams()
        .producer::<u32>()
        .require_ticket(word(b"one"))
        .require_ticket(word(b"two"))
        .build()
        .unwrap();
    let b = node_knowing(id, &a).await;
    b.discovery().add_ticket(ticket(b"one"));
    let mut consumer = b.streams().consume::<u32>();
    let mut events = consumer.events();
    assert_eq!(ended(&mut events).await, "NotAllowed");
    b.discovery().add_ticket(ticket(b"two"));
    within("send", producer.send(1)).await.unwrap();
    assert_eq!(within("recv", consumer.recv()).await, Some(1));
    // A ticket that is taken back ends what it admitted.
    b.discovery().remove_ticket(ticket(b"one").id());
    assert_eq!(ended(&mut events).await, "NotAllowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_ends_when_the_ticket_that_admitted_it_expires() {
    let id = network_id();
    let a = node(id).await;
    let lifetime = Duration::from_secs(2);
    let expires = Instant::now() + lifetime;
    let validator = Word {
        word: b"short",
        expiration: Expiration::after(mosaik::tickets::Duration::from_std(lifetime).unwrap()),
    };
    let mut producer = a
        .streams()
        .producer::<u32>()
        .require_ticket(validator)
        .build()
        .unwrap();
    let b = node_knowing(id, &a).await;
    b.discovery().add_ticket(ticket(b"short"));
    let mut consumer = b.streams().consume::<u32>();
    within("send", producer.send(1)).await.unwrap();
    assert_eq!(within("recv", consumer.recv()).await, Some(1));
    let mut events = consumer.events();
    let connected = within("the channel", async {
        loop {
            if let Some(channel) = consumer.producers().next() {
                break channel;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ended(&mut events).await, "NotAllowed");
    assert!(Instant::now() >= expires, "not before it expires");
    assert!(
        Instant::now() < expires + support::patience(5),
        "and within 5 s of it"
    );
    within("the channel ends", connected.disconnected()).await;
    assert_eq!(connected.state(), State::Terminated);
    assert_eq!(
        ended(&mut events).await,
        "NotAllowed",
        "an expired ticket admits nobody"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_admits_its_producers_too() {
    let id = network_id();
    let a = node(id).await;
    let producer = a.streams().produce::<u32>();
    let b = node_knowing(id, &a).await;
    let consumer = b
        .streams()
        .consumer::<u32>()
        .require_ticket(word(b"seller"))
        .subscribe_if(|peer| peer.tags().contains(&"open".into()))
        .build();
    let known = || b.discovery().catalog().get(&a.local().id()).is_some();
    until("they know each other", known).await;
    assert_eq!(consumer.producers().count(), 0);
    a.discovery().add_ticket(ticket(b"seller"));
    a.discovery().add_tags("open");
    within("admitted", producer.when().online()).await;
    a.discovery().remove_tags("open");
    within("cut off", producer.when().offline()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freed_place_goes_to_the_next_consumer() {
    let id = network_id();
    let a = node(id).await;
    let producer = a
        .streams()
        .producer::<u32>()
        .with_max_consumers(1)
        .build()
        .unwrap();
    let b = node_knowing(id, &a).await;
    let first = b.streams().consume::<u32>();
    within("the first", producer.when().online()).await;
    let c = node_knowing(id, &a).await;
    let second = c.streams().consume::<u32>();
    let mut events = second.events();
    assert_eq!(ended(&mut events).await, "NoCapacity");
    drop(first);
    let c_id = c.local().id();
    let is_c = move |peer: &PeerEntry| *peer.id() == c_id;
    within(
        "the next",
        producer.when().subscribed().with_predicate(is_c),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_count_connected_channels_of_a_kind() {
    let id = network_id();
    let a = node(id).await;
    let producer = a
        .streams()
        .producer::<u32>()
        .online_when(|when| when.minimum_of(2).with_tags("keeper"))
        .build()
        .unwrap();
    let b = node_knowing(id, &a).await;
    let c = node_knowing(id, &a).await;
    b.discovery().add_tags("keeper");
    let _at_b = b.streams().consume::<u32>();
    let at_c = c.streams().consume::<u32>();
    let both = producer.when().subscribed().minimum_of(2);
    within("both", both.clone()).await;
    assert!(both == true && both.clone().unmet() == false);
    assert!(!producer.is_online(), "one of them has no tag");
    let closed = Arc::new(AtomicBool::new(false));
    let waiting = {
        let (closed, offline) = (Arc::clone(&closed), producer.when().unsubscribed());
        tokio::spawn(async move {
            offline.await;
            closed.store(true, Ordering::Release);
        })
    };
    drop(at_c);
    within(
        "one is left",
        producer.when().subscribed().minimum_of(2).unmet(),
    )
    .await;
    assert!(!closed.load(Ordering::Acquire), "one is still subscribed");
    b.close().await;
    within("none is left", waiting).await.unwrap();
}
