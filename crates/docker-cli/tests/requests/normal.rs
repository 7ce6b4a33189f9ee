//! Requests in a form in which two that mean the same are equal: Go sends most empty fields and we send none, and lists
//! that Docker makes of maps come in any order.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fields that mean something although they are zero: Go has pointers there.
const POINTERS: &[&str] = &[
    "Init",
    "Replicas",
    "StopGracePeriod",
    "EnableIPv4",
    "EnableIPv6",
    "StopTimeout",
    "TotalCompletions",
    "MaxConcurrent",
    "MaxAttempts",
    "Window",
    "Delay",
    "Parallelism",
    "TaskHistoryRetentionLimit",
    "Global",
    "GlobalJob",
    "Replicated",
    "ReplicatedJob",
];

/// Objects of which every key counts, whatever its value.
const MAPS: &[&str] = &[
    "Labels",
    "Options",
    "DriverOpts",
    "Sysctls",
    "Annotations",
    "Tmpfs",
    "AuxiliaryAddresses",
    "EndpointsConfig",
    "ExposedPorts",
    "PortBindings",
    "Volumes",
];

/// Lists in no order.
const SETS: &[&str] = &["Ports", "Config", "Binds"];

/// The request without what says nothing.
pub fn normalise(request: &Value) -> Value {
    let mut out = request.clone();
    if let Some(body) = out.get_mut("body") {
        *body = prune(body);
    }
    out
}

fn prune(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let mut out = Map::new();
            for key in keys {
                let mut value = prune(&map[key]);
                if MAPS.contains(&key.as_str())
                    && let Value::Object(entries) = &map[key]
                {
                    let entries: BTreeMap<&String, Value> = entries.iter().map(|(k, v)| (k, prune(v))).collect();
                    value = Value::Object(entries.into_iter().map(|(k, v)| (k.clone(), v)).collect());
                }
                if SETS.contains(&key.as_str())
                    && let Value::Array(items) = &mut value
                {
                    items.sort_by_key(Value::to_string);
                }
                // Docker's client says that it says nothing.
                let is_default = key == "MemorySwappiness" && value == -1;
                // The size of the terminal that the tests happen to run in.
                let counts = !says_nothing(&value) || POINTERS.contains(&key.as_str()) && !value.is_null();
                if counts && key != "ConsoleSize" && !is_default {
                    out.insert(key.clone(), value);
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => Value::Array(items.iter().map(prune).collect()),
        other => other.clone(),
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
