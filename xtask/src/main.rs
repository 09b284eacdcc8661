//! The project's own chores: `cargo xtask tidy` checks the tree, `cargo xtask examples` lists what
//! the continuous integration runs; `soak`, `faults` and `fuzz` are the long runs outside of it.
//!
//! Absent on purpose: anything a compiler or clippy checks already.

mod cargo;
mod examples;
mod faults;
mod fuzz;
mod soak;
mod tidy;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "usage: cargo xtask \
     <tidy | examples | soak [RUNS] | faults [MINUTES] | fuzz [SECONDS [TARGET]]>";
/// What the long runs do when nothing else is asked for.
const SOAK_RUNS: u32 = 20;
const FAULTS_MINUTES: f64 = 30.0;
const FUZZ_SECONDS: u32 = 60;

fn main() -> ExitCode {
    let args = std::env::args().skip(1);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let words: Vec<String> = args.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["tidy"] => run_tidy(&root),
        ["examples"] => list_examples(&root),
        ["soak"] => ended("soak", soak::run(&root, SOAK_RUNS)),
        ["soak", runs] => match runs.parse() {
            Ok(runs) => ended("soak", soak::run(&root, runs)),
            Err(_) => misused(),
        },
        ["faults"] => ended("faults", faults::run(&root, FAULTS_MINUTES)),
        ["faults", minutes] => match minutes.parse() {
            Ok(minutes) => ended("faults", faults::run(&root, minutes)),
            Err(_) => misused(),
        },
        ["fuzz"] => ended("fuzz", fuzz::run(&root, FUZZ_SECONDS, "")),
        ["fuzz", seconds, ref filter @ ..] if filter.len() <= 1 => match seconds.parse() {
            Ok(seconds) => ended(
                "fuzz",
                fuzz::run(&root, seconds, filter.first().unwrap_or(&"")),
            ),
            Err(_) => misused(),
        },
        _ => misused(),
    }
}

fn misused() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::FAILURE
}

fn ended(what: &str, outcome: std::io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{what}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_tidy(root: &Path) -> ExitCode {
    match tidy::run(root) {
        Ok(violations) if violations.is_empty() => ExitCode::SUCCESS,
        Ok(violations) => {
            for violation in &violations {
                eprintln!("{violation}");
            }
            eprintln!("tidy: {} violations", violations.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what `cargo run` needs for each example, a line each.
fn list_examples(root: &Path) -> ExitCode {
    match examples::list(root) {
        Ok(examples) => {
            for example in examples {
                println!("{example}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("examples: {error}");
            ExitCode::FAILURE
        }
    }
}
