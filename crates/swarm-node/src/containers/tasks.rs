//! Runs the swarm's tasks as containers of the engine.
//!
//! A task's container carries the task's name and Docker's `com.docker.swarm.*` labels, and its record the task's id:
//! so it is found again after a restart of the daemon. Leaves out when a task is to run, which the agent decides.

use std::borrow::Cow;
use std::fmt::Display;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use container_runtime::config::{self, MountSource};
use container_runtime::{ContainerId, EventKind, HealthStatus, Inspect, Status};
use futures_util::StreamExt;
use serde_json::{Value, json};
use swarm_manager::task_template::TaskContext;
use swarm_types::{
    Driver, FileTarget, NodeDescription, NodeId, PortConfig, PublishMode, Resources, Task, TaskId, Timestamp,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::{Engine, lock};
use crate::convert::container::{CreateRequest, read_create};
use crate::convert::container_spec::health;
use crate::convert::mount::mount;
use crate::convert::ports::{Port, PortWish};
use crate::networking::{NetworkFacts, task_networks};
use crate::runner::{
    Exit, LogMessage, LogSource, LogStream, Recovered, RunnerError, RunnerEvent, RunnerFuture, RunningTask, Stopped,
    TaskInputs, TaskLogRequest, TaskRunner,
};

const TASK_LABEL: &str = "com.docker.swarm.task.id";

/// The engine as the agent's runner.
#[derive(Clone)]
pub struct EngineTasks {
    engine: Engine,
    hostname: String,
}

impl EngineTasks {
    /// A runner on this engine; `hostname` is the node's, for templates.
    pub fn new(engine: Engine, hostname: impl Into<String>) -> Self {
        Self { engine, hostname: hostname.into() }
    }

    fn container(&self, task: TaskId) -> Option<ContainerId> {
        let task = task.to_string();
        let entries = lock(&self.engine.inner.entries);
        entries.iter().find(|(_, entry)| entry.record().task.as_deref() == Some(&task)).map(|(id, _)| id.clone())
    }

    async fn make(&self, task: &Task, inputs: &TaskInputs) -> Result<String, RunnerError> {
        if let Some(container) = self.engine.inner.attachments.arrived(task, inputs).map_err(refused)? {
            return Ok(container);
        }
        if let Some(id) = self.container(task.id) {
            return Ok(id.to_string());
        }
        let image = &task.spec.container.image;
        let found = self.engine.runtime().images().resolve(image);
        let own_image =
            found.map_err(|_| refused(format!("No such image: {}", super::create::with_tag(image))))?.machine_userland;
        let networks = task_networks(task, &inputs.networks).map_err(refused)?;
        let context = TaskContext::of(task, &self.hostname, architecture());
        let mut request = request(task, &context, own_image.then_some(self.hostname.as_str()))?;
        request.swarm = networks.swarm;
        if let Some(local) = networks.local {
            request.attachments = vec![super::Attachment::to(&local)];
            request.network = local;
        }
        request.ports.publish.extend(host_ports(task));
        let files = files_dir(self.engine.inner.records.as_path(), task.id);
        request.config.mounts.extend(write_files(task, inputs, &context, files.as_deref())?);
        let created = self.engine.create_as(request, Some(task.name()), Some(task.id.to_string())).await;
        match created {
            Ok((id, _)) => Ok(id.to_string()),
            Err(error) => {
                remove_files(files.as_deref());
                Err(error.into())
            }
        }
    }

    fn running(&self, inspect: &Inspect) -> RunningTask {
        RunningTask {
            container_id: inspect.id.to_string(),
            pid: inspect.state.pid.unwrap_or(0),
            host_ports: self.host_ports(inspect),
            health_check: inspect.healthcheck.is_some(),
        }
    }

    /// Ports of the node that lead to the task, each once (not once for each address family).
    fn host_ports(&self, inspect: &Inspect) -> Vec<PortConfig> {
        let mut ports: Vec<PortConfig> = Vec::new();
        for one in self.engine.published(&inspect.id) {
            let port = PortConfig {
                protocol: one.protocol,
                target_port: one.port,
                published_port: one.host_port,
                publish_mode: PublishMode::Host,
                ..PortConfig::default()
            };
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports
    }

    async fn run(&self, task: TaskId) -> Result<RunningTask, RunnerError> {
        if let Some(container_id) = self.engine.inner.attachments.container(task) {
            return Ok(RunningTask { container_id, ..RunningTask::default() });
        }
        let id = self.container(task).ok_or_else(|| refused(format!("the container of task {task} is gone")))?;
        self.engine
            .start(&id)
            .await
            .map_err(|error| RunnerError { exit_code: error.exit_code(), message: error.message })?;
        let inspect = self.engine.runtime().inspect(&id)?;
        if inspect.healthcheck.is_none() {
            self.engine.inner.networking.serve(id.as_str(), true).await;
        }
        Ok(self.running(&inspect))
    }
}

impl From<container_runtime::Error> for RunnerError {
    fn from(error: container_runtime::Error) -> Self {
        Self { message: error.message, exit_code: 0 }
    }
}

fn refused(message: impl Into<String>) -> RunnerError {
    RunnerError { message: message.into(), exit_code: 0 }
}

impl TaskRunner for EngineTasks {
    fn prepare(&self, task: Arc<Task>, inputs: TaskInputs) -> RunnerFuture<'_, Result<String, RunnerError>> {
        Box::pin(async move { self.make(&task, &inputs).await })
    }

    fn start(&self, task: TaskId) -> RunnerFuture<'_, Result<RunningTask, RunnerError>> {
        Box::pin(self.run(task))
    }

    fn stop(&self, task: TaskId, grace: Duration) -> RunnerFuture<'_, Stopped> {
        Box::pin(async move {
            if let Some((container, attachment)) = self.engine.inner.attachments.removed(task) {
                self.engine.inner.networking.leave_network(&container, attachment.network).await;
            }
            let Some(id) = self.container(task) else { return Stopped::NothingRan };
            // No new connections from here on; those that there are have the grace period to end.
            self.engine.inner.networking.serve(id.as_str(), false).await;
            match self.engine.stop(&id, None, Some(grace)).await {
                Ok(true) => Stopped::Ended,
                Ok(false) => {
                    // a prepared container goes back to one that is only recorded
                    let _ = self.engine.runtime().stop(&id, None, Some(Duration::ZERO)).await;
                    Stopped::NothingRan
                }
                Err(error) => {
                    tracing::warn!(%task, "stopping its container: {error}");
                    Stopped::NothingRan
                }
            }
        })
    }

    fn remove(&self, task: TaskId) -> RunnerFuture<'_, Result<(), RunnerError>> {
        Box::pin(async move {
            remove_files(files_dir(self.engine.inner.records.as_path(), task).as_deref());
            match self.container(task) {
                Some(id) => Ok(self.engine.remove(&id, true, true).await?),
                None => Ok(()),
            }
        })
    }

    fn recover(&self, task: Arc<Task>) -> RunnerFuture<'_, Recovered> {
        Box::pin(async move {
            if let Some(attachment) = &task.spec.attachment {
                let running = RunningTask { container_id: attachment.container_id.clone(), ..RunningTask::default() };
                let known = self.engine.holds_attachment(&attachment.container_id, task.id);
                return if known { Recovered::Running(running) } else { Recovered::Absent };
            }
            let inspect = self.container(task.id).and_then(|id| self.engine.runtime().inspect(&id).ok());
            let Some(inspect) = inspect else { return Recovered::Absent };
            match inspect.state.status {
                Status::Created | Status::Prepared => Recovered::Prepared { container_id: inspect.id.to_string() },
                Status::Running => Recovered::Running(self.running(&inspect)),
                Status::Exited => Recovered::Exited(Exit {
                    code: inspect.state.exit_code,
                    oom: inspect.state.oom_killed,
                    message: inspect.state.error.unwrap_or_default(),
                }),
            }
        })
    }

    fn events(&self) -> mpsc::UnboundedReceiver<(TaskId, RunnerEvent)> {
        let (send, receive) = mpsc::unbounded_channel();
        let mut events = self.engine.runtime().events();
        let runtime = self.engine.runtime().clone();
        let networking = self.engine.inner.networking.clone();
        tokio::spawn(async move {
            loop {
                let event = match events.recv().await {
                    Ok(event) => event,
                    Err(RecvError::Lagged(lost)) => {
                        tracing::error!(lost, "events of tasks were lost");
                        continue;
                    }
                    Err(RecvError::Closed) => return,
                };
                let Some(task) = event.labels.get(TASK_LABEL).and_then(|id| id.parse().ok()) else { continue };
                let told = match event.kind {
                    EventKind::Health(HealthStatus::Healthy) => {
                        networking.serve(event.container.as_str(), true).await;
                        RunnerEvent::Healthy
                    }
                    EventKind::Health(HealthStatus::Unhealthy) => RunnerEvent::Unhealthy,
                    EventKind::Exited { code, oom } => {
                        let message =
                            runtime.inspect(&event.container).ok().and_then(|one| one.state.error).unwrap_or_default();
                        RunnerEvent::Exited(Exit { code, oom, message })
                    }
                    _ => continue,
                };
                if send.send((task, told)).is_err() {
                    return;
                }
            }
        });
        receive
    }

    fn logs(&self, request: &TaskLogRequest, node: NodeId) -> LogStream {
        let Some(id) = self.container(request.task) else { return Box::pin(futures_util::stream::empty()) };
        let (task, service, wanted) = (request.task, request.service, request.options.clone());
        let options = container_runtime::LogOptions {
            follow: wanted.follow,
            tail: wanted.tail.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX)),
            since: wanted.since.map(Timestamp::as_nanos),
            until: None,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
        };
        let runtime = self.engine.runtime().clone();
        let open = async move {
            if options.follow
                && let Ok(mut state) = runtime.watch(&id)
            {
                // nothing to follow before its start
                let _ = state.wait_for(|s| matches!(s.status, Status::Running | Status::Exited)).await;
            }
            let lines = runtime.logs(&id, options).await.ok();
            futures_util::stream::unfold(lines, |lines| async move {
                let mut lines = lines?;
                let line = lines.recv().await?.ok()?;
                Some((line, Some(lines)))
            })
        };
        let message = move |line: container_runtime::LogLine| LogMessage {
            node,
            task,
            service,
            source: match line.stream {
                container_runtime::Stream::Stdout => LogSource::Stdout,
                container_runtime::Stream::Stderr => LogSource::Stderr,
            },
            timestamp: Timestamp::from_nanos(line.at),
            data: line.bytes.into(),
        };
        Box::pin(futures_util::stream::once(open).flatten().map(message))
    }

    fn networks(&self, facts: Option<NetworkFacts>) {
        self.engine.inner.networking.facts(facts);
    }

    fn description(&self) -> NodeDescription {
        let plugins = [
            ("Log", "json-file"),
            ("Log", "local"),
            ("Network", "bridge"),
            ("Network", "host"),
            ("Network", "null"),
            ("Network", "overlay"),
            ("Volume", "local"),
        ];
        NodeDescription {
            hostname: self.hostname.clone(),
            os: "linux".into(),
            architecture: architecture().into(),
            resources: Resources {
                nano_cpus: processors().saturating_mul(1_000_000_000),
                memory_bytes: memory_bytes(),
                ..Resources::default()
            },
            engine_version: crate::http::ENGINE_VERSION.into(),
            plugins: plugins.iter().map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned())).collect(),
            ..NodeDescription::default()
        }
    }
}

/// The machine's architecture as Docker names it.
pub(crate) fn architecture() -> &'static str {
    std::env::consts::ARCH
}

/// Processors that this process may use.
pub(crate) fn processors() -> i64 {
    std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1))
}

/// The machine's memory.
pub(crate) fn memory_bytes() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// What the service publishes on the task's node itself.
fn host_ports(task: &Task) -> Vec<PortWish> {
    let ports = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let on_node = ports.filter(|port| port.publish_mode == PublishMode::Host);
    let wish = |port: &PortConfig| {
        let target = Port { number: port.target_port, protocol: port.protocol };
        let host_ports = (port.published_port, port.published_port);
        (port.target_port > 0).then_some(PortWish { port: target, host_ip: None, host_ports })
    };
    on_node.filter_map(wish).collect()
}

/// A task's spec as a create request: through the Docker API's own form, so that tasks and single containers are
/// made, checked and shown alike.
fn request(task: &Task, context: &TaskContext, lab_node: Option<&str>) -> Result<CreateRequest, RunnerError> {
    let spec = &task.spec.container;
    let expand = |what: &str, text: &str| {
        context.expand(text).map_err(|error| refused(format!("expanding {what} failed: {error}")))
    };
    let mut env = spec
        .env
        .iter()
        .map(|entry| {
            context.expand_variable(entry).map_err(|error| refused(format!("expanding env {entry:?} failed: {error}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(node) = lab_node {
        env.push(format!("SWARMLAB_TASK_SLOT={}", context.slot()));
        env.push(format!("SWARMLAB_NODE={node}"));
    }
    let mut labels = spec.labels.clone();
    for (key, value) in [
        ("node.id", task.node_id.map(|id| id.to_string()).unwrap_or_default()),
        ("service.id", task.service_id.map(|id| id.to_string()).unwrap_or_default()),
        ("service.name", task.service_annotations.name.clone()),
        ("task", String::new()),
        ("task.id", task.id.to_string()),
        ("task.name", task.name()),
    ] {
        labels.insert(format!("com.docker.swarm.{key}"), value);
    }
    let mut mounts = Vec::new();
    for one in &spec.mounts {
        let mut one = one.clone();
        one.source = expand("mount", &one.source)?;
        one.target = expand("mount", &one.target)?;
        mounts.push(mount(&one));
    }
    let hosts: Vec<String> = spec.hosts.iter().flat_map(|line| extra_hosts(line)).collect();
    let list = |values: &[String]| if values.is_empty() { Value::Null } else { json!(values) };
    let resources = task.spec.resources.clone().unwrap_or_default();
    let (limits, reserved) = (resources.limits.unwrap_or_default(), resources.reservations.unwrap_or_default());
    let no_new_privileges = spec.privileges_json.as_deref().is_some_and(|text| {
        serde_json::from_str::<Value>(text).is_ok_and(|value| value["NoNewPrivileges"] == json!(true))
    });
    let dns = spec.dns.clone().unwrap_or_default();
    let log = task.spec.log_driver.clone().unwrap_or_default();
    let body = json!({
        "Image": spec.image,
        "Hostname": expand("hostname", &spec.hostname)?,
        "Entrypoint": list(&spec.command),
        "Cmd": list(&spec.args),
        "Env": env,
        "User": spec.user,
        "WorkingDir": spec.dir,
        "Labels": labels,
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StopSignal": spec.stop_signal,
        "Healthcheck": spec.healthcheck.as_ref().map(health),
        "HostConfig": {
            "Mounts": mounts,
            "GroupAdd": list(&spec.groups),
            "CapAdd": list(&spec.capability_add),
            "CapDrop": list(&spec.capability_drop),
            "ReadonlyRootfs": spec.read_only,
            "Sysctls": spec.sysctls,
            "Ulimits": spec.ulimits.iter().map(|u| json!({"Name": u.name, "Soft": u.soft, "Hard": u.hard})).collect::<Vec<_>>(),
            "Dns": dns.nameservers, "DnsSearch": dns.search, "DnsOptions": dns.options,
            "ExtraHosts": list(&hosts),
            "Init": spec.init,
            "OomScoreAdj": spec.oom_score_adj,
            "NanoCpus": limits.nano_cpus,
            "Memory": limits.memory_bytes,
            "PidsLimit": limits.pids,
            "MemoryReservation": reserved.memory_bytes,
            "SecurityOpt": if no_new_privileges { json!(["no-new-privileges"]) } else { Value::Null },
            "LogConfig": {"Type": log.name, "Config": log.options},
        },
    });
    let mut request = read_create(&body).map_err(|error| refused(error.to_string()))?;
    request.config.stop_grace = spec.stop_grace_period;
    Ok(request)
}

/// `IP name name...` of a service's spec, as `name:IP` of a container's.
fn extra_hosts(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace();
    let Some(address) = words.next() else { return Vec::new() };
    words.map(|name| format!("{name}:{address}")).collect()
}

/// Where a task's secrets and configs lie: in memory, so that they never reach a disk. `None` without such a place.
fn files_dir(records: &Path, task: TaskId) -> Option<PathBuf> {
    use sha2::{Digest, Sha256};
    // several nodes may share a machine in tests: the state directory tells them apart
    let node = Sha256::digest(records.as_os_str().as_encoded_bytes());
    let node: String = node[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    ["/run", "/dev/shm"]
        .iter()
        .map(Path::new)
        .find(|dir| in_memory(dir))
        .map(|dir| dir.join(format!("swarmlab-files-{node}")).join(task.to_string()))
}

fn in_memory(dir: &Path) -> bool {
    let writable = nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_ok();
    writable && nix::sys::statfs::statfs(dir).is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
}

fn remove_files(dir: Option<&Path>) {
    if let Some(dir) = dir {
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// Writes what the task reads, and says where it is to appear.
fn write_files(
    task: &Task,
    inputs: &TaskInputs,
    context: &TaskContext,
    dir: Option<&Path>,
) -> Result<Vec<config::Mount>, RunnerError> {
    let spec = &task.spec.container;
    let mut wanted: Vec<(String, &FileTarget, Cow<'_, [u8]>)> = Vec::new();
    // What is no template goes as it is, without a copy.
    let filled = |what: &str, id: &dyn Display, data, templating: Option<&Driver>| match templating {
        None => Ok(Cow::Borrowed(data)),
        Some(driver) => {
            let content = context.content(data, driver, spec, &inputs.secrets, &inputs.configs);
            content.map(Cow::Owned).map_err(|error| {
                let why = format!("unable to get {what} from {what} store: failed to expand templated {what} {id}");
                refused(format!("starting container failed: {why}: {error}"))
            })
        }
    };
    for reference in &spec.secrets {
        let secret = inputs.secrets.iter().find(|secret| secret.id == reference.secret_id);
        let secret = secret.ok_or_else(|| refused(format!("secret not found: {}", reference.secret_name)))?;
        let data = filled("secret", &secret.id, &secret.spec.data.0, secret.spec.templating.as_ref())?;
        wanted.push((absolute("/run/secrets", &reference.target.name), &reference.target, data));
    }
    for reference in &spec.configs {
        let config = inputs.configs.iter().find(|config| config.id == reference.config_id);
        let config = config.ok_or_else(|| refused(format!("config not found: {}", reference.config_name)))?;
        if let Some(target) = &reference.target {
            let data = filled("config", &config.id, &config.spec.data, config.spec.templating.as_ref())?;
            wanted.push((absolute("/", &target.name), target, data));
        }
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let dir = dir.ok_or_else(|| {
        refused("no file system in memory for secrets and configs: neither /run nor /dev/shm is a writable tmpfs")
    })?;
    let failed = |error: std::io::Error| refused(format!("writing secrets and configs: {error}"));
    std::fs::create_dir_all(dir).map_err(failed)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    let mut mounts = Vec::new();
    for (number, (path, target, data)) in wanted.into_iter().enumerate() {
        let file = dir.join(number.to_string());
        std::fs::write(&file, data).map_err(failed)?;
        let mode = if target.mode == 0 { 0o444 } else { target.mode & 0o7777 };
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        own(&file, target)?;
        mounts.push(config::Mount { target: path, read_only: true, source: MountSource::Bind(file) });
    }
    Ok(mounts)
}

fn own(file: &Path, target: &FileTarget) -> Result<(), RunnerError> {
    let number = |text: &str| match text {
        "" => Ok(0),
        text => text
            .parse::<u32>()
            .map_err(|_| refused(format!("invalid owner {text:?} of {}: a number is expected", target.name))),
    };
    let (uid, gid) = (number(&target.uid)?, number(&target.gid)?);
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    std::os::unix::fs::chown(file, Some(uid), Some(gid)).map_err(|error| {
        refused(format!(
            "giving {} to {uid}:{gid}: {error} (without root only one user exists in containers)",
            target.name
        ))
    })
}

fn absolute(base: &str, name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("{}/{name}", base.trim_end_matches('/')) }
}
