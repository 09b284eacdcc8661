//! Which operations the log holds, so that a retry is not applied twice.
//!
//! The window is a function of the log: every member derives the same answer from the same
//! entries, and a snapshot carries it. Each origin numbers its operations upwards and the log
//! takes them in that order only, so an origin needs a high mark and, to answer retries with
//! their index, a few runs.
//!
//! What is not applied yet is never forgotten: whoever proposed it waits to be told where it
//! stands, and the log may be cut back. A member holds as many such runs as it holds entries.

use {
    super::{
        config::limits,
        entry::{get_origin, put_origin},
        ids::{Index, OpRun, Origin},
        wire::{Reader, WireError, put_varint},
    },
    bytes::BytesMut,
    std::collections::{BTreeMap, BTreeSet, VecDeque},
};

/// What is known of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not in the log; its turn has not passed.
    New,
    /// In the log, as this command.
    At(Index),
    /// Not in the log, and never will be: later ones of its origin are.
    Skipped,
    /// So long ago that it is not remembered whether it was skipped.
    Forgotten,
}

/// Neighbours both in their origin's numbering and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    seq: u64,
    index: Index,
    count: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Track {
    /// Nothing is known of operations up to here, except that their turn has passed.
    forgotten: u64,
    /// In order of sequence and of index alike.
    runs: VecDeque<Run>,
}

impl Track {
    fn last(&self) -> u64 {
        self.runs
            .back()
            .map_or(self.forgotten, |run| run.seq + run.count - 1)
    }

    fn latest_index(&self) -> Index {
        self.runs
            .back()
            .map_or(Index::ZERO, |run| run.index.plus(run.count - 1))
    }

    /// Drops the oldest of more than [`limits::WINDOW_RUNS`] runs among the first `applied`
    /// commands of the log. Says whether that is all the runs there may be.
    fn forget(&mut self, applied: Index) -> bool {
        while let Some(next) = self.runs.get(limits::WINDOW_RUNS) {
            if next.index > applied {
                return false;
            }
            if let Some(oldest) = self.runs.pop_front() {
                self.forgotten = oldest.seq + oldest.count - 1;
            }
        }
        true
    }

    fn truncate(&mut self, last: Index) {
        while let Some(run) = self.runs.back_mut() {
            if run.index <= last {
                run.count = run.count.min(last.distance(run.index) + 1);
                return;
            }
            self.runs.pop_back();
        }
    }
}

/// Operations known to be in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    origins: BTreeMap<Origin, Track>,
    /// Those of whom more runs are known than are remembered once they are applied.
    crowded: BTreeSet<Origin>,
}

impl Window {
    /// What is known of operation `seq` of `origin`.
    pub fn seen(&self, origin: &Origin, seq: u64) -> Seen {
        let Some(track) = self.origins.get(origin) else {
            return Seen::New;
        };
        if seq > track.last() {
            return Seen::New;
        }
        if seq <= track.forgotten {
            return Seen::Forgotten;
        }
        let at = track.runs.partition_point(|run| run.seq + run.count <= seq);
        match track.runs.get(at) {
            Some(run) if run.seq <= seq => Seen::At(run.index.plus(seq - run.seq)),
            _ => Seen::Skipped,
        }
    }

    /// The highest sequence number of `origin` in the log; 0 when there is none.
    pub fn last(&self, origin: &Origin) -> u64 {
        self.origins.get(origin).map_or(0, Track::last)
    }

    /// The highest sequence number of `origin` among the first `committed` commands of the log.
    pub(super) fn last_committed(&self, origin: &Origin, committed: Index) -> u64 {
        let Some(track) = self.origins.get(origin) else {
            return 0;
        };
        let run = track.runs.iter().rev().find(|run| run.index <= committed);
        run.map_or(track.forgotten, |run| {
            run.seq + (run.count - 1).min(committed.distance(run.index))
        })
    }

    /// The latest operation of each origin among the first `commands` commands of the log.
    pub(super) fn latest(&self, commands: Index) -> Vec<OpRun> {
        let latest = self.origins.keys().map(|origin| OpRun {
            origin: *origin,
            first: self.last_committed(origin, commands),
            count: 1,
        });
        latest.filter(|run| run.first > 0).collect()
    }

    /// Takes note that `run` is in the log, its first command being `index`.
    pub(super) fn record(&mut self, run: &OpRun, index: Index) {
        if !self.origins.contains_key(&run.origin) {
            self.make_room();
        }
        let track = self.origins.entry(run.origin).or_default();
        let count = u64::from(run.count);
        if let Some(last) = track.runs.back_mut()
            && last.seq + last.count == run.first
            && last.index.plus(last.count) == index
        {
            last.count += count;
            return;
        }
        if run.first <= track.last() {
            // A log that holds an operation twice was not written by this code; what is known
            // of it stays the first.
            return;
        }
        track.runs.push_back(Run {
            seq: run.first,
            index,
            count,
        });
        if track.runs.len() > limits::WINDOW_RUNS {
            self.crowded.insert(run.origin);
        }
    }

    /// The first `applied` commands of the log are applied: of what they were, only the latest is
    /// remembered.
    pub(super) fn forget(&mut self, applied: Index) {
        let origins = &mut self.origins;
        self.crowded.retain(|origin| {
            let track = origins.get_mut(origin);
            track.is_some_and(|track| !track.forget(applied))
        });
    }

    /// What is known of operation `seq` of `origin` when only commands up to `committed` count.
    pub(super) fn settled(&self, origin: &Origin, seq: u64, committed: Index) -> Seen {
        match self.seen(origin, seq) {
            Seen::At(index) if index > committed => Seen::New,
            Seen::Skipped => {
                // Skipped for good only when what skipped it is committed.
                let track = &self.origins[origin];
                let at = track.runs.partition_point(|run| run.seq <= seq);
                match track.runs.get(at) {
                    Some(run) if run.index <= committed => Seen::Skipped,
                    _ => Seen::New,
                }
            }
            seen => seen,
        }
    }

    fn make_room(&mut self) {
        if self.origins.len() < limits::WINDOW_ORIGINS {
            return;
        }
        let stalest = self
            .origins
            .iter()
            .min_by_key(|(origin, track)| (track.latest_index(), **origin));
        if let Some(origin) = stalest.map(|(origin, _)| *origin) {
            self.origins.remove(&origin);
        }
    }

    /// Forgets what stands after command `last`: the log was cut there.
    pub(super) fn truncate(&mut self, last: Index) {
        self.origins
            .values_mut()
            .for_each(|track| track.truncate(last));
        self.origins.retain(|_, track| track.last() > 0);
    }

    /// The window as it was when `last`, the last command applied or one after it, was the last.
    pub(super) fn as_of(&self, last: Index) -> Self {
        let mut window = self.clone();
        window.truncate(last);
        window.forget(last);
        window
    }

    pub(super) fn encode(&self, buf: &mut BytesMut) {
        put_varint(buf, self.origins.len() as u64);
        for (origin, track) in &self.origins {
            put_origin(buf, origin);
            put_varint(buf, track.forgotten);
            put_varint(buf, track.runs.len() as u64);
            for run in &track.runs {
                put_varint(buf, run.seq);
                put_varint(buf, run.index.0);
                put_varint(buf, run.count);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let mut origins = BTreeMap::new();
        for _ in 0..reader.count("origins", limits::WINDOW_ORIGINS, 43)? {
            let origin = get_origin(reader)?;
            let mut track = Track {
                forgotten: reader.varint()?,
                runs: VecDeque::new(),
            };
            if track.forgotten == u64::MAX {
                return Err(WireError::Invalid("operation ids do not wrap"));
            }
            for _ in 0..reader.count("runs", limits::WINDOW_RUNS, 3)? {
                let run = Run {
                    seq: reader.varint()?,
                    index: Index(reader.varint()?),
                    count: reader.varint()?,
                };
                let fits = run.seq.checked_add(run.count).is_some()
                    && run.index.0.checked_add(run.count).is_some();
                if run.seq <= track.last() || run.index <= track.latest_index() {
                    return Err(WireError::Invalid("runs of the window are out of order"));
                }
                if run.count == 0 || !fits {
                    return Err(WireError::Invalid(
                        "a run of the window has an impossible length",
                    ));
                }
                track.runs.push_back(run);
            }
            if origins.insert(origin, track).is_some() {
                return Err(WireError::Invalid("an origin is in the window twice"));
            }
        }
        Ok(Self {
            origins,
            crowded: BTreeSet::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::consensus::ids::{Member, PeerKey},
    };

    fn run(first: u64, count: u32) -> OpRun {
        OpRun {
            origin: origin(),
            first,
            count,
        }
    }

    fn origin() -> Origin {
        Origin::Member(Member::new(PeerKey([7; 32]), 1))
    }

    #[test]
    fn retries_are_answered_with_their_index_and_gaps_are_known_never_to_apply() {
        let mut window = Window::default();
        window.record(&run(1, 3), Index(10));
        window.record(&run(4, 2), Index(13));
        window.record(&run(9, 1), Index(20));
        assert_eq!(window.seen(&origin(), 5), Seen::At(Index(14)));
        assert_eq!(window.seen(&origin(), 7), Seen::Skipped);
        assert_eq!(window.seen(&origin(), 9), Seen::At(Index(20)));
        assert_eq!(window.seen(&origin(), 10), Seen::New);
    }

    #[test]
    fn cutting_the_log_gives_operations_their_turn_back() {
        let mut window = Window::default();
        window.record(&run(1, 3), Index(1));
        let before = window.clone();
        window.record(&run(4, 2), Index(4));
        window.record(&run(9, 1), Index(9));
        assert_eq!(window.as_of(Index(3)), before);
        window.truncate(Index(4));
        assert_eq!(window.seen(&origin(), 4), Seen::At(Index(4)));
        assert_eq!(window.seen(&origin(), 5), Seen::New);
        window.truncate(Index::ZERO);
        assert_eq!(window, Window::default());
    }

    #[test]
    fn memory_of_one_origin_is_bounded() {
        let mut window = Window::default();
        for at in 1..=200u64 {
            window.record(&run(at * 2, 1), Index(at * 3));
        }
        assert_eq!(window.seen(&origin(), 2), Seen::At(Index(3)));
        window.forget(Index(600));
        assert_eq!(window.seen(&origin(), 2), Seen::Forgotten);
        assert_eq!(window.seen(&origin(), 400), Seen::At(Index(600)));
        let mut buf = BytesMut::new();
        window.encode(&mut buf);
        assert_eq!(Window::decode(&mut Reader::new(buf.freeze())), Ok(window));
    }
}
