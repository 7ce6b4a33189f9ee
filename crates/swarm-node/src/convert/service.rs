//! Services: their spec both ways, and the object as `GET /services` shows it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use swarm_types::{
    DEFAULT_RESTART_DELAY, DnsConfig, FailureAction, GenericResource, Placement, PlacementPreference, Platform,
    ResourceRequirements, Resources, RestartCondition, RestartPolicy, Service, ServiceMode, ServiceSpec, TaskSpec,
    UpdateConfig, UpdateOrder, UpdateState,
};

use super::container_spec::{container_spec, read_container_spec};
use super::json::nanos;
use super::network::{
    attachment_config, endpoint, endpoint_spec, read_attachment_config, read_driver_config, read_endpoint_spec,
};
use super::{Fields, InvalidField, Result, Writer, annotations, driver, object, read_annotations, time};

/// How many of a service's tasks run, should run, and completed: the `ServiceStatus` of `GET /services?status=true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceStatus {
    /// Running now.
    pub running: u64,
    /// Wanted.
    pub desired: u64,
    /// Completed (jobs).
    pub completed: u64,
}

/// `GET /services/{id}`; with `defaults`, unset settings show the values that the engine would use.
pub fn service(from: &Service, status: Option<ServiceStatus>, defaults: bool) -> Value {
    let spec = |spec: &ServiceSpec| if defaults { service_spec(&with_defaults(spec)) } else { service_spec(spec) };
    let update = from.update_status.as_ref().map(|update| {
        let state = match update.state {
            UpdateState::Updating => "updating",
            UpdateState::Paused => "paused",
            UpdateState::Completed => "completed",
            UpdateState::RollbackStarted => "rollback_started",
            UpdateState::RollbackPaused => "rollback_paused",
            UpdateState::RollbackCompleted => "rollback_completed",
        };
        Writer::default()
            .put("State", state)
            .some("StartedAt", update.started_at.map(time))
            .some("CompletedAt", update.completed_at.map(time))
            .text("Message", &update.message)
            .build()
    });
    object(from.id, &from.meta)
        .put("Spec", spec(&from.spec))
        .some("PreviousSpec", from.previous_spec.as_ref().map(|previous| spec(previous)))
        .put("Endpoint", endpoint(from.endpoint.as_ref()))
        .some("UpdateStatus", update)
        .some(
            "ServiceStatus",
            status
                .map(|s| json!({"RunningTasks": s.running, "DesiredTasks": s.desired, "CompletedTasks": s.completed})),
        )
        .some(
            "JobStatus",
            from.job_status.map(
                |job| json!({"JobIteration": {"Index": job.iteration.0}, "LastExecution": time(job.last_execution)}),
            ),
        )
        .build()
}

/// What a user asked of a service.
pub fn service_spec(from: &ServiceSpec) -> Value {
    let mode = match &from.mode {
        ServiceMode::Replicated { replicas } => json!({"Replicated": {"Replicas": replicas}}),
        ServiceMode::Global => json!({"Global": {}}),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            json!({"ReplicatedJob": {"MaxConcurrent": max_concurrent, "TotalCompletions": total_completions}})
        }
        ServiceMode::GlobalJob => json!({"GlobalJob": {}}),
    };
    annotations(Writer::default(), &from.annotations)
        .put("TaskTemplate", task_spec(&from.task))
        .put("Mode", mode)
        .some("UpdateConfig", from.update.as_ref().map(update_config))
        .some("RollbackConfig", from.rollback.as_ref().map(update_config))
        .some("EndpointSpec", from.endpoint.as_ref().map(endpoint_spec))
        .build()
}

/// The reverse: the body of `POST /services/create` and `POST /services/{id}/update`.
pub fn read_service_spec(body: &Value) -> Result<ServiceSpec> {
    let fields = Fields::new(body, "ServiceSpec")?;
    let template = fields.object("TaskTemplate")?;
    let mut task = read_task_spec(&template.ok_or_else(mismatched)?)?;
    if task.networks.is_empty() {
        task.networks = fields.objects("Networks")?.iter().map(read_attachment_config).collect::<Result<_>>()?;
    }
    let config = |key| fields.object(key)?.map(|update| read_update_config(&update, key)).transpose();
    Ok(ServiceSpec {
        annotations: read_annotations(&fields)?,
        task: Arc::new(task),
        mode: read_mode(&fields)?,
        update: config("UpdateConfig")?,
        rollback: config("RollbackConfig")?,
        endpoint: fields.object("EndpointSpec")?.map(|endpoint| read_endpoint_spec(&endpoint)).transpose()?,
    })
}

/// Docker's words for a service without a container.
fn mismatched() -> InvalidField {
    InvalidField::Value("mismatched Runtime and *Spec fields".into())
}

fn read_mode(fields: &Fields<'_>) -> Result<ServiceMode> {
    let Some(mode) = fields.object("Mode")? else { return Ok(ServiceMode::Replicated { replicas: 1 }) };
    let replicated = mode.object("Replicated")?;
    let job = mode.object("ReplicatedJob")?;
    let (global, global_job) = (mode.object("Global")?.is_some(), mode.object("GlobalJob")?.is_some());
    match (replicated, global, job, global_job) {
        (None, false, None, false) => Ok(ServiceMode::Replicated { replicas: 1 }),
        (Some(replicated), false, None, false) => {
            Ok(ServiceMode::Replicated { replicas: replicated.opt_int("Replicas")?.unwrap_or(1) })
        }
        (None, true, None, false) => Ok(ServiceMode::Global),
        (None, false, Some(job), false) => {
            let max_concurrent = job.opt_int("MaxConcurrent")?.unwrap_or(1);
            let total_completions = job.opt_int("TotalCompletions")?.unwrap_or(max_concurrent);
            Ok(ServiceMode::ReplicatedJob { max_concurrent, total_completions })
        }
        (None, false, None, true) => Ok(ServiceMode::GlobalJob),
        _ => Err(InvalidField::Value("must specify only one service mode".into())),
    }
}

fn update_config(from: &UpdateConfig) -> Value {
    let action = match from.failure_action {
        FailureAction::Pause => "pause",
        FailureAction::Continue => "continue",
        FailureAction::Rollback => "rollback",
    };
    let order = match from.order {
        UpdateOrder::StopFirst => "stop-first",
        UpdateOrder::StartFirst => "start-first",
    };
    Writer::default()
        .put("Parallelism", from.parallelism)
        .duration("Delay", from.delay)
        .put("FailureAction", action)
        .duration("Monitor", from.monitor.unwrap_or_default())
        // shortest decimal that reads back as the same f32: 0.1, not 0.10000000149
        .put(
            "MaxFailureRatio",
            from.max_failure_ratio
                .to_string()
                .parse::<f64>()
                .ok()
                .map_or(json!(0), |ratio| if ratio == 0.0 { json!(0) } else { json!(ratio) }),
        )
        .put("Order", order)
        .build()
}

fn read_update_config(fields: &Fields<'_>, key: &str) -> Result<UpdateConfig> {
    let failure_action = match fields.string("FailureAction")?.as_str() {
        "" | "pause" => FailureAction::Pause,
        "continue" => FailureAction::Continue,
        "rollback" if key == "UpdateConfig" => FailureAction::Rollback,
        other => return Err(InvalidField::Value(format!("unrecognized update failure action {other}"))),
    };
    let order = match fields.string("Order")?.as_str() {
        "" | "stop-first" => UpdateOrder::StopFirst,
        "start-first" => UpdateOrder::StartFirst,
        other => return Err(InvalidField::Value(format!("unrecognized update order {other}"))),
    };
    let monitor = fields.opt_duration("Monitor")?.filter(|monitor| !monitor.is_zero());
    Ok(UpdateConfig {
        parallelism: fields.int("Parallelism")?,
        delay: fields.duration("Delay")?,
        failure_action,
        monitor,
        max_failure_ratio: fields.float("MaxFailureRatio")? as f32,
        order,
    })
}

/// What a task runs and where.
pub fn task_spec(from: &TaskSpec) -> Value {
    Writer::default()
        .put("ContainerSpec", container_spec(&from.container))
        .some("Resources", from.resources.as_ref().map(resources))
        .some("RestartPolicy", from.restart.as_ref().map(restart_policy))
        .some("Placement", from.placement.as_ref().map(placement))
        .list("Networks", from.networks.iter().map(attachment_config))
        .some("LogDriver", from.log_driver.as_ref().map(driver))
        .put("ForceUpdate", from.force_update)
        .put("Runtime", if from.runtime.is_empty() { "container" } else { &from.runtime })
        .build()
}

fn read_task_spec(fields: &Fields<'_>) -> Result<TaskSpec> {
    fields.refuse("PluginSpec", ": services run containers here")?;
    fields.refuse("NetworkAttachmentSpec", ": services run containers here")?;
    let runtime = match fields.string("Runtime")?.as_str() {
        "" | "container" => "container".to_owned(),
        other => {
            return Err(InvalidField::Value(format!("unsupported runtime {other:?}: services run containers here")));
        }
    };
    Ok(TaskSpec {
        container: match fields.object("ContainerSpec")? {
            Some(container) => read_container_spec(&container)?,
            None => return Err(mismatched()),
        },
        resources: fields.object("Resources")?.map(|resources| read_resources(&resources)).transpose()?,
        restart: fields.object("RestartPolicy")?.map(|restart| read_restart_policy(&restart)).transpose()?,
        placement: fields.object("Placement")?.map(|placement| read_placement(&placement)).transpose()?,
        networks: fields.objects("Networks")?.iter().map(read_attachment_config).collect::<Result<_>>()?,
        log_driver: read_driver_config(fields, "LogDriver")?,
        force_update: fields.int("ForceUpdate")?,
        runtime,
        attachment: None,
    })
}

fn resources(from: &ResourceRequirements) -> Value {
    let limits = |r: &Resources| {
        Writer::default()
            .number("NanoCPUs", r.nano_cpus)
            .number("MemoryBytes", r.memory_bytes)
            .number("Pids", r.pids)
            .build()
    };
    let reservations = |r: &Resources| {
        Writer::default()
            .number("NanoCPUs", r.nano_cpus)
            .number("MemoryBytes", r.memory_bytes)
            .list("GenericResources", r.generic.iter().map(generic))
            .build()
    };
    Writer::default()
        .some("Limits", from.limits.as_ref().map(limits))
        .some("Reservations", from.reservations.as_ref().map(reservations))
        .some("SwapBytes", from.swap_bytes)
        .some("MemorySwappiness", from.memory_swappiness)
        .build()
}

/// A generic resource.
pub fn generic(from: &GenericResource) -> Value {
    match from {
        GenericResource::Named { kind, value } => json!({"NamedResourceSpec": {"Kind": kind, "Value": value}}),
        GenericResource::Discrete { kind, value } => json!({"DiscreteResourceSpec": {"Kind": kind, "Value": value}}),
    }
}

fn read_resources(fields: &Fields<'_>) -> Result<ResourceRequirements> {
    let read = |key| -> Result<Option<Resources>> {
        let Some(fields) = fields.object(key)? else { return Ok(None) };
        let mut generic = Vec::new();
        for resource in fields.objects("GenericResources")? {
            if let Some(named) = resource.object("NamedResourceSpec")? {
                generic.push(GenericResource::Named { kind: named.string("Kind")?, value: named.string("Value")? });
            }
            if let Some(counted) = resource.object("DiscreteResourceSpec")? {
                generic.push(GenericResource::Discrete { kind: counted.string("Kind")?, value: counted.int("Value")? });
            }
        }
        Ok(Some(Resources {
            nano_cpus: fields.int("NanoCPUs")?,
            memory_bytes: fields.int("MemoryBytes")?,
            pids: fields.int("Pids")?,
            generic,
        }))
    };
    Ok(ResourceRequirements {
        limits: read("Limits")?,
        reservations: read("Reservations")?,
        swap_bytes: fields.opt_int("SwapBytes")?,
        memory_swappiness: fields.opt_int("MemorySwappiness")?,
    })
}

fn restart_policy(from: &RestartPolicy) -> Value {
    let condition = match from.condition {
        RestartCondition::None => "none",
        RestartCondition::OnFailure => "on-failure",
        RestartCondition::Any => "any",
    };
    Writer::default()
        .put("Condition", condition)
        .some("Delay", from.delay.map(nanos))
        .put("MaxAttempts", from.max_attempts)
        .duration("Window", from.window)
        .build()
}

fn read_restart_policy(fields: &Fields<'_>) -> Result<RestartPolicy> {
    let condition = match fields.string("Condition")?.as_str() {
        "none" => RestartCondition::None,
        "on-failure" => RestartCondition::OnFailure,
        "" | "any" => RestartCondition::Any,
        other => return Err(InvalidField::Value(format!("invalid RestartCondition: {other:?}"))),
    };
    Ok(RestartPolicy {
        condition,
        delay: fields.opt_duration("Delay")?,
        max_attempts: fields.int("MaxAttempts")?,
        window: fields.duration("Window")?,
    })
}

fn placement(from: &Placement) -> Value {
    let preference = |p: &PlacementPreference| match p {
        PlacementPreference::Spread { descriptor } => json!({"Spread": {"SpreadDescriptor": descriptor}}),
    };
    let platform = |p: &Platform| Writer::default().text("Architecture", &p.architecture).text("OS", &p.os).build();
    Writer::default()
        .list("Constraints", from.constraints.iter().cloned())
        .list("Preferences", from.preferences.iter().map(preference))
        .number("MaxReplicas", from.max_replicas)
        .list("Platforms", from.platforms.iter().map(platform))
        .build()
}

fn read_placement(fields: &Fields<'_>) -> Result<Placement> {
    let mut preferences = Vec::new();
    for preference in fields.objects("Preferences")? {
        let Some(spread) = preference.object("Spread")? else {
            return Err(InvalidField::Value("empty placement preference: only spread=LABEL is known".into()));
        };
        preferences.push(PlacementPreference::Spread { descriptor: spread.string("SpreadDescriptor")? });
    }
    let platform = |p: &Fields<'_>| Ok(Platform { architecture: p.string("Architecture")?, os: p.string("OS")? });
    Ok(Placement {
        constraints: fields.strings("Constraints")?,
        preferences,
        platforms: fields.objects("Platforms")?.iter().map(platform).collect::<Result<_>>()?,
        max_replicas: fields.int("MaxReplicas")?,
    })
}

/// The spec with swarmkit's defaults where the user left something open.
pub fn with_defaults(spec: &ServiceSpec) -> ServiceSpec {
    let mut spec = spec.clone();
    let task = Arc::make_mut(&mut spec.task);
    let container = &mut task.container;
    container.stop_grace_period.get_or_insert(Duration::from_secs(10));
    container.dns.get_or_insert_with(DnsConfig::default);
    let resources = task.resources.get_or_insert_default();
    resources.limits.get_or_insert_default();
    resources.reservations.get_or_insert_default();
    task.restart.get_or_insert_default().delay.get_or_insert(DEFAULT_RESTART_DELAY);
    task.placement.get_or_insert_default();
    for update in [&mut spec.update, &mut spec.rollback] {
        update.get_or_insert_default().monitor.get_or_insert(Duration::from_secs(5));
    }
    spec
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `docker service create` of the genuine client 28.2.2 sends for a service with many settings.
    fn full() -> Value {
        json!({
            "Name": "web", "Labels": {"tier": "front"},
            "TaskTemplate": {
                "ContainerSpec": {
                    "Image": "swarmlab/web:1.0", "Labels": {"a": "b"}, "Command": ["/x"], "Args": ["-v"],
                    "Hostname": "{{.Node.Hostname}}", "Env": ["A=b"], "Dir": "/srv", "User": "1000", "Groups": ["5"],
                    "Privileges": {"CredentialSpec": null, "SELinuxContext": null, "NoNewPrivileges": true},
                    "Init": false, "StopSignal": "SIGINT", "TTY": true, "OpenStdin": true, "ReadOnly": true,
                    "Mounts": [
                        {"Type": "volume", "Source": "data", "Target": "/data", "VolumeOptions": {"NoCopy": true, "Labels": {"x": "y"}}},
                        {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true, "BindOptions": {"Propagation": "rprivate"}},
                        {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1024, "Mode": 448}}],
                    "StopGracePeriod": 3000000000i64,
                    "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1000000000, "Timeout": 2000000000i64, "Retries": 3},
                    "Hosts": ["1.2.3.4 h"], "DNSConfig": {"Nameservers": ["1.1.1.1"]},
                    "Secrets": [{"File": {"Name": "s", "UID": "0", "GID": "0", "Mode": 292}, "SecretID": "0123456789abcdefghijklmno", "SecretName": "s"}],
                    "Configs": [{"File": {"Name": "/c", "UID": "0", "GID": "0", "Mode": 292}, "ConfigID": "0123456789abcdefghijklmno", "ConfigName": "c"}],
                    "Isolation": "default", "Sysctls": {"net.core.somaxconn": "1"}, "CapabilityAdd": ["CAP_NET_ADMIN"],
                    "CapabilityDrop": ["CAP_CHOWN"], "Ulimits": [{"Name": "nofile", "Hard": 2, "Soft": 1}], "OomScoreAdj": 5,
                },
                "Resources": {
                    "Limits": {"NanoCPUs": 500000000, "MemoryBytes": 67108864, "Pids": 10},
                    "Reservations": {"NanoCPUs": 1, "GenericResources": [{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 2}}]},
                },
                "RestartPolicy": {"Condition": "on-failure", "Delay": 1000000000, "MaxAttempts": 3, "Window": 60000000000i64},
                "Placement": {
                    "Constraints": ["node.role==worker"], "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
                    "MaxReplicas": 2, "Platforms": [{"Architecture": "amd64", "OS": "linux"}],
                },
                "Networks": [{"Target": "net", "Aliases": ["n"]}],
                "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m"}},
                "ForceUpdate": 1, "Runtime": "container",
            },
            "Mode": {"Replicated": {"Replicas": 3}},
            "UpdateConfig": {"Parallelism": 2, "Delay": 5000000000i64, "FailureAction": "rollback", "Monitor": 1000000000, "MaxFailureRatio": 0.1, "Order": "start-first"},
            "RollbackConfig": {"Parallelism": 1, "FailureAction": "pause", "MaxFailureRatio": 0, "Order": "stop-first"},
            "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}]},
        })
    }

    #[test]
    fn a_service_with_every_setting_reads_and_writes_the_same() {
        let spec = read_service_spec(&full()).unwrap();
        let written = service_spec(&spec);
        assert_eq!(written, full());
        serde_json::from_value::<docker_api::models::ServiceSpec>(written).unwrap();
    }

    #[test]
    fn defaults_are_swarmkits() {
        let spec =
            read_service_spec(&json!({"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "i"}}})).unwrap();
        let shown = service_spec(&with_defaults(&spec));
        assert_eq!(shown["Mode"], json!({"Replicated": {"Replicas": 1}}));
        assert_eq!(
            shown["TaskTemplate"]["RestartPolicy"],
            json!({"Condition": "any", "Delay": 5_000_000_000_i64, "MaxAttempts": 0})
        );
        assert_eq!(shown["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"], 10_000_000_000_i64);
        assert_eq!(shown["UpdateConfig"]["Monitor"], 5_000_000_000_i64);
        assert_eq!(service_spec(&spec).get("UpdateConfig"), None);
    }

    #[test]
    fn what_has_no_place_here_is_refused_by_name() {
        for (pointer, value, message) in [
            ("/TaskTemplate/Runtime", json!("plugin"), "unsupported runtime"),
            ("/TaskTemplate/PluginSpec", json!({"Name": "x"}), "ServiceSpec.TaskTemplate.PluginSpec is not supported"),
            (
                "/TaskTemplate/ContainerSpec/Privileges/Seccomp",
                json!({"Mode": "unconfined"}),
                "Privileges.Seccomp is not supported",
            ),
            ("/Mode", json!({"Global": {}, "Replicated": {}}), "must specify only one service mode"),
            ("/UpdateConfig/FailureAction", json!("explode"), "unrecognized update failure action explode"),
            ("/EndpointSpec/Ports/0/PublishedPort", json!(65_536), "invalid published port (65536): a port is at most"),
            ("/EndpointSpec/Ports/0/TargetPort", json!(65_536), "invalid target port (65536): a port is at most"),
            ("/EndpointSpec/Ports/0/PublishedPort", json!(-1), "cannot unmarshal number -1"),
            ("/EndpointSpec/Ports/0/PublishedPort", json!(4_294_967_296i64), "of type uint32"),
            ("/RollbackConfig/FailureAction", json!("rollback"), "unrecognized update failure action rollback"),
            ("/TaskTemplate/RestartPolicy/Condition", json!("x"), "invalid RestartCondition"),
            ("/Mode/Replicated/Replicas", json!(-1), "of type uint64"),
            ("/TaskTemplate/ContainerSpec/StopGracePeriod", json!(-5), "cannot be negative"),
        ] {
            let mut body = full();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[key] = value;
            let error = read_service_spec(&body).unwrap_err().to_string();
            assert!(error.contains(message), "{pointer}: {error}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[A-Z][a-z]{1,5}", inner, 0..3).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_anywhere_reads_or_is_refused(value in any_json(), at in 0usize..200) {
            // puts the value in place of the at-th field of the full spec
            let mut body = full();
            let mut paths = Vec::new();
            collect(&body, String::new(), &mut paths);
            let path = &paths[at % paths.len()];
            if let Some(slot) = body.pointer_mut(path) {
                *slot = value;
            }
            if let Ok(spec) = read_service_spec(&body) {
                // what was read is written so that it reads the same again
                let again = read_service_spec(&service_spec(&spec)).unwrap();
                prop_assert_eq!(service_spec(&again), service_spec(&spec));
            }
        }
    }

    fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| collect(value, format!("{path}/{}", key.replace('/', "~1")), paths))
            }
            Value::Array(values) => {
                values.iter().enumerate().for_each(|(at, value)| collect(value, format!("{path}/{at}"), paths))
            }
            _ => {}
        }
        if !path.is_empty() {
            paths.push(path);
        }
    }
}
