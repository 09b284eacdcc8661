//! `mosaik demo`: several nodes in one process find each other on loopback, and one of them
//! streams readings to the others. Three of those form a group that counts the readings; its
//! leader is killed on the way.
//!
//! `nodes` runs them, `group` is the counting, `home` where nodes live that are killed, `board` is what is shown of them, `view` draws it, `screen` owns the
//! terminal, `reading` holds what arrived against what was sent.

mod board;
mod group;
mod home;
mod nodes;
mod reading;
mod screen;
mod view;

use {
    super::{args::DemoArgs, failure::Failure, session::interrupted, units},
    board::Board,
    core::time::Duration,
    group::GroupReport,
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

/// Runs the demo; fails unless every item that was sent arrived at every consumer that lived, in
/// order, and no count was lost.
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
            report = &mut work => {
                board.update(nodes.sample());
                return report;
            }
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
        let verdict = match audit.as_ref().map(|audit| audit.verdict(sent)) {
            None => format!("killed after {} items", units::count(row.sample.items)),
            Some(Ok(())) => format!("all {} items, in order", units::count(sent)),
            Some(Err(fault)) => {
                faults += 1;
                format!("FAULTY: {fault}")
            }
        };
        println!("{}  {verdict}", row.name);
    }
    if let Some(group) = &report.group {
        println!("{}", counting(board, group));
    }
    let (known, pairs) = report.acquaintance;
    let delivered: u64 = board.consumers().map(|row| row.sample.items).sum();
    let rate = delivered as f64 / report.took.as_secs_f64().max(1e-9);
    println!(
        "{} nodes, {known} of {pairs} pairs knew each other after {}; {} items sent, {} items/s \
         delivered",
        board.rows.len(),
        units::duration(report.acquainted_after),
        units::count(sent),
        units::scaled(rate),
    );
    let count_fault = report.group.as_ref().and_then(|group| group.fault.as_ref());
    match (faults, known == pairs, sent > 0) {
        (0, ..) if count_fault.is_some() => Err(Failure::lost("counts were lost")),
        (0, true, true) => Ok(()),
        (0, false, _) => Err(Failure::new("not all nodes found each other")),
        (0, true, false) => Err(Failure::new("nothing was sent")),
        _ => Err(Failure::lost(format!(
            "{faults} consumers did not get everything in order"
        ))),
    }
}

/// Says what came of the group.
fn counting(board: &Board, report: &GroupReport) -> String {
    let name = |node: usize| board.rows.get(node).map_or("?", |row| row.name.as_str());
    let counted = units::count(report.counted);
    let killed = match (report.killed, report.takeover) {
        (None, _) => "its leader was not killed".to_owned(),
        (Some(killed), None) => format!("{} was killed, nobody took over", name(killed)),
        (Some(killed), Some((next, took))) => format!(
            "{} was killed, {} took over after {}",
            name(killed),
            name(next),
            units::duration(took),
        ),
    };
    let verdict = match &report.fault {
        None => "no count lost".to_owned(),
        Some(fault) => format!("FAULTY: {fault}"),
    };
    format!("group  {counted} readings counted; {killed}; {verdict}")
}
