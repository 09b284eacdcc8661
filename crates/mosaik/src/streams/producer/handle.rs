//! [`Producer`]: the handle that sends.

use {
    super::{
        builder::ProducerConfig,
        error::Error,
        fanout::FrameSource,
        shared::{Pushed, Shared, State, with_scratch},
    },
    crate::{
        primitives::{Datum, encoding::EncodeError},
        streams::{
            StreamId, Streams, frame,
            status::{ChannelInfo, When},
        },
    },
    bytes::BytesMut,
    core::{
        fmt,
        pin::Pin,
        task::{Context, Poll, Waker},
    },
    futures::Sink,
    parking_lot::MutexGuard,
    std::{
        sync::Arc,
        time::{Duration, Instant},
    },
    tokio::sync::mpsc::UnboundedSender,
};

/// Sends items of one stream to every consumer that subscribed.
///
/// Clones send to the same stream; items of one clone keep their order. When the last clone is
/// dropped, consumers get what was accepted and then the end of the stream, as
/// [`disconnect_lagging`](super::Builder::disconnect_lagging) says. Closing or dropping the network
/// waits for that as well, for at most 5 seconds.
///
/// As a [`Sink`], `send` waits while the producer is offline or its buffer is full. It resolves
/// when the item is accepted into the buffer; `flush` adds nothing to that, `close` waits until
/// all that was accepted has been handed to the transport.
pub struct Producer<D: Datum> {
    core: Arc<Core<D>>,
    when: When,
    /// Set by `close`: this clone sends no more.
    closed: bool,
    /// When a writer was woken that may not have run since.
    woke: Option<Instant>,
}

/// A program that sends without ever waiting keeps its runtime's worker, and with it the
/// writers it woke there. It gives way once they have waited this long.
const GIVE_WAY: Duration = Duration::from_micros(30);

/// The one thing of a producer that lives as long as its clones.
pub(super) struct Core<D: Datum> {
    shared: Arc<Shared>,
    streams: Streams,
    undelivered: Option<UnboundedSender<D>>,
    max_frame_bytes: usize,
}

/// Whether a push woke a writer.
struct Woke(bool);

impl<D: Datum> Core<D> {
    pub(super) fn new(
        shared: Arc<Shared>,
        streams: Streams,
        undelivered: Option<UnboundedSender<D>>,
    ) -> Self {
        let max_frame_bytes = streams.0.links.limits().frame_bytes;
        Self {
            shared,
            streams,
            undelivered,
            max_frame_bytes,
        }
    }

    /// Encodes an item into a frame, and pushes it when `admit` has nothing against it.
    fn push(
        &self,
        item: D,
        admit: impl FnOnce(&mut State) -> Option<fn(D) -> Error<D>>,
    ) -> Result<Woke, Error<D>> {
        with_scratch(|scratch| {
            let start = match self.encode(&item, scratch) {
                Ok(start) => start,
                Err(error) => return Err(Error::Encoding(item, error)),
            };
            let mut wake = Vec::<Waker>::new();
            let pushed = {
                let mut state: MutexGuard<'_, State> = self.shared.state.lock();
                if state.fanout.is_closed() {
                    return Err(Error::Closed(Some(item)));
                }
                if let Some(refusal) = admit(&mut state) {
                    return Err(refusal(item));
                }
                let mut frame = FrameSource::new(scratch, start);
                self.shared.push(&mut state, &item, &mut frame, &mut wake)
            };
            let woke = Woke(!wake.is_empty());
            wake.into_iter().for_each(Waker::wake);
            if let (Pushed::Unwanted, Some(sink)) = (pushed, &self.undelivered) {
                // A receiver that is gone does not want it either.
                let _ = sink.send(item);
            }
            Ok(woke)
        })
    }

    fn encode(&self, item: &D, scratch: &mut BytesMut) -> Result<usize, EncodeError> {
        frame::begin_item(scratch);
        item.encode_into(scratch)?;
        if scratch.len() - frame::MAX_PREFIX > self.max_frame_bytes {
            return Err(EncodeError::SerializeBufferFull);
        }
        Ok(frame::finish_item(scratch))
    }
}

impl<D: Datum> Drop for Core<D> {
    fn drop(&mut self) {
        self.shared.close();
        let stream_id = self.shared.config.stream_id;
        let mut producers = self.streams.0.producers.lock();
        if let Some(of_stream) = producers.get_mut(&stream_id) {
            of_stream.retain(|(_, one)| !Arc::ptr_eq(&one.shared, &self.shared));
            if of_stream.is_empty() {
                producers.remove(&stream_id);
                self.streams.0.discovery.remove_stream(stream_id);
            }
        }
        let labels = self.streams.labels(&stream_id);
        metrics::gauge!("mosaik.streams.producers.active", &labels[..1]).decrement(1.0);
    }
}

impl<D: Datum> Producer<D> {
    pub(super) fn new(core: Arc<Core<D>>) -> Self {
        let when = When::new(
            core.shared.online.subscribe(),
            core.shared.channels.subscribe(),
        );
        Self {
            core,
            when,
            closed: false,
            woke: None,
        }
    }

    /// Whether it is time to let the writers run.
    fn gives_way(&mut self) -> bool {
        let due = self.woke.is_some_and(|woke| woke.elapsed() >= GIVE_WAY);
        if due {
            self.woke = None;
        }
        due
    }

    /// The stream.
    pub fn stream_id(&self) -> &StreamId {
        &self.core.shared.config.stream_id
    }

    /// Waits for the producer's states.
    pub const fn when(&self) -> &When {
        &self.when
    }

    /// What the producer was built with.
    pub fn config(&self) -> &ProducerConfig {
        &self.core.shared.config
    }

    /// Whether the conditions given as `online_when` are met.
    pub fn is_online(&self) -> bool {
        self.when.is_online()
    }

    /// The connected consumers.
    pub fn consumers(&self) -> impl Iterator<Item = ChannelInfo> {
        let channels = self.core.shared.channels.snapshot();
        channels.values().cloned().collect::<Vec<_>>().into_iter()
    }

    /// Sends an item if that needs no waiting; otherwise the item comes back.
    pub fn try_send(&self, item: D) -> Result<(), Error<D>> {
        if self.closed {
            return Err(Error::Closed(Some(item)));
        }
        let admit = |state: &mut State| -> Option<fn(D) -> Error<D>> {
            if !state.is_online() {
                return Some(Error::Offline);
            }
            if !state.fanout.has_room() {
                self.core.shared.refused.notify_one();
                return Some(Error::Full);
            }
            None
        };
        self.core.push(item, admit).map(|_| ())
    }
}

impl<D: Datum> Clone for Producer<D> {
    fn clone(&self) -> Self {
        let core = Arc::clone(&self.core);
        Self {
            core,
            when: self.when.clone(),
            closed: self.closed,
            woke: None,
        }
    }
}

impl<D: Datum> fmt::Debug for Producer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("stream_id", self.stream_id())
            .field("online", &self.is_online())
            .field("consumers", &self.core.shared.channels.snapshot().len())
            .finish_non_exhaustive()
    }
}

impl<D: Datum> Sink<D> for Producer<D> {
    type Error = Error<D>;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error<D>>> {
        if self.closed {
            return Poll::Ready(Err(Error::Closed(None)));
        }
        if self.gives_way() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.core
            .shared
            .poll_room(cx)
            .map_err(|()| Error::Closed(None))
    }

    /// Takes the item. When clones race for the last room, each that was ready gets its item in.
    fn start_send(mut self: Pin<&mut Self>, item: D) -> Result<(), Error<D>> {
        if self.closed {
            return Err(Error::Closed(Some(item)));
        }
        let Woke(woke) = self.core.push(item, |_| None)?;
        if woke && self.woke.is_none() {
            self.woke = Some(Instant::now());
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error<D>>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error<D>>> {
        self.closed = true;
        self.core.shared.poll_drained(cx).map(Ok)
    }
}
