//! A lasting connection to sandbox-init, for the forwarder: sockets from inside come over it, and its end is the end of
//! the lab.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::fault::Protocol;
use super::forwarded::Forwards;
use super::protocol::{self, Reply, Request};
use super::{SandboxError, io_error};

/// Longest wait for an answer. While a node is being started sandbox-init does nothing else.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The connection.
pub struct Courier(OwnedFd);

impl Courier {
    /// Connects to the sandbox with this state folder.
    pub fn connect(dir: &Path) -> Result<Self, SandboxError> {
        protocol::connect(&dir.join("init.sock")).map(Self).map_err(io_error("reach sandbox-init"))
    }

    /// A socket of the lab's network, connected to nothing yet. It does not block.
    pub fn socket(&self, protocol: Protocol) -> Result<OwnedFd, SandboxError> {
        let (_, files) = self.request(&Request::Socket { protocol })?;
        files.into_iter().next().ok_or_else(|| SandboxError::Remote("sandbox-init gave no socket".into()))
    }

    /// Tells where the published ports are reachable. What was told is forgotten with this connection.
    pub fn tell(&self, forwards: &Forwards) -> Result<(), SandboxError> {
        self.request(&Request::SetForwards { forwards: forwards.clone() }).map(drop)
    }

    /// Returns when the sandbox has ended.
    pub fn wait_for_end(&self) {
        // sandbox-init says nothing of its own accord
        let _ = protocol::recv::<Reply>(self.0.as_fd());
    }

    fn request(&self, request: &Request) -> Result<(Reply, Vec<OwnedFd>), SandboxError> {
        protocol::send(self.0.as_fd(), request, &[])?;
        match protocol::recv_timeout::<Reply>(self.0.as_fd(), TIMEOUT)? {
            Some((Reply::Failed { message } | Reply::Refused { message }, _)) => Err(SandboxError::Remote(message)),
            Some(answer) => Ok(answer),
            None => Err(SandboxError::Remote("sandbox-init has ended".into())),
        }
    }
}
