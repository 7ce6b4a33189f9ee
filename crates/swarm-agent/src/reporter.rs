//! Keeps the latest status of each task until the managers have stored it.

use std::collections::BTreeMap;

use swarm_types::*;

use crate::limits::MAX_STATUSES_PER_MESSAGE;

/// Statuses on their way to the managers. Only the latest of a task matters: one that is replaced is never sent.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    pending: BTreeMap<TaskId, Report>,
}

#[derive(Debug)]
struct Report {
    status: TaskStatus,
    /// Sent in the current session and not answered yet.
    sent: bool,
}

impl Reporter {
    /// A new observation.
    pub fn observe(&mut self, task: TaskId, status: TaskStatus) {
        self.pending.insert(task, Report { status, sent: false });
    }

    /// The task is gone; nobody wants to know any more.
    pub fn forget(&mut self, task: TaskId) {
        self.pending.remove(&task);
    }

    /// What was sent but not confirmed is to be sent again.
    pub fn resend(&mut self) {
        for report in self.pending.values_mut() {
            report.sent = false;
        }
    }

    /// The next statuses to send, at most as many as fit a message.
    pub fn take_batch(&mut self) -> Vec<(TaskId, TaskStatus)> {
        let unsent = self.pending.iter_mut().filter(|(_, report)| !report.sent);
        unsent
            .take(MAX_STATUSES_PER_MESSAGE)
            .map(|(task, report)| {
                report.sent = true;
                (*task, report.status.clone())
            })
            .collect()
    }

    /// The managers have these. A status that was replaced meanwhile stays to be sent.
    pub fn stored(&mut self, tasks: &[(TaskId, TaskState)]) {
        for (task, state) in tasks {
            if self.pending.get(task).is_some_and(|r| r.sent && r.status.state <= *state) {
                self.pending.remove(task);
            }
        }
    }

    /// Whether something waits for an answer.
    pub fn awaits_answer(&self) -> bool {
        self.pending.values().any(|report| report.sent)
    }
}
