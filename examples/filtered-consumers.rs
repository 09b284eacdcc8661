//! Consumers that want different parts of one stream. What a consumer does not want is not sent
//! to it: the producer evaluates what it asked for.

use {
    mosaik::{
        Criteria, Network,
        futures::{SinkExt, StreamExt, future::try_join_all},
        network::{NetworkError, Preset},
    },
    serde::{Deserialize, Serialize},
    std::error::Error,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    number: u32,
    item: String,
    euros: f64,
    express: bool,
}

async fn join(name: &str) -> Result<Network, NetworkError> {
    let builder = Network::builder(name).with_preset(Preset::Local);
    builder.build().await
}

fn order(number: u32) -> Order {
    let item = ["chair", "lamp", "table"][number as usize % 3].to_owned();
    let (euros, express) = (f64::from(number) * 5.0, number % 2 == 1);
    Order {
        number,
        item,
        euros,
        express,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("filtered-{}", std::process::id());
    let shop = join(&name).await?;
    let mut orders = shop.streams().produce::<Order>();

    let wanted: [(Criteria, usize); 3] = [
        // Built, and 40 of the orders below:
        (
            Criteria::field("express").eq(true) & Criteria::field("euros").ge(100),
            40,
        ),
        // Written, as on the command line:
        ("item in ['chair', 'table'] and not express".parse()?, 34),
        // Everything, but only one in ten of it:
        (Criteria::default().one_in(10), 10),
    ];
    let offices = try_join_all(wanted.iter().map(|_| join(&name))).await?;
    let mut consumers: Vec<_> = offices
        .iter()
        .zip(&wanted)
        .map(|(office, (criteria, _))| {
            let consumer = office.streams().consumer::<Order>();
            consumer.with_criteria(criteria.clone()).build()
        })
        .collect();

    orders.when().subscribed().minimum_of(3).await;
    for number in 0..100 {
        orders.send(order(number)).await?;
    }
    for ((criteria, count), consumer) in wanted.iter().zip(&mut consumers) {
        let received = consumer.take(*count).map(|order| order.number);
        println!("`{criteria}`: {:?}", received.collect::<Vec<_>>().await);
        // What is not wanted is not sent.
        assert_eq!(consumer.stats().datums(), *count);
    }
    Ok(())
}
