//! A container as the probe sees it: the first process's network namespace, hosts file and name server.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::engine::api::{self, ApiError};

/// The node's own Docker socket.
const SOCKET: &str = "/run/docker.sock";
const TIMEOUT: Duration = Duration::from_secs(10);

/// A running container of this node.
pub struct Container {
    pid: i64,
}

impl Container {
    /// The container of this id; none where it does not run (any more).
    pub async fn find(id: &str) -> Result<Option<Self>, String> {
        let path = lab::encode_query(&format!("/containers/{id}/json"));
        match api::get(Path::new(SOCKET), &path, TIMEOUT).await {
            Ok(details) => Ok(details["State"]["Pid"].as_i64().filter(|pid| *pid > 0).map(|pid| Self { pid })),
            Err(ApiError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Moves this process into the container's network namespace.
    pub fn enter_network(&self) -> Result<(), String> {
        let path = format!("/proc/{}/ns/net", self.pid);
        let enter = || nix::sched::setns(File::open(&path)?, nix::sched::CloneFlags::CLONE_NEWNET).map_err(Into::into);
        enter().map_err(|error: std::io::Error| format!("enter the container's network: {error}"))
    }

    /// Whether it has ended since it was found.
    pub fn ended(&self) -> bool {
        // a process that nobody has waited for yet is still in /proc, but without namespaces
        fs::read_link(format!("/proc/{}/ns/net", self.pid)).is_err()
    }

    /// The first name server of its `/etc/resolv.conf`.
    pub fn name_server(&self) -> Option<IpAddr> {
        let text = self.file("etc/resolv.conf")?;
        text.lines().find_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
    }

    /// What its `/etc/hosts` says of a name.
    pub fn host(&self, name: &str) -> Option<IpAddr> {
        host(&self.file("etc/hosts")?, name)
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/root/{name}", self.pid)).ok()
    }
}

/// The first address of a name in the text of a hosts file.
fn host(text: &str, name: &str) -> Option<IpAddr> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_container_whose_process_has_ended_is_told_from_one_that_runs() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let container = Container { pid: child.id().into() };
        assert!(!container.ended());
        child.kill().unwrap();
        // it has ended, but nobody has waited for it
        let one = nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(child.id().try_into().unwrap()));
        let flags = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
        nix::sys::wait::waitid(one, flags).unwrap();
        assert!(container.ended() && container.enter_network().is_err());
        child.wait().unwrap();
        assert!(container.ended());
    }

    #[test]
    fn a_hosts_file_is_read_without_its_comments() {
        let text = "# 10.0.0.9 web\n127.0.0.1\tlocalhost\n10.0.1.2 web.1 Web # other\n";
        assert_eq!(host(text, "web"), "10.0.1.2".parse().ok());
        assert_eq!(host(text, "other"), None);
    }
}
