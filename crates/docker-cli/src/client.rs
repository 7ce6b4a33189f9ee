//! The engine as seen from commands: requests with a version, answers as JSON or streams, Docker's errors.

use crate::context::{Conversation, Host, Local};
use crate::error::CliError;
use bytes::Bytes;
use docker_api::limits::{MAX_JSON_RESPONSE, MAX_STREAM_LINE};
use docker_api::query::{QueryParams, encode};
use docker_api::{ApiVersion, ErrorBody};
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use std::cell::Cell;
use std::pin::Pin;

/// Bytes that arrive bit by bit.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send>>;

/// A request's body.
pub enum Body {
    /// Nothing.
    Empty,
    /// A document.
    Json(Value),
    /// A stream of a kind.
    Stream(&'static str, ByteStream),
}

/// A request to the engine.
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: &'static str,
    /// Path with the version, and the query.
    pub target: String,
    /// Body.
    pub body: Body,
}

/// An answer, its body not yet read.
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: ByteStream,
}

impl Response {
    /// A header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The whole body, up to the limit for answers.
    pub async fn bytes(mut self) -> Result<Vec<u8>, ClientError> {
        let mut out = Vec::new();
        while let Some(chunk) = self.body.next().await {
            out.extend_from_slice(&chunk.map_err(ClientError::Broken)?);
            if out.len() > MAX_JSON_RESPONSE {
                return Err(ClientError::Broken(format!("answer is longer than {MAX_JSON_RESPONSE} bytes")));
            }
        }
        Ok(out)
    }
}

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("Cannot connect to the Docker daemon at {0}. Is the docker daemon running?")]
    Unreachable(String),
    /// The socket may not be opened.
    #[error("permission denied while trying to connect to the Docker daemon socket at {0}: {1}")]
    Denied(String, String),
    /// A name that is none: the engine is not even asked.
    #[error("invalid {0} name or ID: value is empty")]
    EmptyName(String),
    /// The engine refused.
    #[error("Error response from daemon: {message}")]
    Refused {
        /// Status code.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The connection broke, or the answer cannot be read.
    #[error("error during connect: {0}")]
    Broken(String),
}

impl ClientError {
    /// Did the engine not know the object?
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        CliError::new(error.to_string())
    }
}

/// The result of a request.
pub type Answer<T = Value> = Result<T, ClientError>;

/// The engine.
pub struct Client {
    host: Box<dyn Host>,
    version: Cell<Option<ApiVersion>>,
}

impl Client {
    /// An engine behind a host. Without a version the first request asks for one.
    pub fn new(host: Box<dyn Host>, version: Option<ApiVersion>) -> Self {
        Self { host, version: Cell::new(version) }
    }

    /// The host.
    pub fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// The version in use, agreed on at the first call.
    pub async fn version(&self) -> Answer<ApiVersion> {
        if let Some(version) = self.version.get() {
            return Ok(version);
        }
        let ping = Request { method: "HEAD", target: "/_ping".into(), body: Body::Empty };
        let response = self.host.send(ping).await?;
        let version = ApiVersion::negotiate(response.header("api-version").and_then(|v| v.parse().ok()));
        self.version.set(Some(version));
        Ok(version)
    }

    async fn request(&self, method: &'static str, path: &str, query: &str, body: Body) -> Answer<Request> {
        if let Some((kind, name)) = path.trim_start_matches('/').split_once('/')
            && (name.is_empty() || name.starts_with('/'))
        {
            return Err(ClientError::EmptyName(kind.trim_end_matches('s').to_owned()));
        }
        let version = self.version().await?;
        let mark = if query.is_empty() { "" } else { "?" };
        Ok(Request { method, target: format!("/v{version}{path}{mark}{query}"), body })
    }

    /// Sends a request and checks the status.
    pub async fn send(&self, method: &'static str, path: &str, query: &str, body: Body) -> Answer<Response> {
        let request = self.request(method, path, query, body).await?;
        checked(self.host.send(request).await?).await
    }

    /// Turns a connection into a two-way stream.
    pub async fn converse(&self, path: &str, query: &str, body: Body) -> Answer<Box<dyn Conversation>> {
        let request = self.request("POST", path, query, body).await?;
        self.host.converse(request).await
    }

    async fn json(&self, method: &'static str, path: &str, query: &str, body: Body) -> Answer {
        let bytes = self.send(method, path, query, body).await?.bytes().await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| ClientError::Broken(format!("cannot read the answer to {path}: {e}")))
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> Answer {
        self.json("GET", path, "", Body::Empty).await
    }

    /// `GET` with parameters.
    pub async fn get_with(&self, path: &str, query: &impl QueryParams) -> Answer {
        self.json("GET", path, &query.to_query(), Body::Empty).await
    }

    /// `POST` with parameters and perhaps a document.
    pub async fn post(&self, path: &str, query: &str, body: Option<Value>) -> Answer {
        self.json("POST", path, query, body.map_or(Body::Empty, Body::Json)).await
    }

    /// `DELETE` with parameters.
    pub async fn delete(&self, path: &str, query: &str) -> Answer {
        self.json("DELETE", path, query, Body::Empty).await
    }

    /// `GET` of a list; null is an empty one.
    pub async fn list(&self, path: &str, query: &impl QueryParams) -> Answer<Vec<Value>> {
        match self.get_with(path, query).await? {
            Value::Array(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }
}

async fn checked(response: Response) -> Answer<Response> {
    let status = response.status;
    if status < 400 {
        return Ok(response);
    }
    let message = ErrorBody::parse(&response.bytes().await?).message;
    Err(refused(status, message))
}

/// An error answer; an empty one says at least its status.
pub fn refused(status: u16, message: String) -> ClientError {
    let message = message.trim().to_owned();
    match message.is_empty() {
        true => ClientError::Refused { status, message: format!("request returned status {status} without a message") },
        false => ClientError::Refused { status, message },
    }
}

/// A path with one name in it, encoded: `/services/NAME/logs`. Space around the name is not part of it.
pub fn path(prefix: &str, name: &str, suffix: &str) -> String {
    format!("{prefix}/{}{suffix}", encode(name.trim()))
}

/// Lines of JSON as they arrive.
pub struct JsonLines {
    body: ByteStream,
    buffer: Vec<u8>,
}

impl JsonLines {
    /// Reads the body of an answer.
    pub fn new(response: Response) -> Self {
        Self { body: response.body, buffer: Vec::new() }
    }

    /// The next document, or none at the end.
    pub fn read(&mut self) -> Local<'_, Answer<Option<Value>>> {
        Box::pin(async move {
            loop {
                let mut documents = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<Value>();
                match documents.next() {
                    Some(Ok(value)) => {
                        let used = documents.byte_offset();
                        self.buffer.drain(..used);
                        return Ok(Some(value));
                    }
                    Some(Err(e)) if !e.is_eof() => {
                        return Err(ClientError::Broken(format!("cannot read the stream: {e}")));
                    }
                    _ => {}
                }
                if self.buffer.len() > MAX_STREAM_LINE {
                    return Err(ClientError::Broken(format!("a line is longer than {MAX_STREAM_LINE} bytes")));
                }
                match self.body.next().await {
                    Some(chunk) => self.buffer.extend_from_slice(&chunk.map_err(ClientError::Broken)?),
                    None => return Ok(None),
                }
            }
        })
    }
}
