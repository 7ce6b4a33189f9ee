//! `swarmlab solve`: does a step for the learner, command by command, and counts it as skipped.

use std::process::ExitCode;

use super::lesson::Lesson;
use super::support::Failure;
use crate::executor::{Event, Executor};
use crate::report::{self, Format, Live};
use crate::session::StepState;

pub use super::support::StepArgs as Args;

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).unwrap_or_else(Failure::report)
}

fn execute(args: &Args) -> Result<ExitCode, Failure> {
    let mut lesson = Lesson::open(&args.labs)?;
    let step = lesson.step(args.step.as_deref())?.clone();
    let cluster = lesson.cluster()?;
    let mut live = Live::new(Format::Pretty);
    say!("{} ({})", step.title, step.id);
    let mut report = {
        let lacks = |feature: &str| lesson.lacks(feature);
        let mut listen = |event: Event<'_>| {
            // A learner's cluster is not the recorded one: outputs may differ, what counts is the state.
            if !matches!(event, Event::CheckDone(check) if check.kind == "recording") {
                live.event(&event);
            }
        };
        Executor::new(&*cluster, &lacks).step(&step, &mut listen)
    };
    live.end();
    report.checks.retain(|c| c.kind != "recording");
    if report.reason.is_none() {
        report.status = lab::Status::of_all(report.checks.iter().map(|c| c.status));
    }
    if let Some(reason) = &report.reason {
        say!("    {reason}");
    }
    if matches!(report.status, lab::Status::Pass | lab::Status::Skip) {
        if lesson.state(&step.id) == StepState::Open {
            lesson.set(&step.id, StepState::Skipped)?;
        }
        lesson.tell_next();
    }
    Ok(report::exit_code(report.status))
}
