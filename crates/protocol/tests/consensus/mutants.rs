//! Planted faults: whatever is broken on purpose must be noticed here, by the simulator, or both.
//!
//! Compiled with `--cfg mosaik_mutants` only.

use {
    crate::{basics, chaos, faults, founding, merging, traps},
    mosaik_protocol::consensus::mutants::{MUTANTS, plant},
    std::panic::catch_unwind,
};

/// What breaks, in the order of its cost.
fn caught(name: &str) -> Option<String> {
    plant(Some(name));
    let caught = basics::ALL
        .iter()
        .chain(traps::ALL)
        .chain(faults::ALL)
        .chain(merging::ALL)
        .chain(founding::ALL)
        .find(|(_, test)| catch_unwind(*test).is_err())
        .map(|(test, _)| (*test).to_string())
        .or_else(|| {
            (0..60u64).find_map(|seed| {
                let run = |count, formed| catch_unwind(|| chaos::run(seed, count, formed)).is_err();
                (run(3, true) || run(5, true) || run(4, false)).then(|| format!("chaos {seed}"))
            })
        });
    plant(None);
    caught
}

#[test]
fn every_mutant_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("MUTANT").ok();
    let wanted = MUTANTS
        .iter()
        .filter(|(name, _)| only.as_ref().is_none_or(|o| o == name));
    let mut missed = Vec::new();
    for (name, what) in wanted {
        match caught(name) {
            Some(by) => println!("{name}: caught by {by}"),
            None => {
                println!("{name}: MISSED");
                missed.push(format!("{name} ({what})"));
            }
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not noticed: {missed:#?}");
}
