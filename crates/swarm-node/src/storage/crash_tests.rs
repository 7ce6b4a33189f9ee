//! A child process writes and is killed at random moments: what it was told is on disk must be there.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::tests::{entries, entry, open};
use super::*;
use swarm_types::IdSource;

const CHILD_DIR: &str = "SWARM_NODE_CRASH_TEST_DIR";

/// Not a test of its own: what the child does. Prints the number of each write once it is acknowledged.
#[test]
fn child_writes_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (log, state, repairs) = open(Path::new(&dir));
    assert!(repairs.iter().all(|repair| !repair.loss), "{repairs:?}");
    let mut next = state.entries.last().map_or(1, |last| last.index + 1);
    let (sender, mut results) = tokio::sync::mpsc::unbounded_channel();
    let writer = RaftWriter::start(log, 1, sender).unwrap();
    loop {
        for _ in 0..1 + next % 5 {
            writer.write(entries(next, next + next % 3));
            next += 1 + next % 3;
        }
        while let Some((_, Written::Through(number))) = results.blocking_recv() {
            writeln!(std::io::stderr(), "acknowledged {number}").unwrap();
            if number + 1 == next {
                break;
            }
        }
    }
}

#[test]
fn whatever_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = IdSource::from_seed(42);
    let mut acknowledged = 0;
    for _ in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::crash_tests::child_writes_until_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for _ in 0..random.below(40) {
            acknowledged = acknowledged.max(parse(&lines.next().unwrap().unwrap()));
        }
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            acknowledged = acknowledged.max(parse(&line.unwrap()));
        }
        let (_, state, repairs) = open(dir.path());
        assert!(repairs.iter().all(|repair| !repair.loss), "{repairs:?}");
        let last = state.entries.last().map_or(0, |last| last.index);
        assert!(last >= acknowledged, "{acknowledged} was acknowledged, {last} is there");
        assert!(state.entries.iter().zip(1..).all(|(found, index)| *found == entry(index)));
    }
    assert!(acknowledged > 0);
}

fn parse(line: &str) -> u64 {
    line.strip_prefix("acknowledged ").and_then(|number| number.parse().ok()).unwrap_or(0)
}
