//! Network namespaces with a name: a file on which the namespace is mounted, so that it lives without a process.
//!
//! The mounts are those of the caller's mount namespace, as Docker's in `/var/run/docker/netns`; `nsenter --net=FILE`
//! enters one.

use std::fs::{self, File};
use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::{NetError, NetNamespace, in_thread, io};

impl NetNamespace {
    /// Whether a namespace is mounted on that file. A file without one is what a restart of the machine, or a death
    /// half-way, leaves behind.
    pub fn is_pinned(path: &Path) -> bool {
        statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
    }

    /// The namespace with that name; a new and empty one when there is none. Makes the directory, too.
    pub fn pinned(path: &Path) -> Result<Self, NetError> {
        if Self::is_pinned(path) {
            return Self::at(path);
        }
        let what = format!("create network namespace {}", path.display());
        let file = in_thread(&what, || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| io(&what)(errno.into()))?;
            File::open("/proc/thread-self/ns/net").map_err(io(&what))
        })?;
        let namespace = Self::of_file(file, what)?;
        namespace.pin(path)?;
        Ok(namespace)
    }

    /// Gives the namespace a name: nothing to do when it has it.
    pub fn pin(&self, path: &Path) -> Result<(), NetError> {
        let what = format!("pin network namespace at {}", path.display());
        if Self::is_pinned(path) {
            return Ok(());
        }
        let source = match &self.file {
            Some(file) => format!("/proc/self/fd/{}", file.as_raw_fd()),
            None => "/proc/thread-self/ns/net".to_owned(),
        };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(io(&what))?;
        }
        match File::create_new(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io(what)(error)),
            _ => {}
        }
        mount(Some(source.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|errno| io(what)(errno.into()))
    }

    /// Takes the name away: the namespace ends with its last process and last open file. Idempotent.
    pub fn unpin(path: &Path) -> Result<(), NetError> {
        let what = format!("remove network namespace {}", path.display());
        // several may lie on each other; EINVAL: nothing is mounted there (any more)
        loop {
            match umount2(path, MntFlags::MNT_DETACH) {
                Ok(()) => {}
                Err(Errno::EINVAL | Errno::ENOENT) => break,
                Err(errno) => return Err(io(what)(Error::from(errno))),
            }
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io(what)(error)),
            _ => Ok(()),
        }
    }
}
