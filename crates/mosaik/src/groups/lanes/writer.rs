//! The writing side of a lane: a bounded queue, and the task that empties it in large writes.

use {
    super::frame::{Frame, PREFIX},
    crate::groups::link::Link,
    bytes::{Bytes, BytesMut},
    core::{
        future::{Future, poll_fn},
        pin::pin,
        task::{Context, Poll, Waker},
    },
    iroh::endpoint::{SendStream, VarInt},
    parking_lot::Mutex,
    std::sync::Arc,
    tokio::sync::Notify,
};

/// Payloads up to this size are copied next to each other, so that many small frames leave in
/// one write; larger ones are handed to the transport as they are.
const COPY_BYTES: usize = 16 << 10;
/// What lies next to each other is handed over when it has grown to this.
const SEAL_BYTES: usize = 64 << 10;

/// The peer takes less than it is sent: the frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug, Default)]
struct Queue {
    sealed: Vec<Bytes>,
    open: BytesMut,
    /// Bytes queued and not yet taken by the transport.
    bytes: usize,
    /// No frame is taken any more; what is queued is written.
    finished: bool,
    /// The reason with which to stop at once.
    cut: Option<u32>,
}

impl Queue {
    fn push(&mut self, frame: Frame) {
        let (head, payload) = frame.encode();
        self.bytes += head.len();
        self.open.extend_from_slice(&head);
        if let Some(payload) = payload {
            self.bytes += payload.len();
            if payload.len() <= COPY_BYTES {
                self.open.extend_from_slice(&payload);
            } else {
                self.seal();
                self.sealed.push(payload);
            }
        }
        if self.open.len() >= SEAL_BYTES {
            self.seal();
        }
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_empty()
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.sealed.push(std::mem::take(&mut self.open).freeze());
        }
    }
}

/// The transport's stream, and what is on its way into it.
#[derive(Debug, Default)]
struct Pipe {
    stream: Option<SendStream>,
    chunks: Vec<Bytes>,
    /// How many of them are written.
    written: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Locked before the queue.
    pipe: Mutex<Pipe>,
    wake: Notify,
    max_bytes: usize,
    flushes: Option<Flushes>,
}

/// The stream takes nothing any more.
#[derive(Debug)]
struct Lost;

impl Shared {
    /// Writes what is queued, as far as the transport takes it at once.
    fn poll_flush(&self, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        loop {
            if pipe.written == pipe.chunks.len() {
                pipe.chunks.clear();
                pipe.written = 0;
                let mut queue = self.queue.lock();
                queue.bytes -= std::mem::take(&mut pipe.bytes);
                queue.seal();
                if queue.sealed.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                std::mem::swap(&mut queue.sealed, &mut pipe.chunks);
                pipe.bytes = pipe.chunks.iter().map(Bytes::len).sum();
            }
            let Some(stream) = &mut pipe.stream else {
                return Poll::Ready(Ok(()));
            };
            let mut rest = &mut pipe.chunks[pipe.written..];
            let written = pin!(stream.write_many_chunks(&mut rest)).poll(cx);
            let left = rest.len();
            pipe.written = pipe.chunks.len() - left;
            match written {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes in the caller's task what the transport takes at once; the writer's does the rest.
    fn flush(&self) {
        let done = self.pipe.try_lock().is_some_and(|mut pipe| {
            let mut cx = Context::from_waker(Waker::noop());
            pipe.stream.is_some()
                && matches!(self.poll_flush(&mut pipe, &mut cx), Poll::Ready(Ok(())))
        });
        if !done {
            self.wake.notify_one();
        }
    }
}

/// The lanes that frames were queued for since they were last written.
///
/// Who queues frames writes them at the end of its step, without a detour through another task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flushes(Arc<Mutex<Vec<Arc<Shared>>>>);

impl Flushes {
    /// Writes what is queued.
    pub(crate) fn flush(&self) {
        let lanes = std::mem::take(&mut *self.0.lock());
        for lane in lanes {
            lane.flush();
        }
    }
}

/// Queues frames for one lane. Never waits; the lane is finished when it is dropped.
#[derive(Debug)]
pub(crate) struct LaneSender(Arc<Shared>);

impl LaneSender {
    /// A sender that queues at most `max_bytes`, and what writes its lane: by itself, or where
    /// there are `flushes`, when those are told to.
    pub(crate) fn new(max_bytes: usize, flushes: Option<Flushes>) -> (Self, Writer) {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            pipe: Mutex::default(),
            wake: Notify::new(),
            max_bytes,
            flushes,
        });
        (Self(Arc::clone(&shared)), Writer(shared))
    }

    /// Queues a frame.
    ///
    /// Payloads leave an eighth of the room to frames that carry none, which are few and whose
    /// loss would not be made good.
    pub(crate) fn send(&self, frame: Frame) -> Result<(), Full> {
        let payload = matches!(frame, Frame::Core { .. } | Frame::Sync { .. });
        let mut queue = self.0.queue.lock();
        let room = self.0.max_bytes - if payload { self.0.max_bytes / 8 } else { 0 };
        // A frame that is larger than all the room goes alone.
        if queue.bytes > 0 && queue.bytes + frame.len() > room {
            return Err(Full);
        }
        let idle = queue.is_empty();
        queue.push(frame);
        drop(queue);
        match &self.0.flushes {
            Some(flushes) if idle => flushes.0.lock().push(Arc::clone(&self.0)),
            None if idle => self.0.wake.notify_one(),
            _ => {}
        }
        Ok(())
    }

    /// Ends the lane at once.
    pub(crate) fn cut(&self, code: u32) {
        self.0.queue.lock().cut = Some(code);
        self.0.wake.notify_one();
    }
}

impl Drop for LaneSender {
    fn drop(&mut self) {
        self.0.queue.lock().finished = true;
        self.0.wake.notify_one();
    }
}

/// Writes what a [`LaneSender`] queues and nobody has written.
#[derive(Debug)]
pub(crate) struct Writer(Arc<Shared>);

impl Writer {
    /// Writes until the sender is dropped or the lane is lost. Holds the link as long.
    pub(crate) async fn run(self, send: SendStream, link: Link) {
        let stopped = send.stopped();
        tokio::pin!(stopped);
        self.0.pipe.lock().stream = Some(send);
        let finished = loop {
            let flushed = tokio::select! {
                biased;
                // The peer reads no more.
                _ = &mut stopped => break false,
                flushed = poll_fn(|cx| self.0.poll_flush(&mut self.0.pipe.lock(), cx)) => flushed,
                // Somebody else has tried to write, or the lane is cut.
                () = self.0.wake.notified() => {
                    if self.is_cut() {
                        break false;
                    }
                    continue;
                }
            };
            if flushed.is_err() || self.is_cut() {
                break false;
            }
            {
                let queue = self.0.queue.lock();
                if queue.finished && queue.is_empty() {
                    break true;
                }
            }
            tokio::select! {
                biased;
                _ = &mut stopped => break false,
                () = self.0.wake.notified() => {}
            }
        };
        let Some(mut send) = self.0.pipe.lock().stream.take() else {
            return;
        };
        if finished && send.finish().is_ok() {
            // Until the peer has everything or is gone: dropping the link may close it.
            let _ = stopped.await;
        } else if let Some(code) = self.0.queue.lock().cut {
            // Fails only when the stream has ended already.
            let _ = send.reset(VarInt::from_u32(code));
        }
        drop(link);
    }

    fn is_cut(&self) -> bool {
        self.0.queue.lock().cut.is_some()
    }
}

const _: () = assert!(PREFIX < COPY_BYTES, "a prefix is always copied");

#[cfg(test)]
mod tests {
    use super::*;

    fn core(len: usize) -> Frame {
        Frame::Core {
            slot: 1,
            message: Bytes::from(vec![0; len]),
        }
    }

    const BYE: Frame = Frame::Bye { slot: 1, code: 2 };

    #[test]
    fn a_queue_that_is_full_takes_no_payload_and_then_nothing() {
        let (sender, writer) = LaneSender::new(8_000, None);
        assert_eq!(sender.send(core(6_500)), Ok(()));
        assert_eq!(sender.send(core(1_000)), Err(Full));
        let mut byes = 0;
        while sender.send(BYE).is_ok() {
            byes += 1;
        }
        assert!((5..1_000).contains(&byes), "{byes}");
        assert!(writer.0.queue.lock().bytes <= 8_000);
    }

    #[test]
    fn a_frame_larger_than_the_room_goes_alone() {
        let (sender, _writer) = LaneSender::new(1_000, None);
        assert_eq!(sender.send(core(50_000)), Ok(()));
        assert_eq!(sender.send(core(0)), Err(Full));
    }

    #[test]
    fn small_frames_leave_together_and_large_ones_uncopied() {
        let flushes = Flushes::default();
        let (sender, writer) = LaneSender::new(1 << 20, Some(flushes.clone()));
        for _ in 0..100 {
            sender.send(core(100)).expect("room");
        }
        sender.send(core(COPY_BYTES + 1)).expect("room");
        sender.send(BYE).expect("room");
        assert_eq!(flushes.0.lock().len(), 1, "a lane is written once");
        flushes.flush();
        let mut queue = writer.0.queue.lock();
        queue.seal();
        let lens: Vec<_> = queue.sealed.iter().map(Bytes::len).collect();
        assert_eq!(lens, [101 * 9 + 10_000, COPY_BYTES + 1, 13]);
    }
}
