//! One TLS connection with framed messages.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

use super::TransportError;
use super::wire::{Answer, Hello, MAX_HOPS, Request, VERSION};
use crate::ca::MANAGER_NAME;

/// Bytes of a length prefix.
const PREFIX: usize = 4;

/// Read ahead of a frame's bytes by so much at most: a claimed length costs memory only as bytes arrive.
const CHUNK: usize = 64 * 1024;

/// A dead peer is noticed after this long without an acknowledgement.
const DEAD_AFTER: Duration = Duration::from_secs(10);

/// Connecting and shaking hands may take so long.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// An answer of a manager may take so long: a write waits for a quorum, at worst for an election.
const ANSWER: Duration = Duration::from_secs(30);

/// Largest frame between nodes that know each other: a raft snapshot of a large swarm.
pub(super) const LARGE: usize = 256 * 1024 * 1024;

/// A connection on which requests and answers go back and forth.
#[derive(Debug)]
pub struct Connection {
    sending: Sending,
    receiving: Receiving,
    name: String,
}

/// Where messages go out.
#[derive(Debug)]
pub struct Sending {
    half: WriteHalf<TlsStream<TcpStream>>,
}

/// Where messages come in.
#[derive(Debug)]
pub struct Receiving {
    half: ReadHalf<TlsStream<TcpStream>>,
    limit: usize,
}

impl Connection {
    pub(super) fn new(stream: TlsStream<TcpStream>, name: String, limit: usize) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self { sending: Sending { half: write }, receiving: Receiving { half: read, limit }, name }
    }

    /// Frames up to this size are taken from now on.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.receiving.limit = limit;
    }

    /// Sends one message.
    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), TransportError> {
        self.sending.send(message).await
    }

    /// Receives one message.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, TransportError> {
        self.receiving.receive().await
    }

    /// Says what the connection is for.
    pub async fn hello(&mut self, request: Request, hops: u8) -> Result<(), TransportError> {
        debug_assert!(hops <= MAX_HOPS);
        self.send(&Hello { version: VERSION, hops, request }).await
    }

    /// Says what the connection is for and waits for the answer.
    pub async fn ask<T: DeserializeOwned>(&mut self, request: Request, hops: u8) -> Result<Answer<T>, TransportError> {
        let asked = async {
            self.hello(request, hops).await?;
            self.receive().await
        };
        match timeout(ANSWER, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(TransportError::Timeout(self.name.clone())),
        }
    }

    /// The two directions, to be used at the same time.
    pub fn split(self) -> (Sending, Receiving) {
        (self.sending, self.receiving)
    }
}

impl Sending {
    /// Sends one message.
    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), TransportError> {
        self.send_frame(&encode(message)?).await
    }

    /// Sends bytes as one frame.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let mut frame = prefix(bytes.len())?.to_vec();
        frame.extend_from_slice(bytes);
        self.send_frame(&frame).await
    }

    /// Says good-bye, so that the other side sees an orderly end.
    pub async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.half.shutdown()).await;
    }

    async fn send_frame(&mut self, frame: &[u8]) -> Result<(), TransportError> {
        self.half.write_all(frame).await?;
        self.half.flush().await?;
        Ok(())
    }
}

impl Receiving {
    /// Receives one message.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, TransportError> {
        let bytes = self.receive_bytes().await?.ok_or(TransportError::Closed)?;
        rmp_serde::from_slice(&bytes).map_err(|error| TransportError::Malformed(error.to_string()))
    }

    /// Receives one frame; `None`: the other side is done.
    pub async fn receive_bytes(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        let mut prefix = [0; PREFIX];
        let mut got = 0;
        while got < PREFIX {
            match self.half.read(&mut prefix[got..]).await? {
                0 if got == 0 => return Ok(None),
                0 => return Err(TransportError::Closed),
                more => got += more,
            }
        }
        let length = u32::from_be_bytes(prefix) as usize;
        if length > self.limit {
            return Err(TransportError::TooLarge { length, limit: self.limit });
        }
        let mut bytes = Vec::with_capacity(length.min(CHUNK));
        (&mut self.half).take(length as u64).read_to_end(&mut bytes).await?;
        if bytes.len() == length { Ok(Some(bytes)) } else { Err(TransportError::Closed) }
    }
}

/// Connects to a manager. The certificate must be a manager's of the swarm, unless the configuration says otherwise.
pub async fn dial(addr: &str, config: Arc<ClientConfig>) -> Result<Connection, TransportError> {
    let refused = |source| TransportError::Connect { addr: addr.to_owned(), source };
    let connecting = async {
        let stream = TcpStream::connect(addr).await.map_err(refused)?;
        tune(&stream);
        let name = ServerName::try_from(MANAGER_NAME).map_err(|error| TransportError::Malformed(error.to_string()))?;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|source| TransportError::Tls { addr: addr.to_owned(), source })?;
        Ok(Connection::new(TlsStream::Client(stream), addr.to_owned(), LARGE))
    };
    match timeout(HANDSHAKE, connecting).await {
        Ok(result) => result,
        Err(_) => Err(TransportError::Timeout(addr.to_owned())),
    }
}

/// The address that this node has on the way to `addr`.
pub async fn dial_local_addr(addr: &str) -> Result<SocketAddr, TransportError> {
    let refused = |source| TransportError::Connect { addr: addr.to_owned(), source };
    match timeout(HANDSHAKE, TcpStream::connect(addr)).await {
        Ok(stream) => stream.and_then(|stream| stream.local_addr()).map_err(refused),
        Err(_) => Err(TransportError::Timeout(addr.to_owned())),
    }
}

/// Small messages go out at once, and a peer that vanished is noticed.
pub(super) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let fd = stream.as_fd();
    let seconds = u32::try_from(DEAD_AFTER.as_secs()).unwrap_or(10);
    // All best effort: without these a dead peer is noticed later.
    let _ = setsockopt(&fd, sockopt::KeepAlive, &true);
    let _ = setsockopt(&fd, sockopt::TcpKeepIdle, &(seconds / 2));
    let _ = setsockopt(&fd, sockopt::TcpKeepInterval, &(seconds / 5));
    let _ = setsockopt(&fd, sockopt::TcpKeepCount, &3);
    let _ = setsockopt(&fd, sockopt::TcpUserTimeout, &(seconds * 1000));
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, TransportError> {
    let mut frame = vec![0; PREFIX];
    // Field names are written because fields that are absent by default are left out.
    rmp_serde::encode::write_named(&mut frame, message)
        .map_err(|error| TransportError::Malformed(error.to_string()))?;
    let prefix = prefix(frame.len() - PREFIX)?;
    frame[..PREFIX].copy_from_slice(&prefix);
    Ok(frame)
}

fn prefix(length: usize) -> Result<[u8; PREFIX], TransportError> {
    if length > LARGE {
        return Err(TransportError::TooLarge { length, limit: LARGE });
    }
    Ok(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes())
}
