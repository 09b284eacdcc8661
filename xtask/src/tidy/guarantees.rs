//! `docs/guarantees.md`: a promise names the tests that hold it, and those tests exist.
//!
//! A promise is a second-level heading. Under it stands either `Not yet built`, or `Held by` with
//! tests written as `` `path/to/file.rs::test_name` ``.

use super::{
    Violation,
    lexer::{self, is_word},
    source::line_of,
};

const FILE: &str = "docs/guarantees.md";

/// Checks the document; `read` gives the source of a file, if there is one.
pub(crate) fn check(document: &str, read: impl Fn(&str) -> Option<String>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut at = 0;
    for section in document.split_inclusive("\n## ").skip(1) {
        at = document[at..]
            .find(section)
            .map_or(at, |offset| at + offset);
        let violation =
            |what: String| Violation::new(format!("{FILE}:{}", line_of(document, at)), what);
        let tests: Vec<_> = named_tests(section).collect();
        if section.contains("Not yet built") != tests.is_empty() {
            found.push(violation(
                "a promise is held by tests or not yet built".into(),
            ));
        }
        for (path, name) in tests {
            match read(path) {
                None => found.push(violation(format!("{path} does not exist"))),
                Some(source) if !has_test(&source, name) => {
                    found.push(violation(format!("{path} has no test {name}")));
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// The `path.rs::name` between backticks.
fn named_tests(section: &str) -> impl Iterator<Item = (&str, &str)> {
    section.split('`').skip(1).step_by(2).filter_map(|quoted| {
        let (path, name) = quoted.split_once(".rs::")?;
        Some((&quoted[..path.len() + ".rs".len()], name))
    })
}

/// Whether the source has a function of this name (the last segment) marked as a test.
fn has_test(source: &str, name: &str) -> bool {
    let name = name.rsplit("::").next().unwrap_or(name);
    let code = lexer::split(source).code;
    let lines: Vec<_> = code.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let defines = line.split_once("fn ").is_some_and(|(before, rest)| {
            let ends = rest
                .strip_prefix(name)
                .is_some_and(|rest| !rest.starts_with(is_word));
            ends && !before.ends_with(is_word)
        });
        let attributes = lines[..at]
            .iter()
            .rev()
            .take_while(|line| line.is_empty() || line.starts_with('#') || line.ends_with(']'));
        defines && attributes.into_iter().any(|line| is_test_attribute(line))
    })
}

/// `#[test]`, `#[tokio::test]`, with or without arguments.
fn is_test_attribute(line: &str) -> bool {
    line.strip_prefix("#[").is_some_and(|inside| {
        let path = inside.split(['(', ']']).next().unwrap_or_default();
        path.rsplit("::").next() == Some("test")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "#[test]\nfn holds() {}\n#[tokio::test(flavor = \"x\")]\n/// Why.\n\
                          async fn also() {}\nfn helper() {}\n";

    fn found(document: &str) -> Vec<String> {
        let read = |path: &str| (path == "crates/x/tests/a.rs").then(|| SOURCE.to_owned());
        check(document, read)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn tests_that_exist_are_taken() {
        let document = "# T\n`code`\n\n## G1\nHeld by `crates/x/tests/a.rs::holds`,\n\
                        `crates/x/tests/a.rs::tests::also`.\n\n## G2\nNot yet built.\n";
        assert!(found(document).is_empty());
    }

    #[test]
    fn tests_that_do_not_exist_are_found() {
        for (named, why) in [
            (
                "crates/x/tests/b.rs::holds",
                "crates/x/tests/b.rs does not exist",
            ),
            (
                "crates/x/tests/a.rs::hold",
                "crates/x/tests/a.rs has no test hold",
            ),
            (
                "crates/x/tests/a.rs::helper",
                "crates/x/tests/a.rs has no test helper",
            ),
        ] {
            let document = format!("# T\n\n## G1\nHeld by `{named}`.\n");
            assert_eq!(found(&document), [format!("docs/guarantees.md:3: {why}")]);
        }
    }

    #[test]
    fn a_promise_without_tests_is_found() {
        let why = "docs/guarantees.md:2: a promise is held by tests or not yet built";
        assert_eq!(found("# T\n## G1\nWe promise.\n"), [why]);
        let both = "# T\n## G1\nNot yet built. Held by `crates/x/tests/a.rs::holds`.\n";
        assert_eq!(found(both), [why]);
    }
}
