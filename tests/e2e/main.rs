//! End-to-end tests: the real binary, real namespaces, real processes. One binary, one module per subject.
//!
//! They leave nothing behind and need nothing of the machine but unprivileged user namespaces. As root, every test
//! that speaks of users runs twice: as root and as an ordinary user.

mod clients;
mod container;
mod daemon;
mod fault;
mod forward;
mod hostile;
mod image;
mod lesson;
mod local_network;
mod managers;
mod net;
mod network;
mod node;
mod partition;
mod runner;
mod sandbox;
mod secret;
mod service;
mod support;
mod swarm;
mod terminal;
mod volume;
