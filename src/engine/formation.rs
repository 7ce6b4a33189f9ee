//! Joins the nodes of a cluster into a swarm, only by the Docker API and so the same on every engine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{EngineError, NodePlan, Progress, Role, api};

/// Longest time for one init or join. A join over an idle machine takes well below a second.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at the node list while the last members become ready.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A node and its socket.
pub struct Member<'a> {
    /// The node.
    pub node: &'a NodePlan,
    /// Its socket.
    pub socket: PathBuf,
}

/// First manager: init. All others: join, workers at the same time, managers one after the other since each changes
/// who votes. Returns when the first manager sees all of them ready.
pub fn form_swarm(members: &[Member<'_>], progress: &mut dyn FnMut(Progress)) -> Result<(), EngineError> {
    let Some((first, others)) = members.split_first() else {
        return Ok(());
    };
    let mut joined = |member: &Member<'_>| {
        progress(Progress::Joined { node: member.node.name.clone() });
    };
    let address = first.node.address;
    let init = json!({
        "ListenAddr": "0.0.0.0:2377",
        "AdvertiseAddr": address.to_string(),
        "ForceNewCluster": false,
        "Spec": {},
    });
    request(first, "POST", "/swarm/init", Some(&init))?;
    joined(first);
    if others.is_empty() {
        return Ok(());
    }
    let swarm = request(first, "GET", "/swarm", None)?;
    let token = |role: &str| {
        swarm["JoinTokens"][role].as_str().map(str::to_owned).ok_or_else(|| EngineError::Api {
            node: first.node.name.clone(),
            what: "GET /swarm".into(),
            why: format!("the answer has no join token for a {role}"),
        })
    };
    let (manager, worker) = (token("Manager")?, token("Worker")?);
    let remote = format!("{address}:2377");
    let join = |member: &Member<'_>, token: &str| {
        let own = member.node.address.to_string();
        let body = json!({
            "ListenAddr": "0.0.0.0:2377",
            "AdvertiseAddr": own,
            "RemoteAddrs": [remote.as_str()],
            "JoinToken": token,
        });
        request(member, "POST", "/swarm/join", Some(&body)).map(drop)
    };
    let (managers, workers): (Vec<_>, Vec<_>) = others.iter().partition(|member| member.node.role == Role::Manager);
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for member in workers {
            let (join, worker, done) = (&join, worker.as_str(), done.clone());
            scope.spawn(move || done.send((member, join(member, worker))));
        }
        let (join, manager) = (&join, manager.as_str());
        scope.spawn(move || {
            for member in managers {
                let result = join(member, manager);
                let failed = result.is_err();
                if done.send((member, result)).is_err() || failed {
                    return;
                }
            }
        });
        let mut result = Ok(());
        // ends when every thread has dropped its sender
        for (member, outcome) in finished {
            match outcome {
                Ok(()) => joined(member),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    })?;
    await_ready(first, members.len())
}

/// A join returns when the node is a member; the manager calls it ready a moment later. The API has no call that waits
/// for that, hence the looking.
fn await_ready(first: &Member<'_>, count: usize) -> Result<(), EngineError> {
    let deadline = Instant::now() + JOIN_TIMEOUT;
    loop {
        let nodes = request(first, "GET", "/nodes", None)?;
        let ready =
            nodes.as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["Status"]["State"] == "ready").count());
        if ready >= count {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(EngineError::Api {
                node: first.node.name.clone(),
                what: "GET /nodes".into(),
                why: format!("{ready} of {count} nodes ready after {} s", JOIN_TIMEOUT.as_secs()),
            });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn request(member: &Member<'_>, method: &str, path: &str, body: Option<&Value>) -> Result<Value, EngineError> {
    let socket: &Path = &member.socket;
    api::call(socket, method, path, body, JOIN_TIMEOUT).map_err(|error| EngineError::Api {
        node: member.node.name.clone(),
        what: format!("{method} {path}"),
        why: error.to_string(),
    })
}
