//! The end of every story: everything is mended, the group must come together and answer at every
//! node, and every acknowledged command is looked for.

use {
    crate::{
        failure::Failure,
        history::Call,
        invariants::{self, node_name},
        linearizability,
        node::Node,
        queue::{MILLI, Nanos, SECOND},
        world::{Ended, Halt, World},
    },
    mosaik_protocol::consensus::{Lineage, MergePolicy},
    std::collections::BTreeSet,
};

/// Virtual time within which a mended world must make progress.
pub const RECOVERY: Nanos = 60 * SECOND;

const PROGRESS: &str = "progress after the faults";

/// Mends a world and requires of it what is promised. Says whether it came together: where a
/// majority is lost, it does not have to.
pub fn play(world: &mut World, policy: MergePolicy) -> Result<bool, Failure> {
    world.mend()?;
    match come_together(world, policy) {
        Err(failure) if failure.what == PROGRESS && world.lost_a_majority() => {
            world.linearizable(linearizability::check_history)?;
            Ok(false)
        }
        ended => ended.map(|()| true),
    }
}

fn come_together(world: &mut World, policy: MergePolicy) -> Result<(), Failure> {
    let until = world.now() + RECOVERY;
    let apart = policy == MergePolicy::Refuse;
    let agrees = |world: &World| world.agreement(&members(world), apart);
    until_holds(world, until, PROGRESS, agrees)?;
    for node in members(world) {
        ask(world, node, until)?;
    }
    until_holds(world, until, PROGRESS, agrees)?;
    look_back(world, policy)
}

/// Nodes that are here to stay.
pub fn members(world: &World) -> Vec<usize> {
    let stay = |node: &&Node| node.is_up() && !node.leaving;
    world
        .nodes
        .iter()
        .filter(stay)
        .map(|node| node.id)
        .collect()
}

/// Lets a world go on for some time, whatever happens in it.
pub fn pass(world: &mut World, time: Nanos) -> Result<(), Failure> {
    let until = world.now() + time;
    while world.go_on(until)? != Halt::Time {}
    Ok(())
}

/// Lets a world go on until a condition holds, at most `until`.
pub fn until_holds(
    world: &mut World,
    until: Nanos,
    what: &'static str,
    holds: impl Fn(&World) -> Result<(), String>,
) -> Result<(), Failure> {
    loop {
        let Err(why) = holds(world) else {
            return Ok(());
        };
        if world.now() >= until {
            return Err(world.failure(what, why));
        }
        pass(world, 50 * MILLI)?;
    }
}

/// A write and a read at a node succeed before `until`. They are repeated when they are refused
/// or end unknown: the group may still be electing.
fn ask(world: &mut World, node: usize, until: Nanos) -> Result<(), Failure> {
    for read in [false, true] {
        loop {
            if !world.nodes[node].is_up() {
                return Ok(());
            }
            let operation = if read {
                world.read(node, 0, None)?
            } else {
                // Values of their own, so that the checker can tell them apart.
                let value = 1_000_000 + world.number();
                world.propose(node, &[(0, Call::Swap(value))], None)?[0]
            };
            let ended = loop {
                if let Some((.., ended)) = world.ended.iter().find(|(id, ..)| *id == operation) {
                    break Some(*ended);
                }
                if world.now() >= until {
                    break None;
                }
                pass(world, 20 * MILLI)?;
            };
            world.ended.clear();
            if matches!(ended, Some(Ended::Answered(_))) {
                break;
            }
            if world.now() >= until {
                let what = if read { "read" } else { "write" };
                let facts = format!("a {what} at {} ends as {ended:?}", node_name(node));
                return Err(world.failure(PROGRESS, facts));
            }
            pass(world, 50 * MILLI)?;
        }
    }
    Ok(())
}

/// No acknowledged command is missing, and clients could not tell the group from one machine.
pub fn look_back(world: &World, policy: MergePolicy) -> Result<(), Failure> {
    let survivors: BTreeSet<Lineage> = members(world)
        .into_iter()
        .map(|node| world.nodes[node].lineage)
        .collect();
    let held = |survivors: &BTreeSet<Lineage>, wanted: &dyn Fn(Lineage) -> bool| {
        let tags = world.acknowledged.iter().filter(|(_, by)| wanted(**by));
        let missing = invariants::missing(&world.chronicle, survivors, tags.map(|(tag, _)| *tag));
        if missing.is_empty() {
            return Ok(());
        }
        let facts = format!("{missing:?} are not in {survivors:?}");
        Err(world.failure("no acknowledged command missing", facts))
    };
    if policy == MergePolicy::Resubmit && world.dropped == 0 {
        // Who was asked to leave may be the last that has something, and stays until it may go.
        let up = world.nodes.iter().filter(|node| node.is_up());
        held(&up.map(|node| node.lineage).collect(), &|_| true)?;
    }
    for survivor in &survivors {
        held(&BTreeSet::from([*survivor]), &|by| by == *survivor)?;
    }
    world.linearizable(linearizability::check_history)
}
