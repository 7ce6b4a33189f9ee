//! What the benchmarks of whole clusters share: a cluster of either engine, and its processes and memory as the machine
//! sees them. Figures and their report are in `report`.
#![allow(dead_code)]

pub mod report;

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub const SWARMLAB: &str = env!("CARGO_BIN_EXE_swarmlab");
/// Nothing of a cluster takes longer.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// How often a cluster is tried to boot.
const TRIES: usize = 3;
/// One manager, four workers.
pub const NODES: [&str; 5] = ["manager1", "worker1", "worker2", "worker3", "worker4"];

/// What a measurement gives.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A cluster of five nodes that is taken down when dropped.
pub struct Cluster {
    /// `embedded` or `dockerd`.
    pub engine: &'static str,
    /// Its name.
    pub name: String,
    /// The manager's Docker API.
    pub socket: String,
}

impl Cluster {
    /// Boots one; without the images that genuine Docker has to load, if so.
    pub fn up(engine: &'static str, images: bool) -> Outcome<(Self, Duration)> {
        let name = format!("bench-{engine}");
        let mut command = Command::new(SWARMLAB);
        command.args(["cluster", "up", &name, "--managers", "1", "--workers", "4", "--engine", engine]);
        if !images {
            command.env("SWARMLAB_BENCH_WITHOUT_IMAGES", "1");
        }
        command.stdout(Stdio::null());
        let mut tries = TRIES;
        let took = loop {
            // what a run that was killed left behind, or what takes its time to end on a busy machine
            let _ = Command::new(SWARMLAB).args(["cluster", "down", &name]).output();
            let began = Instant::now();
            let up = command.output()?;
            tries -= 1;
            if up.status.success() {
                break began.elapsed();
            }
            if tries == 0 {
                return Err(format!("cluster up: {}", String::from_utf8_lossy(&up.stderr)).into());
            }
        };
        let socket = socket(&name, "manager1")?;
        Ok((Self { engine, name, socket }, took))
    }

    /// What [`Cluster::up`] left out.
    pub fn load_images(&self) -> Outcome<()> {
        if self.engine == "embedded" {
            return Ok(());
        }
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        let folder = cache.ok_or("no HOME")?.join("swarmlab");
        let packed = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
        let archive = packed.into_iter().find(|path| path.extension().is_some_and(|end| end == "tar"));
        let archive = archive.ok_or("no packed images")?.display().to_string();
        for node in NODES {
            docker(&socket(&self.name, node)?, &["load", "-q", "-i", &archive])?;
        }
        Ok(())
    }

    /// An answer of the manager's API.
    pub fn get(&self, path: &str) -> Outcome<serde_json::Value> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").ok_or("no body")?.1;
        // HTTP/1.0 answers are not chunked by either engine; whatever surrounds the JSON is cut off.
        let start = body.find(['[', '{']).ok_or("no JSON")?;
        Ok(serde_json::from_str(body.get(start..).unwrap_or_default().trim_end())?)
    }

    /// `docker ...` at the manager.
    pub fn docker(&self, args: &[&str]) -> Outcome<()> {
        docker(&self.socket, args)
    }

    /// A service's tasks that run.
    pub fn running(&self, service: &str) -> Outcome<Vec<serde_json::Value>> {
        let path = format!("/tasks?filters=%7B%22service%22%3A%5B%22{service}%22%5D%7D");
        let tasks = self.get(&path)?;
        let runs = |task: &&serde_json::Value| task["Status"]["State"] == "running";
        Ok(tasks.as_array().into_iter().flatten().filter(runs).cloned().collect())
    }

    /// The same once there are so many.
    pub fn until_running(&self, service: &str, replicas: usize) -> Outcome<Vec<serde_json::Value>> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let running = self.running(service)?;
            if running.len() >= replicas {
                return Ok(running);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{replicas} tasks of {service} do not run within {PATIENCE:?}").into())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new(SWARMLAB).args(["cluster", "down", &self.name]).output();
    }
}

/// A node's Docker API.
fn socket(cluster: &str, node: &str) -> Outcome<String> {
    let env = Command::new(SWARMLAB).args(["cluster", "env", cluster, node]).output()?;
    let text = String::from_utf8(env.stdout)?;
    let socket = text.split("unix://").nth(1).ok_or("cluster env prints no socket")?;
    let socket = socket.split(['"', '\'', '\n']).next().unwrap_or_default();
    Ok(socket.to_owned())
}

fn docker(socket: &str, args: &[&str]) -> Outcome<()> {
    let host = format!("unix://{socket}");
    let done = Command::new(SWARMLAB).args(["docker", "-H", &host]).args(args).output()?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned().into()) }
}

/// A process and those that it started.
pub struct Process {
    /// Its number for us.
    pub id: u32,
    parent: u32,
    /// With its arguments.
    pub command: String,
}

/// All that we see.
pub fn processes() -> Vec<Process> {
    let read = |entry: std::fs::DirEntry| -> Option<Process> {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some(Process {
            id,
            parent,
            command: String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned(),
        })
    };
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(read).collect()
}

/// The inits of a cluster's nodes: the children of the sandbox's first process, which is the only child of its guard.
pub fn node_inits(cluster: &str, all: &[Process]) -> Vec<u32> {
    let end = format!("/{cluster}");
    let ours = |process: &&Process| process.command.contains("sandbox-init") && process.command.ends_with(&end);
    let is_ours = |id: u32| all.iter().filter(ours).any(|process| process.id == id);
    let parent_of = |id: u32| all.iter().find(|process| process.id == id).map_or(0, |process| process.parent);
    all.iter()
        .filter(ours)
        .filter(|one| is_ours(one.parent) && is_ours(parent_of(one.parent)))
        .map(|one| one.id)
        .collect()
}

/// All that a process started, and what they did.
pub fn below(top: u32, all: &[Process]) -> Vec<&Process> {
    let children = all.iter().filter(|process| process.parent == top);
    children.flat_map(|child| std::iter::once(child).chain(below(child.id, all))).collect()
}

/// Private memory of each node in MiB: everything that runs in it, its init included.
pub fn node_memory(cluster: &str) -> Vec<f64> {
    let all = processes();
    let of_node = |init: u32| rollup(init) + below(init, &all).into_iter().map(|one| rollup(one.id)).sum::<f64>();
    node_inits(cluster, &all).into_iter().map(of_node).collect()
}

fn is_shim(process: &Process) -> bool {
    process.command.contains(" shim ") || process.command.contains("containerd-shim")
}

/// Private memory of each of its containers' shims in MiB.
pub fn shim_memory(cluster: &str) -> Vec<f64> {
    let all = processes();
    let nodes = node_inits(cluster, &all);
    let inside = nodes.into_iter().flat_map(|init| below(init, &all));
    inside.filter(|one| is_shim(one)).map(|one| rollup(one.id)).collect()
}

/// Private memory of each node's daemons in MiB: without shims and containers.
pub fn daemon_memory(cluster: &str) -> Vec<f64> {
    of_daemons(cluster, rollup)
}

/// Processor time of each node's daemons in seconds, since they were started.
pub fn daemon_work(cluster: &str) -> Vec<f64> {
    of_daemons(cluster, |process| work_of(Path::new("/proc").join(process.to_string())).unwrap_or_default())
}

fn of_daemons(cluster: &str, of: impl Fn(u32) -> f64) -> Vec<f64> {
    let all = processes();
    let names = ["node-daemon", "dockerd", "containerd"];
    let is_daemon = |one: &&Process| !is_shim(one) && names.iter().any(|name| one.command.contains(name));
    let of_node = |init: u32| below(init, &all).into_iter().filter(is_daemon).map(|one| of(one.id)).sum();
    node_inits(cluster, &all).into_iter().map(of_node).collect()
}

/// Processor time of a process or thread in seconds, by its folder in /proc.
pub fn work_of(process: PathBuf) -> Option<f64> {
    /// Ticks per second in /proc, the same on all Linux machines of today.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?) / TICKS)
}

fn rollup(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let kib = |field: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(field));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
    };
    (kib("Private_Clean:") + kib("Private_Dirty:")) / 1024.0
}
