//! The example programs of the workspace.

use {crate::cargo, serde_json::Value, std::path::Path};

/// Package and name of every example, sorted.
pub(crate) fn list(root: &Path) -> Result<Vec<(String, String)>, String> {
    let metadata = cargo::run(
        root,
        &["metadata", "--format-version=1", "--no-deps", "--locked"],
    )?;
    let metadata = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    Ok(in_metadata(&metadata))
}

fn in_metadata(metadata: &Value) -> Vec<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut examples: Vec<_> = list(&metadata["packages"])
        .iter()
        .flat_map(|package| {
            let targets = list(&package["targets"]).into_iter();
            let examples = targets.filter(|target| target["kind"][0] == "example");
            examples
                .map(|target| (text(&package["name"]), text(&target["name"])))
                .collect::<Vec<_>>()
        })
        .collect();
    examples.sort();
    examples
}

#[cfg(test)]
mod tests {
    use {super::*, serde_json::json};

    #[test]
    fn only_examples_are_listed() {
        let target = |kind: &str, name: &str| json!({ "kind": [kind], "name": name });
        let metadata = json!({ "packages": [
            { "name": "b", "targets": [target("lib", "b"), target("example", "y")] },
            { "name": "a", "targets": [target("example", "z"), target("bin", "a")] },
        ] });
        let expected = [("a", "z"), ("b", "y")].map(|(p, e)| (p.to_owned(), e.to_owned()));
        assert_eq!(in_metadata(&metadata), expected);
        assert!(in_metadata(&json!({})).is_empty());
    }
}
