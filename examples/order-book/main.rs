//! An order book that three processes replicate: each trades at its own copy, all see the same
//! trades in the same order.
//!
//! Without arguments it starts three of itself, and checks what they say.

mod book;

use {
    book::{Book, Instruction, Side},
    mosaik::{
        Group, GroupKey, Network, Strong,
        groups::{ConsensusConfig, Index},
        network::Preset,
    },
    std::{
        error::Error,
        io::{BufRead, BufReader, Read},
        process::{Child, Command, Stdio},
    },
};

const TRADERS: [&str; 3] = ["ann", "bob", "cy"];
const ORDERS: u64 = 200;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [] => oversee(),
        [name, trader] => trade(name, trader).await,
        _ => Err("usage: order-book [<network> <trader>]".into()),
    }
}

/// Starts the traders and compares what they see in the end.
fn oversee() -> Result<(), Box<dyn Error>> {
    let name = format!("order-book-{}", std::process::id());
    let program = std::env::current_exe()?;
    let start = |trader: &&str| {
        Command::new(&program)
            .args([name.as_str(), trader])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
    };
    let mut traders = TRADERS
        .iter()
        .map(start)
        .collect::<Result<Vec<Child>, _>>()?;
    let mut reports = Vec::new();
    for trader in &mut traders {
        let stdout = trader.stdout.as_mut().ok_or("no output")?;
        let mut report = String::new();
        BufReader::new(stdout).read_line(&mut report)?;
        print!("{report}");
        reports.push(report);
    }
    for mut trader in traders {
        // The end of its input tells a trader that it may go.
        drop(trader.stdin.take());
        if !trader.wait()?.success() {
            return Err("a trader failed".into());
        }
    }
    if reports[0].is_empty() || reports.iter().any(|report| *report != reports[0]) {
        return Err("the traders do not see the same".into());
    }
    Ok(())
}

/// One trader: a process with a copy of the book.
async fn trade(name: &str, trader: &str) -> Result<(), Box<dyn Error>> {
    let builder = Network::builder(name).with_preset(Preset::Local);
    let network = builder.build().await?;
    // No trader founds the group without the others: it forms once.
    let voters = TRADERS.len() as u32;
    let consensus = ConsensusConfig::builder().with_min_voters(voters).build()?;
    let builder = network.groups().with_key(GroupKey::from_secret(name));
    let builder = builder.with_consensus_config(consensus);
    let group = builder.with_state_machine(Book::default()).join();
    group.when().online().await;

    let mut placed = Vec::new();
    for n in 0..ORDERS {
        placed.push(place(&group, trader, n).await?);
    }
    // Some are taken back; what has traded by then stays traded.
    for order in placed.into_iter().step_by(10) {
        let trader = trader.to_owned();
        let order = order.as_u64();
        group.execute(Instruction::Cancel { trader, order }).await?;
    }

    let all = (ORDERS + ORDERS.div_ceil(10)) * TRADERS.len() as u64;
    group.when().committed().reaches(all).await;
    let view = group.query((), Strong).await?;
    let volume: u64 = view.trades.iter().map(|trade| trade.quantity).sum();
    println!(
        "{} trades, volume {volume}, last {:?}; bid {:?}, ask {:?}, {} open",
        view.trades.len(),
        view.trades.last(),
        view.best_bid,
        view.best_ask,
        view.open,
    );
    // The others may still have to catch up.
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(wait).await??;
    network.close().await;
    Ok(())
}

/// Places the `n`th order of a trader around a price of 1,000.
async fn place(group: &Group<Book>, trader: &str, n: u64) -> Result<Index, Box<dyn Error>> {
    let seed: u64 = trader.bytes().map(u64::from).sum();
    let noise = (n + 1_000 * seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let order = Instruction::Place {
        trader: trader.to_owned(),
        side: if noise.is_multiple_of(2) {
            Side::Buy
        } else {
            Side::Sell
        },
        price: 990 + noise % 21,
        quantity: 1 + noise % 5,
    };
    Ok(group.execute(order).await?)
}
