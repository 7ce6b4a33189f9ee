//! `docker events`: the node's own and, on managers, the swarm's.

use std::collections::BTreeMap;
use std::sync::Arc;

use docker_api::Filters;
use docker_api::query::Events;
use docker_api::time::{UnixTime, parse_param};
use futures_util::StreamExt;
use serde_json::json;
use swarm_manager::store::Event;
use swarm_types::Object;
use tokio::sync::broadcast::error::RecvError;

use super::Api;
use super::call::Call;
use super::reply::{self, Result};
use crate::containers::DockerEvent;
use crate::convert::node;
use crate::core::{NodeHandle, SwarmEvent};

const KEYS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "id",
    "image",
    "label",
    "network",
    "node",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// `GET /events`
pub(crate) async fn events(call: &Call) -> Result {
    let Events { since, until, filters } = call.query()?;
    filters.validate(&KEYS)?;
    let since = parse_param(&since)?.map(nanos);
    let until = parse_param(&until)?.map(nanos);
    let (recent, receiver) = call.api.engine.events().subscribe();
    let past: Vec<Arc<DockerEvent>> = match since {
        Some(since) => recent.into_iter().filter(|event| event.at >= since).collect(),
        None => Vec::new(),
    };
    let end = until.map(|until| {
        let left = until.saturating_sub(crate::core::now().as_nanos());
        tokio::time::Instant::now() + std::time::Duration::from_nanos(u64::try_from(left).unwrap_or(0))
    });
    let live = futures_util::stream::unfold(receiver, move |mut receiver| async move {
        loop {
            let next = receiver.recv();
            let event = match end {
                Some(end) => tokio::time::timeout_at(end, next).await.ok()?,
                None => next.await,
            };
            match event {
                Ok(event) => return Some((event, receiver)),
                // a slow reader loses the oldest, as with Docker
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let lines = futures_util::stream::iter(past)
        .chain(live)
        .filter(move |event| {
            let shown = matches(&filters, event) && until.is_none_or(|until| event.at <= until);
            std::future::ready(shown)
        })
        .map(|event| line(&event).into());
    Ok(reply::stream("application/json", lines))
}

fn nanos(time: UnixTime) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn line(event: &DockerEvent) -> String {
    let mut shown = json!({});
    if matches!(event.kind, "container" | "image") {
        // fields of API versions before 1.22, which clients still read
        shown["status"] = json!(event.action);
        shown["id"] = json!(event.id);
        if let (true, Some(image)) = (event.kind == "container", event.attributes.get("image")) {
            shown["from"] = json!(image);
        }
    }
    shown["Type"] = json!(event.kind);
    shown["Action"] = json!(event.action);
    shown["Actor"] = json!({"ID": event.id, "Attributes": event.attributes});
    shown["scope"] = json!(event.scope);
    shown["time"] = json!(event.at / 1_000_000_000);
    shown["timeNano"] = json!(event.at);
    format!("{shown}\n")
}

fn matches(filters: &Filters, event: &DockerEvent) -> bool {
    let label = |key: &str| event.attributes.get(key).map(String::as_str);
    // `exec_create: ls` is found by `exec_create`
    let verb = event.action.split(':').next().unwrap_or("");
    let action = filters.matches_exactly("event", &event.action) || filters.matches_exactly("event", verb);
    let of_kind =
        ["config", "container", "image", "network", "node", "secret", "service", "volume"].iter().all(|kind| {
            let wanted: Vec<&str> = filters.get(kind).collect();
            wanted.is_empty()
                || (event.kind == *kind
                    && wanted.iter().any(|wanted| event.id.starts_with(wanted) || named(event, wanted)))
                || (*kind == "image"
                    && event.kind == "container"
                    && wanted.iter().any(|wanted| label("image") == Some(wanted)))
        });
    action
        && of_kind
        && filters.matches_exactly("type", event.kind)
        && filters.matches_exactly("scope", event.scope)
        && filters.matches_prefix("id", &event.id)
        && !filters.contains("daemon")
        && filters.matches_labels("label", label)
}

fn named(event: &DockerEvent, wanted: &str) -> bool {
    event.attributes.get("name").is_some_and(|name| name == wanted || name.split(':').next() == Some(wanted))
}

impl Api {
    /// Tells the swarm's changes among the node's own events, for as long as the node lives.
    pub(super) fn follow_swarm(node: &NodeHandle, engine: crate::containers::Engine) {
        let mut events = node.subscribe();
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        if let Some(told) = translate(&event) {
                            engine.events().publish(told);
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }
}

/// A change of the store in Docker's words; `None` for changes that Docker does not tell (tasks, the cluster).
fn translate(event: &SwarmEvent) -> Option<DockerEvent> {
    let (action, old, object) = match &*event.event {
        Event::Created(object) => ("create", None, object),
        Event::Updated { old, new } => ("update", Some(old), new),
        Event::Removed(object) => ("remove", None, object),
    };
    let mut attributes = BTreeMap::new();
    let mut changed = |key: &str, was: String, is: String| {
        if was != is {
            attributes.insert(format!("{key}.old"), was);
            attributes.insert(format!("{key}.new"), is);
        }
    };
    let (kind, id, name) = match object {
        Object::Node(new) => {
            if let Some(Object::Node(old)) = old {
                changed("state", state(old), state(new));
                changed(
                    "availability",
                    node::availability(old.spec.availability).into(),
                    node::availability(new.spec.availability).into(),
                );
                changed("role", node::role(old.spec.desired_role).into(), node::role(new.spec.desired_role).into());
                let (was, is) = (reachability(old), reachability(new));
                changed("reachability", was, is);
            }
            ("node", new.id.to_string(), new.display_name())
        }
        Object::Service(new) => {
            if let Some(Object::Service(old)) = old {
                changed("replicas", replicas(old), replicas(new));
                changed("image", old.spec.task.container.image.clone(), new.spec.task.container.image.clone());
                changed("updatestate", update_state(old), update_state(new));
            }
            ("service", new.id.to_string(), new.spec.annotations.name.clone())
        }
        Object::Network(new) => ("network", new.id.to_string(), new.spec.annotations.name.clone()),
        Object::Secret(new) => ("secret", new.id.to_string(), new.spec.annotations.name.clone()),
        Object::Config(new) => ("config", new.id.to_string(), new.spec.annotations.name.clone()),
        Object::Task(_) | Object::Cluster(_) => return None,
    };
    attributes.insert("name".into(), name);
    Some(DockerEvent { at: event.time.as_nanos(), kind, action: action.into(), id, attributes, scope: "swarm" })
}

fn state(node: &swarm_types::Node) -> String {
    format!("{:?}", node.status.state).to_lowercase()
}

fn reachability(node: &swarm_types::Node) -> String {
    node.manager_status.as_ref().map(|status| format!("{:?}", status.reachability).to_lowercase()).unwrap_or_default()
}

fn replicas(service: &swarm_types::Service) -> String {
    match service.spec.mode {
        swarm_types::ServiceMode::Replicated { replicas } => replicas.to_string(),
        _ => String::new(),
    }
}

fn update_state(service: &swarm_types::Service) -> String {
    let shown = crate::convert::service::service(service, None, false);
    shown["UpdateStatus"]["State"].as_str().unwrap_or_default().to_owned()
}
