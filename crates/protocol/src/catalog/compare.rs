//! Comparing what two catalogs hold, range by range.

use {
    super::{
        io::Outputs,
        machine::Catalog,
        message::{AgeWindow, Gossip, Item, Message, Range, RangeContent},
        pulls::Word,
        sync::{ANSWER_WITHIN, LOWEST},
        types::{Authority, NodeKey, Version},
    },
    mosaik_primitives::time::Instant,
    std::collections::BTreeMap,
};

/// A range with at most so many entries is sent item by item.
const LEAF: usize = 16;
/// Parts a larger range is split into.
const PARTS: usize = 16;
/// Items, and so ranges, in one message at most.
pub(super) const ITEMS: usize = 2_048;

/// What a node answers to the ranges of another.
#[derive(Default)]
struct Answer {
    ranges: Vec<Range>,
    items: usize,
    push: Vec<NodeKey>,
    wanted: Vec<Item>,
    /// A newer version of this node's entry than its own, which the other claims to hold.
    own: Option<Version>,
    statements: Vec<Gossip>,
    /// Something was left out for its size.
    more: bool,
}

impl Answer {
    fn range(&mut self, end: Option<NodeKey>, content: RangeContent) {
        let size = match &content {
            RangeContent::Items(items) => items.len() + 1,
            _ => 1,
        };
        let content = if self.items + size > ITEMS {
            self.more = true;
            RangeContent::Skip
        } else {
            content
        };
        if let (RangeContent::Skip, Some(last)) = (&content, self.ranges.last_mut())
            && last.content == RangeContent::Skip
        {
            last.end = end;
            return;
        }
        self.items += size;
        self.ranges.push(Range { end, content });
    }

    fn is_final(&self) -> bool {
        self.ranges
            .iter()
            .all(|range| range.content == RangeContent::Skip)
    }
}

impl<A: Authority> Catalog<A> {
    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(super) fn compare(
        &mut self,
        now: Instant,
        from: NodeKey,
        session: u32,
        opener: bool,
        ranges: Vec<Range>,
        ages: Option<AgeWindow>,
        out: &mut Outputs,
    ) {
        if !opener
            && self
                .syncs
                .sessions
                .get(&session)
                .is_none_or(|known| known.peer != from)
        {
            return;
        }
        let mut answer = Answer::default();
        let mut first = LOWEST;
        for range in ranges {
            self.answer_range(now, first, range.end, range.content, &mut answer);
            let Some(end) = range.end else { break };
            first = first.max(end);
        }
        let equal = answer.is_final() && answer.push.is_empty() && answer.wanted.is_empty();
        self.counters.differences += u64::from(!equal);
        if let Some(version) = answer.own {
            self.pull_own(from, version, out);
        }
        for statement in core::mem::take(&mut answer.statements) {
            self.send(from, &Message::Direct(statement), out);
        }
        if let (true, true, Some(window)) = (equal, opener, ages) {
            self.compare_ages(from, &window, out);
        }
        answer.more |= self.push_entries(from, &answer.push, out);
        self.want(now, from, (!opener).then_some(session), &answer.wanted);
        let done = answer.is_final();
        if !done {
            let ranges = answer.ranges;
            let message = Message::Compare {
                session,
                opener: !opener,
                ranges,
                ages: None,
            };
            self.send(from, &message, out);
        } else if opener {
            self.send(
                from,
                &Message::End {
                    session,
                    more: answer.more,
                },
                out,
            );
        }
        if let (false, Some(own)) = (opener, self.syncs.sessions.get_mut(&session)) {
            own.deadline = now + ANSWER_WITHIN;
            own.ended |= done;
            self.close_if_complete(session, out);
        }
    }

    /// Has what the other holds and this node lacks asked for. A comparison that this node opened
    /// waits for it.
    fn want(&mut self, now: Instant, from: NodeKey, opened: Option<u32>, wanted: &[Item]) {
        for item in wanted {
            let noted = self.pull(now, item.peer, item.version, from, Word::Offered);
            if noted && let Some(own) = opened.and_then(|id| self.syncs.sessions.get_mut(&id)) {
                own.awaiting.insert(item.peer);
            }
        }
    }

    fn answer_range(
        &self,
        now: Instant,
        first: NodeKey,
        end: Option<NodeKey>,
        content: RangeContent,
        answer: &mut Answer,
    ) {
        match content {
            RangeContent::Skip => answer.range(end, RangeContent::Skip),
            RangeContent::Fingerprint { count, fingerprint } => {
                let sum = if first == LOWEST && end.is_none() {
                    *self.store.sum()
                } else {
                    self.store.range_sum(first, end)
                };
                if sum.count() == count && sum.finish() == fingerprint {
                    answer.range(end, RangeContent::Skip);
                } else if sum.count() as usize <= LEAF {
                    let items = self
                        .store
                        .range(first, end)
                        .map(super::store::Slot::item)
                        .collect();
                    answer.range(end, RangeContent::Items(items));
                } else {
                    self.split(first, end, sum.count() as usize, answer);
                }
            }
            RangeContent::Items(items) => {
                self.reconcile(now, first, end, &items, answer);
                answer.range(end, RangeContent::Skip);
            }
        }
    }

    /// Splits a range into parts of equally many entries.
    fn split(&self, first: NodeKey, end: Option<NodeKey>, count: usize, answer: &mut Answer) {
        let keys: Vec<_> = self
            .store
            .range(first, end)
            .map(|slot| slot.record.peer)
            .collect();
        let mut low = first;
        for part in 1..=PARTS {
            let high = if part == PARTS {
                end
            } else {
                keys.get(count * part / PARTS).copied()
            };
            let sum = self.store.range_sum(low, high);
            let (count, fingerprint) = (sum.count(), sum.finish());
            answer.range(high, RangeContent::Fingerprint { count, fingerprint });
            low = high.unwrap_or(low);
        }
    }

    /// Compares a range item by item.
    fn reconcile(
        &self,
        now: Instant,
        first: NodeKey,
        end: Option<NodeKey>,
        items: &[Item],
        answer: &mut Answer,
    ) {
        let wall = self.wall(now);
        let theirs: BTreeMap<_, _> = items.iter().map(|item| (item.peer, item)).collect();
        for slot in self.store.range(first, end) {
            let mine = slot.item();
            let rank = (mine.version, mine.digest);
            if theirs
                .get(&mine.peer)
                .is_none_or(|item| (item.version, item.digest) < rank)
            {
                answer.push.push(mine.peer);
            }
        }
        for item in theirs.into_values() {
            if item.peer == self.config.me {
                let newer = self.store.lacks(wall, item).then_some(item.version);
                answer.own = answer.own.max(newer);
            } else if self.store.lacks(wall, item) {
                answer.wanted.push(*item);
            } else if let Some(slot) = self.store.down().get(&item.peer) {
                answer
                    .statements
                    .push(Gossip::Suspicion(self.suspicion_of(slot)));
            } else if let Some(farewell) = self.store.farewell_of(&item.peer)
                && farewell.version >= item.version
            {
                answer.statements.push(Gossip::Farewell(*farewell));
            }
        }
    }
}
