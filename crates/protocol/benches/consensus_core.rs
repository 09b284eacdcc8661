//! The core alone: three members in one thread, no store, no network, 64-byte commands in batches
//! of 64. Prints committed commands a second, as the leader's caller learns of them, and what a
//! member of a group that has fallen silent keeps in memory.

use {
    bytes::Bytes,
    mosaik_primitives::time::{Instant, UnixMillis},
    mosaik_protocol::consensus::{
        Config, Core, GroupKeyId, Input, Outcome, Output, Outputs, PeerKey, Proposal, Restored,
    },
    std::{
        collections::VecDeque,
        time::{Duration, Instant as Clock},
    },
};

const MEMBERS: usize = 3;
const COMMAND_BYTES: usize = 64;
const BATCH: usize = 64;
/// Batches on their way at one time.
const PIPELINE: u64 = 8;

struct World {
    now: Instant,
    cores: Vec<Core>,
    inbox: VecDeque<(usize, Input)>,
    committed: u64,
    out: Outputs,
}

impl World {
    fn new() -> Self {
        let mut out = Outputs::new();
        let now = Instant::from_millis(1);
        let cores = (0..MEMBERS).map(|id| {
            let peer = PeerKey([id as u8 + 1; 32]);
            let config = Config::new(GroupKeyId([7; 32]), peer, 1, id as u64);
            Core::new(config, Restored::default(), now, &mut out).expect("the defaults are valid")
        });
        let cores: Vec<_> = cores.collect();
        let mut world = Self {
            now,
            cores,
            inbox: VecDeque::new(),
            committed: 0,
            out,
        };
        // What each asked for first: its hard state, token 1.
        for id in 0..MEMBERS {
            let token = mosaik_protocol::consensus::Token(1);
            world.inbox.push_back((id, Input::Persisted(token)));
            world.inbox.push_back((id, Input::Clock(UnixMillis(1))));
            let others = (0..MEMBERS).filter(|other| *other != id);
            for other in others {
                let peer = PeerKey([other as u8 + 1; 32]);
                world.inbox.push_back((id, Input::LinkUp(peer)));
            }
        }
        world.out.clear();
        world
    }

    /// Works until nothing is left to do, or `enough`.
    fn work(&mut self, mut enough: impl FnMut(&Self) -> bool) {
        while let Some((id, input)) = self.inbox.pop_front() {
            self.cores[id].handle(self.now, input, &mut self.out);
            for output in self.out.drain(..) {
                match output {
                    Output::Send(message) => {
                        let to = usize::from(message.to.peer.0[0]) - 1;
                        self.inbox.push_back((to, Input::Receive(message)));
                    }
                    Output::Persist { token, .. } => {
                        self.inbox.push_back((id, Input::Persisted(token)));
                    }
                    Output::Apply(entries) => {
                        let last = entries.last().expect("never empty").entry.index;
                        self.inbox.push_back((id, Input::Applied(last)));
                    }
                    Output::Proposal(_, Outcome::Committed { .. }) => self.committed += 1,
                    Output::Proposal(_, Outcome::Accepted { .. }) | Output::Event(_) => {}
                    other => panic!("not expected here: {other:?}"),
                }
            }
            if enough(self) {
                return;
            }
        }
    }

    fn form(&mut self) -> usize {
        loop {
            self.work(|_| false);
            if let Some(leader) = self.cores.iter().position(Core::is_leader) {
                return leader;
            }
            let deadlines = self.cores.iter().filter_map(Core::next_deadline);
            self.now = deadlines
                .min()
                .expect("someone waits for something")
                .max(self.now);
            self.inbox.extend((0..MEMBERS).map(|id| (id, Input::Tick)));
        }
    }
}

impl World {
    /// Goes on until nobody waits for anything.
    fn fall_silent(&mut self) {
        loop {
            self.work(|_| false);
            let Some(at) = self.cores.iter().filter_map(Core::next_deadline).min() else {
                break;
            };
            self.now = at.max(self.now);
            self.inbox.extend((0..MEMBERS).map(|id| (id, Input::Tick)));
        }
        self.inbox = VecDeque::new();
        self.out = Outputs::new();
    }
}

/// Resident memory of this process, bytes; none where the system does not tell.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// What an idle member costs, when its group has done something before.
fn idle(commands: u64) {
    const GROUPS: usize = 400;
    let Some(before) = resident() else {
        println!("resident memory is not told here");
        return;
    };
    let groups: Vec<World> = (0..GROUPS)
        .map(|_| {
            let mut world = World::new();
            let leader = world.form();
            for id in 1..=commands {
                let proposal = Proposal {
                    id,
                    commands: vec![Bytes::from(vec![id as u8; 256])],
                };
                world
                    .inbox
                    .push_back((leader, Input::Propose(vec![proposal])));
                world.work(|_| false);
            }
            assert_eq!(world.committed, commands);
            world.fall_silent();
            world
        })
        .collect();
    let members = (groups.len() * MEMBERS) as u64;
    let each = resident().unwrap_or(before).saturating_sub(before) / members;
    println!(
        "an idle member, after {commands} commands of 256 B: {:.1} KiB",
        each as f64 / 1_024.0
    );
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    for commands in [1, 1_000] {
        idle(commands);
    }
    let mut world = World::new();
    let leader = world.form();
    world.work(|_| false);
    let payload = Bytes::from(vec![0xab; COMMAND_BYTES * BATCH]);
    let commands: Vec<Bytes> = (0..BATCH)
        .map(|at| payload.slice(at * COMMAND_BYTES..(at + 1) * COMMAND_BYTES))
        .collect();
    let (mut proposed, mut best) = (0u64, 0.0f64);
    // Rounds, so that a busy machine shows; the best is what the core can do.
    for round in 0..5 {
        let (start, before) = (Clock::now(), world.committed);
        while start.elapsed() < Duration::from_secs(1) {
            while proposed < world.committed + PIPELINE {
                proposed += 1;
                let proposal = Proposal {
                    id: proposed,
                    commands: commands.clone(),
                };
                world
                    .inbox
                    .push_back((leader, Input::Propose(vec![proposal])));
            }
            let target = world.committed + 1;
            world.work(|world| world.committed >= target);
        }
        let commands = (world.committed - before) as f64 * BATCH as f64;
        let rate = commands / start.elapsed().as_secs_f64();
        best = best.max(rate);
        println!("round {round}: {:.2} million commands/s", rate / 1e6);
    }
    println!(
        "consensus core, {MEMBERS} members, {COMMAND_BYTES} B, batches of {BATCH}: best {:.2} million committed commands/s",
        best / 1e6
    );
}
