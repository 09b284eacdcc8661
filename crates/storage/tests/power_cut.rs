//! Power fails at any operation on the disk, and tears what was not synced.

mod common;

use {
    common::{open, try_open, unparks_this_thread},
    mosaik_storage::{
        Completion, DiskStore, GroupId, LogStore, MemoryStore,
        conformance::Workload,
        faulty::{SimulatedDisk, SplitMix},
    },
    std::{sync::Arc, thread},
};

const CUTS: u64 = 200;
const GROUPS: u64 = 3;
const IN_FLIGHT: u64 = 6;

/// Submits batches of every group until the power is off. Returns the last acknowledged and the
/// last submitted of each.
fn write_until_dark(
    store: &mut DiskStore,
    workloads: &[Workload],
    ahead: &mut [MemoryStore],
) -> Vec<(u64, u64)> {
    let mut ends: Vec<(u64, u64)> = workloads
        .iter()
        .zip(&mut *ahead)
        .map(|(workload, ahead)| {
            let state = ahead.load(workload.group).expect("memory loads");
            let number = Workload::number(state.as_ref());
            (number, number)
        })
        .collect();
    let mut completions: Vec<Completion> = Vec::new();
    let mut dark = false;
    store.wake_on_completion(&unparks_this_thread());
    loop {
        for ((workload, ahead), (acknowledged, submitted)) in
            workloads.iter().zip(&mut *ahead).zip(&mut ends)
        {
            while !dark && *submitted < *acknowledged + IN_FLIGHT {
                let state = ahead.load(workload.group).expect("memory loads");
                let batch = workload.batch(*submitted + 1, state.as_ref());
                ahead.write(batch.clone()).expect("memory writes");
                store.submit(batch).expect("the queue has room");
                *submitted += 1;
            }
        }
        store.completed(&mut completions);
        if completions.is_empty() {
            if dark {
                return ends;
            }
            thread::park();
        }
        for Completion { group, result, .. } in completions.drain(..) {
            let number = workloads
                .iter()
                .position(|workload| workload.group == group);
            let (acknowledged, _) = &mut ends[number.expect("a group of ours")];
            match result {
                Ok(()) => *acknowledged += 1,
                Err(error) => {
                    assert!(error.is_fatal(), "{error}");
                    dark = true;
                }
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_there_twice() {
    let disk = Arc::new(SimulatedDisk::new(7));
    let mut rng = SplitMix::new(7);
    let workloads: Vec<Workload> = (0..GROUPS)
        .map(|group| Workload {
            seed: 7,
            group: GroupId::from_u64(group),
        })
        .collect();
    let mut models: Vec<MemoryStore> = workloads.iter().map(|_| MemoryStore::new()).collect();
    drop(open(&disk));
    let (mut dark_while_opening, mut survivors) = (0, 0);
    for cut in 0..CUTS {
        // Early cuts hit the recovery from the cut before.
        disk.cut_power_after(rng.below(if cut % 4 == 0 { 4 } else { 600 }));
        let opened = try_open(&disk);
        let mut ends = None;
        match opened {
            Ok(mut store) => {
                ends = Some(write_until_dark(
                    &mut store,
                    &workloads,
                    &mut models.clone(),
                ));
            }
            Err(error) => {
                assert!(
                    error.to_string().contains("power is off"),
                    "cut {cut}: {error}"
                );
                dark_while_opening += 1;
            }
        }
        disk.restore_power();
        let mut store = open(&disk);
        for (number, (workload, model)) in workloads.iter().zip(&mut models).enumerate() {
            let before = model.load(workload.group).expect("memory loads");
            let before = Workload::number(before.as_ref());
            let (acknowledged, submitted) =
                ends.as_ref().map_or((before, before), |ends| ends[number]);
            let reached = workload.check(&mut store, model, acknowledged, submitted);
            let reached = reached.unwrap_or_else(|error| panic!("cut {cut}: {error}"));
            survivors += u64::from(reached > acknowledged);
        }
        // Half of the time the file is left as a crash leaves it, not closed.
        if cut % 2 == 0 {
            disk.cut_power_after(0);
            drop(store);
            disk.restore_power();
        }
    }
    println!("{dark_while_opening} cuts while opening, {survivors} times more than acknowledged");
    assert!(
        dark_while_opening > 5,
        "cuts hit recovery as well: {dark_while_opening}"
    );
}
