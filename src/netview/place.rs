//! Which namespace is meant, by Docker's words for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay_network::NetNamespace;
use overlay_network::look::View;
use serde_json::Value;

use super::What;
use crate::content::nearest;
use crate::engine::api::{self, ApiError};

/// Where Docker keeps the namespaces of networks, for `nsenter --net=FILE`.
const NAMESPACES: &str = "/var/run/docker/netns";
/// The node's own Docker socket.
const SOCKET: &str = "/run/docker.sock";
const TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of a network's id in the name of its namespace, `1-x2mdqjzxy6`.
const ID_IN_FILE: usize = 10;

/// A namespace, or the part of the node's own that is a bridge network.
pub struct Place {
    /// In words.
    pub title: String,
    /// The namespace's file; none for the node's own.
    pub file: Option<PathBuf>,
    /// Only this bridge and its ports.
    pub(super) bridge: Option<String>,
    /// For the node's own: the namespaces that have names, and the networks that they are of.
    pub namespaces: Vec<(String, Option<String>)>,
}

impl Place {
    /// Finds it. Where nothing is named a node without Docker will do.
    pub async fn find(what: &What) -> Result<Self, String> {
        if let Some(name) = &what.container {
            return container(name).await;
        }
        let Some(wanted) = &what.network else {
            return own().await;
        };
        let pinned = Path::new(NAMESPACES).join(wanted);
        if !wanted.contains('/') && pinned.exists() {
            let title = format!("namespace {wanted}");
            return Ok(Self { title, file: Some(pinned), bridge: None, namespaces: Vec::new() });
        }
        network(wanted).await
    }

    /// Reads what is there.
    pub async fn look(&self) -> Result<View, String> {
        let namespace = match &self.file {
            None => NetNamespace::current(),
            Some(file) => NetNamespace::at(file),
        };
        let view = namespace.map_err(|error| error.to_string())?.look().await.map_err(|error| error.to_string())?;
        Ok(match &self.bridge {
            None => view,
            Some(bridge) => only(view, bridge),
        })
    }
}

/// The part of a view that is about a bridge and its ports.
fn only(mut view: View, bridge: &str) -> View {
    view.links.retain(|link| link.name == bridge || link.master.as_deref() == Some(bridge));
    let ours: Vec<String> = view.links.iter().map(|link| link.name.clone()).collect();
    view.routes.retain(|route| ours.contains(&route.dev));
    view.neighbors.retain(|entry| ours.contains(&entry.dev));
    view.forwarding.retain(|entry| ours.contains(&entry.dev));
    // the node's rules are about all bridges at once; `netview` alone shows them
    view.tables.clear();
    view
}

async fn get(path: &str) -> Result<Value, ApiError> {
    api::get(Path::new(SOCKET), &lab::encode_query(path), TIMEOUT).await
}

async fn own() -> Result<Place, String> {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut files: Vec<String> = std::fs::read_dir(NAMESPACES)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    files.sort();
    // without an answer the files are shown without their networks' names
    let names = if files.is_empty() { BTreeMap::new() } else { networks().await.unwrap_or_default() };
    let named = |file: String| {
        let of = |id: &str| names.iter().find(|(whole, _)| whole.starts_with(id)).map(|(_, name)| name.clone());
        let of = file.split_once('-').and_then(|(_, id)| of(id));
        (file, of)
    };
    Ok(Place {
        title: format!("node {host}"),
        file: None,
        bridge: None,
        namespaces: files.into_iter().map(named).collect(),
    })
}

/// The names of the networks that the node knows, by their ids. Those of its containers too: a node may have the
/// namespace of a network that it does not list.
async fn networks() -> Result<BTreeMap<String, String>, ApiError> {
    let (listed, containers) = (get("/networks").await?, get("/containers/json").await?);
    let mut names = BTreeMap::new();
    for network in listed.as_array().into_iter().flatten() {
        if let (Some(id), Some(name)) = (network["Id"].as_str(), network["Name"].as_str()) {
            names.insert(id.to_owned(), name.to_owned());
        }
    }
    for container in containers.as_array().into_iter().flatten() {
        for (name, network) in container["NetworkSettings"]["Networks"].as_object().into_iter().flatten() {
            if let Some(id) = network["NetworkID"].as_str().filter(|id| !id.is_empty()) {
                names.entry(id.to_owned()).or_insert_with(|| name.clone());
            }
        }
    }
    Ok(names)
}

/// The namespace of the overlay network with this id.
fn pinned(id: &str) -> PathBuf {
    let short: String = id.chars().take(ID_IN_FILE).collect();
    Path::new(NAMESPACES).join(format!("1-{short}"))
}

async fn network(wanted: &str) -> Result<Place, String> {
    let found = match get(&format!("/networks/{wanted}")).await {
        Ok(found) => found,
        Err(ApiError::Refused { status: 404, .. }) => return unlisted(wanted).await,
        Err(error) => return Err(format!("Docker does not tell its networks: {error}")),
    };
    let (id, name) = (found["Id"].as_str().unwrap_or_default(), found["Name"].as_str().unwrap_or(wanted));
    let driver = found["Driver"].as_str().unwrap_or_default();
    let title = format!("{driver} network {name}");
    let none = Vec::new();
    match driver {
        "overlay" => {
            let file = pinned(id);
            if !file.exists() {
                return Err(format!("{title} has no namespace on this node: none of its tasks runs here"));
            }
            Ok(Place { title, file: Some(file), bridge: None, namespaces: none })
        }
        "bridge" => {
            let option = found["Options"]["com.docker.network.bridge.name"].as_str();
            let made = format!("br-{}", id.chars().take(12).collect::<String>());
            let usual = match name {
                "bridge" => "docker0".to_owned(),
                "docker_gwbridge" => name.to_owned(),
                _ => made,
            };
            Ok(Place { title, file: None, bridge: Some(option.map_or(usual, str::to_owned)), namespaces: none })
        }
        _ => Err(format!("{title} has neither a namespace nor a bridge of its own")),
    }
}

/// A network that the node does not list, but has the namespace of.
async fn unlisted(wanted: &str) -> Result<Place, String> {
    let names = networks().await.unwrap_or_default();
    let meant = names.iter().find(|(id, name)| *name == wanted || id.starts_with(wanted));
    match meant.map(|(id, name)| (pinned(id), name)).filter(|(file, _)| file.exists()) {
        Some((file, name)) => {
            let title = format!("overlay network {name}");
            Ok(Place { title, file: Some(file), bridge: None, namespaces: Vec::new() })
        }
        None => {
            let names: Vec<&str> = names.values().map(String::as_str).collect();
            Err(format!("no network `{wanted}` on this node{}", nearest(wanted, &names)))
        }
    }
}

async fn container(wanted: &str) -> Result<Place, String> {
    let found = get(&format!("/containers/{wanted}/json")).await.map_err(|error| match error {
        ApiError::Refused { message, .. } => message,
        ApiError::Transport(why) => format!("Docker does not tell its containers: {why}"),
    })?;
    let name = found["Name"].as_str().unwrap_or(wanted).trim_start_matches('/').to_owned();
    match found["State"]["Pid"].as_i64() {
        Some(pid @ 1..) => Ok(Place {
            title: format!("container {name}"),
            file: Some(PathBuf::from(format!("/proc/{pid}/ns/net"))),
            bridge: None,
            namespaces: Vec::new(),
        }),
        _ => Err(format!("container {name} does not run, so it has no network")),
    }
}
