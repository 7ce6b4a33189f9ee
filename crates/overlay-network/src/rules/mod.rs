//! Load balancing, published ports, isolation and faults, by nftables.
//!
//! Three tables of ours, each replaced as a whole and without a gap, other tables never touched: `swarmlab` in an
//! overlay's namespace ([`OverlayRules`]), `swarmlab` in the node's ([`NodeRules`]), and `swarmlab-fault` there
//! ([`FaultRule`]). While one is replaced, another stands in for it, whose name ends with `-next`.
//!
//! What it costs, measured by processor time: 2 microseconds for each packet that is handed on, half of them conntrack
//! and translation, half the way through the namespace instead of across its bridge; our rules themselves, which only
//! the first packet of a connection meets, do not show. Replacing 100 services of ten backends each: 5 ms in the
//! kernel.
//!
//! In three steps: what the rules are for ([`OverlayRules`] and its siblings), the [`table::Table`] that this comes
//! to, whose text is what `nft list table` shows, and the netlink messages that make it. The first two are plain
//! data; only the last names `nlink`.

mod conntrack;
mod faults;
mod kernel;
mod lower;
mod model;
mod node;
mod overlay;
pub mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod text;

pub use faults::table as fault_table;
pub use model::*;
pub use node::{settings as node_settings, table as node_table};
pub use overlay::table as overlay_table;
