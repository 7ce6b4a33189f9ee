//! A client's connection to the shim: bytes in, frames out, never blocking. Leaves out what frames mean.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde::Serialize;

use super::wire::{self, Kind};

/// Output that a client has not taken yet. Exec output waits (the process is held back); an attached client or
/// follower that lags further is dropped, since a container must not stall because a terminal was suspended.
pub(super) const BACKLOG: usize = 1 << 20;

/// What a connection is for, after its first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    New,
    Watch,
    Follow,
    Attach { stdin: bool, stdout: bool, stderr: bool },
    Exec(u64),
}

pub(super) struct Conn {
    pub stream: UnixStream,
    pub role: Role,
    input: Vec<u8>,
    out: VecDeque<u8>,
    /// Close once everything is written.
    pub finish: bool,
    pub dead: bool,
}

impl Conn {
    pub(super) fn new(stream: UnixStream) -> std::io::Result<Conn> {
        stream.set_nonblocking(true)?;
        Ok(Conn { stream, role: Role::New, input: Vec::new(), out: VecDeque::new(), finish: false, dead: false })
    }

    /// Reads what is there. Returns false when the client has closed.
    pub(super) fn fill(&mut self, buf: &mut [u8]) -> bool {
        match self.stream.read(buf) {
            Ok(0) => false,
            Ok(n) => {
                self.input.extend_from_slice(&buf[..n]);
                true
            }
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// The next whole frame. A malformed one ends the connection.
    pub(super) fn next_frame(&mut self) -> Option<(Kind, Vec<u8>)> {
        let head = self.input.first_chunk::<{ wire::HEADER }>()?;
        match wire::header(head) {
            Ok((kind, len)) => {
                let end = wire::HEADER + len;
                if self.input.len() < end {
                    return None;
                }
                let payload = self.input[wire::HEADER..end].to_vec();
                self.input.drain(..end);
                if self.input.is_empty() {
                    self.input.shrink_to(4096);
                }
                Some((kind, payload))
            }
            Err(_) => {
                self.dead = true;
                None
            }
        }
    }

    pub(super) fn send(&mut self, kind: Kind, payload: &[u8]) {
        let mut bytes = Vec::new();
        wire::frame(kind, payload, &mut bytes);
        self.push(&bytes);
    }

    pub(super) fn send_json<T: Serialize>(&mut self, value: &T) {
        let mut bytes = Vec::new();
        wire::json(value, &mut bytes);
        self.push(&bytes);
    }

    // Straight to the socket when nothing waits: the queue then never allocates.
    fn push(&mut self, mut bytes: &[u8]) {
        if self.out.is_empty() {
            while !bytes.is_empty() {
                match self.stream.write(bytes) {
                    Ok(n) => bytes = &bytes[n..],
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {
                        self.dead = true;
                        return;
                    }
                }
            }
        }
        self.out.extend(bytes);
    }

    pub(super) fn flush(&mut self) {
        while !self.out.is_empty() {
            let (front, _) = self.out.as_slices();
            match self.stream.write(front) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.dead = true;
                    return;
                }
            }
        }
        self.out.shrink_to(4096);
    }

    pub(super) fn backlog(&self) -> usize {
        self.out.len()
    }
}
