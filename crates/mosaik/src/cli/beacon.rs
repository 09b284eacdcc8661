//! `mosaik beacon`: a node that is only there, for others to join the network through.

use {
    super::{
        args::BeaconArgs,
        failure::Failure,
        session::{interrupted, tell_peers},
    },
    mosaik::{Network, Tag, network::RelayMode},
};

/// Is there until a signal comes.
pub(crate) async fn run(args: BeaconArgs) -> Result<(), Failure> {
    let tags: Vec<Tag> = args
        .tags
        .iter()
        .map(|tag| Tag::from(tag.as_str()))
        .collect();
    let mut builder = args
        .network
        .builder()?
        .with_discovery(args.network.discovery().with_tags(tags));
    if args.no_relay {
        builder = builder.with_relay_mode(RelayMode::Disabled);
    }
    let network = builder.build().await?;
    print_own(&network, &args);
    tokio::select! {
        () = tell_peers(&network) => {}
        () = interrupted() => {}
    }
    network.close().await;
    Ok(())
}

fn print_own(network: &Network, args: &BeaconArgs) {
    let id = network.local().id();
    let addr = network.local().addr();
    let list = |items: Vec<String>| {
        if items.is_empty() {
            "-".to_owned()
        } else {
            items.join(" ")
        }
    };
    println!(
        "network  {} ({})",
        args.network.network,
        network.network_id()
    );
    println!("peer id  {id}");
    println!("tags     {}", list(args.tags.clone()));
    println!(
        "peers    {}",
        list(
            args.network
                .peers
                .iter()
                .map(|peer| peer.id.to_string())
                .collect()
        )
    );
    println!(
        "ips      {}",
        list(addr.ip_addrs().map(ToString::to_string).collect())
    );
    println!(
        "relays   {}",
        list(addr.relay_urls().map(ToString::to_string).collect())
    );
    for address in addr.ip_addrs() {
        println!("join with --peer {id}@{address}");
    }
}
