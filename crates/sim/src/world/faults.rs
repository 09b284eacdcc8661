//! Starting, ending, hurting and mending nodes.

use {
    super::World,
    crate::{
        chronicle::memberships,
        disk::Image,
        failure::Failure,
        invariants::{Fact, node_name},
        machine::Machine,
        nemesis::{Fault, Unsynced, divide},
        node::{Node, Process},
        queue::{MILLI, Nanos},
        rng::splitmix64,
    },
    mosaik_primitives::time::UnixMillis,
    mosaik_protocol::consensus::{
        Core, HardState, Input, Lineage, LogIndex, Member, MergePolicy, Preference, Restored,
    },
};

impl World {
    /// Starts a node's process with what its disk holds.
    pub fn start(&mut self, node: usize) -> Result<(), Failure> {
        if self.nodes[node].is_up() {
            return Ok(());
        }
        self.starts += 1;
        // Far apart, like times: a member that leaves its lineage takes the next number itself.
        let starts = self.starts * 100;
        let now = self.queue.now();
        let state = &mut self.nodes[node];
        state.process = Process::Running;
        state.life += 1;
        state.config.incarnation = starts;
        state.config.seed = splitmix64(self.seed ^ splitmix64(starts));
        state.wake_at = None;
        state.led = None;
        state.leaving = false;
        state.disk_failed = false;
        state.snapshotting = false;
        state.sync_time.get_or_insert(MILLI);
        state.haste = (0, 0);
        state.sync_ends = (now, now);
        // What a process asked for with its last breath is not confirmed to the next one.
        state.syncing.clear();
        state.overdue = 0;
        let image = state.disk.durable();
        let hard = image
            .hard_state
            .clone()
            .map(|bytes| HardState::decode(bytes).expect("the core reads what it wrote"));
        let lineage = hard.as_ref().map_or(Lineage::NONE, |hard| hard.lineage);
        let snapshot = image
            .snapshot
            .clone()
            .filter(|snapshot| snapshot.lineage == lineage);
        state.lineage = lineage;
        state.machine = snapshot
            .as_ref()
            .map_or_else(Machine::default, |s| s.machine.clone());
        state.applied = snapshot
            .as_ref()
            .map_or(LogIndex::ZERO, |s| s.meta.last.index);
        let restored = Restored {
            hard_state: hard,
            snapshot: snapshot.map(|snapshot| snapshot.meta),
            entries: image.entries.iter().cloned().collect(),
        };
        state.member = restored
            .hard_state
            .as_ref()
            .map_or(Member::new(state.config.peer, starts), |hard| hard.member);
        self.tell(starts, || format!("{} STARTS", node_name(node)));
        self.nodes[node].look();
        self.fact(node, &Fact::Starts)?;
        let mut outputs = core::mem::take(&mut self.outputs);
        let state = &mut self.nodes[node];
        let shown = state.clock.shown(now);
        let core = Core::new(state.config.clone(), restored, shown, &mut outputs);
        let core = core.map_err(|error| self.failure("members start", error.to_string()))?;
        self.nodes[node].core = Some(core);
        self.nodes[node].look();
        self.carry_out(node, &mut outputs)?;
        self.outputs = outputs;
        self.after_step(node)?;
        let wall = UnixMillis(1_700_000_000_000 + now / MILLI + self.rng.below(5_000));
        self.input(node, Input::Clock(wall))?;
        self.reconnect(node)
    }

    /// Ends a process without asking it; clients that wait there learn nothing.
    pub(crate) fn end_process(&mut self, node: usize, process: Process) {
        let state = &mut self.nodes[node];
        state.process = process;
        state.core = None;
        state.look();
        state.wake_at = None;
        state.backlog.clear();
        state.syncing.clear();
        state.overdue = 0;
        self.links.forget(node);
        self.abandon_clients(node);
        self.refresh_links();
    }

    /// Ends a process at once. What its disk had not synced is treated as told.
    pub fn crash(&mut self, node: usize, unsynced: Unsynced) {
        if !self.nodes[node].is_up() {
            return;
        }
        self.tell(node as u64, || {
            format!("{} CRASHES ({unsynced:?})", node_name(node))
        });
        self.end_process(node, Process::Down);
        if self.nodes[node].durable {
            self.crash_disk(node, unsynced);
        } else {
            self.lose_disk(node);
        }
    }

    /// Leaves on a node's disk what a crash does, and keeps what the member stored that it held
    /// before, should it hold another one now.
    pub(crate) fn crash_disk(&mut self, node: usize, unsynced: Unsynced) {
        let disk = &mut self.nodes[node].disk;
        let (old, new) = (disk.durable().hard.member, disk.written().hard.member);
        let before = (old != new).then(|| disk.durable().clone());
        disk.crash(unsynced, &mut self.disk_rng);
        if let Some(before) = before {
            self.bury(before);
        }
        self.note_vote(node);
    }

    /// Keeps what a member had stored that is gone from its disk.
    pub(crate) fn bury(&mut self, image: Image) {
        let member = image.hard.member;
        if member != Member::default() {
            self.chronicle.graves.insert(member, image);
        }
    }

    /// Ends a process and loses what it had stored: it comes back as a new member.
    pub fn wipe(&mut self, node: usize) {
        self.crash(node, Unsynced::Kept);
        self.tell(node as u64, || {
            format!("{} LOSES ITS DISK", node_name(node))
        });
        self.lose_disk(node);
    }

    pub(crate) fn lose_disk(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let disk = core::mem::take(&mut state.disk);
        // The process may have become another member and not have stored that yet.
        let members = [state.member, disk.durable().hard.member];
        state.member = Member::default();
        self.wiped.extend(
            members
                .iter()
                .filter(|member| **member != Member::default()),
        );
        self.bury(disk.durable().clone());
    }

    /// Whether everything acknowledged survives the loss of this node's disk.
    pub fn may_lose(&self, node: usize) -> bool {
        let member = self.nodes[node].member;
        let alive = |voter: &Member| {
            let mut nodes = self.nodes.iter();
            *voter != member
                && nodes.any(|other| {
                    other.member == *voter && other.process != Process::Absent && !other.leaving
                })
        };
        // Two lineages may hold acknowledged commands that have not moved yet.
        let mut lineages = self
            .nodes
            .iter()
            .map(|node| node.disk.written().hard.lineage);
        let first = lineages.find(|lineage| !lineage.is_none());
        if lineages.any(|lineage| !lineage.is_none() && Some(lineage) != first)
            || self.chronicle.lineages.len() > 1
        {
            return false;
        }
        self.nodes.iter().all(|other| {
            let images = [other.disk.written(), other.disk.durable()];
            images.into_iter().all(|image| {
                memberships(image, LogIndex::ZERO)
                    .into_iter()
                    .all(|members| members.is_quorum(alive))
            })
        })
    }

    /// Whether some member's log asks for a majority that cannot be had any more: because disks
    /// were lost (a wiped voter was dispensable when it was wiped; a leader that did not know
    /// took another one out), or because others are not in the lineage while this member stays,
    /// since it has cut its log or was told to.
    pub fn lost_a_majority(&self) -> bool {
        self.nodes.iter().any(|node| {
            let written = node.disk.written();
            let members = memberships(written, LogIndex(u64::MAX));
            let lineage = written.hard.lineage;
            let stays = |voter: &Member| {
                let mut nodes = self.nodes.iter();
                nodes.any(|n| n.member == *voter && n.disk.written().hard.lineage == lineage)
            };
            let kept = |voter: &Member| !self.wiped.contains(voter);
            let insists = self.has_cut(node) || node.config.merge == MergePolicy::Refuse;
            members.first().is_some_and(|members| {
                !members.is_quorum(kept) || insists && !members.is_quorum(stays)
            })
        })
    }

    /// Whether enough nodes that may vote stay when this one leaves for a group to form at all.
    fn may_spare(&self, node: usize) -> bool {
        let stays = |other: &&Node| {
            other.id != node
                && other.process != Process::Absent
                && !other.leaving
                && other.config.preference != Preference::Observer
        };
        let needed = self.nodes[node].config.min_voters.max(2) as usize;
        self.nodes.iter().filter(stays).count() >= needed
    }

    /// Makes a node do nothing for a while.
    pub fn pause(&mut self, node: usize, until: Option<Nanos>) {
        if self.nodes[node].process != Process::Running {
            return;
        }
        self.nodes[node].process = Process::Paused;
        self.tell(node as u64, || format!("{} PAUSES", node_name(node)));
        if let Some(at) = until {
            let life = self.nodes[node].life;
            self.queue.schedule(at, super::Event::Resume { node, life });
        }
    }

    /// Sets the time that a disk's sync takes; `None` stalls it.
    pub fn set_sync_time(&mut self, node: usize, sync_time: Option<Nanos>) {
        let now = self.queue.now();
        let state = &mut self.nodes[node];
        state.sync_time = sync_time;
        if sync_time.is_some() {
            let life = state.life;
            for _ in 0..core::mem::take(&mut state.overdue) {
                self.queue
                    .schedule(now, super::Event::Synced { node, life });
            }
        }
    }

    /// Does what a fault says, unless that would destroy more than the group promises to
    /// survive. Says whether it was done.
    pub fn suffer(&mut self, fault: Fault) -> Result<bool, Failure> {
        let now = self.queue.now();
        let up = |world: &Self, node: usize| world.nodes[node].is_up();
        let text = format!("{fault:?}");
        match fault {
            Fault::Divide(division) => {
                let members: Vec<usize> = (0..self.nodes.len()).filter(|n| up(self, *n)).collect();
                divide(&mut self.network, division, &members, &mut self.rng);
                self.refresh_links();
            }
            Fault::Heal => {
                self.network.heal();
                self.refresh_links();
            }
            Fault::Weather(weather) => self.network.weather = weather,
            Fault::Crash(node, unsynced) => {
                if !up(self, node) || (!self.nodes[node].durable && !self.may_lose(node)) {
                    return Ok(false);
                }
                self.crash(node, unsynced);
            }
            Fault::Restart(node) | Fault::Join(node) => self.start(node)?,
            Fault::Pause(node, time) => self.pause(node, Some(now + time)),
            Fault::Wipe(node) => {
                if !up(self, node) || !self.may_lose(node) {
                    return Ok(false);
                }
                self.wipe(node);
            }
            Fault::Rate(node, per_mille) => {
                self.nodes[node].clock.set_rate(now, per_mille);
                self.schedule_wake(node)?;
            }
            Fault::Jump(node, by) => {
                self.nodes[node].clock.jump(by);
                self.schedule_wake(node)?;
            }
            Fault::Compact(node) => self.take_snapshot(node),
            Fault::Leave(node) => {
                if !up(self, node) || !self.may_lose(node) || !self.may_spare(node) {
                    return Ok(false);
                }
                self.nodes[node].leaving = true;
                self.input(node, Input::Leave)?;
            }
            Fault::Transfer(node) => self.input(node, Input::Transfer(None))?,
            Fault::SlowDisk(node, time) => self.set_sync_time(node, Some(time)),
            Fault::DiskError(node) => {
                if !up(self, node) || (!self.nodes[node].durable && !self.may_lose(node)) {
                    return Ok(false);
                }
                self.nodes[node].disk_failed = true;
                self.input(node, Input::StorageFailed)?;
                self.crash(node, Unsynced::Torn);
                // The driver ended the process when the core stopped; the disk is cut all the same.
                if self.nodes[node].durable {
                    self.crash_disk(node, Unsynced::Torn);
                }
            }
        }
        let key = text
            .bytes()
            .fold(0, |hash, byte| splitmix64(hash ^ u64::from(byte)));
        self.tell(key, || format!("FAULT {text}"));
        Ok(true)
    }

    /// Takes every fault back: nodes run, paths work, clocks and disks are normal.
    pub fn mend(&mut self) -> Result<(), Failure> {
        let now = self.queue.now();
        self.network.heal();
        self.network.weather = crate::network::Weather::CALM;
        self.filters.clear();
        self.habits.stalled_reads = 0;
        for node in 0..self.nodes.len() {
            self.nodes[node].clock.set_rate(now, 1_000);
            if self.nodes[node].durable {
                self.set_sync_time(node, Some(MILLI));
            }
            self.schedule_wake(node)?;
            self.resume(node)?;
            if self.nodes[node].process == Process::Down {
                self.start(node)?;
            }
        }
        self.refresh_links();
        self.tell(0, || "EVERYTHING WORKS AGAIN".to_owned());
        Ok(())
    }
}
