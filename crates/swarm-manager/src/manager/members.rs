//! Changes of the raft group, one after the other: raft drops a change that is proposed while another is under way.

use std::collections::VecDeque;

use super::{Answer, Output, RequestId};
use crate::consensus::{Consensus, ConsensusError, Member};

#[derive(Debug, Default)]
pub(super) struct MemberChanges {
    waiting: VecDeque<Change>,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
struct Change {
    request: Option<RequestId>,
    raft_id: u64,
    member: Option<Member>,
}

#[derive(Debug)]
enum InFlight {
    /// A change is proposed.
    Change { serial: u64, request: Option<RequestId> },
    /// A manager that joins again waits for its place, until it is sure that this manager still leads.
    Known { serial: u64, request: RequestId, raft_id: u64 },
}

impl MemberChanges {
    pub fn add(&mut self, request: RequestId, raft_id: u64, member: Member) {
        self.waiting.push_back(Change { request: Some(request), raft_id, member: Some(member) });
    }

    pub fn remove(&mut self, raft_id: u64) {
        self.waiting.push_back(Change { request: None, raft_id, member: None });
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// The change of this serial was applied: whom to tell.
    pub fn settled(&mut self, serial: u64) -> Option<RequestId> {
        let request = match &self.in_flight {
            Some(InFlight::Change { serial: waiting, request }) if *waiting == serial => *request,
            _ => return None,
        };
        self.in_flight = None;
        request
    }

    /// Forgets all changes and names the requests that wait for them.
    pub fn clear(&mut self) -> Vec<RequestId> {
        let in_flight = self.in_flight.take().and_then(|in_flight| match in_flight {
            InFlight::Change { request, .. } => request,
            InFlight::Known { request, .. } => Some(request),
        });
        in_flight.into_iter().chain(self.waiting.drain(..).filter_map(|change| change.request)).collect()
    }

    /// Takes the next change in hand when none is. True when one was proposed.
    pub fn drive(
        &mut self,
        consensus: &mut Consensus,
        next_serial: &mut u64,
        outputs: &mut VecDeque<Output>,
    ) -> Result<bool, ConsensusError> {
        loop {
            if let Some(InFlight::Known { serial, request, raft_id }) = self.in_flight
                && consensus.take_confirmation(serial, raft_id)
            {
                let answer = Answer::Member { raft_id, members: consensus.members().clone() };
                outputs.push_back(Output::Answered { request, answer: Ok(answer) });
                self.in_flight = None;
            }
            if self.in_flight.is_some() {
                return Ok(false);
            }
            let Some(change) = self.waiting.pop_front() else { return Ok(false) };
            *next_serial += 1;
            let serial = *next_serial;
            let begun = match (known_place(consensus, &change), change.request) {
                (Some(raft_id), Some(request)) => {
                    consensus.ask_confirmation(serial).map(|()| (InFlight::Known { serial, request, raft_id }, false))
                }
                (_, request) => consensus
                    .propose_member(serial, change.raft_id, change.member.as_ref())
                    .map(|()| (InFlight::Change { serial, request }, true)),
            };
            match begun {
                Ok((in_flight, proposed)) => {
                    self.in_flight = Some(in_flight);
                    if proposed {
                        return Ok(true);
                    }
                }
                Err(ConsensusError::NotLeader | ConsensusError::Raft(_)) => {
                    self.waiting.push_front(change);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A manager that joins again (its first answer was lost) keeps its place. But it is told so only by a leader that is
/// sure to lead: one that was deposed without knowing may name a place that the manager has lost, and with it the
/// memory of its votes. An entry in the log would make it sure as well, but where the group has lost a member, that may
/// take the very manager that waits.
fn known_place(consensus: &Consensus, change: &Change) -> Option<u64> {
    let new = change.member.as_ref()?;
    let same = |old: &Member| old.node_id == new.node_id && old.addr == new.addr;
    consensus.members().iter().find(|(_, old)| same(old)).map(|(raft_id, _)| *raft_id)
}
