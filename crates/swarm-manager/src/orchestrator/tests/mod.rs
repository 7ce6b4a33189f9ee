//! Facts about the orchestrator, each as a small scenario in virtual time. See [`harness`] for the words.

mod global;
mod harness;
mod jobs;
mod properties;
mod reaping;
mod replicated;
mod restarts;
mod updates;
