//! The nodes' own addresses: on the ingress network, and on each overlay network that a task of the node is on.
//!
//! A node sends connections to virtual addresses on from there, so that the answers come back through it.

use std::collections::{BTreeMap, BTreeSet};

use swarm_types::*;

use super::Allocator;
use super::ipam::Owner;
use super::networks::{ingress, is_overlay};
use crate::component::MAX_ACTIONS;
use crate::store::{Store, StoreAction};

impl Allocator {
    pub(super) fn claim_node(&mut self, node: &Node) {
        for attachment in node.attachments.values() {
            for address in &attachment.addresses {
                self.networks.claim(attachment.network_id, address, Owner::Node(node.id));
            }
        }
    }

    pub(super) fn release_node(&mut self, node: &Node) {
        for attachment in node.attachments.values() {
            for address in &attachment.addresses {
                self.networks.release(attachment.network_id, address, Owner::Node(node.id));
            }
        }
    }

    /// Brings nodes' attachments in line with the tasks that they have.
    pub(super) fn node_actions(&mut self, store: &Store, actions: &mut Vec<StoreAction>) {
        while actions.len() < MAX_ACTIONS {
            let Some(id) = self.new_nodes.pop_first() else { break };
            let Some(node) = store.nodes().get(id) else { continue };
            let mut attachments = BTreeMap::new();
            for network in wanted(id, store) {
                let attachment = match node.attachments.get(&network.id) {
                    Some(kept) => kept.clone(),
                    None => match self.networks.allocate(network, &[]) {
                        Ok(addresses) => NetworkAttachment { network_id: network.id, addresses, aliases: Vec::new() },
                        // Its tasks run all the same; without an address they reach no virtual ones from here.
                        Err(_) => {
                            self.stuck_nodes.insert(id);
                            continue;
                        }
                    },
                };
                attachments.insert(network.id, attachment);
            }
            if attachments != node.attachments {
                actions.push(StoreAction::SetNodeAttachments { id, attachments });
                self.in_flight.push(ObjectId::Node(id));
            }
        }
    }
}

/// The networks on which a node has an address: allocated overlays of tasks that have not ended, and the ingress
/// network. (A task of a global service counts before it is assigned: it has its node from the beginning.)
fn wanted(node: NodeId, store: &Store) -> Vec<&Network> {
    let tasks = store.node_tasks(node).filter(|task| !task.status.state.is_terminal());
    let of_tasks: BTreeSet<NetworkId> = tasks.flat_map(|task| task.networks.iter().map(|a| a.network_id)).collect();
    let networks = of_tasks.into_iter().filter_map(|id| store.networks().get(id).map(|network| network.as_ref()));
    let mut wanted: Vec<&Network> = networks.chain(ingress(store)).collect();
    wanted.retain(|network| network.ipam.is_some() && is_overlay(network));
    wanted.sort_by_key(|network| network.id);
    wanted.dedup_by_key(|network| network.id);
    wanted
}
