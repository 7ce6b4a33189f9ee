//! The one shape that all components of the control plane have.

use swarm_types::Timestamp;

use crate::store::{Event, Store, StoreAction};

/// A part of the control plane that runs on the leader: it watches the store and proposes changes to it.
///
/// Calls come in this order: [`start`](Self::start) on gaining leadership, then [`handle`](Self::handle) for every
/// applied event, [`tick`](Self::tick) whenever [`poll_timeout`](Self::poll_timeout) is reached, and
/// [`poll_actions`](Self::poll_actions) after any of these, but only while no earlier proposal of this component is
/// in flight. `handle` should just note what is affected; `poll_actions` decides by reading the store. An action that
/// is refused as stale (see [`StoreAction`]) shows up in the store by its absence: the event that made it stale marks
/// the object again.
pub trait Component {
    /// A short name for logs: `scheduler`.
    fn name(&self) -> &'static str;

    /// This manager now leads: forget everything and make one full pass over the store.
    fn start(&mut self, now: Timestamp, store: &Store);

    /// One change was applied; `store` already contains it.
    fn handle(&mut self, now: Timestamp, event: &Event, store: &Store);

    /// `poll_timeout` was reached.
    fn tick(&mut self, now: Timestamp, store: &Store);

    /// The changes to propose now, computed from `store` as it is. Proposed as one batch in which every action stands
    /// on its own (one that is refused does not hold up the others).
    fn poll_actions(&mut self, now: Timestamp, store: &Store) -> Vec<StoreAction>;

    /// When to call `tick` next, if ever.
    fn poll_timeout(&self) -> Option<Timestamp>;
}

/// At most so many actions in one proposal (swarmkit's limit of changes in a transaction): a component that has more
/// returns the first ones, and is asked again after they were applied.
pub const MAX_ACTIONS: usize = 200;
