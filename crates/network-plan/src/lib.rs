//! What the data plane of a node should be, and the steps that lead there. Pure: no netlink, no clock, no files.
//!
//! A [`NetPlan`] says what a network namespace should look like, [`Observed`] what it does look like, and [`diff`] what is
//! to be done. [`overlay`] makes the plans of overlay networks, [`rules`] the tables of their packet filter, and [`wishes`]
//! turns what managers and gossip say into what these are made of. [`Ipam`] and its neighbours decide who gets which address
//! on a node's own networks.
//!
//! Left out: everything that reads or changes the kernel. `overlay-network` does that on a node, the simulator on a model.

mod address;
mod diff;
mod ipam;
pub mod model;
mod namespace;
pub mod overlay;
mod overlay_wish;
mod pools;
pub mod rules;
pub mod wishes;

pub use address::{Cidr, Mac};
pub use diff::{Step, diff};
pub use ipam::{AddressPool, Ipam, IpamError, Lease, overlap};
pub use namespace::*;
pub use overlay_wish::{OverlayWish, Underlay};
pub use pools::choose_local;
