//! One subscription's writer: from the queue to the transport, in large writes.

use {
    super::{
        absence::Missed,
        admission::Admission,
        server::Peers,
        shared::{Next, Shared, Subscription},
    },
    crate::{
        network::close::{NotAllowed, Reason, Success, TooSlow},
        streams::{
            frame::Control,
            report::{FULL_WRITE_BYTES, Reported, SmallWrites},
            status::Stats,
        },
    },
    bytes::{Bytes, BytesMut},
    core::{
        future::{Future, poll_fn},
        time::Duration,
    },
    iroh::endpoint::{SendStream, VarInt, WriteError},
};

/// How much one write takes from the queue at most; a single larger item goes whole.
const WRITE_BYTES: usize = 256 << 10;
/// How long a producer that closed waits for a consumer that takes nothing, unless it waits for
/// all. Longer than one that still sends: nobody is held up, and what is cut off is lost.
const DRAIN_STUCK: Duration = Duration::from_secs(5);

/// How a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The producer closed, and the consumer has everything.
    Drained,
    /// The producer's side ended it.
    Cut(Reason),
    /// The consumer ended it.
    Left,
    /// The connection was lost.
    Lost,
}

impl Ended {
    /// Whether the consumer may come back and ask what it missed.
    pub(super) const fn may_return(self) -> bool {
        matches!(self, Self::Cut(_) | Self::Lost)
    }
}

/// Writes until the subscription ends; the link is held as long.
pub(super) async fn run(
    subscription: &Subscription,
    stats: &Stats,
    mut admission: Admission,
    peers: Peers,
) -> Ended {
    let Peers {
        mut send,
        mut recv,
        link: _link,
    } = peers;
    let reported = Reported::default();
    let listening = async {
        reported.listen(&mut recv).await;
        // Nothing follows from it: the sub-stream's end is noticed where it is written.
        core::future::pending::<Ended>().await
    };
    let stopped = send.stopped();
    tokio::pin!(stopped);
    // Who is no longer admitted gets no more, be it of what was accepted before.
    let ended = tokio::select! {
        biased;
        ended = cut(subscription) => ended,
        ended = serve(subscription, stats, &mut send, &reported) => ended,
        ended = listening => ended,
        stopped = &mut stopped => match stopped {
            Ok(None) => Ended::Drained,
            Ok(Some(_)) => Ended::Left,
            Err(_) => Ended::Lost,
        },
        () = admission.expired() => Ended::Cut(NotAllowed::REASON),
    };
    if let Ended::Cut(reason) = ended {
        subscription.shared.meter.rejected.increment(1);
        // Fails only when the stream has ended already.
        let _ = send.reset(VarInt::from_u32(reason.code));
    }
    ended
}

/// Resolves when the subscription is cut, in the middle of a write as well.
async fn cut(subscription: &Subscription) -> Ended {
    loop {
        subscription.line.interrupt.notified().await;
        if let Some(reason) = subscription.shared.cut_reason(subscription.id) {
            return Ended::Cut(reason);
        }
    }
}

/// Writes what there is until the producer closes, and then the end.
async fn serve(
    subscription: &Subscription,
    stats: &Stats,
    send: &mut SendStream,
    reported: &Reported,
) -> Ended {
    match write(subscription, stats, send, reported).await {
        Ended::Drained => finish(&subscription.shared, send).await,
        ended => ended,
    }
}

/// Says that no item follows, and waits until the peer's transport has everything. It has room
/// for all that could be written, so only the connection decides how long that takes.
async fn finish(shared: &Shared, send: &mut SendStream) -> Ended {
    let end = Control::End(Success::REASON.code).encode().freeze();
    match unless_stuck(shared, send.write_chunk(end)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Ended::Lost,
        Err(ended) => return ended,
    }
    if send.finish().is_err() {
        return Ended::Lost;
    }
    match send.stopped().await {
        Ok(_) => Ended::Drained,
        Err(_) => Ended::Lost,
    }
}

/// Awaits a write, but not for ever once the producer has closed, unless it waits for all.
async fn unless_stuck<T>(shared: &Shared, write: impl Future<Output = T>) -> Result<T, Ended> {
    let stuck = async {
        if !shared.config.disconnect_lagging {
            core::future::pending::<()>().await;
        }
        shared.closed().await;
        tokio::time::sleep(DRAIN_STUCK).await;
    };
    tokio::select! {
        biased;
        written = write => Ok(written),
        () = stuck => Err(Ended::Cut(TooSlow::REASON)),
    }
}

/// The frames that announce what was missed.
fn announcement(missed: Missed) -> Bytes {
    let mut frames = BytesMut::new();
    match missed {
        Missed::Uncounted => frames = Control::Missed(0).encode(),
        Missed::Counted(mut left) => {
            while left > 0 {
                let count = u32::try_from(left).unwrap_or(u32::MAX);
                frames.extend_from_slice(&Control::Missed(count).encode());
                left -= u64::from(count);
            }
        }
    }
    frames.freeze()
}

async fn write(
    subscription: &Subscription,
    stats: &Stats,
    send: &mut SendStream,
    reported: &Reported,
) -> Ended {
    let Subscription {
        shared, id, missed, ..
    } = subscription;
    let announcement = announcement(*missed);
    if !announcement.is_empty() && send.write_chunk(announcement).await.is_err() {
        return Ended::Lost;
    }
    let mut chunks: Vec<Bytes> = Vec::new();
    let mut small = SmallWrites::default();
    loop {
        let waits = small.are_too_many(reported);
        let min_bytes = if waits { FULL_WRITE_BYTES } else { 1 };
        let next = tokio::select! {
            biased;
            next = poll_fn(|cx| shared.poll_next(*id, min_bytes, WRITE_BYTES, &mut chunks, cx)) => next,
            () = reported.news(), if waits => continue,
        };
        let batch = match next {
            Next::Batch(batch) => batch,
            Next::Cut(reason) => return Ended::Cut(reason),
            Next::Drained => return Ended::Drained,
        };
        if let Err(ended) = hand_over(subscription, send, &mut chunks).await {
            return ended;
        }
        small.wrote(batch.items(), batch.bytes);
        shared.taken(*id, &batch);
        let (items, bytes) = (batch.items(), batch.bytes as u64);
        stats.add(items as usize, batch.bytes);
        shared.meter.items.increment(items);
        shared.meter.bytes.increment(bytes);
        shared.meter.all_items.increment(items);
        shared.meter.all_bytes.increment(bytes);
    }
}

/// Writes all chunks.
async fn hand_over(
    subscription: &Subscription,
    send: &mut SendStream,
    chunks: &mut Vec<Bytes>,
) -> Result<(), Ended> {
    let mut rest = chunks.as_mut_slice();
    while !rest.is_empty() {
        match unless_stuck(&subscription.shared, send.write_many_chunks(&mut rest)).await? {
            Ok(bytes) => subscription.line.wrote(bytes),
            Err(WriteError::Stopped(_)) => return Err(Ended::Left),
            Err(_) => return Err(Ended::Lost),
        }
    }
    chunks.clear();
    Ok(())
}
