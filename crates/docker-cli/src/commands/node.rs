//! `docker node`

mod inspect;
mod ls;
mod ps;
mod rm;
mod update;

use crate::command::Command;

/// The group.
pub fn group() -> Command {
    Command::group(
        "node",
        "Nodes of the swarm",
        vec![
            ls::command(),
            ps::command(),
            inspect::command(),
            update::command(),
            update::promote_command(),
            update::demote_command(),
            rm::command(),
        ],
    )
}
