//! What a parsed lab is. Only [`crate::parse`] makes a [`Lab`], so whoever holds one knows that its ids are unique,
//! its nodes exist and its `needs` can be met.

use core::ops::Range;
use core::time::Duration;
use std::collections::BTreeMap;

use crate::{api_path::Pointer, predicate::Predicate};

/// The name that stands in a prompt for the machine outside the cluster: `lab$ swarmlab fault ...`.
pub const LAB_NODE: &str = "lab";

/// A chapter's lab.
#[derive(Debug, Clone)]
pub struct Lab {
    /// `chapter-3`, the name of the folder of `lab.toml`.
    pub id: String,
    /// A word for the chapter, `services`; accepted wherever the id is.
    pub slug: String,
    /// The chapter's title.
    pub title: String,
    /// The cluster that the lab needs.
    pub cluster: ClusterNeeds,
    /// The steps in the chapter's order; never empty.
    pub steps: Vec<Step>,
}

impl Lab {
    /// The step with this id.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|s| s.id == id)
    }

    /// The steps that must have run before `id`, in chapter order, without `id` itself.
    pub fn prerequisites(&self, id: &str) -> Vec<&Step> {
        let mut wanted: Vec<&str> =
            self.step(id).map(|s| s.needs.iter().map(String::as_str).collect()).unwrap_or_default();
        let mut at = 0;
        while at < wanted.len() {
            for need in self.step(wanted[at]).into_iter().flat_map(|s| &s.needs) {
                if !wanted.contains(&need.as_str()) {
                    wanted.push(need);
                }
            }
            at += 1;
        }
        self.steps.iter().filter(|s| wanted.contains(&s.id.as_str())).collect()
    }

    /// The points of all steps.
    pub fn points(&self) -> u32 {
        self.steps.iter().map(|s| s.points).sum()
    }
}

/// The cluster that a lab starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNeeds {
    /// Nodes `manager1`, `manager2`, ...
    pub managers: u8,
    /// Nodes `worker1`, `worker2`, ...
    pub workers: u8,
    /// Whether the nodes form a swarm when the lab begins; otherwise they are single engines.
    pub swarm: bool,
}

impl ClusterNeeds {
    /// The names of the nodes, managers first.
    pub fn nodes(&self) -> Vec<String> {
        let managers = (1..=self.managers).map(|n| format!("manager{n}"));
        managers.chain((1..=self.workers).map(|n| format!("worker{n}"))).collect()
    }
}

/// Whether the reader is shown a step or has to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// The chapter shows the commands and their output.
    Demo,
    /// The chapter sets a task; `lab.toml` holds a solution.
    Exercise,
}

impl StepKind {
    /// `demo` or `exercise`.
    pub fn name(self) -> &'static str {
        match self {
            StepKind::Demo => "demo",
            StepKind::Exercise => "exercise",
        }
    }
}

/// One step of a lab.
#[derive(Debug, Clone)]
pub struct Step {
    /// Stable name; progress and links are keyed by it.
    pub id: String,
    /// A heading for reports; the id where the author gave none.
    pub title: String,
    /// Demo or exercise.
    pub kind: StepKind,
    /// Where the step's block begins in the chapter, from 1.
    pub line: usize,
    /// The bytes of the whole fenced block in the chapter's text, fences included.
    pub block: Range<usize>,
    /// A demo's commands; empty for an exercise.
    pub commands: Vec<Command>,
    /// An exercise's task, in Markdown; empty for a demo.
    pub task: String,
    /// How long one command may take.
    pub timeout: Duration,
    /// What passing is worth.
    pub points: u32,
    /// The steps that must have run before.
    pub needs: Vec<String>,
    /// What must hold afterwards.
    pub checks: Vec<Check>,
    /// Up to three hints, each saying more than the one before.
    pub hints: Vec<String>,
    /// One way to solve an exercise.
    pub solution: Vec<Command>,
    /// What undoes the step.
    pub reset: Vec<Command>,
    /// Whether a command that fails lets the step go on and pass.
    pub continue_on_error: bool,
    /// Repeats the last command of a demo until its output is the recorded one.
    pub settle: Option<Eventually>,
    /// How observed and recorded output are compared.
    pub recording: RecordingMode,
    /// Features that an engine may lack, such as `vip`; the step is skipped where it does.
    pub requires: Vec<String>,
    /// Engines on which the step cannot run, each with the reason.
    pub skip: BTreeMap<String, String>,
}

impl Step {
    /// What the runner executes to reach the step's goal: a demo's commands or an exercise's solution.
    pub fn way(&self) -> &[Command] {
        match self.kind {
            StepKind::Demo => &self.commands,
            StepKind::Exercise => &self.solution,
        }
    }
}

/// One command line on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The node, or [`LAB_NODE`].
    pub node: String,
    /// The shell line as the reader sees it; lines that are continued keep their `\` and newline.
    pub line: String,
    /// Where it stands in its file, from 1.
    pub source_line: usize,
    /// The exit code that it must have.
    pub exit: i32,
    /// Keeps what the command prints, trimmed, in an environment variable for the commands after it.
    pub save: Option<String>,
    /// The output in the chapter; `None` for commands of `lab.toml`.
    pub recording: Option<Recording>,
}

/// Output as it stands in a chapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The lines, joined; `[..]` stands for any text within a line, a line `...` for any lines.
    pub text: String,
    /// The bytes of the lines in the chapter's text, from after the command to before the next prompt or fence.
    pub range: Range<usize>,
}

/// How observed and recorded output are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordingMode {
    /// Line by line.
    #[default]
    Ordered,
    /// The same lines in any order.
    Unordered,
    /// Not at all: the recording is only an example.
    Ignored,
}

/// When a check is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eventually {
    /// How long to wait for it to hold.
    pub timeout: Duration,
    /// The pause between two observations.
    pub interval: Duration,
    /// How long it must hold without a break.
    pub stable_for: Duration,
}

/// One thing that must hold after a step.
#[derive(Debug, Clone)]
pub struct Check {
    /// `step-id/1`, `step-id/2`, ...: stable while the order of a step's checks is.
    pub id: String,
    /// What it means for a reader.
    pub words: String,
    /// How it is observed.
    pub kind: CheckKind,
    /// The node that is asked.
    pub node: String,
    /// What the observed value must satisfy.
    pub expect: Option<Predicate>,
    /// When to ask again; without it the first observation decides.
    pub eventually: Option<Eventually>,
    /// Why the check holds on the untouched state too, where it does.
    pub always: Option<String>,
    /// A command that shows a learner the state which the check judges.
    pub look: Option<String>,
    /// Features that an engine may lack, such as `vip`; the check is skipped where it does.
    pub requires: Vec<String>,
    /// Engines on which the check cannot be made, each with the reason.
    pub skip: BTreeMap<String, String>,
    /// Where it stands in `lab.toml`, from 1.
    pub line: usize,
}

/// How a check observes. None of these changes anything.
#[derive(Debug, Clone)]
pub enum CheckKind {
    /// `GET` a path of the Docker Engine API on the node's socket.
    Api {
        /// The path with its query, without a version, queries encoded.
        path: String,
        /// The status that the answer must have.
        status: u16,
        /// The part of the body that is judged.
        select: Pointer,
        /// Which elements of a list are kept before `select`.
        filter: Vec<(Pointer, Predicate)>,
    },
    /// Run a reading command on the node.
    Command {
        /// The shell line.
        run: String,
        /// The exit code that it must have; `None` accepts any.
        exit: Option<i32>,
        /// Which of its outputs is judged.
        stream: Stream,
        /// What the output is read as.
        parse: Parse,
        /// The part that is judged where the output is JSON.
        select: Pointer,
        /// How long it may take.
        timeout: Duration,
        /// How often it is run; with more than once, a list is judged.
        times: u32,
    },
    /// `GET` a URL from inside the node, or from the learner's machine where the check's node is [`LAB_NODE`].
    Http {
        /// Who asks.
        from: Place,
        /// The URL, `http://` only.
        url: String,
        /// How many requests; with more than one, a list is judged.
        requests: u32,
        /// What of each reply is judged.
        part: HttpPart,
        /// The part that is judged where the body is read as JSON.
        select: Pointer,
    },
    /// Read a file on the node or in a container on it.
    File {
        /// Where the file is.
        source: Place,
        /// Its path.
        path: String,
    },
    /// Ask the name server of a container.
    Dns {
        /// The first running container on the node whose name begins so.
        container: String,
        /// The name; an address for [`RecordKind::Ptr`].
        name: String,
        /// What is asked for.
        record: RecordKind,
    },
}

/// What a name server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The name of an address.
    Ptr,
}

impl RecordKind {
    /// `A`, `AAAA` or `PTR`.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Ptr => "PTR",
        }
    }
}

/// Where a check reads or asks from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The node itself.
    Node,
    /// The first running container on the node whose name begins so.
    Container(String),
}

/// Which output of a command is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What an output is read as before it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parse {
    /// One text, trimmed.
    Text,
    /// A list of lines that are not empty.
    Lines,
    /// One number.
    Number,
    /// A JSON document.
    Json,
}

/// What of an HTTP reply is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpPart {
    /// The status code.
    Status,
    /// The body as trimmed text.
    Body,
    /// The body as JSON.
    Json,
}
