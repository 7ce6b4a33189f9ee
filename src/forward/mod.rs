//! The forwarder: makes a lab's published ports reachable on the learner's own machine, `http://localhost:8080`.
//!
//! A process of its own, `swarmlab forwarder DIR [ADDR]`, outside of the sandbox, so that it can listen there. It lives
//! exactly as long as the lab: a connection to sandbox-init, which the kernel closes with that, ends it. Its other half
//! is inside: sandbox-init opens the sockets towards the nodes ([`dial`]) and keeps the list of what is reachable
//! where, for `swarmlab start` and `swarmlab status`.
//!
//! [`watch`] asks the nodes' Docker APIs, [`published`] says what that means, [`relay`] listens and hands on. Leaves out
//! SCTP, which hardly any learner's machine speaks.

mod dial;
mod published;
mod relay;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitCode, Stdio};
use std::sync::{Arc, PoisonError};

use tokio::sync::{Semaphore, mpsc};

use crate::sandbox::{Courier, Forward, Forwards, Local, SandboxError, SandboxSpec};
use dial::Dialer;
use published::{Key, NodeView, Ports, merge};
use relay::{MOST_CONNECTIONS, Relay, SharedTargets, Surroundings};
use watch::{Said, Swarm};

/// Starts the forwarder of the sandbox with this state folder. It ends by itself with the sandbox.
pub fn start(dir: &Path, listen: Option<IpAddr>) -> io::Result<Child> {
    let log = std::fs::File::create(dir.join("forwarder.log"))?;
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("swarmlab").arg("forwarder").arg(dir).args(listen.map(|address| address.to_string()));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // SAFETY: between fork and exec only setsid, which is async-signal-safe: no terminal's Ctrl-C ends it.
    unsafe {
        command.pre_exec(|| {
            nix::libc::setsid();
            Ok(())
        });
    }
    command.spawn()
}

/// The mode `swarmlab forwarder DIR [ADDR]`.
pub fn main(args: &[OsString]) -> ExitCode {
    let listen = args.get(1).map(|text| text.to_string_lossy().parse::<IpAddr>());
    let (Some(dir), Ok(listen)) = (args.first(), listen.transpose()) else {
        eprintln!("swarmlab forwarder is started by swarmlab itself");
        return ExitCode::from(2);
    };
    match run(Path::new(dir), listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path, listen: Option<IpAddr>) -> Result<(), SandboxError> {
    let life = Courier::connect(dir)?;
    let courier = Courier::connect(dir)?;
    let nodes = nodes(dir)?;
    std::thread::spawn(move || {
        life.wait_for_end();
        std::process::exit(0);
    });
    let io = |source| SandboxError::Io { what: "start event loop".into(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    runtime.block_on(serve(dir, &nodes, listen, Dialer::new(courier)));
    Ok(())
}

/// Names and addresses of the nodes.
fn nodes(dir: &Path) -> Result<BTreeMap<String, IpAddr>, SandboxError> {
    let io = |source| SandboxError::Io { what: "read sandbox.json".into(), source };
    let text = std::fs::read(dir.join("sandbox.json")).map_err(io)?;
    let spec: SandboxSpec = serde_json::from_slice(&text).map_err(|error| io(error.into()))?;
    Ok(spec.nodes.into_iter().map(|node| (node.name, node.address.into())).collect())
}

async fn serve(dir: &Path, nodes: &BTreeMap<String, IpAddr>, listen: Option<IpAddr>, dialer: Dialer) {
    let (told, mut said) = mpsc::channel(64);
    for name in nodes.keys() {
        let socket = crate::sandbox::state::node_dir(dir, name).join("docker.sock");
        tokio::spawn(watch::node(name.clone(), socket, told.clone()));
    }
    drop(told);
    let mut views: BTreeMap<String, NodeView> = BTreeMap::new();
    let mut switchboard = Switchboard {
        addresses: addresses(listen),
        nodes: nodes.clone(),
        mesh: SharedTargets::default(),
        open: BTreeMap::new(),
        with: Surroundings { dialer: dialer.clone(), connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)) },
    };
    let mut before = None;
    let mut turn = 0;
    while let Some((name, news)) = said.recv().await {
        turn += 1;
        learn(views.entry(name).or_default(), news, turn);
        let (ports, mesh) = merge(&views);
        switchboard.mesh.lock().unwrap_or_else(PoisonError::into_inner).set(mesh);
        let forwards = Forwards { ready: views.len() == nodes.len(), ports: switchboard.set(&ports) };
        if before.as_ref() != Some(&forwards) {
            let told = forwards.clone();
            match dialer.ask(move |courier| courier.tell(&told)).await {
                Ok(()) => before = Some(forwards),
                Err(why) => eprintln!("{why}"),
            }
        }
    }
}

fn learn(view: &mut NodeView, news: Said, turn: u64) {
    match news {
        Said::Silent => view.connected = false,
        Said::Ports { swarm, own } => {
            view.connected = true;
            view.own = own;
            match swarm {
                Swarm::Known(known) => {
                    view.swarm = Some(known);
                    view.turn = turn;
                }
                Swarm::NotManager => view.swarm = None,
                Swarm::Unknown => {}
            }
        }
    }
}

/// Where to listen: at the loopback addresses always, so that `localhost` works.
fn addresses(listen: Option<IpAddr>) -> Vec<IpAddr> {
    let (mut v4, mut v6) = (vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], vec![IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    if let Some(address) = listen {
        let all = if address.is_ipv4() { &mut v4 } else { &mut v6 };
        if address.is_unspecified() {
            // stands for every other of its family
            all.clear();
        }
        if !all.contains(&address) {
            all.push(address);
        }
    }
    v4.append(&mut v6);
    v4
}

/// The ports that are listened at.
struct Switchboard {
    addresses: Vec<IpAddr>,
    nodes: BTreeMap<String, IpAddr>,
    mesh: SharedTargets,
    open: BTreeMap<Key, Result<Relay, String>>,
    with: Surroundings,
}

impl Switchboard {
    /// Makes the ports that are listened at those that are published; where each is reachable. A port stays where it
    /// is as long as it is published.
    fn set(&mut self, ports: &Ports) -> Vec<Forward> {
        // first what goes: it may be in the way of what comes. What could not be opened is tried again.
        self.open.retain(|key, relay| ports.contains_key(key) && relay.is_ok());
        for key in ports.keys() {
            if !self.open.contains_key(key) {
                let relay = self.listen(key);
                self.open.insert(key.clone(), relay);
            }
        }
        let told = self.addresses.iter().copied().find(|address| !address.is_loopback());
        let address = told.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let forward = |(key, relay): (&Key, &Result<Relay, String>)| Forward {
            names: ports.get(key).into_iter().flatten().cloned().collect(),
            protocol: key.protocol,
            published: key.port,
            node: key.node.clone(),
            at: relay.as_ref().map(|relay| Local { address, port: relay.port }).map_err(Clone::clone),
        };
        self.open.iter().map(forward).collect()
    }

    fn listen(&self, key: &Key) -> Result<Relay, String> {
        let targets = match &key.node {
            None => Arc::clone(&self.mesh),
            Some(node) => {
                let targets = SharedTargets::default();
                let own = self.nodes.get(node).copied().into_iter().collect();
                targets.lock().unwrap_or_else(PoisonError::into_inner).set(own);
                targets
            }
        };
        let mut why = String::new();
        for port in candidates(key.port) {
            match Relay::open(&self.addresses, port, key.protocol, key.port, &targets, &self.with) {
                Ok(relay) => return Ok(relay),
                Err(error) => why = format!("port {port}: {error}"),
            }
        }
        Err(why)
    }
}

/// The port itself, then what people expect instead of one below 1024, then one that is easy to recognize, then any
/// that is free.
fn candidates(port: u16) -> impl Iterator<Item = u16> {
    let alike = (port < 1024).then(|| port + 8000);
    let recognized = port.checked_add(10_000);
    std::iter::once(port).chain(alike).chain(recognized).chain(std::iter::once(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_is_one_that_a_reader_recognizes() {
        assert_eq!(candidates(80).collect::<Vec<_>>(), [80, 8080, 10_080, 0]);
        assert_eq!(candidates(8080).collect::<Vec<_>>(), [8080, 18_080, 0]);
        assert_eq!(candidates(60_000).collect::<Vec<_>>(), [60_000, 0]);
    }

    #[test]
    fn localhost_works_wherever_else_is_listened() {
        let all = |listen: &str| addresses(listen.parse().ok()).iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(all(""), ["127.0.0.1", "::1"]);
        assert_eq!(all("0.0.0.0"), ["0.0.0.0", "::1"]);
        assert_eq!(all("192.0.2.7"), ["127.0.0.1", "192.0.2.7", "::1"]);
        assert_eq!(all("::"), ["127.0.0.1", "::"]);
        assert_eq!(all("127.0.0.1"), ["127.0.0.1", "::1"]);
    }
}
