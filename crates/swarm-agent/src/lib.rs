//! A node's agent: drives the tasks that the managers assign to it, and reports what it observes.
//!
//! Pure and sans-IO. The daemon feeds an [`Agent`] with time, messages and runtime events, and carries out what it
//! gives back. The order of calls:
//!
//! 1. [`Agent::new`], then once [`Input::Restored`] with what [`Output::Persist`] left on disk (an empty list on a
//!    first start);
//! 2. [`Agent::handle`] for every input, [`Agent::tick`] whenever [`Agent::poll_timeout`] is reached;
//! 3. after either, [`Agent::poll_output`] until it gives `None`.
//!
//! # A task's way
//!
//! ```text
//! ASSIGNED -> ACCEPTED -> PREPARING -> READY -> STARTING -> RUNNING -> COMPLETE or FAILED
//!                             |                    |           |
//!                          REJECTED              FAILED     SHUTDOWN (wanted from any state)
//! ```
//!
//! READY waits there for as long as only READY is wanted. STARTING lasts until the container is healthy, where there
//! is a health check. A task that is no longer assigned is stopped, its container removed, and the task forgotten.
//! Losing the session stops nothing: tasks go on, and the complete set of the next session reconciles.
//!
//! # What is left out
//!
//! Connections, files and containers: `swarm-node` does these. Certificates and the node's role: the session's facts
//! are handed on as [`Output::Session`].

mod agent;
mod connection;
mod input;
mod limits;
mod reporter;
mod task_controller;
mod worker;

pub use agent::{Agent, Config};
pub use input::{Input, Output, RuntimeCommand, RuntimeEvent, SessionFacts, StoredTask};
pub use limits::{MAX_ERR_BYTES, MAX_STATUSES_PER_MESSAGE, MAX_TASKS};
