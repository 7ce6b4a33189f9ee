//! What daemon and shim say to each other: frames on the container's control socket.
//!
//! One connection, one purpose: the first frame a client sends is a [`Request`]. `Start`, `Signal`, `Resize` and
//! `Status` are answered by one [`Reply`] and the connection closes. `Watch`, `Follow`, `Attach` and `Exec` turn the
//! connection into a stream. A frame is a kind byte, a little-endian length, and that many bytes.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Bytes before a frame's payload.
pub(crate) const HEADER: usize = 5;
/// No frame is longer; a longer one means that something else speaks on the socket.
pub(crate) const MAX_FRAME: usize = 2 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// JSON: [`Request`] towards the shim, [`Reply`] from it.
    Json = 0,
    /// Bytes for standard input, or from standard output.
    Data = 1,
    /// Bytes from standard error.
    Err = 2,
    /// Standard input ends here.
    Eof = 3,
}

/// What a client wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Let the prepared process run. Answered when it has called exec, or failed to.
    Start,
    /// Send a signal to the container's first process (or on an exec's stream: to that).
    Signal { signal: i32 },
    /// Set the terminal's size (or on an exec's stream: of that).
    Resize { height: u16, width: u16 },
    /// Where things stand.
    Status,
    /// Stream [`Reply::Notice`]s.
    Watch,
    /// Stream [`Notice::LogGrew`] until the container ends.
    Follow,
    /// Stream output from now on, accept input.
    Attach { stdin: bool, stdout: bool, stderr: bool },
    /// Run a process; the stream carries its output and ends with [`Notice::ExecDied`].
    Exec(ExecSpec),
}

/// A process to run in a running container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ExecSpec {
    pub id: String,
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: Option<String>,
    pub user: Option<String>,
    pub tty: bool,
    pub stdin: bool,
    pub privileged: bool,
    pub size: Option<(u16, u16)>,
}

/// What the shim answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    Ok { pid: i32 },
    Status { pid: i32, started: bool },
    Error(Error),
    Notice(Notice),
}

/// What the shim tells by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Notice {
    Started { at: i64 },
    Exited { code: i32, oom: bool, at: i64 },
    ExecDied { id: String, code: i32 },
    LogGrew,
}

/// A frame's bytes.
pub(crate) fn frame(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER + payload.len());
    out.push(kind as u8);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}

/// A JSON frame's bytes.
pub(crate) fn json<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    // These types hold only strings, numbers and lists, which always encode.
    let body = serde_json::to_vec(value).unwrap_or_default();
    frame(Kind::Json, &body, out);
}

/// Reads a header: the kind and the payload's length.
pub(crate) fn header(bytes: &[u8; HEADER]) -> Result<(Kind, usize)> {
    let kind = match bytes[0] {
        0 => Kind::Json,
        1 => Kind::Data,
        2 => Kind::Err,
        3 => Kind::Eof,
        other => {
            return Err(Error::internal(format!("unknown frame kind {other} on the shim's socket")));
        }
    };
    let len = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
    if len > MAX_FRAME {
        return Err(Error::internal(format!("a frame of {len} bytes on the shim's socket")));
    }
    Ok((kind, len))
}
