//! The raft group as a black box: members, a lossless network, disks that remember.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::ProposalId;
use swarm_types::{NodeId, Timestamp};

struct Cluster {
    members: BTreeMap<u64, Consensus>,
    disks: BTreeMap<u64, PersistedState>,
    applied: BTreeMap<u64, Vec<u64>>,
}

fn member(raft_id: u64) -> Member {
    Member { node_id: NodeId::from_bits(raft_id.into()), addr: format!("10.77.0.{raft_id}:2377") }
}

fn spec() -> RaftSpec {
    RaftSpec { snapshot_interval: 5, log_entries_for_slow_followers: 2, ..RaftSpec::default() }
}

fn proposal(serial: u64) -> Proposal {
    let id = ProposalId { proposer: 1, serial };
    Proposal { id, now: Timestamp::from_secs(1), atomic: true, actions: Vec::new() }
}

impl Cluster {
    fn of_one() -> Self {
        let data = SnapshotData { members: BTreeMap::from([(1, member(1))]), store: StoreSnapshot::default() };
        let state = Consensus::bootstrap_state(1, &data).unwrap();
        let mut cluster = Self { members: BTreeMap::new(), disks: BTreeMap::new(), applied: BTreeMap::new() };
        cluster.start(1, state);
        cluster
    }

    fn start(&mut self, id: u64, state: PersistedState) {
        self.disks.insert(id, state.clone());
        self.applied.insert(id, Vec::new());
        self.members.insert(id, Consensus::new(id, &spec(), id, state).unwrap());
        self.settle();
    }

    fn restart(&mut self, id: u64) {
        let state = self.disks[&id].clone();
        self.start(id, state);
    }

    fn write(disk: &mut PersistedState, persist: &Persist) {
        if let Some(snapshot) = &persist.snapshot {
            disk.entries.retain(|entry| !snapshot.reset && entry.index > snapshot.keep_after);
            disk.snapshot = Some(snapshot.clone());
        }
        if let Some(first) = persist.entries.first() {
            disk.entries.retain(|entry| entry.index < first.index);
            disk.entries.extend(persist.entries.iter().cloned());
        }
        if let Some(state) = persist.hard_state {
            disk.hard_state = state;
        }
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            let mut quiet = true;
            let mut mail = Vec::new();
            for (id, consensus) in &mut self.members {
                while let Some(persist) = consensus.poll_persist() {
                    quiet = false;
                    Self::write(self.disks.get_mut(id).unwrap(), &persist);
                    consensus.persisted(persist.number).unwrap();
                }
                while let Some(committed) = consensus.poll_committed() {
                    if let Committed::Proposal { proposal, .. } = committed {
                        self.applied.get_mut(id).unwrap().push(proposal.id.serial);
                    }
                }
                if consensus.wants_snapshot() {
                    consensus.snapshot(StoreSnapshot::default()).unwrap();
                    quiet = false;
                }
                while let Some(message) = consensus.poll_message() {
                    mail.push((*id, message));
                }
            }
            for (from, (to, bytes)) in mail {
                quiet = false;
                match self.members.get_mut(&to) {
                    Some(consensus) => consensus.step(&bytes).unwrap(),
                    None => self.members.get_mut(&from).unwrap().unreachable(to),
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the group never comes to rest");
    }

    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.members.values_mut().for_each(|member| member.tick().unwrap());
            self.settle();
        }
    }

    fn leader(&mut self) -> &mut Consensus {
        self.members.values_mut().find(|member| member.is_leader()).unwrap()
    }

    fn propose(&mut self, serial: u64) {
        self.leader().propose(&proposal(serial)).unwrap();
        self.settle();
    }

    fn add(&mut self, id: u64) {
        self.leader().propose_member(id, id, Some(&member(id))).unwrap();
        self.settle();
        self.start(id, PersistedState::default());
        self.ticks(3);
    }
}

#[test]
fn a_group_of_one_leads_at_once_and_commits() {
    let mut cluster = Cluster::of_one();
    assert!(cluster.members[&1].is_leader());
    cluster.propose(1);
    assert_eq!(cluster.applied[&1], [1]);
}

#[test]
fn a_restart_applies_again_what_was_committed_after_the_snapshot() {
    let mut cluster = Cluster::of_one();
    (1..=3).for_each(|serial| cluster.propose(serial));
    cluster.restart(1);
    assert_eq!(cluster.applied[&1], [1, 2, 3]);
    assert_eq!(cluster.members[&1].members(), &BTreeMap::from([(1, member(1))]));
}

#[test]
fn a_snapshot_takes_the_place_of_old_entries() {
    let mut cluster = Cluster::of_one();
    (1..=20).for_each(|serial| cluster.propose(serial));
    assert!(cluster.disks[&1].snapshot.as_ref().unwrap().index > 5);
    assert!(cluster.disks[&1].entries.len() < 10);
    cluster.restart(1);
    cluster.propose(21);
    assert_eq!(cluster.applied[&1].last(), Some(&21));
}

#[test]
fn members_that_join_receive_snapshot_and_log() {
    let mut cluster = Cluster::of_one();
    (1..=20).for_each(|serial| cluster.propose(serial));
    cluster.add(2);
    cluster.add(3);
    cluster.propose(21);
    cluster.ticks(2);
    for id in [2, 3] {
        assert_eq!(cluster.applied[&id].last(), Some(&21), "member {id}");
        assert_eq!(cluster.members[&id].members().len(), 3);
    }
}

#[test]
fn the_others_elect_a_new_leader_when_the_leader_dies() {
    let mut cluster = Cluster::of_one();
    cluster.add(2);
    cluster.add(3);
    cluster.propose(1);
    cluster.members.remove(&1);
    cluster.ticks(60);
    cluster.propose(2);
    assert_eq!(cluster.applied[&2].last(), Some(&2));
    assert_eq!(cluster.applied[&3].last(), Some(&2));
    cluster.restart(1);
    cluster.ticks(3);
    assert_eq!(cluster.applied[&1].last(), Some(&2));
}

#[test]
fn a_leader_without_quorum_steps_down() {
    let mut cluster = Cluster::of_one();
    cluster.add(2);
    cluster.members.remove(&2);
    cluster.ticks(60);
    assert!(!cluster.members[&1].is_leader());
}

#[test]
fn a_removed_member_leaves_the_others_a_quorum() {
    let mut cluster = Cluster::of_one();
    cluster.add(2);
    cluster.leader().propose_member(9, 2, None).unwrap();
    cluster.settle();
    cluster.members.remove(&2);
    cluster.propose(1);
    assert_eq!(cluster.applied[&1], [1]);
}

#[test]
fn a_malformed_message_changes_nothing() {
    let mut cluster = Cluster::of_one();
    assert!(cluster.members.get_mut(&1).unwrap().step(b"\xff\xff\xff").is_err());
    cluster.propose(1);
    assert_eq!(cluster.applied[&1], [1]);
}

#[test]
fn a_leader_is_sure_to_lead_once_no_majority_can_have_elected_another() {
    // Of so many members, so many others must have answered for a member that waits.
    for (members, others) in [(2, 0), (3, 1), (4, 1), (5, 2)] {
        let mut cluster = Cluster::of_one();
        (2..=members).for_each(|id| cluster.add(id));
        assert!(cluster.members[&1].is_leader());
        let away: Vec<_> = (2..=members).map(|id| (id, cluster.members.remove(&id).unwrap())).collect();
        cluster.members.get_mut(&1).unwrap().ask_confirmation(77).unwrap();
        cluster.settle();
        for (place, (id, other)) in away.into_iter().enumerate() {
            let leader = cluster.members.get_mut(&1).unwrap();
            assert!(!leader.take_confirmation(76, members));
            // Taken once, it is done with.
            assert_eq!(leader.take_confirmation(77, members), place == others, "{place} of {members} answered");
            cluster.members.insert(id, other);
            // The question is repeated with the heartbeats.
            cluster.ticks(1);
        }
    }
}

#[test]
fn a_leader_that_was_deposed_while_it_was_cut_off_is_not_sure() {
    let mut cluster = Cluster::of_one();
    cluster.add(2);
    cluster.add(3);
    let mut cut_off = cluster.members.remove(&1).unwrap();
    cluster.ticks(60);
    assert!(cluster.leader().raft_id() != 1 && cut_off.is_leader());
    cut_off.ask_confirmation(1).unwrap();
    assert!(!cut_off.take_confirmation(1, 3));
    cluster.members.insert(1, cut_off);
    cluster.ticks(3);
    assert!(!cluster.members.get_mut(&1).unwrap().take_confirmation(1, 3));
    assert!(!cluster.members[&1].is_leader());
}

#[test]
fn a_leader_goes_on_asking_when_the_member_that_does_not_count_makes_a_majority() {
    let mut cluster = Cluster::of_one();
    cluster.add(2);
    cluster.add(3);
    let other = cluster.members.remove(&2).unwrap();
    cluster.members.get_mut(&1).unwrap().ask_confirmation(1).unwrap();
    cluster.ticks(3);
    assert!(!cluster.leader().take_confirmation(1, 3));
    cluster.members.insert(2, other);
    cluster.ticks(2);
    assert!(cluster.leader().take_confirmation(1, 3));
}
