//! What a scenario can require: sentences that are true or not.

use {
    super::{pattern::Holes, stage::Stage},
    crate::{chronicle::memberships, finale, invariants::node_name, world::Ended},
    mosaik_protocol::consensus::{LogIndex, Membership},
};

/// A sentence that is true or not, and how to find out.
pub(super) type Check = (&'static str, fn(&Stage, &Holes) -> Result<(), String>);

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn leaders(stage: &Stage) -> Vec<usize> {
    stage
        .world
        .nodes
        .iter()
        .filter(|node| node.leads())
        .map(|node| node.id)
        .collect()
}

fn tell_leaders(stage: &Stage) -> String {
    let names: Vec<char> = leaders(stage).into_iter().map(node_name).collect();
    format!("leaders are {names:?}")
}

/// The membership that the leader of the highest term has in its log.
fn membership(stage: &Stage) -> Option<&Membership> {
    let leaders = stage.world.nodes.iter().filter(|node| node.leads());
    let leader = leaders.max_by_key(|node| node.subject().term)?;
    memberships(leader.disk.written(), LogIndex(u64::MAX))
        .into_iter()
        .next()
}

fn voters(stage: &Stage) -> Result<usize, String> {
    membership(stage)
        .map(|members| members.voters().len())
        .ok_or_else(|| "nobody leads".to_owned())
}

fn votes(stage: &Stage, node: usize) -> Result<bool, String> {
    let members = membership(stage).ok_or("nobody leads")?;
    let peer = stage.world.nodes[node].config.peer;
    Ok(members.voters().iter().any(|voter| voter.peer == peer))
}

fn last_ended(stage: &Stage) -> Option<Ended> {
    let asked = stage.asked?;
    stage
        .ended
        .iter()
        .find(|(id, _)| *id == asked)
        .map(|(_, ended)| *ended)
}

fn succeeded(stage: &Stage) -> bool {
    matches!(last_ended(stage), Some(Ended::Answered(_)))
}

pub(super) const CHECKS: &[Check] = &[
    ("{node} leads", |stage, holes| {
        require(leaders(stage).contains(&holes.node(0)), || {
            tell_leaders(stage)
        })
    }),
    ("{node} does not lead", |stage, holes| {
        require(!leaders(stage).contains(&holes.node(0)), || {
            tell_leaders(stage)
        })
    }),
    ("one of {nodes} leads", |stage, holes| {
        let one = leaders(stage)
            .iter()
            .any(|leader| holes.nodes[0].contains(leader));
        require(one, || tell_leaders(stage))
    }),
    ("none of {nodes} leads", |stage, holes| {
        let none = !leaders(stage)
            .iter()
            .any(|leader| holes.nodes[0].contains(leader));
        require(none, || tell_leaders(stage))
    }),
    ("nobody leads", |stage, _| {
        require(leaders(stage).is_empty(), || tell_leaders(stage))
    }),
    ("there is|are {number} lineage|lineages", |stage, holes| {
        let lineages = stage.world.living_lineages();
        let fresh = stage
            .world
            .nodes
            .iter()
            .any(|node| node.is_up() && node.view.lineage.is_none());
        let wanted = holes.numbers[0];
        // One lineage for all means that nobody is left outside.
        let settled = wanted != 1 || !fresh || !stage.world.filters.is_empty();
        require(
            lineages.len() as u64 == wanted && (settled || stage.divided),
            || format!("lineages are {lineages:?}, somebody without: {fresh}"),
        )
    }),
    ("{nodes} agree|agrees", |stage, holes| {
        let stay = finale::members(&stage.world);
        let nodes: Vec<usize> = holes.nodes[0]
            .iter()
            .copied()
            .filter(|node| stay.contains(node))
            .collect();
        stage.world.agreement(&nodes, false)
    }),
    ("the group has {number} voter|voters", |stage, holes| {
        let voters = voters(stage)?;
        require(voters as u64 == holes.numbers[0], || {
            format!("there are {voters} voters")
        })
    }),
    ("{node} belongs to nothing", |stage, holes| {
        let lineage = stage.world.nodes[holes.node(0)].view.lineage;
        require(lineage.is_none(), || format!("it is of {lineage}"))
    }),
    ("{node} votes", |stage, holes| {
        require(votes(stage, holes.node(0))?, || "it does not".to_owned())
    }),
    ("{node} does not vote", |stage, holes| {
        require(!votes(stage, holes.node(0))?, || "it does".to_owned())
    }),
    ("{node} holds {number} in {key}", |stage, holes| {
        let held = stage.world.nodes[holes.node(0)].machine.read(holes.keys[0]);
        require(held == holes.numbers[0], || format!("it holds {held}"))
    }),
    (
        "{nodes} has|have applied {number} command|commands",
        |stage, holes| {
            let counts: Vec<u64> = holes.nodes[0]
                .iter()
                .map(|node| stage.world.nodes[*node].machine.commands)
                .collect();
            require(
                counts.iter().all(|count| *count == holes.numbers[0]),
                || format!("{counts:?}"),
            )
        },
    ),
    ("the term is unchanged", |stage, _| {
        require(stage.term() == stage.remembered, || {
            format!("it is {}", stage.term())
        })
    }),
    ("the term has grown", |stage, _| {
        require(stage.term() > stage.remembered, || {
            format!("it is {}", stage.term())
        })
    }),
    ("the write|read hangs", |stage, _| {
        require(!succeeded(stage), || {
            format!("it ended as {:?}", last_ended(stage))
        })
    }),
    ("the write|read succeeds", |stage, _| {
        require(succeeded(stage), || {
            format!("it ended as {:?}", last_ended(stage))
        })
    }),
];
