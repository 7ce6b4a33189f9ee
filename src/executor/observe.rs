//! Looks at a cluster as a check asks for it. Nothing here judges, and nothing changes anything.

use std::time::Duration;

use lab::{Check, CheckKind, Observation, Place, Ran, RecordKind};
use serde::de::DeserializeOwned;

use crate::engine::api::{self, ApiError};
use crate::engine::{Cluster, Command, EngineError, ExecOptions, ExecResult};
use crate::own_client;

/// Longest time for one answer of the Docker API.
const API_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for all requests of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(120);
/// Exit code by which the probe says that the container does not run.
const NO_CONTAINER: i32 = crate::probe::NO_CONTAINER as i32;

/// Observes what `check` asks for; trouble of the machinery is an observation too.
pub fn observe(cluster: &dyn Cluster, check: &Check) -> Observation {
    let node = &check.node;
    let seen = match &check.kind {
        CheckKind::Api { path, .. } => response(cluster, node, path),
        CheckKind::Command { run, timeout, times, exit, .. } => runs(cluster, node, run, *timeout, *times, *exit),
        CheckKind::Http { from, url, requests, .. } => replies(cluster, node, from, url, *requests),
        CheckKind::File { source, path } => file(cluster, node, source, path),
        CheckKind::Dns { container, name, record } => records(cluster, node, container, name, *record),
    };
    seen.unwrap_or_else(|error| Observation::Trouble(error.to_string()))
}

fn response(cluster: &dyn Cluster, node: &str, path: &str) -> Result<Observation, EngineError> {
    let socket = cluster.socket(node)?;
    Ok(match api::call(&socket, "GET", path, None, API_TIMEOUT) {
        Ok(value) => Observation::Response { status: 200, body: value.to_string() },
        Err(ApiError::Refused { status, message }) => {
            Observation::Response { status, body: serde_json::json!({ "message": message }).to_string() }
        }
        Err(ApiError::Transport(why)) => Observation::Trouble(format!("{node}: GET {path}: {why}")),
    })
}

fn shell(cluster: &dyn Cluster, node: &str, line: &str, timeout: Duration) -> Result<ExecResult, EngineError> {
    let options = ExecOptions { timeout, output_limit: lab::limits::OUTPUT_BYTES, ..ExecOptions::default() };
    cluster.exec(node, &Command::Shell(line.to_owned()), &options)
}

/// Runs a command so often; not further once it ends otherwise than it should.
fn runs(
    cluster: &dyn Cluster,
    node: &str,
    line: &str,
    timeout: Duration,
    times: u32,
    exit: Option<i32>,
) -> Result<Observation, EngineError> {
    let mut all = Vec::new();
    for _ in 0..times {
        let done = shell(cluster, node, line, timeout)?;
        let good = !done.timed_out && exit.is_none_or(|wanted| wanted == done.exit_code);
        all.push(Ran {
            exit: done.exit_code,
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
            timed_out: done.timed_out,
        });
        if !good {
            break;
        }
    }
    Ok(Observation::Output(all))
}

fn replies(
    cluster: &dyn Cluster,
    node: &str,
    from: &Place,
    url: &str,
    requests: u32,
) -> Result<Observation, EngineError> {
    if node == lab::LAB_NODE {
        return own_client::get(cluster, url, requests).map(Observation::Replies);
    }
    let count = requests.to_string();
    let mut args = vec!["http", url, &count];
    let id = match from {
        Place::Node => None,
        Place::Container(name) => match container_id(cluster, node, name)? {
            None => return Ok(missing(node, name)),
            id => id,
        },
    };
    args.extend(id.as_deref());
    Ok(match probe(cluster, node, &args)? {
        Probed::Lines(replies) => Observation::Replies(replies),
        Probed::Other(observation) => observation,
    })
}

fn records(
    cluster: &dyn Cluster,
    node: &str,
    container: &str,
    name: &str,
    record: RecordKind,
) -> Result<Observation, EngineError> {
    let Some(id) = container_id(cluster, node, container)? else {
        return Ok(missing(node, container));
    };
    Ok(match probe(cluster, node, &["dns", &id, record.name(), name])? {
        Probed::Lines(mut answers) => match answers.pop() {
            Some(answer) => Observation::Records(answer),
            None => Observation::Trouble(format!("{node}: the probe of {name} said nothing")),
        },
        Probed::Other(observation) => observation,
    })
}

/// What a probe printed, or why that cannot be judged.
enum Probed<T> {
    Lines(Vec<T>),
    Other(Observation),
}

/// Runs `swarmlab probe ...` in the node; it prints a line of JSON for each answer.
fn probe<T: DeserializeOwned>(cluster: &dyn Cluster, node: &str, args: &[&str]) -> Result<Probed<T>, EngineError> {
    let options = ExecOptions { timeout: PROBE_TIMEOUT, ..ExecOptions::default() };
    let argv = ["swarmlab", "probe"].iter().chain(args).map(|word| (*word).to_owned()).collect();
    let done = cluster.exec(node, &Command::Argv(argv), &options)?;
    let lines = String::from_utf8_lossy(&done.stdout);
    let answers: Result<Vec<T>, _> = lines.lines().map(serde_json::from_str).collect();
    Ok(match answers {
        Ok(answers) if done.exit_code == 0 => Probed::Lines(answers),
        _ if done.exit_code == NO_CONTAINER => {
            Probed::Other(Observation::Missing(format!("the container on {node} has just ended")))
        }
        _ => {
            let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
            let what = args.join(" ");
            Probed::Other(Observation::Trouble(format!(
                "{node}: the probe `{what}` ended with {}: {said}",
                done.exit_code
            )))
        }
    })
}

/// The first running container on the node whose name begins so: its id.
fn container_id(cluster: &dyn Cluster, node: &str, name: &str) -> Result<Option<String>, EngineError> {
    let path = "/containers/json";
    let asked = api::call(&cluster.socket(node)?, "GET", path, None, API_TIMEOUT);
    let all = asked.map_err(|error| EngineError::Api {
        node: node.to_owned(),
        what: format!("GET {path}"),
        why: error.to_string(),
    })?;
    let named = |container: &&serde_json::Value| {
        let names = container["Names"].as_array().into_iter().flatten().filter_map(|n| n.as_str());
        names.map(|n| n.trim_start_matches('/')).any(|n| n.starts_with(name))
    };
    Ok(all.as_array().into_iter().flatten().find(named).and_then(|c| c["Id"].as_str()).map(str::to_owned))
}

fn missing(node: &str, container: &str) -> Observation {
    Observation::Missing(format!("no container whose name begins with `{container}` runs on {node}"))
}

fn file(cluster: &dyn Cluster, node: &str, source: &Place, path: &str) -> Result<Observation, EngineError> {
    // The parser let no quote into `path`.
    let line = match source {
        Place::Node => format!("cat '{path}'"),
        Place::Container(name) => match container_id(cluster, node, name)? {
            Some(id) => format!("docker exec {id} cat '{path}'"),
            None => return Ok(Observation::File(None)),
        },
    };
    let done = shell(cluster, node, &line, Duration::from_secs(10))?;
    let said = String::from_utf8_lossy(&done.stderr).to_lowercase();
    Ok(match done.exit_code {
        0 => Observation::File(Some(String::from_utf8_lossy(&done.stdout).into_owned())),
        // a container may end between the look-up and the reading
        _ if ["no such file", "not running", "no such container"].iter().any(|gone| said.contains(gone)) => {
            Observation::File(None)
        }
        code => Observation::Trouble(format!("{node}: {path}: exit code {code}: {}", said.trim())),
    })
}
