//! [`MemoryLog`]: the log of a member that forgets it with its process.
//!
//! Entries are kept as the core handed them over: their bytes are shared, not copied.

use {
    mosaik_protocol::consensus::{Entry, LogIndex, Position, Write},
    std::collections::VecDeque,
};

/// The log of a member that forgets it with its process.
#[derive(Debug, Default)]
pub(crate) struct MemoryLog {
    /// The entry before the first.
    base: LogIndex,
    entries: VecDeque<Entry>,
}

impl MemoryLog {
    pub(super) fn write(&mut self, write: Write) {
        match write {
            Write::Append(entries) => {
                for entry in entries {
                    assert_eq!(entry.index, self.next(), "a log has no gaps");
                    self.entries.push_back(entry);
                }
            }
            Write::Truncate(from) => {
                let keep = from.0.saturating_sub(self.base.0 + 1) as usize;
                self.entries.truncate(keep);
            }
            Write::Reset(Position { index, .. }) => {
                self.base = index;
                self.entries = VecDeque::new();
            }
            Write::Compact(upto) => {
                let cut = upto.distance(self.base) as usize;
                self.entries.drain(..cut.min(self.entries.len()));
                self.entries.shrink_to(2 * self.entries.len());
                self.base = self.base.max(upto);
            }
            // Votes and terms are the core's to remember while the process runs.
            _ => {}
        }
    }

    fn next(&self) -> LogIndex {
        self.base.plus(self.entries.len() as u64 + 1)
    }

    /// Entries from `from` to `upto`, of at most `max_bytes` unless the first alone is larger.
    pub(super) fn read(&self, from: LogIndex, upto: LogIndex, max_bytes: usize) -> Vec<Entry> {
        let Some(start) = from.0.checked_sub(self.base.0 + 1) else {
            return Vec::new();
        };
        let end = (upto.distance(self.base) as usize).min(self.entries.len());
        let start = (start as usize).min(end);
        let mut bytes = 0;
        self.entries
            .range(start..end)
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += entry.body.len().max(1);
                first || bytes <= max_bytes
            })
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use {super::*, bytes::Bytes, mosaik_protocol::consensus::Term};

    fn entry(index: u64) -> Entry {
        Entry {
            index: LogIndex(index),
            term: Term(1),
            body: Bytes::from(vec![0; 10]),
        }
    }

    fn indices(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.index.0).collect()
    }

    #[test]
    fn a_log_in_memory_is_cut_at_both_ends_and_read_in_pieces() {
        let mut log = MemoryLog::default();
        log.write(Write::Append((1..=10).map(entry).collect()));
        log.write(Write::Truncate(LogIndex(9)));
        log.write(Write::Compact(LogIndex(3)));
        assert!(log.read(LogIndex(3), LogIndex(5), 1_000).is_empty());
        assert_eq!(
            indices(&log.read(LogIndex(4), LogIndex(99), 1_000)),
            [4, 5, 6, 7, 8]
        );
        assert_eq!(indices(&log.read(LogIndex(5), LogIndex(8), 25)), [5, 6]);
        assert_eq!(indices(&log.read(LogIndex(5), LogIndex(8), 1)), [5]);
        assert!(log.read(LogIndex(9), LogIndex(12), 1_000).is_empty());
        log.write(Write::Append(vec![entry(9)]));
        let reset = Position::new(Term(2), LogIndex(20));
        log.write(Write::Reset(reset));
        log.write(Write::Append(vec![entry(21)]));
        assert_eq!(indices(&log.read(LogIndex(21), LogIndex(21), 1)), [21]);
    }
}
