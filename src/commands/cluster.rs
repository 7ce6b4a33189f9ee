//! `swarmlab cluster`: free playground clusters.

use std::process::ExitCode;

use super::support::{Failure, Listen, forward_json, forwards};
use crate::engine::{self, ClusterSpec, EngineError, Lifetime, Progress};

/// Name of a cluster when none is given.
const DEFAULT: &str = "default";

/// Arguments of `swarmlab cluster`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Boot a cluster that stays until `cluster down`
    Up {
        /// Its name
        #[arg(default_value = DEFAULT)]
        name: String,
        /// Managers of the swarm [default: 1]
        #[arg(long, conflicts_with = "plain")]
        managers: Option<usize>,
        /// Workers of the swarm [default: 0]
        #[arg(long, conflicts_with = "plain")]
        workers: Option<usize>,
        /// Engines outside any swarm, instead of managers and workers
        #[arg(long)]
        plain: Option<usize>,
        /// What runs in the nodes: embedded or dockerd
        #[arg(long, default_value = "embedded")]
        engine: String,
        /// Stay in the foreground: the cluster ends with this command
        #[arg(long)]
        foreground: bool,
        #[command(flatten)]
        listen: Listen,
    },
    /// Tell where published ports are reachable on this machine
    Ports {
        /// The cluster
        #[arg(default_value = DEFAULT)]
        name: String,
        /// Output format
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Print the shell command that points DOCKER_HOST at a node
    Env {
        /// The cluster
        #[arg(default_value = DEFAULT)]
        name: String,
        /// The node [default: the first]
        node: Option<String>,
    },
    /// Run a command in a node
    Exec {
        /// The cluster
        name: String,
        /// The node
        node: String,
        /// Program and arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// End a cluster and remove every trace of it
    Down {
        /// Its name
        #[arg(default_value = DEFAULT)]
        name: String,
    },
    /// List the clusters that run
    Ls {
        /// Output format
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Cut a node's power, freeze it, or start it again
    #[command(hide = true)]
    Node {
        /// The cluster
        name: String,
        /// The node
        node: String,
        /// What to do
        #[arg(value_enum)]
        action: NodeAction,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum NodeAction {
    Kill,
    Pause,
    Start,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(args.action).unwrap_or_else(Failure::report)
}

fn execute(action: Action) -> Result<ExitCode, Failure> {
    match action {
        Action::Up { name, managers, workers, plain, engine, foreground, listen } => {
            let plain = plain.unwrap_or(0);
            let swarm = plain == 0;
            let spec = ClusterSpec {
                name,
                managers: managers.unwrap_or(usize::from(swarm)),
                workers: workers.unwrap_or(0),
                plain,
                form_swarm: swarm,
                lifetime: if foreground { Lifetime::Foreground } else { Lifetime::Detached },
                listen: listen.address()?,
                binds: Vec::new(),
            };
            up(&engine, &spec)?;
        }
        Action::Env { name, node } => {
            let cluster = engine::attach(&name)?;
            let first = || cluster.nodes().first().map(|node| node.name.clone());
            let node = node.or_else(first).unwrap_or_default();
            let socket = cluster.socket(&node)?;
            println!("export DOCKER_HOST=unix://{}", socket.display());
        }
        Action::Exec { name, node, command } => {
            let code = engine::attach(&name)?.run(&node, &command)?;
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
        Action::Down { name } => {
            engine::end(&name)?;
            println!("{name} is down.");
        }
        Action::Ports { name, format } => ports(&name, format)?,
        Action::Ls { format } => ls(format)?,
        Action::Node { name, node, action } => {
            let cluster = engine::attach(&name)?;
            match action {
                NodeAction::Kill => cluster.kill_node(&node)?,
                NodeAction::Pause => cluster.pause_node(&node)?,
                NodeAction::Start => cluster.start_node(&node)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(engine: &str, spec: &ClusterSpec) -> Result<(), EngineError> {
    let mut report = |progress: Progress| match progress {
        Progress::Sandbox { nodes } => eprintln!("Booting {nodes} nodes"),
        Progress::NodeReady { node } => eprintln!("  {node} answers"),
        Progress::Joined { node } => eprintln!("  {node} is in the swarm"),
        Progress::Done { elapsed } => {
            eprintln!("{} is up after {:.1} s.", spec.name, elapsed.as_secs_f32());
        }
    };
    let cluster = engine::by_name(engine)?.boot(spec, &mut report)?;
    println!(
        "Use it:  eval \"$(swarmlab cluster env {name})\"\nEnd it:  swarmlab cluster down {name}",
        name = spec.name
    );
    if spec.lifetime == Lifetime::Foreground {
        // any signal ends this process, and its end ends the cluster
        nix::unistd::pause();
    }
    drop(cluster);
    Ok(())
}

fn ports(name: &str, format: Format) -> Result<(), EngineError> {
    let forwards = forwards(&*engine::attach(name)?)?;
    match format {
        Format::Json => {
            let ports: Vec<_> = forwards.ports.iter().map(forward_json).collect();
            println!("{:#}", serde_json::json!({ "format_version": 1, "ports": ports }));
        }
        Format::Table if forwards.ports.is_empty() => println!("No port is published."),
        Format::Table => forwards.ports.iter().for_each(|forward| println!("{forward}")),
    }
    Ok(())
}

fn ls(format: Format) -> Result<(), EngineError> {
    let clusters = engine::list()?;
    match format {
        Format::Json => {
            let text = serde_json::json!({ "format_version": 1, "clusters": clusters });
            println!("{text:#}");
        }
        Format::Table if clusters.is_empty() => {
            println!("No cluster runs. Start one: swarmlab cluster up");
        }
        Format::Table => {
            println!("{:<24}  {:<9}  NODES", "NAME", "ENGINE");
            for cluster in clusters {
                let nodes: Vec<&str> = cluster.nodes.iter().map(|n| n.name.as_str()).collect();
                println!("{:<24}  {:<9}  {}", cluster.name, cluster.engine, nodes.join(" "));
            }
        }
    }
    Ok(())
}
