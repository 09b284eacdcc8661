//! What a seed makes of a world: how many nodes, how configured, how their drivers behave.

use {
    crate::{
        node::Node,
        queue::{MILLI, Nanos},
        rng::Rng,
        run::Options,
        trace::Trace,
        world::{Habits, World},
    },
    core::time::Duration,
    mosaik_protocol::consensus::{Config, GroupKeyId, MergePolicy, Preference},
};

/// The group of every world.
pub const GROUP: GroupKeyId = GroupKeyId([9; 32]);

fn millis(rng: &mut Rng, low: u64, high: u64) -> Duration {
    Duration::from_millis(rng.between(low, high))
}

fn config(rng: &mut Rng, members: usize) -> Config {
    let heartbeat = rng.between(20, 80);
    let merge = match rng.below(20) {
        0 => MergePolicy::Discard,
        1 => MergePolicy::Refuse,
        _ => MergePolicy::Resubmit,
    };
    let max_voters = if rng.chance(300) { 3 } else { 5 };
    let min_voters = if rng.chance(300) {
        rng.between(2, 3).min(members as u64) as u32
    } else {
        1
    };
    Config {
        heartbeat_interval: Duration::from_millis(heartbeat),
        heartbeat_jitter: Duration::from_millis(heartbeat / 4),
        max_missed_heartbeats: rng.between(8, 40) as u32,
        election_timeout: Duration::from_millis(heartbeat * rng.between(3, 8)),
        election_timeout_jitter: Duration::from_millis(heartbeat * rng.between(1, 4)),
        bootstrap_delay: millis(rng, 100, 800),
        settle_delay: millis(rng, 10, 100),
        forward_timeout: millis(rng, 200, 1_500),
        query_timeout: millis(rng, 200, 1_500),
        min_voters,
        max_voters,
        merge,
        quiesce: rng.chance(500),
        batch_bytes: if rng.chance(300) { 64 } else { 256 << 10 },
        append_bytes: if rng.chance(300) { 200 } else { 1 << 20 },
        inflight_appends: if rng.chance(300) {
            rng.between(1, 3) as usize
        } else {
            64
        },
        cache_bytes: if rng.chance(400) { 256 } else { 1 << 20 },
        apply_bytes: if rng.chance(200) { 256 } else { 16 << 20 },
        ..Config::new(GROUP, Node::key(0), 0, 0)
    }
}

fn habits(rng: &mut Rng) -> Habits {
    Habits {
        snapshot_every: match rng.below(4) {
            0 => None,
            1 => Some(1),
            _ => Some(rng.between(2, 60)),
        },
        keep_entries: match rng.below(4) {
            0 | 1 => 0,
            2 => rng.below(20),
            _ => 10_000,
        },
        apply_lag: if rng.chance(500) {
            0
        } else {
            rng.below(30 * MILLI)
        },
        one_way_unseen: rng.chance(300),
        link_loss: rng.between(100, 3_000) * MILLI,
        stalled_reads: 20,
    }
}

/// The world of a seed, and what its lineages do when they meet.
pub fn world(seed: u64, options: &Options, trace: Trace) -> (World, MergePolicy) {
    let mut rng = Rng::split(seed, "setup");
    let spares = rng.below(3) as usize;
    let count = options.members + spares;
    let config = config(&mut rng, options.members);
    let observers = if rng.chance(250) {
        rng.between(1, 2) as usize
    } else {
        0
    };
    // Enough are there from the start that may found.
    let observers = observers.min(options.members.saturating_sub(config.min_voters as usize));
    let durable = rng.chance(800);
    let sync_time: Nanos = rng.between(MILLI / 10, 8 * MILLI);
    let nodes = (0..count)
        .map(|id| {
            let mut config = config.clone();
            config.peer = Node::key(id);
            // Observers come last among those that are there from the start.
            if id < options.members && id + observers >= options.members {
                config.preference = Preference::Observer;
            } else if rng.chance(80) {
                config.preference = Preference::Reluctant { factor: 2 };
            }
            let mut node = Node::new(id, config, rng.below(1 << 40));
            node.durable = durable;
            node.sync_time = Some(sync_time);
            node
        })
        .collect();
    let habits = habits(&mut rng);
    let merge = config.merge;
    (World::new(seed, nodes, habits, trace), merge)
}
