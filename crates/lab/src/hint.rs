//! A hint made from what is wrong right now: it comes before any that an author wrote.

use crate::model::{Check, CheckKind, LAB_NODE, Place};
use crate::{CheckResult, Status};

/// Says what differs and which command shows it; `None` where the check holds.
pub fn state_hint(check: &Check, result: &CheckResult) -> Option<String> {
    if !matches!(result.status, Status::Fail | Status::Error) {
        return None;
    }
    let look = check.look.clone().map(|l| if l.contains("$ ") { l } else { format!("{}$ {l}", check.node) });
    let look = look.or_else(|| look_at(check));
    let trouble = if result.status == Status::Error { "could not be checked: " } else { "" };
    let mut hint = format!("{}\n  expected {}\n  seen     {trouble}{}", check.words, result.expected, result.seen);
    if let Some(look) = look {
        hint.push_str(&format!("\n  look at it yourself: {look}"));
    }
    Some(hint)
}

/// The command by which a learner sees what the check reads.
fn look_at(check: &Check) -> Option<String> {
    let node = &check.node;
    let command = match &check.kind {
        CheckKind::Api { path, .. } => {
            let full = path.as_str();
            let mut parts = full.split('?').next().unwrap_or_default().trim_start_matches('/').splitn(3, '/');
            match (parts.next()?, parts.next(), parts.next()) {
                ("nodes", None, _) => "docker node ls".to_owned(),
                ("nodes", Some(id), _) => format!("docker node inspect --pretty {id}"),
                ("services", None, _) => "docker service ls".to_owned(),
                ("services", Some(name), None) => format!("docker service inspect --pretty {name}"),
                ("tasks", None, _) => format!("docker service ps {}", service_in(full).unwrap_or("SERVICE")),
                ("swarm" | "info", None, _) => "docker info".to_owned(),
                ("containers", Some("json"), None) => "docker ps -a".to_owned(),
                ("containers", Some(name), _) => format!("docker inspect {name}"),
                ("networks", None, _) => "docker network ls".to_owned(),
                ("networks", Some(name), _) => format!("docker network inspect {name}"),
                ("images", _, _) => "docker images".to_owned(),
                ("volumes", None, _) => "docker volume ls".to_owned(),
                ("secrets", _, _) => "docker secret ls".to_owned(),
                ("configs", _, _) => "docker config ls".to_owned(),
                _ => return None,
            }
        }
        CheckKind::Command { run, .. } => run.clone(),
        CheckKind::Http { from: Place::Node, url, .. } if node == LAB_NODE => format!("curl {url}"),
        CheckKind::Http { from: Place::Node, url, .. } => format!("wget -qO- {url}"),
        CheckKind::Http { from: Place::Container(name), url, .. } => within(name, &format!("wget -qO- {url}")),
        CheckKind::File { source: Place::Node, path } => format!("cat {path}"),
        CheckKind::File { source: Place::Container(name), path } => within(name, &format!("cat {path}")),
        CheckKind::Dns { container, name, .. } => within(container, &format!("getent ahosts {name}")),
    };
    Some(format!("{node}$ {command}"))
}

fn within(container: &str, command: &str) -> String {
    format!("docker exec $(docker ps -q -f name={container}) {command}")
}

/// The service that a query filters by: `filters={"service":["web"]}`, encoded.
fn service_in(path: &str) -> Option<&str> {
    let (_, after) = path.split_once("%22service%22%3A%5B%22")?;
    let end = after.find('%')?;
    after.get(..end)
}
