//! Rules about packages: who may depend on whom, and what may be in the tree at all.

use {
    super::{
        Violation,
        allow::{Allowed, Rule},
        licence,
    },
    serde_json::Value,
    std::collections::BTreeSet,
};

/// Packages that must stay deterministic: nothing of [`IMPURE`] is reachable from them.
pub(crate) const PURE: &[&str] = &["mosaik-primitives", "mosaik-protocol", "mosaik-sim"];

/// Runtimes, sockets, clocks and entropy. Without them a state machine can be simulated.
const IMPURE: &[&str] = &[
    "tokio",
    "iroh",
    "getrandom",
    "chrono",
    "rand",
    "mio",
    "socket2",
];

/// What only the facade and the programs built on it may depend on directly.
const RUNTIME: &[&str] = &["tokio", "tokio-util", "iroh", "iroh-gossip", "iroh-relay"];

/// Where the arrows between our packages may point. A package that is not here may depend on the
/// facade alone, as any user's program does.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("mosaik-primitives", &[]),
    ("mosaik-macros", &[]),
    ("xtask", &[]),
    ("mosaik-protocol", &["mosaik-primitives"]),
    ("mosaik-storage", &["mosaik-primitives", "mosaik-protocol"]),
    (
        "mosaik-sim",
        &["mosaik-primitives", "mosaik-protocol", "mosaik-storage"],
    ),
    (
        "mosaik",
        &[
            "mosaik-primitives",
            "mosaik-macros",
            "mosaik-protocol",
            "mosaik-storage",
        ],
    ),
];

/// Never in the tree, directly or not, each with its reason.
const FORBIDDEN: &[(&str, &str)] = &[
    ("im", "unmaintained; imbl continues it"),
    ("im-rc", "unmaintained; imbl continues it"),
    ("backoff", "unmaintained"),
    ("instant", "unmaintained"),
    ("jwt", "unmaintained"),
    ("bincode", "unmaintained"),
    ("sled", "unmaintained"),
    ("rocksdb", "takes minutes of C++ to build"),
    ("librocksdb-sys", "takes minutes of C++ to build"),
    ("tdx-quote", "AGPL"),
    ("configfs-tsm", "AGPL"),
    (
        "openssl-sys",
        "needs a system library; rustls with ring does not",
    ),
    (
        "native-tls",
        "needs a system library; rustls with ring does not",
    ),
];

fn packages(metadata: &Value) -> Result<&[Value], String> {
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    Ok(packages)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// A package of this workspace has no source.
fn is_ours(package: &Value) -> bool {
    package["source"].is_null()
}

/// Whether the workspace has a package of this name.
pub(crate) fn is_member(metadata: &Value, name: &str) -> bool {
    let members = packages(metadata).unwrap_or_default();
    members
        .iter()
        .any(|package| is_ours(package) && text(package, "name") == name)
}

/// From a line of `cargo tree`: `name v1.2.3 (origin)`.
fn name_and_version(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split(' ');
    Some((words.next()?, words.next()?.strip_prefix('v')?))
}

/// Checks every package of the tree by itself. `tree` is what `cargo tree` lists without
/// indentation.
pub(crate) fn check_packages(
    metadata: &Value,
    tree: &str,
    allowed: &mut Allowed,
) -> Result<Vec<Violation>, String> {
    let mut found = Vec::new();
    let built: BTreeSet<_> = tree.lines().filter_map(name_and_version).collect();
    for package in packages(metadata)? {
        let name = text(package, "name");
        // The metadata also lists what only features that nobody turns on would need.
        if !built.contains(&(name, text(package, "version"))) {
            continue;
        }
        if is_ours(package) {
            found.extend(check_direction(package));
        } else if name == "mosaik" || name.starts_with("mosaik-") {
            found.push(Violation::new(name, "our own name, from a registry"));
        }
        if let Some((_, reason)) = FORBIDDEN.iter().find(|(forbidden, _)| *forbidden == name) {
            found.push(Violation::new(name, format!("forbidden: {reason}")));
        }
        let expression = package["license"].as_str();
        if let Err(why) = licence::check(expression)
            && !allowed.takes(Rule::Licence, name)
        {
            found.push(Violation::new(name, why));
        }
    }
    Ok(found)
}

/// Checks the direct dependencies of one of our packages. Development dependencies are free.
fn check_direction(package: &Value) -> Vec<Violation> {
    let name = text(package, "name");
    let layer = MAY_IMPORT.iter().find(|(layer, _)| *layer == name);
    let may_run = layer.is_none() || name == "mosaik";
    let dependencies = package["dependencies"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    dependencies
        .iter()
        .filter(|dependency| text(dependency, "kind") != "dev")
        .filter_map(|dependency| {
            let to = text(dependency, "name");
            let internal = to == "mosaik" || to.starts_with("mosaik-");
            let wrong = match layer {
                _ if RUNTIME.contains(&to) => !may_run,
                Some((_, may)) => internal && !may.contains(&to),
                None => internal && to != "mosaik",
            };
            wrong.then(|| Violation::new(name, format!("must not depend on {to}")))
        })
        .collect()
}

/// Checks what is reachable from a pure package, as `cargo tree` lists it without indentation.
pub(crate) fn check_purity(package: &str, tree: &str) -> Vec<Violation> {
    IMPURE
        .iter()
        .filter(|impure| {
            tree.lines()
                .any(|line| line.split(' ').next() == Some(**impure))
        })
        .map(|impure| Violation::new(package, format!("reaches {impure}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use {super::*, serde_json::json};

    fn found(packages: &Value) -> Vec<String> {
        let metadata = json!({ "packages": packages });
        let names = packages
            .as_array()
            .unwrap()
            .iter()
            .map(|package| text(package, "name"));
        let tree: Vec<_> = names.map(|name| format!("{name} v1.0.0 (/x)")).collect();
        let found = check_packages(&metadata, &tree.join("\n"), &mut Allowed::default()).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    fn ours(name: &str, kind: Option<&str>, to: &str) -> Value {
        let dependency = json!({ "name": to, "kind": kind });
        json!({ "name": name, "version": "1.0.0", "license": "MIT", "source": null,
                "dependencies": [dependency] })
    }

    fn theirs(name: &str, license: Option<&str>) -> Value {
        json!({ "name": name, "version": "1.0.0", "license": license, "source": "registry+x",
                "dependencies": [] })
    }

    #[test]
    fn arrows_point_one_way() {
        for (from, to) in [
            ("mosaik-protocol", "tokio"),
            ("mosaik-storage", "iroh"),
            ("mosaik-protocol", "mosaik-storage"),
            ("mosaik-primitives", "mosaik"),
            ("mosaik-sim", "mosaik"),
            ("mosaik-bench", "mosaik-protocol"),
        ] {
            let expected = format!("{from}: must not depend on {to}");
            assert_eq!(found(&json!([ours(from, None, to)])), [expected]);
            assert!(
                found(&json!([ours(from, Some("dev"), to)])).is_empty(),
                "in tests"
            );
        }
        for (from, to) in [
            ("mosaik", "tokio"),
            ("mosaik-bench", "iroh"),
            ("orders", "mosaik"),
        ] {
            assert!(
                found(&json!([ours(from, None, to)])).is_empty(),
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn forbidden_packages_are_found_wherever_they_come_from() {
        let tree = json!([
            theirs("sled", Some("MIT")),
            theirs("mosaik-macros", Some("MIT"))
        ]);
        let expected = [
            "sled: forbidden: unmaintained",
            "mosaik-macros: our own name, from a registry",
        ];
        assert_eq!(found(&tree), expected);
    }

    #[test]
    fn every_package_needs_a_licence_of_the_list() {
        let tree = json!([
            theirs("a", Some("MIT OR Apache-2.0")),
            theirs("b", Some("AGPL-3.0")),
            theirs("c", None),
        ]);
        let expected = [
            "b: licence AGPL-3.0 is not on the list",
            "c: names no licence",
        ];
        assert_eq!(found(&tree), expected);
    }

    #[test]
    fn packages_that_no_feature_builds_are_passed_over() {
        let metadata = json!({ "packages": [theirs("sled", Some("AGPL-3.0"))] });
        let found = check_packages(
            &metadata,
            "serde v1.0.0\nsled v2.0.0\n",
            &mut Allowed::default(),
        );
        assert_eq!(found, Ok(vec![]));
    }

    #[test]
    fn impure_packages_are_found_at_any_depth() {
        let tree =
            "mosaik-protocol v0.5.0 (/x)\nserde v1.0.0\ntokio-stream v1\ntokio v1.45.0 (*)\n";
        let found = check_purity("mosaik-protocol", tree);
        assert_eq!(found, [Violation::new("mosaik-protocol", "reaches tokio")]);
        assert!(check_purity("mosaik-protocol", "serde v1\ntokio-stream v1\n").is_empty());
    }

    #[test]
    fn deny_toml_has_the_same_lists() {
        let deny = include_str!("../../../deny.toml");
        let quoted = |line: &'static str| line.split('"').nth(1).unwrap_or_default();
        let banned = deny.lines().filter(|line| line.contains("crate ="));
        let ours = FORBIDDEN.iter().map(|(name, _)| *name);
        assert!(banned.map(quoted).eq(ours));
        let licences = deny
            .split("allow = [")
            .nth(1)
            .and_then(|rest| rest.split(']').next());
        let licences = licences.unwrap_or_default().lines().map(quoted);
        assert!(
            licences
                .filter(|name| !name.is_empty())
                .eq(licence::ALLOWED.iter().copied())
        );
    }

    #[test]
    fn metadata_without_packages_is_an_error() {
        assert!(check_packages(&json!({}), "", &mut Allowed::default()).is_err());
    }
}
