//! One subscription's writer: from the queue to the transport, in large writes.

use {
    super::{
        admission::Admission,
        server::Peers,
        shared::{Next, Subscription},
    },
    crate::{
        network::close::{NotAllowed, Reason, Success},
        streams::{
            frame::Control,
            report::{FULL_WRITE_BYTES, Reported, SmallWrites},
            status::Stats,
        },
    },
    bytes::Bytes,
    core::future::poll_fn,
    iroh::endpoint::{SendStream, VarInt, WriteError},
};

/// How much one write takes from the queue at most; a single larger item goes whole.
const WRITE_BYTES: usize = 256 << 10;

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
    let ended = tokio::select! {
        biased;
        ended = write(subscription, stats, &mut send, &reported) => ended,
        ended = listening => ended,
        stopped = &mut stopped => match stopped {
            Ok(_) => Ended::Left,
            Err(_) => Ended::Lost,
        },
        () = admission.expired() => Ended::Cut(NotAllowed::REASON),
    };
    match ended {
        Ended::Cut(reason) => {
            subscription.shared.meter.rejected.increment(1);
            // Fails only when the stream has ended already.
            let _ = send.reset(VarInt::from_u32(reason.code));
            ended
        }
        Ended::Drained => finish(send).await,
        Ended::Left | Ended::Lost => ended,
    }
}

/// Says that no item follows, and waits until the peer's transport has everything.
async fn finish(mut send: SendStream) -> Ended {
    let end = Control::End(Success::REASON.code).encode().freeze();
    if send.write_chunk(end).await.is_err() || send.finish().is_err() {
        return Ended::Lost;
    }
    match send.stopped().await {
        Ok(_) => Ended::Drained,
        Err(_) => Ended::Lost,
    }
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
    if *missed > 0 {
        let count = u32::try_from(*missed).unwrap_or(u32::MAX);
        let missed = Control::Missed(count).encode().freeze();
        if send.write_chunk(missed).await.is_err() {
            return Ended::Lost;
        }
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

/// Writes all chunks, unless the subscription is cut meanwhile.
async fn hand_over(
    subscription: &Subscription,
    send: &mut SendStream,
    chunks: &mut Vec<Bytes>,
) -> Result<(), Ended> {
    let mut rest = chunks.as_mut_slice();
    while !rest.is_empty() {
        let written = tokio::select! {
            biased;
            written = send.write_many_chunks(&mut rest) => written,
            () = subscription.interrupt.notified() => {
                match subscription.shared.cut_reason(subscription.id) {
                    Some(reason) => return Err(Ended::Cut(reason)),
                    None => continue,
                }
            }
        };
        match written {
            Ok(_) => {}
            Err(WriteError::Stopped(_)) => return Err(Ended::Left),
            Err(_) => return Err(Ended::Lost),
        }
    }
    chunks.clear();
    Ok(())
}
