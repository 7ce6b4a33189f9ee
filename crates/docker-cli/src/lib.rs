//! A docker-compatible command line.
//!
//! The way of a command line: [`command::resolve`] finds the command and [`flags`] reads its flags; its file under
//! [`commands`] asks the engine through [`client`] and prints through [`formatter`]. What is sent is made by [`spec`].
//! All of that is pure or goes through [`context::Host`], so that the same commands can drive an engine in a web page;
//! [`native`] is the host on Linux: sockets, terminal, signals, files.
//!
//! Left out: registries (pull, push, login), building, stacks, TLS sockets, and contexts other
//! than `default`. Those commands exist and say that they are not supported.

pub mod client;
pub mod command;
pub mod commands;
pub mod context;
pub mod error;
pub mod flags;
pub mod formatter;
#[cfg(not(target_family = "wasm"))]
pub mod native;
pub mod progress;
pub mod spec;

#[cfg(not(target_family = "wasm"))]
pub use native::main;
