//! What the learner's own machine, `lab$`, knows in a chapter: the faults of `swarmlab fault`, in the same words as on
//! the command line, and `curl` of what the lab publishes.
//!
//! Nothing here runs a program of the learner's machine: labs may come from strangers.

use std::fmt::Write as _;
use std::time::Instant;

use clap::{Parser, Subcommand};

use crate::engine::{Cluster, Direction, EngineError, ExecResult, Fault, Port, riddle};
use crate::own_client;

/// A line of `lab$`, from its first word on.
#[derive(Debug, Parser)]
#[command(name = "lab$", multicall = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    #[command(subcommand)]
    Swarmlab(Swarmlab),
    #[command(disable_help_flag = true)]
    Curl(Curl),
}

/// The part of `curl` that chapters need, played by [`own_client`].
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct Curl {
    /// Say nothing but the answer
    #[arg(short, long)]
    silent: bool,
    /// Tell failures all the same
    #[arg(short = 'S', long)]
    show_error: bool,
    /// An answer of 400 and above is a failure
    #[arg(short, long)]
    fail: bool,
    /// What to ask
    url: String,
}

/// What a line of `lab$` says.
#[derive(Debug, Clone, PartialEq)]
pub enum LabLine {
    /// `swarmlab fault ...`
    Fault(FaultAction),
    /// `curl ...`
    Curl(Curl),
}

#[derive(Debug, Subcommand)]
enum Swarmlab {
    Fault {
        #[command(subcommand)]
        action: FaultAction,
    },
}

/// `swarmlab fault ...`
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum FaultAction {
    /// Cut a node's power; its disk stays
    Kill {
        /// The node
        node: String,
    },
    /// Freeze a node
    Pause {
        /// The node
        node: String,
    },
    /// Let a node run again
    Start {
        /// The node
        node: String,
    },
    /// Lose the packets of a port
    Block {
        /// The node
        node: String,
        /// The port at either end, as 4789/udp, 2377/tcp or 7946 (both); several with commas
        #[arg(long = "port", required = true, value_delimiter = ',')]
        ports: Vec<Port>,
        /// Only between the node and this one
        #[arg(long, value_name = "NODE")]
        peer: Option<String>,
        /// Only what comes in
        #[arg(long = "in", conflicts_with = "outward")]
        inward: bool,
        /// Only what goes out
        #[arg(long = "out")]
        outward: bool,
        /// Only one of the ports, and do not say which: a riddle, the same for a node each time
        #[arg(long)]
        one: bool,
    },
    /// Cut nodes off from others
    Partition {
        /// The nodes on one side, with commas
        #[arg(required = true, value_delimiter = ',')]
        nodes: Vec<String>,
        /// The nodes on the other side, with commas [default: all others]
        #[arg(long, value_name = "NODE", value_delimiter = ',')]
        from: Vec<String>,
    },
    /// Lose some of the packets that a node sends and receives
    Loss {
        /// The node
        node: String,
        /// How many of a hundred
        #[arg(value_parser = percent)]
        percent: f64,
        /// Only between the node and this one
        #[arg(long, value_name = "NODE")]
        peer: Option<String>,
    },
    /// Hold back what a node sends
    Delay {
        /// The node
        node: String,
        /// How long, in milliseconds
        #[arg(value_parser = clap::value_parser!(u32).range(1..=60_000))]
        ms: u32,
        /// How many milliseconds more or less it may be
        #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
        jitter: u32,
    },
    /// End all faults of the network, or a node's part in them
    Heal {
        /// The node
        node: Option<String>,
    },
    /// List what is broken
    Ls {
        /// How to tell
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

/// How a list is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For scripts
    Json,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("expected a number above 0 and up to 100".to_owned()),
    }
}

/// Reads a line of `lab$`; the error says in one line what was expected.
pub fn parse(line: &str) -> Result<LabLine, String> {
    let known =
        "`swarmlab fault kill|pause|start|block|partition|loss|delay|heal|ls ...` and `curl [-sSf] localhost:PORT`";
    match Line::try_parse_from(line.split_whitespace()) {
        Ok(Line { program: Program::Swarmlab(Swarmlab::Fault { action }) }) => Ok(LabLine::Fault(action)),
        Ok(Line { program: Program::Curl(curl) }) => match own_client::objection(&curl.url) {
            None => Ok(LabLine::Curl(curl)),
            Some(why) => Err(why),
        },
        Err(error) => {
            let said = error.to_string();
            let first: Vec<&str> = said.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            let first = first.join(" ");
            let first = first.trim_start_matches("error: ");
            // a page of help is no error that an author could use
            let first = if first.contains(':') || first.contains('\'') { first } else { "" };
            Err(if first.is_empty() { format!("expected {known}") } else { format!("{first}; `lab$` knows {known}") })
        }
    }
}

impl LabLine {
    /// Every node that is named.
    pub fn nodes(&self) -> Vec<&str> {
        match self {
            Self::Fault(action) => action.nodes(),
            Self::Curl(_) => Vec::new(),
        }
    }

    /// Does it.
    pub fn run(&self, cluster: &dyn Cluster) -> Result<ExecResult, EngineError> {
        let began = Instant::now();
        let (exit_code, stdout, stderr) = match self {
            Self::Fault(action) => (0, action.run(cluster)?, String::new()),
            Self::Curl(curl) => own_client::curl(cluster, &curl.url, curl.silent && !curl.show_error, curl.fail)?,
        };
        let output = format!("{stdout}{stderr}").into_bytes();
        let (stdout, stderr) = (stdout.into_bytes(), stderr.into_bytes());
        Ok(ExecResult { exit_code, stdout, stderr, output, duration: began.elapsed(), ..ExecResult::default() })
    }
}

impl FaultAction {
    /// Every node that is named.
    pub fn nodes(&self) -> Vec<&str> {
        match self {
            Self::Kill { node } | Self::Pause { node } | Self::Start { node } | Self::Delay { node, .. } => vec![node],
            Self::Block { node, peer, .. } | Self::Loss { node, peer, .. } => {
                std::iter::once(node).chain(peer).map(String::as_str).collect()
            }
            Self::Partition { nodes, from } => nodes.iter().chain(from).map(String::as_str).collect(),
            Self::Heal { node } => node.iter().map(String::as_str).collect(),
            Self::Ls { .. } => Vec::new(),
        }
    }

    /// Does it; what is to be said of it, with its line end.
    pub fn run(&self, cluster: &dyn Cluster) -> Result<String, EngineError> {
        match self {
            Self::Kill { node } => cluster.kill_node(node).map(|()| format!("{node}: power cut\n")),
            Self::Pause { node } => cluster.pause_node(node).map(|()| format!("{node}: frozen\n")),
            Self::Start { node } => cluster.start_node(node).map(|()| format!("{node}: running\n")),
            Self::Heal { node } => heal(cluster, node.as_deref()),
            Self::Ls { format } => list(cluster, *format),
            Self::Block { .. } | Self::Partition { .. } | Self::Loss { .. } | Self::Delay { .. } => {
                let fault = self.fault(cluster)?;
                cluster.fault(&fault).map(|()| format!("{fault}\n"))
            }
        }
    }

    /// The fault of the network that is meant, with every node named that has a part in it.
    fn fault(&self, cluster: &dyn Cluster) -> Result<Fault, EngineError> {
        Ok(match self.clone() {
            Self::Block { node, ports, peer, inward, outward, one } => {
                let direction = match (inward, outward) {
                    (true, _) => Direction::In,
                    (_, true) => Direction::Out,
                    _ => Direction::Both,
                };
                different(&node, peer.as_deref())?;
                let (ports, among) = match one.then(|| riddle(&node, &ports)).flatten() {
                    Some(port) => (vec![port], ports),
                    None => (ports, Vec::new()),
                };
                Fault::Block { node, ports, peer, direction, among }
            }
            Self::Partition { nodes, from } => {
                let others = || cluster.nodes().iter().map(|n| n.name.clone()).filter(|n| !nodes.contains(n)).collect();
                let from = if from.is_empty() { others() } else { from };
                if let Some(node) = nodes.iter().find(|node| from.contains(node)) {
                    return Err(EngineError::Spec(format!("{node} cannot be on both sides of a partition")));
                }
                if from.is_empty() {
                    return Err(EngineError::Spec("there is no node on the other side of this partition".to_owned()));
                }
                Fault::Partition { nodes, from }
            }
            Self::Loss { node, percent, peer } => {
                different(&node, peer.as_deref())?;
                Fault::Loss { node, percent, peer }
            }
            Self::Delay { node, ms, jitter } if jitter <= ms => Fault::Delay { node, ms, jitter },
            Self::Delay { ms, jitter, .. } => {
                return Err(EngineError::Spec(format!("a jitter of {jitter} ms is more than the delay of {ms} ms")));
            }
            other => return Err(EngineError::Spec(format!("{other:?} is no fault of the network"))),
        })
    }
}

fn different(node: &str, peer: Option<&str>) -> Result<(), EngineError> {
    match peer {
        Some(peer) if peer == node => Err(EngineError::Spec(format!("--peer wants another node than {node} itself"))),
        _ => Ok(()),
    }
}

fn heal(cluster: &dyn Cluster, node: Option<&str>) -> Result<String, EngineError> {
    let before = cluster.broken()?;
    cluster.heal(node)?;
    let after = cluster.broken()?;
    let mut said = String::new();
    for fault in before.faults.iter().filter(|fault| !after.faults.contains(fault)) {
        let _ = writeln!(said, "no longer: {}", fault.solved());
    }
    for fault in after.faults.iter().filter(|fault| !before.faults.contains(fault)) {
        let _ = writeln!(said, "still: {fault}");
    }
    if said.is_empty() {
        said.push_str("There was nothing to heal.\n");
    }
    for down in after.nodes.iter().filter(|down| node.is_none_or(|node| node == down.name)) {
        let _ = writeln!(said, "{}", down_words(down));
    }
    Ok(said)
}

/// A node that does not run, in words.
pub fn down_words(down: &crate::engine::DownNode) -> String {
    let how = if down.paused { "frozen" } else { "switched off" };
    format!("{name}: {how}; `swarmlab fault start {name}` lets it run", name = down.name)
}

fn list(cluster: &dyn Cluster, format: Format) -> Result<String, EngineError> {
    let broken = cluster.broken()?;
    if format == Format::Json {
        let json = serde_json::json!({ "format_version": 1, "faults": broken.faults, "nodes": broken.nodes });
        return Ok(format!("{json:#}\n"));
    }
    let lines = broken.faults.iter().map(Fault::to_string).chain(broken.nodes.iter().map(down_words));
    let text: String = lines.map(|line| line + "\n").collect();
    Ok(if text.is_empty() { "Nothing is broken.\n".to_owned() } else { text })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn faults_are_read_as_on_the_command_line() {
        let action = |line: &str| match parse(&format!("swarmlab fault {line}")).unwrap() {
            LabLine::Fault(action) => action,
            other => panic!("{other:?}"),
        };
        assert_eq!(action("kill worker2"), FaultAction::Kill { node: "worker2".into() });
        assert_eq!(
            action("block worker1 --port 4789/udp,7946 --peer manager1 --in"),
            FaultAction::Block {
                node: "worker1".into(),
                ports: vec!["4789/udp".parse().unwrap(), "7946".parse().unwrap()],
                peer: Some("manager1".into()),
                inward: true,
                outward: false,
                one: false,
            }
        );
        let both = FaultAction::Partition { nodes: vec!["a".into(), "b".into()], from: vec!["c".into()] };
        assert_eq!(action("partition a,b --from c"), both);
        assert_eq!(action("loss a 12.5%"), FaultAction::Loss { node: "a".into(), percent: 12.5, peer: None });
        assert_eq!(action("delay a 100 --jitter 20"), FaultAction::Delay { node: "a".into(), ms: 100, jitter: 20 });
        assert_eq!(action("heal"), FaultAction::Heal { node: None });
        assert_eq!(both.nodes(), ["a", "b", "c"]);
    }

    #[test]
    fn curl_is_read_as_people_type_it() {
        for line in ["curl -s localhost:8080", "curl -sS http://localhost:8080/", "curl --silent --fail localhost:8080"]
        {
            assert!(matches!(parse(line), Ok(LabLine::Curl(Curl { silent: true, .. }))), "{line}");
        }
    }

    #[test]
    fn what_lab_does_not_know_is_told_in_one_line() {
        for (line, told) in [
            ("", "expected `swarmlab fault"),
            ("ls -l", "ls"),
            ("docker ps", "docker"),
            ("swarmlab run 1", "run"),
            ("swarmlab fault", "expected `swarmlab fault"),
            ("swarmlab fault kil worker1", "kil"),
            ("swarmlab fault kill", "<NODE>"),
            ("swarmlab fault block worker1", "--port"),
            ("swarmlab fault block worker1 --port 0", "expected a port from 1 to 65535"),
            ("swarmlab fault block worker1 --port 1 --in --out", "--in"),
            ("swarmlab fault loss worker1 101", "expected a number above 0 and up to 100"),
            ("swarmlab fault loss worker1 NaN", "expected a number above 0 and up to 100"),
            ("swarmlab fault delay worker1 0", "0"),
            ("curl", "<URL>"),
            ("curl -o file localhost:80", "-o"),
            ("curl http://example.org/", "only a port of this machine"),
        ] {
            let said = parse(line).unwrap_err();
            assert!(said.contains(told) && !said.contains('\n'), "{line}: {said}");
        }
    }
}
