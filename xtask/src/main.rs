//! The project's own chores: `cargo xtask tidy` checks the tree, `cargo xtask examples` lists what
//! the continuous integration runs.
//!
//! Absent on purpose: anything a compiler or clippy checks already.

mod cargo;
mod examples;
mod tidy;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "usage: cargo xtask <tidy|examples>";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    match (args.next().as_deref(), args.next()) {
        (Some("tidy"), None) => run_tidy(&root),
        (Some("examples"), None) => list_examples(&root),
        _ => {
            eprintln!("{USAGE}");
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
