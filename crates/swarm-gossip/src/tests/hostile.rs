//! Payloads that no honest node sends.

use proptest::prelude::*;

use super::net::*;
use crate::identity::{Identity, Life};
use crate::wire::{self, Body, Delta, Entry, Frame, MemberState, Standing, Summary, Word};
use crate::{Input, limits};

fn identity(n: usize, generation: u64) -> Identity {
    Identity { peer: peer(n), life: Life { generation, renewal: 0 } }
}

fn send(net: &mut Net, to: usize, frame: &Frame) {
    let bytes = wire::frame_payload(frame).unwrap();
    net.input(to, Input::Datagram { from: addr(9), bytes });
}

fn delta(owner: usize, generation: u64, entries: Vec<Entry>) -> Delta {
    let through = entries.last().map_or(1, |entry| entry.version);
    Delta { owner: node(owner), generation, floor: 0, after: 0, through, whole: false, hops: 0, entries }
}

fn here(version: u64, id: &str) -> Entry {
    Entry { version, word: Word::Here(record(id, 0)) }
}

/// The generation under which nodes of a new [`Net`] live.
fn generation(net: &Net) -> u64 {
    let _ = net;
    1_000_000_000_000_000
}

#[test]
fn nobody_else_speaks_for_a_node() {
    let mut net = Net::joined(3, 1);
    net.publish(1, "a", 0);
    net.until(secs(1), "known", Net::converged);
    let now = generation(&net);
    let from = identity(2, now);
    let entries = vec![Entry { version: 9, word: Word::Gone(NETWORK, "a".into()) }];
    // Of the receiver itself.
    send(&mut net, 1, &Frame { from: from.clone(), body: Body::Delta(delta(1, now, entries.clone())) });
    assert_eq!(net.holds(1).len(), 1);
    // Of a life that nobody knows.
    for generation in [now - 1, now + 1] {
        send(&mut net, 0, &Frame { from: from.clone(), body: Body::Delta(delta(1, generation, entries.clone())) });
    }
    // Of a node that is no member.
    send(&mut net, 0, &Frame { from, body: Body::Delta(delta(8, now, vec![here(1, "x")])) });
    assert_eq!(net.holds(0), net.truth());
    assert!(net.converged());
}

#[test]
fn an_older_word_changes_nothing() {
    let mut net = Net::joined(3, 2);
    net.publish(1, "a", 0);
    net.publish(1, "a", 1);
    net.withdraw(1, "a");
    net.publish(1, "b", 0);
    net.run(secs(5));
    let now = generation(&net);
    let mut whole = delta(1, now, vec![here(1, "a")]);
    whole.whole = true;
    for old in [delta(1, now, vec![here(1, "a")]), delta(1, now, vec![here(2, "a")]), whole] {
        send(&mut net, 0, &Frame { from: identity(2, now), body: Body::Delta(old) });
    }
    assert!(net.converged());
    assert_eq!(net.seen[0].removals, 1);
}

#[test]
fn a_made_up_future_is_outlived() {
    let mut net = Net::joined(3, 3);
    net.publish(1, "a", 0);
    net.until(secs(1), "known", Net::converged);
    let now = generation(&net);
    let mut future = delta(1, now, vec![here(u64::MAX >> 2, "ghost")]);
    future.through = u64::MAX >> 2;
    send(&mut net, 0, &Frame { from: identity(2, now), body: Body::Delta(future) });
    assert_eq!(net.holds(0).len(), 2, "a relayed word is believed");
    net.publish(1, "b", 0);
    let took = net.until(secs(20), "the owner begins anew", Net::converged);
    assert!(took < secs(10), "{took:?}");
}

#[test]
fn sizes_counts_and_addresses_beyond_the_limits_are_refused() {
    let mut net = Net::joined(2, 4);
    let now = generation(&net);
    let refused = |net: &mut Net, body: Body, from: Identity| {
        let before = net.node(0).stats().malformed;
        let bytes = wire::frame_payload(&Frame { from, body }).unwrap();
        net.input(0, Input::Stream { from: addr(9), bytes });
        assert_eq!(net.node(0).stats().malformed, before + 1);
        assert!(net.converged() && net.holds(0).is_empty());
    };
    let honest = || identity(1, now);
    let mut long_id = record("a", 0);
    long_id.id = "x".repeat(limits::MAX_ID + 1);
    let mut long_name = record("a", 0);
    long_name.name = "x".repeat(limits::MAX_NAME + 1);
    let mut many_aliases = record("a", 0);
    many_aliases.aliases = vec!["x".into(); 1000];
    let mut many_addresses = record("a", 0);
    many_addresses.addresses = vec![addr(0).ip(); 1000];
    for bad in [long_id, long_name, many_aliases, many_addresses] {
        let entries = vec![Entry { version: 1, word: Word::Here(bad) }];
        refused(&mut net, Body::Delta(delta(1, now, entries)), honest());
    }
    let many = (1..=limits::MAX_ENTRIES as u64 + 1).map(|version| here(version, &version.to_string())).collect();
    refused(&mut net, Body::Delta(delta(1, now, many)), honest());
    refused(&mut net, Body::Delta(delta(1, now, vec![here(2, "a"), here(1, "b")])), honest());
    refused(&mut net, Body::Delta(delta(1, now, vec![here(1, "a"), here(2, "a")])), honest());
    refused(&mut net, Body::Delta(Delta { after: 2, through: 1, ..delta(1, now, vec![]) }), honest());
    refused(&mut net, Body::Delta(Delta { hops: 200, ..delta(1, now, vec![]) }), honest());
    let summary = Summary { owner: node(1), generation: now, complete: 0, floor: 0 };
    refused(&mut net, Body::Digest { summaries: vec![summary; 100], members: None, answer: true }, honest());
    refused(&mut net, Body::Hello { you: None, answer: true }, identity(1, 0));
    refused(&mut net, Body::Hello { you: None, answer: true }, identity(1, u64::MAX));
    for bad in ["0.0.0.0:7946", "224.0.0.1:7946", "255.255.255.255:7946", "10.0.0.1:0"] {
        let mut from = identity(5, now);
        from.peer.addr = bad.parse().unwrap();
        refused(&mut net, Body::Hello { you: None, answer: true }, from);
    }
    let mut from = identity(5, now);
    from.peer.name = "x".repeat(100);
    refused(&mut net, Body::Hello { you: None, answer: true }, from);
}

#[test]
fn a_node_takes_only_so_many_records_of_another() {
    let mut net = Net::joined(2, 5);
    let now = generation(&net);
    for after in (0..30_000).step_by(1000) {
        let entries = (after + 1..=after + 1000).map(|version| here(version, &version.to_string())).collect();
        let delta = Delta { after, ..delta(1, now, entries) };
        let bytes = wire::frame_payload(&Frame { from: identity(1, now), body: Body::Delta(delta) }).unwrap();
        net.input(0, Input::Stream { from: addr(1), bytes });
    }
    assert!(net.holds(0).len() <= limits::MAX_ENTRIES);
    assert!(net.node(0).stats().malformed > 0);
}

#[test]
fn a_node_knows_only_so_many_others() {
    let mut net = Net::joined(2, 6);
    for n in 10..limits::MAX_NODES + 500 {
        let from = identity(n, 7);
        send(&mut net, 0, &Frame { from, body: Body::Hello { you: None, answer: true } });
    }
    assert_eq!(net.node(0).peers().count(), limits::MAX_NODES);
}

#[test]
fn two_nodes_that_cannot_agree_do_not_talk_without_end() {
    let mut net = Net::joined(2, 7);
    let now = generation(&net);
    let before = net.datagrams;
    let you = Some(Standing {
        node: node(0),
        life: Life { generation: now + 1000, renewal: 0 },
        incarnation: 0,
        state: MemberState::Down,
    });
    for _ in 0..10_000 {
        send(&mut net, 0, &Frame { from: identity(9, now), body: Body::Hello { you, answer: true } });
    }
    assert!(net.datagrams - before < 1000, "{}", net.datagrams - before);
    net.until(secs(10), "the honest are not disturbed", |net| net.node(1).peers().any(|peer| peer.id == node(0)));
}

#[test]
fn an_own_record_that_others_would_refuse_is_not_published() {
    let mut net = Net::joined(2, 8);
    let mut bad = record("a", 0);
    bad.aliases = vec!["x".into(); 1000];
    net.input(0, Input::Publish(bad));
    for i in 0..limits::MAX_RECORDS + 10 {
        net.publish(0, &i.to_string(), 0);
    }
    assert_eq!(net.node(0).stats().refused, 11);
    assert_eq!(net.holds(0).len(), limits::MAX_RECORDS);
    net.until(secs(5), "the rest is known", Net::converged);
    net.check_events();
}

/// A few honest payloads, to be damaged.
fn honest_payloads() -> Vec<Vec<u8>> {
    let now = 1_000_000_000_000_000;
    let mut whole = delta(1, now, vec![here(1, "a"), here(4, "b")]);
    whole.whole = true;
    let gone = Entry { version: 3, word: Word::Gone(NETWORK, "c".into()) };
    let bodies = [
        Body::Hello {
            you: Some(Standing {
                node: node(0),
                life: identity(0, now).life,
                incarnation: 1,
                state: MemberState::Suspect,
            }),
            answer: true,
        },
        Body::Delta(delta(1, now, vec![here(1, "a"), gone])),
        Body::Delta(whole),
        Body::Digest {
            summaries: vec![Summary { owner: node(0), generation: now, complete: 4, floor: 2 }],
            members: Some(1),
            answer: true,
        },
    ];
    let mut payloads: Vec<Vec<u8>> =
        bodies.into_iter().map(|body| wire::frame_payload(&Frame { from: identity(1, now), body }).unwrap()).collect();
    let header = foca::Header {
        src: identity(1, now),
        src_incarnation: 3,
        dst: identity(0, now),
        message: foca::Message::PingReq { target: identity(2, now), probe_number: 1 },
    };
    let mut packet = Vec::new();
    foca::Codec::encode_header(&mut wire::SwimCodec, &header, &mut packet).unwrap();
    packet.extend([0, 2]);
    for (n, state) in [(2, foca::State::Suspect), (0, foca::State::Down)] {
        let member = foca::Member::new(identity(n, now), 1, state);
        foca::Codec::encode_member(&mut wire::SwimCodec, &member, &mut packet).unwrap();
    }
    payloads.push(wire::swim_payload(&packet));
    payloads
}

#[test]
fn payloads_survive_their_encoding() {
    for payload in honest_payloads() {
        if let wire::Payload::Frame(frame) = wire::open(&payload).unwrap() {
            assert_eq!(wire::frame_payload(&frame).unwrap(), payload);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_node_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..3u8) {
        let mut net = Net::joined(2, 1);
        let bytes = if kind < 2 { [&[1, kind], &bytes[..]].concat() } else { bytes };
        net.input(0, Input::Datagram { from: addr(1), bytes: bytes.clone() });
        net.input(0, Input::Stream { from: addr(1), bytes });
        net.run(secs(2));
        prop_assert!(net.holds(0).is_empty());
    }

    #[test]
    fn damaged_payloads_make_no_node_panic_and_heal(
        which in 0..5usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<proptest::sample::Index>(),
        whether_cut: bool,
    ) {
        let mut net = Net::joined(3, 1);
        net.publish(2, "kept", 0);
        let mut bytes = honest_payloads().swap_remove(which);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if whether_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        net.input(0, Input::Datagram { from: addr(1), bytes });
        net.run(secs(1));
        net.until(secs(40), "the honest agree again", |net| {
            let truth = net.truth();
            net.live().iter().all(|n| net.holds(*n).into_iter().all(|held| truth.contains_key(&held.0) || held.0.0 == node(1)))
        });
    }
}
