//! Data that are no serde types, with an encoding that a program wrote itself.

use {
    crate::support::{groups::together, network_id, node, node_knowing, until, within},
    futures::SinkExt,
    mosaik::{
        Consistency, Criteria, StreamId, UniqueId,
        groups::{ApplyContext, CommandError, LogReplaySync, StateMachine},
        primitives::{Bytes, Datum, encoding},
        streams::{StreamDef, producer},
    },
    std::{fmt, string::FromUtf8Error},
};

/// A price in cents, written as text: no `Serialize`, no `Deserialize`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Price(u32);

#[derive(Debug)]
struct Worthless;

impl fmt::Display for Worthless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("worthless")
    }
}

impl std::error::Error for Worthless {}

#[derive(Debug)]
enum NoPrice {
    Text(FromUtf8Error),
    Number,
}

impl fmt::Display for NoPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(error) => error.fmt(f),
            Self::Number => f.write_str("not a number of cents"),
        }
    }
}

impl std::error::Error for NoPrice {}

impl Datum for Price {
    type EncodeError = Worthless;
    type DecodeError = NoPrice;

    fn encode(&self) -> Result<Bytes, Worthless> {
        match self.0 {
            0 => Err(Worthless),
            cents => Ok(Bytes::from(format!("{cents} cents"))),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, NoPrice> {
        let text = String::from_utf8(bytes.to_vec()).map_err(NoPrice::Text)?;
        let cents = text.strip_suffix(" cents").and_then(|n| n.parse().ok());
        cents.map(Self).ok_or(NoPrice::Number)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datum_with_an_encoding_of_its_own_travels_through_a_stream() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let mut prices = a.streams().produce::<Price>();
    let mut consumer = b.streams().consume::<Price>();
    let derived: StreamId = Price::derived_stream_id();
    assert_eq!(
        (prices.stream_id(), consumer.stream_id()),
        (&derived, &derived)
    );
    for cents in 1..=100 {
        within("sent", prices.send(Price(cents))).await.unwrap();
    }
    for cents in 1..=100 {
        assert_eq!(
            within("received", consumer.recv()).await,
            Some(Price(cents))
        );
    }
    // The bytes counted are those that the program's own encoding made.
    let written: usize = (1..=100u32).map(|n| format!("{n} cents").len()).sum();
    assert_eq!(consumer.stats().bytes(), written);

    let error = within("refused", prices.send(Price(0))).await.unwrap_err();
    assert_eq!(error.to_string(), "Datum serialization error");
    let producer::Error::Encoding(Price(0), error) = error else {
        panic!("the item comes back: {error:?}");
    };
    assert_eq!(error, encoding::EncodeError::SerdeSerCustom);
    within("sent", prices.send(Price(7))).await.unwrap();
    assert_eq!(within("received", consumer.recv()).await, Some(Price(7)));
    b.close().await;
    a.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn criteria_do_not_see_into_an_encoding_of_a_program_s_own() {
    const PRICES: StreamDef<Price> = StreamDef::with_stream_id(mosaik::id!("contract.prices"));
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let mut prices = a.streams().producer_of(PRICES).build().unwrap();
    let wanting = |criteria| {
        b.streams()
            .consumer_of(PRICES)
            .with_criteria(criteria)
            .build()
    };
    let field = || Criteria::field("").gt(50);
    let (mut tested, mut negated) = (wanting(field()), wanting(!field()));
    let mut sampled = wanting(Criteria::default().one_in(2));
    until("all are subscribed", || prices.consumers().count() == 3).await;
    for cents in 1..=9 {
        within("sent", prices.send(Price(cents))).await.unwrap();
    }
    for cents in [1, 3, 5, 7, 9] {
        assert_eq!(within("received", sampled.recv()).await, Some(Price(cents)));
    }
    // At the end of the stream it is certain that nothing else comes.
    a.close().await;
    until("all have ended", || {
        [&tested, &negated]
            .iter()
            .all(|consumer| consumer.producers().next().is_none())
    })
    .await;
    assert!(tested.try_recv().is_err() && negated.try_recv().is_err());
    assert!(Criteria::default().matches(&Price(1)));
    assert!(!field().matches(&Price(100)) && !(!field()).matches(&Price(100)));
    b.close().await;
}

/// Keeps the highest price; commands, questions and answers are written by the program.
struct Highest(Price);

impl StateMachine for Highest {
    type Command = Price;
    type Query = Price;
    type QueryResult = Price;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("contract.highest")
    }

    fn apply(&mut self, Price(cents): Price, _: &dyn ApplyContext) {
        self.0.0 = self.0.0.max(cents);
    }

    fn query(&self, Price(at_least): Price) -> Price {
        Price(self.0.0.max(at_least))
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datum_with_an_encoding_of_its_own_is_a_command() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let groups = [&a, &b].map(|node| {
        node.groups()
            .with_key("prices")
            .with_state_machine(Highest(Price(1)))
            .with_consensus_config(together(2))
            .join()
    });
    for group in &groups {
        within("online", group.when().online()).await;
    }
    // One of the two is a follower, whose command and question travel.
    for (cents, group) in (5..).zip(&groups) {
        within("executed", group.execute(Price(cents)))
            .await
            .unwrap();
    }
    for group in &groups {
        let asked = group.query(Price(2), Consistency::Strong);
        assert_eq!(*within("answered", asked).await.unwrap(), Price(6));
    }
    let refused = within("refused", groups[0].execute(Price(0))).await;
    let Err(CommandError::Encoding(back, _)) = refused else {
        panic!("it cannot be encoded: {refused:?}");
    };
    assert_eq!(back, [Price(0)]);
    b.close().await;
    a.close().await;
}
