//! `swarmlab reset`: undoes a step so that it can be tried again.

use std::process::ExitCode;

use super::lesson::Lesson;
use super::support::Failure;
use crate::executor::Executor;
use crate::session::{StepProgress, StepState};

pub use super::support::StepArgs as Args;

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).unwrap_or_else(Failure::report)
}

fn execute(args: &Args) -> Result<ExitCode, Failure> {
    let mut lesson = Lesson::open(&args.labs)?;
    let step = match &args.step {
        Some(id) => lesson.step(Some(id))?,
        None => match lesson.lab.steps.iter().rev().find(|s| lesson.state(&s.id) != StepState::Open) {
            Some(step) => step,
            None => lesson.step(None)?,
        },
    };
    let step = step.clone();
    if step.reset.is_empty() {
        let id = &lesson.lab.id;
        return Err(Failure::usage(format!(
            "the step `{}` has nothing to undo it; `swarmlab start {id} --fresh` begins the chapter anew",
            step.id
        )));
    }
    let cluster = lesson.cluster()?;
    let lacks = |feature: &str| lesson.lacks(feature);
    let undone = Executor::new(&*cluster, &lacks).commands(&step.reset, step.timeout)?;
    if let Err(done) = undone {
        say!("{}$ {} ended with {}: {}", done.node, done.command, done.exit, done.output.trim());
        say!("Was there anything to undo? `swarmlab check {}` tells the state.", step.id);
        return Ok(ExitCode::from(1));
    }
    *lesson.session.step_mut(&lesson.lab.id, &step.id) = StepProgress::default();
    lesson.session.save()?;
    say!("Undone: {} ({})", step.title, step.id);
    Ok(ExitCode::SUCCESS)
}
