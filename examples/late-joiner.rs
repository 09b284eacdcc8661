//! A consumer that comes late asks for the last items that matter to it, and goes on with the
//! live ones without a gap.

use {
    mosaik::{
        Criteria, Network,
        futures::SinkExt,
        network::{NetworkError, Preset},
    },
    serde::{Deserialize, Serialize},
    std::error::Error,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    number: u32,
    level: Level,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Level {
    Info,
    Error,
}

fn entry(number: u32) -> Entry {
    Entry {
        number,
        level: if number.is_multiple_of(5) {
            Level::Error
        } else {
            Level::Info
        },
    }
}

async fn join(name: &str) -> Result<Network, NetworkError> {
    let builder = Network::builder(name).with_preset(Preset::Local);
    builder.build().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("late-{}", std::process::id());
    let server = join(&name).await?;
    let mut log = server
        .streams()
        .producer::<Entry>()
        .with_history(1_000)
        .online_when(|consumers| consumers.minimum_of(0)) // goes on while nobody listens
        .build()?;
    for number in 0..100 {
        log.send(entry(number)).await?;
    }

    // Comes after all of that, and asks for the last three errors.
    let operator = join(&name).await?;
    let criteria = Criteria::field("level").eq("Error").last(3);
    let mut errors = operator
        .streams()
        .consumer::<Entry>()
        .with_criteria(criteria)
        .build();
    log.when().subscribed().await;
    for number in 100..111 {
        log.send(entry(number)).await?;
    }

    let mut numbers = Vec::new();
    while numbers.len() < 6 {
        let entry = errors.recv().await.ok_or("the stream ended")?;
        println!("{entry:?}");
        numbers.push(entry.number);
    }
    assert_eq!(numbers, [85, 90, 95, 100, 105, 110]);
    Ok(())
}
