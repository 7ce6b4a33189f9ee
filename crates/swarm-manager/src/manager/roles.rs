//! Brings nodes' roles in line with what the operator wants.
//!
//! A promotion is only a word in the store: the node's next certificate makes it a manager, and it joins the raft group
//! itself. A demotion first takes the node out of the group, and only then out of its role, so that no member of the
//! group ever holds a worker's certificate (swarmkit's role manager does the same).
//!
//! Nodes know of managers by what the leader told them. One that knows only managers which have lost their place finds
//! no other by itself, so nobody is taken out, and no leader hands over, before the nodes know who remains.

use std::sync::Arc;

use swarm_types::*;

use super::Manager;
use crate::consensus::ConsensusError;
use crate::store::StoreAction;

impl Manager {
    /// True when something was proposed.
    pub(super) fn reconcile_roles(&mut self, now: Timestamp) -> Result<bool, ConsensusError> {
        if self.roles_in_flight.is_some() {
            return Ok(false);
        }
        let mut actions = Vec::new();
        let mut demoted = None;
        for node in self.store.nodes().iter().filter(|node| node.role != node.spec.desired_role) {
            let raft_id = self.members().iter().find(|(_, member)| member.node_id == node.id).map(|(id, _)| *id);
            match (node.spec.desired_role, raft_id) {
                (NodeRole::Worker, Some(raft_id)) => demoted = demoted.or(Some((node.id, raft_id))),
                (role, _) => {
                    let mut node = Node::clone(node);
                    node.role = role;
                    actions.push(StoreAction::Update(Object::Node(Arc::new(node))));
                }
            }
        }
        for node in self.store.nodes().iter().filter(|node| node.role == node.spec.desired_role) {
            let place = self.place_of(node.id);
            if node.manager_status != place {
                let mut node = Node::clone(node);
                node.manager_status = place;
                actions.push(StoreAction::Update(Object::Node(Arc::new(node))));
            }
        }
        // A node that was removed altogether must not stay a voter.
        let gone = self.members().iter().find(|(_, member)| self.store.nodes().get(member.node_id).is_none());
        // A demoted one stays until its successors are known: until all places are stored, which tells the nodes in
        // session, and until those that are to turn to this leader have been told as well. (It is one of them, too, but
        // not when it is not there.)
        let known = |(node, raft_id): &(NodeId, u64)| {
            let is_there = self.consensus.recently_active(*raft_id).unwrap_or(false);
            actions.is_empty() && !self.dispatcher.awaited().any(|awaited| is_there || awaited != *node)
        };
        let leave = demoted.filter(known).map(|(_, raft_id)| raft_id).or(gone.map(|(raft_id, _)| *raft_id));
        if let Some(raft_id) = leave.filter(|_| self.member_changes.is_idle()) {
            self.take_out(raft_id)?;
        }
        if actions.is_empty() {
            return Ok(false);
        }
        self.roles_in_flight = self.propose(now, actions, false);
        Ok(self.roles_in_flight.is_some())
    }

    /// A node's place in the raft group as it is stored; who leads and who is reached is filled in for readers.
    fn place_of(&self, node: NodeId) -> Option<ManagerStatus> {
        let (raft_id, member) = self.members().iter().find(|(_, member)| member.node_id == node)?;
        Some(ManagerStatus { raft_id: *raft_id, addr: member.addr.clone(), ..ManagerStatus::default() })
    }

    fn take_out(&mut self, raft_id: u64) -> Result<(), ConsensusError> {
        let members = self.members().len();
        let reachable = |id: &u64| self.consensus.recently_active(*id).unwrap_or(false);
        let rest = self.members().keys().filter(|id| **id != raft_id && reachable(id)).count();
        // The others must have a quorum of what remains; the last member never leaves.
        if members < 2 || rest < (members - 1) / 2 + 1 {
            return Ok(());
        }
        if raft_id == self.config.raft_id {
            // The leader does not take itself out: it hands over, and the next leader does.
            let heir = self.members().keys().copied().find(|id| *id != raft_id && reachable(id));
            return heir.map_or(Ok(()), |heir| self.consensus.transfer_leader(heir));
        }
        self.member_changes.remove(raft_id);
        Ok(())
    }
}
