//! From a request to its handler: version prefix, path segments, dispatch, common headers.

use std::sync::Arc;

use docker_api::ApiVersion;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;

use super::call::Call;
use super::reply::{Answer, ApiError, Result};
use super::{
    Api, attach, containers, events, exec, images, logs, networks, nodes, secrets, services, swarm, system, tasks,
    volumes,
};

/// Answers one request, whatever it is.
pub(crate) async fn answer(api: Arc<Api>, request: Request<Incoming>) -> Answer {
    let mut answer = match dispatch(api, request).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(status = error.status.as_u16(), "refused: {}", error.message);
            error.into_answer()
        }
    };
    let headers = answer.headers_mut();
    headers.insert(
        "Api-Version",
        HeaderValue::from_str(&ApiVersion::MAX.to_string()).unwrap_or(HeaderValue::from_static("1.51")),
    );
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert("Server", HeaderValue::from_static("swarmlab (linux)"));
    answer
}

async fn dispatch(api: Arc<Api>, request: Request<Incoming>) -> Result {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let (version, rest) = ApiVersion::split_path(&path);
    let version = version.unwrap_or(ApiVersion::MAX).check_supported()?;
    let segments = segments(rest)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = parts.method.clone();
    let call = Call { api, parts, version, body: Some(body) };
    to_handler(call, &method, &segments).await
}

/// One line for each route, grouped by noun.
async fn to_handler(call: Call, method: &Method, path: &[&str]) -> Result {
    let (get, post, delete, head, put) = (
        method == Method::GET,
        method == Method::POST,
        method == Method::DELETE,
        method == Method::HEAD,
        method == Method::PUT,
    );
    match path {
        ["_ping"] if get || head => system::ping(&call).await,
        ["version"] if get => Ok(system::version()),
        ["info"] if get => system::info(&call).await,
        ["events"] if get => events::events(&call).await,
        ["system", "df"] if get => system::disk_usage(&call),
        ["auth"] if post => Err(ApiError::unsupported("this engine has no registry access: login is not supported")),
        ["build" | "session" | "grpc"] | ["build", "prune" | "cancel"] if post => Err(ApiError::unsupported(
            "building images is not supported by this engine: load an archive with docker load",
        )),
        ["commit"] if post => Err(ApiError::unsupported("committing containers is not supported by this engine")),
        ["plugins"] if get => Ok(super::reply::json(serde_json::json!([]))),
        ["plugins", ..] => Err(ApiError::unsupported("plugins are not supported by this engine")),
        ["distribution", .., "json"] if get => {
            Err(ApiError::new(StatusCode::FORBIDDEN, "this engine has no registry access"))
        }

        ["swarm"] if get => swarm::inspect(&call).await,
        ["swarm", "init"] if post => swarm::init(call).await,
        ["swarm", "join"] if post => swarm::join(call).await,
        ["swarm", "leave"] if post => swarm::leave(&call).await,
        ["swarm", "update"] if post => swarm::update(call).await,
        ["swarm", "unlockkey"] if get => swarm::unlock_key(&call).await,
        ["swarm", "unlock"] if post => swarm::unlock(call).await,

        ["nodes"] if get => nodes::list(&call).await,
        ["nodes", id] if get => nodes::inspect(&call, id).await,
        ["nodes", id] if delete => nodes::remove(&call, id).await,
        ["nodes", id, "update"] if post => nodes::update(call, id).await,

        ["services"] if get => services::list(&call).await,
        ["services", "create"] if post => services::create(call).await,
        ["services", id] if get => services::inspect(&call, id).await,
        ["services", id] if delete => services::remove(&call, id).await,
        ["services", id, "update"] if post => services::update(call, id).await,
        ["services", id, "logs"] if get => logs::service(&call, id).await,

        ["tasks"] if get => tasks::list(&call).await,
        ["tasks", id] if get => tasks::inspect(&call, id).await,
        ["tasks", id, "logs"] if get => logs::task(&call, id).await,

        [kind @ ("secrets" | "configs"), rest @ ..] => secrets::dispatch(call, method, kind, rest).await,

        ["networks"] if get => networks::list(&call).await,
        ["networks", "create"] if post => networks::create(call).await,
        ["networks", "prune"] if post => networks::prune(&call).await,
        ["networks", id, "connect"] if post => networks::connect(call, id).await,
        ["networks", id, "disconnect"] if post => networks::disconnect(call, id).await,
        ["networks", id] if get => networks::inspect(&call, id).await,
        ["networks", id] if delete => networks::remove(&call, id).await,

        ["volumes"] if get => volumes::list(&call),
        ["volumes", "create"] if post => volumes::create(call).await,
        ["volumes", "prune"] if post => volumes::prune(&call),
        ["volumes", name] if get => volumes::inspect(&call, name),
        ["volumes", name] if delete => volumes::remove(&call, name),
        ["volumes", _] if put => Err(ApiError::unsupported("cluster volumes are not supported by this engine")),

        ["images", "json"] if get => images::list(&call),
        ["images", "load"] if post => images::load(call).await,
        ["images", "create"] if post => images::pull(&call),
        ["images", "get"] | ["images", _, "get"] if get => {
            Err(ApiError::unsupported("saving images is not supported by this engine"))
        }
        ["images", "search"] if get => {
            Err(ApiError::unsupported("this engine has no registry access: search is not supported"))
        }
        ["images", "prune"] if post => {
            Err(ApiError::unsupported("pruning images is not supported by this engine: remove them by name"))
        }
        ["images", .., "push"] if post => {
            Err(ApiError::unsupported("this engine has no registry access: push is not supported"))
        }
        ["images", name @ .., "json"] if get && !name.is_empty() => images::inspect(&call, &name.join("/")),
        ["images", name @ .., "history"] if get && !name.is_empty() => images::history(&call, &name.join("/")),
        ["images", name @ .., "tag"] if post && !name.is_empty() => images::tag(&call, &name.join("/")),
        ["images", name @ ..] if delete && !name.is_empty() => images::remove(&call, &name.join("/")),

        ["containers", "json"] if get => containers::list(&call),
        ["containers", "create"] if post => containers::create(call).await,
        ["containers", "prune"] if post => containers::prune(&call).await,
        ["containers", id] if delete => containers::remove(&call, id).await,
        ["containers", id, "json"] if get => containers::inspect(&call, id),
        ["containers", id, "logs"] if get => logs::container(&call, id).await,
        ["containers", id, "top"] if get => containers::top(&call, id),
        ["containers", id, "stats"] if get => containers::stats(&call, id),
        ["containers", id, "changes" | "export"] if get => {
            call.api.engine.resolve(id)?;
            Err(ApiError::unsupported("reading a container's layer is not supported by this engine"))
        }
        ["containers", id, "archive"] if get || put || head => {
            call.api.engine.resolve(id)?;
            Err(ApiError::unsupported("copying files is not supported by this engine: use docker exec with tar or cat"))
        }
        ["containers", id, "start"] if post => containers::start(&call, id).await,
        ["containers", id, "stop"] if post => containers::stop(&call, id).await,
        ["containers", id, "restart"] if post => containers::restart(&call, id).await,
        ["containers", id, "kill"] if post => containers::kill(&call, id).await,
        ["containers", id, "wait"] if post => containers::wait(&call, id).await,
        ["containers", id, "rename"] if post => containers::rename(&call, id),
        ["containers", id, "resize"] if post => containers::resize(&call, id).await,
        ["containers", id, "attach"] if post => attach::container(call, id).await,
        ["containers", id, "exec"] if post => exec::create(call, id).await,
        ["containers", id, action @ ("pause" | "unpause" | "update")] if post => {
            call.api.engine.resolve(id)?;
            Err(ApiError::unsupported(format!("container {action} is not supported by this engine")))
        }
        ["containers", id, "attach", "ws"] if get => {
            call.api.engine.resolve(id)?;
            Err(ApiError::unsupported(
                "attaching by websocket is not supported by this engine: use POST /containers/{id}/attach",
            ))
        }

        ["exec", id, "start"] if post => exec::start(call, id).await,
        ["exec", id, "resize"] if post => exec::resize(&call, id).await,
        ["exec", id, "json"] if get => exec::inspect(&call, id),

        _ => Err(ApiError::page_not_found()),
    }
}

/// The segments of a path, percent-decoded. Empty segments in the middle are no page.
fn segments(path: &str) -> Result<Vec<String>> {
    path.trim_start_matches('/').split('/').map(decode).collect()
}

fn decode(segment: &str) -> Result<String> {
    let invalid = || ApiError::bad_request(format!("invalid URL escape in path segment {segment:?}"));
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push(high * 16 + low),
            _ => return Err(invalid()),
        }
    }
    String::from_utf8(out).map_err(|_| invalid())
}
