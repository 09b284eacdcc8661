//! Planted faults: is the simulator good enough to notice?
//!
//! The faults themselves live in the core and exist only in builds with `--cfg mosaik_mutants`.

use {
    crate::{
        campaign,
        failure::Failure,
        run::{self, Options},
        scenario,
        trace::Trace,
    },
    mosaik_protocol::consensus::mutants::MUTANTS,
};

/// Seeds that a hunt tries before and after the scenarios.
const SEEDS: [u64; 2] = [24, 600];

/// Whether this build can plant anything.
pub const AVAILABLE: bool = cfg!(mosaik_mutants);

/// The names of all faults, none when the core was built without them.
pub fn names() -> Vec<&'static str> {
    if AVAILABLE {
        MUTANTS.iter().map(|(name, _)| *name).collect()
    } else {
        Vec::new()
    }
}

/// The fault of that name.
pub fn named(name: &str) -> Result<&'static str, String> {
    names()
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(|| format!("no mutant is called {name} in this build"))
}

/// Runs `body` with a fault planted.
pub fn with<T>(mutant: Option<&'static str>, body: impl FnOnce() -> T) -> T {
    #[cfg(mosaik_mutants)]
    mosaik_protocol::consensus::mutants::plant(mutant);
    #[cfg(not(mosaik_mutants))]
    assert!(mutant.is_none(), "this build plants nothing");
    body()
}

/// Looks for a run that notices the fault; how it was noticed.
pub fn hunt(name: &'static str, options: &Options) -> Result<String, Failure> {
    let sound = Options {
        mutant: None,
        ..*options
    };
    let options = Options {
        mutant: Some(name),
        ..*options
    };

    let seed_notices = |seed: u64| {
        let ran = campaign::guarded(|| run::run(seed, &options, Trace::hashed()).map(drop));
        // A run that fails without the fault as well has not noticed it.
        let noticed = ran.err().filter(|_| {
            campaign::guarded(|| run::run(seed, &sound, Trace::hashed()).map(drop)).is_ok()
        });
        noticed.map(|failure| format!("--seed {seed}: {failure}"))
    };
    let scenario_notices = |name: &str| {
        let ran = campaign::guarded(|| scenario::run_named(name, &options, Trace::hashed));
        let noticed = ran.err().filter(|_| {
            campaign::guarded(|| scenario::run_named(name, &sound, Trace::hashed)).is_ok()
        });
        noticed.map(|failure| format!("--scenario {name}: {failure}"))
    };
    (0..SEEDS[0])
        .find_map(seed_notices)
        .or_else(|| {
            scenario::ALL
                .iter()
                .find_map(|(name, _)| scenario_notices(name))
        })
        .or_else(|| (SEEDS[0]..SEEDS[1]).find_map(seed_notices))
        .ok_or_else(|| Failure::new("every mutant is noticed", format!("{name} was not")))
}
