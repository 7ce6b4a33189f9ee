//! Logs of containers, tasks and services: each line a frame, with time and details in front if asked for.

use bytes::Bytes;
use container_runtime::{ContainerId, LogLine, LogOptions};
use docker_api::frame::{Stream, encode};
use docker_api::query::{Logs, encode as escape};
use docker_api::time::{UnixTime, format_fixed, parse_param};
use futures_util::StreamExt;
use swarm_manager::control_api::{ControlRequest, ControlResponse};
use swarm_types::{Object, Timestamp};

use super::attach::content_type;
use super::call::{Call, unexpected};
use super::reply::{self, ApiError, Result};
use crate::containers::Engine;
use crate::core::LogRequest;
use crate::runner::{self, LogMessage, LogSource};

/// The query, understood.
struct Wanted {
    query: Logs,
    since: Option<i64>,
    until: Option<i64>,
    tail: Option<u64>,
}

fn wanted(call: &Call) -> Result<Wanted> {
    let query: Logs = call.query()?;
    if !(query.stdout || query.stderr) {
        return Err(ApiError::bad_request("Bad parameters: you must choose at least one stream"));
    }
    let time = |text: &str| -> Result<Option<i64>> {
        let at = parse_param(text)?.map(|at| i64::try_from(at.as_nanos()).unwrap_or(i64::MAX));
        // clients send 0 for "not given"
        Ok(at.filter(|at| *at != 0))
    };
    let (since, until) = (time(&query.since)?, time(&query.until)?);
    // anything that is no number means all, as with Docker
    let tail = query.tail.parse().ok();
    Ok(Wanted { query, since, until, tail })
}

/// `GET /containers/{id}/logs`
pub(crate) async fn container(call: &Call, id: &str) -> Result {
    let engine = &call.api.engine;
    let id = engine.resolve(id)?;
    let wanted = wanted(call)?;
    let tty = engine.runtime().inspect(&id)?.config.tty;
    let options = LogOptions {
        follow: wanted.query.follow,
        tail: wanted.tail.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX)),
        since: wanted.since,
        until: wanted.until,
        stdout: wanted.query.stdout,
        stderr: wanted.query.stderr,
    };
    let lines = engine.runtime().logs(&id, options).await?;
    let timestamps = wanted.query.timestamps;
    // details are label and environment values chosen by log options, of which there are none: an empty list
    let details = if wanted.query.details { " " } else { "" };
    let body = futures_util::stream::unfold((lines, false), move |(mut lines, continued)| async move {
        let line = lines.recv().await?;
        let partial = matches!(&line, Ok(line) if line.partial);
        let bytes = framed(line, timestamps && !continued, details, tty);
        Some((bytes, (lines, partial)))
    });
    Ok(reply::stream(content_type(call, tty), body))
}

fn framed(line: container_runtime::Result<LogLine>, timestamp: bool, details: &str, tty: bool) -> Bytes {
    let mut out = Vec::new();
    match line {
        Ok(line) => {
            let stream = match line.stream {
                container_runtime::Stream::Stdout => Stream::Stdout,
                container_runtime::Stream::Stderr => Stream::Stderr,
            };
            let mut text = prefix(timestamp.then_some(line.at), details);
            text.extend_from_slice(&line.bytes);
            put(stream, &text, tty, &mut out);
        }
        Err(error) => put(Stream::SystemError, format!("Error grabbing logs: {error}\n").as_bytes(), tty, &mut out),
    }
    out.into()
}

fn prefix(at: Option<i64>, details: &str) -> Vec<u8> {
    let mut text = Vec::new();
    if let Some(at) = at {
        text.extend_from_slice(format_fixed(UnixTime::from_nanos(i128::from(at))).as_bytes());
        text.push(b' ');
    }
    text.extend_from_slice(details.as_bytes());
    text
}

fn put(stream: Stream, text: &[u8], tty: bool, out: &mut Vec<u8>) {
    if tty { out.extend_from_slice(text) } else { encode(stream, text, out) }
}

/// All that was written so far, for `attach` with `logs=1`.
pub(crate) async fn stored(
    engine: &Engine,
    id: &ContainerId,
    stdout: bool,
    stderr: bool,
    tty: bool,
) -> Result<Vec<u8>> {
    let options = LogOptions { stdout, stderr, ..LogOptions::default() };
    let mut lines = engine.runtime().logs(id, options).await?;
    let mut all = Vec::new();
    while let Some(line) = lines.recv().await {
        all.extend_from_slice(&framed(line, false, "", tty));
    }
    Ok(all)
}

/// `GET /services/{id}/logs`
pub(crate) async fn service(call: &Call, id: &str) -> Result {
    let wanted = wanted(call)?;
    match call.object(ControlRequest::GetService(id.to_owned())).await? {
        Object::Service(service) => {
            let tty = service.spec.task.container.tty;
            swarm(call, wanted, tty, LogRequest { services: vec![service.id], ..LogRequest::default() }).await
        }
        other => Err(unexpected(&ControlResponse::Object(other))),
    }
}

/// `GET /tasks/{id}/logs`
pub(crate) async fn task(call: &Call, id: &str) -> Result {
    let wanted = wanted(call)?;
    match call.object(ControlRequest::GetTask(id.to_owned())).await? {
        Object::Task(task) => {
            let tty = task.spec.container.tty;
            swarm(call, wanted, tty, LogRequest { tasks: vec![task.id], ..LogRequest::default() }).await
        }
        other => Err(unexpected(&ControlResponse::Object(other))),
    }
}

async fn swarm(call: &Call, wanted: Wanted, tty: bool, request: LogRequest) -> Result {
    if wanted.until.is_some() {
        return Err(ApiError::bad_request("until is not supported for service logs"));
    }
    let options = runner::LogOptions {
        follow: wanted.query.follow,
        since: wanted.since.map(Timestamp::from_nanos),
        tail: wanted.tail,
        stdout: wanted.query.stdout,
        stderr: wanted.query.stderr,
    };
    let lines = call.api.node.logs(LogRequest { options, ..request }).await?;
    let (timestamps, details) = (wanted.query.timestamps, wanted.query.details);
    let body = futures_util::stream::unfold(lines, |mut lines| async move { Some((lines.recv().await?, lines)) })
        .map(move |message| swarm_line(&message, timestamps, details, tty));
    Ok(reply::stream(content_type(call, tty), body))
}

/// A task's line; the details name node, service and task, which the client turns into `web.1.<id>@worker1`.
fn swarm_line(message: &LogMessage, timestamps: bool, details: bool, tty: bool) -> Bytes {
    let details = match details {
        true => format!(
            "{}={},{}={},{}={} ",
            escape("com.docker.swarm.node.id"),
            message.node,
            escape("com.docker.swarm.service.id"),
            message.service,
            escape("com.docker.swarm.task.id"),
            message.task,
        ),
        false => String::new(),
    };
    let stream = match message.source {
        LogSource::Stdout => Stream::Stdout,
        LogSource::Stderr => Stream::Stderr,
    };
    let mut text = prefix(timestamps.then(|| message.timestamp.as_nanos()), &details);
    text.extend_from_slice(&message.data);
    let mut out = Vec::new();
    put(stream, &text, tty, &mut out);
    out.into()
}
