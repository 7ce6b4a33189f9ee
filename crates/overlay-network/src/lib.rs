//! overlay-network: the wires between containers.
//!
//! What links, addresses and routes a namespace should have, who gets which address, and which steps lead there from what
//! is observed, is decided by `network-plan`, which is pure and goes by the name of [`plan`] here. [`apply`] talks to the
//! kernel, over netlink; it reads, lets `plan` decide, and executes. Applying a plan twice changes nothing the second time.
//!
//! [`BridgeDriver`] joins both into a node's local networks: Docker's default `bridge`, users' own, `docker_gwbridge`;
//! [`OverlayDriver`] into its part of the swarm's overlay networks.
//!
//! # Why `nlink`
//!
//! Weighed: `nlink` 0.33 against `rtnetlink` with a thin nftables layer of our own. `nlink` covers links, addresses,
//! routes, neighbours, FDB, VXLAN and nftables in one dependency and one connection type, opens connections in another
//! namespace by itself, needs no external program and no C library, and is async on the caller's tokio (also
//! `current_thread`). `rtnetlink` is older and more widely used, but has no nftables, and the crates that have either
//! call `nft` or libnftnl; we would own a wire format for no gain. Only [`apply`] and [`rules`] name `nlink`, so this can be undone.

pub mod apply;
mod bridge;
pub mod dns;
pub mod look;
pub mod overlay;
pub mod rules;

pub use network_plan as plan;

pub use apply::{NetError, NetNamespace};
pub use bridge::{
    BridgeDriver, BridgeNetwork, EndpointInfo, EndpointWish, GATEWAY_BRIDGE, HostPorts, INGRESS_ENDPOINT,
    PortAllocator, PortError, protocol_name,
};
pub use dns::{DnsServers, DnsView, NameEntry, Names};
pub use overlay::{IngressLink, OverlayConfig, OverlayDriver, OverlayNetwork, OverlayPort, Peer, Subnet};
pub use plan::{Cidr, Mac};
