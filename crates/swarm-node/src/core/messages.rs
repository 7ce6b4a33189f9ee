//! The refusals of a node, in Docker's words.

use super::{NodeError, NodeErrorKind};

/// A request for the managers, on a node outside any swarm.
pub fn not_in_swarm() -> NodeError {
    NodeError::new(
        NodeErrorKind::Unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
         swarm and try again.",
    )
}

/// A request for the managers, on a worker.
pub fn not_a_manager() -> NodeError {
    NodeError::new(
        NodeErrorKind::Unavailable,
        "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this \
         command on a manager node or promote the current node to a manager.",
    )
}

/// Leaving without being in a swarm.
pub fn no_swarm() -> NodeError {
    NodeError::new(NodeErrorKind::Unavailable, "This node is not part of a swarm")
}

/// Joining or initialising twice.
pub fn already_in_swarm() -> NodeError {
    NodeError::new(
        NodeErrorKind::Unavailable,
        "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.",
    )
}

/// Unlocking what is not locked.
pub fn not_locked() -> NodeError {
    NodeError::new(NodeErrorKind::FailedPrecondition, "swarm is not locked")
}

/// Managers cannot be locked by this program.
pub fn no_autolock() -> NodeError {
    NodeError::new(NodeErrorKind::Unimplemented, "locking of managers (autolock) is not supported yet")
}

/// Whoever waits for a join is told that it takes longer.
pub fn join_goes_on() -> NodeError {
    NodeError::new(
        NodeErrorKind::Unavailable,
        "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use \
         the \"docker info\" command to see the current swarm status of your node.",
    )
}

/// A join with a token that is none (any more).
pub fn invalid_token() -> NodeError {
    NodeError::new(
        NodeErrorKind::InvalidArgument,
        "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster",
    )
}

/// A node that was removed, and still has its certificate.
pub fn removed_node() -> NodeError {
    NodeError::new(
        NodeErrorKind::FailedPrecondition,
        "rpc error: code = PermissionDenied desc = Permission denied: node was removed from the swarm",
    )
}

/// A manager leaves without force. `counts`: managers that are reached and that are not, where a leader is known.
pub fn leaving_manager(counts: Option<(usize, usize)>) -> NodeError {
    let mut message = "You are attempting to leave the swarm on a node that is participating as a manager. ".to_owned();
    match counts {
        Some((1, 0)) => {
            message +=
                "Removing the last manager erases all current state of a swarm. Use `--force` to ignore this message. ";
            return NodeError::new(NodeErrorKind::Unavailable, message);
        }
        // Without this one the others have no majority of the group.
        Some((reachable, unreachable)) if reachable <= unreachable + 2 => {
            let (left, all) = (reachable.saturating_sub(1), reachable + unreachable);
            message += &format!(
                "Removing this node leaves {left} managers out of {all}. Without a Raft quorum your swarm will be \
                 inaccessible. "
            );
        }
        Some(_) => {}
        None => message += "Doing so may lose the consensus of your cluster. ",
    }
    message += "The only way to restore a swarm that has lost consensus is to reinitialize it with \
                `--force-new-cluster`. Use `--force` to suppress this message.";
    NodeError::new(NodeErrorKind::Unavailable, message)
}
