//! Bounds on what a session may make the agent hold and send.

use swarm_types::TaskStatus;

/// Tasks that one node holds at most. A kernel runs out of processes, mounts and network links well before; a set
/// that is larger comes from a broken manager, and its surplus tasks are rejected rather than kept.
pub const MAX_TASKS: usize = 20_000;

/// Statuses in one message: at some 300 bytes each such a message stays well below a megabyte.
pub const MAX_STATUSES_PER_MESSAGE: usize = 1_000;

/// Length of a status's `err` and `message`. Every manager keeps each status in memory and in its log, so a runtime's
/// endless error text must not travel in full.
pub const MAX_ERR_BYTES: usize = 4 * 1024;

/// Cuts the texts of a status to their limit.
pub(crate) fn clamp(status: &mut TaskStatus) {
    for text in [&mut status.err, &mut status.message] {
        if text.len() > MAX_ERR_BYTES {
            let end = (0..=MAX_ERR_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
    }
}
