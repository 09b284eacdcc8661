//! Random faults from a seed, then peace: the group works again and holds everything it
//! acknowledged, once.

use {
    crate::cluster::{Cluster, Filter, Id, Node, config},
    core::time::Duration,
    mosaik_protocol::consensus::{Event, Input, Message, Outcome},
    std::collections::BTreeMap,
};

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

fn cause(cluster: &mut Cluster, dice: &mut Dice, count: u8, snapshots: bool) {
    let id = dice.roll(u64::from(count)) as Id + 1;
    let alive = cluster.nodes[&id].core.is_some();
    match dice.roll(14) {
        0 if alive => cluster.crash(id),
        0..=2 if !alive => cluster.start(id),
        1 if alive => cluster.kill_silently(id),
        3 => {
            let side: Vec<_> = (1..=count).filter(|_| dice.roll(2) == 0).collect();
            cluster.cut_silently(&side);
        }
        4 => {
            if let Some(leader) = cluster.leader() {
                cluster.partition(&[leader]);
            }
        }
        5 | 6 => cluster.heal(),
        7 => {
            let slow = dice.roll(2) == 0;
            cluster.nodes.get_mut(&id).unwrap().slow_disk = slow;
            cluster.confirm(id);
        }
        8 => cluster.confirm(id),
        9 if alive && snapshots && cluster.nodes[&id].status().applied.0 > 0 => {
            cluster.snapshot(id);
        }
        10 => cluster.input(id, Input::Transfer(None)),
        11 => {
            let (a, b) = (id, dice.roll(u64::from(count)) as Id + 1);
            cluster.cut.insert((a, b));
        }
        12 => {
            cluster.nodes.get_mut(&id).unwrap().delay = Duration::from_millis(dice.roll(300));
        }
        13 => {
            let lossy = dice.roll(3) == 0;
            let mut dice = Dice(dice.roll(u64::MAX));
            cluster.filter =
                lossy.then(|| Box::new(move |_: &Message| dice.roll(4) != 0) as Filter);
        }
        _ => {}
    }
}

/// `formed`: faults begin after formation, and there are no two lineages.
pub(crate) fn run(seed: u64, count: u8, formed: bool) {
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let mut cluster = Cluster::new([]);
    for id in 1..=count {
        let mut config = config(id);
        config.seed = dice.roll(u64::MAX);
        config.cache_bytes = [256, 4 << 20][dice.roll(2) as usize];
        config.append_bytes = [300, 1 << 20][dice.roll(2) as usize];
        config.quiesce = dice.roll(2) == 0;
        cluster.add(config);
    }
    if formed {
        cluster.lead();
        cluster.run(Duration::from_secs(2));
    }
    let mut proposals: BTreeMap<u64, (Id, String)> = BTreeMap::new();
    for step in 0..120 {
        if dice.roll(3) == 0 {
            cause(
                &mut cluster,
                &mut dice,
                count,
                formed || seed.is_multiple_of(4),
            );
        }
        for n in 0..dice.roll(4) {
            let id = dice.roll(u64::from(count)) as Id + 1;
            if cluster.nodes[&id].core.is_some() {
                let text = format!("{step}.{n}");
                let proposal = cluster.propose(id, &text);
                proposals.insert(proposal, (id, text));
            }
        }
        cluster.run(Duration::from_millis(dice.roll(400)));
    }
    cluster.filter = None;
    for id in 1..=count {
        let node = cluster.nodes.get_mut(&id).unwrap();
        node.slow_disk = false;
        node.delay = Duration::from_millis(1);
        if node.core.is_none() {
            cluster.start(id);
        }
        cluster.confirm(id);
    }
    cluster.heal();
    cluster.until("all are of one lineage and follow one leader", |c| {
        let statuses: Vec<_> = c.nodes.values().map(Node::status).collect();
        statuses
            .iter()
            .all(|s| s.lineage == statuses[0].lineage && s.leader.is_some())
            && statuses.iter().all(|s| s.leader == statuses[0].leader)
            && statuses
                .iter()
                .all(|s| s.commit == s.last.index && s.commit == statuses[0].commit)
            && statuses.iter().all(|s| s.emitted == s.commit)
    });
    for id in 1..=count {
        let proposal = cluster.propose(id, &format!("final {id}"));
        assert!(
            matches!(cluster.outcome(id, proposal), Outcome::Committed { .. }),
            "seed {seed}"
        );
    }
    cluster.run(Duration::from_secs(1));
    let texts = cluster.texts(1);
    // What only a snapshot holds the effect of cannot be proposed again: it is counted instead.
    let dropped = |event: &Event| matches!(event, Event::Merged { dropped: 1.., .. });
    let dropped = cluster
        .nodes
        .values()
        .any(|node| node.events.iter().any(dropped));
    for (proposal, (id, text)) in proposals {
        let times = texts.iter().filter(|other| **other == text).count();
        match cluster.nodes[&id].ended(proposal) {
            Some(Outcome::Committed { .. }) if dropped => assert!(times <= 1, "seed {seed}"),
            Some(Outcome::Committed { .. }) => {
                assert_eq!(
                    times, 1,
                    "seed {seed}: acknowledged {text} is there {times} times"
                );
            }
            Some(Outcome::NotDone(_)) => assert_eq!(times, 0, "seed {seed}: {text} was not done"),
            _ => assert!(times <= 1, "seed {seed}: {text} is there {times} times"),
        }
    }
    for id in 2..=count {
        assert_eq!(cluster.texts(id), texts, "seed {seed}");
    }
}

fn seeds(default: u64) -> core::ops::Range<u64> {
    let read = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    match read("CHAOS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..read("CHAOS_SEEDS").unwrap_or(default),
    }
}

#[test]
fn three_members_survive_random_faults() {
    seeds(60).for_each(|seed| run(seed, 3, true));
}

#[test]
fn five_members_survive_random_faults() {
    seeds(40).for_each(|seed| run(seed, 5, true));
}

#[test]
fn formation_survives_random_faults() {
    seeds(60).for_each(|seed| run(seed, 4, false));
}
