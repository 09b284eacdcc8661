//! A consumer that does not keep up slows nobody else: it is cut off, comes back, and is told
//! exactly how many items it missed. (With `disconnect_lagging(false)` it would set the pace
//! instead, and nothing would be lost.)

use {
    mosaik::{
        Network,
        futures::{SinkExt, StreamExt},
        network::{NetworkError, Preset},
        streams::consumer::ConsumerEvent,
    },
    std::error::Error,
};

const ITEMS: u64 = 20_000;
/// Large items, so that the buffers on the way do not hide the slowness for long.
type Frame = (u64, Vec<u8>);

async fn join(name: &str) -> Result<Network, NetworkError> {
    let builder = Network::builder(name).with_preset(Preset::Local);
    builder.build().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("slow-{}", std::process::id());
    let (camera, fast, slow) = (join(&name).await?, join(&name).await?, join(&name).await?);
    let mut producer = camera
        .streams()
        .producer::<Frame>()
        .disconnect_lagging(true)
        .online_when(|consumers| consumers.minimum_of(1))
        .build()?;
    let mut fast = fast.streams().consume::<Frame>();
    let mut slow = slow.streams().consume::<Frame>();
    let mut events = slow.events();
    producer.when().subscribed().minimum_of(2).await;

    // The fast one takes everything; the slow one takes nothing until all has been sent.
    let reader = tokio::spawn(async move {
        let mut frames = 0;
        while frames < ITEMS && fast.recv().await.is_some() {
            frames += 1;
        }
        frames
    });
    for number in 0..ITEMS {
        producer.send((number, vec![0; 4 << 10])).await?;
    }
    println!("the fast consumer got {} of {ITEMS}", reader.await?);

    // Takes what was buffered before it was cut off, and waits until it hears of the rest.
    let (mut got, mut missed) = (0, 0);
    while got + missed < ITEMS {
        tokio::select! {
            Some(_) = slow.recv() => got += 1,
            Some(event) = events.next() => match event {
                ConsumerEvent::Missed { count, .. } => missed += count,
                ConsumerEvent::Disconnected { reason, .. } => println!("cut off: {reason}"),
                _ => {}
            },
        }
    }
    println!("the slow consumer got {got} and was told that it missed {missed}");
    assert_eq!(got + missed, ITEMS);
    Ok(())
}
