//! Rules about the tree that no compiler checks. Each has its reason where it is defined, and a
//! unit test with a bad sample.

mod allow;
mod deps;
mod guarantees;
mod lexer;
mod licence;
mod source;

use {
    crate::cargo,
    allow::Allowed,
    std::{
        fmt, fs, io,
        path::{Path, PathBuf},
    },
};

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// File and line, or the package.
    at: String,
    what: String,
}

impl Violation {
    fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Checks everything below `root`; the error says why it could not be checked.
pub(crate) fn run(root: &Path) -> Result<Vec<Violation>, String> {
    let mut allowed = Allowed::default();
    let mut violations = Vec::new();
    let mut files = Vec::new();
    rust_files(root, &mut files).map_err(|error| format!("{}: {error}", root.display()))?;
    for file in &files {
        let text = read(file)?;
        let name = relative(root, file);
        violations.extend(source::check(&name, &text, &mut allowed));
    }
    let promises = root.join("docs/guarantees.md");
    let test_source = |path: &str| fs::read_to_string(root.join(path)).ok();
    violations.extend(guarantees::check(&read(&promises)?, test_source));
    let metadata = cargo::run(
        root,
        &[
            "metadata",
            "--format-version=1",
            "--all-features",
            "--locked",
        ],
    )?;
    let metadata = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let tree = [
        "tree",
        "--workspace",
        "--all-features",
        "--prefix=none",
        "--target=all",
        "--locked",
    ];
    let tree = cargo::run(root, &tree)?;
    violations.extend(deps::check_packages(&metadata, &tree, &mut allowed)?);
    for package in deps::PURE {
        let tree = [
            "tree",
            "-p",
            package,
            "-e=normal",
            "--prefix=none",
            "--target=all",
            "--locked",
        ];
        if deps::is_member(&metadata, package) {
            violations.extend(deps::check_purity(package, &cargo::run(root, &tree)?));
        }
    }
    violations.extend(allowed.unused());
    Ok(violations)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn relative(root: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(root).unwrap_or(file);
    relative.to_string_lossy().replace('\\', "/")
}

/// Every `.rs` file that is not hidden and not a build product, in a stable order.
fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let kind = entry.file_type()?;
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, files)?;
        } else if kind.is_file() && name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}
