//! `cargo xtask soak`: the whole test suite again and again while every processor is busy.
//!
//! What passes only on an idle machine fails here. Nothing is retried: the first failure ends it.

use {
    crate::cargo,
    std::{
        io::{Error, Result},
        path::Path,
        sync::atomic::{AtomicBool, Ordering},
        time::Instant,
    },
};

/// Runs the suite so many times, with `TIME_FACTOR` as it is set, or 4.
pub(crate) fn run(root: &Path, runs: u32) -> Result<()> {
    let factor = std::env::var("TIME_FACTOR").unwrap_or_else(|_| "4".into());
    let suite = |extra: &[&str]| {
        cargo::fresh()
            .args(["test", "--workspace", "--locked"])
            .args(extra)
            .env("TIME_FACTOR", &factor)
            .current_dir(root)
            .status()
    };
    if !suite(&["--no-run"])?.success() {
        return Err(Error::other("the tests were not built"));
    }
    let ended = AtomicBool::new(false);
    let burners = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        for _ in 0..burners {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let outcome = (1..=runs).try_for_each(|run| {
            let started = Instant::now();
            let status = suite(&[])?;
            println!(
                "== run {run} of {runs}: {status}, {:.0?}",
                started.elapsed()
            );
            if status.success() {
                Ok(())
            } else {
                Err(Error::other(format!("run {run} failed")))
            }
        });
        ended.store(true, Ordering::Relaxed);
        outcome
    })
}
