//! Networks: the node's own and the swarm's.

use std::sync::Arc;

use docker_api::Filters;
use docker_api::query::{InspectNetwork, ListFiltered};
use docker_api::time::{UnixTime, parse_param};
use http::StatusCode;
use serde_json::{Map, Value, json};
use swarm_manager::control_api::{ControlRequest, ControlResponse, ObjectFilters};
use swarm_types::{IpamConfig, Network, Object};

use super::call::Call;
use super::reply::{self, ApiError, Result};
use crate::containers::{LocalNetwork, PREDEFINED};
use crate::convert::container::read_endpoint;
use crate::convert::network::{network, read_network_create};
use crate::convert::network_inspect::{containers, take_part};
use crate::convert::{Fields, Writer};

/// `GET /networks`
pub(crate) async fn list(call: &Call) -> Result {
    let ListFiltered { filters } = call.query()?;
    filters.validate(&["driver", "type", "name", "id", "label", "scope", "dangling"])?;
    let kinds: Vec<&str> = filters.get("type").collect();
    if let Some(bad) = kinds.iter().find(|kind| !["custom", "builtin"].contains(kind)) {
        return Err(ApiError::bad_request(format!("invalid filter: 'type'='{bad}'")));
    }
    let dangling = read_dangling(&filters)?;
    let mut all = swarm(call).await;
    all.extend(call.api.engine.networks().iter().map(|network| local(network, Map::new())));
    all.retain(|one| matches(call, &filters, one, &kinds, dangling));
    Ok(reply::json(all))
}

fn read_dangling(filters: &Filters) -> Result<Option<bool>> {
    let values: Vec<&str> = filters.get("dangling").collect();
    match values[..] {
        [] => Ok(None),
        ["1" | "true"] => Ok(Some(true)),
        ["0" | "false"] => Ok(Some(false)),
        [_] => Err(ApiError::bad_request(
            "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")",
        )),
        _ => Err(ApiError::bad_request("got more than one value for filter key \"dangling\"")),
    }
}

fn matches(call: &Call, filters: &Filters, one: &Value, kinds: &[&str], dangling: Option<bool>) -> bool {
    let text = |key: &str| one[key].as_str().unwrap_or("");
    let builtin = PREDEFINED.contains(&text("Name"));
    filters.matches_part("name", text("Name"))
        && filters.matches_prefix("id", text("Id"))
        && filters.matches_exactly("driver", text("Driver"))
        && filters.matches_exactly("scope", text("Scope"))
        && filters.matches_labels("label", |key| one["Labels"][key].as_str())
        && (kinds.is_empty() || kinds.contains(&if builtin { "builtin" } else { "custom" }))
        && dangling
            .is_none_or(|wanted| wanted == (!builtin && call.api.engine.network_endpoints(text("Id")).is_empty()))
}

/// The swarm's networks: on managers all, else those that this node has to do with; so too while the managers have no
/// leader. Those that stand for each node's own are not shown twice.
async fn swarm(call: &Call) -> Vec<Value> {
    known(call).await.iter().filter(|one| !one.is_predefined()).map(|one| network(one)).collect()
}

/// Whether the swarm has a network of this name. Managers also have a `bridge` and a `host`, for services to name.
async fn has_name(call: &Call, name: &str) -> bool {
    known(call).await.iter().any(|one| one.spec.annotations.name == name)
}

async fn known(call: &Call) -> Vec<Arc<Network>> {
    match stored(call).await {
        Some(stored) => stored,
        None => call.api.engine.networking().known().await,
    }
}

/// The networks that managers keep; `None` where they cannot be asked.
async fn stored(call: &Call) -> Option<Vec<Arc<Network>>> {
    if !call.api.node.swarm_info().await.control_available {
        return None;
    }
    match call.api.node.control(ControlRequest::ListNetworks(ObjectFilters::default())).await {
        Ok(ControlResponse::Objects(objects)) => {
            let network = |object| match object {
                Object::Network(one) => Some(one),
                _ => None,
            };
            Some(objects.into_iter().filter_map(network).collect())
        }
        Ok(_) | Err(_) => None,
    }
}

fn local(network: &LocalNetwork, containers: Map<String, Value>) -> Value {
    let config = |config: &IpamConfig| {
        Writer::default()
            .text("Subnet", &config.subnet)
            .text("IPRange", &config.range)
            .text("Gateway", &config.gateway)
            .map("AuxiliaryAddresses", &config.reserved)
            .build()
    };
    let ipam_options = if network.ipam_options.is_empty() { Value::Null } else { json!(network.ipam_options) };
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": UnixTime::from_nanos(i128::from(network.created)).to_string(),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": true,
        "EnableIPv6": network.ipv6,
        "IPAM": {"Driver": "default", "Options": ipam_options, "Config": network.ipam.iter().map(config).collect::<Vec<_>>()},
        "Internal": network.is_internal(),
        "Attachable": network.attachable,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
    })
}

/// `GET /networks/{id}`
pub(crate) async fn inspect(call: &Call, id: &str) -> Result {
    let InspectNetwork { verbose, scope } = call.query()?;
    let mut found = find(call, id, &scope).await?;
    let engine = &call.api.engine;
    let id = found["Id"].as_str().unwrap_or("").to_owned();
    let members = engine.network_members(&id).await;
    if found["Scope"] == "local" {
        found["Containers"] = Value::Object(containers(members));
    } else if let Ok(id) = id.parse()
        && let Some(status) = engine.networking().status(id).await
    {
        take_part(&mut found, &status, members, verbose);
    }
    Ok(reply::json(found))
}

async fn find(call: &Call, id: &str, scope: &str) -> Result<Value> {
    let mut all = Vec::new();
    if scope != "swarm" && scope != "global" {
        all.extend(call.api.engine.networks().iter().map(|network| local(network, Map::new())));
    }
    if scope != "local" {
        all.extend(swarm(call).await);
    }
    let by = |test: &dyn Fn(&Value) -> bool| all.iter().filter(|one| test(one)).collect::<Vec<_>>();
    if let [one, ..] = by(&|one| one["Id"] == *id)[..] {
        return Ok(one.clone());
    }
    let ambiguous = |found: &[&Value], by: &str| {
        Err(ApiError::bad_request(format!("network {id} is ambiguous ({} matches found based on {by})", found.len())))
    };
    match by(&|one| one["Name"] == *id)[..] {
        [] => {}
        [one] => return Ok(one.clone()),
        ref several => return ambiguous(several, "name"),
    }
    match by(&|one| !id.is_empty() && one["Id"].as_str().is_some_and(|full| full.starts_with(id)))[..] {
        [one] => Ok(one.clone()),
        [] => Err(ApiError::not_found(format!("network {id} not found"))),
        ref several => ambiguous(several, "ID prefix"),
    }
}

/// `POST /networks/create`: overlays are the managers' business, bridges the node's.
pub(crate) async fn create(mut call: Call) -> Result {
    let body = call.json().await?;
    let spec = read_network_create(&body)?;
    if Fields::new(&body, "NetworkCreate")?.opt_bool("EnableIPv4")? == Some(false) {
        return Err(ApiError::unsupported("networks without IPv4 are not supported by this engine"));
    }
    let name = spec.annotations.name.clone();
    let taken = |name: &str| ApiError::conflict(format!("network with name {name} already exists"));
    let driver = spec.driver.as_ref().map(|driver| driver.name.as_str()).unwrap_or_default();
    if has_name(&call, &name).await {
        return Err(taken(&name));
    }
    if driver == "overlay" || spec.ingress {
        if PREDEFINED.contains(&name.as_str()) {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                format!("operation is not permitted on predefined {name} network"),
            ));
        }
        if call.api.engine.networks().iter().any(|network| network.name == name) {
            return Err(taken(&name));
        }
        let (id, warnings) = call.create(ControlRequest::CreateNetwork(Box::new(spec))).await?;
        return Ok(reply::json_with(StatusCode::CREATED, json!({"Id": id, "Warning": warnings.join("\n")})));
    }
    let id = call.api.engine.create_network(spec).await?;
    Ok(reply::json_with(StatusCode::CREATED, json!({"Id": id, "Warning": ""})))
}

/// `DELETE /networks/{id}`
pub(crate) async fn remove(call: &Call, id: &str) -> Result {
    let found = find(call, id, "").await?;
    let id = found["Id"].as_str().unwrap_or(id);
    match call.api.engine.find_network(id)? {
        Some(network) => call.api.engine.remove_network(&network).await?,
        None => drop(call.control(ControlRequest::RemoveNetwork(id.to_owned())).await?),
    }
    Ok(reply::no_content())
}

/// `POST /networks/{id}/connect`
pub(crate) async fn connect(mut call: Call, id: &str) -> Result {
    let body = call.json().await?;
    let fields = Fields::new(&body, "ConnectOptions")?;
    let container = fields.string("Container")?;
    let wanted = match fields.object("EndpointConfig")? {
        Some(endpoint) => read_endpoint(&endpoint, id)?,
        None => crate::containers::Attachment::to(id),
    };
    call.api.engine.connect_network(&container, wanted).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `POST /networks/{id}/disconnect`
pub(crate) async fn disconnect(mut call: Call, id: &str) -> Result {
    let body = call.json().await?;
    let fields = Fields::new(&body, "DisconnectOptions")?;
    let (container, force) = (fields.string("Container")?, fields.boolean("Force")?);
    call.api.engine.disconnect_network(&container, id, force).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `POST /networks/prune`: the node's own that no container is on and, on managers, the swarm's that no service uses.
pub(crate) async fn prune(call: &Call) -> Result {
    let ListFiltered { filters } = call.query()?;
    filters.validate(&["label", "label!", "until"])?;
    let until = match filters.get("until").collect::<Vec<_>>()[..] {
        [] => None,
        [until] => parse_param(until)?,
        _ => return Err(ApiError::bad_request("more than one until filter specified")),
    };
    let chosen = |one: &Value| {
        let label = |key: &str| one["Labels"][key].as_str();
        let kept = filters.get("label!").any(|unwanted| match unwanted.split_once('=') {
            Some((key, value)) => label(key) == Some(value),
            None => label(unwanted).is_some(),
        });
        filters.matches_labels("label", label) && !kept
    };
    let young = |nanos: i64| until.is_some_and(|until| i128::from(nanos) > until.as_nanos());
    let engine = &call.api.engine;
    let mut deleted = Vec::new();
    for one in stored(call).await.unwrap_or_default() {
        let skipped = one.spec.ingress || young(one.meta.created_at.as_nanos()) || !chosen(&network(&one));
        // those in use are refused, and stay
        if !skipped && call.control(ControlRequest::RemoveNetwork(one.id.to_string())).await.is_ok() {
            deleted.push(one.spec.annotations.name.clone());
        }
    }
    for one in engine.networks() {
        let skipped = one.is_predefined() || young(one.created) || !chosen(&local(&one, Map::new()));
        if !skipped && engine.remove_network(&one).await.is_ok() {
            deleted.push(one.name);
        }
    }
    engine.tell_of("network", "prune", "", &[("reclaimed", "0")]);
    let deleted = if deleted.is_empty() { Value::Null } else { json!(deleted) };
    Ok(reply::json(json!({"NetworksDeleted": deleted})))
}
