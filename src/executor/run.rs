//! Runs a chapter: boots its cluster, runs its steps, reports.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use lab::report::{Report, StepReport};
use lab::{Lab, Status, Step};

use super::{Event, Executor, Listener, millis};
use crate::engine::{Cluster, ClusterSpec, Engine, EngineError, Lifetime};

/// How a chapter is run.
#[derive(Debug, Default)]
pub struct Options {
    /// Only this step and those that it needs.
    pub step: Option<String>,
    /// Whether the cluster stays, and under which name.
    pub keep: Option<String>,
    /// An address besides the loopback ones at which published ports are reachable.
    pub listen: Option<IpAddr>,
    /// The folder shown as `/lab` on every node.
    pub fixtures: Option<PathBuf>,
}

/// The cluster that a lab asks for.
pub fn cluster_spec(lab: &Lab, name: String, lifetime: Lifetime, fixtures: Option<PathBuf>) -> ClusterSpec {
    ClusterSpec {
        name,
        managers: lab.cluster.managers.into(),
        workers: lab.cluster.workers.into(),
        plain: 0,
        form_swarm: lab.cluster.swarm,
        lifetime,
        listen: None,
        binds: fixtures.map(|outside| (outside, PathBuf::from("/lab"))).into_iter().collect(),
    }
}

/// A name for a cluster that only this process uses.
pub fn own_name(lab: &Lab) -> String {
    let stem: String = lab.id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(12).collect();
    format!("{stem}-{}", std::process::id())
}

/// Boots a lab's cluster.
pub fn boot(
    engine: &dyn Engine,
    spec: &ClusterSpec,
    listen: &mut Listener<'_>,
) -> Result<Arc<dyn Cluster>, EngineError> {
    let cluster: Arc<dyn Cluster> = engine.boot(spec, &mut |progress| listen(Event::Boot(progress)))?.into();
    Ok(cluster)
}

/// Runs a chapter. What goes wrong with the machinery is in the report, as its trouble.
pub fn run_chapter(lab: &Lab, engine: &dyn Engine, options: &Options, listen: &mut Listener<'_>) -> Report {
    let started = now();
    let began = Instant::now();
    listen(Event::Chapter(lab));
    let wanted: Vec<&Step> = match &options.step {
        Some(id) => lab.prerequisites(id).into_iter().chain(lab.step(id)).collect(),
        None => lab.steps.iter().collect(),
    };
    let lifetime = if options.keep.is_some() { Lifetime::Detached } else { Lifetime::Foreground };
    let name = options.keep.clone().unwrap_or_else(|| own_name(lab));
    let spec = ClusterSpec { listen: options.listen, ..cluster_spec(lab, name, lifetime, options.fixtures.clone()) };
    let cluster = match boot(engine, &spec, listen) {
        Ok(cluster) => cluster,
        Err(error) => return trouble(lab, engine.name(), started, began, &wanted, &error.to_string()),
    };
    let _guard = crate::interrupt::end_on_signal(&cluster, options.keep.is_some());
    let boot_ms = millis(began.elapsed());
    let lacks = |feature: &str| engine.lacks(feature);
    let mut executor = Executor::new(&*cluster, &lacks);
    let steps = run_steps(&mut executor, &wanted, listen);
    let mut report = Report::new(lab, engine.name(), started, boot_ms, millis(began.elapsed()), steps);
    if options.keep.is_none()
        && let Err(error) = cluster.shutdown()
    {
        report.trouble = Some(format!("the cluster did not end cleanly: {error}"));
        report.status = Status::Error;
    }
    report
}

/// Runs steps in order, leaving out those whose needs did not hold.
pub fn run_steps(executor: &mut Executor<'_>, steps: &[&Step], listen: &mut Listener<'_>) -> Vec<StepReport> {
    let mut reports: Vec<StepReport> = Vec::new();
    for step in steps {
        listen(Event::Step(step));
        let missing = step.needs.iter().find(|need| !reports.iter().any(|r| r.id == **need && r.holds()));
        let report = match missing {
            None => executor.step(step, listen),
            Some(need) => {
                let how = reports.iter().find(|r| r.id == *need).map_or("was not run", |r| match r.status {
                    Status::Error => "could not be run",
                    Status::Skip => "was skipped",
                    _ => "failed",
                });
                StepReport::new(step, Status::Skip, Some(format!("it needs the step `{need}`, which {how}")))
            }
        };
        listen(Event::StepDone(&report));
        reports.push(report);
    }
    reports
}

fn trouble(lab: &Lab, engine: &str, started: String, began: Instant, wanted: &[&Step], why: &str) -> Report {
    let reason = Some("the cluster did not boot".to_owned());
    let steps = wanted.iter().map(|step| StepReport::new(step, Status::Skip, reason.clone())).collect();
    let elapsed = millis(began.elapsed());
    let mut report = Report::new(lab, engine, started, elapsed, elapsed, steps);
    report.status = Status::Error;
    report.trouble = Some(why.to_owned());
    report
}

/// The time, RFC 3339.
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
