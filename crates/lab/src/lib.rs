//! Chapter text and `lab.toml` to a [`Lab`]; observations to a [`report::Report`].
//!
//! A lab has one source: the fenced blocks of a chapter are its steps, and `labs/<chapter>/lab.toml` says how each is
//! checked. [`parse`] joins the two and is the only parser: the runner executes what it returns and the mdBook
//! preprocessor renders it, so what a reader reads is what runs.
//!
//! The flow through this crate:
//!
//! ```text
//! chapter.md + lab.toml --parse--> Lab --> Step --(the runner executes)--> Observation
//!     --judge--> CheckResult --Watch (eventually)--> CheckResult --report--> Report, points
//! ```
//!
//! Everything here is pure: no clock, files, sockets or processes. Times are passed in as a [`core::time::Duration`]
//! since some start that the caller chose. Running commands, talking to a cluster and printing are the runner's.

mod api_path;
mod chapter;
mod check_file;
mod diagnostic;
mod duration;
mod eventually;
mod hint;
mod judge;
mod lab_file;
pub mod limits;
mod model;
mod predicate;
mod readonly;
pub mod recording;
pub mod report;
mod rewrite;
mod table;
mod twin;

pub use api_path::{Pointer, encode_query};
pub use diagnostic::{Diagnostic, nearest};
pub use duration::{parse_duration, show_duration};
pub use eventually::{Verdict, Watch};
pub use hint::state_hint;
pub use judge::{CheckResult, Observation, Ran, Reply, Status, judge, judge_exit, judge_recording};
pub use model::{
    Check, CheckKind, ClusterNeeds, Command, Eventually, HttpPart, LAB_NODE, Lab, Parse, Place, RecordKind, Recording,
    RecordingMode, Step, StepKind, Stream,
};
pub use predicate::Predicate;
pub use rewrite::{NewOutput, rewrite};

/// The keys that each table of `lab.toml` knows, in the order of the documentation. The published JSON schema is
/// tested against them.
pub mod keys {
    pub use crate::check_file::{API_KEYS, CHECK_KEYS, COMMAND_KEYS, DNS_KEYS, EVENTUALLY_KEYS, FILE_KEYS, HTTP_KEYS};
    pub use crate::lab_file::{CLUSTER_KEYS, ENGINES, FEATURES, LINE_KEYS, STEP_KEYS, TOP_KEYS};
    pub use crate::predicate::PREDICATE_KEYS;
}

/// The only version of the lab format so far.
pub const FORMAT_VERSION: i64 = 1;

/// Joins a chapter and its `lab.toml` into a [`Lab`], or says everything that is wrong with them.
///
/// The paths are only used to name files in diagnostics. The diagnostics are sorted by file and line.
pub fn parse(chapter_path: &str, chapter_text: &str, lab_path: &str, lab_toml: &str) -> Result<Lab, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let blocks = chapter::read(chapter_path, chapter_text, &mut found);
    let file = lab_file::read(lab_path, lab_toml, &mut found);
    let lab = match (blocks, file) {
        (Some(blocks), Some(file)) => twin::join(chapter_path, lab_path, blocks, file, &mut found),
        _ => None,
    };
    found.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    match lab {
        Some(lab) if found.is_empty() => Ok(lab),
        _ => Err(found),
    }
}

/// Reads only the fenced step blocks of a chapter, for tools that look at a chapter without its `lab.toml`.
pub fn has_steps(chapter_text: &str) -> bool {
    chapter::has_steps(chapter_text)
}
