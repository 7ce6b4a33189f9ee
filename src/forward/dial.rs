//! Sockets inside the sandbox's network, for a process outside of it. sandbox-init opens them there and passes them
//! on: a socket belongs to the network namespace that it was made in, whoever uses it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use crate::sandbox::{Courier, Protocol, SandboxError};

/// Longest time until a node takes a connection. A node that is switched off is silent.
const CONNECT: Duration = Duration::from_secs(3);

/// Asks sandbox-init for sockets.
#[derive(Clone)]
pub struct Dialer(Arc<Mutex<Courier>>);

impl Dialer {
    /// Over this connection.
    pub fn new(courier: Courier) -> Self {
        Self(Arc::new(Mutex::new(courier)))
    }

    /// Speaks with sandbox-init, which answers within milliseconds, on a thread that may wait.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Courier) -> Result<T, SandboxError> + Send + 'static,
    ) -> Result<T, String> {
        let courier = Arc::clone(&self.0);
        let asked = move || question(&courier.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(asked).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn socket(&self, protocol: Protocol) -> Result<OwnedFd, String> {
        self.ask(move |courier| courier.socket(protocol)).await
    }

    /// A TCP connection to the first of the addresses that takes one.
    pub async fn tcp(&self, addresses: &[IpAddr], port: u16) -> Result<TcpStream, String> {
        let mut why = "no node is ready".to_owned();
        for address in addresses {
            let socket = std::net::TcpStream::from(self.socket(Protocol::Tcp).await?);
            let connecting = TcpSocket::from_std_stream(socket).connect(SocketAddr::new(*address, port));
            match tokio::time::timeout(CONNECT, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = format!("{address}: {error}"),
                Err(_) => why = format!("{address}: no answer within {} s", CONNECT.as_secs()),
            }
        }
        Err(why)
    }

    /// A UDP socket that speaks with this address only.
    pub async fn udp(&self, address: IpAddr, port: u16) -> Result<UdpSocket, String> {
        let socket = std::net::UdpSocket::from(self.socket(Protocol::Udp).await?);
        let connect = || -> std::io::Result<UdpSocket> {
            socket.set_nonblocking(true)?;
            socket.connect(SocketAddr::new(address, port))?;
            UdpSocket::from_std(socket)
        };
        connect().map_err(|error| format!("{address}: {error}"))
    }
}
