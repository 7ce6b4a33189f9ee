//! The Docker Engine HTTP API as data: what travels between any Docker client and a node.
//!
//! Object models are the generated ones of `bollard-stubs` ([`models`]). This crate adds what the generated
//! models lack: query parameters ([`query`]), `filters` ([`filters`]), the error body ([`ErrorBody`]), versions
//! ([`version`]), the multiplexed log and attach stream ([`frame`]), times ([`time`]), image references
//! ([`reference`]) and the size limits that both ends keep ([`limits`]).
//!
//! Left out: any IO, the routes themselves (swarm-node), registry credentials, and every decision about objects.

pub use bollard_stubs::models;

mod error;
pub mod filters;
pub mod frame;
pub mod limits;
pub mod query;
pub mod reference;
pub mod time;
pub mod version;

pub use error::ErrorBody;
pub use filters::{FilterError, Filters};
pub use query::{Query, QueryError, QueryParams};
pub use reference::{ImageReference, ReferenceError};
pub use version::ApiVersion;
