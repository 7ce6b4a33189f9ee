//! Answers: bodies, and the one place where an error becomes an HTTP status.

use std::convert::Infallible;

use bytes::Bytes;
use docker_api::query::QueryError;
use docker_api::version::VersionError;
use docker_api::{ErrorBody, FilterError};
use futures_util::{Stream, StreamExt};
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::convert::InvalidField;
use crate::core::{NodeError, NodeErrorKind};

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer.
pub(crate) type Answer = Response<Body>;

/// What a handler returns.
pub(crate) type Result<T = Answer> = std::result::Result<T, ApiError>;

/// A refusal: a status and a message in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// The message.
    pub message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    pub(crate) fn page_not_found() -> Self {
        Self::not_found("page not found")
    }

    pub(crate) fn into_answer(self) -> Answer {
        let body = full(ErrorBody::new(self.message).to_json());
        with(self.status, "application/json", body)
    }
}

impl From<NodeError> for ApiError {
    fn from(error: NodeError) -> Self {
        let status = match error.kind {
            NodeErrorKind::InvalidArgument | NodeErrorKind::FailedPrecondition => StatusCode::BAD_REQUEST,
            NodeErrorKind::NotFound => StatusCode::NOT_FOUND,
            NodeErrorKind::AlreadyExists => StatusCode::CONFLICT,
            NodeErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
            NodeErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            NodeErrorKind::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            NodeErrorKind::OutOfSequence | NodeErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.message)
    }
}

impl From<container_runtime::Error> for ApiError {
    fn from(error: container_runtime::Error) -> Self {
        use container_runtime::Kind;
        let status = match error.kind {
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            // a program that cannot be run is the request's fault; clients read the message for exit code 126 or 127
            Kind::InvalidArgument | Kind::CommandNotFound | Kind::CommandNotExecutable => StatusCode::BAD_REQUEST,
            Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Kind::Corrupt | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.message)
    }
}

macro_rules! bad_requests {
    ($($error:ty),*) => { $(impl From<$error> for ApiError {
        fn from(error: $error) -> Self {
            Self::bad_request(error.to_string())
        }
    })* };
}
bad_requests!(
    InvalidField,
    QueryError,
    FilterError,
    VersionError,
    docker_api::ReferenceError,
    docker_api::time::TimeError
);

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

pub(crate) fn with(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    answer
}

/// 200 with JSON.
pub(crate) fn json(value: impl Into<Value>) -> Answer {
    json_with(StatusCode::OK, value)
}

/// JSON with a status.
pub(crate) fn json_with(status: StatusCode, value: impl Into<Value>) -> Answer {
    let mut text = value.into().to_string();
    text.push('\n');
    with(status, "application/json", full(text))
}

/// 200 with text.
pub(crate) fn text(text: &'static str) -> Answer {
    with(StatusCode::OK, "text/plain; charset=utf-8", full(text))
}

/// A status alone.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Empty::new().boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// 204.
pub(crate) fn no_content() -> Answer {
    empty(StatusCode::NO_CONTENT)
}

/// 200 with what a stream yields, sent as it comes.
pub(crate) fn stream(content_type: &'static str, chunks: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    let body = StreamBody::new(chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk))));
    with(StatusCode::OK, content_type, BodyExt::boxed_unsync(body))
}
