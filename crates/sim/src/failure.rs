//! Why a run failed.

use {
    crate::queue::{MILLI, Nanos},
    core::fmt,
};

/// What a run found, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Virtual time.
    pub at: Nanos,
    /// The invariant or expectation that does not hold.
    pub what: &'static str,
    /// The facts that show it.
    pub facts: String,
}

impl Failure {
    /// A failure whose time the world fills in.
    pub fn new(what: &'static str, facts: impl Into<String>) -> Self {
        Self {
            at: 0,
            what,
            facts: facts.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at as f64 / MILLI as f64;
        write!(f, "{} at {at:.3} ms: {}", self.what, self.facts)
    }
}
