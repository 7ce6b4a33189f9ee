//! What `service logs` and `logs` share: times, and copying a stream to standard output and standard error.

use crate::client::{ClientError, Response};
use crate::context::Context;
use crate::error::{CliError, Result};
use docker_api::frame::{Decoder, Stream};
use docker_api::time::parse_since;
use futures_util::StreamExt;

/// What a person gives for `--since`, as a parameter.
pub fn since(context: &Context, given: &str, what: &str) -> Result<String> {
    if given.is_empty() {
        return Ok(String::new());
    }
    let time = parse_since(given, context.host().now());
    time.map(|time| time.to_param()).map_err(|e| CliError::new(format!("invalid value for \"{what}\": {e}")))
}

/// Copies a log to standard output and standard error.
pub async fn copy(context: &Context, response: Response, tty: bool) -> Result {
    let mut body = response.body;
    let mut decoder = Decoder::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|e| CliError::from(ClientError::Broken(e)))?;
        if tty {
            context.host().out(&chunk);
            continue;
        }
        let mut failure = Vec::new();
        let decoded = decoder.decode(&chunk, |piece| match piece.stream {
            Stream::Stderr => context.host().err(piece.data),
            Stream::SystemError => failure.extend_from_slice(piece.data),
            Stream::Stdin | Stream::Stdout => context.host().out(piece.data),
        });
        if !failure.is_empty() {
            return Err(CliError::new(format!("error from daemon in stream: {}", String::from_utf8_lossy(&failure))));
        }
        decoded.map_err(|e| CliError::new(e.to_string()))?;
    }
    Ok(())
}
