//! Where a lab's published ports are reachable on the learner's machine: what the forwarder tells sandbox-init, and
//! everybody else asks there. Plain data.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::fault::Protocol;

/// All forwarded ports of a lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwards {
    /// Whether the forwarder has seen all nodes at least once.
    pub ready: bool,
    /// The ports, in order.
    pub ports: Vec<Forward>,
}

/// A published port and its place on the learner's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Who publishes it: services, or a container.
    pub names: Vec<String>,
    /// The transport.
    pub protocol: Protocol,
    /// The port in the lab.
    pub published: u16,
    /// The node whose port it is; none for one that every node of the swarm answers at.
    pub node: Option<String>,
    /// Where it is reachable, or why it is not.
    pub at: Result<Local, String>,
}

/// A place on the learner's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// The address, other than the loopback ones, or 127.0.0.1.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

impl Forward {
    /// What to type in a browser or a client.
    pub fn url(&self) -> Option<String> {
        let Local { address, port } = *self.at.as_ref().ok()?;
        let host = match address {
            address if address.is_loopback() || address.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        Some(match self.protocol {
            Protocol::Tcp => format!("http://{host}:{port}"),
            Protocol::Udp => format!("{host}:{port}/udp"),
        })
    }
}

/// `web  http://localhost:8080  (published port 8080)`
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = if self.names.is_empty() { "?".to_owned() } else { self.names.join(", ") };
        let port = match &self.node {
            None => format!("published port {}", self.published),
            Some(node) => format!("port {} of {node}", self.published),
        };
        match (&self.at, self.url()) {
            (Ok(_), Some(url)) => write!(f, "{names}  {url}  ({port})"),
            (at, _) => write!(f, "{names}  not reachable: {}  ({port})", at.as_ref().err().map_or("", String::as_str)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_forward_says_what_to_type_and_what_it_is() {
        let mut forward = Forward {
            names: vec!["web".into()],
            protocol: Protocol::Tcp,
            published: 80,
            node: None,
            at: Ok(Local { address: [127, 0, 0, 1].into(), port: 8080 }),
        };
        assert_eq!(forward.to_string(), "web  http://localhost:8080  (published port 80)");
        forward.at = Ok(Local { address: "fd00::7".parse().unwrap(), port: 8080 });
        forward.node = Some("worker1".into());
        assert_eq!(forward.to_string(), "web  http://[fd00::7]:8080  (port 80 of worker1)");
        forward.protocol = Protocol::Udp;
        assert_eq!(forward.url().unwrap(), "[fd00::7]:8080/udp");
        forward.at = Err("no port is free".into());
        assert_eq!(forward.to_string(), "web  not reachable: no port is free  (port 80 of worker1)");
        let text = serde_json::to_string(&forward).unwrap();
        assert_eq!(serde_json::from_str::<Forward>(&text).unwrap(), forward);
    }
}
