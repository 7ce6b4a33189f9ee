#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use swarm_manager::consensus::{Persist, PersistedEntry, PersistedHardState, PersistedSnapshot, PersistedState};
use swarm_types::SecretBytes;

use super::*;

pub(super) fn key() -> SealKey {
    SealKey::new(&SecretBytes(vec![7; 32])).unwrap()
}

pub(super) fn entry(index: u64) -> PersistedEntry {
    PersistedEntry { index, term: 1, bytes: format!("secret value {index}").into_bytes() }
}

fn snapshot(index: u64, reset: bool) -> PersistedSnapshot {
    let keep_after = index.saturating_sub(2);
    PersistedSnapshot { index, term: 1, reset, keep_after, bytes: format!("secret state {index}").into_bytes() }
}

pub(super) fn entries(from: u64, to: u64) -> Persist {
    let hard_state = Some(PersistedHardState { term: 1, vote: 1, commit: to });
    Persist { number: to, entries: (from..=to).map(entry).collect(), hard_state, sync: true, ..Persist::default() }
}

fn with_snapshot(index: u64, reset: bool) -> Persist {
    Persist { number: index, snapshot: Some(snapshot(index, reset)), sync: true, ..Persist::default() }
}

pub(super) fn open(dir: &Path) -> (RaftLog, PersistedState, Vec<Repair>) {
    RaftLog::open(dir, key()).unwrap()
}

fn indexes(state: &PersistedState) -> Vec<u64> {
    state.entries.iter().map(|entry| entry.index).collect()
}

fn files(dir: &Path, prefix: &str) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    found.sort();
    found
}

fn written(dir: &Path) {
    let (mut log, ..) = open(dir);
    (1..=9).step_by(3).for_each(|first| log.write(&[entries(first, first + 2)]).unwrap());
}

#[test]
fn what_was_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let (_, state, repairs) = open(dir.path());
    assert_eq!(indexes(&state), (1..=9).collect::<Vec<_>>());
    assert_eq!(state.hard_state, PersistedHardState { term: 1, vote: 1, commit: 9 });
    assert_eq!(repairs, []);
}

#[test]
fn an_entry_replaces_those_at_its_index_and_later() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    open(dir.path())
        .0
        .write(&[Persist { entries: vec![PersistedEntry { term: 2, ..entry(5) }], ..entries(1, 0) }])
        .unwrap();
    let (_, state, _) = open(dir.path());
    assert_eq!(indexes(&state), [1, 2, 3, 4, 5]);
    assert_eq!(state.entries[4].term, 2);
}

#[test]
fn secrets_are_not_readable_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(dir.path());
    log.write(&[entries(1, 3), with_snapshot(3, false)]).unwrap();
    for file in files(dir.path(), "") {
        let bytes = fs::read(file).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
    }
}

#[test]
fn a_wrong_key_is_named_and_destroys_nothing() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let other = SealKey::new(&SecretBytes(vec![8; 32])).unwrap();
    let error = RaftLog::open(dir.path(), other).unwrap_err().to_string();
    assert!(error.contains("another key"), "{error}");
    assert_eq!(open(dir.path()).1.entries.len(), 9);
}

#[test]
fn a_torn_tail_is_cut_off_and_reported_without_loss() {
    let whole = tempfile::tempdir().unwrap();
    written(whole.path());
    let before = fs::read(&files(whole.path(), "log-")[0]).unwrap();
    open(whole.path()).0.write(&[entries(10, 10)]).unwrap();
    let after = fs::read(&files(whole.path(), "log-")[0]).unwrap();
    for cut in before.len() + 1..after.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("log-0000000000000001"), &after[..cut]).unwrap();
        let (mut log, state, repairs) = open(dir.path());
        assert!(indexes(&state).starts_with(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), "cut at {cut}");
        assert!(repairs.iter().all(|repair| !repair.loss), "{repairs:?}");
        log.write(&[entries(10, 11)]).unwrap();
        drop(log);
        let (_, state, repairs) = open(dir.path());
        assert_eq!(state.entries.len(), 11);
        assert_eq!(repairs, []);
    }
}

#[test]
fn a_corrupt_middle_keeps_the_good_prefix_and_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let path = &files(dir.path(), "log-")[0];
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, &bytes).unwrap();
    let (mut log, state, repairs) = open(dir.path());
    let good = state.entries.len();
    assert!((3..8).contains(&good));
    assert!(repairs[0].loss && repairs[0].what.contains(".corrupt"), "{repairs:?}");
    assert_eq!(fs::read(dir.path().join("log-0000000000000001.corrupt")).unwrap(), bytes);
    log.write(&[entries(good as u64 + 1, 20)]).unwrap();
    drop(log);
    let (_, state, repairs) = open(dir.path());
    assert_eq!(indexes(&state), (1..=20).collect::<Vec<_>>());
    assert_eq!(repairs, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_damage_leaves_a_prefix_that_can_be_written_to(place in 0usize..2000, flip in 1u8.., cut: bool) {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let path = &files(dir.path(), "log-")[0];
        let mut bytes = fs::read(path).unwrap();
        let place = place % bytes.len();
        if cut { bytes.truncate(place) } else { bytes[place] ^= flip }
        fs::write(path, &bytes).unwrap();
        let (mut log, state, repairs) = open(dir.path());
        prop_assert_eq!(&indexes(&state), &(1..=state.entries.len() as u64).collect::<Vec<_>>());
        prop_assert!(state.entries.iter().all(|found| *found == entry(found.index)));
        prop_assert!(!repairs.is_empty() || cut);
        log.write(&[entries(state.entries.len() as u64 + 1, 12)]).unwrap();
        drop(log);
        prop_assert_eq!(indexes(&open(dir.path()).1), (1..=12).collect::<Vec<_>>());
    }
}

#[test]
fn a_damaged_snapshot_costs_nothing_as_the_one_before_and_its_entries_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(dir.path());
    log.write(&[entries(1, 10), with_snapshot(10, false), entries(11, 20), with_snapshot(20, false), entries(21, 22)])
        .unwrap();
    drop(log);
    assert_eq!(open(dir.path()).1.snapshot, Some(snapshot(20, false)));
    let path = &files(dir.path(), "snapshot-")[1];
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
    let (_, state, repairs) = open(dir.path());
    assert_eq!(state.snapshot, Some(snapshot(10, false)));
    assert_eq!(indexes(&state).last(), Some(&22));
    assert!(indexes(&state).contains(&11));
    assert_eq!(repairs.len(), 1);
}

#[test]
fn a_snapshot_from_the_leader_voids_the_log() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    open(dir.path()).0.write(&[with_snapshot(100, true), entries(101, 102)]).unwrap();
    let (_, state, repairs) = open(dir.path());
    assert_eq!(indexes(&state), [101, 102]);
    assert_eq!(state.snapshot.unwrap().index, 100);
    assert_eq!(repairs, []);
}

#[test]
fn a_leaders_snapshot_wins_when_the_crash_came_before_its_mark_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    snapshot::write(dir.path(), &key(), &PersistedSnapshot { term: 2, ..snapshot(5, true) }).unwrap();
    let (_, state, _) = open(dir.path());
    assert!(state.entries.is_empty());
    assert_eq!(state.snapshot.unwrap().index, 5);
}

#[test]
fn old_segments_and_snapshots_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(dir.path());
    for round in 0..20u64 {
        let mut big = entries(round * 10 + 1, round * 10 + 10);
        big.entries.iter_mut().for_each(|entry| entry.bytes = vec![1; 100_000]);
        log.write(&[big, with_snapshot(round * 10 + 10, false)]).unwrap();
    }
    drop(log);
    assert!(files(dir.path(), "log-").len() <= 4, "{:?}", files(dir.path(), ""));
    assert_eq!(files(dir.path(), "snapshot-").len(), 2);
    let (_, state, repairs) = open(dir.path());
    assert_eq!(state.snapshot.unwrap().index, 200);
    assert_eq!(state.hard_state.commit, 200);
    assert_eq!(repairs, []);
}

#[test]
fn damage_before_the_snapshot_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(dir.path());
    let mut big = entries(1, 14);
    big.entries.iter_mut().for_each(|entry| entry.bytes = vec![1; 100_000]);
    log.write(&[big]).unwrap();
    log.write(&[entries(15, 20), with_snapshot(15, false), entries(21, 22)]).unwrap();
    drop(log);
    let path = &files(dir.path(), "log-")[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[500_000] ^= 1;
    fs::write(path, bytes).unwrap();
    let (_, state, repairs) = open(dir.path());
    assert_eq!(state.snapshot.as_ref().unwrap().index, 15);
    assert_eq!(indexes(&state), (15..=22).collect::<Vec<_>>());
    assert!(!repairs[0].loss, "{repairs:?}");
}

#[test]
fn a_checked_file_goes_back_to_the_content_before_when_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let file = CheckedFile::new(&path);
    assert_eq!(file.read().unwrap().0, None);
    file.write(b"one").unwrap();
    file.write(b"two").unwrap();
    assert_eq!(file.read().unwrap(), (Some(b"two".to_vec()), vec![]));
    fs::write(&path, b"rubbish").unwrap();
    let (content, repairs) = file.read().unwrap();
    assert_eq!(content.as_deref(), Some(&b"one"[..]));
    assert!(repairs[0].loss);
    assert_eq!(fs::read(dir.path().join("identity.corrupt")).unwrap(), b"rubbish");
    assert_eq!(file.read().unwrap(), (Some(b"one".to_vec()), vec![]));
}

#[test]
fn a_second_daemon_is_refused_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let _held = DirLock::take(dir.path()).unwrap();
    assert!(DirLock::take(dir.path()).unwrap_err().to_string().contains("another daemon"));
}
