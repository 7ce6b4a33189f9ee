//! The published JSON schema of `lab.toml` knows exactly the keys that the parser knows.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use lab::{keys, limits};
use serde_json::Value;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../labs/lab.schema.json")).unwrap()
}

fn same(at: &Value, keys: &[&[&str]]) {
    let published: BTreeSet<&str> = at["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let parsed: BTreeSet<&str> = keys.iter().flat_map(|k| k.iter().copied()).collect();
    assert_eq!(published, parsed);
    assert_eq!(at["additionalProperties"], false);
}

#[test]
fn the_schema_has_the_keys_of_the_parser() {
    let schema = schema();
    let defs = &schema["$defs"];
    same(&schema, &[keys::TOP_KEYS]);
    same(&schema["properties"]["cluster"], &[keys::CLUSTER_KEYS]);
    same(&defs["step"], &[keys::STEP_KEYS]);
    same(&defs["step"]["properties"]["skip"], &[keys::ENGINES]);
    same(&defs["line"], &[keys::LINE_KEYS]);
    same(&defs["eventually"], &[keys::EVENTUALLY_KEYS]);
    same(&defs["predicate"]["oneOf"][1], &[keys::PREDICATE_KEYS]);
    same(&defs["api_check"], &[keys::CHECK_KEYS, keys::API_KEYS]);
    same(&defs["command_check"], &[keys::CHECK_KEYS, keys::COMMAND_KEYS]);
    same(&defs["http_check"], &[keys::CHECK_KEYS, keys::HTTP_KEYS]);
    same(&defs["file_check"], &[keys::CHECK_KEYS, keys::FILE_KEYS]);
    same(&defs["dns_check"], &[keys::CHECK_KEYS, keys::DNS_KEYS]);
}

#[test]
fn the_schema_has_the_limits_and_names_of_the_parser() {
    let schema = schema();
    let step = &schema["$defs"]["step"]["properties"];
    let features: Vec<&str> =
        step["requires"]["items"]["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(features, keys::FEATURES);
    assert_eq!(schema["properties"]["format_version"]["const"], lab::FORMAT_VERSION);
    assert_eq!(schema["properties"]["step"]["maxItems"], limits::STEPS);
    assert_eq!(schema["properties"]["cluster"]["properties"]["managers"]["maximum"], limits::MANAGERS);
    assert_eq!(schema["properties"]["cluster"]["properties"]["workers"]["maximum"], limits::WORKERS);
    assert_eq!(step["hints"]["maxItems"], limits::HINTS);
    assert_eq!(step["points"]["maximum"], limits::POINTS);
    assert_eq!(step["check"]["maxItems"], limits::CHECKS);
    assert_eq!(schema["$defs"]["http_check"]["properties"]["requests"]["maximum"], limits::REQUESTS);
    assert_eq!(schema["$defs"]["command_check"]["properties"]["times"]["maximum"], limits::REQUESTS);
}
