//! Secrets and configs: lists, and the pages of `inspect --pretty`.

use super::list::Kind;
use super::units::human_duration;
use super::{LABEL_METHOD, age, go_time, labels, row};
use crate::spec::json::{at, from_base64, text};
use docker_api::time::UnixTime;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// `docker secret ls`
pub const SECRETS: Kind = Kind {
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("CreatedAt", "CREATED"),
        ("UpdatedAt", "UPDATED"),
        ("Labels", "LABELS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
    type_name: "*secret.secretContext",
    raw: None,
};

/// `docker config ls`
pub const CONFIGS: Kind = Kind {
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("CreatedAt", "CREATED"),
        ("UpdatedAt", "UPDATED"),
        ("Labels", "LABELS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
    type_name: "*config.configContext",
    raw: None,
};

/// A secret as a row.
pub fn secret_row(secret: &Value, now: UnixTime) -> Value {
    let mut row = config_row(secret, now);
    row["Driver"] = json!(text(secret, "Spec.Driver.Name"));
    row
}

/// A config as a row.
pub fn config_row(object: &Value, now: UnixTime) -> Value {
    let ago = |key| format!("{} ago", human_duration(age(text(object, key), now)));
    row([
        ("ID", json!(text(object, "ID"))),
        ("Name", json!(text(object, "Spec.Name"))),
        ("CreatedAt", json!(ago("CreatedAt"))),
        ("UpdatedAt", json!(ago("UpdatedAt"))),
        ("Labels", json!(labels(at(object, "Spec.Labels"), false))),
        (LABEL_METHOD, at(object, "Spec.Labels").cloned().unwrap_or_default()),
    ])
}

/// `docker secret inspect --pretty`
pub fn secret_page(secret: &Value) -> String {
    // Docker puts eight spaces here and tabs on the page of configs.
    let mut out = head(secret, "ID:              ", "Name:              ");
    let _ = write!(out, "\nDriver:            {}", text(secret, "Spec.Driver.Name"));
    times(&mut out, secret, "Created at:        ", "Updated at:        ");
    out
}

/// `docker config inspect --pretty`
pub fn config_page(config: &Value) -> String {
    let mut out = head(config, "ID:\t\t\t", "Name:\t\t\t");
    times(&mut out, config, "Created at:            \t", "Updated at:            \t");
    let data = from_base64(text(config, "Spec.Data")).unwrap_or_default();
    let _ = writeln!(out, "Data:\n{}", String::from_utf8_lossy(&data));
    out
}

// Writing to a String does not fail.
fn head(object: &Value, id: &str, name: &str) -> String {
    let mut out = format!("{id}{}\n{name}{}", text(object, "ID"), text(object, "Spec.Name"));
    let found: BTreeMap<_, _> = at(object, "Spec.Labels").and_then(Value::as_object).into_iter().flatten().collect();
    if !found.is_empty() {
        out.push_str("\nLabels:");
    }
    for (key, value) in found {
        match value.as_str().unwrap_or("") {
            "" => _ = write!(out, "\n - {key}"),
            value => _ = write!(out, "\n - {key}={value}"),
        }
    }
    out
}

fn times(out: &mut String, object: &Value, created: &str, updated: &str) {
    for (title, key) in [(created, "CreatedAt"), (updated, "UpdatedAt")] {
        let time = UnixTime::parse_rfc3339(text(object, key)).unwrap_or_default();
        let _ = write!(out, "\n{title}{}", go_time(time).to_lowercase());
    }
    out.push('\n');
}
