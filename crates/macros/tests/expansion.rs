//! What the macros expand to, against a facade that records the calls made on it.

#![allow(
    missing_docs,
    clippy::new_without_default,
    clippy::default_constructed_unit_structs,
    reason = "a stand-in for the facade, not an API"
)]

use {
    core::cell::RefCell,
    mosaik_primitives::{Digest, Tag},
};

pub use mosaik_primitives::UniqueId;

macro_rules! stream {
    ($($input:tt)*) => { mosaik_macros::__stream_impl! { $crate; $($input)* } };
}

macro_rules! unique_id {
    ($($input:tt)*) => { mosaik_macros::__unique_id_impl!($crate; $($input)*) };
}

thread_local! {
    /// The builder calls made by the definitions of this test's thread.
    static CALLS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn record(call: impl Into<String>) {
    CALLS.with_borrow_mut(|calls| calls.push(call.into()));
}

fn calls() -> Vec<String> {
    CALLS.take()
}

pub struct Network;

impl Network {
    pub fn streams(&self) -> streams::Streams {
        streams::Streams
    }
}

pub struct Peer(bool);

pub mod streams {
    use {super::*, core::marker::PhantomData};

    pub struct Streams;

    pub struct StreamDef<D> {
        id: Option<UniqueId>,
        datum: PhantomData<D>,
    }

    impl<D> StreamDef<D> {
        pub const fn new() -> Self {
            Self {
                id: None,
                datum: PhantomData,
            }
        }

        pub const fn with_stream_id(id: UniqueId) -> Self {
            Self {
                id: Some(id),
                datum: PhantomData,
            }
        }
    }

    pub trait StreamProducer {
        type Producer;
        fn producer(network: &Network) -> Self::Producer;
        fn online_producer(
            network: &Network,
        ) -> impl Future<Output = Self::Producer> + Send + Sync + 'static;
    }

    pub trait StreamConsumer {
        type Consumer;
        fn consumer(network: &Network) -> Self::Consumer;
        fn online_consumer(
            network: &Network,
        ) -> impl Future<Output = Self::Consumer> + Send + Sync + 'static;
    }

    /// `Sync` only where the datum is.
    pub struct Producer<D>(pub Option<UniqueId>, PhantomData<D>);
    /// `Sync` only where the datum is.
    pub struct Consumer<D>(pub Option<UniqueId>, PhantomData<D>);
    #[derive(Clone)]
    pub struct When;

    impl When {
        pub fn online(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
            core::future::ready(())
        }
    }

    impl<D> Producer<D> {
        pub const fn when(&self) -> &When {
            &When
        }
    }

    impl<D> Consumer<D> {
        pub const fn when(&self) -> &When {
            &When
        }
    }

    impl Streams {
        pub fn producer_of<D>(&self, def: StreamDef<D>) -> producer::Builder<D> {
            producer::Builder(def)
        }

        pub fn consumer_of<D>(&self, def: StreamDef<D>) -> consumer::Builder<D> {
            consumer::Builder(def)
        }
    }

    macro_rules! methods {
        ($($method:ident)*) => { $(
            #[must_use]
            pub fn $method(self, value: usize) -> Self {
                record(format!("{SIDE}.{}({value})", stringify!($method)));
                self
            }
        )* };
    }

    macro_rules! common {
        () => {
            #[must_use]
            pub fn require(self, pred: impl Fn(&Peer) -> bool + 'static) -> Self {
                record(format!("{SIDE}.require -> {}", pred(&Peer(true))));
                self
            }
        };
    }

    pub mod producer {
        use super::*;
        const SIDE: &str = "producer";

        pub struct Builder<D>(pub StreamDef<D>);

        pub enum BuilderError<D> {
            AlreadyExists(Producer<D>),
        }

        impl<D> Builder<D> {
            methods!(require_ticket online_when with_max_consumers with_buffer_size disconnect_lagging);
            common!();

            /// Says that one exists already: the definition hands that one out.
            pub fn build(self) -> Result<Producer<D>, BuilderError<D>> {
                Err(BuilderError::AlreadyExists(Producer(
                    self.0.id,
                    PhantomData,
                )))
            }
        }
    }

    pub mod consumer {
        use super::*;
        const SIDE: &str = "consumer";

        pub struct Builder<D>(pub StreamDef<D>);

        impl<D> Builder<D> {
            methods!(require_ticket online_when with_criteria with_backoff);
            common!();

            pub fn build(self) -> Consumer<D> {
                Consumer(self.0.id, PhantomData)
            }
        }
    }
}

use streams::{StreamConsumer, StreamProducer};

stream!(Plain = String);
stream!(pub Named = Vec<u8>, "named",);
stream!(pub(crate) ByConst = u8, PLAIN_ID);

const PLAIN_ID: UniqueId = unique_id!("plain");
const RAW_ID: Tag = unique_id!("0101010101010101010101010101010101010101010101010101010101010101");

#[test]
fn ids_are_constants_that_agree_with_text() {
    assert_eq!(PLAIN_ID, Digest::from("plain"));
    assert_eq!(RAW_ID, Digest::from_bytes([1; 32]));
    assert_eq!(unique_id!("x",), Digest::from("x"));
}

#[test]
fn a_definition_without_keys_opens_both_sides_by_its_id() {
    let network = Network;
    assert_eq!(Plain::producer(&network).0, None);
    assert_eq!(Plain::consumer(&network).0, None);
    assert_eq!(Named::producer(&network).0, Some(Digest::from("named")));
    assert_eq!(Named::consumer(&network).0, Some(Digest::from("named")));
    assert_eq!(ByConst::consumer(&network).0, Some(PLAIN_ID));
    assert!(calls().is_empty());
}

stream! {
    /// Documentation stays.
    #[derive(Default)]
    Sided = u64, "sided",
    require: |peer| peer.0,
    producer require: |peer| !peer.0,
    consumer require_ticket: 1,
    require_ticket: 2,
    producer online_when: 3,
    online_when: 4,
    max_consumers: 5,
    producer buffer_size: 6,
    disconnect_lagging: 7,
    criteria: 8,
    consumer backoff: 9,
}

#[test]
fn requirements_go_to_the_side_that_must_enforce_them() {
    let _ = Sided::default();
    let _ = Sided::producer(&Network);
    assert_eq!(
        calls(),
        [
            "producer.require -> true",
            "producer.require_ticket(1)",
            "producer.require_ticket(2)",
            "producer.online_when(3)",
            "producer.online_when(4)",
            "producer.with_max_consumers(5)",
            "producer.with_buffer_size(6)",
            "producer.disconnect_lagging(7)",
        ]
    );
    let _ = Sided::consumer(&Network);
    assert_eq!(
        calls(),
        [
            "consumer.require -> true",
            "consumer.require -> false",
            "consumer.require_ticket(2)",
            "consumer.online_when(4)",
            "consumer.with_criteria(8)",
            "consumer.with_backoff(9)",
        ]
    );
}

stream!(producer OnlyProducer = u8, "one-sided", max_consumers: 1);
stream!(consumer OnlyConsumer = u8, "one-sided");
// A side's name is an ordinary name where it is not followed by one.
stream!(producer = u8, "called producer");

/// Has `producer` and `consumer` of its own exactly where the traits do not provide them.
trait Absent {
    fn producer() {}
    fn consumer() {}
}
impl Absent for OnlyProducer {}
impl Absent for OnlyConsumer {}

#[test]
fn one_sided_definitions_have_one_side() {
    let opened = <OnlyProducer as StreamProducer>::producer(&Network);
    let same = <OnlyConsumer as StreamConsumer>::consumer(&Network);
    assert_eq!(opened.0, same.0);
    // Would be ambiguous if the other side's trait were implemented.
    OnlyProducer::consumer();
    OnlyConsumer::producer();
    assert_eq!(
        producer::consumer(&Network).0,
        Some(Digest::from("called producer"))
    );
}

stream!(pub One<T: Send + 'static> = Vec<T>, "one");
stream!(pub Two<K: Send + 'static, const N: usize, V: Send + 'static = u8> = ([K; N], V), "two");

#[test]
fn generic_definitions_are_tuple_structs_of_their_parameters() {
    let one = One::<u8>(core::marker::PhantomData::<fn() -> u8>);
    let _ = one;
    let _ = Two::<u8, 3, String>(core::marker::PhantomData::<fn() -> (u8, String)>);
    assert_eq!(One::<u8>::producer(&Network).0, Some(Digest::from("one")));
    assert_eq!(
        Two::<u8, 3>::consumer(&Network).0,
        Some(Digest::from("two"))
    );
}

macro_rules! through_a_macro {
    ($name:ident, $datum:ty, $id:expr, $max:expr) => {
        stream!($name = $datum, $id, max_consumers: $max);
    };
}
through_a_macro!(captured, Option<u8>, "captured", 1 + 1);

#[test]
fn captured_fragments_are_taken() {
    assert_eq!(
        captured::producer(&Network).0,
        Some(Digest::from("captured"))
    );
    assert_eq!(calls(), ["producer.with_max_consumers(2)"]);
}

stream! {
    #[cfg(any())]
    Gone = DoesNotExist
}

stream!(OnlySend = core::cell::Cell<u8>);

#[test]
fn online_sides_are_futures_of_the_opened_side() {
    fn ready<F: Future + Send + Sync + 'static>(future: F) -> F::Output {
        let mut future = Box::pin(future);
        let waker = core::task::Waker::noop();
        match future
            .as_mut()
            .poll(&mut core::task::Context::from_waker(waker))
        {
            core::task::Poll::Ready(output) => output,
            core::task::Poll::Pending => panic!("online at once"),
        }
    }
    assert_eq!(
        ready(Named::online_producer(&Network)).0,
        Some(Digest::from("named"))
    );
    assert_eq!(ready(OnlySend::online_producer(&Network)).0, None);
    assert_eq!(ready(OnlySend::online_consumer(&Network)).0, None);
    assert_eq!(
        ready(Named::online_consumer(&Network)).0,
        Some(Digest::from("named"))
    );
}
