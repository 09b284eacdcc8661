//! Handing a lineage's commands over to the one it gives way to.
//!
//! Batch by batch, each after the one before is committed over there, every command under the
//! operation id it has had from the start. Whoever of the old lineage comes first does the work;
//! the others only ask. The old log is kept until the end, so a crash in between costs nothing.

use {
    super::{
        config::limits,
        core::{Core, Role},
        entry::{Commands, Entry, EntryBody},
        fetches::Purpose,
        ids::{Index, Lineage, LogIndex, Member, OpRun, Origin},
        input::Outputs,
        log::Mark,
        message::{Body, Resubmit},
        mutants::mutant,
        proposals::command_bytes,
    },
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::time::Instant,
};

/// Whom a member hands its lineage's commands to, and how far it has come.
#[derive(Debug)]
pub(super) struct Retired {
    pub(super) winner: Lineage,
    pub(super) contact: Option<Member>,
    /// When the winner was last heard.
    pub(super) heard: Instant,
    /// How long a sealed lineage waits for a winner before it goes on by itself.
    pub(super) grace: Duration,
    /// The last entry to hand over from.
    pub(super) upto: LogIndex,
    /// The last command to hand over.
    pub(super) limit: Index,
    /// Commands known committed in the own lineage.
    pub(super) commands: Index,
    /// What is being handed over; the next is read when it is committed over there.
    pub(super) batch: Option<Resubmit>,
    /// Where the next command is looked for.
    pub(super) next: LogIndex,
    /// Its number.
    pub(super) next_command: Index,
    pub(super) resubmitted: u64,
    /// The last command that is counted there.
    pub(super) counted: Index,
    pub(super) dropped: u64,
    pub(super) retry_at: Instant,
}

impl Retired {
    pub(super) fn deadline(&self) -> Instant {
        self.retry_at
    }

    /// Nothing is known to be handed over.
    pub(super) fn start_over(&mut self, base: Mark, lacking: Option<Resubmit>) {
        self.next = base.at.index.next();
        self.next_command = base.commands.next();
        self.batch = lacking;
    }

    /// Whether it waits for others to hand over commands whose effect is all that it has.
    pub(super) fn lacks_commands(&self) -> bool {
        self.batch
            .as_ref()
            .is_some_and(|batch| batch.commands.is_empty())
    }
}

/// Bytes of commands in one batch, about.
const BATCH_BYTES: usize = 1 << 20;
/// Runs of operation ids in one batch, about; one entry may add more.
const BATCH_RUNS: usize = 256;

impl Resubmit {
    /// Whether a batch of `bytes` takes an entry's commands too, and can be sent then. The
    /// commands of one entry always fit.
    fn takes(&self, commands: &Commands, bytes: usize) -> bool {
        let fits = bytes <= BATCH_BYTES
            && self.runs.len() <= BATCH_RUNS
            && self.runs.len() + commands.runs.len() <= limits::ENTRY_RUNS
            && self.commands.len() + commands.count as usize <= limits::ENTRY_COMMANDS;
        self.commands.is_empty() || fits
    }
}

fn add_to_runs(runs: &mut Vec<OpRun>, origin: Origin, seq: u64) {
    match runs.last_mut() {
        Some(run) if run.origin == origin && run.first + u64::from(run.count) == seq => {
            run.count += 1;
        }
        _ => runs.push(OpRun {
            origin,
            first: seq,
            count: 1,
        }),
    }
}

impl Core {
    pub(super) fn retired_tick(&mut self, out: &mut Outputs) {
        let (now, retry) = (self.now, self.config.heartbeat_interval);
        let Role::Retired(retired) = &mut self.role else {
            return;
        };
        if now < retired.retry_at {
            return;
        }
        retired.retry_at = now + retry;
        if self.give_up_waiting(out) {
            return;
        }
        let Role::Retired(retired) = &self.role else {
            return;
        };
        if retired.batch.is_none() {
            self.read_to_resubmit(out);
        } else {
            self.ask_about_batch(out);
        }
        self.seek(out);
    }

    /// Looks up the commands that come next.
    fn read_to_resubmit(&mut self, out: &mut Outputs) {
        loop {
            let Role::Retired(retired) = &self.role else {
                return;
            };
            let (from, upto) = (retired.next, retired.upto);
            if from > upto {
                self.rejoin(out);
                return;
            }
            let cached = self
                .log
                .slice(from, self.config.append_bytes, limits::APPEND_ENTRIES);
            if cached.first().is_none_or(|first| first.index != from) {
                let (log, config) = (&self.log, &self.config);
                let purpose = Purpose::Resubmit;
                // Where too much is being read already, the next tick tries again.
                self.fetches.ask(from, purpose, log, config, out);
                return;
            }
            self.make_batch(&cached);
            if self.ask_about_batch(out) {
                return;
            }
        }
    }

    pub(super) fn on_fetched_to_resubmit(&mut self, entries: &[Entry], out: &mut Outputs) {
        if matches!(&self.role, Role::Retired(retired) if retired.batch.is_some()) {
            return;
        }
        self.make_batch(entries);
        if !self.ask_about_batch(out) && !entries.is_empty() {
            self.read_to_resubmit(out);
        }
    }

    /// Makes the next batch of these entries' commands, if they have any.
    fn make_batch(&mut self, entries: &[Entry]) {
        let Role::Retired(retired) = &mut self.role else {
            return;
        };
        let mut batch = Resubmit {
            upto: Index::ZERO,
            runs: Vec::new(),
            commands: Vec::new(),
        };
        let mut bytes = 0;
        for entry in entries {
            if entry.index != retired.next || entry.index > retired.upto {
                break;
            }
            let Ok(EntryBody::Commands(commands)) = entry.decode() else {
                retired.next = entry.index.next();
                continue;
            };
            if !batch.takes(&commands, bytes) {
                break;
            }
            retired.next = entry.index.next();
            for ((origin, seq), command) in commands.ops().zip(commands.iter()) {
                let index = retired.next_command;
                if index > retired.limit {
                    break;
                }
                retired.next_command = index.next();
                bytes += command.len() + 8;
                batch.upto = index;
                add_to_runs(&mut batch.runs, origin, seq);
                batch.commands.push(command);
            }
        }
        if !batch.commands.is_empty() {
            retired.batch = Some(batch);
        }
    }

    /// Asks the winner about the batch. Says whether there is one.
    fn ask_about_batch(&mut self, out: &mut Outputs) -> bool {
        let Role::Retired(retired) = &self.role else {
            return false;
        };
        let Some(batch) = &retired.batch else {
            return false;
        };
        let (upto, runs) = (batch.upto, batch.runs.clone());
        if let Some(contact) = retired.contact {
            self.send(
                contact,
                Body::Resubmit(Resubmit {
                    upto,
                    runs,
                    commands: vec![],
                }),
                out,
            );
        }
        true
    }

    /// As leader of the winning side: takes another lineage's commands, in their order, once.
    pub(super) fn on_resubmit(
        &mut self,
        from: Member,
        lineage: Lineage,
        resubmit: &Resubmit,
        out: &mut Outputs,
    ) {
        if lineage.is_none() || lineage == self.lineage() || self.lineage().is_none() {
            return;
        }
        self.wake();
        let open = match &self.role {
            Role::Leader(leader) => leader.is_ready(self.commit) && leader.transfer.is_none(),
            _ => false,
        };
        let leading = open && self.seal_in_log().is_none();
        let counted: u64 = resubmit.runs.iter().map(|run| u64::from(run.count)).sum();
        let fits = counted == resubmit.commands.len() as u64
            && counted <= limits::ENTRY_COMMANDS as u64
            && command_bytes(&resubmit.commands) <= limits::ENTRY_BYTES / 2;
        if leading && fits && !resubmit.commands.is_empty() {
            if !self.has_room(self.backlog_entries()) {
                // Whoever hands them over asks again how far they are, and brings them again.
                return;
            }
            self.append_resubmitted(resubmit);
        }
        let committed_commands = self.committed_commands();
        let window = self.log.window();
        let in_log = |run: &OpRun| window.last(&run.origin) >= run.last();
        let in_commit =
            |run: &OpRun| window.last_committed(&run.origin, committed_commands) >= run.last();
        let body = Body::ResubmitAnswer {
            lineage,
            leading,
            leader: self.following.leader,
            upto: resubmit.upto,
            taken: resubmit.runs.iter().all(in_log),
            committed: resubmit.runs.iter().all(in_commit),
        };
        self.send(from, body, out);
    }

    /// Appends what is not in the log yet.
    fn append_resubmitted(&mut self, resubmit: &Resubmit) {
        let mut runs: Vec<OpRun> = Vec::new();
        let mut commands: Vec<Bytes> = Vec::new();
        let mut at = 0;
        for run in &resubmit.runs {
            let count = run.count as usize;
            let known = self
                .log
                .window()
                .last(&run.origin)
                .saturating_sub(run.first - 1);
            let skip = known.min(u64::from(run.count)) as usize;
            let skip = if mutant!("merge-applied-twice") {
                0
            } else {
                skip
            };
            if skip < count {
                let first = run.first + skip as u64;
                runs.push(OpRun {
                    origin: run.origin,
                    first,
                    count: (count - skip) as u32,
                });
                commands.extend(resubmit.commands[at + skip..at + count].iter().cloned());
            }
            at += count;
        }
        if !commands.is_empty() {
            self.append_commands(&runs, &commands);
        }
    }

    pub(super) fn on_resubmit_answer(
        &mut self,
        from: Member,
        winner: Lineage,
        answer: &Body,
        out: &mut Outputs,
    ) {
        let &Body::ResubmitAnswer {
            leading,
            leader,
            upto,
            taken,
            committed,
            ..
        } = answer
        else {
            return;
        };
        let (now, poll) = (self.now, self.config.heartbeat_interval / 8);
        let me = self.config.peer;
        let Role::Retired(retired) = &mut self.role else {
            return;
        };
        if winner != retired.winner {
            return;
        }
        if !leading {
            // Who followed an earlier life of this member may not know yet that it is over.
            let leader = leader.filter(|leader| leader.peer != me);
            retired.contact = leader.or(retired.contact);
            return;
        }
        retired.contact = Some(from);
        if committed || !retired.lacks_commands() {
            retired.heard = now;
        }
        let Some(batch) = retired.batch.as_ref().filter(|batch| batch.upto == upto) else {
            return;
        };
        retired.retry_at = now + poll;
        if committed {
            retired.batch = None;
            self.read_to_resubmit(out);
        } else if !taken && !batch.commands.is_empty() {
            if retired.counted < batch.upto {
                // What is lost on the way is sent again, and counted once.
                retired.counted = batch.upto;
                retired.resubmitted += batch.commands.len() as u64;
            }
            let batch = batch.clone();
            self.send(from, Body::Resubmit(batch), out);
        }
    }
}
