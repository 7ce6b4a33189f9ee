//! One request as the handlers see it: the node, the query, the body within its limit.

use std::sync::Arc;

use bytes::Bytes;
use docker_api::query::QueryParams;
use docker_api::{ApiVersion, limits};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use swarm_manager::control_api::{ControlRequest, ControlResponse};
use swarm_types::{Object, Version};

use super::Api;
use super::reply::{ApiError, Result};

/// One request.
pub(crate) struct Call {
    /// The node.
    pub api: Arc<Api>,
    /// Method, headers, extensions.
    pub parts: Parts,
    /// The version that the client speaks.
    pub version: ApiVersion,
    /// The body, until taken.
    pub body: Option<Incoming>,
}

impl Call {
    /// The query parameters.
    pub fn query<Q: QueryParams>(&self) -> Result<Q> {
        Ok(Q::from_query(self.parts.uri.query().unwrap_or(""))?)
    }

    /// The body as JSON; refuses other content types, an empty body, and more than the limit.
    pub async fn json(&mut self) -> Result<Value> {
        match self.opt_json().await? {
            Some(value) => Ok(value),
            None => Err(ApiError::bad_request("invalid JSON: got EOF while reading request body")),
        }
    }

    /// The body as JSON, if there is any.
    pub async fn opt_json(&mut self) -> Result<Option<Value>> {
        let bytes = self.bytes(limits::MAX_JSON_BODY).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let content_type = self.parts.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("")).unwrap_or("");
        let mime = content_type.split(';').next().unwrap_or("").trim();
        if !content_type.is_empty() && !mime.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::bad_request(format!(
                "unsupported Content-Type header ({content_type}): must be 'application/json'"
            )));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| match error.is_eof() {
            true => ApiError::bad_request("invalid JSON: unexpected EOF"),
            false => ApiError::bad_request(format!("invalid JSON: {error}")),
        })
    }

    /// The body's bytes, at most `limit` of them.
    pub async fn bytes(&mut self, limit: usize) -> Result<Bytes> {
        let Some(body) = self.body.take() else { return Ok(Bytes::new()) };
        match Limited::new(body, limit).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(ApiError::new(
                http::StatusCode::PAYLOAD_TOO_LARGE,
                format!("request body is larger than {limit} bytes"),
            )),
            Err(error) => Err(ApiError::bad_request(format!("reading the request body: {error}"))),
        }
    }

    /// Asks the managers.
    pub async fn control(&self, request: ControlRequest) -> Result<ControlResponse> {
        Ok(self.api.node.control(request).await?)
    }

    /// Asks the managers for one object.
    pub async fn object(&self, request: ControlRequest) -> Result<Object> {
        match self.control(request).await? {
            ControlResponse::Object(object) => Ok(object),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the managers for objects.
    pub async fn objects(&self, request: ControlRequest) -> Result<Vec<Object>> {
        match self.control(request).await? {
            ControlResponse::Objects(objects) => Ok(objects),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the managers to create something: its id and the warnings.
    pub async fn create(&self, request: ControlRequest) -> Result<(String, Vec<String>)> {
        match self.control(request).await? {
            ControlResponse::Created { id, warnings } => Ok((bare_id(&id), warnings)),
            other => Err(unexpected(&other)),
        }
    }
}

/// An id's digits alone.
fn bare_id(id: &swarm_types::ObjectId) -> String {
    use swarm_types::ObjectId;
    match id {
        ObjectId::Cluster(id) => id.to_string(),
        ObjectId::Node(id) => id.to_string(),
        ObjectId::Service(id) => id.to_string(),
        ObjectId::Task(id) => id.to_string(),
        ObjectId::Network(id) => id.to_string(),
        ObjectId::Secret(id) => id.to_string(),
        ObjectId::Config(id) => id.to_string(),
    }
}

/// The managers answered something else than was asked: a mistake in this program, worth a line in the log.
pub(crate) fn unexpected(response: &ControlResponse) -> ApiError {
    tracing::error!(?response, "an answer of another kind than the question");
    ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "the managers gave an unexpected answer")
}

/// The version that an update is based on, which it must name.
pub(crate) fn required_version(version: Option<u64>, raw: &str, noun: &str) -> Result<Version> {
    match version {
        Some(version) => Ok(Version(version)),
        None => Err(ApiError::bad_request(format!(
            "invalid {noun} version '{raw}': strconv.ParseUint: parsing {raw:?}: invalid syntax"
        ))),
    }
}
