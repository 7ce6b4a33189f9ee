//! Who lives: SWIM, done by `foca`, with its timers and random choices.
//!
//! foca probes, suspects, refutes and spreads the word. What it leaves to its user is here: finding the first member,
//! and finding each other again after all were cut off from each other, by greetings ([`crate::wire::Body::Hello`]).

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Foca, Member, NoCustomBroadcast, Notification, State, Timer};
use swarm_types::{IdSource, NodeId, Timestamp};

use crate::Timings;
use crate::identity::{Identity, Life};
use crate::limits::{self, MAX_DATAGRAM};
use crate::wire::{self, Body, Frame, HEAD, MemberState, Standing, SwimCodec};

/// How long a node that is down is remembered, and greeted in case it is back.
const REMEMBER_DOWN: Duration = Duration::from_secs(24 * 3600);
/// How often each news of a member is sent.
const TRANSMISSIONS: NonZeroU8 = NonZeroU8::new(10).expect("not zero");
/// How many members are asked to probe one that does not answer, and how many are told news at once.
const HELPERS: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");
/// How many suspects are told so at once.
const MAX_WARNINGS: usize = 16;
const MAX_PACKET: NonZeroUsize = NonZeroUsize::new(MAX_DATAGRAM - HEAD).expect("not zero");

/// foca's random choices, from the seed.
#[derive(Debug, Clone)]
pub(crate) struct Choices(pub IdSource);

impl rand_core::TryRng for Choices {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0.next_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.next_u64().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn standing(member: &Member<Identity>) -> Standing {
    let state = match member.state() {
        State::Alive => MemberState::Alive,
        State::Suspect => MemberState::Suspect,
        State::Down => MemberState::Down,
    };
    let identity = member.id();
    Standing { node: identity.node(), life: identity.life, incarnation: member.incarnation(), state }
}

/// What became of a member.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// It lives.
    Up(Identity),
    /// It is gone.
    Down(NodeId),
    /// It has a new identity and may live or not, as before.
    Renamed(Identity),
}

/// foca's way out.
struct Exit<'a> {
    now: Timestamp,
    timers: &'a mut Timers,
    packets: &'a mut VecDeque<(SocketAddr, Vec<u8>)>,
    notes: &'a mut Vec<Note>,
}

impl foca::Runtime<Identity> for Exit<'_> {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(member) => self.notes.push(Note::Up(member.clone())),
            Notification::MemberDown(member) => self.notes.push(Note::Down(member.node())),
            Notification::Rename(_, member) => self.notes.push(Note::Renamed(member.clone())),
            Notification::Active | Notification::Idle | Notification::Defunct | Notification::Rejoin(_) => {}
        }
    }

    fn send_to(&mut self, to: Identity, packet: &[u8]) {
        self.packets.push_back((to.peer.addr, wire::swim_payload(packet)));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.submit(self.now.plus(after), event);
    }
}

/// foca's timers in the order of their times, and of their submission.
#[derive(Debug, Default)]
struct Timers {
    due: BTreeMap<(Timestamp, u64), Timer<Identity>>,
    submitted: u64,
}

impl Timers {
    fn submit(&mut self, at: Timestamp, event: Timer<Identity>) {
        self.submitted += 1;
        self.due.insert((at, self.submitted), event);
    }
}

/// The members as this node sees them.
pub(crate) struct Membership {
    foca: Foca<Identity, SwimCodec, Choices, NoCustomBroadcast>,
    timers: Timers,
    /// Payloads to send.
    pub packets: VecDeque<(SocketAddr, Vec<u8>)>,
    /// What became of members since the last look.
    pub notes: Vec<Note>,
    /// When news are passed on next; `None` while there are none.
    spread_at: Option<Timestamp>,
    spread: Duration,
    left: bool,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let members: Vec<_> = self.foca.iter_membership_state().collect();
        f.debug_struct("Membership").field("me", self.foca.identity()).field("members", &members).finish()
    }
}

impl Membership {
    pub(crate) fn new(me: Identity, seed: u64, timings: &Timings) -> Self {
        let config = foca::Config {
            probe_period: timings.probe_period,
            probe_rtt: timings.probe_rtt,
            num_indirect_probes: HELPERS,
            max_transmissions: TRANSMISSIONS,
            suspect_to_down_after: timings.suspicion,
            remove_down_after: Some(REMEMBER_DOWN),
            max_packet_size: MAX_PACKET,
            notify_down_members: true,
            // Greetings do this, also where nobody is left.
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            // `spread` does this, but only while there is something to tell.
            periodic_gossip: None,
        };
        Self {
            foca: Foca::new(me, config, Choices(IdSource::from_seed(seed)), SwimCodec),
            timers: Timers::default(),
            packets: VecDeque::new(),
            notes: Vec::new(),
            spread_at: None,
            spread: timings.spread,
            left: false,
        }
    }

    pub(crate) fn me(&self) -> &Identity {
        self.foca.identity()
    }

    /// Does something with foca. Its errors are either malformed packets, which change nothing, or of no consequence.
    fn drive<R>(
        &mut self,
        now: Timestamp,
        act: impl FnOnce(&mut Foca<Identity, SwimCodec, Choices, NoCustomBroadcast>, &mut Exit<'_>) -> R,
    ) -> R {
        let Self { foca, timers, packets, notes, .. } = self;
        let result = act(foca, &mut Exit { now, timers, packets, notes });
        let news = self.foca.num_members() > 0 && (self.foca.updates_backlog() > 0 || self.has_suspects());
        if self.spread_at.is_none() && !self.left && news {
            self.spread_at = Some(now.plus(self.spread));
        }
        result
    }

    /// A packet of SWIM arrived. False: it was malformed, or speaks of more nodes than there may be.
    pub(crate) fn packet(&mut self, now: Timestamp, packet: &[u8]) -> bool {
        let Ok(identities) = wire::swim_identities(packet) else { return false };
        if !self.have_room(&identities) {
            return false;
        }
        match self.drive(now, |foca, exit| foca.handle_data(packet, exit)) {
            // Sent to a node that was at this node's address before it, on behalf of one that does not know yet.
            Ok(()) | Err(foca::Error::DataFromOurselves) => true,
            Err(_) => false,
        }
    }

    fn have_room(&self, identities: &[Identity]) -> bool {
        let known = self.foca.iter_membership_state().len();
        if known + identities.len() <= limits::MAX_NODES {
            return true;
        }
        let stranger = |one: &&Identity| self.standing(one.node()).is_none();
        known + identities.iter().filter(stranger).count() <= limits::MAX_NODES
    }

    /// Hears from a node, or that it goes. Returns whether it is now a live member under this very identity.
    pub(crate) fn learn(&mut self, now: Timestamp, who: &Identity, leaves: bool) -> bool {
        if who.node() == self.me().node() || !self.have_room(std::slice::from_ref(who)) {
            return false;
        }
        let state = if leaves { State::Down } else { State::Alive };
        let member = Member::new(who.clone(), 0, state);
        let known = self.foca.iter_members().any(|member| member.id() == who);
        if known && !leaves {
            return true;
        }
        let _ = self.drive(now, |foca, exit| foca.apply_many(std::iter::once(member), true, exit));
        self.foca.iter_members().any(|member| member.id() == who)
    }

    /// How a node stands with this one.
    pub(crate) fn standing(&self, node: NodeId) -> Option<Standing> {
        self.foca.iter_membership_state().find(|member| member.id().node() == node).map(standing)
    }

    /// Asks a member for some of the members that it knows.
    pub(crate) fn ask_for_members(&mut self, now: Timestamp, of: &Identity) {
        let _ = self.drive(now, |foca, exit| foca.announce(of.clone(), exit));
    }

    /// A member suspects this node: it objects, to all and to that member at once.
    pub(crate) fn object(&mut self, now: Timestamp, to: &Identity, incarnation: u16) {
        let suspected = Member::new(self.me().clone(), incarnation, State::Suspect);
        let _ = self.drive(now, |foca, exit| foca.apply_many(std::iter::once(suspected), true, exit));
        // foca has no message that only objects, but each of its messages does.
        let _ = self.drive(now, |foca, exit| foca.announce(to.clone(), exit));
    }

    /// Tells suspects that they are suspected. SWIM leaves it to chance whether a suspect hears of it; after a partition
    /// the news may have been told often enough while it could not.
    fn warn(&mut self) {
        let suspects = self.foca.iter_members().filter(|member| member.state() == State::Suspect);
        let warnings = suspects.take(MAX_WARNINGS).filter_map(|member| {
            let body = Body::Hello { you: Some(standing(member)), answer: false };
            let payload = wire::frame_payload(&Frame { from: self.foca.identity().clone(), body })?;
            Some((member.id().peer.addr, payload))
        });
        self.packets.extend(warnings.collect::<Vec<_>>());
    }

    fn has_suspects(&self) -> bool {
        self.foca.iter_members().any(|member| member.state() == State::Suspect)
    }

    /// The members that are down and not forgotten.
    pub(crate) fn down(&self) -> impl Iterator<Item = &Identity> {
        let down = self.foca.iter_membership_state().filter(|member| member.state() == State::Down);
        down.map(Member::id)
    }

    /// Takes an identity later than `seen`, which others hold against the present one. Returns whether it is a new life.
    pub(crate) fn renew_beyond(&mut self, now: Timestamp, seen: Life) -> bool {
        let mut me = self.me().clone();
        let old = me.life;
        me.life = if seen.generation > old.generation {
            let now = u64::try_from(now.as_nanos()).unwrap_or(0);
            Life { generation: now.max(seen.generation.saturating_add(1)), renewal: 0 }
        } else {
            Life { renewal: seen.renewal.max(old.renewal).saturating_add(1), ..old }
        };
        if !me.life.is_valid() || me.life <= old || self.left {
            return false;
        }
        let life = me.life;
        let _ = self.drive(now, |foca, exit| foca.change_identity(me, exit));
        life.generation > old.generation
    }

    pub(crate) fn leave(&mut self, now: Timestamp) {
        let _ = self.drive(now, |foca, exit| foca.leave_cluster(exit));
        self.left = true;
        self.spread_at = None;
        self.timers.due.clear();
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let timer = self.timers.due.first_key_value().map(|((at, _), _)| *at);
        [timer, self.spread_at].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        while let Some(entry) = self.timers.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let event = entry.remove();
            let _ = self.drive(now, |foca, exit| foca.handle_timer(event, exit));
        }
        if self.spread_at.is_some_and(|at| at <= now) {
            self.spread_at = None;
            self.warn();
            let news = self.foca.updates_backlog() > 0;
            let _ = self.drive(now, |foca, exit| if news { foca.gossip(exit) } else { Ok(()) });
        }
    }
}
