//! `mosaik sub`: a stream to standard output.

use {
    super::{
        args::SubArgs,
        failure::Failure,
        item::Item,
        output::Output,
        session::{interrupted, say, tell_peers},
    },
    bytes::Bytes,
    futures::StreamExt,
    mosaik::{
        Network, StreamId, futures,
        iroh::endpoint::VarInt,
        streams::{Consumer, consumer::ConsumerEvent},
    },
};

/// Items that arrived together are written together, up to about so many bytes.
const BATCH_BYTES: usize = 256 << 10;

/// Writes until the wanted number of items, a signal, or the end of the output's reader.
pub(crate) async fn run(args: SubArgs) -> Result<(), Failure> {
    let network = args.network.join().await?;
    let outcome = tokio::select! {
        outcome = subscribe(&network, &args) => outcome,
        () = tell_peers(&network) => Ok(()),
    };
    network.close().await;
    outcome
}

async fn subscribe(network: &Network, args: &SubArgs) -> Result<(), Failure> {
    let mut consumer = network
        .streams()
        .consumer::<Item>()
        .with_stream_id(StreamId::from(args.stream.as_str()))
        .with_criteria(args.criteria.clone().unwrap_or_default())
        .build();
    say!("subscribing as {}", network.local().id());
    let output = Output::to(std::io::stdout())?;
    let wanted = args.count.map(u64::from);
    let outcome = copy(&mut consumer, &output, wanted, args.until_end).await;
    let read_to_the_end = output.finish().await?;
    let missed = consumer.stats().missed();
    if missed > 0 {
        return Err(Failure::lost(format!("{missed} items were lost")));
    }
    // Who stops reading, as `head` does, has what it wants.
    if read_to_the_end { outcome } else { Ok(()) }
}

async fn copy(
    consumer: &mut Consumer<Item>,
    output: &Output,
    wanted: Option<u64>,
    until_end: bool,
) -> Result<(), Failure> {
    let mut events = consumer.events();
    let when = consumer.when().clone();
    let mut interrupt = std::pin::pin!(interrupted());
    let mut left = wanted.unwrap_or(u64::MAX);
    let mut ended = false;
    while left > 0 {
        let first = tokio::select! {
            // What has arrived is written before an end is looked at.
            biased;
            item = consumer.recv() => item,
            () = when.unsubscribed(), if ended => return Ok(()),
            () = output.failed() => return Ok(()),
            () = &mut interrupt => {
                return if wanted.is_some() { Err(Failure::interrupted()) } else { Ok(()) };
            }
            Some(event) = events.next() => {
                ended |= until_end && is_end(&event);
                continue;
            }
        };
        let Some(Item(first)) = first else {
            return Err(Failure::new("the subscription ended"));
        };
        let batch = gather(consumer, first, left);
        left -= batch.len() as u64;
        if !output.put(batch).await {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether a publisher has sent all it had.
fn is_end(event: &ConsumerEvent) -> bool {
    /// The close code of "all that was wanted is done".
    const SUCCESS: VarInt = VarInt::from_u32(200);
    matches!(event, ConsumerEvent::Disconnected { reason, .. } if reason.error_code == SUCCESS)
}

/// The first item with what else has arrived, `most` items at the most.
fn gather(consumer: &mut Consumer<Item>, first: Bytes, most: u64) -> Vec<Bytes> {
    let mut size = first.len();
    let mut batch = vec![first];
    while size < BATCH_BYTES && (batch.len() as u64) < most {
        let Ok(Item(item)) = consumer.try_recv() else {
            break;
        };
        size += item.len();
        batch.push(item);
    }
    batch
}
