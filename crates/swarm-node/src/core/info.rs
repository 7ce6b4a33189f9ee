//! What `docker info` says of the swarm.

use swarm_types::NodeRole;

use super::{Core, LocalNodeState, SwarmInfo};

impl Core {
    pub(super) fn info(&self) -> SwarmInfo {
        let Some(member) = &self.member else {
            let state = if self.joining.is_some() { LocalNodeState::Pending } else { LocalNodeState::Inactive };
            return SwarmInfo { state, ..SwarmInfo::default() };
        };
        let mut info = SwarmInfo {
            node_id: Some(member.identity.node),
            node_addr: member.identity.advertise_addr.ip().to_string(),
            remote_managers: member.identity.managers.clone(),
            ..SwarmInfo::default()
        };
        info.state = match &member.error {
            Some(error) => {
                info.error.clone_from(error);
                LocalNodeState::Error
            }
            None if member.facts.is_some() || member.managing.is_some() => LocalNodeState::Active,
            None => LocalNodeState::Pending,
        };
        if let Some(managing) = &member.managing {
            let store = managing.manager.store();
            info.remote_managers = managing.managers();
            info.control_available = managing.manager.leader().is_some();
            info.nodes = store.nodes().len() as u64;
            let managers = store.nodes().iter().filter(|node| node.spec.desired_role == NodeRole::Manager);
            info.managers = managers.count() as u64;
            info.cluster = store.cluster().cloned();
        }
        info
    }
}
