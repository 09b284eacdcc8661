//! `mosaik peers`: who is in a network and what they offer.

use {
    super::{args::PeersArgs, failure::Failure, session::interrupted},
    core::time::Duration,
    mosaik::{
        Network, UniqueId,
        discovery::{Event, PeerEntry},
    },
    serde_json::json,
    std::{
        collections::BTreeSet,
        io::{self, Write},
    },
    tokio::sync::broadcast::{Receiver, error::RecvError},
};

/// Listens for a while, lists, and goes on if it is told to.
pub(crate) async fn run(args: PeersArgs) -> Result<(), Failure> {
    let network = args.network.join().await?;
    let outcome = tokio::select! {
        outcome = list(&network, &args) => match outcome {
            // Who stops reading has what it wants.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome.map_err(Failure::from),
        },
        () = interrupted() => if args.watch { Ok(()) } else { Err(Failure::interrupted()) },
    };
    network.close().await;
    outcome
}

async fn list(network: &Network, args: &PeersArgs) -> io::Result<()> {
    tokio::time::sleep(Duration::from_secs_f64(args.wait)).await;
    // Before the catalog is read, so that no change falls between.
    let events = network.discovery().events();
    let catalog = network.discovery().catalog();
    let mut out = io::stdout().lock();
    for peer in catalog.peers() {
        let line = if args.json {
            as_json("is there", peer)
        } else {
            as_text("", peer)
        };
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    drop(out);
    if args.watch {
        watch(events, args.json).await
    } else {
        Ok(())
    }
}

async fn watch(mut events: Receiver<Event>, json: bool) -> io::Result<()> {
    loop {
        let line = match events.recv().await {
            Ok(Event::PeerDiscovered(peer)) if json => as_json("came", &peer),
            Ok(Event::PeerUpdated(peer)) if json => as_json("changed", &peer),
            Ok(Event::PeerDeparted(id)) if json => {
                json!({"event": "left", "id": id.to_string()}).to_string()
            }
            Ok(Event::PeerDiscovered(peer)) => as_text("came  ", &peer),
            Ok(Event::PeerUpdated(peer)) => as_text("changed  ", &peer),
            Ok(Event::PeerDeparted(id)) => format!("left  {id}"),
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Ok(()),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
    }
}

fn as_text(prefix: &str, peer: &PeerEntry) -> String {
    let ids = |what: &str, ids: &BTreeSet<UniqueId>| {
        let ids: Vec<String> = ids
            .iter()
            .map(|id| id.to_string()[..10].to_owned())
            .collect();
        if ids.is_empty() {
            String::new()
        } else {
            format!("  {what} {}", ids.join(","))
        }
    };
    let addresses: Vec<String> = peer.address().ip_addrs().map(ToString::to_string).collect();
    format!(
        "{prefix}{}  at {}  up {} s{}{}",
        peer.id(),
        if addresses.is_empty() {
            "-".to_owned()
        } else {
            addresses.join(",")
        },
        peer.uptime().as_secs(),
        ids("streams", peer.streams()),
        ids("tags", peer.tags()),
    )
}

fn as_json(event: &str, peer: &PeerEntry) -> String {
    let texts = |ids: &BTreeSet<UniqueId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "event": event,
        "id": peer.id().to_string(),
        "addresses": peer.address().ip_addrs().map(ToString::to_string).collect::<Vec<_>>(),
        "relays": peer.address().relay_urls().map(ToString::to_string).collect::<Vec<_>>(),
        "uptime_seconds": peer.uptime().as_secs(),
        "streams": texts(peer.streams()),
        "tags": texts(peer.tags()),
    })
    .to_string()
}
