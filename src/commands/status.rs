//! `swarmlab status`: the open lab, its nodes, published ports and steps.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::lesson::Lesson;
use super::support::{Failure, LabsDir, forward_json, forwards};
use crate::engine::{Broken, Forwards};
use crate::lab_line::{Format, down_words};

/// Arguments of `swarmlab status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How to tell
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    labs: LabsDir,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

fn execute(args: &Args) -> Result<(), Failure> {
    let lesson = Lesson::open(&args.labs)?;
    let state = match lesson.cluster() {
        Ok(cluster) => Some((forwards(&*cluster)?, cluster.broken()?)),
        Err(_) => None,
    };
    match args.format {
        Format::Table => table(&lesson, state.as_ref()),
        Format::Json => say!("{:#}", document(&lesson, state.as_ref())),
    }
    Ok(())
}

fn table(lesson: &Lesson, state: Option<&(Forwards, Broken)>) {
    let lab = &lesson.lab;
    let running = match state {
        Some(_) => "runs".to_owned(),
        None => format!("does not run; `swarmlab start {}` boots it", lab.id),
    };
    say!("{}: {}", lab.id, lab.title);
    say!("cluster: {} on {}, {running}", lab.cluster.nodes().join(", "), lesson.engine);
    if let Some((forwards, broken)) = state {
        for forward in &forwards.ports {
            say!("{forward}");
        }
        for fault in &broken.faults {
            say!("fault: {fault}");
        }
        for down in &broken.nodes {
            say!("fault: {}", down_words(down));
        }
    }
    let width = lab.steps.iter().map(|s| s.id.len()).max().unwrap_or(0);
    let current = lesson.current().map(|s| s.id.as_str());
    for step in &lab.steps {
        let here = if current == Some(step.id.as_str()) { ">" } else { " " };
        let state = lesson.state(&step.id).name();
        say!("{here} {state:8} {:width$}  {}", step.id, step.title);
    }
}

fn document(lesson: &Lesson, state: Option<&(Forwards, Broken)>) -> Value {
    let step = |step: &lab::Step| json!({ "id": step.id, "title": step.title, "state": lesson.state(&step.id).name() });
    let ports: Vec<Value> = state.iter().flat_map(|(forwards, _)| &forwards.ports).map(forward_json).collect();
    let broken = state.map(|(_, broken)| broken);
    json!({
        "format_version": 1,
        "chapter": lesson.lab.id,
        "title": lesson.lab.title,
        "engine": lesson.engine,
        "running": state.is_some(),
        "nodes": lesson.lab.cluster.nodes(),
        "current": lesson.current().map(|step| &step.id),
        "ports": ports,
        "faults": broken.map_or_else(Vec::new, |broken| broken.faults.clone()),
        "down": broken.map_or_else(Vec::new, |broken| broken.nodes.clone()),
        "steps": lesson.lab.steps.iter().map(step).collect::<Vec<_>>(),
    })
}
