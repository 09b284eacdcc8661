//! Every exception to a rule, each with its reason. An exception that nothing needs any more is
//! itself a violation, so the lists stay true.

use super::Violation;

/// The rules that know exceptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A file longer than the limit.
    FileLength,
    /// A function longer than the limit; the subject is `path::function`.
    FunctionLength,
    /// An unbounded channel; the subject is the file.
    UnboundedChannel,
    /// A package whose licence is not on the list; the subject is the package.
    Licence,
}

struct Exception {
    rule: Rule,
    subject: &'static str,
    /// Why this one may break the rule.
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        rule: Rule::FunctionLength,
        subject: "crates/protocol/tests/consensus/chaos.rs::run",
        reason: "one run of random faults from its first step to its last check",
    },
    Exception {
        rule: Rule::FunctionLength,
        subject: "crates/protocol/tests/consensus/encodings.rs::bodies",
        reason: "one sample a message",
    },
    Exception {
        rule: Rule::FileLength,
        subject: "crates/sim/tests/model.rs",
        reason: "one model, checked as a whole",
    },
    Exception {
        rule: Rule::FunctionLength,
        subject: "crates/protocol/src/consensus/codec.rs::put_body",
        reason: "one arm a message, read side by side with its inverse",
    },
    Exception {
        rule: Rule::FunctionLength,
        subject: "crates/protocol/src/store/state.rs::after",
        reason: "the order in which a batch takes effect, in one piece",
    },
    Exception {
        rule: Rule::FunctionLength,
        subject: "crates/protocol/src/subscription/literal.rs::numbers_compare_by_value_whatever_their_type",
        reason: "a table of cases",
    },
];

/// The exceptions, and which of them were needed.
pub(crate) struct Allowed {
    exceptions: &'static [Exception],
    used: Vec<bool>,
}

impl Default for Allowed {
    fn default() -> Self {
        Self::from_list(EXCEPTIONS)
    }
}

impl Allowed {
    fn from_list(exceptions: &'static [Exception]) -> Self {
        Self {
            exceptions,
            used: vec![false; exceptions.len()],
        }
    }

    /// Whether `subject` may break `rule`.
    pub(crate) fn takes(&mut self, rule: Rule, subject: &str) -> bool {
        let found = self
            .exceptions
            .iter()
            .position(|e| e.rule == rule && e.subject == subject);
        found.inspect(|&at| self.used[at] = true).is_some()
    }

    /// A violation for each exception that nothing needed or that gives no reason.
    pub(crate) fn unused(&self) -> Vec<Violation> {
        self.exceptions
            .iter()
            .zip(&self.used)
            .filter(|(exception, used)| !**used || exception.reason.is_empty())
            .map(|(Exception { rule, subject, .. }, _)| {
                Violation::new(
                    *subject,
                    format!("exception to {rule:?} is unused or has no reason"),
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[Exception] = &[
        Exception {
            rule: Rule::FileLength,
            subject: "a.rs",
            reason: "a table",
        },
        Exception {
            rule: Rule::FileLength,
            subject: "b.rs",
            reason: "a table",
        },
        Exception {
            rule: Rule::Licence,
            subject: "c",
            reason: "",
        },
    ];

    #[test]
    fn an_exception_holds_for_its_rule_and_subject_only() {
        let mut allowed = Allowed::from_list(LIST);
        assert!(allowed.takes(Rule::FileLength, "a.rs"));
        assert!(!allowed.takes(Rule::FunctionLength, "a.rs"));
        assert!(!allowed.takes(Rule::FileLength, "c"));
    }

    #[test]
    fn unused_and_unreasoned_exceptions_are_violations() {
        let mut allowed = Allowed::from_list(LIST);
        assert!(allowed.takes(Rule::FileLength, "a.rs"));
        assert!(allowed.takes(Rule::Licence, "c"));
        let at: Vec<_> = allowed
            .unused()
            .into_iter()
            .map(|violation| violation.at)
            .collect();
        assert_eq!(at, ["b.rs", "c"]);
    }
}
