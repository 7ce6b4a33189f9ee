//! Turns services into tasks, and keeps them that way.
//!
//! Three components, each deciding from the store alone:
//!
//! - [`ServiceOrchestrator`] makes, replaces and stops tasks. For each service that something happened to it looks at
//!   the service's tasks, slot by slot (a slot is a replica's number, for global services a node): too few or too
//!   many ([`replicated`], [`global`], [`jobs`]), ended or on a lost node ([`restart`]), made from an old spec
//!   ([`update`]). It is one component and not five, so that one proposal holds all decisions about a service and
//!   two of them can never be about the same slot.
//! - [`TaskReaper`] forgets tasks: those beyond the history limit, and those to be removed that have stopped.
//! - [`ConstraintEnforcer`] rejects tasks on nodes that no longer meet their constraints or have their resources.
//!
//! What is remembered between calls is only what an update under way needs and cannot read back; a new leader
//! derives it from the store. Where a task runs is the scheduler's business, addresses are the allocator's.

mod constraint_enforcer;
mod global;
mod jobs;
mod pass;
mod replicated;
mod restart;
mod services;
mod slot;
mod task_reaper;
mod update;

#[cfg(test)]
mod tests;

pub use constraint_enforcer::ConstraintEnforcer;
pub use services::ServiceOrchestrator;
pub use task_reaper::TaskReaper;
