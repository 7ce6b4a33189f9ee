//! `docker run`, `ps`, `stop` and the rest that has to do with containers; streams are in `attach` and `exec`.

use docker_api::query::{
    CreateContainer, InspectContainer, KillContainer, ListContainers, ListFiltered, RemoveContainer, RenameContainer,
    Resize, StatsContainer, StopContainer, TopContainer, WaitContainer,
};
use docker_api::{Filters, ImageReference};
use futures_util::StreamExt;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::reply::{self, ApiError, Result};
use crate::containers::{Engine, WaitCondition};
use crate::convert::container::{grace_of, read_create};
use crate::convert::container_inspect::{Shown, stamp};
use crate::convert::ports::{Port, read_port};

/// `POST /containers/create`
pub(crate) async fn create(mut call: Call) -> Result {
    let CreateContainer { name, platform } = call.query()?;
    let body = call.json().await?;
    if !platform.is_empty() && !platform_fits(&platform) {
        return Err(ApiError::not_found(format!(
            "image with reference {} was found but does not match the specified platform: wanted {platform}",
            body["Image"].as_str().unwrap_or("")
        )));
    }
    let request = read_create(&body)?;
    let (id, warnings) = call.api.engine.create(request, Some(name)).await?;
    Ok(reply::json_with(StatusCode::CREATED, json!({"Id": id.as_str(), "Warnings": warnings})))
}

fn platform_fits(platform: &str) -> bool {
    let mut parts = platform.split('/');
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    parts.next() == Some("linux")
        && parts.next().is_none_or(|wanted| wanted == arch || wanted == std::env::consts::ARCH)
}

/// `POST /containers/{id}/start`
pub(crate) async fn start(call: &Call, id: &str) -> Result {
    let id = call.api.engine.resolve(id)?;
    Ok(changed(call.api.engine.start(&id).await?))
}

fn changed(changed: bool) -> reply::Answer {
    if changed { reply::no_content() } else { reply::empty(StatusCode::NOT_MODIFIED) }
}

type StopSettings = (Option<i32>, Option<std::time::Duration>);

fn stop_settings(call: &Call) -> Result<StopSettings> {
    let StopContainer { signal, timeout } = call.query()?;
    let signal = if signal.is_empty() { None } else { Some(Engine::signal(&signal)?) };
    Ok((signal, timeout.map(grace_of)))
}

/// `POST /containers/{id}/stop`
pub(crate) async fn stop(call: &Call, id: &str) -> Result {
    let (signal, grace) = stop_settings(call)?;
    let id = call.api.engine.resolve(id)?;
    Ok(changed(call.api.engine.stop(&id, signal, grace).await?))
}

/// `POST /containers/{id}/restart`
pub(crate) async fn restart(call: &Call, id: &str) -> Result {
    let (signal, grace) = stop_settings(call)?;
    let id = call.api.engine.resolve(id)?;
    call.api.engine.restart(&id, signal, grace).await?;
    Ok(reply::no_content())
}

/// `POST /containers/{id}/kill`
pub(crate) async fn kill(call: &Call, id: &str) -> Result {
    let KillContainer { signal } = call.query()?;
    let signal = Engine::signal(&signal)?;
    let id = call.api.engine.resolve(id)?;
    call.api.engine.kill(&id, signal).await?;
    Ok(reply::no_content())
}

/// `POST /containers/{id}/wait`: the head of the answer at once, so that the client knows that the wait has begun;
/// the body at the end.
pub(crate) async fn wait(call: &Call, id: &str) -> Result {
    let WaitContainer { condition } = call.query()?;
    let condition = WaitCondition::parse(&condition)?;
    let id = call.api.engine.resolve(id)?;
    let wait = call.api.engine.begin_wait(&id, condition)?;
    let body = futures_util::stream::once(async move {
        let code = wait.done().await;
        format!("{}\n", json!({"StatusCode": code})).into()
    });
    Ok(reply::stream("application/json", body))
}

/// `DELETE /containers/{id}`
pub(crate) async fn remove(call: &Call, id: &str) -> Result {
    let RemoveContainer { volumes, force, link } = call.query()?;
    if link {
        return Err(ApiError::bad_request("removing links is not supported by this engine"));
    }
    let id = call.api.engine.resolve(id)?;
    call.api.engine.remove(&id, force, volumes).await?;
    Ok(reply::no_content())
}

/// `POST /containers/{id}/rename`
pub(crate) fn rename(call: &Call, id: &str) -> Result {
    let RenameContainer { name } = call.query()?;
    let id = call.api.engine.resolve(id)?;
    call.api.engine.rename(&id, &name)?;
    Ok(reply::no_content())
}

/// `POST /containers/{id}/resize`
pub(crate) async fn resize(call: &Call, id: &str) -> Result {
    let Resize { height, width } = call.query()?;
    let id = call.api.engine.resolve(id)?;
    call.api.engine.runtime().resize(&id, height.unwrap_or(0), width.unwrap_or(0)).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `POST /containers/prune`
pub(crate) async fn prune(call: &Call) -> Result {
    let ListFiltered { filters } = call.query()?;
    filters.validate(&["label", "label!", "until"])?;
    if filters.contains("label!") || filters.contains("until") {
        return Err(ApiError::bad_request("pruning by label! or until is not supported by this engine"));
    }
    let engine = &call.api.engine;
    let mut deleted = Vec::new();
    for (inspect, ..) in engine.list() {
        let stopped = !matches!(inspect.state.status, container_runtime::Status::Running);
        let chosen = filters.matches_labels("label", |key| inspect.labels.get(key).map(String::as_str));
        if stopped && chosen && engine.remove(&inspect.id, false, false).await.is_ok() {
            deleted.push(inspect.id.to_string());
        }
    }
    Ok(reply::json(json!({"ContainersDeleted": deleted, "SpaceReclaimed": 0})))
}

/// `GET /containers/{id}/json`
pub(crate) fn inspect(call: &Call, id: &str) -> Result {
    let InspectContainer { size } = call.query()?;
    let engine = &call.api.engine;
    let id = engine.resolve(id)?;
    let (inspect, record, restarting) = engine.inspect(&id)?;
    let size = size.then(|| engine.sizes(&id));
    let shown = Shown { inspect: &inspect, record: &record, restarting, size, image: &inspect.config.image };
    Ok(reply::json(shown.full()))
}

const FILTERS: [&str; 17] = [
    "ancestor",
    "before",
    "expose",
    "exited",
    "health",
    "id",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "is-task",
    "annotation",
    "label!",
];

/// `GET /containers/json`
pub(crate) fn list(call: &Call) -> Result {
    let query: ListContainers = call.query()?;
    query.filters.validate(&FILTERS)?;
    for unsupported in ["isolation", "annotation", "label!"] {
        if query.filters.contains(unsupported) {
            return Err(ApiError::bad_request(format!("filter {unsupported:?} is not supported by this engine")));
        }
    }
    for status in query.filters.get("status") {
        if !["created", "running", "paused", "restarting", "removing", "exited", "dead"].contains(&status) {
            return Err(ApiError::bad_request(format!("invalid filter 'status={status}'")));
        }
    }
    let exited: Vec<i32> = query
        .filters
        .get("exited")
        .map(|code| code.parse().map_err(|_| ApiError::bad_request(format!("invalid filter 'exited={code}'"))))
        .collect::<Result<_>>()?;
    let engine = &call.api.engine;
    let created = |names: Vec<&str>| -> Result<Option<i64>> {
        names.last().map(|name| Ok(engine.runtime().inspect(&engine.resolve(name)?)?.created_at)).transpose()
    };
    let before = created(query.filters.get("before").chain(some(&query.before)).collect())?;
    let since = created(query.filters.get("since").chain(some(&query.since)).collect())?;
    let is_task = query.filters.contains("is-task").then(|| query.filters.boolean("is-task", false)).transpose()?;
    let ports = |key: &str| -> Result<Option<Vec<Port>>> {
        let lists = query.filters.get(key).map(read_port).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok((!lists.is_empty()).then(|| lists.concat()))
    };
    let (publish, expose) = (ports("publish")?, ports("expose")?);
    let now = crate::core::now().as_nanos();
    let ancestors = ancestors(engine, &query.filters);
    let all = query.all || query.limit.is_some_and(|n| n > 0) || query.filters.contains("status") || !exited.is_empty();
    let mut lines = Vec::new();
    for (inspect, record, restarting) in engine.list() {
        let shown = Shown { inspect: &inspect, record: &record, restarting, size: None, image: &inspect.config.image };
        let state = shown.state();
        let health = inspect.state.health.as_ref().map_or("none", |health| health.status.as_str());
        let filters = &query.filters;
        let named = filters.matches_part("name", &inspect.name)
            || filters
                .get("name")
                .any(|name| name.trim_start_matches(['^', '/']).trim_end_matches('$') == inspect.name);
        let mounted =
            || filters.get("volume").any(|wanted| record.mounts.iter().any(|m| m.name == wanted || m.target == wanted));
        let networked = filters.get("network").any(|wanted| shown.is_on(wanted));
        let chosen = (all || matches!(state, "running" | "restarting"))
            && named
            && filters.matches_prefix("id", inspect.id.as_str())
            && filters.matches_exactly("status", state)
            && filters.matches_exactly("health", health)
            && filters.matches_labels("label", |key| inspect.labels.get(key).map(String::as_str))
            && (exited.is_empty() || (state == "exited" && exited.contains(&inspect.state.exit_code)))
            && (!filters.contains("volume") || mounted())
            && (!filters.contains("network") || networked)
            && publish.as_ref().is_none_or(|wanted| shown.has_port(wanted, true))
            && expose.as_ref().is_none_or(|wanted| shown.has_port(wanted, false))
            && is_task.is_none_or(|wanted| wanted == record.task.is_some())
            && before.is_none_or(|at| inspect.created_at < at)
            && since.is_none_or(|at| inspect.created_at > at)
            && ancestors.as_ref().is_none_or(|ids| ids.contains(&inspect.image_id));
        if !chosen {
            continue;
        }
        let size = query.size.then(|| engine.sizes(&inspect.id));
        lines.push(Shown { size, ..shown }.summary(now));
        if query.limit.is_some_and(|limit| limit > 0 && lines.len() as i64 >= limit) {
            break;
        }
    }
    Ok(reply::json(lines))
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The ids of the images that `ancestor` names.
fn ancestors(engine: &Engine, filters: &Filters) -> Option<Vec<String>> {
    filters.contains("ancestor").then(|| {
        let find = |name: &str| engine.runtime().images().resolve(name).map(|image| image.id.clone()).ok();
        filters.get("ancestor").filter_map(find).collect()
    })
}

/// All containers as lines, for `system df`.
pub(crate) fn summaries(call: &Call, size: bool) -> Vec<Value> {
    let engine = &call.api.engine;
    let now = crate::core::now().as_nanos();
    engine
        .list()
        .iter()
        .map(|(inspect, record, restarting)| {
            let size = size.then(|| engine.sizes(&inspect.id));
            Shown { inspect, record, restarting: *restarting, size, image: &inspect.config.image }.summary(now)
        })
        .collect()
}

/// `GET /containers/{id}/top`
pub(crate) fn top(call: &Call, id: &str) -> Result {
    let TopContainer { ps_args } = call.query()?;
    if !["", "-ef", "aux", "-eo pid,cmd"].contains(&ps_args.as_str()) {
        return Err(ApiError::bad_request(format!(
            "ps options {ps_args:?} are not supported by this engine: leave them out or use -ef"
        )));
    }
    let id = call.api.engine.resolve(id)?;
    let processes = call.api.engine.runtime().top(&id)?;
    let boot = boot_seconds();
    let rows: Vec<Value> = processes
        .iter()
        .map(|p| {
            let started = boot + (p.start_ticks / 100) as i64;
            let spent = p.cpu_ticks / 100;
            let clock =
                jiff::Timestamp::from_second(started).map(|at| at.strftime("%H:%M").to_string()).unwrap_or_default();
            let time = format!("{:02}:{:02}:{:02}", spent / 3600, spent / 60 % 60, spent % 60);
            let user = if p.uid == 0 { "root".to_owned() } else { p.uid.to_string() };
            json!([user, p.pid.to_string(), p.parent.to_string(), "0", clock, "?", time, p.command])
        })
        .collect();
    Ok(reply::json(json!({"Titles": ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"], "Processes": rows})))
}

fn boot_seconds() -> i64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0)
}

/// `GET /containers/{id}/stats`
pub(crate) fn stats(call: &Call, id: &str) -> Result {
    let StatsContainer { stream, one_shot } = call.query()?;
    let engine = call.api.engine.clone();
    let id = engine.resolve(id)?;
    let name = engine.runtime().inspect(&id)?.name;
    let mut before: Option<(i64, u64)> = None;
    let mut sample = move || {
        let now = crate::core::now().as_nanos();
        let usage = engine.runtime().stats(&id).ok();
        let (cpu, memory, pids) = usage.as_ref().map_or((0, 0, 0), |u| (u.cpu_nanos, u.memory, u.pids));
        let limit = usage
            .as_ref()
            .and_then(|u| u.memory_limit)
            .unwrap_or_else(|| u64::try_from(crate::containers::memory_bytes()).unwrap_or(0));
        let cpus = crate::containers::processors();
        // what the machine could have spent since boot: clients divide differences of both
        let system = |at: i64| at.saturating_sub(boot_seconds().saturating_mul(1_000_000_000)).saturating_mul(cpus);
        let of = |cpu: u64, system_usage: i64| {
            json!({
                "cpu_usage": {"total_usage": cpu, "usage_in_kernelmode": 0, "usage_in_usermode": cpu},
                "system_cpu_usage": system_usage, "online_cpus": cpus,
                "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
            })
        };
        let previous = before.replace((now, cpu));
        let (read_before, cpu_before) = previous.map_or((None, of(0, 0)), |(at, cpu)| (Some(at), of(cpu, system(at))));
        json!({
            "id": id.as_str(), "name": format!("/{name}"), "os_type": "linux",
            "read": stamp(Some(now)), "preread": stamp(read_before),
            "cpu_stats": of(cpu, system(now)), "precpu_stats": cpu_before,
            "memory_stats": {"usage": memory, "limit": limit, "stats": {}},
            "pids_stats": {"current": pids}, "blkio_stats": {}, "num_procs": 0, "storage_stats": {}, "networks": {},
        })
    };
    if stream == Some(false) {
        if !one_shot {
            // a second look makes the difference that the client shows
            sample();
            let later = async move {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                format!("{}\n", sample()).into()
            };
            return Ok(reply::stream("application/json", futures_util::stream::once(later)));
        }
        return Ok(reply::json(sample()));
    }
    let ticks = futures_util::stream::unfold((sample, false), |(mut sample, waited)| async move {
        if waited {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        let line = format!("{}\n", sample());
        Some((line, (sample, true)))
    });
    Ok(reply::stream("application/json", ticks.map(Into::into)))
}

/// The name of an image as people write it.
pub(crate) fn familiar(name: &str) -> String {
    name.parse::<ImageReference>()
        .map(|reference| reference.with_default_tag().familiar())
        .unwrap_or_else(|_| name.to_owned())
}
