//! Watches a node's Docker API: asks once when it answers, then after each event that can change a published port.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::published::{Ports, SwarmView, containers, swarm};
use crate::engine::api::{self, ApiError};

/// Longest time for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Nothing tells when a socket that is there begins to answer, or a daemon that froze goes on.
const AGAIN: Duration = Duration::from_secs(1);
/// Events come in groups: one look for each group.
const GROUP: Duration = Duration::from_millis(30);
/// A port that is asked for is given a moment later, which not every daemon tells by an event.
const PENDING: Duration = Duration::from_millis(200);
/// Looked at without any event too, since a slow reader of events loses some.
const AT_LEAST: Duration = Duration::from_secs(10);

/// What a node said, or that it does not answer.
pub enum Said {
    /// Its socket does not answer (any more).
    Silent,
    /// What it publishes.
    Ports {
        /// What it knows of its swarm.
        swarm: Swarm,
        /// Its own containers' ports.
        own: Ports,
    },
}

/// What a node knows of its swarm.
pub enum Swarm {
    /// It is no manager.
    NotManager,
    /// It is one, but cannot tell right now: there is no leader.
    Unknown,
    /// What it knows.
    Known(SwarmView),
}

/// Watches for ever; ends when nobody listens any more.
pub async fn node(name: String, socket: std::path::PathBuf, told: mpsc::Sender<(String, Said)>) {
    loop {
        if let Ok(mut events) = subscribe(&socket).await {
            let mut wait = Duration::ZERO;
            loop {
                if !wait.is_zero() && !change(&mut events, wait).await {
                    break;
                }
                let Ok((said, pending)) = look(&name, &socket).await else { break };
                if told.send((name.clone(), said)).await.is_err() {
                    return;
                }
                wait = if pending { PENDING } else { AT_LEAST };
            }
        }
        if told.send((name.clone(), Said::Silent)).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Opens the stream of the events that matter here.
async fn subscribe(socket: &Path) -> Result<Incoming, String> {
    let open = async {
        let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let filters = serde_json::json!({
            "type": ["container", "node", "service"],
            "event": ["create", "destroy", "die", "remove", "start", "update"],
        });
        let path = lab::encode_query(&format!("/events?filters={filters}"));
        let request = hyper::Request::get(path).header("Host", "docker").body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if response.status().is_success() { Ok(response.into_body()) } else { Err(response.status().to_string()) }
    };
    tokio::time::timeout(TIMEOUT, open).await.map_err(|_| "no answer".to_owned())?
}

/// Waits for a group of events, or this long; `false` where the stream has ended. What the events say does not matter.
async fn change(events: &mut Incoming, longest: Duration) -> bool {
    match tokio::time::timeout(longest, events.frame()).await {
        Err(_) => return true,
        Ok(None | Some(Err(_))) => return false,
        Ok(Some(Ok(_))) => {}
    }
    let end = tokio::time::Instant::now() + GROUP;
    loop {
        match tokio::time::timeout_at(end, events.frame()).await {
            Err(_) => return true,
            Ok(None | Some(Err(_))) => return false,
            Ok(Some(Ok(_))) => {}
        }
    }
}

/// Asks the node; also whether to ask again soon.
async fn look(name: &str, socket: &Path) -> Result<(Said, bool), ApiError> {
    let get = |path: &'static str| api::get(socket, path, TIMEOUT);
    let own = containers(name, &get("/containers/json").await?);
    let known: Result<[Value; 3], ApiError> =
        async { Ok([get("/swarm").await?, get("/services").await?, get("/nodes").await?]) }.await;
    let swarm = match known {
        Ok([cluster, services, nodes]) => Swarm::Known(swarm(&cluster, &services, &nodes)),
        Err(ApiError::Refused { status: 503 | 404 | 406, .. }) => Swarm::NotManager,
        Err(ApiError::Refused { .. }) => Swarm::Unknown,
        Err(error) => return Err(error),
    };
    let pending = matches!(&swarm, Swarm::Known(view) if view.pending);
    Ok((Said::Ports { swarm, own }, pending))
}
