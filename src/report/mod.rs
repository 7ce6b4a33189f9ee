//! How a run is told: live while it goes, and as a whole at its end.
//!
//! Live lines go to standard output, or to standard error where standard output carries JSON or XML alone.

mod junit;
mod live;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use lab::Status;
use lab::report::{Report, Reports};

pub use live::Live;
pub use table::proofs;

/// What `--format` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For eyes: colours and live progress where there is a terminal
    Pretty,
    /// Plain lines, for screen readers and logs
    Plain,
    /// One JSON document
    Json,
    /// JUnit XML
    Junit,
}

/// 0 all passed, 1 a step failed, 2 the machinery failed.
pub fn exit_code(status: Status) -> ExitCode {
    match status {
        Status::Pass | Status::Skip => ExitCode::SUCCESS,
        Status::Fail => ExitCode::from(1),
        Status::Error => ExitCode::from(2),
    }
}

/// Writes the document of `json` and `junit` to standard output; the other formats have said all they have to say.
/// One chapter is one [`Report`]; with `many` they are [`Reports`].
pub fn document(format: Format, reports: Reports, many: bool) -> io::Result<()> {
    let text = match format {
        Format::Pretty | Format::Plain => return Ok(()),
        Format::Json => json(reports, many)?,
        Format::Junit => junit::document(&reports).map_err(io::Error::other)?,
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

fn json(mut reports: Reports, many: bool) -> io::Result<String> {
    let text = match (many, reports.chapters.len()) {
        (false, 1) => reports.chapters.pop().map(|one: Report| serde_json::to_string_pretty(&one)),
        _ => Some(serde_json::to_string_pretty(&reports)),
    };
    Ok(text.transpose()?.unwrap_or_default())
}

/// `3 steps`, `1 step`
pub fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// `850 ms`, `12.3 s`
pub fn elapsed(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms % 1000 / 100) }
}

#[cfg(test)]
mod tests;
