//! Between the Docker Engine API's JSON and the project's own types: the only place where one becomes the other.
//!
//! Reading goes through [`json::Fields`], which keeps Go's rules (names match without regard to case, `null` is
//! absence, a wrong type is named with its path). Writing goes through [`json::Writer`], which keeps Go's other
//! rule: empty values are left out where Docker's types say `omitempty`, and stand there where they do not.
//!
//! The generated models of `bollard-stubs` are used as a check in tests, not for reading: they spell some fields
//! otherwise than engines and clients do (`HealthCheck`), refuse `null` in lists, and lose the path of an error.
//!
//! Left out: any decision about an object. What a field may hold beyond its type is the control API's business;
//! only fields that this engine has no place for are refused here, by name.

pub mod container;
pub mod container_inspect;
pub mod container_spec;
pub mod json;
pub mod mount;
pub mod network;
pub mod network_inspect;
pub mod node;
pub mod ports;
pub mod secret;
pub mod service;
pub mod swarm;
pub mod task;

use serde_json::{Value, json};
use swarm_types::{Annotations, Driver, Meta, Timestamp};

pub use json::{Fields, InvalidField, Writer};

/// Result of reading.
pub type Result<T> = std::result::Result<T, InvalidField>;

/// A time as Go prints it; "never" is Go's zero time.
pub fn time(at: Timestamp) -> String {
    if at.is_zero() { docker_api::time::ZERO.into() } else { at.to_string() }
}

/// `ID`, `Version`, `CreatedAt`, `UpdatedAt`: how each swarm object begins.
pub(crate) fn object(id: impl ToString, meta: &Meta) -> Writer {
    Writer::default()
        .put("ID", id.to_string())
        .put("Version", json!({ "Index": meta.version.0 }))
        .put("CreatedAt", time(meta.created_at))
        .put("UpdatedAt", time(meta.updated_at))
}

/// `Name` and `Labels`, which stand flat in a spec.
pub(crate) fn annotations(writer: Writer, from: &Annotations) -> Writer {
    writer.text("Name", &from.name).put("Labels", json!(from.labels))
}

pub(crate) fn read_annotations(fields: &Fields<'_>) -> Result<Annotations> {
    Ok(Annotations { name: fields.string("Name")?, labels: fields.map("Labels")? })
}

pub(crate) fn driver(from: &Driver) -> Value {
    Writer::default().text("Name", &from.name).map("Options", &from.options).build()
}

pub(crate) fn read_driver(fields: &Fields<'_>) -> Result<Driver> {
    Ok(Driver { name: fields.string("Name")?, options: fields.map("Options")? })
}
