//! The example programs of the workspace.

use {crate::cargo, serde_json::Value, std::path::Path};

/// What `cargo run` needs to run each example, sorted: `--package P --example E` for an example of
/// the facade, `--package P --bin B` for a package below `examples/`.
pub(crate) fn list(root: &Path) -> Result<Vec<String>, String> {
    let metadata = cargo::run(
        root,
        &["metadata", "--format-version=1", "--no-deps", "--locked"],
    )?;
    let metadata = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    Ok(in_metadata(&metadata))
}

fn in_metadata(metadata: &Value) -> Vec<String> {
    let root = Path::new(text(&metadata["workspace_root"])).join("examples");
    let mut examples = Vec::new();
    for package in array(&metadata["packages"]) {
        let whole = Path::new(text(&package["manifest_path"])).starts_with(&root);
        // Other packages' examples print measurements and take their time.
        let facade = text(&package["name"]) == "mosaik";
        for target in array(&package["targets"]) {
            let kind = text(&target["kind"][0]);
            if kind == "example" && facade || kind == "bin" && whole {
                let (package, target) = (text(&package["name"]), text(&target["name"]));
                examples.push(format!("--package {package} --{kind} {target}"));
            }
        }
    }
    examples.sort();
    examples
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use {super::*, serde_json::json};

    #[test]
    fn examples_are_targets_and_packages_of_that_name() {
        let target = |kind: &str, name: &str| json!({ "kind": [kind], "name": name });
        let metadata = json!({ "workspace_root": "/w", "packages": [
            {
                "name": "mosaik",
                "manifest_path": "/w/crates/mosaik/Cargo.toml",
                "targets": [target("lib", "b"), target("bin", "b"), target("example", "y")],
            },
            {
                "name": "a",
                "manifest_path": "/w/examples/a/Cargo.toml",
                "targets": [target("bin", "a"), target("test", "t")],
            },
            {
                "name": "b",
                "manifest_path": "/w/crates/b/Cargo.toml",
                "targets": [target("example", "figures")],
            },
        ] });
        let expected = ["--package a --bin a", "--package mosaik --example y"];
        assert_eq!(in_metadata(&metadata), expected);
        assert!(in_metadata(&json!({})).is_empty());
    }
}
