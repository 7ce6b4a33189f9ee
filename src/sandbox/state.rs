//! Files of the sandboxes of one user: where they lie, who owns them, and how those of the dead are removed.
//!
//! A state folder is alive while its `lock` is held. Guard and sandbox-init share the lock's open file, so it is
//! released by the kernel when the last of both ends, however that happens.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;

use super::{SandboxError, SandboxSpec, cgroup, guard, io_error, protocol};

/// Longest path of a unix socket that the kernel takes.
const MAX_SOCKET_PATH: usize = 107;

/// The folder of all this user's sandboxes: `$SWARMLAB_STATE_DIR`, else `$XDG_RUNTIME_DIR/swarmlab`, else
/// `/tmp/swarmlab-UID`. Made if missing; refused when it belongs to another user, who could otherwise plant files.
pub fn base_dir() -> Result<PathBuf, SandboxError> {
    let uid = nix::unistd::geteuid().as_raw();
    let owned = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid);
    let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = if let Some(dir) = from_env("SWARMLAB_STATE_DIR") {
        PathBuf::from(dir)
    } else {
        from_env("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute() && owned(dir))
            .map(|dir| dir.join("swarmlab"))
            .unwrap_or_else(|| PathBuf::from(format!("/tmp/swarmlab-{uid}")))
    };
    match fs::DirBuilder::new().mode(0o700).create(&base) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_error(format!("create {}", base.display()))(error)),
    }
    if !owned(&base) {
        return Err(SandboxError::Refused(format!(
            "{} belongs to someone else or is not a folder: remove it, or set SWARMLAB_STATE_DIR to a folder of yours",
            base.display()
        )));
    }
    base.canonicalize().map_err(io_error(format!("open {}", base.display())))
}

/// Whether namespaces can be made without a user namespace around them: root, and not one that a container has bereft
/// of its powers.
pub fn privileged() -> bool {
    /// Number of the capability that mounts and namespaces need.
    const CAP_SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    nix::unistd::geteuid().is_root() && effective & (1 << CAP_SYS_ADMIN) != 0
}

/// The folder of a node below a sandbox's folder.
pub fn node_dir(dir: &Path, node: &str) -> PathBuf {
    dir.join("nodes").join(node)
}

/// Makes and locks the folder of a new sandbox.
pub fn create(base: &Path, spec: &SandboxSpec) -> Result<(PathBuf, File), SandboxError> {
    let dir = base.join(&spec.name);
    let longest = spec.nodes.iter().map(|node| node.name.len()).max();
    let socket = dir.as_os_str().len() + "/nodes//docker.sock".len() + longest.unwrap_or(0);
    if socket > MAX_SOCKET_PATH {
        return Err(SandboxError::Refused(format!(
            "the path of a node's socket below {} would have {socket} bytes, the kernel allows {MAX_SOCKET_PATH}: \
             use a shorter name, or set SWARMLAB_STATE_DIR to a shorter folder",
            dir.display()
        )));
    }
    let (dir, lock) = create_locked(base, &spec.name)?;
    for node in &spec.nodes {
        fs::create_dir_all(node_dir(&dir, &node.name).join("data")).map_err(io_error("create node folder"))?;
    }
    fs::create_dir(dir.join("root")).map_err(io_error("create mount point"))?;
    let text =
        serde_json::to_vec_pretty(spec).map_err(|error| SandboxError::Remote(format!("encode spec: {error}")))?;
    fs::write(dir.join("sandbox.json"), text).map_err(io_error("write sandbox.json"))?;
    Ok((dir, lock))
}

/// Makes a folder that counts as alive as long as the returned file is open somewhere.
pub fn create_locked(base: &Path, name: &str) -> Result<(PathBuf, File), SandboxError> {
    let dir = base.join(name);
    let _serial = serialize(base)?;
    match fs::DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(SandboxError::Refused(format!(
                "a cluster named {name:?} is already running: stop it with `swarmlab cluster down {name}` or use another name"
            )));
        }
        Err(error) => return Err(io_error(format!("create {}", dir.display()))(error)),
    }
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join("lock"))
        .map_err(io_error("create lock"))?;
    // not `Flock`, which unlocks on drop for all who share the open file; blocking, as others may be looking
    #[allow(deprecated)]
    nix::fcntl::flock(std::os::fd::AsRawFd::as_raw_fd(&lock), FlockArg::LockExclusive)
        .map_err(io_error("lock state folder"))?;
    Ok((dir, lock))
}

/// Held while folders are made or reaped, so that nobody reaps a folder between its making and its locking.
fn serialize(base: &Path) -> Result<Flock<File>, SandboxError> {
    let file = File::create(base.join(".lock")).map_err(io_error("open state lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io_error("lock state")(errno))
}

/// The lock file of a sandbox, if there is such a folder.
pub fn open_lock(dir: &Path) -> Result<Option<File>, SandboxError> {
    match File::open(dir.join("lock")) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(format!("open {}/lock", dir.display()))(error)),
    }
}

/// Whether nobody holds the lock (any more).
fn is_free(dir: &Path) -> bool {
    match open_lock(dir) {
        // shared: two who look at the same time must not take each other for the owner
        Ok(Some(file)) => Flock::lock(file, FlockArg::LockSharedNonblock).is_ok(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Whether there is a sandbox of that name that is alive.
pub fn running(base: &Path, name: &str) -> bool {
    let dir = base.join(name);
    // no path tricks: names come from command lines
    !name.is_empty() && !name.contains(['/', '.']) && dir.is_dir() && !is_free(&dir)
}

/// Names of the sandboxes that are alive.
pub fn list(base: &Path) -> Vec<String> {
    let mut names: Vec<String> = folders(base);
    names.retain(|name| !is_free(&base.join(name)));
    names.sort();
    names
}

fn folders(base: &Path) -> Vec<String> {
    fs::read_dir(base)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Removes what sandboxes left behind that ended without cleaning up: their names, each with the result.
pub fn reap(base: &Path) -> Vec<(String, Result<(), SandboxError>)> {
    let Ok(_serial) = serialize(base) else {
        return Vec::new();
    };
    folders(base)
        .into_iter()
        .filter(|name| is_free(&base.join(name)))
        .map(|name| {
            let result = remove(&base.join(&name));
            (name, result)
        })
        .collect()
}

/// Removes a dead sandbox's cgroups and files.
pub fn remove(dir: &Path) -> Result<(), SandboxError> {
    cgroup::remove_recorded(dir);
    if remove_tree(dir).is_ok() {
        return Ok(());
    }
    // Containers leave files of other (mapped) users and folders without permissions: only root of the same user
    // namespace may remove those, so a helper process enters one and does.
    guard::remove_as_mapped_root(dir)
}

/// Removes a folder; fine when it is not there.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Waits for the end of a process (child or not); false when the deadline comes first.
pub fn wait_for_exit(pid: Pid, deadline: Instant) -> bool {
    // SAFETY: a system call without pointers.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let Ok(fd) = i32::try_from(fd) else {
        return true;
    };
    if fd < 0 {
        return true; // no such process
    }
    // SAFETY: pidfd_open returned a new descriptor.
    let fd = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    protocol::wait_readable(fd.as_fd(), deadline)
}

/// Waits until nobody holds the lock any more. The kernel has no lock with a timeout, hence the thread.
pub fn wait_for_unlock(lock: File, timeout: Duration) -> Result<(), SandboxError> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let result = Flock::lock(lock, FlockArg::LockExclusive).map(drop);
        let _ = sender.send(result.map_err(|(_, errno)| errno));
    });
    match receiver.recv_timeout(timeout) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(errno)) => Err(io_error("wait for the sandbox's end")(errno)),
        Err(_) => Err(SandboxError::Remote(format!("the sandbox did not end within {} s", timeout.as_secs()))),
    }
}
