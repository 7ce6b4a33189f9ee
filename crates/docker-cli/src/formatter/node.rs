//! Nodes: the list, and the page of `node inspect --pretty`.

use super::list::Kind;
use super::units::bytes_size;
use super::{capitalize, row};
use crate::spec::json::{array, at, int, text, truth};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// `docker node ls`
pub const LIST: Kind = Kind {
    headers: &[
        ("ID", "ID"),
        ("Self", ""),
        ("Hostname", "HOSTNAME"),
        ("Status", "STATUS"),
        ("Availability", "AVAILABILITY"),
        ("ManagerStatus", "MANAGER STATUS"),
        ("EngineVersion", "ENGINE VERSION"),
        ("TLSStatus", "TLS STATUS"),
    ],
    table: "{{.ID}} {{if .Self}}*{{else}} {{ end }}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}",
    type_name: "*node.nodeContext",
    raw: Some((
        "node_id: {{.ID}}",
        "node_id: {{.ID}}\nhostname: {{.Hostname}}\nstatus: {{.Status}}\navailability: {{.Availability}}\nmanager_status: {{.ManagerStatus}}\n",
    )),
};

/// A node as a row. `info` is the engine's, for its own id and the cluster's certificates.
pub fn list_row(node: &Value, info: &Value) -> Value {
    let manager = at(node, "ManagerStatus").map_or(String::new(), |status| match truth(status, "Leader") {
        true => "Leader".into(),
        false => capitalize(text(status, "Reachability")),
    });
    let cluster = at(info, "Swarm.Cluster.TLSInfo");
    let own = at(node, "Description.TLSInfo");
    let tls = match (cluster, own) {
        (Some(cluster), Some(own)) if cluster == own => "Ready",
        (Some(_), Some(_)) => "Needs Rotation",
        _ => "Unknown",
    };
    row([
        ("ID", json!(text(node, "ID"))),
        ("Self", json!(text(node, "ID") == text(info, "Swarm.NodeID"))),
        ("Hostname", json!(text(node, "Description.Hostname"))),
        ("Status", json!(capitalize(text(node, "Status.State")))),
        ("Availability", json!(capitalize(text(node, "Spec.Availability")))),
        ("ManagerStatus", json!(manager)),
        ("EngineVersion", json!(text(node, "Description.Engine.EngineVersion"))),
        ("TLSStatus", json!(tls)),
    ])
}

/// `node inspect --pretty`
pub fn page(node: &Value) -> String {
    let mut out = String::new();
    let o = &mut out;
    line(o, format_args!("ID:\t\t\t{}", text(node, "ID")));
    if !text(node, "Spec.Name").is_empty() {
        line(o, format_args!("Name:\t\t\t{}", text(node, "Spec.Name")));
    }
    labels(o, "Labels:", at(node, "Spec.Labels"));
    line(o, format_args!("Hostname:              \t{}", text(node, "Description.Hostname")));
    let created = docker_api::time::UnixTime::parse_rfc3339(text(node, "CreatedAt")).unwrap_or_default();
    line(o, format_args!("Joined at:             \t{}", super::go_time(created).to_lowercase()));
    line(o, format_args!("Status:"));
    line(o, format_args!(" State:\t\t\t{}", capitalize(text(node, "Status.State"))));
    if !text(node, "Status.Message").is_empty() {
        line(o, format_args!(" Message:              \t{}", capitalize(text(node, "Status.Message"))));
    }
    line(o, format_args!(" Availability:         \t{}", capitalize(text(node, "Spec.Availability"))));
    if !text(node, "Status.Addr").is_empty() {
        line(o, format_args!(" Address:\t\t{}", text(node, "Status.Addr")));
    }
    if let Some(status) = at(node, "ManagerStatus") {
        line(o, format_args!("Manager Status:"));
        line(o, format_args!(" Address:\t\t{}", text(status, "Addr")));
        line(o, format_args!(" Raft Status:\t\t{}", capitalize(text(status, "Reachability"))));
        line(o, format_args!(" Leader:\t\t{}", if truth(status, "Leader") { "Yes" } else { "No" }));
    }
    line(o, format_args!("Platform:"));
    line(o, format_args!(" Operating System:\t{}", text(node, "Description.Platform.OS")));
    line(o, format_args!(" Architecture:\t\t{}", text(node, "Description.Platform.Architecture")));
    line(o, format_args!("Resources:"));
    line(o, format_args!(" CPUs:\t\t\t{}", int(node, "Description.Resources.NanoCPUs") / 1_000_000_000));
    let memory = match int(node, "Description.Resources.MemoryBytes") {
        0 => String::new(),
        bytes => bytes_size(bytes as f64),
    };
    line(o, format_args!(" Memory:\t\t{memory}"));
    let empty = json!({});
    let engine = at(node, "Description.Engine").unwrap_or(&empty);
    let mut plugins: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for plugin in array(engine, "Plugins") {
        plugins.entry(text(plugin, "Type")).or_default().push(text(plugin, "Name"));
    }
    if !plugins.is_empty() {
        line(o, format_args!("Plugins:"));
        for (kind, names) in plugins {
            line(o, format_args!(" {kind}:\t\t{}", names.join(", ")));
        }
    }
    line(o, format_args!("Engine Version:\t\t{}", text(engine, "EngineVersion")));
    labels(o, "Engine Labels:", at(engine, "Labels"));
    if let Some(tls) = at(node, "Description.TLSInfo") {
        line(o, format_args!("TLS Info:\n TrustRoot:\n{}", text(tls, "TrustRoot")));
        line(o, format_args!(" Issuer Subject:\t{}", text(tls, "CertIssuerSubject")));
        line(o, format_args!(" Issuer Public Key:\t{}", text(tls, "CertIssuerPublicKey")));
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "{text}");
}

fn labels(out: &mut String, title: &str, labels: Option<&Value>) {
    let Some(Value::Object(map)) = labels else {
        return;
    };
    let sorted: BTreeMap<_, _> = map.iter().collect();
    if !sorted.is_empty() {
        line(out, format_args!("{title}"));
    }
    for (key, value) in sorted {
        match value.as_str().unwrap_or("") {
            "" => line(out, format_args!(" - {key}")),
            value => line(out, format_args!(" - {key}={value}")),
        }
    }
}
