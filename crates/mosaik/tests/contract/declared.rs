//! The macros, in every form of their grammars, and what `use mosaik::*` brings.

#![allow(
    clippy::wildcard_imports,
    reason = "programs write it so, and it is what is tested"
)]

use {
    crate::support::{network_id, node},
    mosaik::*,
    serde::{Serialize, de::DeserializeOwned},
    std::future::Future,
};

/// The macros by their paths, where no glob brings their names.
mod paths {
    mosaik::declare::stream!(pub ByPath = u8, "contract.by.path");
    pub const ID: mosaik::UniqueId = mosaik::id!("contract.by.path");
}

const HEX: UniqueId = id!("00000000000000000000000000000000000000000000000000000000000000ff");
const ORDERS: UniqueId = unique_id!("contract.orders");

stream!(Plain = u64);
stream!(Named = u64, "contract.orders");
stream!(pub(crate) ByConst = u64, ORDERS,);
stream! {
    /// Kept, as are other attributes.
    #[derive(Debug, Clone, Copy)]
    pub Whole = (u64, String),
    "contract.whole",
    require: |peer| !peer.tags().contains(&Tag::from("banned")),
    producer require: |peer| peer.rtt().is_none(),
    consumer require: |peer| peer.tickets().is_empty(),
    require_ticket: Anyone,
    producer require_ticket: Anyone,
    consumer require_ticket: Anyone,
    online_when: |conditions| conditions.minimum_of(0),
    producer online_when: |conditions| conditions.minimum_of(2),
    consumer online_when: |conditions| conditions.minimum_of(3),
    max_consumers: 5,
    producer buffer_size: 6,
    disconnect_lagging: false,
    criteria: Criteria::default(),
    consumer backoff: streams::backoff::ExponentialBackoff::default(),
}
stream!(producer Produced = u8, "contract.one.sided", max_consumers: 1);
stream!(consumer Consumed = u8, "contract.one.sided");
stream!(pub lower_case<T: Datum> = T, "contract.generic");
stream! {
    /// More than one parameter, with bounds of different kinds.
    Two<A: Datum + Serialize + DeserializeOwned, B: Datum + Serialize + DeserializeOwned> = (A, B),
    "contract.two",
}

struct Anyone;

impl tickets::TicketValidator for Anyone {
    fn class(&self) -> tickets::TicketClass {
        id!("anyone")
    }

    fn signature(&self) -> UniqueId {
        id!("anyone")
    }

    fn validate(
        &self,
        _: &[u8],
        _: &discovery::PeerEntry,
    ) -> Result<tickets::Expiration, tickets::InvalidTicket> {
        Ok(tickets::Expiration::Never)
    }
}

#[test]
fn ids_are_constants() {
    assert_eq!(
        HEX,
        Digest::from_bytes(std::array::from_fn(|i| u8::from(i == 31) * 255))
    );
    assert_eq!(ORDERS, UniqueId::from("contract.orders"));
    assert_eq!(paths::ID, id!("contract.by.path"));
}

#[test]
fn declarations_have_the_documented_shapes() {
    fn sides<
        S: StreamProducer<Producer = streams::Producer<D>>
            + StreamConsumer<Consumer = streams::Consumer<D>>,
        D: Datum,
    >() {
    }
    sides::<Plain, u64>();
    sides::<Whole, (u64, String)>();
    sides::<lower_case<u16>, u16>();
    sides::<Two<u8, String>, (u8, String)>();
    fn producer<S: StreamProducer<Producer = streams::Producer<u8>>>() {}
    fn consumer<S: StreamConsumer<Consumer = streams::Consumer<u8>>>() {}
    producer::<Produced>();
    consumer::<Consumed>();
    // Without parameters there is nothing in it.
    let _: (Plain, Whole) = (Plain, Whole);
    assert_eq!(format!("{Whole:?}"), "Whole");
}

#[tokio::test]
async fn declarations_open_what_they_say() {
    fn later<T>(_: &(impl Future<Output = T> + Send + Sync + 'static)) {}
    let network: Network = node(network_id()).await;
    let whole: ProducerOf<Whole> = Whole::producer(&network);
    let config = whole.config();
    assert_eq!(*whole.stream_id(), id!("contract.whole"));
    assert_eq!((config.max_consumers, config.buffer_size), (5, 6));
    assert!(!config.disconnect_lagging && !whole.is_online());
    // Those for consumers and those for both.
    assert_eq!(config.ticket_validators.len(), 2);
    let consumer: ConsumerOf<Whole> = Whole::consumer(&network);
    assert_eq!(consumer.config().ticket_validators.len(), 2);
    assert!(!consumer.is_online());
    later(&Whole::online_producer(&network));
    later(&Whole::online_consumer(&network));

    let plain = Plain::consumer(&network);
    assert_eq!(*plain.stream_id(), u64::derived_stream_id());
    let named = [Named::consumer(&network), ByConst::consumer(&network)];
    assert!(named.iter().all(|consumer| *consumer.stream_id() == ORDERS));
    let first = Produced::producer(&network);
    assert_eq!(first.stream_id(), Produced::producer(&network).stream_id());
    assert_eq!(Consumed::consumer(&network).stream_id(), first.stream_id());
    assert_eq!(*paths::ByPath::producer(&network).stream_id(), paths::ID);
    network.close().await;
}

/// Names that the glob brings, each used as what it is.
#[test]
fn a_glob_brings_the_documented_names() {
    fn named<T: ?Sized>() {}
    named::<(
        Bytes,
        BytesMut,
        Consistency,
        Digest,
        Tag,
        UniqueId,
        Criteria,
    )>();
    named::<(
        GroupId,
        GroupKey,
        SecretKey,
        Signature,
        NetworkId,
        PeerId,
        StreamId,
    )>();
    named::<(Network, Group<groups::NoOp>)>();
    named::<(
        discovery::Config,
        network::NetworkBuilder,
        primitives::Bytes,
    )>();
    named::<(futures::future::Ready<()>, iroh::Endpoint, tickets::Ticket)>();
    assert_eq!([Strong, Weak], [Consistency::Strong, Consistency::Weak]);
}
