//! What a namespace's packet filter is to do, and the tables that this comes to. Leaves out how a table gets into the
//! kernel.
//!
//! In two steps: what the rules are for ([`OverlayRules`] and its siblings), and the [`table::Table`] that this comes to,
//! whose text is what `nft list table` shows. Both are plain data.

mod faults;
mod model;
mod node;
mod overlay;
pub mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod text;

pub use faults::{TABLE as FAULT_TABLE, table as fault_table};
pub use model::*;
pub use node::{TABLE as NODE_TABLE, settings as node_settings, table as node_table};
pub use overlay::{TABLE as OVERLAY_TABLE, table as overlay_table};
