//! A member with a data directory goes on, after a restart, with everything it had acknowledged.

use {
    mosaik::{
        Group, GroupKey, Network, SecretKey, Strong, UniqueId,
        groups::{ApplyContext, LogReplaySync, StateMachine},
        network::Preset,
    },
    std::{error::Error, path::Path},
};

/// A list of names that only grows.
#[derive(Default)]
struct Guests(Vec<String>);

impl StateMachine for Guests {
    type Command = String;
    type Query = ();
    type QueryResult = Vec<String>;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("example.guests")
    }

    fn apply(&mut self, name: String, _: &dyn ApplyContext) {
        self.0.push(name);
    }

    fn query(&self, (): ()) -> Vec<String> {
        self.0.clone()
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

/// One run of the process: the same identity and the same directory as the run before.
async fn start(
    name: &str,
    secret: &SecretKey,
    data: &Path,
) -> Result<(Network, Group<Guests>), Box<dyn Error>> {
    let network = Network::builder(name)
        .with_preset(Preset::Local)
        .with_secret_key(secret.clone())
        .with_data_dir(data)
        .build()
        .await?;
    let builder = network.groups().with_key(GroupKey::from_secret(name));
    let group = builder.with_state_machine(Guests::default()).join();
    group.when().online().await;
    Ok((network, group))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("durable-{}", std::process::id());
    let data = std::env::temp_dir().join(&name);
    let secret = SecretKey::generate();
    for guest in ["Ada", "Barbara", "Grace"] {
        let (network, group) = start(&name, &secret, &data).await?;
        println!("found {:?}", group.query((), Strong).await?.result());
        // On disk before this returns.
        group.execute(guest.to_owned()).await?;
        network.close().await;
    }
    let (network, group) = start(&name, &secret, &data).await?;
    assert_eq!(*group.query((), Strong).await?, ["Ada", "Barbara", "Grace"]);
    network.close().await;
    std::fs::remove_dir_all(&data)?;
    Ok(())
}
