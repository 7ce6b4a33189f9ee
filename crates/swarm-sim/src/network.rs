//! The network: who reaches whom, and how long it takes.
//!
//! Raft messages may be lost, doubled and overtake each other. Between agents and managers there are connections, as
//! over TCP: in order and whole, until they break.

use std::collections::BTreeSet;
use std::time::Duration;

use swarm_types::IdSource;

/// The longest usual delay while nothing is wrong.
const CALM_DELAY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Network {
    random: IdSource,
    /// Hosts on the other side of a partition.
    cut_off: BTreeSet<usize>,
    /// How many raft messages of a thousand are lost, and doubled.
    pub loss: u64,
    pub doubled: u64,
    /// The longest usual delay.
    pub delay: Duration,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        Self { random: IdSource::from_seed(seed), cut_off: BTreeSet::new(), loss: 0, doubled: 0, delay: CALM_DELAY }
    }

    pub fn partition(&mut self, hosts: BTreeSet<usize>) {
        self.cut_off = hosts;
    }

    pub fn heal(&mut self) {
        self.cut_off.clear();
        self.loss = 0;
        self.doubled = 0;
        self.delay = CALM_DELAY;
    }

    /// Whether it serves those who reach each other well.
    pub fn is_calm(&self) -> bool {
        self.loss == 0 && self.doubled == 0 && self.delay <= CALM_DELAY
    }

    pub fn reaches(&self, from: usize, to: usize) -> bool {
        from == to || self.cut_off.contains(&from) == self.cut_off.contains(&to)
    }

    /// How long one message takes; a few take much longer than the rest.
    pub fn draw_delay(&mut self) -> Duration {
        let mut random = self.random.clone();
        let delay = self.draw_delay_with(&mut random);
        self.random = random;
        delay
    }

    /// When the copies of a message without connection arrive: none, one or two.
    pub fn draw_copies(&mut self) -> Vec<Duration> {
        let mut random = self.random.clone();
        let copies = self.draw_copies_with(&mut random);
        self.random = random;
        copies
    }

    /// Whether a message breaks the connection that carries it.
    pub fn breaks(&mut self) -> bool {
        let mut random = self.random.clone();
        let breaks = self.breaks_with(&mut random);
        self.random = random;
        breaks
    }

    /// As [`Self::draw_delay`], by the choices of another source.
    pub fn draw_delay_with(&self, random: &mut IdSource) -> Duration {
        let most = u64::try_from(self.delay.as_micros()).unwrap_or(u64::MAX);
        let usual = Duration::from_micros(100 + random.below(most));
        if random.below(100) == 0 { usual * 10 } else { usual }
    }

    /// As [`Self::draw_copies`], by the choices of another source.
    pub fn draw_copies_with(&self, random: &mut IdSource) -> Vec<Duration> {
        if random.below(1000) < self.loss {
            return Vec::new();
        }
        let mut copies = vec![self.draw_delay_with(random)];
        if random.below(1000) < self.doubled {
            copies.push(self.draw_delay_with(random) * 3);
        }
        copies
    }

    /// As [`Self::breaks`], by the choices of another source.
    pub fn breaks_with(&self, random: &mut IdSource) -> bool {
        // Connections survive lost packets; a tenth of the loss stands for resets.
        random.below(10_000) < self.loss
    }
}
