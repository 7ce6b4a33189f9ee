//! `swarmlab check`: judges a step of the open lab as it is now.

use std::process::ExitCode;
use std::time::Duration;

use lab::Status;

use super::lesson::Lesson;
use super::support::{Failure, StepArgs};
use crate::executor::Executor;
use crate::report::{self, Format, Live};
use crate::session::StepState;

/// Arguments of `swarmlab check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    of: StepArgs,
    /// Wait as long as the runner would for what is still under way [default: 10 seconds]
    #[arg(long)]
    wait: bool,
    /// Plain lines without colours
    #[arg(long)]
    plain: bool,
}

/// How long a learner waits for all checks of a step, whose state may still be on its way. Long enough for a service to
/// converge; the runner itself is more patient, since nobody watches it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).unwrap_or_else(Failure::report)
}

fn execute(args: &Args) -> Result<ExitCode, Failure> {
    let mut lesson = Lesson::open(&args.of.labs)?;
    let step = lesson.step(args.of.step.as_deref())?.clone();
    let patience = (!args.wait).then_some(PATIENCE);
    let cluster = lesson.cluster()?;
    say!("{} ({})", step.title, step.id);
    let mut live = Live::new(if args.plain { Format::Plain } else { Format::Pretty });
    let checks = {
        let lacks = |feature: &str| lesson.lacks(feature);
        Executor::new(&*cluster, &lacks).checks(&step, patience, &mut |event| live.event(&event))
    };
    live.end();
    let status = match step.checks.is_empty() {
        true => Status::Pass,
        false => Status::of_all(checks.iter().map(|c| c.status)),
    };
    if step.checks.is_empty() {
        say!("    This step only shows something; there is nothing to check.");
    }
    match status {
        Status::Pass | Status::Skip => {
            if lesson.state(&step.id) == StepState::Open {
                lesson.set(&step.id, StepState::Done)?;
            }
            lesson.tell_next();
        }
        Status::Fail => {
            say!("\nNot yet. `swarmlab hint` helps; `swarmlab check --wait` waits longer for what is on its way.")
        }
        Status::Error => {
            say!("\nIt could not be judged; that is not your fault. `swarmlab doctor` looks at the machine.")
        }
    }
    Ok(report::exit_code(status))
}
