//! Tickets that are replaced before they expire.

mod support;

use {
    futures::{FutureExt, SinkExt, StreamExt},
    mosaik::{
        Bytes, Network, UniqueId,
        discovery::PeerEntry,
        streams::{Consumer, Producer, consumer::ConsumerEvent},
        tickets::{Expiration, InvalidTicket, Ticket, TicketClass, TicketValidator},
    },
    std::time::{Duration, Instant, SystemTime},
    support::{network_id, node, node_knowing, patience, until, within},
};

const CLASS: TicketClass = UniqueId::from_u8(7);

/// Reads from a ticket when it expires: milliseconds since 1970.
struct Dated;

impl TicketValidator for Dated {
    fn class(&self) -> TicketClass {
        CLASS
    }

    fn signature(&self) -> UniqueId {
        CLASS
    }

    fn validate(&self, ticket: &[u8], _peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        let millis = u64::from_le_bytes(ticket.try_into().map_err(|_| InvalidTicket)?);
        Ok(Expiration::At(
            (SystemTime::UNIX_EPOCH + Duration::from_millis(millis)).into(),
        ))
    }
}

fn ticket(lifetime: Duration) -> Ticket {
    let end = SystemTime::UNIX_EPOCH.elapsed().unwrap() + lifetime;
    let millis = u64::try_from(end.as_millis()).unwrap();
    Ticket::new(CLASS, Bytes::copy_from_slice(&millis.to_le_bytes()))
}

/// Long enough for the second ticket to be everywhere before the first has expired.
fn short() -> Duration {
    patience(3)
}

/// Renews the ticket of `holder`, and sends until the first one has been expired for a while.
async fn outlives(
    holder: &Network,
    other: &Network,
    mut producer: Producer<u64>,
    mut consumer: Consumer<u64>,
    expires: Instant,
) {
    within("send", producer.send(0)).await.unwrap();
    assert_eq!(within("recv", consumer.recv()).await, Some(0));
    let mut events = consumer.events();

    let renewed = ticket(Duration::from_hours(1));
    let ticket_id = renewed.id();
    holder.discovery().replace_ticket(renewed);
    let holder_id = holder.local().id();
    let known = || {
        let catalog = other.discovery().catalog();
        let entry = catalog.get(&holder_id);
        entry.is_some_and(|entry| entry.tickets().contains_key(&ticket_id))
    };
    until("the new ticket is known", known).await;
    assert!(Instant::now() < expires, "renewed in time");

    let mut number = 1;
    let until = expires + Duration::from_secs(1);
    while Instant::now() < until {
        within("send", producer.send(number)).await.unwrap();
        assert_eq!(within("recv", consumer.recv()).await, Some(number));
        number += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(consumer.stats().missed(), 0);
    while let Some(event) = events.next().now_or_never() {
        let ended = matches!(event, Some(ConsumerEvent::Disconnected { .. }));
        assert!(!ended, "the subscription ended with the first ticket");
    }

    holder.discovery().remove_tickets_of(CLASS);
    within("cut off", producer.when().offline()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumers_subscription_outlives_the_ticket_that_was_replaced() {
    let id = network_id();
    let a = node(id).await;
    let producer = a
        .streams()
        .producer::<u64>()
        .require_ticket(Dated)
        .build()
        .unwrap();
    let b = node_knowing(id, &a).await;
    let expires = Instant::now() + short();
    b.discovery().add_ticket(ticket(short()));
    let consumer = b.streams().consume::<u64>();
    outlives(&b, &a, producer, consumer, expires).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producers_subscription_outlives_the_ticket_that_was_replaced() {
    let id = network_id();
    let a = node(id).await;
    let expires = Instant::now() + short();
    a.discovery().add_ticket(ticket(short()));
    let producer = a.streams().producer::<u64>().build().unwrap();
    let b = node_knowing(id, &a).await;
    let consumer = b.streams().consumer::<u64>().require_ticket(Dated).build();
    outlives(&a, &b, producer, consumer, expires).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_whose_ticket_expired_is_not_asked_until_it_has_another() {
    let id = network_id();
    let a = node(id).await;
    a.discovery().add_ticket(ticket(short()));
    let producer = a.streams().producer::<u64>().build().unwrap();
    let b = node_knowing(id, &a).await;
    let consumer = b.streams().consumer::<u64>().require_ticket(Dated).build();
    let mut events = consumer.events();
    let expired = async {
        while let Some(event) = events.next().await {
            if matches!(event, ConsumerEvent::Disconnected { .. }) {
                return;
            }
        }
    };
    within("expired", expired).await;
    until("not asked any more", || consumer.producers().count() == 0).await;
    // Its backoff would have made it try several times in this time.
    let connected = async {
        while let Some(event) = events.next().await {
            if matches!(event, ConsumerEvent::Connected { .. }) {
                return;
            }
        }
    };
    let again = tokio::time::timeout(patience(1), connected).await;
    assert!(again.is_err(), "an expired ticket admits nobody");
    a.discovery()
        .replace_ticket(ticket(Duration::from_hours(1)));
    within("online again", producer.when().online()).await;
}
