//! A group without a state machine elects a leader, and another one when the leader leaves.

use {
    mosaik::{
        Group, GroupKey, Network,
        groups::{ConsensusConfig, NoOp},
        network::{NetworkError, Preset},
    },
    std::error::Error,
};

async fn join(name: &str) -> Result<Network, NetworkError> {
    let builder = Network::builder(name).with_preset(Preset::Local);
    builder.build().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("election-{}", std::process::id());
    // Whoever has the key can be a member.
    let key = GroupKey::random();
    // None of the three founds the group without the others: it forms once.
    let consensus = ConsensusConfig::builder().with_min_voters(3).build()?;
    let mut nodes: Vec<(Network, Group<NoOp>)> = Vec::new();
    for _ in 0..3 {
        let network = join(&name).await?;
        let builder = network.groups().with_key(key);
        let group = builder.with_consensus_config(consensus.clone()).join();
        nodes.push((network, group));
    }

    let first = nodes[0].1.when().leader_elected().await;
    for (_, group) in &nodes {
        // The others learn of it too, and agree.
        group.when().leader_is(first).await;
    }
    println!("{} leads", first.fmt_short());

    let leads = |(network, _): &(Network, _)| network.local().id() == first;
    let leader = nodes.iter().position(leads).ok_or("nobody leads")?;
    let (network, group) = nodes.swap_remove(leader);
    assert!(group.is_leader());
    let changed = nodes[0].1.when().leader_changed();
    drop(group);
    network.close().await;

    let second = changed.await;
    println!(
        "{} left, now {} leads",
        first.fmt_short(),
        second.fmt_short()
    );
    assert_ne!(first, second);
    nodes[1].1.when().leader_is(second).await;
    for (network, _) in nodes {
        network.close().await;
    }
    Ok(())
}
