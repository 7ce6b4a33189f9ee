//! Which manager to turn to, and when to try again.

use std::time::Duration;

use swarm_types::*;

/// The first wait after a failure, and the longest. Swarmkit's: short enough that a lab does not notice a change of
/// leader, long enough that a thousand agents do not trample a manager that just came up.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(8);

/// How long a connection and the answer to a session request may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Managers {
    known: Vec<ManagerPeer>,
    /// The leader, as the last manager that refused us said.
    hint: Option<ManagerPeer>,
    last: Option<NodeId>,
    backoff: Duration,
}

impl Managers {
    pub fn new(known: Vec<ManagerPeer>) -> Self {
        Self { known, hint: None, last: None, backoff: Duration::ZERO }
    }

    /// The managers, as the swarm has them now. An empty list is no news.
    pub fn learn(&mut self, managers: Vec<ManagerPeer>) {
        if !managers.is_empty() {
            self.known = managers;
        }
    }

    pub fn known(&self) -> &[ManagerPeer] {
        &self.known
    }

    /// Where the leader is said to be. Followed once: what it says may be out of date.
    pub fn hint(&mut self, leader: Option<ManagerPeer>) {
        self.hint = leader;
    }

    /// The manager to try next: the leader if we were told, else any, preferably not the one that just failed.
    pub fn next(&mut self, random: &mut IdSource) -> Option<ManagerPeer> {
        let choice = match self.hint.take() {
            Some(leader) => leader,
            None => {
                let others: Vec<&ManagerPeer> = self.known.iter().filter(|m| Some(m.node_id) != self.last).collect();
                let pool = if others.is_empty() { self.known.iter().collect() } else { others };
                let place = usize::try_from(random.below(pool.len() as u64)).unwrap_or(0);
                (*pool.get(place)?).clone()
            }
        };
        self.last = Some(choice.node_id);
        Some(choice)
    }

    /// How long to wait after a failure: random below a bound that doubles, so that agents spread out.
    pub fn failed(&mut self, random: &mut IdSource) -> Duration {
        let bound = (FIRST_BACKOFF + 2 * self.backoff).min(MAX_BACKOFF);
        self.backoff = bound;
        let half = bound / 2;
        half + Duration::from_millis(random.below(half.as_millis() as u64 + 1))
    }

    /// A session was opened.
    pub fn succeeded(&mut self) {
        self.backoff = Duration::ZERO;
        // The manager served us well; it may be tried again after a loss.
        self.last = None;
    }
}
