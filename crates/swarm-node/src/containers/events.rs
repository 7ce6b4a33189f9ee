//! What happens on this node, as `docker events` tells it: the last ones kept, the next ones sent to who listens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use container_runtime::{Event, EventKind};
use tokio::sync::broadcast;

use super::{Engine, lock};

/// So many past events are kept for `--since`, as many as Docker keeps.
const KEPT: usize = 256;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerEvent {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// `container`, `image`, `volume`, `network`, `service`, `node`, `secret`, `config`.
    pub kind: &'static str,
    /// `create`, `start`, `exec_create: ls`, ...
    pub action: String,
    /// The id of what it happened to.
    pub id: String,
    /// Name, image, labels, and what belongs to the action.
    pub attributes: BTreeMap<String, String>,
    /// `local` or `swarm`.
    pub scope: &'static str,
}

/// Past and coming events.
#[derive(Debug)]
pub struct EventHub {
    sender: broadcast::Sender<Arc<DockerEvent>>,
    recent: Mutex<VecDeque<Arc<DockerEvent>>>,
}

impl Default for EventHub {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(1024), recent: Mutex::default() }
    }
}

impl EventHub {
    /// Tells everybody.
    pub fn publish(&self, event: DockerEvent) {
        let event = Arc::new(event);
        let mut recent = lock(&self.recent);
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back(event.clone());
        // nobody listening is no error
        let _ = self.sender.send(event);
    }

    /// Tells of something of the node that happens now.
    pub(super) fn tell(&self, kind: &'static str, action: &str, id: &str, attributes: &[(&str, &str)]) {
        self.publish(DockerEvent {
            at: crate::core::now().as_nanos(),
            kind,
            action: action.into(),
            id: id.into(),
            attributes: attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            scope: "local",
        });
    }

    /// The events that are kept and, without a gap, a receiver of those to come.
    pub fn subscribe(&self) -> (Vec<Arc<DockerEvent>>, broadcast::Receiver<Arc<DockerEvent>>) {
        let recent = lock(&self.recent);
        (recent.iter().cloned().collect(), self.sender.subscribe())
    }
}

impl Engine {
    /// An event of a container from outside the runtime (`stop`, `restart`, `rename`).
    pub(super) fn tell(&self, id: &container_runtime::ContainerId, action: &str, more: &[(&str, &str)]) {
        let Ok(inspect) = self.inner.runtime.inspect(id) else { return };
        let mut attributes = inspect.labels.clone();
        attributes.insert("image".into(), inspect.config.image.clone());
        attributes.insert("name".into(), inspect.name.clone());
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self.inner.events.publish(DockerEvent {
            at: crate::core::now().as_nanos(),
            kind: "container",
            action: action.into(),
            id: id.to_string(),
            attributes,
            scope: "local",
        });
    }

    /// An event of something that is no container.
    pub fn tell_of(&self, kind: &'static str, action: &str, id: &str, attributes: &[(&str, &str)]) {
        self.inner.events.tell(kind, action, id, attributes);
    }

    /// The runtime's event in Docker's words; one of the runtime's can be two of Docker's.
    pub(super) fn translate(&self, event: &Event) {
        let mut attributes = event.labels.clone();
        let image = event.image.as_str();
        let (kind, id) = match event.kind {
            EventKind::ImageLoaded | EventKind::ImageTagged | EventKind::ImageUntagged | EventKind::ImageDeleted => {
                attributes.insert("name".into(), image.to_owned());
                ("image", image.to_owned())
            }
            _ => {
                attributes.insert("image".into(), image.to_owned());
                attributes.insert("name".into(), event.name.clone());
                ("container", event.container.to_string())
            }
        };
        let mut actions: Vec<String> = Vec::new();
        match &event.kind {
            EventKind::Created => actions.push("create".into()),
            EventKind::Started => actions.push("start".into()),
            EventKind::Killed { signal } => {
                attributes.insert("signal".into(), signal.to_string());
                actions.push("kill".into());
            }
            EventKind::Exited { code, oom } => {
                if *oom {
                    actions.push("oom".into());
                }
                attributes.insert("exitCode".into(), code.to_string());
                actions.push("die".into());
            }
            EventKind::Health(status) => actions.push(format!("health_status: {}", status.as_str())),
            EventKind::ExecCreated { exec } => {
                attributes.insert("execID".into(), exec.clone());
                actions.push(format!("exec_create: {}", self.exec_command(exec)));
            }
            EventKind::ExecStarted { exec } => {
                attributes.insert("execID".into(), exec.clone());
                actions.push(format!("exec_start: {}", self.exec_command(exec)));
            }
            EventKind::ExecDied { exec, code } => {
                attributes.insert("execID".into(), exec.clone());
                attributes.insert("exitCode".into(), code.to_string());
                actions.push("exec_die".into());
            }
            EventKind::Removed => actions.push("destroy".into()),
            EventKind::ImageLoaded => actions.push("load".into()),
            EventKind::ImageTagged => actions.push("tag".into()),
            EventKind::ImageUntagged => actions.push("untag".into()),
            EventKind::ImageDeleted => actions.push("delete".into()),
        }
        for action in actions {
            let (id, attributes) = (id.clone(), attributes.clone());
            self.inner.events.publish(DockerEvent { at: event.at, kind, action, id, attributes, scope: "local" });
        }
    }

    fn exec_command(&self, exec: &str) -> String {
        self.inner.runtime.exec_inspect(exec).map(|state| state.config.args.join(" ")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_events_are_kept() {
        let hub = EventHub::default();
        for at in 0..KEPT as i64 + 10 {
            hub.publish(DockerEvent {
                at,
                kind: "container",
                action: "start".into(),
                id: "x".into(),
                attributes: BTreeMap::new(),
                scope: "local",
            });
        }
        let (recent, _) = hub.subscribe();
        assert_eq!((recent.len(), recent[0].at), (KEPT, 10));
    }
}
