//! From [`FaultRule`]s to a table of its own, so that faults come and go without a change to anything else.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::table::*;
use super::{Direction, FaultRule, Protocol};

/// The table's name.
pub const TABLE: &str = "swarmlab-fault";
/// After the translation of destinations, before any filter.
const PRIORITY: i32 = -10;

/// The table for these faults; `None` when there are none.
pub fn table(faults: &[FaultRule]) -> Option<Table> {
    if faults.is_empty() {
        return None;
    }
    let chain = |name: &str, hook, sides: &[Side]| {
        let mut rules = Vec::new();
        for side in sides {
            let loopback = Match::Interface(*side, "lo".into(), false);
            for matches in faults.iter().flat_map(|fault| losing(fault, *side)) {
                let rule = Rule::new([vec![loopback.clone()], matches].concat(), Action::Drop);
                rules.push(rule);
            }
        }
        Chain::base(name, false, hook, PRIORITY, rules)
    };
    // a packet that passes through comes from one end and goes to the other, but is only lost once
    let mut through = chain("forward", Hook::Forward, &[Side::In]);
    let out = faults.iter().filter(|fault| !alike_both_ways(fault)).flat_map(|fault| losing(fault, Side::Out));
    through.rules.extend(out.map(|matches| {
        let loopback = Match::Interface(Side::Out, "lo".into(), false);
        Rule::new([vec![loopback], matches].concat(), Action::Drop)
    }));
    let chains = vec![chain("input", Hook::Input, &[Side::In]), through, chain("output", Hook::Output, &[Side::Out])];
    Some(Table { name: TABLE.into(), sets: Vec::new(), chains })
}

/// Whether a fault says the same of packets that come and that go: it names no peer.
fn alike_both_ways(fault: &FaultRule) -> bool {
    match fault {
        FaultRule::Drop { peer, direction, .. } => peer.is_none() && *direction == Direction::Both,
        FaultRule::Loss { peer, .. } => peer.is_none(),
    }
}

/// What to ask of the packets of one way: any of these is lost.
fn losing(fault: &FaultRule, side: Side) -> Vec<Vec<Match>> {
    let end = match side {
        Side::In => End::Source,
        Side::Out => End::Destination,
    };
    let from = |peer: &Option<IpAddr>| -> Vec<Match> {
        peer.iter().map(|peer| Match::Network(end, *peer, if peer.is_ipv4() { 32 } else { 128 })).collect()
    };
    match fault {
        FaultRule::Loss { peer, percent } => {
            // a value outside is cut off, and what is no number becomes 0, by the rules of `as`
            let chances = (percent.clamp(0.0, 100.0) * f64::from(CHANCES / 100)).round() as u32;
            let drawn = if chances < CHANCES { vec![Match::Chance(chances)] } else { Vec::new() };
            vec![[from(peer), drawn].concat()]
        }
        FaultRule::Drop { direction, .. } if !goes(*direction, side) => Vec::new(),
        FaultRule::Drop { peer, protocol, port: None, .. } => {
            let transport = protocol.map(|protocol| Match::Transport(BTreeSet::from([protocol])));
            vec![[from(peer), transport.into_iter().collect()].concat()]
        }
        FaultRule::Drop { peer, protocol, port: Some(port), .. } => {
            let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
            let protocols = all.into_iter().filter(|one| protocol.is_none_or(|protocol| protocol == *one));
            let ends = |protocol| [End::Destination, End::Source].map(|end| Match::Port(protocol, end, *port));
            protocols.flat_map(ends).map(|port| [from(peer), vec![port]].concat()).collect()
        }
    }
}

fn goes(direction: Direction, side: Side) -> bool {
    match side {
        Side::In => direction != Direction::Out,
        Side::Out => direction != Direction::In,
    }
}
