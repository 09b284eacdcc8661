//! Many runs on all cores.
//!
//! A run that panics counts as failed: assertions in the core are invariants too.

use {
    crate::failure::Failure,
    core::{
        panic::AssertUnwindSafe,
        sync::atomic::{AtomicU64, Ordering},
    },
    std::{cell::RefCell, panic, sync::Mutex, thread},
};

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics of runs off the terminal and remembers their text for [`guarded`].
pub fn silence_panics() {
    panic::set_hook(Box::new(|info| {
        LAST_PANIC.with_borrow_mut(|text| *text = info.to_string());
    }));
}

/// Runs `run`, turning a panic into a failure.
pub fn guarded<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let text = LAST_PANIC.with_borrow(Clone::clone).replace('\n', " ");
        Err(Failure::new("assertion", text))
    })
}

/// What became of `count` runs.
#[derive(Debug)]
pub struct Outcome {
    /// Runs without a violation.
    pub passed: u64,
    /// Runs with one, by number, in ascending order.
    pub failed: Vec<(u64, Failure)>,
}

/// Runs `run` for every number from `first` on, `count` of them, on `jobs` threads, and stops
/// handing out numbers when `enough` runs have failed.
pub fn run_all(
    first: u64,
    count: u64,
    jobs: usize,
    enough: usize,
    run: impl Fn(u64) -> Result<(), Failure> + Sync,
) -> Outcome {
    let next = AtomicU64::new(first);
    let passed = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= first + count {
                return;
            }
            let Err(failure) = guarded(|| run(number)) else {
                passed.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let mut failed = failed.lock().expect("nobody panics with the list locked");
            failed.push((number, failure));
            if failed.len() >= enough {
                next.store(first + count, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(worker);
        }
    });
    let mut failed = failed
        .into_inner()
        .expect("nobody panicked with the list locked");
    failed.sort_by_key(|(number, _)| *number);
    Outcome {
        passed: passed.into_inner(),
        failed,
    }
}
