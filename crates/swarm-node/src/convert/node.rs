//! Nodes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use swarm_types::{
    Node, NodeAvailability, NodeDescription, NodeMembership, NodeRole, NodeSpec, NodeState, NodeTlsInfo, Reachability,
};

use super::{Fields, InvalidField, Result, Writer, annotations, object, read_annotations, service::generic};

/// `GET /nodes/{id}`
pub fn node(from: &Node) -> Value {
    let spec = annotations(Writer::default(), &from.spec.annotations)
        .put("Role", role(from.spec.desired_role))
        .put("Availability", availability(from.spec.availability));
    let state = match from.status.state {
        NodeState::Unknown => "unknown",
        NodeState::Down => "down",
        NodeState::Ready => "ready",
        NodeState::Disconnected => "disconnected",
    };
    let status =
        Writer::default().put("State", state).text("Message", &from.status.message).text("Addr", &from.status.addr);
    let manager = from.manager_status.as_ref().map(|manager| {
        let reachability = match manager.reachability {
            Reachability::Unknown => "unknown",
            Reachability::Unreachable => "unreachable",
            Reachability::Reachable => "reachable",
        };
        Writer::default()
            .flag("Leader", manager.leader)
            .put("Reachability", reachability)
            .text("Addr", &manager.addr)
            .build()
    });
    object(from.id, &from.meta)
        .put("Spec", spec.build())
        .put(
            "Description",
            from.description
                .as_ref()
                .map_or_else(|| json!({"Platform": {}, "Resources": {}, "Engine": {}, "TLSInfo": {}}), description),
        )
        .put("Status", status.build())
        .some("ManagerStatus", manager)
        .build()
}

/// `worker` or `manager`.
pub fn role(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Worker => "worker",
        NodeRole::Manager => "manager",
    }
}

/// `active`, `pause`, `drain`.
pub fn availability(availability: NodeAvailability) -> &'static str {
    match availability {
        NodeAvailability::Active => "active",
        NodeAvailability::Pause => "pause",
        NodeAvailability::Drain => "drain",
    }
}

fn description(from: &NodeDescription) -> Value {
    let resources = Writer::default()
        .number("NanoCPUs", from.resources.nano_cpus)
        .number("MemoryBytes", from.resources.memory_bytes)
        .list("GenericResources", from.resources.generic.iter().map(generic));
    let engine = Writer::default()
        .text("EngineVersion", &from.engine_version)
        .map("Labels", &from.engine_labels)
        .list("Plugins", from.plugins.iter().map(|(kind, name)| json!({"Type": kind, "Name": name})));
    Writer::default()
        .text("Hostname", &from.hostname)
        .put("Platform", Writer::default().text("Architecture", &from.architecture).text("OS", &from.os).build())
        .put("Resources", resources.build())
        .put("Engine", engine.build())
        .put("TLSInfo", tls_info(&from.tls))
        .build()
}

/// The certificates that a node or the swarm uses.
pub fn tls_info(from: &NodeTlsInfo) -> Value {
    let base64 = |bytes: &[u8]| if bytes.is_empty() { String::new() } else { STANDARD.encode(bytes) };
    Writer::default()
        .text("TrustRoot", &from.trust_root)
        .text("CertIssuerSubject", &base64(&from.cert_issuer_subject))
        .text("CertIssuerPublicKey", &base64(&from.cert_issuer_public_key))
        .build()
}

/// The body of `POST /nodes/{id}/update`.
pub fn read_node_spec(body: &Value) -> Result<NodeSpec> {
    let fields = Fields::new(body, "NodeSpec")?;
    let desired_role = read_role(&fields.string("Role")?)?;
    Ok(NodeSpec {
        annotations: read_annotations(&fields)?,
        desired_role,
        membership: NodeMembership::Accepted,
        availability: read_availability(&fields.string("Availability")?)?,
    })
}

/// `worker` or `manager`.
pub fn read_role(text: &str) -> Result<NodeRole> {
    match text {
        "worker" => Ok(NodeRole::Worker),
        "manager" => Ok(NodeRole::Manager),
        other => Err(InvalidField::Value(format!("invalid Role: {other:?}"))),
    }
}

/// `active`, `pause`, `drain`.
pub fn read_availability(text: &str) -> Result<NodeAvailability> {
    match text.to_ascii_lowercase().as_str() {
        "active" => Ok(NodeAvailability::Active),
        "pause" => Ok(NodeAvailability::Pause),
        "drain" => Ok(NodeAvailability::Drain),
        _ => Err(InvalidField::Value(format!("invalid Availability: {text:?}"))),
    }
}
