//! Users' requests: reads are answered at once, writes have their turns.
//!
//! Whether a write is allowed depends on what is there: a secret must exist to be used and is removed only while no
//! service uses it, the last manager is not demoted. So each write is decided on a store that has all before it, and the
//! next one waits until it was applied. Swarmkit decides and proposes under the lock of its store, to the same effect.

use std::collections::VecDeque;

use swarm_types::Timestamp;

use super::{Answer, Manager, Pending, RequestId, not_leader};
use crate::consensus::ConsensusError;
use crate::control_api::{self, ClusterView, ControlError, ControlRequest, Decision};
use crate::store::ProposalId;

/// Writes that wait for their turn, and the one whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<(RequestId, Box<ControlRequest>)>,
    in_flight: Option<ProposalId>,
}

impl Turns {
    /// A proposal was applied: perhaps the one that the next write waits for.
    pub fn settled(&mut self, id: ProposalId) {
        self.in_flight = self.in_flight.filter(|waiting| *waiting != id);
    }

    /// Forgets all writes, and names those that were not proposed.
    pub fn clear(&mut self) -> Vec<RequestId> {
        self.in_flight = None;
        self.waiting.drain(..).map(|(request, _)| request).collect()
    }
}

impl Manager {
    /// A request of a user. Answered by [`super::Output::Answered`]; at once when it only reads. Only the leader takes it.
    pub fn control(&mut self, now: Timestamp, request: &ControlRequest) -> Result<RequestId, ConsensusError> {
        let id = self.request_id();
        if self.leading.is_none() {
            self.answer(id, Err(not_leader()));
            return Ok(id);
        }
        if request.is_read() {
            match self.decide(now, request) {
                Ok(Decision::Answer(response)) => self.answer(id, Ok(Answer::Control(response))),
                Ok(Decision::Propose { .. }) => debug_assert!(false, "a read proposes nothing"),
                Err(error) => self.answer(id, Err(error)),
            }
        } else {
            self.turns.waiting.push_back((id, Box::new(request.clone())));
        }
        self.run(now)?;
        Ok(id)
    }

    /// Decides the writes whose turn it is. True when one was proposed.
    pub(super) fn take_turns(&mut self, now: Timestamp) -> bool {
        while self.turns.in_flight.is_none() {
            let Some((id, request)) = self.turns.waiting.pop_front() else { break };
            match self.decide(now, &request) {
                Ok(Decision::Answer(response)) => self.answer(id, Ok(Answer::Control(response))),
                Ok(Decision::Propose { actions, answer }) => {
                    let pending = Pending::Control { request, response: answer };
                    self.turns.in_flight = self.request(now, id, actions, pending);
                    if self.turns.in_flight.is_some() {
                        return true;
                    }
                }
                Err(error) => self.answer(id, Err(error)),
            }
        }
        false
    }

    fn decide(&mut self, now: Timestamp, request: &ControlRequest) -> Result<Decision, ControlError> {
        let view = ClusterView { managers: self.manager_statuses() };
        control_api::handle(now, &mut self.ids, request, &self.store, &view)
    }
}
