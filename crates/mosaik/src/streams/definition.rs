//! Streams as definitions: one place that says what a stream is called and carries.

use {
    super::{StreamId, consumer, handle::Streams, producer},
    crate::{Network, primitives::Datum},
    core::{
        fmt,
        future::Future,
        hash::{Hash, Hasher},
        marker::PhantomData,
    },
};

/// What opens a producer of one stream; written by `stream!`.
pub trait StreamProducer {
    /// The producer's type.
    type Producer;

    /// The producer; the existing one where the network has one for the stream.
    fn producer(network: &Network) -> Self::Producer;

    /// The producer, once it is online.
    fn online_producer(
        network: &Network,
    ) -> impl Future<Output = Self::Producer> + Send + Sync + 'static;
}

/// What opens consumers of one stream; written by `stream!`.
pub trait StreamConsumer {
    /// The consumer's type.
    type Consumer;

    /// A new consumer.
    fn consumer(network: &Network) -> Self::Consumer;

    /// A new consumer, once it is online.
    fn online_consumer(
        network: &Network,
    ) -> impl Future<Output = Self::Consumer> + Send + Sync + 'static;
}

/// The producer's type of a stream definition.
pub type ProducerOf<S> = <S as StreamProducer>::Producer;
/// The consumer's type of a stream definition.
pub type ConsumerOf<S> = <S as StreamConsumer>::Consumer;

macro_rules! definition {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<T: Datum> {
            /// The stream's id; the one derived from the datum's type where it is `None`.
            pub stream_id: Option<StreamId>,
            datum: PhantomData<fn() -> T>,
        }

        impl<T: Datum> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("stream_id", &self.stream_id).finish()
            }
        }

        impl<T: Datum> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T: Datum> Copy for $name<T> {}
    };
}

definition!(
    /// A stream of `T`, to be produced or consumed.
    StreamDef
);
definition!(
    /// A stream of `T`, to be produced.
    ProducerDef
);
definition!(
    /// A stream of `T`, to be consumed.
    ConsumerDef
);

impl<T: Datum> StreamDef<T> {
    /// The stream whose id is derived from the datum's type.
    pub const fn new() -> Self {
        Self {
            stream_id: None,
            datum: PhantomData,
        }
    }

    /// The stream of this id.
    pub const fn with_stream_id(stream_id: StreamId) -> Self {
        Self {
            stream_id: Some(stream_id),
            datum: PhantomData,
        }
    }
}

impl<T: Datum> Default for StreamDef<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Datum> PartialEq for StreamDef<T> {
    fn eq(&self, other: &Self) -> bool {
        self.stream_id == other.stream_id
    }
}

impl<T: Datum> Eq for StreamDef<T> {}

impl<T: Datum> Hash for StreamDef<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.stream_id.hash(state);
    }
}

impl<T: Datum> ProducerDef<T> {
    /// The stream of this id, or the one derived from the datum's type.
    pub const fn new(stream_id: Option<StreamId>) -> Self {
        Self {
            stream_id,
            datum: PhantomData,
        }
    }

    /// A builder of the producer.
    pub fn open<'s>(&self, network: &'s Network) -> producer::Builder<'s, T> {
        network.streams().producer_of(StreamDef {
            stream_id: self.stream_id,
            datum: PhantomData,
        })
    }
}

impl<T: Datum> ConsumerDef<T> {
    /// The stream of this id, or the one derived from the datum's type.
    pub const fn new(stream_id: Option<StreamId>) -> Self {
        Self {
            stream_id,
            datum: PhantomData,
        }
    }

    /// A builder of a consumer.
    pub fn open<'s>(&self, network: &'s Network) -> consumer::Builder<'s, T> {
        network.streams().consumer_of(StreamDef {
            stream_id: self.stream_id,
            datum: PhantomData,
        })
    }
}

impl Streams {
    /// The producer of `D`'s derived stream with default settings; the existing one if there is.
    pub fn produce<D: Datum>(&self) -> producer::Producer<D> {
        match self.producer::<D>().build() {
            Ok(producer) | Err(producer::BuilderError::AlreadyExists(producer)) => producer,
        }
    }

    /// A builder of a producer of `D`.
    pub fn producer<D: Datum>(&self) -> producer::Builder<'_, D> {
        self.producer_of(StreamDef::new())
    }

    /// A builder of a producer of the defined stream.
    pub fn producer_of<D: Datum>(&self, def: StreamDef<D>) -> producer::Builder<'_, D> {
        producer::Builder::new(self, def.stream_id)
    }

    /// A consumer of `D`'s derived stream with default settings.
    pub fn consume<D: Datum>(&self) -> consumer::Consumer<D> {
        self.consumer::<D>().build()
    }

    /// A builder of a consumer of `D`.
    pub fn consumer<D: Datum>(&self) -> consumer::Builder<'_, D> {
        self.consumer_of(StreamDef::new())
    }

    /// A builder of a consumer of the defined stream.
    pub fn consumer_of<D: Datum>(&self, def: StreamDef<D>) -> consumer::Builder<'_, D> {
        consumer::Builder::new(self, def.stream_id)
    }
}
