//! Containers and images on one machine: what `swarm-node` drives to run tasks, with or without root.
//!
//! # The order of calls
//!
//! 1. [`Runtime::create`] writes a record. Nothing runs; the image must exist.
//! 2. [`Runtime::prepare`] starts the container's shim. When it returns, the container's namespaces exist and a
//!    process (its pid is returned, in the daemon's pid namespace) waits inside, with the root filesystem mounted
//!    and the program checked. **Now** the caller moves interfaces into `/proc/PID/ns/net` (where `lo` is up
//!    already) and calls [`Runtime::set_hosts`] and [`Runtime::set_name_service`] with what it learnt.
//! 3. [`Runtime::start`] lets the program run; it prepares first if nobody did. When it returns, the program has
//!    been executed, or the error says why not (then the container is back where `create` left it).
//! 4. [`Runtime::stop`], [`Runtime::kill`], or the program ends by itself; [`Runtime::wait`] and the events tell.
//! 5. `prepare`/`start` again (same writable layer, new namespaces), or [`Runtime::remove`].
//!
//! # Who does what
//!
//! The daemon keeps no pipe and no process of a container: each has a [`shim`], a process of its own that
//! survives the daemon. [`Runtime::open`] finds shims and finished containers again from the state directory.
//! A shim inherits `/dev/null` as input, a pipe for one line as output, `shim.log` as error output, an empty
//! environment, and the daemon's namespaces and cgroup; nothing else. The container inherits its own three
//! streams and the environment of its configuration.
//!
//! Nothing polls: state changes arrive through [`Runtime::events`] and [`Runtime::wait`].
//!
//! Leaves out networks, volumes' lifecycle, registries, restart policies and the Docker API's JSON.

pub mod builtin;
mod caps;
pub mod config;
mod daemon;
mod durable;
mod environment;
mod error;
pub mod image;
mod log;
mod plan;
mod reference;
mod resolution;
mod rootfs;
pub mod shim;
pub mod signal;
mod spec;

pub use config::{ContainerConfig, Healthcheck};
pub use daemon::events::{Event, EventKind};
pub use daemon::exec::{ExecConfig, ExecState};
pub use daemon::health::{Health, HealthStatus, Probe};
pub use daemon::logs::{LogLine, LogOptions};
pub use daemon::record::{ContainerId, Inspect, State, Status};
pub use daemon::stream::{Attached, Input, Output};
pub use daemon::top::{Process, Stats};
pub use daemon::{CgroupMode, Options, Runtime};
pub use error::{Error, Kind, Result};
pub use log::Stream;
pub use reference::Reference;
pub use resolution::{NameService, Resolution, own_hosts, resolution};
