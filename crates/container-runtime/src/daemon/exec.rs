//! Processes run in a running container. An exec's record lives in memory, as Docker's does: a restarted daemon
//! has forgotten it, though the process goes on.

use std::sync::Arc;

use tokio::sync::watch;

use super::events::EventKind;
use super::record::{ContainerId, Status, random_id};
use super::stream::{Attached, attach};
use super::{Runtime, client, lock};
use crate::durable;
use crate::error::{Error, Result};
use crate::shim::wire::{ExecSpec, Request};

/// What to run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExecConfig {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Over the container's environment.
    pub env: Vec<String>,
    /// Instead of the container's working directory.
    pub working_dir: Option<String>,
    /// Instead of the container's user.
    pub user: Option<String>,
    /// With a terminal.
    pub tty: bool,
    /// With standard input.
    pub stdin: bool,
    /// With all capabilities.
    pub privileged: bool,
}

/// How an exec stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecState {
    /// Its id.
    pub id: String,
    /// Its container.
    pub container: ContainerId,
    /// What was asked for.
    pub config: ExecConfig,
    /// It runs now.
    pub running: bool,
    /// Its process, in the daemon's pid namespace, once started.
    pub pid: Option<i32>,
    /// Its status, once ended.
    pub exit_code: Option<i32>,
}

pub(crate) struct Exec {
    pub id: String,
    pub container: ContainerId,
    config: ExecConfig,
    state: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Progress {
    claimed: bool,
    pid: Option<i32>,
    code: Option<i32>,
    size: Option<(u16, u16)>,
}

impl Exec {
    pub(crate) fn died(&self, code: i32) {
        self.state.send_modify(|p| p.code = Some(code));
    }
}

impl Runtime {
    /// Records an exec in a running container.
    pub fn exec_create(&self, container: &ContainerId, config: ExecConfig) -> Result<String> {
        let entry = self.entry(container)?;
        if entry.status() != Status::Running {
            return Err(Error::conflict(format!("container {container} is not running")));
        }
        if config.args.is_empty() || config.args[0].is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        let id = random_id()?;
        let exec = Exec {
            id: id.clone(),
            container: container.clone(),
            config,
            state: watch::Sender::new(Progress { claimed: false, pid: None, code: None, size: None }),
        };
        let mut execs = lock(&self.inner.execs);
        // Finished ones are kept for `inspect`, but not for ever.
        if execs.len() > 1000 {
            execs.retain(|_, e| e.state.borrow().code.is_none());
        }
        execs.insert(id.clone(), Arc::new(exec));
        drop(execs);
        self.emit(&entry, durable::now_nanos(), EventKind::ExecCreated { exec: id.clone() });
        Ok(id)
    }

    /// Starts it and connects to its streams. To run it detached, drop the streams: the process goes on, its output
    /// is thrown away.
    pub async fn exec_start(&self, id: &str) -> Result<Attached> {
        let exec = self.exec(id)?;
        let entry = self.entry(&exec.container)?;
        if !exec.state.send_if_modified(|p| !std::mem::replace(&mut p.claimed, true)) {
            return Err(Error::conflict(format!("Error: Exec command {id} is already running or has run")));
        }
        let c = &exec.config;
        let spec = ExecSpec {
            id: exec.id.clone(),
            args: c.args.clone(),
            env: c.env.clone(),
            cwd: c.working_dir.clone().filter(|d| !d.is_empty()),
            user: c.user.clone().filter(|u| !u.is_empty()),
            tty: c.tty,
            stdin: c.stdin,
            privileged: c.privileged,
            size: exec.state.borrow().size,
        };
        match client::stream(&entry.dir, &Request::Exec(spec)).await {
            Ok((stream, pid)) => {
                exec.state.send_modify(|p| p.pid = Some(pid));
                self.emit(&entry, durable::now_nanos(), EventKind::ExecStarted { exec: id.to_owned() });
                Ok(attach(stream))
            }
            Err(e) => {
                exec.died(e.exit_code());
                Err(e)
            }
        }
    }

    /// Remembers the terminal's size for a start to come; a running exec is resized through its stream.
    pub fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        self.exec(id)?.state.send_modify(|p| p.size = Some((height, width)));
        Ok(())
    }

    /// How it stands.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecState> {
        let e = self.exec(id)?;
        let p = *e.state.borrow();
        Ok(ExecState {
            id: e.id.clone(),
            container: e.container.clone(),
            config: e.config.clone(),
            running: p.pid.is_some() && p.code.is_none(),
            pid: p.pid,
            exit_code: p.code,
        })
    }

    /// Waits for its end.
    pub async fn exec_wait(&self, id: &str) -> Result<i32> {
        let exec = self.exec(id)?;
        let mut state = exec.state.subscribe();
        let gone = || Error::not_found(format!("No such exec instance: {id}"));
        state.wait_for(|p| p.code.is_some()).await.map_err(|_| gone())?.code.ok_or_else(gone)
    }

    fn exec(&self, id: &str) -> Result<Arc<Exec>> {
        lock(&self.inner.execs).get(id).cloned().ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }
}
