//! One seed: faults with safety checked at every step, then everything mended and progress
//! required, then every acknowledged command looked for.

use {
    crate::{
        failure::Failure,
        finale,
        history::Call,
        mutants,
        nemesis::{Division, Fault, Nemesis, View},
        node::{Node, Process},
        queue::{MILLI, Nanos, SECOND},
        rng::Rng,
        setup,
        trace::Trace,
        world::{Ended, Event, Halt, World},
    },
    core::fmt,
    mosaik_protocol::consensus::MergePolicy,
};

/// What a run is told besides its seed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Nodes that are there from the start.
    pub members: usize,
    /// Virtual seconds under faults.
    pub seconds: u64,
    /// The fault planted into the core, if any.
    pub mutant: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            members: 5,
            seconds: 20,
            mutant: None,
        }
    }
}

/// What a run that found nothing did.
#[derive(Debug)]
pub struct Report {
    /// The record of the run.
    pub trace: Trace,
    /// Whether the group came together at the end; it may stay apart where a majority is lost.
    pub together: bool,
    /// Commands acknowledged.
    pub acknowledged: usize,
    /// Operations asked for.
    pub operations: usize,
    /// Leaders elected.
    pub leaders: usize,
    /// Lineages that committed anything.
    pub lineages: usize,
    /// Faults that struck.
    pub faults: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no violation; {} events, {} faults, {} leaders, {} lineages, {} operations, \
             {} acknowledged; trace {:016x}",
            self.trace.events(),
            self.faults,
            self.leaders,
            self.lineages,
            self.operations,
            self.acknowledged,
            self.trace.hash()
        )
    }
}

/// Alarm of the nemesis; clients have the numbers from 1 on.
const NEMESIS: u64 = 0;
/// Clients of a run.
const CLIENTS: u64 = 4;
/// How long a client waits before it turns to something else.
const PATIENCE: Nanos = 2 * SECOND;

struct Client {
    home: usize,
    open: usize,
    since: Nanos,
}

struct Run {
    world: World,
    nemesis: Nemesis,
    rng: Rng,
    clients: Vec<Client>,
    faults: u64,
    values: u64,
    policy: MergePolicy,
}

/// Runs a seed.
pub fn run(seed: u64, options: &Options, trace: Trace) -> Result<Report, Failure> {
    mutants::with(options.mutant, || {
        let (mut world, policy) = setup::world(seed, options, trace);
        let nemesis = Nemesis::new(seed);
        world.tell(seed, || nemesis.temper());
        world.watch_leaders = nemesis.hunting;
        let rng = Rng::split(seed, "run");
        let clients = Vec::new();
        let mut run = Run {
            world,
            nemesis,
            rng,
            clients,
            faults: 0,
            values: 0,
            policy,
        };
        run.begin(options);
        run.under_faults(options.seconds * SECOND)?;
        let mut world = run.world;
        world.watch_leaders = false;
        let together = finale::play(&mut world, run.policy)?;
        Ok(Report {
            together,
            acknowledged: world.acknowledged.len(),
            operations: world.history.operations().len(),
            leaders: world.chronicle.leaders.len(),
            lineages: world.chronicle.lineages.len(),
            faults: run.faults,
            trace: world.trace,
        })
    })
}

impl Run {
    fn begin(&mut self, options: &Options) {
        // Some groups are born into a divided network: genesis races.
        if self.rng.chance(300) {
            let victim = self.rng.below(options.members as u64) as usize;
            let division = match self.rng.below(4) {
                0 => Division::One(victim),
                1 => Division::MajorityWith(victim),
                2 => Division::Bridge(victim),
                _ => Division::MinorityWith(victim),
            };
            let members: Vec<usize> = (0..options.members).collect();
            crate::nemesis::divide(&mut self.world.network, division, &members, &mut self.rng);
        }
        for node in 0..options.members {
            let at = self.rng.below(400 * MILLI);
            self.world.queue.schedule(at, Event::Start { node });
        }
        for client in 0..CLIENTS {
            let home = self.rng.below(options.members as u64) as usize;
            self.clients.push(Client {
                home,
                open: 0,
                since: 0,
            });
            self.world
                .queue
                .schedule(client * MILLI, Event::Alarm(1 + client));
        }
        let first = self.nemesis.gap();
        self.world.queue.schedule(first, Event::Alarm(NEMESIS));
    }

    fn under_faults(&mut self, until: Nanos) -> Result<(), Failure> {
        loop {
            match self.world.go_on(until)? {
                Halt::Time => return Ok(()),
                Halt::Acted(node) => {
                    let (now, view) = (self.world.now(), self.view());
                    if let Some(fault) = self.nemesis.provoked(now, node, &view) {
                        self.suffer(fault)?;
                    }
                }
                Halt::Alarm(NEMESIS) => {
                    let view = self.view();
                    if let Some(fault) = self.nemesis.strike(&view) {
                        self.suffer(fault)?;
                    }
                    let at = self.world.now() + self.nemesis.gap();
                    self.world.queue.schedule(at, Event::Alarm(NEMESIS));
                }
                Halt::Alarm(client) => {
                    self.client(client as usize - 1)?;
                    let at = self.world.now() + self.rng.between(MILLI, 120 * MILLI);
                    self.world.queue.schedule(at, Event::Alarm(client));
                }
            }
        }
    }

    fn suffer(&mut self, fault: Fault) -> Result<(), Failure> {
        if self.world.suffer(fault)? {
            self.faults += 1;
        }
        Ok(())
    }

    fn view(&self) -> View {
        let of = |wanted: fn(&Node) -> bool| -> Vec<usize> {
            self.world
                .nodes
                .iter()
                .filter(|node| wanted(node))
                .map(|node| node.id)
                .collect()
        };
        View {
            running: of(Node::is_up),
            down: of(|node| node.process == Process::Down),
            absent: of(|node| node.process == Process::Absent),
            leader: self
                .world
                .nodes
                .iter()
                .find(|node| node.leads())
                .map(|node| node.id),
        }
    }

    /// Lets a client ask for something, unless it still waits.
    fn client(&mut self, client: usize) -> Result<(), Failure> {
        for (_, told, ended) in core::mem::take(&mut self.world.ended) {
            if let Some(told) = told {
                let state = &mut self.clients[told];
                state.open = state.open.saturating_sub(1);
                if ended != Ended::Refused && self.rng.chance(900) {
                    continue;
                }
                state.home = self.rng.below(self.world.nodes.len() as u64) as usize;
            }
        }
        let now = self.world.now();
        let state = &mut self.clients[client];
        if state.open > 0 && now < state.since + PATIENCE {
            return Ok(());
        }
        if state.open > 0 {
            state.open = 0;
            state.home = self.rng.below(self.world.nodes.len() as u64) as usize;
        }
        state.since = now;
        let home = state.home;
        if !self.world.nodes[home].is_up() {
            state.home = self.rng.below(self.world.nodes.len() as u64) as usize;
            return Ok(());
        }
        let key = self.rng.below(3) as u8;
        if self.rng.chance(350) {
            self.clients[client].open = 1;
            self.world.read(home, key, Some(client))?;
            return Ok(());
        }
        let count = if self.rng.chance(150) {
            self.rng.between(2, 4)
        } else {
            1
        };
        let calls: Vec<(u8, Call)> = (0..count)
            .map(|_| {
                self.values += 1;
                let new = self.values;
                let expected = self.values.saturating_sub(self.rng.between(1, 5));
                let call = match self.rng.below(4) {
                    0 => Call::CompareAndSet { expected, new },
                    _ => Call::Swap(new),
                };
                (key, call)
            })
            .collect();
        self.clients[client].open = calls.len();
        self.world.propose(home, &calls, Some(client))?;
        Ok(())
    }
}
