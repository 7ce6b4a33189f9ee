//! Nodes that gossip over a made-up network in virtual time.

mod net;

mod convergence;
mod hostile;
mod lives;
