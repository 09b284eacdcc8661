//! Three nodes replicate a counter: each of them can change it and read it, and it goes on when
//! the leader leaves.

use {
    mosaik::{
        Group, GroupKey, Network, Strong, UniqueId, Weak,
        groups::{ApplyContext, ConsensusConfig, LogReplaySync, StateMachine},
        network::{NetworkError, Preset},
    },
    std::error::Error,
};

#[derive(Default)]
struct Counter(i64);

impl StateMachine for Counter {
    type Command = i64;
    type Query = ();
    type QueryResult = i64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("example.counter")
    }

    fn apply(&mut self, amount: i64, _: &dyn ApplyContext) {
        self.0 += amount;
    }

    fn query(&self, (): ()) -> i64 {
        self.0
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

async fn join(name: &str) -> Result<Network, NetworkError> {
    let builder = Network::builder(name).with_preset(Preset::Local);
    builder.build().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("counter-{}", std::process::id());
    let key = GroupKey::random();
    // None of the three founds the group without the others: it forms once.
    let consensus = ConsensusConfig::builder().with_min_voters(3).build()?;
    let mut nodes: Vec<(Network, Group<Counter>)> = Vec::new();
    for _ in 0..3 {
        let network = join(&name).await?;
        let builder = network.groups().with_key(key);
        let builder = builder.with_consensus_config(consensus.clone());
        let group = builder.with_state_machine(Counter::default()).join();
        nodes.push((network, group));
    }
    for ((_, group), amount) in nodes.iter().zip([1, 10, 100]) {
        group.when().online().await;
        // Returns when it is committed, and applied here.
        let index = group.execute(amount).await?;
        let value = group.query((), Weak).await?;
        println!("added {amount} as command {index}: {value}");
    }

    // A strong query sees everything that was committed before, on whatever member.
    let (_, group) = &nodes[0];
    assert_eq!(group.query((), Strong).await?, 111);

    let leads = |(_, group): &(Network, Group<Counter>)| group.is_leader();
    let leader = nodes.iter().position(leads).ok_or("nobody leads")?;
    let (network, group) = nodes.swap_remove(leader);
    drop(group);
    network.close().await;
    let (_, group) = &nodes[0];
    group.execute(1_000).await?;
    let answer = group.query((), Strong).await?;
    println!("without its first leader: {answer}");
    assert_eq!(answer, 1_111);
    Ok(())
}
