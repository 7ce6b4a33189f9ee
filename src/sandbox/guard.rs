//! The guard: the sandbox's one process outside of it. It makes the namespaces, maps the users, waits for
//! sandbox-init's end and then removes what the kernel does not remove by itself: cgroups and files.
//!
//! It runs as `swarmlab sandbox-init guard DIR`, single-threaded, with two inherited files: [`SOCKET_FD`], on which
//! the runner sends the spec and hears whether the boot went well, and [`LOCK_FD`], the state folder's lock.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid};

use super::protocol::Reply;
use super::{SandboxError, SandboxSpec, cgroup, init, io_error, probe, protocol, state};

/// Inherited: the runner's socket.
pub const SOCKET_FD: i32 = 3;
/// Inherited: the open, locked lock file.
pub const LOCK_FD: i32 = 4;

/// The mode `swarmlab sandbox-init ...`. `args` are those after `sandbox-init`.
pub fn main(args: &[OsString]) -> ExitCode {
    let dir = args.get(1).map(PathBuf::from);
    match (args.first().and_then(|mode| mode.to_str()), dir) {
        (Some("guard"), Some(dir)) => guard(&dir),
        (Some("probe"), Some(dir)) => probe::main(&dir),
        (Some("remove"), Some(dir)) => match fs::remove_dir_all(&dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", dir.display());
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("swarmlab sandbox-init is started by swarmlab itself");
            ExitCode::from(2)
        }
    }
}

fn guard(dir: &Path) -> ExitCode {
    // SAFETY: the runner hands exactly these two descriptors over; nobody else in this process knows them.
    let (socket, lock) = unsafe { (OwnedFd::from_raw_fd(SOCKET_FD), OwnedFd::from_raw_fd(LOCK_FD)) };
    for fd in [&socket, &lock] {
        let flags = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        if nix::fcntl::fcntl(fd, flags).is_err() {
            eprintln!("swarmlab sandbox-init is started by swarmlab itself");
            return ExitCode::from(2);
        }
    }
    let child = match launch(dir, &socket) {
        Ok(child) => Some(child),
        Err(error) => {
            let message = error.to_string();
            let _ = protocol::send(socket.as_fd(), &Reply::Failed { message }, &[]);
            None
        }
    };
    // sandbox-init alone holds it now: the runner sees its end as end of file
    drop(socket);
    if let Some(child) = child {
        while waitpid(child, None) == Err(nix::errno::Errno::EINTR) {}
    }
    if let Err(error) = state::remove(dir) {
        eprintln!("state folder not removed: {error}");
        return ExitCode::FAILURE;
    }
    drop(lock);
    ExitCode::SUCCESS
}

/// Makes sandbox-init in its namespaces; returns when it may go on.
fn launch(dir: &Path, socket: &OwnedFd) -> Result<Pid, SandboxError> {
    let Some((spec, _)) = protocol::recv::<SandboxSpec>(socket.as_fd())? else {
        return Err(SandboxError::Remote("the runner has ended".into()));
    };
    let root = state::privileged();
    let groups = if root { cgroup::create(dir, &cgroup::id_of(dir))? } else { Vec::new() };
    let (mut go_read, go_write) = pipe()?;
    let mut flags =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    if !root {
        flags |= libc::CLONE_NEWUSER;
    }
    match clone_process(flags).map_err(io_error("create namespaces"))? {
        None => {
            drop(go_write);
            let mut go = [0u8; 1];
            // end of file: the guard failed or ended before the users were mapped
            if go_read.read(&mut go).unwrap_or(0) == 1 {
                let with_cgroups = !groups.is_empty();
                init::main(dir, &spec, socket, with_cgroups);
            }
            // SAFETY: ends this forked process without running the guard's cleanup.
            unsafe { libc::_exit(1) }
        }
        Some(child) => {
            drop(go_read);
            let prepared = prepare(child, root, &groups)
                .and_then(|()| fs::File::from(go_write).write_all(b"g").map_err(io_error("wake sandbox-init")));
            if let Err(error) = prepared {
                let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
                let _ = waitpid(child, None);
                return Err(error);
            }
            Ok(child)
        }
    }
}

fn prepare(child: Pid, root: bool, groups: &[PathBuf]) -> Result<(), SandboxError> {
    if !root {
        map_users(child)?;
    }
    cgroup::enter(groups, child.as_raw())
}

/// A pipe whose ends close on exec.
pub fn pipe() -> Result<(fs::File, OwnedFd), SandboxError> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(io_error("create pipe"))?;
    Ok((fs::File::from(read), write))
}

/// As fork, into new namespaces. Only for single-threaded processes, where everything stays usable in the child.
pub fn clone_process(flags: i32) -> nix::Result<Option<Pid>> {
    let flags = libc::c_ulong::try_from(flags | libc::SIGCHLD).unwrap_or_default();
    // SAFETY: no new stack and no pointers: the child goes on with a copy, exactly as after fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    let pid = nix::errno::Errno::result(pid)?;
    Ok((pid != 0).then(|| Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))))
}

/// Maps the user to root of the namespace: with a range of further users where `newuidmap` and /etc/subuid give
/// one (then containers' own users work), else alone.
fn map_users(child: Pid) -> Result<(), SandboxError> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if map_ranges(child, uid, gid).is_some() {
        return Ok(());
    }
    let write = |file: &str, text: String| {
        let path = format!("/proc/{child}/{file}");
        fs::write(&path, text).map_err(io_error(format!("write {path}")))
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("0 {uid} 1\n"))?;
    write("gid_map", format!("0 {gid} 1\n"))
}

fn map_ranges(child: Pid, uid: Uid, gid: Gid) -> Option<()> {
    let user = nix::unistd::User::from_uid(uid).ok().flatten()?.name;
    let (uid_start, uid_count) = sub_range("/etc/subuid", &user, uid.as_raw())?;
    let (gid_start, gid_count) = sub_range("/etc/subgid", &user, uid.as_raw())?;
    let run = |program: &str, own: u32, start: u32, count: u32| {
        std::process::Command::new(program)
            .args([child.to_string(), "0".into(), own.to_string(), "1".into()])
            .args(["1".to_owned(), start.to_string(), count.to_string()])
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    // groups first: if they fail nothing is mapped yet and the plain mapping still can be
    (run("newgidmap", gid.as_raw(), gid_start, gid_count) && run("newuidmap", uid.as_raw(), uid_start, uid_count))
        .then_some(())
}

/// The user's first range in /etc/subuid or /etc/subgid, cut to the 65536 that images use.
fn sub_range(file: &str, user: &str, uid: u32) -> Option<(u32, u32)> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut parts = line.trim().split(':');
        let (name, start, count) = (parts.next()?, parts.next()?, parts.next()?);
        if name != user && name != uid.to_string() {
            return None;
        }
        let count: u32 = count.parse().ok()?;
        (count > 0).then_some((start.parse().ok()?, count.min(65536)))
    })
}

/// Removes a folder in a helper process that is root of a user namespace with the same users as a sandbox.
pub fn remove_as_mapped_root(dir: &Path) -> Result<(), SandboxError> {
    use std::os::unix::process::CommandExt;
    let failed = |why: String| SandboxError::Remote(format!("remove {}: {why}", dir.display()));
    if state::privileged() {
        return fs::remove_dir_all(dir).map_err(io_error(format!("remove {}", dir.display())));
    }
    let (ready_read, ready_write) = pipe()?;
    let (go_read, go_write) = pipe()?;
    let (ready_fd, go_fd) = (std::os::fd::AsRawFd::as_raw_fd(&ready_write), std::os::fd::AsRawFd::as_raw_fd(&go_read));
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("swarmlab").args(["sandbox-init", "remove"]).arg(dir).env_clear().stdin(std::process::Stdio::null());
    // SAFETY: between fork and exec only unshare, read, write and getpid, all async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            if libc::unshare(libc::CLONE_NEWUSER) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let pid = libc::getpid().to_ne_bytes();
            libc::write(ready_fd, pid.as_ptr().cast(), pid.len());
            let mut go = 0u8;
            libc::read(go_fd, (&raw mut go).cast(), 1);
            Ok(())
        });
    }
    // `output` returns only after the child's exec, which waits for the mapping: so it waits in a thread, which
    // also closes the child's ends if there is no child: then the read below ends
    let child = std::thread::spawn(move || {
        let result = command.output();
        drop((ready_write, go_read));
        result
    });
    let mut pid = [0u8; 4];
    let mut ready_read = ready_read;
    if ready_read.read_exact(&mut pid).is_ok() {
        map_users(Pid::from_raw(i32::from_ne_bytes(pid)))?;
    }
    let _ = fs::File::from(go_write).write_all(b"g");
    match child.join() {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("helper thread panicked".into())),
    }
}
