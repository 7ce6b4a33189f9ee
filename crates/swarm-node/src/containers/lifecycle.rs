//! Starting, stopping, killing, renaming, removing, attaching.

use std::sync::Arc;
use std::time::Duration;

use container_runtime::{Attached, ContainerId, Error, Kind, Result, Status, signal};
use tokio::sync::oneshot;

use super::{Engine, Entry, PendingAttach, lock};

/// How long a killed container may take to end before the caller is answered; Docker's figure.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Starts a container; false when it runs already.
    pub async fn start(&self, id: &ContainerId) -> Result<bool> {
        let entry = self.entry(id)?;
        let result = {
            let _busy = entry.busy.lock().await;
            if self.status(id)? == Status::Running {
                return Ok(false);
            }
            self.cancel_restart(&entry);
            {
                let mut record = entry.record();
                record.stopped_by_user = false;
                record.restart_count = 0;
            }
            self.save(id, &entry)?;
            self.run(id, &entry).await
        };
        // `docker run --rm` waits for the removal even when nothing was started
        if result.is_err()
            && entry.record().auto_remove
            && let Err(error) = self.remove(id, true, true).await
        {
            tracing::warn!(container = %id, "removing it after a start that failed: {error}");
        }
        result.map(|()| true)
    }

    /// Namespaces, network, clients that wait, program. Undone as a whole when a step fails.
    pub(super) async fn run(&self, id: &ContainerId, entry: &Arc<Entry>) -> Result<()> {
        let started = async {
            let networks = self.find_networks(id, entry).await?;
            let pid = self.inner.runtime.prepare(id).await?;
            self.plug(id, entry, pid, networks).await?;
            let waiting = std::mem::take(&mut *lock(&entry.waiting));
            for client in waiting {
                let attached = self.inner.runtime.attach(id, client.stdin, client.stdout, client.stderr).await?;
                let _ = client.ready.send(attached);
            }
            self.inner.runtime.start(id).await
        };
        let result = started.await;
        if result.is_err() {
            // clients that wait see their connection end
            lock(&entry.waiting).clear();
            let _ = self.inner.runtime.stop(id, None, Some(Duration::ZERO)).await;
            self.release(id, entry).await;
        }
        result
    }

    /// Stops a container; false when it does not run.
    pub async fn stop(&self, id: &ContainerId, signal: Option<i32>, grace: Option<Duration>) -> Result<bool> {
        let entry = self.entry(id)?;
        entry.record().stopped_by_user = true;
        self.save(id, &entry)?;
        if self.cancel_restart(&entry) {
            return Ok(true);
        }
        if self.status(id)? != Status::Running {
            return Ok(false);
        }
        self.inner.runtime.stop(id, signal, grace).await?;
        self.tell(id, "stop", &[]);
        Ok(true)
    }

    /// Stops and starts.
    pub async fn restart(&self, id: &ContainerId, signal: Option<i32>, grace: Option<Duration>) -> Result<()> {
        let entry = self.entry(id)?;
        // `--rm` must not take it away in between
        let auto_remove = std::mem::take(&mut entry.record().auto_remove);
        let restarted = async {
            self.stop(id, signal, grace).await?;
            self.start(id).await
        };
        let result = restarted.await;
        entry.record().auto_remove = auto_remove;
        self.save(id, &entry)?;
        result?;
        self.tell(id, "restart", &[]);
        Ok(())
    }

    /// Sends a signal. KILL is awaited, as Docker does, so that whoever looks next sees that the container ended.
    pub async fn kill(&self, id: &ContainerId, signal: i32) -> Result<()> {
        let entry = self.entry(id)?;
        let inspect = self.inner.runtime.inspect(id)?;
        if inspect.state.status != Status::Running {
            return Err(Error::new(
                Kind::Conflict,
                format!("cannot kill container: {}: container {id} is not running", inspect.name),
            ));
        }
        if signal == 9 || signal == inspect.stop_signal {
            entry.record().stopped_by_user = true;
            self.save(id, &entry)?;
        }
        self.inner.runtime.kill(id, signal).await?;
        if signal == 9 {
            // one that hangs in the kernel is not awaited for ever; its end is reported when it comes
            let _ = tokio::time::timeout(KILL_PATIENCE, self.inner.runtime.wait(id, false)).await;
        }
        Ok(())
    }

    /// Parses a signal; empty is KILL.
    pub fn signal(text: &str) -> Result<i32> {
        if text.is_empty() { Ok(9) } else { signal::parse(text) }
    }

    /// Another name.
    pub fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let old = self.inner.runtime.inspect(id)?.name;
        if name.trim_start_matches('/').is_empty() {
            return Err(Error::new(Kind::InvalidArgument, "Neither old nor new names may be empty"));
        }
        if name.trim_start_matches('/') == old {
            return Err(Error::new(
                Kind::InvalidArgument,
                "Renaming a container with the same name as its current name",
            ));
        }
        self.inner.runtime.rename(id, name)?;
        self.names_changed(id);
        self.tell(id, "rename", &[("oldName", &format!("/{old}"))]);
        Ok(())
    }

    /// Removes a container; a running one only by force. With `volumes`, its anonymous volumes too.
    pub async fn remove(&self, id: &ContainerId, force: bool, volumes: bool) -> Result<()> {
        let entry = self.entry(id)?;
        let inspect = self.inner.runtime.inspect(id)?;
        let running = inspect.state.status == Status::Running;
        if (running || entry.is_restarting()) && !force {
            let state = if running { "running" } else { "restarting" };
            return Err(Error::new(
                Kind::Conflict,
                format!(
                    "cannot remove container \"/{}\": container is {state}: stop the container before removing or force remove",
                    inspect.name
                ),
            ));
        }
        entry.record().stopped_by_user = true;
        self.cancel_restart(&entry);
        let _busy = entry.busy.lock().await;
        if running {
            // so that events tell of its end
            let _ = self.inner.runtime.kill(id, 9).await;
            let _ = self.inner.runtime.wait(id, false).await;
        }
        self.inner.runtime.remove(id, true).await?;
        match running {
            true => self.unplug(id, &entry).await,
            false => self.release(id, &entry).await,
        }
        lock(&self.inner.entries).remove(id);
        let _ = std::fs::remove_file(self.record_file(id));
        if volumes {
            for volume in &entry.record().anonymous {
                if self.inner.volumes.remove(volume).is_ok() {
                    self.tell_of("volume", "destroy", volume, &[("driver", "local")]);
                }
            }
        }
        entry.gone.send_replace(true);
        Ok(())
    }

    /// Connects to a container's streams: now if it runs, else at its start. The receiver fails when that start does.
    pub async fn attach(
        &self,
        id: &ContainerId,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> Result<oneshot::Receiver<Attached>> {
        let entry = self.entry(id)?;
        let (ready, receiver) = oneshot::channel();
        self.tell(id, "attach", &[]);
        match self.status(id)? {
            Status::Running => {
                let _ = ready.send(self.inner.runtime.attach(id, stdin, stdout, stderr).await?);
            }
            _ => lock(&entry.waiting).push(PendingAttach { stdin, stdout, stderr, ready }),
        }
        Ok(receiver)
    }

    pub(super) fn status(&self, id: &ContainerId) -> Result<Status> {
        Ok(self.inner.runtime.inspect(id)?.state.status)
    }

    /// Whether a restart was waiting; it no longer is.
    pub(super) fn cancel_restart(&self, entry: &Entry) -> bool {
        match lock(&entry.restarting).take() {
            Some(waiting) => {
                waiting.notify_one();
                true
            }
            None => false,
        }
    }

    /// The containers that use a volume.
    pub fn volume_users(&self, name: &str) -> Vec<String> {
        self.list()
            .into_iter()
            .filter(|(_, record, ..)| record.mounts.iter().any(|mount| mount.name == name))
            .map(|(inspect, ..)| inspect.id.to_string())
            .collect()
    }
}
