//! Replays seeds: `cargo sim -- --seed N [--count N] [--steps N] [--trace]`.
//!
//! Exits 0 when every seed kept the invariants, 1 when one did not, 2 on wrong usage.

use std::io::Write;
use std::process::ExitCode;

use swarm_sim::{Options, run};

const USAGE: &str = "usage: cargo sim -- --seed N [--count N] [--steps N] [--trace]
  --seed N    the seed to run (or the first of several)
  --count N   run so many seeds from there on
  --steps N   end the time of faults after so many events
  --trace     tell what happens";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A reader that has seen enough (`| head`) is no failure.
    let mut out = std::io::stdout().lock();
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.count) {
        let options = Options { seed, steps: arguments.steps };
        let mut trace = |line: &str| {
            if arguments.trace {
                let _ = writeln!(out, "{line}");
            }
        };
        let outcome = run(&options, &mut trace);
        let _ = match &outcome {
            Ok(report) => writeln!(
                out,
                "seed {seed}: ok, {} managers, {} workers, {} events in {:.1} s, {} faults, {} requests, digest {:016x}, gossip {:016x}, data planes {:016x}",
                report.managers,
                report.workers,
                report.steps,
                report.time.as_secs_f64(),
                report.faults,
                report.acknowledged,
                report.digest,
                report.gossip,
                report.data_planes
            ),
            Err(violation) => {
                let steps = arguments.steps.map(|steps| format!(" --steps {steps}")).unwrap_or_default();
                writeln!(out, "seed {seed}: FAILED {violation}{steps}")
            }
        };
        if outcome.is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

struct Arguments {
    seed: u64,
    count: u64,
    steps: Option<u64>,
    trace: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self { seed: 0, count: 1, steps: None, trace: false };
        let mut seed = None;
        while let Some(word) = words.next() {
            let mut number = || {
                let text = words.next().ok_or_else(|| format!("{word} wants a number"))?;
                text.parse::<u64>().map_err(|_| format!("{word} wants a number, not '{text}'"))
            };
            match word.as_str() {
                "--seed" => seed = Some(number()?),
                "--count" => arguments.count = number()?,
                "--steps" => arguments.steps = Some(number()?),
                "--trace" => arguments.trace = true,
                // `cargo sim -- --seed N`: the alias already ends in `--`, so that `cargo sim --seed N` works too.
                "--" => {}
                _ => return Err(format!("unknown argument '{word}'")),
            }
        }
        arguments.seed = seed.ok_or("which seed?")?;
        Ok(arguments)
    }
}
