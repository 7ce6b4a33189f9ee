//! A whole swarm in virtual time, from one seed.
//!
//! Real managers ([`swarm_manager::manager::Manager`]), real agents ([`swarm_agent::Agent`]) and real gossip between all
//! hosts ([`swarm_gossip::Gossip`]) run against a network, disks and containers that are made up here and that misbehave
//! as real ones do: messages are lost, late, doubled and out of order, hosts are cut off from each other, processes are
//! killed, machines lose power and with it what was not synced, workers lose their disk, managers lose theirs for good
//! and come back as other nodes, workers leave and return. Meanwhile clients create, scale, update and
//! remove services, jobs, networks, secrets and configs, publish ports, attach containers, drain nodes, promote and
//! demote them.
//!
//! The gossip carries what nodes say of their tasks' real networks, addresses and services, and what every host makes of
//! it ([`swarm_gossip::view`]) is held against what runs ([`views`]). Every host has a modelled kernel ([`data_plane`]), which
//! the plans and steps that nodes make ([`network_plan`]) bring to what the view asks for, through deaths in the middle and
//! changes by hand; ways through these kernels are walked from each container to each other.
//!
//! Everything follows from the seed: the same seed and commit give the same run, event for event, so a failure found
//! by a test on one machine is replayed on another by `cargo sim -- --seed N`. After every step the [`invariants`] are
//! checked; once the faults stop, the swarm must come to what its users asked for, and do so again without one of its
//! hosts.
//!
//! Left out: certificates and encodings (messages are handed over as values, but for the gossip's), what containers do
//! inside, and what real kernels make of a step: `overlay-network`'s own tests hold the model against one.

mod addresses;
mod away;
mod client;
mod data_plane;
mod disk;
mod endpoints;
mod faults;
mod gossip;
mod host;
mod invariants;
mod membership;
mod network;
mod runtime;
#[cfg(test)]
mod scenarios;
mod views;
mod world;

pub use invariants::Violation;
pub use world::{Options, Report, run};
