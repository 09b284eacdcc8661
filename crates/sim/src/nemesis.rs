//! What goes wrong, and when.
//!
//! Each seed draws a temper: which kinds of faults it uses and how often. A run with few kinds
//! reaches states that a run with all kinds drowns. A hunting temper aims at whoever just acted
//! as a leader, which is where the deep faults of consensus protocols are.
//!
//! The nemesis only proposes. The world refuses what would destroy more than the group promises
//! to survive (such as wiping a majority of voters).

use crate::{
    network::Weather,
    queue::{MILLI, Nanos},
    rng::Rng,
};

/// Which unsynced writes a crash leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// None of them.
    Lost,
    /// Some first few of them, in order.
    Torn,
    /// All of them.
    Kept,
}

/// Ways to divide a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// One node on its own.
    One(usize),
    /// A minority with the given node, which is the leader when there is one.
    MinorityWith(usize),
    /// A majority with the given node.
    MajorityWith(usize),
    /// Each node sees two neighbours only.
    Ring,
    /// Nothing leaves the node, all reaches it.
    Mute(usize),
    /// Nothing reaches the node, all leaves it.
    Deaf(usize),
    /// One path between two nodes, one way.
    OneWay(usize, usize),
    /// Both halves see the given node and not each other.
    Bridge(usize),
}

/// One thing that goes wrong (or right again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The network divides.
    Divide(Division),
    /// All paths work again.
    Heal,
    /// The network behaves otherwise.
    Weather(Weather),
    /// A node's process ends at once.
    Crash(usize, Unsynced),
    /// A crashed node starts again with what its disk holds.
    Restart(usize),
    /// A node does nothing for a while and then goes on.
    Pause(usize, Nanos),
    /// A node loses its disk and starts over as a new member.
    Wipe(usize),
    /// A node's clock runs at so many thousandths of the true rate.
    Rate(usize, u32),
    /// A node's clock jumps forward.
    Jump(usize, Nanos),
    /// A node drops the log that it has applied, after taking a snapshot.
    Compact(usize),
    /// A node leaves for good, in good order.
    Leave(usize),
    /// A node that is not there yet comes.
    Join(usize),
    /// A node is asked to hand leadership over.
    Transfer(usize),
    /// A node's disk takes this long to sync.
    SlowDisk(usize, Nanos),
    /// A node's disk fails: its group stops, and the process ends.
    DiskError(usize),
}

/// What the nemesis may look at.
#[derive(Clone, Debug)]
pub struct View {
    /// Nodes whose process runs.
    pub running: Vec<usize>,
    /// Nodes whose process ended and may start again.
    pub down: Vec<usize>,
    /// Nodes that never were there, or left.
    pub absent: Vec<usize>,
    /// Whoever last acted as a leader.
    pub leader: Option<usize>,
}

/// Kinds of faults that a temper switches on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Divide,
    Weather,
    Crash,
    Pause,
    Wipe,
    Clock,
    Compact,
    Churn,
    Transfer,
    Disk,
}

const KINDS: [Kind; 10] = [
    Kind::Divide,
    Kind::Weather,
    Kind::Crash,
    Kind::Pause,
    Kind::Wipe,
    Kind::Clock,
    Kind::Compact,
    Kind::Churn,
    Kind::Transfer,
    Kind::Disk,
];

/// The faults of one run.
#[derive(Clone, Debug)]
pub struct Nemesis {
    rng: Rng,
    kinds: Vec<Kind>,
    /// Whether faults aim at the leader just after it acts.
    pub hunting: bool,
    mean_gap: Nanos,
    hunt_chance: u32,
    quiet_until: Nanos,
    flapping: Option<(Division, u32)>,
}

impl Nemesis {
    /// Draws the temper of a seed. Odd seeds hunt.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::split(seed, "nemesis");
        let share = rng.between(300, 1000) as u32;
        let mut kinds: Vec<Kind> = KINDS.into_iter().filter(|_| rng.chance(share)).collect();
        if kinds.is_empty() {
            kinds.push(Kind::Crash);
        }
        Self {
            kinds,
            hunting: seed % 2 == 1,
            mean_gap: rng.between(80 * MILLI, 1_500 * MILLI),
            hunt_chance: rng.between(5, 60) as u32,
            quiet_until: 0,
            flapping: None,
            rng,
        }
    }

    /// A one-line description of the temper.
    pub fn temper(&self) -> String {
        format!(
            "{} every {:.0} ms on average with {:?}",
            if self.hunting {
                "hunting the leader"
            } else {
                "faults"
            },
            self.mean_gap as f64 / MILLI as f64,
            self.kinds,
        )
    }

    /// How long until the next fault that nobody's action causes.
    pub fn gap(&mut self) -> Nanos {
        if self.flapping.is_some() {
            return self.rng.between(20 * MILLI, 400 * MILLI);
        }
        self.rng.between(self.mean_gap / 4, self.mean_gap * 2)
    }

    /// The next fault that nobody's action causes.
    pub fn strike(&mut self, view: &View) -> Option<Fault> {
        if let Some((division, rounds)) = self.flapping.take() {
            if rounds > 0 {
                self.flapping = Some((division, rounds - 1));
            }
            return Some(if rounds % 2 == 0 {
                Fault::Heal
            } else {
                Fault::Divide(division)
            });
        }
        let kind = *self.rng.pick(&self.kinds)?;
        let victim = match view.leader.filter(|leader| view.running.contains(leader)) {
            Some(leader) if self.hunting && self.rng.chance(600) => leader,
            _ => *self.rng.pick(&view.running).or(view.down.first())?,
        };
        self.fault(kind, victim, view)
    }

    /// The fault, if any, that answers to `node` having just acted as a leader.
    pub fn provoked(&mut self, now: Nanos, node: usize, view: &View) -> Option<Fault> {
        if !self.hunting || now < self.quiet_until || !self.rng.chance(self.hunt_chance) {
            return None;
        }
        self.quiet_until = now + self.rng.between(self.mean_gap / 4, self.mean_gap * 2);
        let aimed: Vec<Kind> = self
            .kinds
            .iter()
            .copied()
            .filter(|kind| !matches!(kind, Kind::Weather | Kind::Churn))
            .collect();
        let kind = *self.rng.pick(&aimed)?;
        self.fault(kind, node, view)
    }

    fn fault(&mut self, kind: Kind, victim: usize, view: &View) -> Option<Fault> {
        let rng = &mut self.rng;
        // A node that is down comes back sooner or later, whatever the temper.
        if !view.down.is_empty() && rng.chance(400) {
            return rng.pick(&view.down).map(|node| Fault::Restart(*node));
        }
        let fault = match kind {
            Kind::Divide if rng.chance(350) => Fault::Heal,
            Kind::Divide => {
                let division = Self::division(rng, victim, view);
                if rng.chance(150) {
                    self.flapping = Some((division, rng.between(2, 8) as u32));
                }
                Fault::Divide(division)
            }
            Kind::Weather if rng.chance(400) => Fault::Weather(Weather::CALM),
            Kind::Weather => Fault::Weather(Weather::bad(rng)),
            Kind::Crash => Fault::Crash(victim, Self::unsynced(rng)),
            Kind::Pause => Fault::Pause(victim, rng.between(50 * MILLI, 4_000 * MILLI)),
            Kind::Wipe => Fault::Wipe(victim),
            Kind::Clock if rng.chance(500) => {
                Fault::Jump(victim, rng.between(10 * MILLI, 10_000 * MILLI))
            }
            Kind::Clock => Fault::Rate(victim, rng.between(300, 3_000) as u32),
            Kind::Compact => Fault::Compact(victim),
            Kind::Churn => match rng.pick(&view.absent) {
                Some(node) if rng.chance(650) => Fault::Join(*node),
                _ => Fault::Leave(victim),
            },
            Kind::Transfer => Fault::Transfer(victim),
            Kind::Disk if rng.chance(300) => Fault::DiskError(victim),
            Kind::Disk => Fault::SlowDisk(victim, rng.between(MILLI / 10, 300 * MILLI)),
        };
        Some(fault)
    }

    fn unsynced(rng: &mut Rng) -> Unsynced {
        match rng.below(3) {
            0 => Unsynced::Lost,
            1 => Unsynced::Torn,
            _ => Unsynced::Kept,
        }
    }

    fn division(rng: &mut Rng, victim: usize, view: &View) -> Division {
        let other = rng.pick(&view.running).copied().unwrap_or(victim);
        match rng.below(8) {
            0 => Division::One(victim),
            1 => Division::MinorityWith(victim),
            2 => Division::MajorityWith(victim),
            3 => Division::Ring,
            4 => Division::Mute(victim),
            5 => Division::Deaf(victim),
            6 => Division::OneWay(victim, other),
            _ => Division::Bridge(victim),
        }
    }
}

/// Divides `network` as told; `members` are the nodes that count for majorities.
pub fn divide(
    network: &mut crate::network::Network,
    division: Division,
    members: &[usize],
    rng: &mut Rng,
) {
    let len = network.len();
    let others = |node: usize| {
        let mut others: Vec<usize> = (0..len).filter(|other| *other != node).collect();
        // Members first, so that "minority" and "majority" mean what they say.
        others.sort_by_key(|other| !members.contains(other));
        others
    };
    network.heal();
    match division {
        Division::One(node) => {
            network.divide(
                &(0..len)
                    .map(|other| usize::from(other == node))
                    .collect::<Vec<_>>(),
            );
        }
        Division::MinorityWith(node) | Division::MajorityWith(node) => {
            let majority = members.len() / 2 + 1;
            let minority = members.len().saturating_sub(majority);
            let side_len = match division {
                Division::MinorityWith(_) => minority.max(1),
                _ => majority,
            };
            let mut company: Vec<usize> = others(node)
                .into_iter()
                .filter(|other| members.contains(other))
                .collect();
            rng.shuffle(&mut company);
            company.truncate(side_len - 1);
            let sides: Vec<usize> = (0..len)
                .map(|other| usize::from(other == node || company.contains(&other)))
                .collect();
            network.divide(&sides);
        }
        Division::Ring => {
            let mut order: Vec<usize> = (0..len).collect();
            rng.shuffle(&mut order);
            network.ring(&order);
        }
        Division::Mute(node) => others(node)
            .iter()
            .for_each(|o| network.set_cut(node, *o, true)),
        Division::Deaf(node) => others(node)
            .iter()
            .for_each(|o| network.set_cut(*o, node, true)),
        Division::OneWay(from, to) => network.set_cut(from, to, from != to),
        Division::Bridge(node) => {
            let mut halves = others(node);
            rng.shuffle(&mut halves);
            let (left, right) = halves.split_at(halves.len() / 2);
            for one in left {
                for other in right {
                    network.set_cut(*one, *other, true);
                    network.set_cut(*other, *one, true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use {super::*, crate::network::Network};

    #[test]
    fn divisions_cut_what_they_say() {
        let members = [0, 1, 2, 3, 4];
        let reach = |network: &Network, node| {
            (0..5)
                .filter(|other| network.connected(node, *other))
                .count()
        };
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut network = Network::new(5);
            divide(&mut network, Division::MinorityWith(3), &members, &mut rng);
            assert_eq!(reach(&network, 3), 2);
            divide(&mut network, Division::MajorityWith(3), &members, &mut rng);
            assert_eq!(reach(&network, 3), 3);
            divide(&mut network, Division::Bridge(2), &members, &mut rng);
            assert_eq!((reach(&network, 2), reach(&network, 0)), (5, 3));
            divide(&mut network, Division::Deaf(1), &members, &mut rng);
            assert!(network.passes(1, 0) && !network.passes(0, 1));
        }
    }

    #[test]
    fn every_kind_of_fault_is_drawn_by_some_seed() {
        let view = View {
            running: vec![0, 1, 2],
            down: vec![3],
            absent: vec![4],
            leader: Some(0),
        };
        let mut names = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut nemesis = Nemesis::new(seed);
            for _ in 0..50 {
                if let Some(fault) = nemesis.strike(&view) {
                    let text = format!("{fault:?}");
                    names.insert(text.split('(').next().unwrap_or_default().to_owned());
                }
            }
        }
        assert_eq!(names.len(), 15, "{names:?}");
    }
}
