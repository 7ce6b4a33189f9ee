//! Watching a service converge: what to say of each look at its tasks. Pure; the looking is
//! [`crate::commands::service::wait`]'s.

mod display;
mod jobs;

pub use display::Display;

use crate::formatter::short_id;
use crate::spec::json::{at, int, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One line of progress. Later messages with the same id replace earlier ones on a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which line.
    pub id: String,
    /// What it says.
    pub text: String,
    /// How far of how much, drawn as a bar.
    pub bar: Option<(u64, u64)>,
}

impl Message {
    /// A line without bar.
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), text: text.into(), bar: None }
    }
}

/// With more tasks than this there is a line for the whole only.
const MAX_BARS: u64 = 20;
/// States on the way to running.
const STEPS: u64 = 9;
/// Width of the longest state, `preparing`.
const STATE_WIDTH: usize = 9;

/// States by their order; 0 is one that does not count.
fn rank(state: &str) -> u64 {
    const ORDER: &[&str] = &[
        "new",
        "allocated",
        "pending",
        "assigned",
        "accepted",
        "preparing",
        "ready",
        "starting",
        "running",
        "complete",
        "shutdown",
        "failed",
        "rejected",
    ];
    ORDER.iter().position(|s| *s == state).map_or(0, |at| at as u64 + 1)
}

fn observed(task: &Value) -> u64 {
    rank(text(task, "Status.State"))
}

fn desired(task: &Value) -> u64 {
    rank(text(task, "DesiredState"))
}

/// Says how a service goes from look to look.
#[derive(Debug, Clone)]
pub enum Watch {
    /// Replicated and global services.
    Tasks(Tasks),
    /// Jobs.
    Job(jobs::Job),
}

/// Replicated and global services.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    global: bool,
    /// Slots in the order of their appearance; slot numbers may have gaps.
    slots: Vec<i64>,
    started: bool,
    done: bool,
}

impl Watch {
    /// For a service as the engine shows it.
    pub fn new(service: &Value) -> Result<Self, String> {
        let mode = at(service, "Spec.Mode");
        let is = |key: &str| mode.is_some_and(|mode| at(mode, key).is_some());
        if is("Replicated") {
            Ok(Self::Tasks(Tasks::default()))
        } else if is("Global") {
            Ok(Self::Tasks(Tasks { global: true, ..Tasks::default() }))
        } else if is("ReplicatedJob") || is("GlobalJob") {
            Ok(Self::Job(jobs::Job::new(service)))
        } else {
            Err("unrecognized service mode".into())
        }
    }

    /// One look: what to say, and whether all is as it should be.
    pub fn update(
        &mut self,
        service: &Value,
        tasks: &[Value],
        active: &BTreeSet<String>,
        rollback: bool,
    ) -> (Vec<Message>, bool) {
        match self {
            Self::Tasks(watch) => watch.update(service, tasks, active, rollback),
            Self::Job(watch) => watch.update(service, tasks),
        }
    }
}

impl Tasks {
    fn update(
        &mut self,
        service: &Value,
        tasks: &[Value],
        active: &BTreeSet<String>,
        rollback: bool,
    ) -> (Vec<Message>, bool) {
        let mut out = Vec::new();
        let chosen = self.choose(tasks, active);
        let wanted = match self.global {
            true => chosen.len() as u64,
            false => int(service, "Spec.Mode.Replicated.Replicas").max(0) as u64,
        };
        if !self.started {
            if self.global && wanted == 0 {
                return (vec![Message::new("overall progress", "waiting for new tasks")], false);
            }
            out.push(overall(0, wanted, rollback));
            if !self.global && wanted <= MAX_BARS {
                out.extend((1..=wanted).map(|slot| Message::new(format!("{slot}/{wanted}"), " ")));
            }
            self.started = true;
        }
        if chosen.values().any(|task| text(task, "Status.State") != "running") {
            self.done = false;
        }
        let mut running = 0;
        for task in chosen.values() {
            if self.global && !active.contains(text(task, "NodeID")) {
                continue;
            }
            let is_ending = desired(task) > STEPS;
            running += u64::from(!is_ending && text(task, "Status.State") == "running");
            out.extend(self.task_line(task, wanted));
        }
        if !self.done {
            out.push(overall(running, wanted, rollback));
            self.done = running == wanted;
        }
        (out, running == wanted)
    }

    /// Of several tasks in one slot, or on one node, the one furthest from its end: on restarts the old one is there still.
    fn choose<'a>(&self, tasks: &'a [Value], active: &BTreeSet<String>) -> BTreeMap<(i64, &'a str), &'a Value> {
        let mut chosen: BTreeMap<(i64, &str), &Value> = BTreeMap::new();
        for task in tasks.iter().filter(|task| desired(task) != 0 && observed(task) != 0) {
            let node = text(task, "NodeID");
            let key = if self.global { (0, node) } else { (int(task, "Slot"), "") };
            if let Some(other) = chosen.get(&key)
                && (desired(other), observed(other)) <= (desired(task), observed(task))
            {
                continue;
            }
            if !self.global && !node.is_empty() && !active.contains(node) {
                continue;
            }
            chosen.insert(key, task);
        }
        chosen
    }

    fn task_line(&mut self, task: &Value, wanted: u64) -> Option<Message> {
        let id = match self.global {
            true => short_id(text(task, "NodeID")),
            false => {
                let slot = int(task, "Slot");
                let place = self.slots.iter().position(|s| *s == slot).unwrap_or_else(|| {
                    self.slots.push(slot);
                    self.slots.len() - 1
                });
                if place as u64 >= wanted {
                    return None;
                }
                format!("{}/{wanted}", place + 1)
            }
        };
        if self.done || wanted > MAX_BARS {
            return None;
        }
        task_message(id, task, STEPS, true)
    }
}

/// A task's error, or its state with a bar.
fn task_message(id: String, task: &Value, steps: u64, only_alive: bool) -> Option<Message> {
    let error = text(task, "Status.Err");
    if !error.is_empty() {
        return Some(Message::new(id, shortened(error)));
    }
    if only_alive && (desired(task) > STEPS || observed(task) > STEPS) {
        return None;
    }
    let state = format!("{:STATE_WIDTH$}", text(task, "Status.State"));
    Some(Message { id, text: state, bar: Some((observed(task), steps)) })
}

/// On one line, and narrow enough for any terminal.
fn shortened(error: &str) -> String {
    const MAX: usize = 75;
    let flat = error.replace('\n', " ");
    match flat.chars().count() > MAX {
        true => flat.chars().take(MAX - 1).collect::<String>() + "…",
        false => flat,
    }
}

fn overall(running: u64, wanted: u64, rollback: bool) -> Message {
    let what = if rollback { "rolling back update: " } else { "" };
    Message::new("overall progress", format!("{what}{running} out of {wanted} tasks"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task(slot: i64, state: &str) -> Value {
        json!({"Slot": slot, "NodeID": "n1", "DesiredState": "running", "Status": {"State": state}})
    }

    fn texts(messages: &[Message]) -> Vec<String> {
        messages.iter().map(|m| format!("{}: {}", m.id, m.text).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_replicated_service_converges() {
        let service = json!({"Spec": {"Mode": {"Replicated": {"Replicas": 2}}}});
        let active = BTreeSet::from(["n1".to_owned()]);
        let mut watch = Watch::new(&service).unwrap();
        let (said, done) = watch.update(&service, &[], &active, false);
        assert_eq!(
            texts(&said),
            ["overall progress: 0 out of 2 tasks", "1/2:", "2/2:", "overall progress: 0 out of 2 tasks"]
        );
        assert!(!done);
        let (said, done) = watch.update(&service, &[task(1, "running"), task(2, "preparing")], &active, false);
        assert_eq!(texts(&said), ["1/2: running", "2/2: preparing", "overall progress: 1 out of 2 tasks"]);
        assert!(!done);
        let (_, done) = watch.update(&service, &[task(1, "running"), task(2, "running")], &active, false);
        assert!(done);
    }

    #[test]
    fn errors_and_dead_nodes_show() {
        let service = json!({"Spec": {"Mode": {"Replicated": {"Replicas": 1}}}});
        let mut watch = Watch::new(&service).unwrap();
        let mut failing = task(1, "ready");
        failing["Status"]["Err"] = json!("no\nsuch image");
        let (said, _) = watch.update(&service, &[failing], &BTreeSet::from(["n1".to_owned()]), false);
        assert!(texts(&said).contains(&"1/1: no such image".to_owned()));
        let (said, done) = watch.update(&service, &[task(1, "running")], &BTreeSet::new(), false);
        assert_eq!((texts(&said), done), (vec!["overall progress: 0 out of 1 tasks".to_owned()], false));
    }

    #[test]
    fn a_global_service_waits_for_tasks() {
        let service = json!({"Spec": {"Mode": {"Global": {}}}});
        let active = BTreeSet::from(["n1".to_owned()]);
        let mut watch = Watch::new(&service).unwrap();
        let (said, done) = watch.update(&service, &[], &active, false);
        assert_eq!((texts(&said), done), (vec!["overall progress: waiting for new tasks".to_owned()], false));
        let (said, done) = watch.update(&service, &[task(0, "running")], &active, false);
        assert_eq!(
            texts(&said),
            ["overall progress: 0 out of 1 tasks", "n1: running", "overall progress: 1 out of 1 tasks"]
        );
        assert!(done);
    }

    #[test]
    fn a_job_counts_what_is_complete() {
        let service = json!({"Spec": {"Mode": {"ReplicatedJob": {"TotalCompletions": 2, "MaxConcurrent": 1}}}, "JobStatus": {"JobIteration": {"Index": 7}}});
        let mut watch = Watch::new(&service).unwrap();
        let mut done_task = task(0, "complete");
        done_task["JobIteration"] = json!({"Index": 7});
        let (said, done) = watch.update(&service, &[done_task], &BTreeSet::new(), false);
        assert!(texts(&said).contains(&"job progress: 1 out of 2 complete".to_owned()), "{said:?}");
        assert!(!done);
    }
}
