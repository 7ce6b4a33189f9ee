//! Makes a network namespace match a plan, over netlink. With `rules` and `look`, the only place that names `nlink`.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;

use nlink::{Nftables, Route};

mod delay;
mod delay_line;
mod entries;
mod execute;
mod observe;
mod pin;
mod probe;

pub use delay::{Delay, NETEM_REMEDY, tap_remedy};
pub use delay_line::{DelayLine, LineNames};
pub(crate) use observe::attributes;
pub use probe::{ABILITIES, probe};

use crate::plan::{NetPlan, Step, diff};

pub(crate) type Connection = nlink::netlink::Connection<Route>;
type FilterConnection = nlink::netlink::Connection<Nftables>;
type ConntrackConnection = nlink::netlink::Connection<nlink::netlink::Netfilter>;

/// Why the kernel's network could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A netlink request failed.
    #[error("{what}: {why}")]
    Netlink {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        why: String,
        /// Its number (`errno`), where it is one of the kernel's.
        code: Option<i32>,
    },
    /// A namespace or a setting could not be opened or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// No address to give.
    #[error(transparent)]
    Ipam(#[from] crate::plan::IpamError),
    /// What was asked for contradicts what is there, or itself.
    #[error("{0}")]
    Invalid(String),
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> NetError {
    let what = what.into();
    move |source| NetError::Io { what, source }
}

pub(crate) fn netlink(what: impl Into<String>) -> impl FnOnce(nlink::Error) -> NetError {
    let what = what.into();
    move |error| NetError::Netlink { what, why: error.to_string(), code: error.errno() }
}

impl NetError {
    /// Whether the kernel refused because there is such a thing already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Netlink { code: Some(nix::libc::EEXIST), .. })
    }
}

/// An open connection to the links of one network namespace. Needs a tokio runtime around it (any flavour).
/// The namespace stays alive as long as this value.
pub struct NetNamespace {
    connection: Connection,
    /// `None`: the namespace of the calling thread.
    file: Option<File>,
    /// The connection to the packet filter, once it was asked for.
    filter: OnceLock<FilterConnection>,
    /// The same for the connections that conntrack knows.
    conntrack: OnceLock<ConntrackConnection>,
}

impl NetNamespace {
    /// The caller's own namespace.
    pub fn current() -> Result<Self, NetError> {
        let connection = Connection::new().map_err(netlink("open netlink socket"))?;
        Ok(Self { connection, file: None, filter: OnceLock::new(), conntrack: OnceLock::new() })
    }

    /// The namespace of a process. It stays open, and alive, as long as this value.
    pub fn of_pid(pid: u32) -> Result<Self, NetError> {
        Self::at(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// The namespace that a file names.
    pub fn at(path: &Path) -> Result<Self, NetError> {
        let what = format!("open network namespace {}", path.display());
        Self::of_file(File::open(path).map_err(io(&what))?, what)
    }

    fn of_file(file: File, what: String) -> Result<Self, NetError> {
        let connection = Connection::new_in(file.as_fd()).map_err(netlink(what))?;
        Ok(Self { connection, file: Some(file), filter: OnceLock::new(), conntrack: OnceLock::new() })
    }

    /// The connection to the packet filter. It stays open: to close one, the kernel waits until what was deleted by
    /// anyone is really gone, which takes tens of milliseconds.
    pub(crate) fn filter(&self) -> Result<&FilterConnection, NetError> {
        if let Some(filter) = self.filter.get() {
            return Ok(filter);
        }
        let filter = match &self.file {
            None => FilterConnection::new(),
            Some(file) => FilterConnection::new_in(file.as_fd()),
        };
        let filter = filter.map_err(netlink("open nftables socket"))?;
        Ok(self.filter.get_or_init(|| filter))
    }

    /// The connection to conntrack. It stays open for the same reason.
    pub(crate) fn conntrack(&self) -> Result<&ConntrackConnection, NetError> {
        if let Some(conntrack) = self.conntrack.get() {
            return Ok(conntrack);
        }
        let conntrack = match &self.file {
            None => ConntrackConnection::new(),
            Some(file) => ConntrackConnection::new_in(file.as_fd()),
        };
        let conntrack = conntrack.map_err(netlink("open conntrack socket"))?;
        Ok(self.conntrack.get_or_init(|| conntrack))
    }

    /// The connection to its links.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Makes the namespace match; the steps that were needed, none when it matched already.
    pub async fn apply(&self, plan: &NetPlan) -> Result<Vec<Step>, NetError> {
        self.apply_over(plan, self).await
    }

    /// The same, where the packets of VXLAN links that it makes travel in another namespace.
    pub async fn apply_over(&self, plan: &NetPlan, underlay: &NetNamespace) -> Result<Vec<Step>, NetError> {
        let steps = diff(&self.observe(plan).await?, plan);
        self.execute_all(&steps, underlay).await?;
        Ok(steps)
    }

    pub(crate) async fn execute_all(&self, steps: &[Step], underlay: &NetNamespace) -> Result<(), NetError> {
        for step in steps {
            tracing::debug!(?step, "network");
            self.execute(step, underlay).await?;
        }
        Ok(())
    }

    /// Removes a link, with its pair; nothing when it is not there.
    pub async fn delete_link(&self, name: &str) -> Result<(), NetError> {
        match self.connection.del_link_if_exists(name).await {
            Ok(_) => Ok(()),
            Err(error) => Err(netlink(format!("delete link {name}"))(error)),
        }
    }

    /// Sets a link down or up, without a plan: pulling and plugging the cable.
    pub async fn set_up(&self, name: &str, up: bool) -> Result<(), NetError> {
        self.connection
            .set_link_state(name, up)
            .await
            .map_err(netlink(format!("set {name} {}", if up { "up" } else { "down" })))
    }

    /// Moves a link into another namespace. There it is down and has no addresses.
    pub async fn move_link(&self, name: &str, into: &NetNamespace) -> Result<(), NetError> {
        let what = format!("move {name} into another network namespace");
        let own;
        let file = match &into.file {
            Some(file) => file,
            None => {
                own = File::open("/proc/thread-self/ns/net").map_err(io(&what))?;
                &own
            }
        };
        self.connection.set_link_netns_fd(name, file).await.map_err(netlink(what))
    }

    /// Runs `f` in this namespace. /proc/sys/net shows the namespace of the thread that looks, so a short-lived
    /// thread enters it: a failure half-way can then never leave the caller in the wrong namespace.
    pub(crate) fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, NetError> {
        let Some(file) = &self.file else {
            return Ok(f());
        };
        in_thread("enter network namespace", || {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)
                .map_err(|errno| io("enter network namespace")(errno.into()))?;
            Ok(f())
        })
    }
}

/// Runs `f` in a thread of its own, whose namespaces end with it.
fn in_thread<T: Send>(what: &str, f: impl FnOnce() -> Result<T, NetError> + Send) -> Result<T, NetError> {
    let panicked = || io(what)(std::io::Error::other("helper thread panicked"));
    std::thread::scope(|scope| scope.spawn(f).join().unwrap_or_else(|_| Err(panicked())))
}
