//! `docker swarm`: init, join, leave, update, unlock.

use docker_api::query::{Forced, UpdateSwarm};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use swarm_manager::control_api::{ControlRequest, ControlResponse, FreshSecrets, Rotate};
use swarm_types::{Cluster, Object, SecretBytes, SecretString};

use super::call::{Call, required_version, unexpected};
use super::reply::{self, ApiError, Result};
use crate::convert;
use crate::core::NodeErrorKind;

/// `GET /swarm`
pub(crate) async fn inspect(call: &Call) -> Result {
    Ok(reply::json(convert::swarm::swarm(&*cluster(call).await?)))
}

async fn cluster(call: &Call) -> Result<Arc<Cluster>> {
    match call.object(ControlRequest::GetCluster).await? {
        Object::Cluster(cluster) => Ok(cluster),
        other => Err(unexpected(&ControlResponse::Object(other))),
    }
}

/// `POST /swarm/init`
pub(crate) async fn init(mut call: Call) -> Result {
    let options = convert::swarm::read_init(&call.json().await?)?;
    let id = call.api.node.swarm_init(options).await?;
    Ok(reply::json(Value::from(id.to_string())))
}

/// `POST /swarm/join`
pub(crate) async fn join(mut call: Call) -> Result {
    let options = convert::swarm::read_join(&call.json().await?)?;
    call.api.node.swarm_join(options).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `POST /swarm/leave`
pub(crate) async fn leave(call: &Call) -> Result {
    let Forced { force } = call.query()?;
    call.api.node.swarm_leave(force).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `POST /swarm/update`
pub(crate) async fn update(mut call: Call) -> Result {
    let query: UpdateSwarm = call.query()?;
    let body = call.json().await?;
    let version = required_version(query.version, "", "swarm")?;
    let present = cluster(&call).await?;
    let spec = convert::swarm::read_update(&body, &present.spec)?;
    let rotate = Rotate {
        worker_token: query.rotate_worker_token,
        manager_token: query.rotate_manager_token,
        unlock_key: query.rotate_manager_unlock_key,
    };
    // also for the first lock, which makes a key without being asked to rotate it
    let fresh = (rotate != Rotate::default() || spec.auto_lock_managers).then(fresh_secrets).transpose()?;
    call.control(ControlRequest::UpdateCluster { version, spec: Box::new(spec), rotate, fresh }).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// Secrets from the kernel's random source.
fn fresh_secrets() -> Result<FreshSecrets> {
    let failed =
        |error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("reading the random source: {error}"));
    let token = || -> Result<SecretString> {
        let mut bits = [0; 16];
        random(&mut bits).map_err(failed)?;
        Ok(SecretString(swarm_types::TaskId::from_bits(u128::from_be_bytes(bits)).to_string()))
    };
    let mut key = [0; 32];
    random(&mut key).map_err(failed)?;
    Ok(FreshSecrets { worker_token: token()?, manager_token: token()?, unlock_key: SecretBytes(key.to_vec()) })
}

fn random(into: &mut [u8]) -> std::io::Result<()> {
    use std::io::Read;
    std::fs::File::open("/dev/urandom")?.read_exact(into)
}

/// `GET /swarm/unlockkey`
pub(crate) async fn unlock_key(call: &Call) -> Result {
    match call.control(ControlRequest::GetUnlockKey).await? {
        ControlResponse::UnlockKey(key) => Ok(reply::json(json!({"UnlockKey": convert::swarm::unlock_key(&key.0)}))),
        other => Err(unexpected(&other)),
    }
}

/// `POST /swarm/unlock`
pub(crate) async fn unlock(mut call: Call) -> Result {
    let key = convert::swarm::read_unlock(&call.json().await?)?;
    call.api.node.swarm_unlock(key).await.map_err(|error| match error.kind {
        // nothing to unlock is a conflict for Docker, although nothing else of this kind is
        NodeErrorKind::FailedPrecondition => ApiError::conflict(error.message),
        _ => error.into(),
    })?;
    Ok(reply::empty(StatusCode::OK))
}
