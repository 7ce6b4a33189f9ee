//! Networks: the list.

use super::list::Kind;
use super::{LABEL_METHOD, go_time, labels, row, short_id};
use crate::spec::json::{at, text, truth};
use docker_api::time::UnixTime;
use serde_json::{Value, json};

/// `docker network ls`
pub const LIST: Kind = Kind {
    headers: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    type_name: "*network.networkContext",
    raw: Some((
        "network_id: {{.ID}}",
        "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
    )),
};

/// A network as a row.
pub fn list_row(network: &Value, trunc: bool) -> Value {
    let id = text(network, "Id");
    let created = UnixTime::parse_rfc3339(text(network, "Created")).unwrap_or_default();
    row([
        ("ID", json!(if trunc { short_id(id) } else { id.to_owned() })),
        ("Name", json!(text(network, "Name"))),
        ("Driver", json!(text(network, "Driver"))),
        ("Scope", json!(text(network, "Scope"))),
        ("IPv4", json!(truth(network, "EnableIPv4").to_string())),
        ("IPv6", json!(truth(network, "EnableIPv6").to_string())),
        ("Internal", json!(truth(network, "Internal").to_string())),
        ("Labels", json!(labels(at(network, "Labels"), false))),
        (LABEL_METHOD, at(network, "Labels").cloned().unwrap_or_default()),
        ("CreatedAt", json!(go_time(created))),
    ])
}
