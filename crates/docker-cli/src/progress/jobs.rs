//! Progress of jobs: services whose tasks are to end.

use super::{MAX_BARS, Message, desired, observed, rank, task_message};
use crate::spec::json::{at, int, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// States on the way to complete.
const STEPS: u64 = 10;

/// A job of either kind.
#[derive(Debug, Clone)]
pub struct Job {
    iteration: i64,
    /// For global jobs the nodes that had a task at the first look.
    nodes: Option<BTreeSet<String>>,
    global: bool,
    total: u64,
    concurrent: u64,
    started: bool,
}

impl Job {
    pub fn new(service: &Value) -> Self {
        let count = |key: &str| int(service, &format!("Spec.Mode.ReplicatedJob.{key}")).max(0) as u64;
        Self {
            iteration: int(service, "JobStatus.JobIteration.Index"),
            nodes: None,
            global: at(service, "Spec.Mode.GlobalJob").is_some(),
            total: count("TotalCompletions"),
            concurrent: count("MaxConcurrent"),
            started: false,
        }
    }

    pub fn update(&mut self, _: &Value, tasks: &[Value]) -> (Vec<Message>, bool) {
        let current: Vec<&Value> =
            tasks.iter().filter(|task| int(task, "JobIteration.Index") == self.iteration).collect();
        let mut out = Vec::new();
        if !self.started {
            if self.global {
                if tasks.is_empty() {
                    return (vec![Message::new("job progress", "waiting for tasks")], false);
                }
                let nodes: BTreeSet<String> = current.iter().map(|task| text(task, "NodeID").to_owned()).collect();
                self.total = nodes.len() as u64;
                self.nodes = Some(nodes);
            }
            self.overall(0, 0, &mut out);
            if !self.global && self.total <= MAX_BARS {
                out.extend((1..=self.total).map(|slot| Message::new(format!("{slot}/{}", self.total), " ")));
            }
            self.started = true;
        }
        let mut chosen: BTreeMap<(i64, &str), &Value> = BTreeMap::new();
        for task in current {
            let node = text(task, "NodeID");
            let known = self.nodes.as_ref().is_none_or(|nodes| nodes.contains(node));
            if !known || desired(task) == 0 || observed(task) == 0 {
                continue;
            }
            let key = if self.global { (0, node) } else { (int(task, "Slot"), "") };
            if chosen.get(&key).is_none_or(|other| observed(other) > observed(task)) {
                chosen.insert(key, task);
            }
        }
        let (mut running, mut complete) = (0, 0);
        for ((slot, node), task) in &chosen {
            if self.total <= MAX_BARS {
                let id = if self.global { (*node).to_owned() } else { format!("{}/{}", slot + 1, self.total) };
                out.extend(task_message(id, task, STEPS, false));
            }
            running += u64::from(observed(task) < rank("complete"));
            complete += u64::from(text(task, "Status.State") == "complete");
        }
        self.overall(running, complete, &mut out);
        (out, complete == self.total)
    }

    fn overall(&self, running: u64, complete: u64, out: &mut Vec<Message>) {
        let width = self.total.to_string().len();
        let text = format!("{complete:width$} out of {} complete", self.total);
        let bar = (self.total > 0).then_some((complete, self.total));
        out.push(Message { id: "job progress".into(), text, bar });
        if !self.global {
            let width = self.concurrent.to_string().len();
            let most = self.concurrent.min(self.total.saturating_sub(complete));
            out.push(Message::new("active tasks", format!("{running:width$} out of {most:width$} tasks")));
        }
    }
}
