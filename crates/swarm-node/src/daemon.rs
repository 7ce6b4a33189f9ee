//! The daemon's entry: reads its configuration, opens containers, swarm and API in that order, and runs until it is told
//! to end. Ending it ends no container: the next daemon finds them again.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use container_runtime::{CgroupMode, Options};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::containers::{Engine, EngineTasks};
use crate::core::{self, NodeOptions};
use crate::http::{self, Api};

/// Names the descriptor on which one byte says that the socket answers.
const READY_FD: &str = "SWARMLAB_READY_FD";

/// Filters what the daemon logs, as `swarm_node=debug`.
const LOG_FILTER: &str = "SWARMLAB_LOG";

/// Threads for blocking work (images, mostly) live so long without any; each costs memory while it waits.
const IDLE_THREADS_LIVE: Duration = Duration::from_secs(2);

/// At most so many of them: a node has few disks and fewer processors.
const BLOCKING_THREADS: usize = 8;

/// Unpacking an image needs no more.
const BLOCKING_STACK_BYTES: usize = 1024 * 1024;

/// What the daemon is started with, as JSON.
#[derive(Debug, Clone, Deserialize)]
pub struct DaemonConfig {
    /// The host's name, and so the node's in a swarm.
    pub node_name: String,
    /// The address for other nodes, unless the user names one.
    #[serde(default)]
    pub advertise_addr: Option<IpAddr>,
    /// Where to listen for other nodes, unless the user says.
    #[serde(default)]
    pub listen_addr: Option<IpAddr>,
    /// Raft log, certificates, images, containers.
    pub state_dir: PathBuf,
    /// The Docker API's socket.
    pub socket: PathBuf,
    /// Whether the daemon is root of a user namespace only: limits cannot be enforced then.
    #[serde(default)]
    pub rootless: bool,
    /// Group below which containers get theirs; `None`: limits are accepted and not enforced.
    #[serde(default)]
    pub cgroup_parent: Option<String>,
}

/// Runs the daemon; `args` are `--config FILE`.
pub fn main(args: impl IntoIterator<Item = String>) -> ExitCode {
    let args: Vec<String> = args.into_iter().collect();
    let [flag, path] = &args[..] else { return usage() };
    if flag != "--config" {
        return usage();
    }
    let filter = EnvFilter::try_from_env(LOG_FILTER).unwrap_or_else(|_| EnvFilter::new("info,nlink=error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match read_config(Path::new(path)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: swarmlab node-daemon --config FILE");
    ExitCode::from(2)
}

fn read_config(path: &Path) -> Result<DaemonConfig, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn run(config: DaemonConfig) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(IDLE_THREADS_LIVE)
        .thread_stack_size(BLOCKING_STACK_BYTES)
        .build()
        .map_err(|error| format!("start the event loop: {error}"))?;
    let result = runtime.block_on(serve(config));
    // Requests that still run must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(config: DaemonConfig) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| format!("catch SIGTERM: {error}"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| format!("catch SIGINT: {error}"))?;
    let cgroups = match config.cgroup_parent.clone().filter(|_| !config.rootless) {
        Some(parent) => CgroupMode::Enforce { parent },
        None => CgroupMode::Ignore,
    };
    let shim_exe = PathBuf::from("/proc/self/exe");
    let options = Options { shim_exe, rootless: Some(config.rootless), cgroups };
    let engine = Engine::open(&config.state_dir, options).await.map_err(|error| error.to_string())?;

    let runner = Arc::new(EngineTasks::new(engine.clone(), config.node_name.clone()));
    let node = NodeOptions {
        advertise_addr: config.advertise_addr,
        listen_addr: config.listen_addr,
        ..NodeOptions::new(config.state_dir.clone(), runner)
    };
    let (handle, running) = core::start(node).map_err(|error| error.to_string())?;
    engine.set_node(handle.clone());
    let api = Api::new(handle.clone(), engine, config.node_name.clone(), config.state_dir.clone());
    let listener = listen(&config.socket)?;
    info!("node {} answers at {}", config.node_name, config.socket.display());
    announce();

    let outcome = tokio::select! {
        served = http::serve_unix(listener, api) => served.map_err(|error| format!("the API's socket failed: {error}")),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    info!("node {} ends; its containers go on", config.node_name);
    handle.shutdown().await;
    let _ = running.await;
    let _ = fs::remove_file(&config.socket);
    outcome
}

fn listen(socket: &Path) -> Result<UnixListener, String> {
    let failed = |error: std::io::Error| format!("listen at {}: {error}", socket.display());
    match fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    if let Some(dir) = socket.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

/// Tells whoever started the daemon that it answers now.
fn announce() {
    let Some(fd) = std::env::var(READY_FD).ok().and_then(|text| text.parse::<RawFd>().ok()) else { return };
    if fd <= 2 {
        return;
    }
    // SAFETY: the starter opened this descriptor for us to write to and close, and nothing else here knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let _ = fs::File::from(fd).write_all(b"\n");
}
