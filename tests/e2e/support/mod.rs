//! What the end-to-end tests share: running the binary as some user with state of its own, and waiting for facts.
#![allow(clippy::unwrap_used)]

mod cluster;
mod terminal;
mod traffic;

pub use cluster::{Cluster, Done, words};
pub use terminal::Terminal;
pub use traffic::{Shares, poll};

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An ordinary user for tests that root runs: need not exist in /etc/passwd.
const SOMEBODY: u32 = 54_321;

/// The binary under test: the one cargo built, or that of `SWARMLAB_BIN`, for users who cannot read cargo's folder.
pub fn binary() -> PathBuf {
    std::env::var_os("SWARMLAB_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_swarmlab").into()).into()
}

/// A user with a state folder and a copy of the binary that this user may execute.
pub struct User {
    uid: Option<u32>,
    home: tempfile::TempDir,
}

/// The user who runs the tests; when that is root, an ordinary one as well.
pub fn users() -> Vec<User> {
    let mut users = vec![User::new(None)];
    if nix::unistd::geteuid().is_root() {
        users.push(User::new(Some(SOMEBODY)));
    }
    users
}

impl User {
    fn new(uid: Option<u32>) -> Self {
        // below /tmp whatever TMPDIR says: the paths of sockets must stay short
        let home = tempfile::Builder::new().prefix("e2e-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let user = Self { uid, home };
        // by a process of its own: a descriptor of ours, open for writing, could be inherited by what another test
        // starts just then, and the kernel runs no file that anybody still writes ("Text file busy")
        let installed = Command::new("install").args(["-m", "755"]).arg(binary()).arg(user.binary()).status().unwrap();
        assert!(installed.success(), "copying the binary: {installed}");
        fs::create_dir(user.state()).unwrap();
        chown(user.state(), uid, uid).unwrap();
        user
    }

    /// Who it is, for messages.
    pub fn name(&self) -> String {
        self.uid.map_or("the caller".into(), |uid| format!("uid {uid}"))
    }

    /// Its number, where it is not the caller's.
    pub fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// The folder of this user's sandboxes.
    pub fn state(&self) -> PathBuf {
        self.home.path().join("s")
    }

    /// A folder of this user's, outside of the state.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.home.path().join(name);
        fs::create_dir(&folder).unwrap();
        chown(&folder, self.uid, self.uid).unwrap();
        folder
    }

    fn binary(&self) -> PathBuf {
        self.home.path().join("swarmlab")
    }

    /// `swarmlab ARGS`, ready to run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.binary());
        command.args(args).env("SWARMLAB_STATE_DIR", self.state()).stdin(Stdio::null()).current_dir("/");
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Runs `swarmlab ARGS` to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs `swarmlab ARGS`, which must succeed; its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "as {}: swarmlab {}: {}\n{}",
            self.name(),
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a shell line in a node of cluster `c`; its standard output.
    pub fn sh(&self, node: &str, line: &str) -> String {
        self.ok(&["cluster", "exec", "c", node, "sh", "-c", line])
    }

    /// Mounts of the machine, and control groups, that belong to this user's sandboxes.
    pub fn traces(&self) -> Vec<String> {
        let state = self.state();
        let marker = state.to_str().unwrap();
        let mut found: Vec<String> = fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter(|line| line.contains(marker))
            .map(str::to_owned)
            .collect();
        for entry in fs::read_dir(&state).unwrap().flatten() {
            if entry.path().is_dir() {
                found.push(entry.path().display().to_string());
            }
        }
        found.extend(cgroups(&state));
        found.extend(self.processes().iter().map(|(pid, line)| format!("process {pid}: {line}")));
        found
    }

    /// Processes whose command line names this user's folder: (pid, command line).
    pub fn processes(&self) -> Vec<(i32, String)> {
        processes(self.home.path().to_str().unwrap())
    }
}

/// Control groups of sandboxes in this state folder: their names end with a hash of the path, so any group made for
/// cluster `c` of this folder is told from those of other tests.
fn cgroups(state: &Path) -> Vec<String> {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in state.join("c").to_str().unwrap().bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let wanted = format!("swarmlab-c-{hash:08x}");
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str() == Some(&wanted) {
                found.push(entry.path().display().to_string());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// Processes whose command line contains the text.
pub fn processes(text: &str) -> Vec<(i32, String)> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (line.contains(text) && pid != i32::try_from(std::process::id()).ok()?).then_some((pid, line))
        })
        .collect()
}

/// Parent of a process.
pub fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Waits for a fact about processes that are not ours, whose end nothing tells us.
pub fn eventually(what: &str, fact: impl Fn() -> Result<(), String>) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        match fact() {
            Ok(()) => return,
            Err(why) => assert!(Instant::now() < deadline, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
