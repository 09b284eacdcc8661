//! What the declaration macros promise, through the facade.

mod support;

use {
    futures::SinkExt,
    mosaik::{StreamConsumer, StreamProducer, Tag, UniqueId, id, stream, unique_id},
    std::time::Duration,
    support::{network_id, node, node_knowing, within},
};

const RAW: UniqueId = id!("0202020202020202020202020202020202020202020202020202020202020202");
const HASHED: UniqueId = unique_id!("declared.by.const");

stream!(
    /// Has an id of its own.
    pub Literal = u64,
    "declared.literal"
);
stream!(ByConst = u64, HASHED, disconnect_lagging: false, buffer_size: 16);
stream!(Derived = (u8, String));
stream!(Generic<T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static> = Vec<T>, "declared.generic");
stream!(
    Narrow = u64,
    "declared.narrow",
    consumer require: |peer| peer.tags().contains(&Tag::from("reader")),
    producer online_when: |conditions| conditions.minimum_of(1),
    max_consumers: 4,
);
stream!(producer OnlyProducer = u64, "declared.one-sided");
stream!(consumer OnlyConsumer = u64, "declared.one-sided");

#[test]
fn ids_are_computed_at_compile_time() {
    assert_eq!(RAW, UniqueId::from_bytes([2; 32]));
    assert_eq!(HASHED, UniqueId::from("declared.by.const"));
}

#[tokio::test]
async fn a_declaration_opens_streams_by_its_id() {
    let network = node(network_id()).await;
    assert_eq!(
        *Literal::producer(&network).stream_id(),
        UniqueId::from("declared.literal")
    );
    assert_eq!(
        *Literal::consumer(&network).stream_id(),
        UniqueId::from("declared.literal")
    );
    assert_eq!(*ByConst::consumer(&network).stream_id(), HASHED);
    assert_eq!(ByConst::producer(&network).config().buffer_size, 16);
    let derived = network.streams().consume::<(u8, String)>();
    assert_eq!(Derived::consumer(&network).stream_id(), derived.stream_id());
    let generic = Generic::<u8>::producer(&network);
    assert_eq!(*generic.stream_id(), UniqueId::from("declared.generic"));
    network.close().await;
}

#[tokio::test]
async fn opening_a_producer_twice_hands_out_the_existing_one() {
    let network = node(network_id()).await;
    let first = ByConst::producer(&network);
    let second = ByConst::producer(&network);
    assert_eq!(first.stream_id(), second.stream_id());
    assert_eq!(second.config().buffer_size, 16);
    network.close().await;
}

#[tokio::test]
async fn one_sided_declarations_meet() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let consumer = tokio::spawn({
        let online = OnlyConsumer::online_consumer(&b);
        async move { within("the consumer is online", online).await }
    });
    let mut producer = within("the producer is online", OnlyProducer::online_producer(&a)).await;
    let mut consumer = consumer.await.unwrap();
    producer.send(7).await.unwrap();
    assert_eq!(within("the item", consumer.recv()).await, Some(7));
    b.close().await;
    a.close().await;
}

#[tokio::test]
async fn what_the_consumer_must_satisfy_is_enforced_by_the_producer() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let mut producer = Narrow::producer(&a);
    // `Open` is the same stream without the requirement, so only the producer can refuse.
    stream!(consumer Open = u64, "declared.narrow");
    let mut consumer = Open::consumer(&b);
    // Another stream between the two shows that they have met.
    let (other, _consumer) = (Literal::producer(&a), Literal::consumer(&b));
    within("the nodes have met", other.when().online()).await;
    let admitted = tokio::time::timeout(Duration::from_millis(300), producer.when().online());
    assert!(
        admitted.await.is_err(),
        "a consumer without the tag was admitted"
    );
    b.discovery().add_tags("reader");
    within("the tagged consumer is admitted", producer.when().online()).await;
    producer.send(7).await.unwrap();
    assert_eq!(within("the item", consumer.recv()).await, Some(7));
    b.close().await;
    a.close().await;
}
