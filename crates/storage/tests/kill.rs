//! A writing process is killed again and again: what it acknowledged is there, nothing is there twice.
//!
//! `MOSAIK_CRASH_CYCLES` sets the number of kills; the long run is
//! `MOSAIK_CRASH_CYCLES=200 cargo test -p mosaik-storage --test kill`.

mod common;

use {
    common::TemporaryDirectory,
    mosaik_storage::{DiskStore, GroupId, MemoryStore, conformance::Workload, faulty::SplitMix},
    std::{
        env,
        io::{BufRead, BufReader},
        path::Path,
        process::{Command, Stdio},
    },
};

const SEED: u64 = 20;
const GROUPS: u64 = 4;
/// Batches that a group has in flight in the writing process.
const IN_FLIGHT: u64 = 8;

/// Runs the writer until it acknowledged `acknowledgements` batches, kills it, and returns the last
/// batch that it acknowledged of each group.
fn write_and_kill(directory: &Path, acknowledgements: u64) -> [u64; GROUPS as usize] {
    let mut writer = Command::new(env!("CARGO_BIN_EXE_crash_writer"))
        .arg(directory)
        .args([SEED.to_string(), GROUPS.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the writer starts");
    let output = BufReader::new(writer.stdout.take().expect("its output is a pipe"));
    let mut acknowledged = [0; GROUPS as usize];
    let mut count = 0;
    for line in output.lines() {
        let line = line.expect("the pipe is read");
        // A line that the kill cut short acknowledges nothing that can be told.
        let Some((group, number)) = line.split_once(' ') else {
            continue;
        };
        let (Ok(group), Ok(number)) = (group.parse::<usize>(), number.parse()) else {
            continue;
        };
        let last: &mut u64 = &mut acknowledged[group];
        // A cut number is shorter than the one before it, never longer.
        *last = (*last).max(number);
        count += 1;
        if count == acknowledgements {
            writer.kill().expect("the writer is killed");
        }
    }
    let status = writer.wait().expect("the writer ends");
    assert!(
        count >= acknowledgements,
        "the writer ended by itself: {status}"
    );
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_there_twice() {
    let cycles = env::var("MOSAIK_CRASH_CYCLES")
        .ok()
        .and_then(|cycles| cycles.parse().ok());
    let directory = TemporaryDirectory::new("kill");
    let mut rng = SplitMix::new(SEED);
    let mut models: Vec<MemoryStore> = (0..GROUPS).map(|_| MemoryStore::new()).collect();
    let mut total = 0;
    for cycle in 0..cycles.unwrap_or(50) {
        let acknowledged = write_and_kill(directory.path(), 1 + rng.below(120));
        let mut store = DiskStore::open(directory.path()).expect("opens after a kill");
        total = 0;
        for (group, model) in (0..GROUPS).zip(&mut models) {
            let workload = Workload {
                seed: SEED,
                group: GroupId::from_u64(group),
            };
            let acknowledged = acknowledged[group as usize];
            let reached = workload.check(&mut store, model, acknowledged, u64::MAX);
            let reached = reached.unwrap_or_else(|error| panic!("cycle {cycle}: {error}"));
            // All lines up to the kill were read: what is there beyond them was in flight, or its
            // line was.
            let slack = if acknowledged == 0 {
                u64::MAX
            } else {
                acknowledged + 64 * IN_FLIGHT
            };
            assert!(
                reached <= slack,
                "cycle {cycle}: batch {reached} was never submitted"
            );
            total += reached;
        }
    }
    println!("{total} batches");
}
