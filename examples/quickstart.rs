//! Two nodes that are given nothing but the name of a network find each other, and one streams
//! typed readings to the other.

use {
    mosaik::{
        Network, StreamConsumer, StreamProducer,
        futures::{SinkExt, StreamExt},
        network::{NetworkError, Preset},
    },
    serde::{Deserialize, Serialize},
    std::error::Error,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    site: String,
    celsius: f32,
}

// A stream is a type and a name that its producers and consumers share.
mosaik::stream! { Readings = Reading, "weather.readings" }

/// Usually each node is a process of its own, here on one machine: hence the preset.
async fn join(name: &str) -> Result<Network, NetworkError> {
    let builder = Network::builder(name).with_preset(Preset::Local);
    builder.build().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("quickstart-{}", std::process::id());
    let station = join(&name).await?;
    let office = join(&name).await?;

    let mut producer = Readings::producer(&station);
    let mut consumer = Readings::consumer(&office);

    let readings = [21.5, 22.0, 22.5].map(|celsius| Reading {
        site: "roof".into(),
        celsius,
    });
    for reading in &readings {
        // Waits until there is a consumer, and room in the buffer.
        producer.send(reading.clone()).await?;
    }
    for reading in readings {
        let received = consumer.next().await;
        println!("{received:?}");
        assert_eq!(received, Some(reading));
    }

    station.close().await;
    office.close().await;
    Ok(())
}
