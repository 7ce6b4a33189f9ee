//! Whether this member still leads, asked of the others.
//!
//! A leader that was deposed while it is cut off does not know yet. Where its word must hold without a new entry in the
//! log, it asks the other members by heartbeats that carry the question's number (the library's read index), and counts
//! the answers itself: the library wants a majority, which a member that waits for this very answer may be part of.

use std::collections::BTreeSet;

use raft::eraftpb::{Message, MessageType};

use super::{Consensus, ConsensusError};

/// A question, and who answered it in the term in which it was asked.
#[derive(Debug)]
pub(super) struct Confirmation {
    serial: u64,
    term: u64,
    by: BTreeSet<u64>,
}

impl Consensus {
    /// Asks the others whether this member still leads. `serial` names the question; a new one replaces the former.
    pub fn ask_confirmation(&mut self, serial: u64) -> Result<(), ConsensusError> {
        if !self.is_leader() {
            return Err(ConsensusError::NotLeader);
        }
        self.confirmation = Some(Confirmation { serial, term: self.term(), by: BTreeSet::new() });
        self.repeat_question();
        self.advance()
    }

    /// With every tick: the library stops repeating a question once any majority has answered.
    pub(super) fn repeat_question(&mut self) {
        let term = self.term();
        if let Some(question) = self.confirmation.as_ref().filter(|question| question.term == term) {
            self.raw.read_index(question.serial.to_be_bytes().to_vec());
        }
    }

    /// Whether nobody else can have been elected before the question of this number was asked, whatever `except` says: a
    /// member that may have lost its disk, and so forgotten whom it voted for. The question is then done with.
    pub fn take_confirmation(&mut self, serial: u64, except: u64) -> bool {
        let Some(question) = self.confirmation.as_ref().filter(|question| question.serial == serial) else {
            return false;
        };
        let known = |id: &&u64| **id != except && self.members.contains_key(id);
        let others = question.by.iter().filter(known).count();
        // Another leader needs a majority of n: at least n / 2 of the others without `except` and without this member.
        // Of those there are n - 2, so (n - 1) / 2 of them share at least one with each such majority.
        let enough = others >= (self.members.len().saturating_sub(1)) / 2;
        let confirmed = enough && self.is_leader() && question.term == self.term();
        if confirmed {
            self.confirmation = None;
        }
        confirmed
    }

    /// Looks whether a message answers the question.
    pub(super) fn note_confirmation(&mut self, message: &Message) {
        if let Some(question) = &mut self.confirmation
            && message.get_msg_type() == MessageType::MsgHeartbeatResponse
            && message.term == question.term
            && message.context == question.serial.to_be_bytes()[..]
        {
            question.by.insert(message.from);
        }
    }
}
