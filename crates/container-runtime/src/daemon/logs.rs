//! A container's stored output as a stream, with Docker's filters. Leaves out Docker's framing and formatting.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::record::ContainerId;
use super::{Runtime, client};
use crate::error::Result;
use crate::log::{LogEntry, LogReader, Stream};
use crate::shim::wire::Request;

/// Which output, and how long.
#[derive(Debug, Clone, PartialEq)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<usize>,
    /// Only from this time on (nanoseconds since 1970).
    pub since: Option<i64>,
    /// Only up to this time.
    pub until: Option<i64>,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { follow: false, tail: None, since: None, until: None, stdout: true, stderr: true }
    }
}

/// A line of output, or a part of one longer than 16 KiB (`partial`, then more of it follows).
pub type LogLine = LogEntry;

impl Runtime {
    /// Opens the output. The channel closes at the end; an error is its last item.
    pub async fn logs(&self, id: &ContainerId, options: LogOptions) -> Result<mpsc::Receiver<Result<LogLine>>> {
        let dir = self.entry(id)?.dir.clone();
        let (send, receive) = mpsc::channel(64);
        // Listen for growth before reading, so that nothing falls in between. No shim: nothing will grow.
        let growth = match options.follow {
            true => client::stream(&dir, &Request::Follow).await.ok().map(|(s, _)| s),
            false => None,
        };
        tokio::spawn(async move {
            if let Err(e) = copy(dir, options, growth, &send).await {
                let _ = send.send(Err(e)).await;
            }
        });
        Ok(receive)
    }
}

async fn copy(
    dir: PathBuf,
    o: LogOptions,
    mut growth: Option<tokio::net::UnixStream>,
    send: &mpsc::Sender<Result<LogLine>>,
) -> Result<()> {
    let keep = |e: &LogEntry| {
        let stream = match e.stream {
            Stream::Stdout => o.stdout,
            Stream::Stderr => o.stderr,
        };
        stream && o.since.is_none_or(|s| e.at >= s) && o.until.is_none_or(|u| e.at <= u)
    };
    let logs = dir.join(crate::plan::Paths::LOGS);
    let mut reader = match o.tail {
        Some(n) => LogReader::tail(&logs, n, keep)?,
        None => LogReader::open(&logs),
    };
    loop {
        while let Some(line) = reader.next()? {
            if o.until.is_some_and(|u| line.at > u) {
                return Ok(());
            }
            if keep(&line) && send.send(Ok(line)).await.is_err() {
                return Ok(());
            }
        }
        let Some(stream) = &mut growth else {
            return Ok(());
        };
        let more = tokio::select! {
            more = client::next(stream) => more,
            () = send.closed() => return Ok(()),
        };
        if !matches!(more, Ok(Some(_))) {
            growth = None; // the container has ended: read what came last, then stop
        }
    }
}
