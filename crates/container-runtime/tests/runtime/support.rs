//! A small harness: cases by name, filtered by arguments, each with a runtime of its own.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use container_runtime::*;

/// What a case gets.
pub struct Lab {
    pub runtime: Runtime,
    pub dir: PathBuf,
    pub rootless: bool,
}

pub type Case = (&'static str, fn(Lab) -> Pin<Box<dyn Future<Output = Lab>>>);

pub async fn open(dir: &Path, rootless: bool) -> Runtime {
    let cgroups = if rootless {
        CgroupMode::Ignore
    } else {
        CgroupMode::Enforce { parent: format!("/swarmlab-test/{}", std::process::id()) }
    };
    // Another program's shim can be measured too.
    let shim_exe = std::env::var_os("RUNTIME_TEST_EXE").unwrap_or("/proc/self/exe".into()).into();
    Runtime::open(dir, Options { shim_exe, rootless: None, cgroups }).await.unwrap()
}

impl Lab {
    /// The daemon dies and comes back.
    pub async fn restart(self) -> Lab {
        let Lab { runtime, dir, rootless } = self;
        drop(runtime);
        Lab { runtime: open(&dir, rootless).await, dir, rootless }
    }

    pub async fn create(&self, config: ContainerConfig) -> ContainerId {
        self.runtime.create(config).await.unwrap().id
    }

    /// Runs a shell line to its end; returns status and output.
    pub async fn sh(&self, line: &str) -> (i32, String) {
        self.run(sh(line)).await
    }

    pub async fn run(&self, config: ContainerConfig) -> (i32, String) {
        let id = self.create(config).await;
        self.runtime.start(&id).await.unwrap();
        let state = within(self.runtime.wait(&id, false)).await.unwrap();
        let out = self.log(&id).await;
        self.runtime.remove(&id, false).await.unwrap();
        (state.exit_code, out)
    }

    pub async fn log(&self, id: &ContainerId) -> String {
        collect(self.runtime.logs(id, LogOptions::default()).await.unwrap()).await
    }

    pub async fn exec(&self, id: &ContainerId, line: &str) -> (i32, String) {
        let args = ["/bin/sh", "-c", line].map(String::from).to_vec();
        let exec = self.runtime.exec_create(id, ExecConfig { args, ..Default::default() }).unwrap();
        output(self.runtime.exec_start(&exec).await.unwrap()).await
    }
}

pub fn sh(line: &str) -> ContainerConfig {
    ContainerConfig {
        image: "swarmlab/tools:1.0".into(),
        cmd: Some(["/bin/sh", "-c", line].map(String::from).to_vec()),
        ..Default::default()
    }
}

pub async fn collect(mut lines: tokio::sync::mpsc::Receiver<Result<LogLine>>) -> String {
    let mut out = Vec::new();
    while let Some(l) = within(lines.recv()).await {
        out.extend(l.unwrap().bytes);
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub async fn output(mut a: Attached) -> (i32, String) {
    let mut out = Vec::new();
    while let Some(o) = within(a.output.recv()).await {
        match o {
            Output::Stdout(b) | Output::Stderr(b) => out.extend(b),
            Output::Exit(code) => return (code, String::from_utf8_lossy(&out).into_owned()),
        }
    }
    panic!("the stream ended without a status; output so far: {}", String::from_utf8_lossy(&out));
}

/// No test hangs for ever.
pub async fn within<T>(f: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), f).await.expect("this took more than a minute")
}

pub fn run(args: Vec<String>) -> ExitCode {
    let inside = args.iter().any(|a| a == "rootless-inside");
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with('-') && *a != "rootless-inside").collect();
    // Figures are taken only when asked for by name.
    let chosen =
        |name: &str| (filters.is_empty() && name != "measure") || filters.iter().any(|f| name.contains(f.as_str()));
    if args.iter().any(|a| a == "--list") {
        for (name, _) in crate::cases::ALL {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let root = nix::unistd::geteuid().is_root();
    let mut failed = 0;
    let mut count = 0;
    if root || inside {
        let base = if inside { PathBuf::from("/state") } else { std::env::temp_dir() };
        for (name, case) in crate::cases::ALL.iter().filter(|(n, _)| chosen(n)) {
            let mode = if inside { "rootless" } else { "root" };
            let started = Instant::now();
            let dir = tempfile::tempdir_in(&base).unwrap();
            let result = std::panic::catch_unwind(|| one(dir.path(), inside, *case));
            count += 1;
            let ok = result.is_ok();
            println!("test {mode}::{name} ... {} ({:?})", if ok { "ok" } else { "FAILED" }, started.elapsed());
            if !ok {
                failed += 1;
                // Keep what helps.
                println!("state kept in {}", dir.keep().display());
            }
        }
        if !inside {
            clean_cgroups();
        }
    }
    let mut code = i32::from(failed > 0);
    println!(
        "\ntest result: {}. {} passed; {failed} failed\n",
        if failed == 0 { "ok" } else { "FAILED" },
        count - failed
    );
    if !inside {
        let state = tempfile::tempdir().unwrap();
        // SAFETY: no other thread runs now.
        unsafe { std::env::set_var("RUNTIME_TEST_STATE", state.path()) };
        let again: Vec<String> = std::iter::once("rootless-inside".into()).chain(args).collect();
        code |= crate::sandbox::rootless(&again);
    }
    ExitCode::from(code as u8)
}

fn one(dir: &Path, rootless: bool, case: fn(Lab) -> Pin<Box<dyn Future<Output = Lab>>>) {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async {
        let lab = Lab { runtime: open(dir, rootless).await, dir: dir.to_owned(), rootless };
        let lab = case(lab).await;
        for c in lab.runtime.list() {
            lab.runtime.remove(&c.id, true).await.unwrap();
        }
        // Nothing is left: no mount, no control group, no file of a container.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.to_str().unwrap()), "a mount is left:\n{mounts}");
        assert_eq!(std::fs::read_dir(dir.join("containers")).unwrap().count(), 0);
    });
}

fn clean_cgroups() {
    let own = format!("swarmlab-test/{}", std::process::id());
    for c in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let dir = c.path().join(&own);
        if dir.join("cgroup.procs").exists() {
            // Fails if a container's group is left below.
            std::fs::remove_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
            let _ = std::fs::remove_dir(c.path().join("swarmlab-test"));
        }
    }
}

/// Changes a value in passing.
pub trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for ContainerConfig {}

impl Lab {
    /// Waits until the container has said this.
    pub async fn until_log(&self, id: &ContainerId, text: &str) {
        let mut lines = self.runtime.logs(id, LogOptions { follow: true, ..Default::default() }).await.unwrap();
        let mut all = String::new();
        while let Some(l) = within(lines.recv()).await {
            all.push_str(&String::from_utf8_lossy(&l.unwrap().bytes));
            if all.contains(text) {
                return;
            }
        }
        panic!("{text:?} was never said; only {all:?}");
    }
}
