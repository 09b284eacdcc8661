//! The macros that declare what a program shares: identifiers and streams.
//!
//! They pass `$crate` on to the procedural macros, so that what they expand to finds this crate
//! under whatever name a program knows it.

/// A [`UniqueId`](crate::UniqueId) from a string literal, computed at compile time: exactly 64
/// hexadecimal characters are decoded, all other text is hashed with blake3.
///
/// ```
/// const ORDERS: mosaik::UniqueId = mosaik::unique_id!("orders");
/// assert_eq!(ORDERS, mosaik::UniqueId::from("orders"));
/// ```
#[macro_export]
macro_rules! unique_id {
    ($($input:tt)*) => {
        $crate::__unique_id_impl!($crate; $($input)*)
    };
}

/// The short name of [`unique_id!`](crate::unique_id).
#[macro_export]
macro_rules! id {
    ($($input:tt)*) => {
        $crate::__unique_id_impl!($crate; $($input)*)
    };
}

/// Declares a stream: a type that opens its producers and consumers.
///
/// ```
/// mosaik::stream! {
///     /// Temperatures, degrees Celsius.
///     pub Readings = f64, "weather.readings",
///     producer require: |peer| peer.tags().contains(&mosaik::Tag::from("station")),
///     disconnect_lagging: false,
///     online_when: |c| c.minimum_of(2),
/// }
/// ```
///
/// Grammar: `[#[attr]]* vis [producer|consumer] Name[<generics>] = Datum [, "id" | id_expr]
/// [, [producer|consumer] key: expr]*`. Without an id, the stream is named by the type of its
/// datum. `producer` or `consumer` in front of the name declares that side only; keys of the
/// other side then have no effect.
///
/// | key | value | set on |
/// |---|---|---|
/// | `require` | `Fn(&PeerInfo) -> bool` | the side opposite to the one named, or both |
/// | `require_ticket` | a `TicketValidator` | the side opposite to the one named, or both |
/// | `online_when` | `Fn(ChannelConditions) -> ChannelConditions` | the side named, or both |
/// | `max_consumers`, `buffer_size` | `usize` | the producer |
/// | `disconnect_lagging` | `bool` | the producer |
/// | `criteria` | `Criteria` | the consumer |
/// | `backoff` | a backoff policy | the consumer |
///
/// The side in front of `require` and `require_ticket` says who must satisfy it; the other side
/// enforces it.
///
/// The type implements [`StreamProducer`](crate::streams::StreamProducer) and
/// [`StreamConsumer`](crate::streams::StreamConsumer). Opening a producer that exists already on
/// this node hands out the existing one.
#[macro_export]
macro_rules! stream {
    ($($input:tt)*) => {
        $crate::__stream_impl! { $crate; $($input)* }
    };
}

#[doc(inline)]
pub use crate::stream;
