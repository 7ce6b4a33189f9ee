//! Local volumes.

use docker_api::query::{Forced, ListFiltered};
use docker_api::time::UnixTime;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::reply::{self, ApiError, Result};
use crate::containers::Volume;
use crate::convert::Fields;

fn volume(call: &Call, from: &Volume) -> Value {
    json!({
        "CreatedAt": UnixTime::from_nanos(i128::from(from.created_at) / 1_000_000_000 * 1_000_000_000).to_string(),
        "Driver": "local",
        "Labels": if from.labels.is_empty() { Value::Null } else { json!(from.labels) },
        "Mountpoint": call.api.engine.volumes().data(&from.name),
        "Name": from.name,
        "Options": if from.options.is_empty() { Value::Null } else { json!(from.options) },
        "Scope": "local",
    })
}

/// All volumes, for lists; with their use, for `system df`.
pub(crate) fn shown(call: &Call, with_use: bool) -> Vec<Value> {
    let one = |from: &Volume| {
        let mut shown = volume(call, from);
        if with_use {
            shown["UsageData"] = json!({"RefCount": call.api.engine.volume_users(&from.name).len(), "Size": -1});
        }
        shown
    };
    call.api.engine.volumes().list().iter().map(one).collect()
}

/// `GET /volumes`
pub(crate) fn list(call: &Call) -> Result {
    let ListFiltered { filters } = call.query()?;
    filters.validate(&["dangling", "name", "driver", "label"])?;
    let dangling = filters.contains("dangling").then(|| filters.boolean("dangling", false)).transpose()?;
    let mut all = shown(call, false);
    all.retain(|one| {
        let name = one["Name"].as_str().unwrap_or("");
        filters.matches_part("name", name)
            && filters.matches_exactly("driver", "local")
            && filters.matches_labels("label", |key| one["Labels"][key].as_str())
            && dangling.is_none_or(|wanted| wanted == call.api.engine.volume_users(name).is_empty())
    });
    Ok(reply::json(json!({"Volumes": all, "Warnings": null})))
}

/// `GET /volumes/{name}`
pub(crate) fn inspect(call: &Call, name: &str) -> Result {
    Ok(reply::json(volume(call, &call.api.engine.volumes().get(name)?)))
}

/// `POST /volumes/create`
pub(crate) async fn create(mut call: Call) -> Result {
    let body = call.json().await?;
    let fields = Fields::new(&body, "VolumeCreateRequest")?;
    fields.refuse("ClusterVolumeSpec", "")?;
    let driver = fields.string("Driver")?;
    if !["", "local"].contains(&driver.as_str()) {
        return Err(ApiError::not_found(format!(
            "error looking up volume plugin {driver}: plugin \"{driver}\" not found"
        )));
    }
    fields.refuse("DriverOpts", ": the local driver takes no options here")?;
    let name = match fields.string("Name")?.as_str() {
        "" => crate::containers::random_name()?,
        name => name.to_owned(),
    };
    let (made, new) = call.api.engine.volumes().ensure(&name, fields.map("Labels")?, Default::default())?;
    if new {
        call.api.engine.tell_of("volume", "create", &name, &[("driver", "local")]);
    }
    Ok(reply::json_with(StatusCode::CREATED, volume(&call, &made)))
}

/// `DELETE /volumes/{name}`
pub(crate) fn remove(call: &Call, name: &str) -> Result {
    let Forced { force } = call.query()?;
    let engine = &call.api.engine;
    match engine.volumes().get(name) {
        Err(_) if force => return Ok(reply::no_content()),
        other => other?,
    };
    let users = engine.volume_users(name);
    if !users.is_empty() {
        return Err(ApiError::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
    }
    engine.volumes().remove(name)?;
    engine.tell_of("volume", "destroy", name, &[("driver", "local")]);
    Ok(reply::no_content())
}

/// `POST /volumes/prune`: anonymous ones that no container uses; all such with `all=true`.
pub(crate) fn prune(call: &Call) -> Result {
    let ListFiltered { filters } = call.query()?;
    filters.validate(&["label", "all"])?;
    let all = filters.boolean("all", false)?;
    let engine = &call.api.engine;
    let mut deleted = Vec::new();
    for one in engine.volumes().list() {
        let anonymous = one.labels.contains_key("com.docker.volume.anonymous");
        let chosen =
            (all || anonymous) && filters.matches_labels("label", |key| one.labels.get(key).map(String::as_str));
        if chosen && engine.volume_users(&one.name).is_empty() && engine.volumes().remove(&one.name).is_ok() {
            deleted.push(one.name);
        }
    }
    Ok(reply::json(json!({"VolumesDeleted": deleted, "SpaceReclaimed": 0})))
}
