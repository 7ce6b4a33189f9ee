//! "Within 20 s, and then for 2 s without a break": decided from times and results alone.

use core::time::Duration;

use crate::{CheckResult, Eventually, Status};

/// Follows one check from its first observation to its verdict.
#[derive(Debug)]
pub struct Watch {
    rule: Option<Eventually>,
    started: Option<Duration>,
    passing_since: Option<Duration>,
}

/// What to do after an observation.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Observe again at this time.
    Again(Duration),
    /// This is the result.
    Done(CheckResult),
}

impl Watch {
    /// A watch by this rule; without one the first observation decides.
    pub fn new(rule: Option<Eventually>) -> Self {
        Self { rule, started: None, passing_since: None }
    }

    /// Takes a result observed at `now`, which must not run backwards.
    pub fn observe(&mut self, now: Duration, mut result: CheckResult) -> Verdict {
        let Some(rule) = self.rule else { return Verdict::Done(result) };
        let started = *self.started.get_or_insert(now);
        let late = now.saturating_sub(started) >= rule.timeout;
        match result.status {
            Status::Skip => Verdict::Done(result),
            Status::Pass => {
                let since = *self.passing_since.get_or_insert(now);
                let held = now.saturating_sub(since);
                if held >= rule.stable_for {
                    return Verdict::Done(result);
                }
                // A check that began to hold in time may finish its stable period after the timeout.
                Verdict::Again(now + rule.interval.min(rule.stable_for - held))
            }
            Status::Fail | Status::Error => {
                if let Some(since) = self.passing_since.take() {
                    let held = crate::show_duration(now.saturating_sub(since));
                    result.seen.push_str(&format!(" (it held for {held}, then no longer)"));
                }
                if late {
                    // whole seconds: a learner is not helped by the odd milliseconds
                    let waited = now.saturating_sub(started).as_secs();
                    result.seen.push_str(&format!(" (after {waited} s)"));
                    return Verdict::Done(result);
                }
                Verdict::Again((now + rule.interval).min(started + rule.timeout))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn result(status: Status) -> CheckResult {
        CheckResult { status, expected: String::new(), seen: String::new(), asked: String::new() }
    }

    fn rule(timeout: u64, interval: u64, stable_for: u64) -> Watch {
        Watch::new(Some(Eventually { timeout: ms(timeout), interval: ms(interval), stable_for: ms(stable_for) }))
    }

    #[test]
    fn without_a_rule_the_first_observation_decides() {
        assert!(matches!(Watch::new(None).observe(ms(0), result(Status::Fail)), Verdict::Done(_)));
    }

    #[test]
    fn a_pass_must_hold_without_a_break() {
        let mut watch = rule(1000, 100, 250);
        assert_eq!(watch.observe(ms(0), result(Status::Pass)), Verdict::Again(ms(100)));
        assert_eq!(watch.observe(ms(100), result(Status::Fail)), Verdict::Again(ms(200)));
        assert_eq!(watch.observe(ms(200), result(Status::Pass)), Verdict::Again(ms(300)));
        assert_eq!(watch.observe(ms(400), result(Status::Pass)), Verdict::Again(ms(450)));
        let Verdict::Done(done) = watch.observe(ms(450), result(Status::Pass)) else { panic!("held for 250 ms") };
        assert_eq!(done.status, Status::Pass);
    }

    #[test]
    fn a_failure_is_final_only_at_the_timeout_and_trouble_stays_trouble() {
        let mut watch = rule(150, 100, 0);
        assert_eq!(watch.observe(ms(50), result(Status::Fail)), Verdict::Again(ms(150)));
        assert_eq!(watch.observe(ms(150), result(Status::Fail)), Verdict::Again(ms(200)));
        let Verdict::Done(done) = watch.observe(ms(200), result(Status::Error)) else { panic!("timed out") };
        assert_eq!(done.status, Status::Error);
    }

    #[test]
    fn a_pass_that_began_in_time_may_become_stable_after_the_timeout() {
        let mut watch = rule(100, 100, 200);
        assert_eq!(watch.observe(ms(0), result(Status::Fail)), Verdict::Again(ms(100)));
        assert_eq!(watch.observe(ms(100), result(Status::Pass)), Verdict::Again(ms(200)));
        assert!(matches!(watch.observe(ms(300), result(Status::Pass)), Verdict::Done(_)));
    }
}
