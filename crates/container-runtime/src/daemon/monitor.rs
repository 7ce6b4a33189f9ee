//! Following a container's shim to its end, and finding shims again after a restart of the daemon.

use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::Child;

use super::events::EventKind;
use super::record::{ContainerId, Record, State, Status};
use super::{Entry, Runtime, client, health};
use crate::durable;
use crate::error::{Context, Result};
use crate::plan::{ExitState, Paths, RunState};
use crate::shim::wire::{Kind, Notice, Reply, Request};

impl Runtime {
    /// Follows one run of a container. `child` is the shim if this daemon started it.
    pub(super) fn monitor(&self, entry: Arc<Entry>, mut stream: UnixStream, child: Option<Child>, started: bool) {
        let this = self.clone();
        tokio::spawn(async move {
            let mut started = started;
            let mut probing = started.then(|| health::spawn(&this, &entry)).flatten();
            let mut exit = None;
            while let Ok(Some((kind, bytes))) = client::next(&mut stream).await {
                let Ok(Reply::Notice(notice)) = client::reply(&bytes) else {
                    continue;
                };
                debug_assert_eq!(kind, Kind::Json);
                match notice {
                    Notice::Started { at } => {
                        started = true;
                        entry.state.send_modify(|s| {
                            s.status = Status::Running;
                            s.started_at = Some(at);
                            (s.finished_at, s.exit_code, s.oom_killed, s.error) = (None, 0, false, None);
                        });
                        this.emit(&entry, at, EventKind::Started);
                        probing = health::spawn(&this, &entry);
                    }
                    Notice::ExecDied { id, code } => {
                        // Health probes are execs too, but not anybody's business.
                        if let Some(exec) = super::lock(&this.inner.execs).get(&id) {
                            exec.died(code);
                            this.emit(&entry, durable::now_nanos(), EventKind::ExecDied { exec: id, code });
                        }
                    }
                    Notice::Exited { code, oom, at } => {
                        let e = ExitState { code, oom, at, error: None };
                        this.ended(&entry, &e, started);
                        exit = Some(e);
                    }
                    Notice::LogGrew => {}
                }
            }
            if let Some(p) = probing {
                p.abort();
            }
            if let Some(mut child) = child {
                let _ = child.wait().await;
            }
            if exit.is_none() {
                let e = lost(&entry.dir);
                this.forget_cgroup(&entry).await;
                this.ended(&entry, &e, started);
            }
            entry.shim_gone.send_replace(true);
        });
    }

    fn ended(&self, entry: &Entry, exit: &ExitState, started: bool) {
        entry.state.send_modify(|s| {
            s.pid = None;
            if started {
                s.status = Status::Exited;
                s.finished_at = Some(exit.at);
                (s.exit_code, s.oom_killed) = (exit.code, exit.oom);
                s.error.clone_from(&exit.error);
            } else {
                s.status = Status::Created;
            }
        });
        if started {
            self.emit(entry, exit.at, EventKind::Exited { code: exit.code, oom: exit.oom });
        }
    }

    /// Removes the cgroup of a container whose shim could not.
    async fn forget_cgroup(&self, entry: &Entry) {
        let path = format!("{}/{}", self.inner.setup.cgroup_parent, entry.record().id);
        let _ = tokio::task::spawn_blocking(move || crate::shim::cgroup::remove(&path)).await;
    }

    /// Fills the table from disk.
    pub(super) async fn rediscover(&self) -> Result<()> {
        let dir = &self.inner.setup.containers_dir;
        for item in std::fs::read_dir(dir).context(|| format!("reading {}", dir.display()))?.flatten() {
            let path = item.path();
            let name = item.file_name().to_string_lossy().into_owned();
            if name.starts_with(".removed-") {
                let _ = std::fs::remove_dir_all(&path);
                continue;
            }
            let record = match durable::read::<Record>(&path.join(Paths::RECORD)) {
                Ok(Some(r)) if r.id.as_str() == name => r,
                Ok(None) => {
                    // Creation was cut short before the record was there: nothing ever ran.
                    let _ = std::fs::remove_dir_all(&path);
                    continue;
                }
                Ok(Some(_)) => {
                    tracing::error!(path = %path.display(), "a container's record belongs to another directory; left alone");
                    continue;
                }
                Err(e) => {
                    tracing::error!(path = %path.display(), "{e}; the container is left alone");
                    continue;
                }
            };
            self.adopt(path, record).await;
        }
        Ok(())
    }

    async fn adopt(&self, path: std::path::PathBuf, record: Record) {
        let id: ContainerId = record.id.clone();
        let start_error = record.start_error.clone();
        let entry = Entry::new(path, record, State::created());
        self.entries().insert(id, entry.clone());
        let run = durable::read::<RunState>(&entry.dir.join(Paths::RUN)).unwrap_or_else(|e| {
            tracing::error!("{e}");
            None
        });
        let Some(run) = run else {
            if let Some((message, code)) = start_error {
                entry.state.send_modify(|s| (s.error, s.exit_code) = (Some(message), code));
            }
            return;
        };
        entry.state.send_modify(|s| s.started_at = run.started_at);
        if run.shim.alive() {
            // Status and then watching leaves no gap: what happens in between ends the watched stream, or is in
            // the state that is asked for after the stream is open.
            if let Ok((stream, pid)) = client::stream(&entry.dir, &Request::Watch).await {
                let started = match client::ask(&entry.dir, &Request::Status).await {
                    Ok(Reply::Status { started, .. }) => started,
                    _ => run.started_at.is_some(),
                };
                entry.shim_gone.send_replace(false);
                entry.state.send_modify(|s| {
                    s.status = if started { Status::Running } else { Status::Prepared };
                    s.pid = Some(pid);
                });
                self.monitor(entry, stream, None, started);
                return;
            }
            // It is on its way out: let it finish, so that its record of the end is the one that counts.
            for _ in 0..100 {
                if !run.shim.alive() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        let exit = lost(&entry.dir);
        self.forget_cgroup(&entry).await;
        if run.started_at.is_some() {
            entry.state.send_modify(|s| {
                s.status = Status::Exited;
                s.finished_at = Some(exit.at);
                (s.exit_code, s.oom_killed, s.error) = (exit.code, exit.oom, exit.error.clone());
            });
        }
    }
}

/// How a run ended whose shim has gone: as it recorded, or else it was killed, and with it the container.
fn lost(dir: &Path) -> ExitState {
    if let Ok(Some(exit)) = durable::read::<ExitState>(&dir.join(Paths::EXIT)) {
        return exit;
    }
    if let Ok(Some(run)) = durable::read::<RunState>(&dir.join(Paths::RUN))
        && run.init.alive()
    {
        // The kernel should have done this when the shim died.
        let _ = kill(Pid::from_raw(run.init.pid), Signal::SIGKILL);
    }
    let exit = ExitState {
        code: 137,
        oom: false,
        at: durable::now_nanos(),
        error: Some("the container's shim was killed, and the container with it".into()),
    };
    if let Err(e) = durable::write(&dir.join(Paths::EXIT), &exit) {
        tracing::error!("{e}");
    }
    exit
}
