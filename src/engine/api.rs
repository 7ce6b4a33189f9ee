//! One request at a time to a node's Docker socket: all that booting a cluster needs of HTTP.
//!
//! [`call`] and [`upload`] block, each call with a small runtime on a thread of its own, so that they work from plain
//! code and inside a runtime alike; [`get`] is for async code.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// Largest answer that is read: `GET /nodes` of the largest cluster is far below.
const MAX_BODY: usize = 8 << 20;

/// Why a request got no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Docker refused: its status and message.
    #[error("{message} (HTTP {status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The message of the error body.
        message: String,
    },
    /// No answer, or not HTTP.
    #[error("{0}")]
    Transport(String),
}

/// Sends a request with an optional JSON body; the answer's JSON, or null when it is none.
pub fn call(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
    timeout: Duration,
) -> Result<Value, ApiError> {
    let bytes = body.map(Value::to_string).unwrap_or_default();
    send(socket, method, path, "application/json", Bytes::from(bytes), timeout)
}

/// Sends an archive.
pub fn upload(socket: &Path, path: &str, archive: Bytes, timeout: Duration) -> Result<Value, ApiError> {
    send(socket, "POST", path, "application/x-tar", archive, timeout)
}

fn send(
    socket: &Path,
    method: &str,
    path: &str,
    kind: &str,
    body: Bytes,
    timeout: Duration,
) -> Result<Value, ApiError> {
    let run = || -> Result<Value, ApiError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ApiError::Transport(error.to_string()))?;
        runtime.block_on(within(timeout, exchange(socket, method, path, kind, body)))
    };
    std::thread::scope(|scope| {
        scope.spawn(run).join().unwrap_or_else(|_| Err(ApiError::Transport("the request panicked".into())))
    })
}

/// The JSON that a path gives, for async code.
pub async fn get(socket: &Path, path: &str, timeout: Duration) -> Result<Value, ApiError> {
    within(timeout, exchange(socket, "GET", path, "application/json", Bytes::new())).await
}

async fn within<T>(timeout: Duration, call: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let late = || ApiError::Transport(format!("no answer within {} s", timeout.as_secs_f32()));
    tokio::time::timeout(timeout, call).await.map_err(|_| late())?
}

async fn exchange(socket: &Path, method: &str, path: &str, kind: &str, body: Bytes) -> Result<Value, ApiError> {
    let transport = |error: &dyn std::fmt::Display| ApiError::Transport(error.to_string());
    let stream = tokio::net::UnixStream::connect(socket)
        .await
        .map_err(|error| ApiError::Transport(format!("{}: {error}", socket.display())))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| transport(&error))?;
    // ends by itself when `sender` is dropped
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("Host", "docker")
        .header("Content-Type", kind)
        .body(Full::new(body))
        .map_err(|error| transport(&error))?;
    let response = sender.send_request(request).await.map_err(|error| transport(&error))?;
    let status = response.status();
    let bytes =
        Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| transport(&error))?.to_bytes();
    let json: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    if status.is_success() {
        // a long answer is a stream of lines that began well and may end badly
        let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let failed = lines.filter_map(|line| line["error"].as_str().map(str::to_owned)).next();
        return match failed {
            Some(message) => Err(ApiError::Refused { status: status.as_u16(), message }),
            None => Ok(json),
        };
    }
    let message = json["message"].as_str().map(str::to_owned);
    Err(ApiError::Refused {
        status: status.as_u16(),
        message: message.unwrap_or_else(|| String::from_utf8_lossy(&bytes).trim().to_owned()),
    })
}
