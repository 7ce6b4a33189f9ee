//! `inspect`: objects as the engine sent them, indented, or through a template.

use go_template::print::go_json_escaped;
use go_template::{Absent, Template};
use serde_json::{Value, json};

/// Objects as an indented array, or each through the template on its own line. `type_name` is Go's name of the
/// objects, where Docker knows it. Returns what could be rendered, and why the rest could not.
pub fn render(format: &str, objects: &[Value], type_name: Option<&'static str>) -> (String, Vec<String>) {
    // Docker shows objects of known type as Go writes them, and others byte for byte as the engine sent them.
    let finish = |json: String| match type_name {
        Some(_) => go_json_escaped(&json) + "\n",
        None => json + "\n",
    };
    match format {
        "" if objects.is_empty() => ("[]\n".into(), Vec::new()),
        "" => match indented(&Value::from(objects.to_vec())) {
            Ok(text) => (finish(text), Vec::new()),
            Err(error) => (String::new(), vec![error]),
        },
        "json" => (finish(Value::from(objects.to_vec()).to_string()), Vec::new()),
        format => through_template(format, objects, type_name),
    }
}

fn through_template(format: &str, objects: &[Value], type_name: Option<&'static str>) -> (String, Vec<String>) {
    let (mut out, mut failures) = (String::new(), Vec::new());
    match parse(format) {
        Ok(template) => {
            for object in objects {
                match template.execute(object, Absent::Zero { zero, type_name }) {
                    Ok(line) => out.push_str(&(line + "\n")),
                    Err(error) => failures.push(format!("template parsing error: {error}")),
                }
            }
        }
        Err(error) => failures.push(error),
    }
    // Docker ends its output with a line even where there is none.
    if out.is_empty() {
        out.push('\n');
    }
    (out, failures)
}

/// What an absent field means for objects of which Docker does not know the type either.
pub const UNTYPED: Absent = Absent::Zero { zero, type_name: None };

/// Parses a template with the words that Docker puts before a failure.
pub fn parse(format: &str) -> Result<Template, String> {
    Template::parse(format).map_err(|e| format!("template parsing error: {e}"))
}

/// Four spaces, as Docker indents.
pub fn indented(value: &Value) -> Result<String, String> {
    use serde::Serialize;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    value.serialize(&mut serializer).map_err(|e| e.to_string())?;
    String::from_utf8(out).map_err(|e| e.to_string())
}

/// What a field is that the engine left out because it is empty. Go knows it from the type of the object.
pub fn zero(field: &str) -> Option<Value> {
    Some(match field {
        "Labels" | "Options" | "Opts" | "DriverOpts" | "Sysctls" | "Containers" | "Annotations" | "Volumes"
        | "StorageOpt" | "Services" => json!({}),
        "Env"
        | "Args"
        | "Command"
        | "Groups"
        | "Mounts"
        | "Secrets"
        | "Configs"
        | "Ports"
        | "Networks"
        | "Constraints"
        | "Hosts"
        | "Preferences"
        | "Platforms"
        | "VirtualIPs"
        | "Ulimits"
        | "CapabilityAdd"
        | "CapabilityDrop"
        | "GenericResources"
        | "Addresses"
        | "NetworksAttachments"
        | "Aliases"
        | "Nameservers"
        | "Search"
        | "RepoDigests"
        | "RepoTags"
        | "ExternalCAs"
        | "DefaultAddrPool"
        | "RemoteManagers"
        | "Warnings"
        | "Plugins"
        | "Volume"
        | "Cmd"
        | "Entrypoint"
        | "Peers"
        | "Data"
        | "Test" => json!([]),
        "Replicas" | "Parallelism" | "Delay" | "Monitor" | "MaxFailureRatio" | "MaxReplicas" | "NanoCPUs"
        | "MemoryBytes" | "Pids" | "ForceUpdate" | "MaxAttempts" | "Window" | "Slot" | "ExitCode" | "PID" | "Pid"
        | "Interval" | "Timeout" | "StartPeriod" | "StartInterval" | "Retries" | "PublishedPort" | "TargetPort"
        | "Managers" | "Nodes" | "SubnetSize" | "DataPathPort" | "StopTimeout" | "RunningTasks" | "DesiredTasks"
        | "CompletedTasks" | "Size" | "SizeRw" | "SizeRootFs" | "OomScoreAdj" => {
            json!(0)
        }
        "TTY"
        | "ReadOnly"
        | "OpenStdin"
        | "StdinOnce"
        | "Leader"
        | "AutoLockManagers"
        | "Ingress"
        | "Internal"
        | "Attachable"
        | "ConfigOnly"
        | "EnableIPv4"
        | "EnableIPv6"
        | "NoCopy"
        | "RootRotationInProgress"
        | "ControlAvailable" => json!(false),
        "Name" | "Hostname" | "Dir" | "User" | "StopSignal" | "Isolation" | "Err" | "Error" | "Message" | "Addr"
        | "Image" | "NodeID" | "ServiceID" | "ContainerID" | "FailureAction" | "Order" | "State" | "Mode"
        | "Source" | "Target" | "Condition" | "Scope" | "Driver" | "Cluster_ID" | "NodeAddr" | "Comment" | "Author"
        | "Variant" | "Status" | "Reachability" => json!(""),
        "PreviousSpec"
        | "UpdateStatus"
        | "UpdateConfig"
        | "RollbackConfig"
        | "RestartPolicy"
        | "LogDriver"
        | "Placement"
        | "Resources"
        | "Limits"
        | "Reservations"
        | "Healthcheck"
        | "Health"
        | "ManagerStatus"
        | "Global"
        | "Replicated"
        | "ReplicatedJob"
        | "GlobalJob"
        | "JobStatus"
        | "JobIteration"
        | "ServiceStatus"
        | "Init"
        | "StopGracePeriod"
        | "DNSConfig"
        | "Privileges"
        | "EndpointSpec"
        | "ContainerStatus"
        | "Cluster"
        | "TLSInfo"
        | "BindOptions"
        | "VolumeOptions"
        | "TmpfsOptions"
        | "ConfigFrom"
        | "Templating"
        | "IPAM"
        | "Descriptor"
        | "UsageData"
        | "TaskHistoryRetentionLimit"
        | "KeepOldSnapshots" => Value::Null,
        "DeletedAt" | "CompletedAt" | "StartedAt" | "FinishedAt" => json!(docker_api::time::ZERO),
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_indented_by_four() {
        let objects = [json!({"A": {"B": "a>b"}, "C": [], "D": {}})];
        let expected = "[\n    {\n        \"A\": {\n            \"B\": \"a\\u003eb\"\n        },\n        \"C\": [],\n        \"D\": {}\n    }\n]\n";
        assert_eq!(render("", &objects, Some("x")), (expected.into(), vec![]));
        assert_eq!(render("", &[], None).0, "[]\n");
    }

    #[test]
    fn absent_fields_of_objects_are_zero_and_unknown_ones_an_error() {
        let objects = [json!({"Spec": {"Labels": {"a": "1"}}, "TLS": {"x": 1}})];
        let format = "{{.Spec.Env}} {{.Spec.Labels.a}} {{.Spec.Labels.b}} {{.UpdateStatus}}";
        assert_eq!(render(format, &objects, None), ("[] 1 <no value> <nil>\n".into(), vec![]));
        let error = |format, type_name| render(format, &objects, type_name).1.remove(0);
        let start = "template parsing error: template: :1";
        assert_eq!(
            error("{{.Foo}}", None),
            format!("{start}:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"")
        );
        assert_eq!(
            error("{{.Foo}}", Some("swarm.Service")),
            format!("{start}:2: executing \"\" at <.Foo>: can't evaluate field Foo in type swarm.Service")
        );
        assert_eq!(
            error("{{.UpdateStatus.State}}", None),
            format!(
                "{start}:15: executing \"\" at <.UpdateStatus.State>: nil pointer evaluating *swarm.UpdateStatus.State"
            )
        );
    }
}
