//! `docker exec`.

use container_runtime::{Attached, Error, ExecConfig, Kind, Output};
use docker_api::query::Resize;
use http::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;

use super::attach::{Source, hand_over};
use super::call::Call;
use super::reply::{self, ApiError, Result};
use crate::convert::Fields;
use crate::convert::container::console_size;

/// `POST /containers/{id}/exec`
pub(crate) async fn create(mut call: Call, id: &str) -> Result {
    let body = call.json().await?;
    let fields = Fields::new(&body, "ExecCreateRequest")?;
    let engine = &call.api.engine;
    let id = engine.resolve(id)?;
    let text = |key| Ok::<_, ApiError>(Some(fields.string(key)?).filter(|text| !text.is_empty()));
    let config = ExecConfig {
        args: fields.command("Cmd")?.unwrap_or_default(),
        env: fields.strings("Env")?,
        working_dir: text("WorkingDir")?,
        user: text("User")?,
        tty: fields.boolean("Tty")?,
        stdin: fields.boolean("AttachStdin")?,
        privileged: fields.boolean("Privileged")?,
    };
    if config.args.iter().all(String::is_empty) {
        return Err(ApiError::bad_request("No exec command specified"));
    }
    let exec = engine.runtime().exec_create(&id, config)?;
    if let Some((height, width)) = console_size(&fields) {
        engine.runtime().exec_resize(&exec, height, width)?;
    }
    Ok(reply::json_with(StatusCode::CREATED, json!({"Id": exec})))
}

/// `POST /exec/{id}/start`
pub(crate) async fn start(mut call: Call, id: &str) -> Result {
    let body = call.opt_json().await?.unwrap_or_else(|| json!({}));
    let fields = Fields::new(&body, "ExecStartRequest")?;
    let (detach, tty) = (fields.boolean("Detach")?, fields.boolean("Tty")?);
    let runtime = call.api.engine.runtime().clone();
    let state = runtime.exec_inspect(id)?;
    if state.config.tty != tty && !detach {
        // the streams follow what was created; a client that asks otherwise would misread them
        tracing::debug!(exec = id, "started with another Tty than created with");
    }
    if let Some((height, width)) = console_size(&fields) {
        runtime.exec_resize(id, height, width)?;
    }
    let attached = match runtime.exec_start(id).await {
        Ok(attached) => attached,
        // clients expect a taken-over connection, see the message in it and then ask for the exit code
        Err(error) if !detach && matches!(error.kind, Kind::CommandNotFound | Kind::CommandNotExecutable) => {
            refused(&error)
        }
        Err(error) => return Err(error.into()),
    };
    if detach {
        return Ok(reply::empty(StatusCode::OK));
    }
    let (tty, stdin) = (state.config.tty, state.config.stdin);
    call.api.remember_exec(id, &attached.input);
    Ok(hand_over(&mut call, Source::Here(attached), Vec::new(), tty, stdin))
}

/// The output of a program that could not be started: Docker's words about it.
fn refused(error: &Error) -> Attached {
    let (input, _) = mpsc::channel(1);
    let (sender, output) = mpsc::channel(1);
    let text = format!("OCI runtime exec failed: exec failed: unable to start container process: {error}: unknown\r\n");
    // the channel is new and has room for it
    let _ = sender.try_send(Output::Stdout(text.into()));
    Attached { input, output }
}

/// `POST /exec/{id}/resize`
pub(crate) async fn resize(call: &Call, id: &str) -> Result {
    let Resize { height, width } = call.query()?;
    let (height, width) = (height.unwrap_or(0), width.unwrap_or(0));
    call.api.engine.runtime().exec_resize(id, height, width)?;
    call.api.resize_exec(id, height, width).await;
    Ok(reply::empty(StatusCode::OK))
}

/// `GET /exec/{id}/json`
pub(crate) fn inspect(call: &Call, id: &str) -> Result {
    let state = call.api.engine.runtime().exec_inspect(id)?;
    let (entrypoint, arguments) =
        state.config.args.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    Ok(reply::json(json!({
        "ID": state.id,
        "Running": state.running,
        "ExitCode": state.exit_code,
        "ProcessConfig": {
            "tty": state.config.tty, "entrypoint": entrypoint, "arguments": arguments,
            "privileged": state.config.privileged, "user": state.config.user,
        },
        "OpenStdin": state.config.stdin,
        "OpenStderr": true,
        "OpenStdout": true,
        "CanRemove": false,
        "ContainerID": state.container.as_str(),
        "DetachKeys": "",
        "Pid": state.pid.unwrap_or(0),
    })))
}
