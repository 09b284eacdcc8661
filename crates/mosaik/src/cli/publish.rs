//! `mosaik pub`: standard input to a stream.

use {
    super::{
        args::PubArgs,
        failure::Failure,
        input::{self, Framing},
        item::Item,
        session::{interrupted, say, tell_peers},
        units,
    },
    futures::SinkExt,
    mosaik::{Network, StreamId, futures, streams::Producer},
};

/// Sends until the input ends or a signal comes, then waits until subscribers have it all.
pub(crate) async fn run(args: PubArgs) -> Result<(), Failure> {
    let network = args.network.join().await?;
    let outcome = tokio::select! {
        outcome = publish(&network, &args) => outcome,
        () = tell_peers(&network) => Ok(()),
    };
    network.close().await;
    outcome
}

async fn publish(network: &Network, args: &PubArgs) -> Result<(), Failure> {
    // With a subscriber required, a moment without one pauses the input instead of losing it.
    let required = args.wait.min(1);
    let mut producer = network
        .streams()
        .producer::<Item>()
        .with_stream_id(StreamId::from(args.stream.as_str()))
        .disconnect_lagging(false)
        .with_history(args.history)
        .online_when(move |conditions| conditions.minimum_of(required))
        .build()
        .map_err(|error| Failure::new(error.to_string()))?;
    say!("publishing as {}", network.local().id());
    let mut interrupt = std::pin::pin!(interrupted());
    if args.wait > 0 {
        say!("waiting for {} subscribers", args.wait);
        tokio::select! {
            () = producer.when().subscribed().minimum_of(args.wait) => {}
            () = &mut interrupt => return Err(Failure::interrupted()),
        }
    }
    let framing = args.frames.map_or(Framing::Lines, Framing::Frames);
    let sent = tokio::select! {
        sent = send(&mut producer, framing) => sent?,
        () = &mut interrupt => return Err(Failure::interrupted()),
    };
    // Without a producer the subscriptions end once they have delivered everything.
    let when = producer.when().clone();
    drop(producer);
    tokio::select! {
        () = when.unsubscribed() => {}
        () = &mut interrupt => return Err(Failure::interrupted()),
    }
    say!("published {sent}");
    Ok(())
}

/// How much was sent.
struct Sent {
    items: u64,
    bytes: u64,
}

impl core::fmt::Display for Sent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let bytes = units::bytes(self.bytes as f64);
        write!(f, "{} items, {bytes}", units::count(self.items))
    }
}

async fn send(producer: &mut Producer<Item>, framing: Framing) -> Result<Sent, Failure> {
    let mut batches = input::read(std::io::stdin(), framing)?;
    let mut sent = Sent { items: 0, bytes: 0 };
    while let Some(batch) = batches.recv().await {
        for item in batch? {
            sent.items += 1;
            sent.bytes += item.len() as u64;
            producer
                .feed(Item(item))
                .await
                .map_err(|error| Failure::new(error.to_string()))?;
        }
    }
    Ok(sent)
}
