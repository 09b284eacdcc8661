//! Whatever comes: faults of every kind at random, one upon the other.
//!
//! As a part of the suite it is short. `cargo xtask faults` lets it go on for as long as it is told
//! to, in rounds, each with a group of its own, so that what is remembered stays of a size that
//! can be checked. The seed decides what is done and when; what the processes make of it is theirs.

use {
    super::{
        member::draw,
        process::{Cluster, SOME},
        shapes::Shape,
    },
    core::time::Duration,
    std::{
        collections::{BTreeMap, BTreeSet},
        time::{Instant, SystemTime, UNIX_EPOCH},
    },
};

/// For how many minutes to go on.
const MINUTES: &str = "MOSAIK_FAULTS_MINUTES";
/// What to begin with, where something is repeated.
const SEED: &str = "MOSAIK_FAULTS_SEED";

const MEMBERS: usize = 5;
/// How long a round goes on, in which histories are kept.
const ROUND: Duration = Duration::from_mins(2);
/// How long it goes on as a part of the suite.
const SHORT: Duration = Duration::from_secs(15);
/// Longer than a connection lives that hears nothing.
const FORGOTTEN: Duration = Duration::from_secs(35);
/// Faults between two times at which everything has to work again.
const BETWEEN_CALMS: u32 = 12;
/// Faults at a time.
const AT_ONCE: usize = 3;

#[test]
fn whatever_comes_nothing_acknowledged_is_lost_and_everything_works_again() {
    let setting = |name| std::env::var(name).ok();
    let minutes = setting(MINUTES).map(|text| text.parse::<f64>().expect("a number of minutes"));
    let seed = setting(SEED).map_or_else(
        || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.expect("after 1970").as_nanos() as u64
        },
        |text| text.parse().expect("a seed"),
    );
    println!("faults from seed {seed} ({SEED}={seed} repeats them)");
    let whole = minutes.map_or(SHORT, |minutes| Duration::from_secs_f64(minutes * 60.0));
    let deadline = Instant::now() + whole;
    let mut counts = BTreeMap::new();
    let mut totals = [0; 3];
    for round in seed.. {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let mut random = round;
        // Every other round with a log that is cut.
        let cuts = round % 2 == 0;
        println!("round {}, logs are cut: {cuts}", round - seed);
        let results = Storm::rage(draw(&mut random), cuts, left.min(ROUND), &mut counts);
        for (total, result) in totals.iter_mut().zip(results) {
            *total += result;
        }
    }
    let faults: Vec<_> = counts
        .iter()
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    let [asked, told, held] = totals;
    println!("faults: {}", faults.join(", "));
    println!("{asked} operations asked, {told} answered, {held} commands held; seed {seed}");
}

/// What ends a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Spawn(usize),
    GoOn(usize),
    Mend,
    Plug(usize),
}

impl End {
    /// The member that it is about.
    const fn member(self) -> Option<usize> {
        match self {
            Self::Spawn(member) | Self::GoOn(member) | Self::Plug(member) => Some(member),
            Self::Mend => None,
        }
    }
}

/// What strikes a group, and what is still to be ended of it.
struct Storm<'a> {
    cluster: Cluster,
    random: u64,
    ends: Vec<(Instant, End)>,
    counts: &'a mut BTreeMap<&'static str, u32>,
}

impl<'a> Storm<'a> {
    /// A group and what strikes it, for so long, and what came of it.
    fn rage(
        random: u64,
        cuts: bool,
        long: Duration,
        counts: &'a mut BTreeMap<&'static str, u32>,
    ) -> [usize; 3] {
        let kept = || Cluster::routed(MEMBERS, true);
        let cluster = if cuts {
            Cluster::cutting(MEMBERS)
        } else {
            kept().unwrap_or_else(|| Cluster::start(MEMBERS, true))
        };
        let mut storm = Self {
            cluster,
            random,
            ends: Vec::new(),
            counts,
        };
        let deadline = Instant::now() + long;
        let mut faults = 0;
        while Instant::now() < deadline {
            storm.pass(50, 1_500);
            if storm.ends.len() < AT_ONCE {
                storm.strike();
                faults += 1;
            }
            if faults % BETWEEN_CALMS == 0 {
                storm.calm();
            }
        }
        storm.calm();
        *storm.counts.entry("of those set aside").or_default() += storm.cluster.set_aside();
        storm.cluster.conclude()
    }

    fn draw(&mut self, below: u64) -> u64 {
        draw(&mut self.random) % below
    }

    fn draw_time(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(least_ms + self.draw(most_ms - least_ms))
    }

    /// Lets some time pass, and ends what has to end meanwhile.
    fn pass(&mut self, least_ms: u64, most_ms: u64) {
        let until = Instant::now() + self.draw_time(least_ms, most_ms);
        loop {
            let due = self.ends.iter().map(|(at, _)| *at).min();
            let next = due.map_or(until, |due| due.min(until));
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            if next == until {
                return;
            }
            let over = |(at, _): &mut (Instant, End)| *at <= next;
            for (_, end) in self.ends.extract_if(.., over).collect::<Vec<_>>() {
                self.end(end);
            }
        }
    }

    fn end(&mut self, end: End) {
        match end {
            End::Spawn(member) => self.cluster.spawn(member),
            End::GoOn(member) => self.cluster.pause(member, false),
            End::Mend => self.cluster.cut(&BTreeSet::new()),
            End::Plug(member) => self.cluster.plug(member, true),
        }
    }

    fn ends_in(&mut self, end: End, least_ms: u64, most_ms: u64) {
        let at = Instant::now() + self.draw_time(least_ms, most_ms);
        self.ends.push((at, end));
    }

    /// Ends every fault, and waits until all is well.
    fn calm(&mut self) {
        for (_, end) in std::mem::take(&mut self.ends) {
            self.end(end);
        }
        let begun = Instant::now();
        for member in 0..MEMBERS {
            self.cluster.wait_voter(member);
        }
        for member in 0..MEMBERS {
            self.cluster.wait_progress_of(&[member], SOME / 10);
        }
        println!("  all is well after {:.1?}", begun.elapsed());
    }

    fn count(&mut self, what: &'static str) {
        println!("  {what}");
        *self.counts.entry(what).or_default() += 1;
    }

    /// One more fault, if the one that was drawn can be.
    fn strike(&mut self) {
        let member = self.draw(MEMBERS as u64) as usize;
        let struck = |(_, end): &(Instant, End)| end.member() == Some(member);
        let free = !self.ends.iter().any(struck);
        let still = self.ends.is_empty();
        match self.draw(17) {
            0..=3 if free => {
                self.count("killed");
                self.cluster.kill(member);
                self.ends_in(End::Spawn(member), 0, 4_000);
            }
            4..=5 if free => {
                self.count("paused");
                self.cluster.pause(member, true);
                self.ends_in(End::GoOn(member), 50, 5_000);
            }
            6..=10 if self.cluster.is_routed() => self.divide(),
            11 if free && self.cluster.is_routed() => {
                self.count("unplugged");
                self.cluster.plug(member, false);
                self.ends_in(End::Plug(member), 50, 5_000);
            }
            12 if free => {
                self.count("left");
                self.cluster.quit(member);
                self.ends_in(End::Spawn(member), 0, 3_000);
            }
            13 if still => self.rob(member, false),
            16 if still => self.rob(member, true),
            14 if still => {
                self.count("killed all");
                for member in 0..MEMBERS {
                    self.cluster.kill(member);
                    self.ends_in(End::Spawn(member), 0, 1_500);
                }
            }
            15 if still => {
                self.count("restarted one by one");
                for member in 0..MEMBERS {
                    self.cluster.quit(member);
                    self.cluster.spawn(member);
                    self.cluster.wait_voter(member);
                }
            }
            _ => {}
        }
    }

    fn divide(&mut self) {
        let one = self.draw(MEMBERS as u64) as usize;
        let step = 1 + self.draw(MEMBERS as u64 - 1) as usize;
        let other = (one + step) % MEMBERS;
        let (what, shape) = match self.draw(7) {
            0 => ("one alone", Shape::Alone(one)),
            1 => ("one mute", Shape::Mute(one)),
            2 => ("one deaf", Shape::Deaf(one)),
            3 => ("two apart", Shape::Minority(one, other)),
            4 => ("one way cut", Shape::OneWay(one, other)),
            5 => ("ring", Shape::Ring),
            _ => ("bridge", Shape::Bridge(one)),
        };
        self.count(what);
        self.cluster.cut(&shape.cut(MEMBERS));
        self.ends.retain(|(_, end)| *end != End::Mend);
        self.ends_in(End::Mend, 50, 6_000);
        if self.draw(20) == 0 {
            self.count("for long");
            let at = Instant::now() + FORGOTTEN;
            self.ends.retain(|(_, end)| *end != End::Mend);
            self.ends.push((at, End::Mend));
        }
    }

    /// Takes or damages a member's data, if all others have kept theirs and count: else what was
    /// acknowledged might be nowhere any more.
    fn rob(&mut self, member: usize, damages: bool) {
        let counts = |member| {
            let state = self.cluster.state(member);
            self.cluster.lives(member) && state.online && state.votes
        };
        if !(0..MEMBERS).all(counts) {
            return;
        }
        self.cluster.kill(member);
        if damages {
            self.count("damaged");
            let places: [u64; 16] = std::array::from_fn(|_| draw(&mut self.random));
            self.cluster.damage(member, &places);
        } else {
            self.count("wiped");
            self.cluster.wipe(member);
        }
        self.ends_in(End::Spawn(member), 0, 3_000);
    }
}
