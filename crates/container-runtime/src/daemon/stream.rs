//! Interactive streams: a container's or an exec's input and output as channels.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::client;
use crate::shim::wire::{self, Kind, Notice, Reply, Request};

/// What a client sends.
#[derive(Debug, Clone)]
pub enum Input {
    /// Bytes for standard input.
    Data(Bytes),
    /// Standard input ends.
    Eof,
    /// The terminal's new size.
    Resize {
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    },
    /// A signal for the exec's process (ignored on a container's stream: use `kill`).
    Signal(i32),
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// From standard output, or the terminal.
    Stdout(Bytes),
    /// From standard error.
    Stderr(Bytes),
    /// The process ended. Nothing follows.
    Exit(i32),
}

/// A live connection to a process. Both channels are bounded: a slow reader slows an exec down. Dropping `input`
/// keeps the output; dropping `output` disconnects, and the process goes on.
#[derive(Debug)]
pub struct Attached {
    /// Towards the process.
    pub input: mpsc::Sender<Input>,
    /// From it; closes after [`Output::Exit`], or without it when the shim is lost.
    pub output: mpsc::Receiver<Output>,
}

/// Serves a stream whose acknowledgement has been read.
pub(crate) fn attach(stream: UnixStream) -> Attached {
    let (input, mut from_client) = mpsc::channel(16);
    let (to_client, output) = mpsc::channel(16);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async move {
        while let Some(i) = from_client.recv().await {
            let mut bytes = Vec::new();
            match i {
                Input::Data(d) => {
                    for part in d.chunks(wire::MAX_FRAME) {
                        wire::frame(Kind::Data, part, &mut bytes);
                    }
                }
                Input::Eof => wire::frame(Kind::Eof, &[], &mut bytes),
                Input::Resize { height, width } => wire::json(&Request::Resize { height, width }, &mut bytes),
                Input::Signal(signal) => wire::json(&Request::Signal { signal }, &mut bytes),
            }
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let unread = to_client.clone();
    let receive = async move {
        while let Ok(Some((kind, bytes))) = client::next(&mut reader).await {
            let out = match kind {
                Kind::Data => Output::Stdout(bytes.into()),
                Kind::Err => Output::Stderr(bytes.into()),
                Kind::Eof => continue,
                Kind::Json => match client::reply(&bytes) {
                    Ok(Reply::Notice(Notice::Exited { code, .. } | Notice::ExecDied { code, .. })) => {
                        Output::Exit(code)
                    }
                    _ => continue,
                },
            };
            if to_client.send(out).await.is_err() {
                break;
            }
        }
    };
    // One task for both directions: it ends, and the connection with it, when the output ends or nobody reads it.
    tokio::spawn(async move {
        tokio::select! {
            () = send => {}
            () = receive => {}
            () = unread.closed() => {}
        }
    });
    Attached { input, output }
}
