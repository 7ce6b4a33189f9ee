//! Streams of containers and execs: the connection is taken over (`Upgrade: tcp`), or the output is the answer's body.

use bytes::Bytes;
use container_runtime::{Attached, Input, Output};
use docker_api::ApiVersion;
use docker_api::frame::{Stream, encode};
use docker_api::query::AttachContainer;
use futures_util::StreamExt;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::call::Call;
use super::logs;
use super::reply::{self, Answer, ApiError, Result};

/// `POST /containers/{id}/attach`
pub(crate) async fn container(mut call: Call, id: &str) -> Result {
    let query: AttachContainer = call.query()?;
    let engine = call.api.engine.clone();
    let id = engine.resolve(id)?;
    let inspect = engine.runtime().inspect(&id)?;
    if !(query.stdin || query.stdout || query.stderr) {
        return Err(ApiError::bad_request("at least one of stdin, stdout, stderr is to be attached"));
    }
    let tty = inspect.config.tty;
    let stdin = query.stdin && inspect.config.open_stdin;
    let past = match query.logs {
        true => logs::stored(&engine, &id, query.stdout, query.stderr, tty).await?,
        false => Vec::new(),
    };
    if !query.stream {
        let body = futures_util::stream::once(std::future::ready(Bytes::from(past)));
        return Ok(reply::stream(content_type(&call, tty), body));
    }
    let attached = engine.attach(&id, stdin, query.stdout, query.stderr).await?;
    Ok(hand_over(&mut call, Source::Coming(attached), past, tty, stdin))
}

/// Where the streams come from.
pub(crate) enum Source {
    /// Here already.
    Here(Attached),
    /// At the container's start.
    Coming(oneshot::Receiver<Attached>),
}

impl Source {
    async fn get(self) -> Option<Attached> {
        match self {
            Self::Here(attached) => Some(attached),
            Self::Coming(receiver) => receiver.await.ok(),
        }
    }
}

/// Clients before 1.42 know one type only and ask the container whether it has a terminal.
pub(crate) fn content_type(call: &Call, tty: bool) -> &'static str {
    const MULTIPLEXED_SINCE: ApiVersion = ApiVersion { major: 1, minor: 42 };
    if tty || call.version < MULTIPLEXED_SINCE {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    }
}

/// Answers 101 and carries bytes both ways, or, for a client that asked for no upgrade, 200 with the output alone.
pub(crate) fn hand_over(call: &mut Call, source: Source, past: Vec<u8>, tty: bool, stdin: bool) -> Answer {
    if !call.parts.headers.contains_key(UPGRADE) {
        let output = futures_util::stream::once(async move { source.get().await })
            .filter_map(std::future::ready)
            .flat_map(move |attached| output(attached, tty));
        let past = futures_util::stream::iter((!past.is_empty()).then(|| Bytes::from(past)));
        return reply::stream(content_type(call, tty), past.chain(output));
    }
    // hyper looks for the upgrade among the request's extensions
    let mut request = Request::new(call.body.take());
    *request.extensions_mut() = std::mem::take(&mut call.parts.extensions);
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => carry(TokioIo::new(upgraded), source, past, tty, stdin).await,
            Err(error) => tracing::debug!("a connection that was to be taken over ended: {error}"),
        }
    });
    let mut answer = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(call, tty)));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    answer
}

/// The streams' output as chunks; holds the input open until the end.
fn output(attached: Attached, tty: bool) -> impl futures_util::Stream<Item = Bytes> {
    futures_util::stream::unfold(attached, move |mut attached| async move {
        let bytes = framed(attached.output.recv().await?, tty)?;
        Some((bytes, attached))
    })
}

/// One piece of output as it travels; `None` at the end.
fn framed(output: Output, tty: bool) -> Option<Bytes> {
    let (stream, bytes) = match output {
        Output::Stdout(bytes) => (Stream::Stdout, bytes),
        Output::Stderr(bytes) => (Stream::Stderr, bytes),
        Output::Exit(_) => return None,
    };
    if tty {
        return Some(bytes);
    }
    let mut frame = Vec::new();
    encode(stream, &bytes, &mut frame);
    Some(frame.into())
}

async fn carry(io: TokioIo<hyper::upgrade::Upgraded>, source: Source, past: Vec<u8>, tty: bool, stdin: bool) {
    let (mut reader, mut writer) = tokio::io::split(io);
    if writer.write_all(&past).await.is_err() {
        return;
    }
    let Some(Attached { input, mut output }) = source.get().await else {
        let _ = writer.shutdown().await;
        return;
    };
    let from_client = async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read) = reader.read(&mut buffer).await {
            let message = if read == 0 { Input::Eof } else { Input::Data(Bytes::copy_from_slice(&buffer[..read])) };
            if (stdin && input.send(message).await.is_err()) || read == 0 {
                break;
            }
        }
        // the output goes on after the input's end
        input
    };
    let to_client = async move {
        while let Some(piece) = output.recv().await {
            let Some(bytes) = framed(piece, tty) else { break };
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                break;
            }
        }
        let _ = writer.shutdown().await;
    };
    tokio::pin!(to_client);
    tokio::select! {
        () = &mut to_client => {}
        input = from_client => {
            let _open = input;
            to_client.await;
        }
    }
}
