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

/// A command `cargo` that builds as one does that a shell starts: what cargo says to this program
/// of its package would have dependencies built anew whose build scripts look at that.
pub(crate) fn fresh() -> Command {
    let mut command = Command::new("cargo");
    let told = |name: &str| {
        let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(told) {
            command.env_remove(name);
        }
    }
    command
}
