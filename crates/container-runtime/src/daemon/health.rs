//! Health checks, by Docker's rules: probes run one after another, the interval counts from the end of one to the
//! start of the next; failures during the start period do not count, a success ends that period; `retries` failures
//! in a row make a container unhealthy, one success makes it healthy.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::events::EventKind;
use super::record::Status;
use super::stream::{Input, Output, attach};
use super::{Entry, Runtime, client};
use crate::config::Healthcheck;
use crate::durable;
use crate::shim::wire::{ExecSpec, Request};

/// Docker's own: what a probe says beyond this is cut off, and so many probes are remembered.
const MAX_OUTPUT: usize = 4096;
const MAX_PROBES: usize = 5;

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthStatus {
    /// Not decided yet.
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// Too many in a row failed.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

/// A container's health.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last probes, oldest first.
    pub log: Vec<Probe>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Nanoseconds since 1970.
    pub start: i64,
    /// Nanoseconds since 1970.
    pub end: i64,
    /// 0 is well; -1 is a timeout or a probe that could not run.
    pub exit_code: i32,
    /// What it said.
    pub output: String,
}

impl Health {
    fn new() -> Health {
        Health { status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() }
    }

    /// Takes a probe's result into account. Returns the verdict if it changed.
    fn take(&mut self, probe: Probe, retries: u32, in_start_period: bool) -> Option<HealthStatus> {
        let ok = probe.exit_code == 0;
        self.log.push(probe);
        if self.log.len() > MAX_PROBES {
            self.log.remove(0);
        }
        let before = self.status;
        if ok {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if !(in_start_period && self.status == HealthStatus::Starting) {
            self.failing_streak += 1;
            if self.failing_streak >= retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        (self.status != before).then_some(self.status)
    }
}

/// Begins to probe a container that has just started (or been found again).
pub(super) fn spawn(runtime: &Runtime, entry: &Arc<Entry>) -> Option<JoinHandle<()>> {
    let check = entry.record().health.clone()?;
    entry.state.send_modify(|s| s.health = Some(Health::new()));
    let (runtime, entry) = (runtime.clone(), entry.clone());
    Some(tokio::spawn(async move { run(&runtime, &entry, &check).await }))
}

async fn run(runtime: &Runtime, entry: &Entry, check: &Healthcheck) {
    let interval = check.interval.unwrap_or(Duration::from_secs(30));
    let timeout = check.timeout.unwrap_or(Duration::from_secs(30));
    let start_interval = check.start_interval.unwrap_or(Duration::from_secs(5));
    let start_period = Instant::now() + check.start_period.unwrap_or(Duration::ZERO);
    let retries = check.retries.unwrap_or(3);
    loop {
        let starting = Instant::now() < start_period
            && entry.state.borrow().health.as_ref().is_some_and(|h| h.status == HealthStatus::Starting);
        tokio::time::sleep(if starting { start_interval.min(interval) } else { interval }).await;
        if entry.status() != Status::Running {
            return;
        }
        let in_start_period = Instant::now() < start_period;
        let probe = probe(entry, check, timeout).await;
        let at = probe.end;
        let mut changed = None;
        entry.state.send_if_modified(|s| {
            if s.status != Status::Running {
                return false;
            }
            changed = s.health.get_or_insert_with(Health::new).take(probe, retries, in_start_period);
            true
        });
        if let Some(status) = changed {
            runtime.emit(entry, at, EventKind::Health(status));
        }
    }
}

async fn probe(entry: &Entry, check: &Healthcheck, timeout: Duration) -> Probe {
    let start = durable::now_nanos();
    let args: Vec<String> = match check.test.first().map(String::as_str) {
        Some("CMD") => check.test[1..].to_vec(),
        Some("CMD-SHELL") => {
            ["/bin/sh", "-c"].into_iter().map(String::from).chain(check.test[1..].iter().cloned()).collect()
        }
        _ => check.test.clone(),
    };
    let (mut exit_code, mut output) = (-1, Vec::new());
    let spec = ExecSpec { id: "health".into(), args, ..Default::default() };
    match client::stream(&entry.dir, &Request::Exec(spec)).await {
        Err(e) => output = e.message.into_bytes(),
        Ok((stream, _)) => {
            let mut streams = attach(stream);
            let read = async {
                while let Some(o) = streams.output.recv().await {
                    match o {
                        Output::Stdout(b) | Output::Stderr(b) => {
                            let room = MAX_OUTPUT.saturating_sub(output.len());
                            output.extend_from_slice(&b[..room.min(b.len())]);
                        }
                        Output::Exit(code) => return code,
                    }
                }
                -1
            };
            match tokio::time::timeout(timeout, read).await {
                Ok(code) => exit_code = code,
                Err(_) => {
                    let _ = streams.input.send(Input::Signal(9)).await;
                    // The signal travels on this connection: let it arrive before the connection is dropped.
                    while streams.output.recv().await.is_some_and(|o| !matches!(o, Output::Exit(_))) {}
                    output = format!("Health check exceeded timeout ({timeout:?})").into_bytes();
                }
            }
        }
    }
    Probe { start, end: durable::now_nanos(), exit_code, output: String::from_utf8_lossy(&output).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(exit_code: i32) -> Probe {
        Probe { start: 0, end: 0, exit_code, output: String::new() }
    }

    #[test]
    fn failures_in_the_start_period_do_not_count_and_retries_in_a_row_make_unhealthy() {
        let mut h = Health::new();
        for _ in 0..10 {
            assert_eq!(h.take(probe(1), 2, true), None);
        }
        assert_eq!(h.take(probe(1), 2, false), None);
        assert_eq!(h.take(probe(1), 2, false), Some(HealthStatus::Unhealthy));
        assert_eq!(h.take(probe(0), 2, false), Some(HealthStatus::Healthy));
        assert_eq!((h.failing_streak, h.log.len()), (0, MAX_PROBES));
    }

    #[test]
    fn a_success_ends_the_start_period() {
        let mut h = Health::new();
        assert_eq!(h.take(probe(0), 1, true), Some(HealthStatus::Healthy));
        assert_eq!(h.take(probe(1), 1, true), Some(HealthStatus::Unhealthy));
    }
}
