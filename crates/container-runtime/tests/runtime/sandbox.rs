//! A stand-in for the lab's sandbox: new user, mount, pid, net, uts and ipc namespaces, a tmpfs root with the
//! machine's /usr and friends, a tmpfs on /sys/fs/cgroup.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, fork, getegid, geteuid, pivot_root};

/// Runs this binary again with `args`, as root of a new user namespace. Returns its exit code.
pub fn rootless(args: &[String]) -> i32 {
    let exe = std::env::current_exe().unwrap();
    Command::new(exe).arg("sandbox-init").args(args).status().unwrap().code().unwrap_or(1)
}

/// The mode `sandbox-init`.
pub fn init(args: Vec<String>) -> ExitCode {
    let (uid, gid) = (geteuid(), getegid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .unwrap();
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => {
            let code = match nix::sys::wait::waitpid(child, None).unwrap() {
                nix::sys::wait::WaitStatus::Exited(_, code) => code,
                _ => 1,
            };
            ExitCode::from(code as u8)
        }
        ForkResult::Child => {
            root();
            // PID 1 reaps, and a child does the work.
            match unsafe { fork() }.unwrap() {
                ForkResult::Child => {
                    let exe = CString::new("/swarmlab-test").unwrap();
                    let argv: Vec<CString> =
                        std::iter::once("runtime".to_owned()).chain(args).map(|a| CString::new(a).unwrap()).collect();
                    let _ = nix::unistd::execv(&exe, &argv);
                    unsafe { nix::libc::_exit(99) }
                }
                ForkResult::Parent { child } => loop {
                    match nix::sys::wait::wait() {
                        Ok(nix::sys::wait::WaitStatus::Exited(pid, code)) if pid == child => unsafe {
                            nix::libc::_exit(code)
                        },
                        Ok(nix::sys::wait::WaitStatus::Signaled(pid, ..)) if pid == child => unsafe {
                            nix::libc::_exit(1)
                        },
                        _ => {}
                    }
                },
            }
        }
    }
}

fn root() {
    let none = None::<&str>;
    let tmpfs = |at: &Path| mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let bind = |from: &Path, to: &Path| mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    // The state lies on a real filesystem, and so does the binary.
    let state = std::env::var_os("RUNTIME_TEST_STATE").map(std::path::PathBuf::from).unwrap();
    let exe = fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let state_fd = fs::File::open(&state).unwrap();
    let new = Path::new("/tmp");
    let old_fd = fs::File::open("/").unwrap();
    tmpfs(new);
    for d in ["usr", "etc", "proc", "sys", "dev", "tmp", "run", "state", "var"] {
        fs::create_dir(new.join(d)).unwrap();
    }
    for d in ["usr", "etc", "dev"] {
        bind(&Path::new("/").join(d), &new.join(d));
    }
    for d in ["bin", "sbin", "lib", "lib64"] {
        match fs::read_link(Path::new("/").join(d)) {
            Ok(t) => std::os::unix::fs::symlink(t, new.join(d)).unwrap(),
            Err(_) if Path::new("/").join(d).is_dir() => {
                fs::create_dir(new.join(d)).unwrap();
                bind(&Path::new("/").join(d), &new.join(d));
            }
            Err(_) => {}
        }
    }
    fs::write(new.join("swarmlab-test"), "").unwrap();
    let fd = |f: &fs::File| std::path::PathBuf::from(format!("/proc/self/fd/{}", f.as_raw_fd()));
    bind(&fd(&exe), &new.join("swarmlab-test"));
    bind(&fd(&state_fd), &new.join("state"));
    mount(Some("proc"), &new.join("proc"), Some("proc"), MsFlags::empty(), none).unwrap();
    mount(Some("sysfs"), &new.join("sys"), Some("sysfs"), MsFlags::empty(), none).unwrap();
    tmpfs(&new.join("sys/fs/cgroup"));
    drop((exe, state_fd, old_fd));
    std::env::set_current_dir(new).unwrap();
    pivot_root(".", ".").unwrap();
    umount2(".", MntFlags::MNT_DETACH).unwrap();
    std::env::set_current_dir("/").unwrap();
}
