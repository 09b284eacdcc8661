//! `mosaik demo`: several nodes in one process find each other on loopback, and one of them
//! streams readings to the others.
//!
//! `nodes` runs them, `board` is what is shown of them, `view` draws it, `screen` owns the
//! terminal, `reading` holds what arrived against what was sent.

mod board;
mod nodes;
mod reading;
mod screen;
mod view;

use {
    super::{args::DemoArgs, failure::Failure, session::interrupted, units},
    board::Board,
    core::time::Duration,
    nodes::{Nodes, Report},
    screen::Screen,
    tokio::{
        sync::watch,
        time::{MissedTickBehavior, interval},
    },
};

/// Between two samples of what the nodes do, and two drawings of them.
const FRAME: Duration = Duration::from_millis(100);
/// Between two lines where nothing is drawn.
const LINE: Duration = Duration::from_secs(1);

/// Runs the demo; fails unless every item that was sent arrived at every consumer, in order.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let length = Duration::from_secs(u64::from(args.seconds));
    let nodes = Nodes::start(usize::from(args.nodes)).await?;
    let mut board = Board::new(length, nodes.names());
    let report = show(&nodes, &mut board, &args).await;
    nodes.close().await;
    conclude(&board, &report?)
}

/// Lets the nodes stream, and shows them until they are done. The terminal is given back when it
/// returns.
async fn show(nodes: &Nodes, board: &mut Board, args: &DemoArgs) -> Result<Report, Failure> {
    let mut screen = if args.draws() {
        Some(Screen::open()?)
    } else {
        None
    };
    let (stop, stopped) = watch::channel(false);
    let mut work = std::pin::pin!(nodes.stream(board.length, args.rate, stopped));
    let mut interrupt = std::pin::pin!(interrupted());
    let mut ticks = interval(if screen.is_some() { FRAME } else { LINE });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            report = &mut work => return report,
            _ = ticks.tick() => {
                board.update(nodes.sample());
                match &mut screen {
                    Some(screen) => screen.draw(board)?,
                    None => println!("{}", board.line()),
                }
            }
            () = Screen::quit(screen.as_mut()) => { stop.send_replace(true); }
            () = &mut interrupt, if !*stop.borrow() => { stop.send_replace(true); }
        }
    }
}

/// Says what came of it.
fn conclude(board: &Board, report: &Report) -> Result<(), Failure> {
    let sent = report.sent;
    let mut faults = 0;
    for (row, audit) in board.consumers().zip(&report.audits) {
        let verdict = match audit.verdict(sent) {
            Ok(()) => format!("all {} items, in order", units::count(sent)),
            Err(fault) => {
                faults += 1;
                format!("FAULTY: {fault}")
            }
        };
        println!("{}  {verdict}", row.name);
    }
    let (known, pairs) = report.acquaintance;
    let rate = sent as f64 * report.audits.len() as f64 / report.took.as_secs_f64().max(1e-9);
    println!(
        "{} nodes, {known} of {pairs} pairs knew each other after {}; {} items sent, {} items/s \
         delivered",
        board.rows.len(),
        units::duration(report.acquainted_after),
        units::count(sent),
        units::scaled(rate),
    );
    match (faults, known == pairs, sent > 0) {
        (0, true, true) => Ok(()),
        (0, false, _) => Err(Failure::new("not all nodes found each other")),
        (0, true, false) => Err(Failure::new("nothing was sent")),
        _ => Err(Failure::lost(format!(
            "{faults} consumers did not get everything in order"
        ))),
    }
}
