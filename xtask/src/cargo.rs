//! Asking cargo.

use std::{path::Path, process::Command};

/// What `cargo` prints for these arguments in `root`.
pub(crate) fn run(root: &Path, args: &[&str]) -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(args)
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo {}: {error}", args[0]))?;
    if !output.status.success() {
        let cause = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo {}: {cause}", args.join(" ")));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}
