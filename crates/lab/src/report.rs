//! What a run found, in the shape that `--format json` prints and every other report is made from.
//!
//! The JSON keeps its meaning while `format_version` stays: keys may be added, none removed or renamed.

use serde::{Deserialize, Serialize};

use crate::{Check, CheckResult, Lab, Status, Step};

/// The version of the report.
pub const FORMAT_VERSION: u32 = 1;

/// One chapter's run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The chapter's id, `chapter-3`.
    pub chapter: String,
    /// Its title.
    pub title: String,
    /// The engine that the lab ran on.
    pub engine: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// How long it took.
    pub duration_ms: u64,
    /// Until the cluster was up; part of `duration_ms`.
    pub boot_ms: u64,
    /// The whole run's status.
    pub status: Status,
    /// What stopped the run before its end, if anything did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
    /// Points.
    pub points: Points,
    /// The steps in order.
    pub steps: Vec<StepReport>,
}

/// Several chapters' runs, as `run all` prints them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reports {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The engine.
    pub engine: String,
    /// The status of all chapters.
    pub status: Status,
    /// The chapters in order.
    pub chapters: Vec<Report>,
}

/// Points earned, out of those that could be. Steps that trouble or a skip kept from being judged count in neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Points {
    /// Earned.
    pub earned: u32,
    /// Judged.
    pub possible: u32,
}

/// One step's run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step's id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// `demo` or `exercise`.
    pub kind: String,
    /// How it ended.
    pub status: Status,
    /// Why it was skipped or in trouble.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// What it is worth.
    pub points: u32,
    /// The commands that ran.
    pub commands: Vec<CommandReport>,
    /// The checks, those of exit codes and recordings among them.
    pub checks: Vec<CheckReport>,
}

/// A command that ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandReport {
    /// On this node.
    pub node: String,
    /// The shell line.
    pub command: String,
    /// Its exit code.
    pub exit: i32,
    /// What it printed, both streams as they came.
    pub output: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// One check's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// `step-id/1`, or `step-id/exit-2`, `step-id/recording-2` for the second command.
    pub id: String,
    /// `api`, `command`, `http`, `file`, `exit` or `recording`.
    pub kind: String,
    /// What it means.
    pub words: String,
    /// How it ended.
    pub status: Status,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// What was asked.
    pub command: String,
    /// Where to look next, when it does not hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

impl CheckReport {
    /// The report of a check of `lab.toml`.
    pub fn new(check: &Check, result: CheckResult) -> Self {
        let kind = match check.kind {
            crate::CheckKind::Api { .. } => "api",
            crate::CheckKind::Command { .. } => "command",
            crate::CheckKind::Http { .. } => "http",
            crate::CheckKind::File { .. } => "file",
            crate::CheckKind::Dns { .. } => "dns",
        };
        let hint = crate::state_hint(check, &result);
        Self { hint, ..Self::implied(&check.id, kind, &check.words, result) }
    }

    /// The report of a check that every command has: its exit code, its recording.
    pub fn implied(id: &str, kind: &str, words: &str, result: CheckResult) -> Self {
        Self {
            id: id.to_owned(),
            kind: kind.to_owned(),
            words: words.to_owned(),
            status: result.status,
            expected: result.expected,
            seen: result.seen,
            command: result.asked,
            hint: None,
        }
    }
}

impl StepReport {
    /// A report of a step without commands or checks yet.
    pub fn new(step: &Step, status: Status, reason: Option<String>) -> Self {
        Self {
            id: step.id.clone(),
            title: step.title.clone(),
            kind: step.kind.name().to_owned(),
            status,
            reason,
            duration_ms: 0,
            points: step.points,
            commands: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Whether later steps can still build on this one: an output that only looks different does not stop them.
    pub fn holds(&self) -> bool {
        match self.status {
            Status::Pass => true,
            Status::Fail => self.checks.iter().all(|c| c.status == Status::Pass || c.kind == "recording"),
            Status::Error | Status::Skip => false,
        }
    }
}

impl Report {
    /// Sums up the steps of a lab.
    pub fn new(
        lab: &Lab,
        engine: &str,
        started: String,
        boot_ms: u64,
        duration_ms: u64,
        steps: Vec<StepReport>,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            chapter: lab.id.clone(),
            title: lab.title.clone(),
            engine: engine.to_owned(),
            started,
            duration_ms,
            boot_ms,
            status: Status::of_all(steps.iter().map(|s| s.status)),
            trouble: None,
            points: points(&steps),
            steps,
        }
    }
}

impl Reports {
    /// Sums up chapters.
    pub fn new(engine: &str, chapters: Vec<Report>) -> Self {
        let status = Status::of_all(chapters.iter().map(|c| c.status));
        Self { format_version: FORMAT_VERSION, engine: engine.to_owned(), status, chapters }
    }
}

/// The points of these steps.
pub fn points(steps: &[StepReport]) -> Points {
    let mut points = Points::default();
    for step in steps {
        match step.status {
            Status::Pass => {
                points.earned += step.points;
                points.possible += step.points;
            }
            Status::Fail => points.possible += step.points,
            Status::Error | Status::Skip => {}
        }
    }
    points
}
