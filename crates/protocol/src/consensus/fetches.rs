//! Entries that are being read from the store, and who waits for them.
//!
//! Only what is not in memory is read. That is committed and stays what it is, so an answer that
//! comes late is as good as one to a question asked again. What another lineage held is the
//! exception: questions from before it was left are kept in mind until they are answered. No index
//! is read from twice at a time, so that an answer belongs to one question.

use {
    super::{
        config::{Config, limits},
        ids::{LogIndex, Member},
        input::{Output, Outputs},
        log::Log,
    },
    mosaik_primitives::time::Instant,
    std::mem,
};

/// Why entries are being read from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To hand them out.
    Apply,
    /// To send them to a member that lags.
    Peer(Member),
    /// To propose them to another lineage.
    Resubmit,
    /// For nothing any more.
    Nothing,
    /// For nothing, and the log was another lineage's when they were asked for.
    Left,
}

/// Questions to the store without an answer, by their first index.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    asked: Vec<(LogIndex, Purpose)>,
    /// The store did not give what is to be handed out: that is not asked for before then.
    pub(super) again_at: Option<Instant>,
}

/// Questions without an answer there are at most: one for each member, and as many given up.
const FETCHES: usize = 2 * limits::MEMBERS;

impl Fetches {
    pub(super) fn is_asked(&self, from: LogIndex, purpose: Purpose) -> bool {
        self.asked.contains(&(from, purpose))
    }

    fn is_under_way(&self, from: LogIndex) -> bool {
        self.asked.iter().any(|(at, _)| *at == from)
    }

    /// Asks for entries that are not in memory, from `from` on, instead of what was asked for this
    /// purpose before. Says no when too much has no answer yet: then try again later.
    pub(super) fn ask(
        &mut self,
        from: LogIndex,
        purpose: Purpose,
        log: &Log,
        config: &Config,
        out: &mut Outputs,
    ) -> bool {
        if self.is_asked(from, purpose) {
            return true;
        }
        self.give_up(|other| other == purpose);
        if !self.is_under_way(from) {
            if self.asked.len() >= FETCHES {
                return false;
            }
            out.push(Output::Fetch {
                from,
                upto: log.first_cached().prev(),
                max_bytes: config.append_bytes,
            });
        }
        self.asked.push((from, purpose));
        true
    }

    /// Nobody waits any more for what is read for such purposes.
    pub(super) fn give_up(&mut self, given_up: impl Fn(Purpose) -> bool) {
        for (from, purpose) in mem::take(&mut self.asked) {
            if purpose == Purpose::Left || !given_up(purpose) {
                self.asked.push((from, purpose));
            } else if !self.is_asked(from, Purpose::Nothing) {
                self.asked.push((from, Purpose::Nothing));
            }
        }
    }

    /// Whatever is being read is of a log that is no more.
    pub(super) fn leave(&mut self) {
        for (_, purpose) in &mut self.asked {
            *purpose = Purpose::Left;
        }
    }

    /// There is an answer. Who waits for it, and whether it is of the log that there is.
    pub(super) fn answered(&mut self, from: LogIndex) -> (Vec<Purpose>, bool) {
        let mut wanted = Vec::new();
        self.asked.retain(|(at, purpose)| {
            if *at == from {
                wanted.push(*purpose);
            }
            *at != from
        });
        let current = !wanted.contains(&Purpose::Left);
        (wanted, current)
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::consensus::ids::{GroupKeyId, PeerKey},
    };

    fn ask(fetches: &mut Fetches, from: u64, purpose: Purpose) -> (bool, usize) {
        let config = Config::new(GroupKeyId::default(), PeerKey::default(), 1, 1);
        let (log, mut out) = (Log::default(), Vec::new());
        let asked = fetches.ask(LogIndex(from), purpose, &log, &config, &mut out);
        (asked, out.len())
    }

    #[test]
    fn an_answer_from_before_a_lineage_was_left_is_not_taken_for_another() {
        let mut fetches = Fetches::default();
        assert_eq!(ask(&mut fetches, 5, Purpose::Resubmit), (true, 1));
        fetches.give_up(|_| true);
        fetches.leave();
        assert_eq!(ask(&mut fetches, 5, Purpose::Apply), (true, 0));
        let (wanted, current) = fetches.answered(LogIndex(5));
        assert!(wanted.contains(&Purpose::Apply) && !current);
        assert_eq!(ask(&mut fetches, 5, Purpose::Apply), (true, 1));
        let answer = fetches.answered(LogIndex(5));
        assert_eq!(answer, (vec![Purpose::Apply], true));
    }

    #[test]
    fn what_a_store_is_asked_without_answering_is_bounded() {
        let mut fetches = Fetches::default();
        for from in 0..3 * FETCHES as u64 {
            ask(&mut fetches, from % (2 * FETCHES as u64), Purpose::Apply);
        }
        assert!(
            fetches.asked.len() <= FETCHES + 1,
            "{}",
            fetches.asked.len()
        );
    }
}
