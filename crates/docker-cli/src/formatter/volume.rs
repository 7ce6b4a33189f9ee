//! Volumes: the list.

use super::list::Kind;
use super::units::human_size;
use super::{LABEL_METHOD, labels, row};
use crate::spec::json::{at, int, text};
use serde_json::{Value, json};

/// `docker volume ls`
pub const LIST: Kind = Kind {
    headers: &[
        ("ID", "VOLUME ID"),
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Group", "GROUP"),
        ("Availability", "AVAILABILITY"),
        ("Status", "STATUS"),
    ],
    table: "{{.Driver}}\t{{.Name}}",
    type_name: "*formatter.volumeContext",
    raw: Some(("name: {{.Name}}", "name: {{.Name}}\ndriver: {{.Driver}}\n")),
};

/// A volume as a row.
pub fn list_row(volume: &Value) -> Value {
    let usage = at(volume, "UsageData");
    let measured = |key: &str| usage.map(|usage| int(usage, key));
    row([
        ("Name", json!(text(volume, "Name"))),
        ("Driver", json!(text(volume, "Driver"))),
        ("Scope", json!(text(volume, "Scope"))),
        ("Mountpoint", json!(text(volume, "Mountpoint"))),
        ("Labels", json!(labels(at(volume, "Labels"), true))),
        (LABEL_METHOD, at(volume, "Labels").cloned().unwrap_or_default()),
        ("Links", json!(measured("RefCount").map_or("N/A".to_owned(), |n| n.to_string()))),
        ("Size", json!(measured("Size").map_or("N/A".to_owned(), |n| human_size(n as f64, 4)))),
        ("Group", json!("N/A")),
        ("Availability", json!("N/A")),
        ("Status", json!("N/A")),
    ])
}
