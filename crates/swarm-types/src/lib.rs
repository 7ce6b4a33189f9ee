//! The objects of a swarm as plain data.
//!
//! Everything that the managers agree on and the agents act on is described here: nodes, services, tasks,
//! networks, secrets, configs and the cluster itself, with typed ids, states and time. There is no behaviour
//! beyond what keeps a value valid (states only advance, ids print as 25 base-36 digits), no IO, and no wire
//! format of the Docker API: `swarm-node` converts.
//!
//! A `Spec` belongs to the user and the system never edits it. What the system decides stands beside it
//! (desired state, endpoint, assignment), and what an agent observes in a `Status`.

mod cluster;
mod dispatch;
mod endpoint;
mod id;
mod network;
mod node;
mod object;
mod resources;
mod secret;
mod service;
mod task;
mod time;

pub use cluster::*;
pub use dispatch::*;
pub use endpoint::*;
pub use id::*;
pub use network::*;
pub use node::*;
pub use object::*;
pub use resources::*;
pub use secret::*;
pub use service::*;
pub use task::*;
pub use time::*;
