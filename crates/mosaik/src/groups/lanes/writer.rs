//! The writing side of a lane: a bounded queue, and the task that empties it in large writes.

use {
    super::frame::{Frame, PREFIX},
    crate::groups::link::Link,
    bytes::{Bytes, BytesMut},
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

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.sealed.push(std::mem::take(&mut self.open).freeze());
        }
    }
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
    max_bytes: usize,
}

/// Queues frames for one lane. Never waits; the lane is finished when it is dropped.
#[derive(Debug)]
pub(crate) struct LaneSender(Arc<Shared>);

impl LaneSender {
    /// A sender that queues at most `max_bytes`, and what writes its lane.
    pub(crate) fn new(max_bytes: usize) -> (Self, Writer) {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Notify::new(),
            max_bytes,
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
        let idle = queue.bytes == 0;
        queue.push(frame);
        drop(queue);
        if idle {
            self.0.wake.notify_one();
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

/// Writes what a [`LaneSender`] queues.
#[derive(Debug)]
pub(crate) struct Writer(Arc<Shared>);

enum Next {
    Write,
    Finish,
    Cut(u32),
}

impl Writer {
    /// Writes until the sender is dropped or the lane is lost. Holds the link as long.
    pub(crate) async fn run(self, mut send: SendStream, link: Link) {
        let stopped = send.stopped();
        tokio::pin!(stopped);
        let mut chunks = Vec::new();
        loop {
            let next = tokio::select! {
                biased;
                next = self.next(&mut chunks) => next,
                // The peer reads no more.
                _ = &mut stopped => return,
            };
            match next {
                Next::Write => {}
                Next::Finish => break,
                Next::Cut(code) => {
                    // Fails only when the stream has ended already.
                    let _ = send.reset(VarInt::from_u32(code));
                    return;
                }
            }
            let bytes: usize = chunks.iter().map(Bytes::len).sum();
            if send.write_all_chunks(&mut chunks).await.is_err() {
                return;
            }
            chunks.clear();
            self.0.queue.lock().bytes -= bytes;
        }
        if send.finish().is_ok() {
            // Until the peer has everything or is gone: dropping the link may close it.
            let _ = stopped.await;
        }
        drop(link);
    }

    /// Takes what is queued, waiting for something.
    async fn next(&self, chunks: &mut Vec<Bytes>) -> Next {
        loop {
            {
                let mut queue = self.0.queue.lock();
                if let Some(code) = queue.cut {
                    return Next::Cut(code);
                }
                queue.seal();
                if !queue.sealed.is_empty() {
                    std::mem::swap(&mut queue.sealed, chunks);
                    return Next::Write;
                }
                if queue.finished {
                    return Next::Finish;
                }
            }
            self.0.wake.notified().await;
        }
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
        let (sender, writer) = LaneSender::new(8_000);
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
        let (sender, _writer) = LaneSender::new(1_000);
        assert_eq!(sender.send(core(50_000)), Ok(()));
        assert_eq!(sender.send(core(0)), Err(Full));
    }

    #[tokio::test]
    async fn small_frames_leave_together_and_large_ones_uncopied() {
        let (sender, writer) = LaneSender::new(1 << 20);
        for _ in 0..100 {
            sender.send(core(100)).expect("room");
        }
        sender.send(core(COPY_BYTES + 1)).expect("room");
        sender.send(BYE).expect("room");
        drop(sender);
        let mut chunks = Vec::new();
        assert!(matches!(writer.next(&mut chunks).await, Next::Write));
        let lens: Vec<_> = chunks.iter().map(Bytes::len).collect();
        assert_eq!(lens, [101 * 9 + 10_000, COPY_BYTES + 1, 13]);
        assert!(matches!(writer.next(&mut Vec::new()).await, Next::Finish));
    }
}
