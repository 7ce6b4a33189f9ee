//! Tries every ability of the kernel that the sandbox needs, in namespaces that end with the trying process.
//!
//! [`run`] starts `swarmlab sandbox-init probe DIR`, which must be single-threaded to make a user namespace, and reads
//! its findings: one line each, a name and `ok` or what went wrong. What that means for a person is `doctor`'s matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;

use super::{guard, state};

/// One ability: its name, and why it is missing if it is.
pub type Ability = (String, Result<(), String>);

/// All abilities, in the order in which they build on each other: after a missing one the later may be absent.
pub fn run() -> Result<Vec<Ability>, String> {
    let base = state::base_dir().map_err(|error| error.to_string())?;
    // locked like a sandbox's folder, so that nobody who starts meanwhile takes it for a left-over
    let (dir, lock) =
        state::create_locked(&base, &format!("probe{}", std::process::id())).map_err(|error| error.to_string())?;
    let output = std::process::Command::new("/proc/self/exe")
        .args(["sandbox-init", "probe"])
        .arg(&dir)
        .env_clear()
        .stdin(Stdio::null())
        .output();
    drop(lock);
    let removed = state::remove(&dir);
    let output = output.map_err(|error| format!("start the probe: {error}"))?;
    removed.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, result)| {
            let result = if result == "ok" { Ok(()) } else { Err(result.to_owned()) };
            (name.to_owned(), result)
        })
        .collect())
}

/// The mode `sandbox-init probe DIR`.
pub fn main(dir: &Path) -> ExitCode {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if !state::privileged() {
        let made = unshare(CloneFlags::CLONE_NEWUSER).map_err(std::io::Error::from).and_then(|()| {
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
            fs::write("/proc/self/gid_map", format!("0 {gid} 1\n"))
        });
        if !report("user-namespaces", made) {
            return ExitCode::FAILURE;
        }
    }
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if !report("namespaces", unshare(all)) {
        return ExitCode::FAILURE;
    }
    let private = mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>);
    let place = dir.join("tmpfs");
    let tmpfs = private
        .map_err(std::io::Error::from)
        .and_then(|()| fs::create_dir(&place))
        .and_then(|()| Ok(mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>)?));
    if !report("mount", tmpfs) {
        return ExitCode::FAILURE;
    }
    report("overlayfs", overlay(dir));
    in_child(|| {
        for kind in ["proc", "sysfs", "devpts"] {
            report(kind, mount_fresh(dir, kind));
        }
    });
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            for (name, result) in runtime.block_on(overlay_network::apply::probe()) {
                report(name, result);
            }
        }
        Err(error) => {
            report("bridge", Err(error));
        }
    }
    ExitCode::SUCCESS
}

fn report<E: std::fmt::Display>(name: &str, result: Result<(), E>) -> bool {
    match &result {
        Ok(()) => println!("{name}\tok"),
        Err(error) => println!("{name}\t{}", error.to_string().replace(['\n', '\t'], " ")),
    }
    result.is_ok()
}

/// With the upper layer where containers' layers will lie, and a file changed in it.
fn overlay(dir: &Path) -> Result<(), std::io::Error> {
    let folder = |name: &str| -> Result<PathBuf, std::io::Error> {
        let path = dir.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    };
    let (lower, upper, work, merged) = (folder("lower")?, folder("upper")?, folder("work")?, folder("merged")?);
    fs::write(lower.join("file"), "lower")?;
    let options = |extra: &str| {
        format!("lowerdir={},upperdir={},workdir={}{extra}", lower.display(), upper.display(), work.display())
    };
    let try_mount =
        |options: String| mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()));
    try_mount(options(",userxattr")).or_else(|_| try_mount(options("")))?;
    fs::remove_file(merged.join("file"))
}

fn mount_fresh(dir: &Path, kind: &str) -> Result<(), std::io::Error> {
    let place = dir.join(kind);
    fs::create_dir(&place)?;
    let options = (kind == "devpts").then_some("newinstance,ptmxmode=0666");
    Ok(mount(Some(kind), &place, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, options)?)
}

/// The new pid namespace holds for children only, and only for the first: it ends with that one.
fn in_child(try_it: impl FnOnce()) {
    match guard::clone_process(0) {
        Ok(None) => {
            try_it();
            // SAFETY: the forked copy must not go on as a second probe.
            unsafe { libc::_exit(0) }
        }
        Ok(Some(pid)) => {
            let _ = waitpid(pid, None);
        }
        Err(errno) => {
            report("proc", Err(errno));
        }
    }
}
