//! Docker's words for refusals.
//!
//! What swarmkit refuses reaches Docker's users with the gRPC code in front; what the daemon refuses itself does not.

use swarm_types::*;

use super::{ControlError, ControlErrorKind, ControlRequest};
use crate::store::Refused;

/// A refusal as swarmkit words it.
pub(super) fn rpc(kind: ControlErrorKind, message: impl std::fmt::Display) -> ControlError {
    let code = match kind {
        ControlErrorKind::InvalidArgument => "InvalidArgument",
        ControlErrorKind::NotFound => "NotFound",
        ControlErrorKind::AlreadyExists => "AlreadyExists",
        ControlErrorKind::PermissionDenied => "PermissionDenied",
        ControlErrorKind::FailedPrecondition => "FailedPrecondition",
        ControlErrorKind::OutOfSequence => "Unknown",
        ControlErrorKind::Unavailable => "Unavailable",
        ControlErrorKind::Unimplemented => "Unimplemented",
        ControlErrorKind::Internal => "Unknown",
    };
    ControlError::new(kind, format!("rpc error: code = {code} desc = {message}"))
}

/// A request that is wrong in itself.
pub(super) fn invalid(message: impl std::fmt::Display) -> ControlError {
    rpc(ControlErrorKind::InvalidArgument, message)
}

/// A request that the state forbids.
pub(super) fn precondition(message: impl std::fmt::Display) -> ControlError {
    rpc(ControlErrorKind::FailedPrecondition, message)
}

/// The object changed since the client read it.
pub(super) fn out_of_sequence() -> ControlError {
    rpc(ControlErrorKind::OutOfSequence, "update out of sequence")
}

/// A name that is taken, in the words for that kind of object.
pub(super) fn name_taken(holder: ObjectId, name: &str) -> ControlError {
    let kind = ControlErrorKind::AlreadyExists;
    match holder {
        ObjectId::Service(_) => {
            rpc(kind, format!("name conflicts with an existing object: service {name} already exists"))
        }
        ObjectId::Secret(_) => rpc(kind, format!("secret {name} already exists")),
        ObjectId::Config(_) => rpc(kind, format!("config {name} already exists")),
        ObjectId::Network(_) => ControlError::new(kind, format!("network with name {name} already exists")),
        _ => rpc(kind, "name conflicts with an existing object"),
    }
}

/// What to answer when the store refused the actions of a request: something happened between validating and
/// applying them.
pub fn refusal(request: &ControlRequest, refused: &Refused) -> ControlError {
    match refused {
        Refused::Stale { .. } | Refused::Backwards { .. } => out_of_sequence(),
        Refused::NameTaken { name, holder } => name_taken(*holder, name),
        Refused::NotFound(id) => {
            let name = request.target().map_or_else(|| id.to_string(), |(kind, name)| format!("{kind} {name}"));
            ControlError::new(ControlErrorKind::NotFound, format!("{name} not found"))
        }
        Refused::IdTaken(_) => rpc(ControlErrorKind::Internal, "object already exists"),
    }
}

impl ControlRequest {
    /// The kind and name of the object that the user typed, if the request is about one that exists.
    fn target(&self) -> Option<(&'static str, &str)> {
        Some(match self {
            Self::GetNode(name) | Self::UpdateNode { node: name, .. } | Self::RemoveNode { node: name, .. } => {
                ("node", name)
            }
            Self::GetService(name) | Self::UpdateService { service: name, .. } | Self::RemoveService(name) => {
                ("service", name)
            }
            Self::GetTask(name) => ("task", name),
            Self::GetNetwork(name) | Self::RemoveNetwork(name) => ("network", name),
            Self::GetSecret(name) | Self::UpdateSecret { secret: name, .. } | Self::RemoveSecret(name) => {
                ("secret", name)
            }
            Self::GetConfig(name) | Self::UpdateConfig { config: name, .. } | Self::RemoveConfig(name) => {
                ("config", name)
            }
            _ => return None,
        })
    }
}
