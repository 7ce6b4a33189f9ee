//! Templates in a service's environment, host name and mounts: `{{.Node.Hostname}}` and the like.
//!
//! Docker hands these to Go's template engine; only its field access is of use in a container's context, and only
//! that is here: dotted paths, and `index` for labels whose names hold dots. Anything else is an error of the task.

use std::collections::BTreeMap;

/// What templates can say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Context {
    values: BTreeMap<&'static str, String>,
    labels: BTreeMap<String, String>,
}

impl Context {
    /// The context of a task; `hostname` and `architecture` are the node's.
    pub fn of(task: &swarm_types::Task, hostname: &str, architecture: &str) -> Self {
        let node = task.node_id.map(|id| id.to_string()).unwrap_or_default();
        // tasks of global services have no slot: the node stands for it, in names too
        let slot = if task.slot == 0 { node.clone() } else { task.slot.to_string() };
        let values = BTreeMap::from([
            ("Service.ID", task.service_id.map(|id| id.to_string()).unwrap_or_default()),
            ("Service.Name", task.service_annotations.name.clone()),
            ("Node.ID", node),
            ("Node.Hostname", hostname.to_owned()),
            ("Node.Platform.OS", "linux".to_owned()),
            ("Node.Platform.Architecture", architecture.to_owned()),
            ("Task.ID", task.id.to_string()),
            ("Task.Name", task.name()),
            ("Task.Slot", slot),
        ]);
        Self { values, labels: task.service_annotations.labels.clone() }
    }

    /// The slot as templates show it.
    pub fn slot(&self) -> &str {
        self.values.get("Task.Slot").map_or("", String::as_str)
    }

    /// Replaces all templates in a text.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            out.push_str(before);
            let Some((action, after)) = after.split_once("}}") else {
                return Err(format!("template: expansion: unclosed action in {text:?}"));
            };
            out.push_str(&self.value(action.trim_start_matches('-').trim_end_matches('-').trim())?);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, action: &str) -> Result<String, String> {
        let unknown = || format!("template: expansion: can't evaluate {{{{{action}}}}}");
        if let Some(arguments) = action.strip_prefix("index ") {
            let key = arguments.trim().strip_prefix(".Service.Labels").ok_or_else(unknown)?.trim();
            let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).ok_or_else(unknown)?;
            return Ok(self.labels.get(key).cloned().unwrap_or_default());
        }
        let path = action.strip_prefix('.').ok_or_else(unknown)?;
        if let Some(key) = path.strip_prefix("Service.Labels.") {
            // Go prints a missing entry of a map of texts as nothing
            return Ok(self.labels.get(key).cloned().unwrap_or_default());
        }
        self.values.get(path).cloned().ok_or_else(unknown)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            values: BTreeMap::from([("Node.Hostname", "worker1".into()), ("Task.Slot", "3".into())]),
            labels: BTreeMap::from([("tier".into(), "front".into()), ("a.b".into(), "c".into())]),
        }
    }

    #[test]
    fn fields_and_labels_are_replaced_wherever_they_stand() {
        let context = context();
        assert_eq!(context.expand("n={{.Node.Hostname}}-{{ .Task.Slot }}!").unwrap(), "n=worker1-3!");
        assert_eq!(context.expand("{{.Service.Labels.tier}}{{index .Service.Labels \"a.b\"}}").unwrap(), "frontc");
        assert_eq!(context.expand("plain {text}").unwrap(), "plain {text}");
    }

    #[test]
    fn what_is_no_field_is_an_error() {
        for bad in ["{{.Node.Nope}}", "{{printf \"x\"}}", "{{.Task.Slot", "{{}}"] {
            assert!(context().expand(bad).is_err(), "{bad}");
        }
    }
}
