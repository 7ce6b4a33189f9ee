//! Requests against a store, and Docker's words for what is refused.

mod attachments;
mod cluster_and_nodes;
mod fixture;
mod networks;
mod objects;
mod services;
