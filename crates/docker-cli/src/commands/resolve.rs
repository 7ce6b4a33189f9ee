//! Names to ids and ids to names, asked of the engine once each.

use crate::client::{Client, path};
use crate::commands::filters;
use crate::error::{CliError, Result};
use crate::formatter::task::Named;
use crate::spec::json::{object_mut, text};
use crate::spec::{networks, values};
use docker_api::query::{InspectNetwork, ListFiltered};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `self` is the node that answers.
pub async fn node_reference(client: &Client, name: &str) -> Result<String> {
    if name != "self" {
        return Ok(name.to_owned());
    }
    let info = client.get("/info").await?;
    match text(&info, "Swarm.NodeID") {
        // Asking for nodes makes the engine say why it cannot.
        "" => match client.get("/nodes").await {
            Err(error) => Err(error.into()),
            Ok(_) => Err(CliError::new("node ID not found in /info")),
        },
        id => Ok(id.to_owned()),
    }
}

/// Tasks with the names of their services and nodes; the ids themselves when `resolve` is false.
pub async fn name_tasks(client: &Client, tasks: Vec<Value>, resolve: bool) -> Vec<Named> {
    let mut services = BTreeMap::new();
    let mut nodes = BTreeMap::new();
    let mut out = Vec::with_capacity(tasks.len());
    for task in tasks {
        let (service, node) = (text(&task, "ServiceID").to_owned(), text(&task, "NodeID").to_owned());
        let service = if resolve { name(client, &mut services, "/services", service).await } else { service };
        let node = if resolve { name(client, &mut nodes, "/nodes", node).await } else { node };
        out.push(Named { task, service, node });
    }
    out
}

/// The name of a service or node; its id when the engine does not know it any more.
pub async fn name(client: &Client, known: &mut BTreeMap<String, String>, prefix: &str, id: String) -> String {
    if id.is_empty() {
        return id;
    }
    if let Some(name) = known.get(&id) {
        return name.clone();
    }
    let name = match client.get(&path(prefix, &id, "")).await {
        Ok(object) => {
            let names = [text(&object, "Spec.Name"), text(&object, "Description.Hostname")];
            names.into_iter().find(|name| !name.is_empty()).unwrap_or(&id).to_owned()
        }
        Err(_) => id.clone(),
    };
    known.insert(id, name.clone());
    name
}

/// The id of a swarm network.
pub async fn network_id(client: &Client, name: &str) -> Result<String> {
    let query = InspectNetwork { scope: "swarm".into(), ..Default::default() };
    let network = client.get_with(&path("/networks", name, ""), &query).await?;
    Ok(text(&network, "Id").to_owned())
}

/// `--network` values as attachments of a service.
pub async fn networks(client: &Client, texts: &[String]) -> Result<Vec<Value>> {
    let mut out = Vec::new();
    for text in texts {
        let request = networks::network(text)?;
        let mut attachment = json!({ "Target": network_id(client, &request.target).await? });
        crate::spec::json::set(&mut attachment, "Aliases", json!(request.aliases));
        crate::spec::json::set(&mut attachment, "DriverOpts", json!(request.driver_opts));
        out.push(attachment);
    }
    Ok(out)
}

/// `--secret` or `--config` values as references with ids.
pub async fn files(client: &Client, texts: &[String], what: &str) -> Result<Vec<Value>> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let mut wanted = Vec::new();
    for text in texts {
        let reference = values::file_reference(text, what)?;
        let target = |r: &Value| r["File"]["Name"].clone();
        if wanted.iter().any(|(_, other)| target(other) == target(&reference.1)) {
            let target = target(&reference.1);
            return Err(CliError::new(format!(
                "duplicate {what} target for {} not allowed",
                target.as_str().unwrap_or("")
            )));
        }
        wanted.push(reference);
    }
    let names: Vec<String> = wanted.iter().map(|(name, _)| format!("name={name}")).collect();
    let query = ListFiltered { filters: filters(&names) };
    let known = client.list(&format!("/{what}s"), &query).await?;
    let (id_key, name_key) = if what == "secret" { ("SecretID", "SecretName") } else { ("ConfigID", "ConfigName") };
    let mut out = Vec::new();
    for (name, mut reference) in wanted {
        let found = known.iter().find(|object| text(object, "Spec.Name") == name);
        let id =
            found.map(|object| text(object, "ID")).ok_or_else(|| CliError::new(format!("{what} not found: {name}")))?;
        let map = object_mut(&mut reference);
        map.insert(id_key.into(), json!(id));
        map.insert(name_key.into(), json!(name));
        out.push(reference);
    }
    Ok(out)
}

/// `-e` and `--env-file` values: files first, names without value filled from the environment.
pub fn environment(host: &dyn crate::context::Host, files: &[String], texts: &[String]) -> Result<Vec<String>> {
    let lookup = |name: &str| host.env(name);
    let mut out = Vec::new();
    for file in files {
        let bytes = host.read_file(file, 4 * 1024 * 1024).map_err(|e| CliError::new(format!("open {file}: {e}")))?;
        let content = String::from_utf8(bytes)
            .map_err(|_| CliError::new(format!("env file {file} contains invalid utf8 bytes")))?;
        out.extend(values::env_file(&content, &lookup)?);
    }
    out.extend(values::env_values(texts, &lookup));
    Ok(out)
}
