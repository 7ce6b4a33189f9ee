//! `docker secret` and `docker config`, which differ in little more than their names.

use docker_api::query::{ListFiltered, UpdateVersioned};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use swarm_manager::control_api::{ControlRequest, ControlResponse, ObjectFilters};
use swarm_types::Object;

use super::call::{Call, required_version, unexpected};
use super::reply::{self, ApiError, Result};
use crate::convert::secret::{config, read_config, read_secret, secret};

/// `/secrets...` and `/configs...`
pub(crate) async fn dispatch(call: Call, method: &Method, kind: &str, path: &[&str]) -> Result {
    let secrets = kind == "secrets";
    let (get, post, delete) = (method == Method::GET, method == Method::POST, method == Method::DELETE);
    match path {
        [] if get => list(&call, secrets).await,
        ["create"] if post => create(call, secrets).await,
        [id] if get => inspect(&call, secrets, id).await,
        [id] if delete => remove(&call, secrets, id).await,
        [id, "update"] if post => update(call, secrets, id).await,
        _ => Err(ApiError::page_not_found()),
    }
}

fn shown(object: &Object) -> Result<Value> {
    match object {
        Object::Secret(one) => Ok(secret(one)),
        Object::Config(one) => Ok(config(one)),
        other => Err(unexpected(&ControlResponse::Object(other.clone()))),
    }
}

async fn list(call: &Call, secrets: bool) -> Result {
    let ListFiltered { filters } = call.query()?;
    filters.validate(&["name", "names", "id", "label"])?;
    let all = |key| filters.get(key).map(str::to_owned).collect::<Vec<_>>();
    let mut request = ObjectFilters { ids: all("id"), names: all("name"), labels: all("label") };
    // `names` matches whole names, which the managers do not know: narrow further here
    let exact = all("names");
    if request.names.is_empty() {
        request.names.clone_from(&exact);
    }
    let asked = if secrets { ControlRequest::ListSecrets(request) } else { ControlRequest::ListConfigs(request) };
    let objects = call.objects(asked).await?;
    let named = |object: &&Object| match object {
        _ if exact.is_empty() => true,
        Object::Secret(one) => exact.contains(&one.spec.annotations.name),
        Object::Config(one) => exact.contains(&one.spec.annotations.name),
        _ => true,
    };
    Ok(reply::json(objects.iter().filter(named).map(shown).collect::<Result<Vec<Value>>>()?))
}

async fn inspect(call: &Call, secrets: bool, id: &str) -> Result {
    let id = id.to_owned();
    let asked = if secrets { ControlRequest::GetSecret(id) } else { ControlRequest::GetConfig(id) };
    Ok(reply::json(shown(&call.object(asked).await?)?))
}

async fn create(mut call: Call, secrets: bool) -> Result {
    let body = call.json().await?;
    let asked = match secrets {
        true => ControlRequest::CreateSecret(Box::new(read_secret(&body)?)),
        false => ControlRequest::CreateConfig(Box::new(read_config(&body)?)),
    };
    let (id, _) = call.create(asked).await?;
    Ok(reply::json_with(StatusCode::CREATED, json!({"ID": id})))
}

async fn update(mut call: Call, secrets: bool, id: &str) -> Result {
    let UpdateVersioned { version } = call.query()?;
    let body = call.json().await?;
    let version = required_version(version, "", if secrets { "secret" } else { "config" })?;
    let asked = match secrets {
        true => ControlRequest::UpdateSecret { secret: id.to_owned(), version, spec: Box::new(read_secret(&body)?) },
        false => ControlRequest::UpdateConfig { config: id.to_owned(), version, spec: Box::new(read_config(&body)?) },
    };
    call.control(asked).await?;
    Ok(reply::empty(StatusCode::OK))
}

async fn remove(call: &Call, secrets: bool, id: &str) -> Result {
    let id = id.to_owned();
    let asked = if secrets { ControlRequest::RemoveSecret(id) } else { ControlRequest::RemoveConfig(id) };
    call.control(asked).await?;
    Ok(reply::no_content())
}
