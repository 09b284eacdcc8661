//! The project's own checks, run as `cargo xtask tidy`.
//!
//! Absent on purpose: anything a compiler or clippy checks already.

mod tidy;

use std::{path::PathBuf, process::ExitCode};

const USAGE: &str = "usage: cargo xtask tidy";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if let (Some("tidy"), None) = (args.next().as_deref(), args.next()) {
        run_tidy()
    } else {
        eprintln!("{USAGE}");
        ExitCode::FAILURE
    }
}

fn run_tidy() -> ExitCode {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    match tidy::run(&root) {
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
