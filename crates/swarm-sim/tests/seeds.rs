//! A few hundred seeds, each a small swarm with faults. A failure names the command that replays it.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use swarm_sim::{Options, run};

/// So many seeds run in one test; the tests run side by side.
const SEEDS: u64 = 75;

fn run_from(first: u64) {
    for seed in first..first + SEEDS {
        let options = Options { seed, steps: Some(STEPS) };
        match catch_unwind(AssertUnwindSafe(|| run(&options, &mut |_| {}))) {
            Ok(Ok(_)) => {}
            Ok(Err(violation)) => panic!("{violation} --steps {STEPS}"),
            Err(_) => panic!("seed {seed} panicked\nreplay it: cargo sim -- --seed {seed} --trace --steps {STEPS}"),
        }
    }
}

/// Events under faults, of each seed: some tens of seconds in virtual time.
const STEPS: u64 = 3_000;

#[test]
fn seeds_0_to_74_keep_the_invariants() {
    run_from(0);
}

#[test]
fn seeds_75_to_149_keep_the_invariants() {
    run_from(75);
}

#[test]
fn seeds_150_to_224_keep_the_invariants() {
    run_from(150);
}

#[test]
fn seeds_225_to_299_keep_the_invariants() {
    run_from(225);
}

/// Whole runs that once failed, each for a reason of its own: a leader that was demoted before the nodes knew its
/// successor, a config that was removed while a service began to use it, an address that was given out again too soon, the
/// gossip that was ahead of the managers at the end, a removal of which nobody knew what became.
#[test]
fn whole_runs_that_once_failed_keep_the_invariants() {
    for seed in [5079, 29_293_418, 910_143, 700_537, 910_353] {
        if let Err(violation) = run(&Options { seed, steps: None }, &mut |_| {}) {
            panic!("{violation}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in [3, 7] {
        let options = Options { seed, steps: Some(STEPS) };
        let mut traces = [Vec::new(), Vec::new()];
        let reports: Vec<_> =
            traces.iter_mut().map(|lines| run(&options, &mut |line| lines.push(line.to_owned())).unwrap()).collect();
        assert_eq!(reports[0], reports[1]);
        assert_eq!(traces[0], traces[1]);
    }
}
