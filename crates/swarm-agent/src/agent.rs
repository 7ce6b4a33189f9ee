//! The agent itself: its session with the dispatcher, and the way of inputs to the worker.

use std::collections::VecDeque;
use std::time::Duration;

use swarm_types::*;

use crate::connection::{CONNECT_TIMEOUT, Managers};
use crate::input::{Input, Output, SessionFacts};
use crate::reporter::Reporter;
use crate::worker::Worker;

/// What an agent starts with.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the node says of itself.
    pub description: NodeDescription,
    /// The managers known from joining or from the last session.
    pub managers: Vec<ManagerPeer>,
    /// Seed of the random choices (back-off, order of managers).
    pub seed: u64,
}

/// A node's agent. See the crate for the order of calls.
#[derive(Debug)]
pub struct Agent {
    description: NodeDescription,
    managers: Managers,
    random: IdSource,
    link: Link,
    /// The last session, which a new connection asks to go on with.
    session: Option<SessionId>,
    heartbeat: Heartbeat,
    worker: Worker,
    reporter: Reporter,
    restored: bool,
    leaving: Leaving,
    outputs: VecDeque<Output>,
}

/// The connection and session as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Link {
    /// Not connected; to be tried again then (or never, where no manager is known).
    Waiting { until: Option<Timestamp> },
    /// Asked for.
    Connecting { deadline: Timestamp },
    /// Connected, a session asked for.
    Opening { deadline: Timestamp },
    /// In session.
    Open,
}

#[derive(Debug)]
struct Heartbeat {
    period: Duration,
    next: Timestamp,
    /// When the dispatcher was last heard of.
    heard: Timestamp,
    /// When to send unanswered statuses again.
    resend: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    Yes,
    Done,
}

/// Silence of so many heartbeat periods ends a session, as the dispatcher ends it on its side.
const SILENT_PERIODS: u32 = 3;

impl Agent {
    /// An agent that waits for [`Input::Restored`].
    pub fn new(config: Config) -> Self {
        Self {
            description: config.description,
            managers: Managers::new(config.managers),
            random: IdSource::from_seed(config.seed),
            link: Link::Waiting { until: None },
            session: None,
            heartbeat: Heartbeat {
                period: Duration::from_secs(5),
                next: Timestamp::ZERO,
                heard: Timestamp::ZERO,
                resend: Timestamp::ZERO,
            },
            worker: Worker::default(),
            reporter: Reporter::default(),
            restored: false,
            leaving: Leaving::No,
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input in.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Restored(stored) => self.restored(now, stored),
            Input::Connected => self.connected(now),
            Input::Disconnected => self.disconnected(now),
            Input::Message(message) => self.message(now, message),
            Input::Runtime { task, event } => {
                self.with_worker(|worker, reporter, out| worker.runtime_event(now, task, event, reporter, out));
            }
            Input::Description(description) => {
                self.description = *description;
                if self.link == Link::Open {
                    self.send_session();
                }
            }
            Input::Managers(managers) => {
                self.managers.learn(managers);
                if self.restored && self.link == (Link::Waiting { until: None }) {
                    self.connect(now);
                }
            }
            Input::Leave => self.leave(now),
        }
        self.flush(now);
    }

    /// `poll_timeout` was reached.
    pub fn tick(&mut self, now: Timestamp) {
        match self.link {
            Link::Waiting { until: Some(until) } if now >= until => self.connect(now),
            Link::Connecting { deadline } | Link::Opening { deadline } if now >= deadline => self.lose(now),
            Link::Open => {
                if now >= self.silence_ends() {
                    self.lose(now);
                } else {
                    self.beat(now);
                }
            }
            _ => {}
        }
        self.flush(now);
    }

    /// What to do next; `None` when all was said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`tick`](Self::tick) next, if ever.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match self.link {
            Link::Waiting { until } => until,
            Link::Connecting { deadline } | Link::Opening { deadline } => Some(deadline),
            Link::Open => {
                let resend = self.reporter.awaits_answer().then_some(self.heartbeat.resend);
                let times = [Some(self.heartbeat.next), Some(self.silence_ends()), resend];
                times.into_iter().flatten().min()
            }
        }
    }

    /// The tasks that the node has, each with what was last observed of it.
    pub fn tasks(&self) -> impl Iterator<Item = Task> {
        self.worker.observed()
    }

    /// The managers known.
    pub fn managers(&self) -> &[ManagerPeer] {
        self.managers.known()
    }

    /// Whether a session is open.
    pub fn in_session(&self) -> bool {
        self.link == Link::Open
    }

    fn restored(&mut self, now: Timestamp, stored: Vec<crate::StoredTask>) {
        if self.restored {
            return;
        }
        self.restored = true;
        self.with_worker(|worker, _, out| worker.restore(stored, out));
        self.connect(now);
    }

    fn connect(&mut self, now: Timestamp) {
        if self.leaving != Leaving::No {
            self.link = Link::Waiting { until: None };
            return;
        }
        match self.managers.next(&mut self.random) {
            Some(manager) => {
                self.link = Link::Connecting { deadline: now.plus(CONNECT_TIMEOUT) };
                self.outputs.push_back(Output::Connect(manager));
            }
            None => self.link = Link::Waiting { until: None },
        }
    }

    fn connected(&mut self, now: Timestamp) {
        if let Link::Connecting { .. } = self.link {
            self.link = Link::Opening { deadline: now.plus(CONNECT_TIMEOUT) };
            self.send_session();
        }
    }

    fn disconnected(&mut self, now: Timestamp) {
        if !matches!(self.link, Link::Waiting { .. }) {
            self.retry_later(now);
        }
    }

    /// Gives the connection up.
    fn lose(&mut self, now: Timestamp) {
        self.outputs.push_back(Output::Disconnect);
        self.retry_later(now);
    }

    fn retry_later(&mut self, now: Timestamp) {
        self.worker.session_lost();
        let wait = self.managers.failed(&mut self.random);
        self.link = Link::Waiting { until: Some(now.plus(wait)) };
    }

    fn send_session(&mut self) {
        let (session, description) = (self.session, Box::new(self.description.clone()));
        self.outputs.push_back(Output::Send(AgentMessage::Session { session, description }));
    }

    fn message(&mut self, now: Timestamp, message: DispatcherMessage) {
        if matches!(self.link, Link::Waiting { .. } | Link::Connecting { .. }) {
            // A straggler from a connection that was given up.
            return;
        }
        self.heartbeat.heard = now;
        match message {
            DispatcherMessage::Session {
                session,
                node,
                managers,
                network_keys,
                data_path_port,
                heartbeat_period,
                trust_root,
            } => {
                self.set_period(heartbeat_period);
                self.managers.learn(managers.clone());
                if self.link != Link::Open || self.session != Some(session) {
                    self.opened(now, session);
                }
                let facts = SessionFacts { node, managers, network_keys, data_path_port, trust_root };
                self.outputs.push_back(Output::Session(Box::new(facts)));
            }
            DispatcherMessage::HeartbeatAck { heartbeat_period } => self.set_period(heartbeat_period),
            DispatcherMessage::StatusesStored { tasks } => self.reporter.stored(&tasks),
            DispatcherMessage::Assignments(set) => {
                if self.leaving != Leaving::No || self.link != Link::Open {
                    return;
                }
                let mut outcome = Ok(());
                self.with_worker(|worker, reporter, out| outcome = worker.assign(now, set, reporter, out));
                if outcome.is_err() {
                    self.session = None;
                    self.lose(now);
                }
            }
            DispatcherMessage::SessionInvalid { leader, .. } => {
                self.session = None;
                self.managers.hint(leader);
                self.lose(now);
            }
        }
    }

    fn opened(&mut self, now: Timestamp, session: SessionId) {
        self.link = Link::Open;
        self.session = Some(session);
        self.managers.succeeded();
        self.worker.session_lost();
        self.reporter.resend();
        self.worker.report_all(&mut self.reporter);
        self.heartbeat.heard = now;
        self.schedule_beat(now);
    }

    /// A period of zero would be a busy loop, one of years a dead node: both come from a broken manager.
    fn set_period(&mut self, period: Duration) {
        self.heartbeat.period = period.clamp(Duration::from_millis(10), Duration::from_secs(24 * 3600));
    }

    /// Somewhere in the second half of the period, so that a thousand agents do not beat as one.
    fn schedule_beat(&mut self, now: Timestamp) {
        let half = self.heartbeat.period / 2;
        let jitter = Duration::from_millis(self.random.below(half.as_millis() as u64 + 1));
        self.heartbeat.next = now.plus(half + jitter);
    }

    fn beat(&mut self, now: Timestamp) {
        if now >= self.heartbeat.next {
            if let Some(session) = self.session {
                self.outputs.push_back(Output::Send(AgentMessage::Heartbeat { session }));
            }
            self.schedule_beat(now);
        }
        if self.reporter.awaits_answer() && now >= self.heartbeat.resend {
            self.reporter.resend();
        }
    }

    fn silence_ends(&self) -> Timestamp {
        self.heartbeat.heard.plus(self.heartbeat.period * SILENT_PERIODS)
    }

    fn leave(&mut self, now: Timestamp) {
        if self.leaving != Leaving::No {
            return;
        }
        self.leaving = Leaving::Yes;
        if let (Link::Open, Some(session)) = (&self.link, self.session) {
            self.outputs.push_back(Output::Send(AgentMessage::Leave { session }));
        }
        self.with_worker(|worker, reporter, out| worker.unassign_all(now, reporter, out));
    }

    /// Sends what is to be sent, once nothing else changes.
    fn flush(&mut self, now: Timestamp) {
        if let (Link::Open, Some(session)) = (&self.link, self.session) {
            loop {
                let statuses = self.reporter.take_batch();
                if statuses.is_empty() {
                    break;
                }
                self.heartbeat.resend = now.plus(self.heartbeat.period * 2);
                self.outputs.push_back(Output::Send(AgentMessage::TaskStatuses { session, statuses }));
            }
        }
        if self.leaving == Leaving::Yes && self.worker.is_empty() {
            self.leaving = Leaving::Done;
            self.link = Link::Waiting { until: None };
            self.outputs.push_back(Output::Networks(Vec::new()));
            self.outputs.push_back(Output::Left);
        }
    }

    fn with_worker(&mut self, work: impl FnOnce(&mut Worker, &mut Reporter, &mut Vec<Output>)) {
        let mut outputs = Vec::new();
        work(&mut self.worker, &mut self.reporter, &mut outputs);
        self.outputs.extend(outputs);
    }
}
