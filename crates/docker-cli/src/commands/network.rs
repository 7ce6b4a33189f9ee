//! `docker network`

mod connect;
pub mod create;
mod inspect;
mod ls;
mod prune;
mod rm;

use crate::command::Command;

/// The group.
pub fn group() -> Command {
    Command::group(
        "network",
        "Networks",
        vec![
            connect::command(),
            create::command(),
            connect::disconnect_command(),
            inspect::command(),
            ls::command(),
            prune::command(),
            rm::command(),
        ],
    )
}
