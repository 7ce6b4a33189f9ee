//! From flags to the JSON that the engine takes. All pure: what must be looked up (network, secret and config ids, files)
//! is passed in.
//!
//! Specifications are built and changed as JSON, not as typed structs: `service update` reads a specification,
//! changes a few fields and sends it back, and must not lose a field that this program does not know.

pub mod addresses;
pub mod create;
pub mod json;
pub mod networks;
pub mod ports;
pub mod run;
pub mod update;
pub mod values;
