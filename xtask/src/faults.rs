//! `cargo xtask faults`: five processes under faults of every kind, for as long as one likes.
//!
//! It is one test of the suite (`crates/mosaik/tests/processes/random.rs`), told to go on. It prints
//! its seed, every fault as it happens, and in the end how many there were of each kind and what
//! became of how many operations. `MOSAIK_FAULTS_SEED` repeats a seed, `MOSAIK_TEST_LOG` names a
//! directory for the members' logs. Where the kernel permits no network namespaces it says so, and
//! divides no networks.

use {
    crate::cargo,
    std::{
        io::{Error, Result},
        path::Path,
    },
};

/// The test that goes on.
const TEST: &str = "random::whatever_comes_nothing_acknowledged_is_lost_and_everything_works_again";

/// Goes on for so many minutes, with `TIME_FACTOR` as it is set, or 4.
pub(crate) fn run(root: &Path, minutes: f64) -> Result<()> {
    let factor = std::env::var("TIME_FACTOR").unwrap_or_else(|_| "4".into());
    let status = cargo::fresh()
        .args([
            "test",
            "--package",
            "mosaik",
            "--test",
            "processes",
            "--locked",
        ])
        .args(["--", "--exact", TEST, "--nocapture"])
        .env("MOSAIK_FAULTS_MINUTES", minutes.to_string())
        .env("TIME_FACTOR", factor)
        .current_dir(root)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::other("something did not hold"))
    }
}
