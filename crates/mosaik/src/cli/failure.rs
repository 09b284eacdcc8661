//! How a command ends when it does not end well.

use std::{fmt, process::ExitCode};

/// Why a command did not do what it was asked to do, and its exit code.
///
/// Codes: 0 done, 1 failed, 2 wrong arguments (given by the parser), 3 items were lost,
/// 130 interrupted before it was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Something failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 1,
        }
    }

    /// The arguments make no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 2,
        }
    }

    /// Items did not arrive.
    pub(crate) fn lost(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 3,
        }
    }

    /// A signal came before it was done.
    pub(crate) fn interrupted() -> Self {
        Self {
            message: "interrupted".to_owned(),
            code: 130,
        }
    }

    /// Tells the user.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("mosaik: {}", self.message);
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<mosaik::network::Error> for Failure {
    fn from(error: mosaik::network::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}
