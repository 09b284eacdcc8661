//! What a leader knows of one other member's log.

use {
    super::{
        config::Config,
        ids::{LogIndex, Position},
    },
    mosaik_primitives::time::Instant,
    std::collections::VecDeque,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Where the logs meet is not known: one append at a time.
    Probe {
        /// One is on its way.
        waiting: bool,
    },
    /// Appends follow one another without waiting.
    Replicate,
    /// Entries are being read from the store.
    Fetch {
        /// From this index on.
        from: LogIndex,
        /// The entry before, where it was read already.
        prev: Option<Position>,
        /// Where the logs meet is not known: an answer is awaited after what was read is sent.
        probing: bool,
    },
    /// A snapshot up to `last` was offered.
    Snapshot {
        /// Last index it covers.
        last: LogIndex,
        /// When it was offered.
        since: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Progress {
    /// Known to be equal and stored up to here.
    pub(super) matched: LogIndex,
    /// The next entry to send.
    pub(super) next: LogIndex,
    pub(super) mode: Mode,
    /// Last index and size of appends that are not acknowledged.
    inflight: VecDeque<(LogIndex, usize)>,
    inflight_bytes: usize,
    /// When something came from it.
    pub(super) heard: Instant,
    /// The latest heartbeat round it answered.
    pub(super) acked_round: u64,
    /// The latest heartbeat round sent, what had been sent by then, and the commit index in it.
    pub(super) round_sent: (u64, LogIndex, LogIndex),
    /// The commit index it was told.
    pub(super) commit_sent: LogIndex,
    /// The commit index it is known to know.
    pub(super) knows_commit: LogIndex,
    pub(super) quiesced: bool,
}

impl Progress {
    pub(super) fn new(next: LogIndex, heard: Instant) -> Self {
        Self {
            matched: LogIndex::ZERO,
            next,
            mode: Mode::Probe { waiting: false },
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            heard,
            acked_round: 0,
            round_sent: (0, LogIndex::ZERO, LogIndex::ZERO),
            knows_commit: LogIndex::ZERO,
            commit_sent: LogIndex::ZERO,
            quiesced: false,
        }
    }

    pub(super) fn is_full(&self, config: &Config) -> bool {
        self.inflight.len() >= config.inflight_appends
            || self.inflight_bytes >= config.inflight_bytes
    }

    /// Entries up to `last` are on their way.
    pub(super) fn sent(&mut self, last: LogIndex, bytes: usize) {
        self.next = last.next();
        self.inflight.push_back((last, bytes));
        self.inflight_bytes += bytes;
    }

    /// Its log is the leader's, stored, up to `matched`. Says whether that is news.
    pub(super) fn acked(&mut self, matched: LogIndex) -> bool {
        while let Some((_, bytes)) = self.inflight.pop_front_if(|(last, _)| *last <= matched) {
            self.inflight_bytes -= bytes;
        }
        let news = matched > self.matched;
        self.matched = self.matched.max(matched);
        match self.mode {
            Mode::Probe { .. } if news || matched.next() >= self.next => self.replicate(),
            Mode::Snapshot { last, .. } if matched >= last => self.replicate(),
            _ => {}
        }
        self.next = self.next.max(self.matched.next());
        news
    }

    fn replicate(&mut self) {
        self.mode = Mode::Replicate;
        self.next = self.matched.next();
        self.forget_inflight();
    }

    /// Something was lost, or the logs differ: start over from `next`.
    pub(super) fn probe(&mut self, next: LogIndex) {
        self.mode = Mode::Probe { waiting: false };
        self.next = next.max(self.matched.next());
        self.forget_inflight();
    }

    fn forget_inflight(&mut self) {
        self.inflight.clear();
        self.inflight_bytes = 0;
    }

    /// Gives memory back.
    pub(super) fn shrink(&mut self) {
        self.inflight.shrink_to_fit();
    }
}
