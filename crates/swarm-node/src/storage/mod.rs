//! What a node keeps on disk for its swarm: identity and keys, and on managers the raft log with its snapshots.
//!
//! Every file carries checksums. A write counts only after `fsync`; a crash at any moment leaves the old state or the
//! new one. What is damaged all the same is set aside as `*.corrupt` and reported in a [`Repair`], never dropped in
//! silence. Raft's files are sealed with a key from the node's key file, because the log holds secrets and the CA key.
//! What the bytes mean is `swarm_manager::consensus`'s business.

mod file;
mod raft_log;
mod seal;
mod segment;
mod snapshot;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use file::{CheckedFile, DirLock, create_private_dir};
pub use raft_log::RaftLog;
pub use seal::SealKey;
pub use writer::{RaftWriter, Written};

/// The disk failed, or gave back what cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A system call failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Nothing usable is left.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
}

impl StorageError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// Damage that was found and what was done about it, for the daemon's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The damaged file.
    pub path: PathBuf,
    /// Whether more was lost than a write that never counted.
    pub loss: bool,
    /// What was found and done.
    pub what: String,
}

impl std::fmt::Display for Repair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

fn set_aside(path: &Path) -> Result<PathBuf, StorageError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".corrupt");
    let mut aside = PathBuf::from(&name);
    let mut number = 1;
    while aside.exists() {
        let mut next = name.clone();
        next.push(format!(".{number}"));
        aside = PathBuf::from(next);
        number += 1;
    }
    std::fs::rename(path, &aside).map_err(StorageError::io("set aside", path))?;
    Ok(aside)
}
