//! The control plane: decides what should run where.
//!
//! Pure and sans-IO: time, randomness, messages and disk results are inputs, messages and disk writes outputs.
//! Components meet only through the [`store::Store`]; they never import each other. Every change of the store is a
//! [`store::StoreAction`] that went through the raft log, so that all managers' stores agree at the same index.
//!
//! The shape of every component is [`component::Component`]: events mark what to look at again, and
//! `poll_actions` computes from the store as it is then. `manager::Manager` drives them: it asks a
//! component for actions only when that component's last proposal was applied or dropped, so a component never sees
//! a store that lacks what it proposed itself.

pub mod address_pools;
pub mod allocator;
pub mod ca;
pub mod component;
pub mod consensus;
pub mod constraint;
pub mod control_api;
pub mod dispatcher;
pub mod manager;
pub mod orchestrator;
pub mod scheduler;
pub mod store;
mod subnet;
pub mod task_template;
