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
//! What the rules are for and the tables that this comes to are `network-plan`'s; here are the netlink messages that make
//! the tables. Only this part names `nlink`.

mod conntrack;
mod kernel;
mod lower;

pub use network_plan::rules::*;
