//! Templates that are filled in for each task: in a service's environment, host name and mounts (`{{.Node.Hostname}}`
//! and the like), and in the content of secrets and configs made with `--template-driver golang`. The managers fill them
//! in for a task that does not exist, to refuse what no task could fill in; nodes fill them in for theirs.

use std::sync::Arc;

use go_template::{Absent, Language, expand};
use serde_json::{Value, json};
use swarm_types::{Annotations, Config, ContainerSpec, Driver, Secret, Task};

/// Docker's name for its templates in errors.
const NAME: &str = "expansion";
/// The only driver that Docker has.
const DRIVER: &str = "golang";
/// Largest content that a template may make: what a config may hold.
const MAX_CONTENT: usize = 1000 * 1024;

/// What templates can say of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskContext {
    data: Value,
}

impl TaskContext {
    /// The context of a task; `hostname` and `architecture` are the node's.
    pub fn of(task: &Task, hostname: &str, architecture: &str) -> Self {
        let node = task.node_id.map(|id| id.to_string()).unwrap_or_default();
        // tasks of global services have no slot: the node stands for it, in names too
        let slot = if task.slot == 0 { node.clone() } else { task.slot.to_string() };
        let data = json!({
            "Service": {
                "ID": task.service_id.map(|id| id.to_string()).unwrap_or_default(),
                "Name": task.service_annotations.name,
                "Labels": task.service_annotations.labels,
            },
            "Node": {
                "ID": node,
                "Hostname": hostname,
                "Platform": {"Architecture": architecture, "OS": "linux"},
            },
            "Task": {"ID": task.id.to_string(), "Name": task.name(), "Slot": slot},
        });
        Self { data }
    }

    /// A task that a service could have.
    pub fn imagined(service: &Annotations) -> Self {
        let data = json!({
            "Service": {"ID": "serviceid", "Name": service.name, "Labels": service.labels},
            "Node": {
                "ID": "nodeid",
                "Hostname": "hostname",
                "Platform": {"Architecture": "x86_64", "OS": "linux"},
            },
            "Task": {"ID": "taskid", "Name": format!("{}.1.taskid", service.name), "Slot": "1"},
        });
        Self { data }
    }

    /// The slot as templates show it.
    pub fn slot(&self) -> &str {
        self.data["Task"]["Slot"].as_str().unwrap_or_default()
    }

    /// Replaces all templates in a text of the service's spec.
    ///
    /// # Errors
    /// What cannot be filled in, in Docker's words.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        // most texts are none, and the parser need not see them
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let language =
            Language { name: NAME, docker: false, functions: &[("join", None)], call: &|_, texts| join(texts) };
        expand(text, &self.data, Absent::Fails(absent_in_spec), &language)
    }

    /// Replaces the templates in the value of a variable, `NAME=VALUE`; names have none.
    ///
    /// # Errors
    /// As [`expand`](Self::expand); columns are counted in the value.
    pub fn expand_variable(&self, entry: &str) -> Result<String, String> {
        match entry.split_once('=') {
            Some((name, value)) => Ok(format!("{name}={}", self.expand(value)?)),
            None => Ok(entry.to_owned()),
        }
    }

    /// A secret's or config's content for this task, where it is a template: with `env`, `secret` and `config` to look
    /// into what else the task has, by the names under which the task sees it.
    ///
    /// # Errors
    /// What cannot be filled in, in Docker's words; content that is not UTF-8, or larger than 1000 KiB when filled in.
    pub fn content(
        &self,
        content: &[u8],
        driver: &Driver,
        spec: &ContainerSpec,
        secrets: &[Arc<Secret>],
        configs: &[Arc<Config>],
    ) -> Result<Vec<u8>, String> {
        if driver.name != DRIVER {
            return Err("unrecognized template type".into());
        }
        let text = std::str::from_utf8(content).map_err(|_| "a template must be UTF-8 text".to_owned())?;
        let language = Language {
            name: NAME,
            docker: false,
            functions: &[("join", None), ("env", Some(1)), ("secret", Some(1)), ("config", Some(1))],
            call: &|name, texts| match (name, texts) {
                ("env", [name]) => Ok(variable(spec, name)),
                ("secret", [target]) => secret(spec, secrets, target),
                ("config", [target]) => config(spec, configs, target),
                _ => join(texts),
            },
        };
        let out = expand(text, &self.data, Absent::Fails(absent_in_content), &language)?;
        match out.len() > MAX_CONTENT {
            true => Err(format!("the template makes more than {MAX_CONTENT} bytes")),
            false => Ok(out.into_bytes()),
        }
    }
}

/// `join SEPARATOR TEXT...`
fn join(texts: &[&str]) -> Result<String, String> {
    match texts {
        [separator, rest @ ..] => Ok(rest.join(separator)),
        [] => Err("a separator is missing".into()),
    }
}

/// A variable of the service's; one that is not there is empty, as Docker has it.
fn variable(spec: &ContainerSpec, name: &str) -> String {
    let mut pairs = spec.env.iter().filter_map(|entry| entry.split_once('='));
    pairs.find(|(key, _)| *key == name).map_or("", |(_, value)| value).to_owned()
}

fn secret(spec: &ContainerSpec, secrets: &[Arc<Secret>], target: &str) -> Result<String, String> {
    let unknown = || format!("secret target {target} not found");
    let mut references = spec.secrets.iter();
    let reference = references.find(|reference| reference.target.name == target).ok_or_else(unknown)?;
    let found = secrets.iter().find(|secret| secret.id == reference.secret_id).ok_or_else(unknown)?;
    utf8(&found.spec.data.0, target)
}

fn config(spec: &ContainerSpec, configs: &[Arc<Config>], target: &str) -> Result<String, String> {
    let unknown = || format!("config target {target} not found");
    let named =
        |reference: &&swarm_types::ConfigReference| reference.target.as_ref().is_some_and(|file| file.name == target);
    let reference = spec.configs.iter().find(named).ok_or_else(unknown)?;
    let found = configs.iter().find(|config| config.id == reference.config_id).ok_or_else(unknown)?;
    utf8(&found.spec.data, target)
}

fn utf8(content: &[u8], target: &str) -> Result<String, String> {
    String::from_utf8(content.to_vec()).map_err(|_| format!("{target} is not UTF-8 text"))
}

fn absent_in_spec(parent: Option<&str>, field: &str) -> String {
    absent(parent.unwrap_or("*template.Context"), field)
}

fn absent_in_content(parent: Option<&str>, field: &str) -> String {
    absent(parent.unwrap_or("*template.PayloadContext"), field)
}

/// Why there is no such field, as Docker says it, with the types of its context.
fn absent(parent: &str, field: &str) -> String {
    let kind = match parent {
        "Labels" => return format!("map has no entry for key {field:?}"),
        "Service" => "struct { ID string; Name string; Labels map[string]string }",
        "Node" => "struct { ID string; Hostname string; Platform template.Platform }",
        "Task" => "struct { ID string; Name string; Slot string }",
        "Platform" => "template.Platform",
        other => other,
    };
    format!("can't evaluate field {field} in type {kind}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use swarm_types::{
        ConfigId, ConfigReference, ConfigSpec, FileTarget, Meta, SecretBytes, SecretId, SecretReference, SecretSpec,
    };

    fn context() -> TaskContext {
        TaskContext {
            data: json!({
                "Service": {"Labels": {"tier": "front", "a.b": "c"}},
                "Node": {"Hostname": "worker1", "Platform": {}},
                "Task": {"Slot": "3"},
            }),
        }
    }

    #[test]
    fn fields_and_labels_are_replaced_wherever_they_stand() {
        let context = context();
        for (text, expanded) in [
            ("n={{.Node.Hostname}}-{{ .Task.Slot }}!", "n=worker1-3!"),
            ("{{.Service.Labels.tier}}{{index .Service.Labels \"a.b\"}}{{index .Service.Labels \"none\"}}", "frontc"),
            ("{{if eq .Node.Hostname \"worker1\"}}first{{else}}other{{end}}", "first"),
            ("{{join \"-\" .Node.Hostname .Task.Slot \"x\"}}", "worker1-3-x"),
            ("plain {text}", "plain {text}"),
        ] {
            assert_eq!(context.expand(text).unwrap(), expanded, "{text}");
        }
    }

    #[test]
    fn what_is_no_field_or_function_is_an_error_that_says_where() {
        for (bad, expected) in [
            (
                "{{.Node.Nope}}",
                "template: expansion:1:7: executing \"expansion\" at <.Node.Nope>: can't evaluate field Nope in type struct { ID string; Hostname string; Platform template.Platform }",
            ),
            (
                "{{.Nope}}",
                "template: expansion:1:2: executing \"expansion\" at <.Nope>: can't evaluate field Nope in type *template.Context",
            ),
            (
                "{{.Service.Labels.x}}",
                "template: expansion:1:10: executing \"expansion\" at <.Service.Labels.x>: map has no entry for key \"x\"",
            ),
            ("{{.Task.Slot", "template: expansion:1: unclosed action"),
            ("{{json .Task}}", "template: expansion:1: function \"json\" not defined"),
            ("{{env \"X\"}}", "template: expansion:1: function \"env\" not defined"),
        ] {
            assert_eq!(context().expand(bad).unwrap_err(), expected, "{bad}");
        }
    }

    fn file(name: &str) -> FileTarget {
        FileTarget { name: name.into(), ..FileTarget::default() }
    }

    fn filled(text: &str, driver: &str) -> Result<String, String> {
        let (secret_id, config_id) = (SecretId::from_bits(1), ConfigId::from_bits(2));
        let spec = ContainerSpec {
            env: vec!["FOO=bar=1".into(), "EMPTY".into()],
            secrets: vec![SecretReference { secret_id, secret_name: "pw".into(), target: file("key") }],
            configs: vec![ConfigReference { config_id, config_name: "c".into(), target: Some(file("/etc/app.conf")) }],
            ..ContainerSpec::default()
        };
        let secret = SecretSpec { data: SecretBytes(b"s3cret".to_vec()), ..SecretSpec::default() };
        let config = ConfigSpec { data: b"\xff".to_vec(), ..ConfigSpec::default() };
        let secrets = [Arc::new(Secret { id: secret_id, meta: Meta::default(), spec: secret })];
        let configs = [Arc::new(Config { id: config_id, meta: Meta::default(), spec: config })];
        let driver = Driver { name: driver.into(), ..Driver::default() };
        let bytes = context().content(text.as_bytes(), &driver, &spec, &secrets, &configs)?;
        String::from_utf8(bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn contents_look_into_the_task_s_environment_and_secrets() {
        let text = "{{env \"FOO\"}}|{{env \"EMPTY\"}}|{{env \"NOPE\"}}|{{secret \"key\"}}|{{.Node.Hostname}}\n";
        assert_eq!(filled(text, "golang").unwrap(), "bar=1|||s3cret|worker1\n");
        assert_eq!(filled(text, "jinja").unwrap_err(), "unrecognized template type");
        for (bad, end) in [
            ("{{secret \"pw\"}}", "error calling secret: secret target pw not found"),
            ("{{config \"c\"}}", "error calling config: config target c not found"),
            ("{{config \"/etc/app.conf\"}}", "error calling config: /etc/app.conf is not UTF-8 text"),
            ("{{env 1}}", "template: expansion:1:6: executing \"expansion\" at <1>: expected string; found 1"),
            (
                "{{env}}",
                "template: expansion:1:2: executing \"expansion\" at <env>: wrong number of args for env: want 1 got 0",
            ),
            ("{{.Nope}}", "at <.Nope>: can't evaluate field Nope in type *template.PayloadContext"),
            ("{{.Node.Hostname.X}}", "at <.Node.Hostname.X>: can't evaluate field X in type string"),
            ("{{.Node.Platform.X}}", "can't evaluate field X in type template.Platform"),
        ] {
            let error = filled(bad, "golang").unwrap_err();
            assert!(error.ends_with(end), "{bad}: {error}");
        }
    }
}
