//! What a consumer reports while it reads, and what its producer makes of it.
//!
//! The transport keeps what a program has not read from a sub-stream in pieces, one a packet at
//! least, and ends the whole connection when one sub-stream lies in more than 1,024 of them. Its
//! flow control counts bytes only: a consumer that stands still while its producer sends small
//! items one by one would cost the two nodes their link. So a producer has no more than
//! [`SMALL_WRITES`] writes of less than [`FULL_WRITE_BYTES`] under way that the consumer has not
//! reported as read. The window ([`Limits::substream_window_bytes`]) holds some 570 full packets
//! of the smallest size; with the last, partial packet of each full write and all small writes
//! that makes less than 910 pieces.
//!
//! A report is the number of items read in this subscription, 8 bytes, little-endian. A consumer
//! reports when it has read [`REPORT_ITEMS`] items or more since the last report, so a producer
//! that waits, having sent more items than that, surely hears.
//!
//! [`Limits::substream_window_bytes`]: crate::primitives::Limits::substream_window_bytes

use {
    iroh::endpoint::{RecvStream, SendStream, WriteError},
    std::{
        collections::VecDeque,
        sync::atomic::{AtomicU64, Ordering},
    },
    tokio::sync::Notify,
};

/// Writes of at least this size are not counted.
pub(super) const FULL_WRITE_BYTES: usize = 8 << 10;
/// Smaller writes under way at one time.
const SMALL_WRITES: usize = 256;
/// Items after which a consumer reports. Each small write has one at least.
const REPORT_ITEMS: u64 = 128;
const _: () = assert!(
    REPORT_ITEMS < SMALL_WRITES as u64,
    "who waits would wait for ever"
);

/// The producer's side: what the consumer reported last.
#[derive(Default)]
pub(super) struct Reported {
    items: AtomicU64,
    news: Notify,
}

impl Reported {
    /// Takes reports until the consumer sends no more.
    pub(super) async fn listen(&self, recv: &mut RecvStream) {
        let mut report = [0; 8];
        while recv.read_exact(&mut report).await.is_ok() {
            // A consumer that reports nonsense gets its own link into trouble only.
            self.items
                .store(u64::from_le_bytes(report), Ordering::Release);
            self.news.notify_one();
        }
    }

    /// Resolves when there was a report since the last call.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

/// The producer's side: the small writes that are under way.
#[derive(Default)]
pub(super) struct SmallWrites {
    /// Items sent with each of them and all before.
    ends: VecDeque<u64>,
    sent: u64,
}

impl SmallWrites {
    /// Notes a write.
    pub(super) fn wrote(&mut self, items: u64, bytes: usize) {
        self.sent += items;
        if bytes < FULL_WRITE_BYTES && items > 0 {
            self.ends.push_back(self.sent);
        }
    }

    /// Whether only a full write may follow now.
    pub(super) fn are_too_many(&mut self, reported: &Reported) -> bool {
        if self.ends.len() >= SMALL_WRITES {
            let items = reported.items.load(Ordering::Acquire);
            let read = self.ends.partition_point(|end| *end <= items);
            self.ends.drain(..read);
        }
        self.ends.len() >= SMALL_WRITES
    }
}

/// The consumer's side.
pub(super) struct Reporter {
    send: SendStream,
    reported: u64,
}

impl Reporter {
    pub(super) const fn new(send: SendStream) -> Self {
        Self { send, reported: 0 }
    }

    /// Reports that `items` were read in all, if that is due.
    pub(super) async fn report(&mut self, items: u64) -> Result<(), WriteError> {
        if items - self.reported < REPORT_ITEMS {
            return Ok(());
        }
        self.reported = items;
        self.send.write_all(&items.to_le_bytes()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_writes_are_bounded_until_they_are_reported() {
        let (mut writes, reported) = (SmallWrites::default(), Reported::default());
        for _ in 0..SMALL_WRITES {
            assert!(!writes.are_too_many(&reported));
            writes.wrote(2, 100);
        }
        assert!(writes.are_too_many(&reported));
        writes.wrote(1_000, FULL_WRITE_BYTES);
        reported.items.store(1, Ordering::Release);
        assert!(writes.are_too_many(&reported), "half of a write is none");
        reported.items.store(2, Ordering::Release);
        assert!(!writes.are_too_many(&reported));
    }
}
