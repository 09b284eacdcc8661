//! `cargo xtask fuzz`: every fuzz target for a while, under libFuzzer and the address sanitizer.
//!
//! Needs a nightly toolchain, for the sanitizer alone. Inputs found are kept in `fuzz/corpus`, and
//! those that fail in `fuzz/artifacts`, so that a later run starts with both.

use std::{
    io::{Error, Result},
    path::Path,
    process::Command,
};

/// What makes a build of libFuzzer's: coverage of every edge, and comparisons as hints.
const FLAGS: &str = "--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares \
     -Ccodegen-units=1";
/// Given explicitly, so that build scripts are built without these flags.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Mebibytes that a target may hold: a decoder that needs more allocates what no input justifies.
const RSS_LIMIT_MIB: u32 = 2_048;
/// Bytes of an input at most; limits that are larger are passed by lengths, not by content.
const MAX_LEN: u32 = 65_536;

/// Runs the targets, or those whose names contain `filter`, each for so many seconds.
pub(crate) fn run(root: &Path, seconds: u32, filter: &str) -> Result<()> {
    let fuzz = root.join("fuzz");
    let mut names = Vec::new();
    for file in fuzz.join("fuzz_targets").read_dir()? {
        let path = file?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        names.extend(name.filter(|name| name.contains(filter)).map(String::from));
    }
    names.sort();
    let built = Command::new("rustup")
        .args(["run", "nightly", "cargo", "build", "--release"])
        .args(["--target", TARGET])
        .arg("--manifest-path")
        .arg(fuzz.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(fuzz.join("target"))
        .env("RUSTFLAGS", FLAGS)
        .status()?;
    if !built.success() {
        return Err(Error::other("the fuzz targets were not built"));
    }
    let mut failed = Vec::new();
    for name in names {
        let corpus = fuzz.join("corpus").join(&name);
        let artifacts = fuzz.join("artifacts").join(&name);
        std::fs::create_dir_all(&corpus)?;
        std::fs::create_dir_all(&artifacts)?;
        println!("== {name}");
        let status = Command::new(fuzz.join("target").join(TARGET).join("release").join(&name))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-rss_limit_mb={RSS_LIMIT_MIB}"))
            .arg(format!("-max_len={MAX_LEN}"))
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(&corpus)
            .status()?;
        if !status.success() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::other(format!("failed: {}", failed.join(", "))))
    }
}
