//! What follows a container's end: its cable taken back, its restart policy, its removal.

use std::sync::Arc;
use std::time::Duration;

use container_runtime::{ContainerId, Event, EventKind, Status};
use tokio::sync::Notify;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Engine, Entry, lock};
use crate::convert::container::RestartPolicy;

/// Docker's own: the first wait, doubled each time up to the last, and begun anew after a run of so long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const GOOD_RUN: Duration = Duration::from_secs(10);

/// How long to wait before the n-th restart in a row (from 0).
fn backoff(restarts: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1u32.checked_shl(restarts).unwrap_or(u32::MAX)).min(LONGEST_WAIT)
}

/// Whether a container that ended is to be started again.
fn restarts(policy: RestartPolicy, code: i32, stopped_by_user: bool, count: u64) -> bool {
    match policy {
        RestartPolicy::No => false,
        _ if stopped_by_user => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure(most) => code != 0 && (most == 0 || count < most),
    }
}

impl Engine {
    /// Follows the runtime's events for as long as the engine lives.
    pub(super) async fn follow(self, mut events: broadcast::Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(event) => {
                    self.translate(&event);
                    if let EventKind::Exited { code, .. } = event.kind {
                        tokio::spawn(self.clone().ended(event.container, code));
                    }
                }
                Err(RecvError::Lagged(lost)) => tracing::warn!(lost, "events came faster than they were told"),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// A container ended.
    async fn ended(self, id: ContainerId, code: i32) {
        let Ok(entry) = self.entry(&id) else { return };
        {
            let _busy = entry.busy.lock().await;
            // an explicit start may have been quicker than this task
            if self.status(&id).is_ok_and(|status| status == Status::Exited) {
                self.unplug(&id, &entry).await;
            } else {
                return;
            }
        }
        let (policy, auto_remove, stopped, count) = {
            let record = entry.record();
            (record.restart, record.auto_remove, record.stopped_by_user, record.restart_count)
        };
        if restarts(policy, code, stopped, count) {
            self.start_again(id, entry).await;
        } else if auto_remove && let Err(error) = self.remove(&id, false, true).await {
            tracing::warn!(container = %id, "removing it at its end: {error}");
        }
    }

    async fn start_again(&self, id: ContainerId, entry: Arc<Entry>) {
        let waiting = Arc::new(Notify::new());
        *lock(&entry.restarting) = Some(waiting.clone());
        let (ran, row) = {
            let state = self.inner.runtime.inspect(&id).map(|one| one.state);
            let ran =
                state.ok().and_then(|state| Some(state.finished_at?.saturating_sub(state.started_at?))).unwrap_or(0);
            (Duration::from_nanos(u64::try_from(ran).unwrap_or(0)), entry.record().restart_count)
        };
        let row = if ran >= GOOD_RUN { 0 } else { u32::try_from(row).unwrap_or(u32::MAX) };
        let mut wait = backoff(row);
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // a stop, a start or a removal took over
                () = waiting.notified() => return,
            }
            let _busy = entry.busy.lock().await;
            if lock(&entry.restarting).take().is_none() {
                return;
            }
            entry.record().restart_count += 1;
            if let Err(error) = self.save(&id, &entry) {
                tracing::warn!(container = %id, "{error}");
            }
            match self.run(&id, &entry).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(container = %id, "starting it again: {error}");
                    let (policy, count) = (entry.record().restart, entry.record().restart_count);
                    if !restarts(policy, error.exit_code(), false, count) {
                        return;
                    }
                    wait = wait.saturating_mul(2).min(LONGEST_WAIT);
                    *lock(&entry.restarting) = Some(waiting.clone());
                }
            }
        }
    }

    /// After a start of the daemon: ends that nobody saw are dealt with, containers that always run are started.
    pub(super) async fn restart_after_boot(&self) {
        for inspect in self.inner.runtime.list() {
            let Ok(entry) = self.entry(&inspect.id) else { continue };
            let record = entry.record().clone();
            let ended = inspect.state.status == Status::Exited;
            let wanted = match record.restart {
                RestartPolicy::Always => ended,
                RestartPolicy::UnlessStopped => ended && !record.stopped_by_user,
                RestartPolicy::OnFailure(_) => {
                    ended
                        && restarts(
                            record.restart,
                            inspect.state.exit_code,
                            record.stopped_by_user,
                            record.restart_count,
                        )
                }
                RestartPolicy::No => false,
            };
            if wanted {
                let engine = self.clone();
                tokio::spawn(async move { engine.start_again(inspect.id, entry).await });
            } else if ended && record.auto_remove {
                let _ = self.remove(&inspect.id, false, true).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        assert_eq!(backoff(0), Duration::from_millis(100));
        assert_eq!(backoff(3), Duration::from_millis(800));
        assert_eq!(backoff(30), LONGEST_WAIT);
        assert_eq!(backoff(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn a_policy_decides_by_exit_code_count_and_wish() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        assert!(!restarts(No, 1, false, 0));
        assert!(restarts(Always, 0, false, 9) && !restarts(Always, 0, true, 0));
        assert!(!restarts(UnlessStopped, 1, true, 0));
        assert!(restarts(OnFailure(2), 1, false, 1) && !restarts(OnFailure(2), 1, false, 2));
        assert!(!restarts(OnFailure(0), 0, false, 0) && restarts(OnFailure(0), 1, false, 1000));
    }
}
