//! How a command ends when it does not succeed: text for standard error and an exit code.

use std::fmt;

/// Exit code of malformed flags and of `run` and `create` when the engine refused.
pub const EXIT_USAGE: u8 = 125;

/// A failed command. An empty message means that everything was said already and only the code counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// Text for standard error, without a final newline.
    pub message: String,
    /// Exit code of the process.
    pub code: u8,
}

impl CliError {
    /// A plain failure: exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// A failure with its own exit code.
    pub fn with_code(code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), code }
    }

    /// Ends with the exit code of a container or an exec, without a word.
    pub fn silent(code: u8) -> Self {
        Self { message: String::new(), code }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<String> for CliError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

/// What commands return.
pub type Result<T = ()> = std::result::Result<T, CliError>;
