//! HTTP over the engine's socket: one connection for each request, as an engine keeps none of a command's state.

use super::endpoint::Endpoint;
use super::terminal::Upgraded;
use crate::client::{Body, ByteStream, ClientError, Request, Response, refused};
use crate::context::Conversation;
use bytes::Bytes;
use docker_api::ErrorBody;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::net::{TcpStream, UnixStream};

type HttpBody = UnsyncBoxBody<Bytes, io::Error>;

/// Sends a request; resolves when the head of the answer is there.
pub async fn send(endpoint: &Endpoint, request: Request) -> Result<Response, ClientError> {
    let response = exchange(endpoint, request, false).await?;
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    Ok(Response { status, headers, body: stream(response.into_body()) })
}

/// Sends a request that turns its connection into a two-way stream.
pub async fn converse(endpoint: &Endpoint, request: Request) -> Result<Box<dyn Conversation>, ClientError> {
    let response = exchange(endpoint, request, true).await?;
    let status = response.status().as_u16();
    if status != 101 && status != 200 {
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        return Err(refused(status, ErrorBody::parse(&body).message));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
    Ok(Box::new(Upgraded::new(TokioIo::new(upgraded))))
}

async fn exchange(
    endpoint: &Endpoint,
    request: Request,
    upgrade: bool,
) -> Result<http::Response<Incoming>, ClientError> {
    let mut builder = http::Request::builder().method(request.method).uri(&request.target);
    // Engines want a host; behind a socket of the file system there is none.
    builder = builder.header(
        "Host",
        match endpoint {
            Endpoint::Unix(_) => "docker",
            Endpoint::Tcp(address) => address.as_str(),
        },
    );
    builder = builder.header("User-Agent", concat!("Docker-Client/swarmlab-", env!("CARGO_PKG_VERSION")));
    if upgrade {
        builder = builder.header("Connection", "Upgrade").header("Upgrade", "tcp");
    }
    let (kind, body) = match request.body {
        Body::Empty if request.method == "POST" => (Some("text/plain"), boxed(Empty::new())),
        Body::Empty => (None, boxed(Empty::new())),
        Body::Json(value) => (Some("application/json"), boxed(Full::new(Bytes::from(value.to_string())))),
        Body::Stream(kind, stream) => {
            let frames = stream.map(|chunk| chunk.map(Frame::data).map_err(io::Error::other));
            (Some(kind), StreamBody::new(frames).boxed_unsync())
        }
    };
    if let Some(kind) = kind {
        builder = builder.header("Content-Type", kind);
    }
    let request = builder.body(body).map_err(|e| ClientError::Broken(e.to_string()))?;
    let unreachable = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ClientError::Denied(endpoint.to_string(), format!("connect: {}", super::stdio::reason(&error)))
        }
        _ => ClientError::Unreachable(endpoint.to_string()),
    };
    match endpoint {
        Endpoint::Unix(path) => over(UnixStream::connect(path).await.map_err(unreachable)?, request).await,
        Endpoint::Tcp(address) => over(TcpStream::connect(address).await.map_err(unreachable)?, request).await,
    }
}

async fn over<S>(socket: S, request: http::Request<HttpBody>) -> Result<http::Response<Incoming>, ClientError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
    tokio::spawn(async move {
        // Its error reaches the request as well, which reports it.
        let _ = connection.with_upgrades().await;
    });
    sender.send_request(request).await.map_err(broken)
}

fn boxed<B>(body: B) -> HttpBody
where
    B: hyper::body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    body.map_err(|never| match never {}).boxed_unsync()
}

fn stream(body: Incoming) -> ByteStream {
    Box::pin(BodyStream::new(body).filter_map(|frame| {
        std::future::ready(match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(error.to_string())),
        })
    }))
}

fn broken(error: hyper::Error) -> ClientError {
    use std::error::Error;
    let cause = error.source().map_or(String::new(), |cause| format!(": {cause}"));
    ClientError::Broken(format!("{error}{cause}"))
}
