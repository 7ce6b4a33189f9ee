//! The node daemon: where the pure control plane and agent meet disk, network, clock, containers and HTTP.
//!
//! `core` is the event loop and [`core::NodeHandle`], what HTTP routes hold of it. `storage` keeps raft log, snapshots
//! and identity on disk; `ca` makes and checks certificates; `transport` is everything on 2377/tcp; `agent_io` and
//! [`runner`] carry the agent's decisions to containers. `http`, `convert` and `containers` are the Docker Engine API
//! and the container engine behind it.

// One JSON literal of a container has more fields than the default allows.
#![recursion_limit = "256"]

pub mod agent_io;
pub mod ca;
pub mod containers;
pub mod convert;
pub mod core;
mod daemon;
pub mod gossip_io;
pub mod http;
pub mod networking;
pub mod runner;
pub mod storage;
pub mod transport;

pub use daemon::{DaemonConfig, main};
