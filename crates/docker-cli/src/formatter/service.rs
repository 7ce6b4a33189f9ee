//! Services: the list.

use super::list::Kind;
use super::{display_image, row, short_id};
use crate::spec::json::{array, at, int, text};
use serde_json::{Value, json};

/// `docker service ls`
pub const LIST: Kind = Kind {
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Mode", "MODE"),
        ("Replicas", "REPLICAS"),
        ("Image", "IMAGE"),
        ("Ports", "PORTS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
    type_name: "*service.serviceContext",
    raw: Some((
        "id: {{.ID}}",
        "id: {{.ID}}\nname: {{.Name}}\nmode: {{.Mode}}\nreplicas: {{.Replicas}}\nimage: {{.Image}}\nports: {{.Ports}}\n",
    )),
};

/// A service as a row.
pub fn list_row(service: &Value) -> Value {
    row([
        ("ID", json!(short_id(text(service, "ID")))),
        ("Name", json!(text(service, "Spec.Name"))),
        ("Mode", json!(mode(service))),
        ("Replicas", json!(replicas(service))),
        ("Image", json!(display_image(text(service, "Spec.TaskTemplate.ContainerSpec.Image")))),
        ("Ports", json!(ports(service))),
    ])
}

/// The mode in words.
pub fn mode(service: &Value) -> &'static str {
    let modes = [
        ("Global", "global"),
        ("Replicated", "replicated"),
        ("ReplicatedJob", "replicated job"),
        ("GlobalJob", "global job"),
    ];
    let mode = at(service, "Spec.Mode");
    modes.iter().find(|(key, _)| mode.is_some_and(|m| at(m, key).is_some())).map_or("", |(_, words)| words)
}

fn replicas(service: &Value) -> String {
    let count = |key: &str| int(service, &format!("ServiceStatus.{key}"));
    let (running, desired, completed) = (count("RunningTasks"), count("DesiredTasks"), count("CompletedTasks"));
    match mode(service) {
        "replicated job" => {
            let total = int(service, "Spec.Mode.ReplicatedJob.TotalCompletions");
            format!("{running}/{desired} ({completed}/{total} completed)")
        }
        "global job" => format!("{running}/{desired} ({completed}/{} completed)", desired + completed),
        mode => match int(service, "Spec.TaskTemplate.Placement.MaxReplicas") {
            most if most > 0 && mode == "replicated" => {
                format!("{running}/{desired} (max {most} per node)")
            }
            _ => format!("{running}/{desired}"),
        },
    }
}

#[derive(Clone, Copy)]
struct Range<'a> {
    published: (i64, i64),
    target: (i64, i64),
    protocol: &'a str,
}

/// Ports of the routing mesh, neighbours joined to ranges: `*:80-81->80-81/tcp`.
fn ports(service: &Value) -> String {
    let Some(endpoint) = at(service, "Endpoint") else {
        return String::new();
    };
    let mut ports: Vec<&Value> = array(endpoint, "Ports").iter().collect();
    ports.sort_by_key(|port| (text(port, "Protocol"), int(port, "PublishedPort")));
    let mut ranges: Vec<Range<'_>> = Vec::new();
    for port in ports.into_iter().filter(|port| text(port, "PublishMode") == "ingress") {
        let (published, target, protocol) =
            (int(port, "PublishedPort"), int(port, "TargetPort"), text(port, "Protocol"));
        if let Some(last) = ranges.last_mut() {
            let is_range = last.target.0 != last.target.1;
            let continues = protocol == last.protocol
                && published - last.published.1 <= 1
                // Two equal targets in a row join; one below the last never does.
                && (0..=1).contains(&(target - last.target.1))
                && !(is_range && target <= last.target.1);
            if continues {
                last.published.1 = published;
                last.target.1 = target;
                continue;
            }
        }
        ranges.push(Range { published: (published, published), target: (target, target), protocol });
    }
    let span = |(a, b): (i64, i64)| {
        if b > a { format!("{a}-{b}") } else { a.to_string() }
    };
    // A port that is not chosen yet is not shown.
    let shown = ranges.iter().filter(|r| r.published.0 > 0);
    let texts: Vec<String> =
        shown.map(|r| format!("*:{}->{}/{}", span(r.published), span(r.target), r.protocol)).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_ports(ports: &[(i64, i64, &str)]) -> String {
        let ports: Vec<Value> = ports
            .iter()
            .map(|(p, t, proto)| json!({"PublishedPort": p, "TargetPort": t, "Protocol": proto, "PublishMode": "ingress"}))
            .collect();
        super::ports(&json!({ "Endpoint": { "Ports": ports } }))
    }

    #[test]
    fn neighbouring_ports_join() {
        assert_eq!(with_ports(&[(80, 80, "tcp")]), "*:80->80/tcp");
        assert_eq!(
            with_ports(&[(80, 80, "tcp"), (81, 81, "tcp"), (90, 80, "tcp")]),
            "*:80-81->80-81/tcp, *:90->80/tcp"
        );
        assert_eq!(with_ports(&[(80, 80, "tcp"), (81, 80, "tcp")]), "*:80-81->80/tcp");
        assert_eq!(with_ports(&[(53, 53, "udp"), (53, 53, "tcp")]), "*:53->53/tcp, *:53->53/udp");
    }

    #[test]
    fn jobs_show_what_is_completed() {
        let job = json!({"Spec": {"Mode": {"ReplicatedJob": {"TotalCompletions": 5}}}, "ServiceStatus": {"RunningTasks": 1, "DesiredTasks": 2, "CompletedTasks": 3}});
        assert_eq!(list_row(&job)["Replicas"], "1/2 (3/5 completed)");
        assert_eq!(list_row(&job)["Mode"], "replicated job");
    }
}
