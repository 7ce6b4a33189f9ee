//! What can go wrong, said so that a caller can choose an HTTP status and a reader can act.
//! Leaves out the wording of the HTTP answer: `swarm-node` maps [`Kind`] to a status in one place.

use std::io;

/// The class of an error, from which the node daemon derives a status code and an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// The named container, image or exec does not exist (404).
    NotFound,
    /// The request clashes with the present state: name taken, image in use, not running (409).
    Conflict,
    /// The thing is there and not the user's to change or take (403).
    Forbidden,
    /// The request itself is wrong (400).
    InvalidArgument,
    /// The program to run does not exist in the container (exit code 127).
    CommandNotFound,
    /// The program to run may not be executed (exit code 126).
    CommandNotExecutable,
    /// This machine or this mode cannot do it (501 or 500).
    Unsupported,
    /// Stored state fails its checksum.
    Corrupt,
    /// The machine failed: disk, kernel, shim (500).
    Internal,
}

/// An error of the runtime: a class and a message that names what, where and, if known, the remedy.
#[derive(Debug, Clone, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{message}")]
pub struct Error {
    /// The class.
    pub kind: Kind,
    /// The message.
    pub message: String,
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` with a finished message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidArgument, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// The exit code that `docker run` shows for a start that failed thus.
    pub fn exit_code(&self) -> i32 {
        match self.kind {
            Kind::CommandNotFound => 127,
            Kind::CommandNotExecutable => 126,
            _ => 128,
        }
    }
}

/// Adds "what was being done" to an I/O error. Disk-full and out-of-memory keep their own words, since the
/// reader must act on them whatever was being done.
pub(crate) trait Context<T> {
    /// Wraps the error with the activity that failed.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| {
            let e: io::Error = e.into();
            let hint = match e.raw_os_error() {
                Some(28) => " (the disk is full: free space where the state directory lies)",
                Some(12) => " (out of memory)",
                _ => "",
            };
            Error::internal(format!("{}: {e}{hint}", what()))
        })
    }
}
