//! The daemon's end of a shim's control socket. Leaves out what the frames mean: see `shim::wire`.

use std::fs::File;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::error::{Context, Error, Result};
use crate::plan::Paths;
use crate::shim::wire::{self, Kind, Reply, Request};

/// Connects and sends the first frame.
pub(crate) async fn open(dir: &Path, request: &Request) -> Result<UnixStream> {
    let handle = File::open(dir).context(|| format!("opening {}", dir.display()))?;
    let mut stream = UnixStream::connect(Paths::short_socket(&handle, Paths::SOCKET))
        .await
        .context(|| "connecting to the container's shim".into())?;
    send(&mut stream, request).await?;
    Ok(stream)
}

/// One question, one answer: the pid.
pub(crate) async fn ask(dir: &Path, request: &Request) -> Result<Reply> {
    let mut stream = open(dir, request).await?;
    match next(&mut stream).await? {
        Some((Kind::Json, bytes)) => reply(&bytes),
        _ => Err(Error::internal("the container's shim closed the connection without an answer")),
    }
}

/// Opens a stream and takes the shim's acknowledgement.
pub(crate) async fn stream(dir: &Path, request: &Request) -> Result<(UnixStream, i32)> {
    let mut stream = open(dir, request).await?;
    match next(&mut stream).await? {
        Some((Kind::Json, bytes)) => match reply(&bytes)? {
            Reply::Ok { pid } => Ok((stream, pid)),
            _ => Err(Error::internal("an unexpected answer from the container's shim")),
        },
        _ => Err(Error::conflict("the container is not running")),
    }
}

pub(crate) async fn send(stream: &mut (impl AsyncWriteExt + Unpin), request: &Request) -> Result<()> {
    let mut bytes = Vec::new();
    wire::json(request, &mut bytes);
    stream.write_all(&bytes).await.context(|| "writing to the container's shim".into())
}

/// Decodes an answer; an error answer becomes an error.
pub(crate) fn reply(bytes: &[u8]) -> Result<Reply> {
    match serde_json::from_slice(bytes) {
        Ok(Reply::Error(e)) => Err(e),
        Ok(r) => Ok(r),
        Err(e) => Err(Error::internal(format!("decoding the shim's answer: {e}"))),
    }
}

/// The next frame, or `None` at the end.
pub(crate) async fn next<R: AsyncReadExt + Unpin>(stream: &mut R) -> Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0; wire::HEADER];
    match stream.read_exact(&mut head).await {
        Ok(_) => {}
        Err(e) if matches!(e.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset) => {
            return Ok(None);
        }
        Err(e) => return Err(e).context(|| "reading from the container's shim".into()),
    }
    let (kind, len) = wire::header(&head)?;
    let mut payload = vec![0; len];
    match stream.read_exact(&mut payload).await {
        Ok(_) => Ok(Some((kind, payload))),
        Err(_) => Ok(None),
    }
}
