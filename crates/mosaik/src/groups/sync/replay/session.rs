//! [`LogReplaySession`]: fetches the commands that are missing and replays them.

use {
    super::{LogReplaySync, LogReplaySyncMessage, message::RESPONSE_COMMANDS, plan::Plan},
    crate::{
        PeerId,
        groups::{
            context::{Applying, Committed},
            cursor::Cursor,
            index::{Index, IndexRange, Term},
            machine::StateMachine,
            sync::{StateSyncSession, SyncSessionContext},
        },
    },
    core::{
        fmt,
        pin::Pin,
        task::{Context, Poll, Waker},
        time::Duration,
    },
    mosaik_primitives::{Encoded, time::UnixMillis},
    std::collections::{BTreeMap, BTreeSet},
    tokio::time::{Instant, Sleep, sleep_until},
};

/// Members are asked again what they hold after this long, while nobody has what is wanted.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Commands replicated meanwhile that are kept. More are dropped: they will be sent again.
const BUFFERED_COMMANDS: usize = 65_536;

type Driver<'a, M> = &'a mut dyn SyncSessionContext<LogReplaySync<M>>;
type Message<M> = LogReplaySyncMessage<<M as StateMachine>::Command>;

/// Fetches the commands that are missing from several members at once, and replays them.
pub struct LogReplaySession<M: StateMachine> {
    plan: Plan,
    /// What was there when the session was made; everything up to it is fetched.
    target: Cursor,
    /// Commands up to here are committed, and so are applied.
    commit: Index,
    /// Commands that follow the target.
    tail: Vec<(M::Command, Term)>,
    /// Commands that came before those they follow, by their first.
    arrived: BTreeMap<Index, Arrived<M>>,
    /// When members were asked last what they hold, if they were.
    asked: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    waker: Option<Waker>,
}

/// Commands from one member.
struct Arrived<M: StateMachine> {
    from: PeerId,
    commands: Vec<Committed<M::Command>>,
}

impl<M: StateMachine> fmt::Debug for LogReplaySession<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReplaySession")
            .field("target", &self.target)
            .field("commit", &self.commit)
            .finish_non_exhaustive()
    }
}

impl<M: StateMachine> LogReplaySession<M> {
    pub(super) fn new(
        config: &LogReplaySync<M>,
        cx: Driver<'_, M>,
        target: Cursor,
        commit: Index,
        tail: Vec<(M::Command, Term)>,
    ) -> Self {
        let batch = config.batch_size.get().min(RESPONSE_COMMANDS);
        let wanted = cx.log().last().index().next()..=target.index();
        let mut this = Self {
            plan: Plan::new(&wanted, batch, config.fetch_timeout),
            target,
            commit,
            tail: Vec::new(),
            arrived: BTreeMap::new(),
            asked: None,
            timer: Box::pin(sleep_until(Instant::now())),
            waker: None,
        };
        this.keep(target, tail);
        this
    }

    /// Keeps commands that follow what is kept; what they replace is dropped.
    fn keep(&mut self, position: Cursor, entries: Vec<(M::Command, Term)>) {
        let Some(kept) = position
            .index()
            .as_u64()
            .checked_sub(self.target.index().as_u64())
        else {
            return;
        };
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        if kept > self.tail.len() {
            return;
        }
        self.tail.truncate(kept);
        let room = BUFFERED_COMMANDS - self.tail.len().min(BUFFERED_COMMANDS);
        self.tail.extend(entries.into_iter().take(room));
    }

    /// Takes commands that a member sent, if they are what it was asked for and can be right.
    fn take(
        &mut self,
        from: PeerId,
        range: &IndexRange,
        entries: Vec<(Encoded<M::Command>, Term)>,
        times: &[(UnixMillis, u32)],
    ) {
        let first = *range.start();
        if self.plan.is_late(from, first) {
            return;
        }
        if entries.is_empty() {
            self.plan.answered(from, first, None);
            return;
        }
        let counted = range.end().as_u64().checked_sub(first.as_u64());
        let complete = counted == Some(entries.len() as u64 - 1);
        let commands = with_times(entries, times).filter(|_| complete);
        let Some(commands) = commands.filter(|commands| self.can_be(commands)) else {
            self.distrust(from, "sent commands that cannot be right");
            return;
        };
        if !self.plan.answered(from, first, Some(*range.end())) {
            self.distrust(from, "sent commands that it was not asked for");
            return;
        }
        self.arrived.insert(first, Arrived { from, commands });
    }

    /// Whether terms only rise, up to that of the target. The target's may be one in which there
    /// was no command yet.
    fn can_be(&self, commands: &[Committed<M::Command>]) -> bool {
        let rising = commands.is_sorted_by_key(|command| (command.term, command.time));
        let (first, last) = (commands.first(), commands.last());
        let terms = first.zip(last).map(|(first, last)| (first.term, last.term));
        terms.is_some_and(|(first, last)| rising && !first.is_zero() && last <= self.target.term())
    }

    fn distrust(&mut self, peer: PeerId, why: &'static str) {
        tracing::warn!(%peer, why, "member is left out of the replay of the log");
        self.plan.distrust(peer);
    }

    /// Applies what has arrived and follows what was applied.
    fn replay(&mut self, driver: Driver<'_, M>) {
        loop {
            let last = driver.log().last();
            let Some(arrived) = self.arrived.remove(&last.index().next()) else {
                break;
            };
            if arrived.commands[0].term < last.term() {
                // This, or what was applied before it, was never committed.
                let first = last.index().next();
                let upto = last.index() + arrived.commands.len();
                self.plan.refuse(first, upto);
                self.distrust(arrived.from, "sent commands that do not follow the others");
                continue;
            }
            append(self.commit, arrived.commands, driver);
        }
    }

    /// Asks those members what they hold of whom that is not known.
    fn ask_who_holds(&mut self, driver: Driver<'_, M>, now: Instant) {
        let peers: BTreeSet<_> = driver.bonds().peers().into_iter().collect();
        self.plan.keep(&peers);
        let due = self.asked.is_none_or(|asked| now >= asked + ASK_AGAIN);
        if !due {
            return;
        }
        self.asked = Some(now);
        self.plan.forgive(&peers);
        let stuck = self.plan.is_stuck();
        for peer in peers {
            if stuck || !self.plan.knows(&peer) {
                // A request without contents always encodes.
                drop(driver.send_to(peer, Message::<M>::AvailabilityRequest));
            }
        }
    }

    fn request(&mut self, driver: Driver<'_, M>, now: Instant) {
        self.plan.expire(now.into_std());
        let applied = driver.log().last().index();
        for (peer, range) in self.plan.requests(applied, now.into_std()) {
            // A request without contents always encodes.
            drop(driver.send_to(peer, Message::<M>::FetchEntriesRequest(range)));
        }
    }

    /// Appends what was replicated meanwhile, and says where the log ends.
    fn finish(&mut self, driver: Driver<'_, M>) -> Cursor {
        let time = driver
            .log()
            .time_at(self.target.index())
            .unwrap_or_default();
        let tail = core::mem::take(&mut self.tail).into_iter();
        let tail = tail.map(|(command, term)| Committed {
            command,
            term,
            time,
        });
        append(self.commit, tail.collect(), driver);
        driver.log().last()
    }
}

/// Appends commands to the log, and applies those of them that are committed.
fn append<M: StateMachine>(
    commit: Index,
    commands: Vec<Committed<M::Command>>,
    driver: Driver<'_, M>,
) {
    let applied = driver.committed();
    let mut position = driver.log().last();
    let mut to_apply = Vec::new();
    for Committed {
        command,
        term,
        time,
    } in commands
    {
        let index = position.index().next();
        if index <= commit && index > applied.index() {
            to_apply.push(Committed {
                command: command.clone(),
                term,
                time,
            });
            position = Cursor::new(term, index);
        }
        driver.log_mut().append_at(command, term, time);
    }
    if to_apply.is_empty() {
        return;
    }
    let mut applying = Applying::new(driver.network_id(), driver.group_id(), applied);
    applying.set_member(driver.log().last(), position.term());
    applying.apply(driver.state_machine_mut(), to_apply);
    driver.set_committed(position);
}

/// Puts commands and their times together; `None` when their numbers differ.
fn with_times<C>(
    entries: Vec<(Encoded<C>, Term)>,
    times: &[(UnixMillis, u32)],
) -> Option<Vec<Committed<C>>> {
    let counted: u64 = times.iter().map(|(_, count)| u64::from(*count)).sum();
    if !times.is_empty() && counted != entries.len() as u64 {
        return None;
    }
    let times = times
        .iter()
        .flat_map(|(time, count)| core::iter::repeat_n(*time, *count as usize))
        .chain(core::iter::repeat(UnixMillis::default()));
    let commands = entries.into_iter().zip(times);
    let commands = commands.map(|((command, term), time)| Committed {
        command: command.0,
        term,
        time,
    });
    Some(commands.collect())
}

impl<M: StateMachine> StateSyncSession for LogReplaySession<M> {
    type Owner = LogReplaySync<M>;

    fn poll(&mut self, cx: &mut Context<'_>, driver: Driver<'_, M>) -> Poll<Cursor> {
        self.waker = Some(cx.waker().clone());
        loop {
            let now = Instant::now();
            self.replay(driver);
            if driver.log().last().index() >= self.target.index() {
                return Poll::Ready(self.finish(driver));
            }
            self.ask_who_holds(driver, now);
            self.request(driver, now);
            let expiry = self.plan.deadline().map(Instant::from_std);
            let look_again = now + ASK_AGAIN;
            let due = expiry.map_or(look_again, |expiry| expiry.min(look_again));
            self.timer.as_mut().reset(due);
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn receive(&mut self, message: Message<M>, sender: PeerId, _: Driver<'_, M>) {
        match message {
            LogReplaySyncMessage::AvailabilityResponse(held) => self.plan.available(sender, held),
            LogReplaySyncMessage::FetchEntriesResponse {
                range,
                entries,
                times,
            } => self.take(sender, &range, entries, &times),
            // Requests are the provider's.
            LogReplaySyncMessage::AvailabilityRequest
            | LogReplaySyncMessage::FetchEntriesRequest(_) => {}
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn buffer(&mut self, position: Cursor, entries: Vec<(M::Command, Term)>, _: Driver<'_, M>) {
        self.keep(position, entries);
    }
}
