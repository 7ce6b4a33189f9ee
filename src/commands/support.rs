//! What the lab commands share: their failures, `--labs`, and finding a step by its name.

use std::fmt::Display;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::{Lab, Step};

use crate::content::{ContentError, nearest};
use crate::engine::{Cluster, EngineError, Forward, Forwards};
use crate::session::SessionError;

/// Longest wait for the forwarder's first look at all nodes. One that is switched off keeps it from ever being whole.
const FORWARDS_READY: Duration = Duration::from_secs(2);

/// `--labs DIR`
#[derive(Debug, clap::Args)]
pub struct LabsDir {
    /// A folder that holds `book/` and `labs/`, instead of the checkout around here or the binary's own
    #[arg(long, value_name = "DIR", global = true)]
    labs: Option<PathBuf>,
}

impl LabsDir {
    /// The folder, if one was named.
    pub fn path(&self) -> Option<&Path> {
        self.labs.as_deref()
    }
}

/// What the author's commands take: `record`, `verify`.
#[derive(Debug, clap::Args)]
pub struct ChapterArgs {
    /// A chapter (`chapter-3`, `3` or its word); for `verify` also `all`
    pub chapter: String,
    /// What runs the cluster: embedded or dockerd
    #[arg(long, default_value = "embedded")]
    pub engine: String,
    /// Where the chapters are.
    #[command(flatten)]
    pub labs: LabsDir,
}

/// What the commands about one step of the open lab take: `check`, `hint`, `solve`, `reset`.
#[derive(Debug, clap::Args)]
pub struct StepArgs {
    /// The step [default: the first that is open; for `reset` the last that is not]
    pub step: Option<String>,
    /// Where the chapters are.
    #[command(flatten)]
    pub labs: LabsDir,
}

/// `--listen ADDR`
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// Make published ports reachable at this address of the machine too (0.0.0.0: at every one), for a classroom
    #[arg(long, value_name = "ADDR")]
    listen: Option<IpAddr>,
}

impl Listen {
    /// The address, if one was given; refused where this machine does not have it.
    pub fn address(&self) -> Result<Option<IpAddr>, Failure> {
        if let Some(address) = self.listen {
            let refused =
                |error| Failure::usage(format!("--listen {address}: {error}; name an address of this machine"));
            TcpListener::bind((address, 0)).map_err(refused)?;
        }
        Ok(self.listen)
    }
}

/// Tells where published ports are reachable; nothing where none is published.
pub fn tell_forwards(cluster: &dyn Cluster) -> Result<(), EngineError> {
    for forward in forwards(cluster)?.ports {
        say!("{forward}");
    }
    Ok(())
}

/// A forwarded port for scripts.
pub fn forward_json(forward: &Forward) -> serde_json::Value {
    serde_json::json!({
        "names": forward.names, "protocol": forward.protocol.name(), "published": forward.published,
        "node": forward.node, "url": forward.url(), "address": forward.at.as_ref().ok().map(|at| at.address),
        "port": forward.at.as_ref().ok().map(|at| at.port), "trouble": forward.at.as_ref().err(),
    })
}

/// Where published ports are reachable, once the forwarder has looked at every node.
pub fn forwards(cluster: &dyn Cluster) -> Result<Forwards, EngineError> {
    let deadline = Instant::now() + FORWARDS_READY;
    loop {
        match cluster.forwards()? {
            Some(forwards) if forwards.ready => return Ok(forwards),
            found if Instant::now() > deadline => return Ok(found.unwrap_or_default()),
            // the forwarder is a process of its own that has only just begun to look; it tells nobody when it has
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Why a command could not do its work: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The content.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The progress file.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A wrong command line, or a name that is not known.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// A wrong command line.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// Names what could not be read or written.
    pub fn io<E: Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Usage(format!("{what}: {error}"))
    }

    /// Tells the failure.
    pub fn report(self) -> ExitCode {
        eprintln!("swarmlab: {self}");
        ExitCode::from(2)
    }
}

/// The step of this id, or the nearest ids.
pub fn find_step<'l>(lab: &'l Lab, id: &str) -> Result<&'l Step, Failure> {
    let known: Vec<&str> = lab.steps.iter().map(|s| s.id.as_str()).collect();
    lab.step(id).ok_or_else(|| Failure::usage(format!("no step `{id}` in {}{}", lab.id, nearest(id, &known))))
}
