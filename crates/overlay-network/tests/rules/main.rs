//! The packet filter's rules in a real kernel, with real packets, in namespaces of the tests' own. Works as root and
//! as an ordinary user: each test starts itself again in fresh user, network and mount namespaces, which end with it.
#![allow(clippy::unwrap_used)]

mod balancing;
mod faults;
mod isolation;
mod listing;
mod namespaces;
mod node;
mod overlay;
mod publishing;
mod speed;
