//! Nodes that die, are given up, come back, start again and leave.

use std::collections::BTreeSet;

use swarm_types::{NetworkPeer, NodeId, Timestamp};

use super::net::*;
use crate::{Config, Input};

#[test]
fn a_dead_node_is_noticed_within_about_5_s_and_its_records_go() {
    for seed in 0..10 {
        for count in [2, 3, 5] {
            let mut net = Net::joined(count, seed);
            net.publish(1, "a", 0);
            net.until(secs(1), "known", Net::converged);
            net.crash(1);
            let took = net.until(secs(10), "noticed", Net::converged);
            assert!(took <= secs(6), "{count} nodes, seed {seed}: {took:?}");
            assert!(net.holds(0).is_empty());
            net.check_events();
        }
    }
}

#[test]
fn nobody_is_given_up_at_20_per_cent_loss() {
    for count in [2, 3, 5] {
        let mut net = Net::joined(count, 11);
        (net.loss, net.delay) = (20, (ms(1), ms(30)));
        net.run(secs(600));
        assert!(net.seen.iter().all(|seen| seen.downs.is_empty()), "{count} nodes");
    }
}

#[test]
fn a_node_that_starts_again_is_back_at_once_and_its_records_stand_meanwhile() {
    let mut net = Net::joined(3, 12);
    for id in ["a", "b"] {
        net.publish(1, id, 0);
    }
    net.until(secs(1), "known", Net::converged);
    net.crash(1);
    net.run(secs(1));
    net.start(1);
    net.publish(1, "a", 0);
    net.until(secs(1), "back", Net::all_up);
    assert_eq!(net.seen[0].removals, 0, "a restart disturbs nobody");
    let took = net.until(secs(5), "what was not said again goes", Net::converged);
    assert!(took > secs(1), "{took:?}");
    assert_eq!((net.holds(2).len(), net.seen[0].removals), (1, 1));
    assert!(net.seen[0].downs.is_empty());
    net.check_events();
}

#[test]
fn a_node_whose_clock_went_back_is_told_of_its_earlier_life() {
    let mut net = Net::joined(3, 13);
    net.publish(1, "old", 0);
    net.until(secs(1), "known", Net::converged);
    net.crash(1);
    net.run(secs(1));
    let real = net.now;
    net.now = Timestamp::from_secs(5);
    net.start_with(1, Config::new(peer(1), 0));
    net.now = real;
    net.publish(1, "new", 0);
    let took = net.until(secs(8), "converged", Net::converged);
    assert!(took < secs(5), "{took:?}");
    assert_eq!(net.holds(0).len(), 1);
}

#[test]
fn a_node_that_was_given_up_comes_back_with_its_records() {
    for (count, part) in [(2, vec![1]), (5, vec![4]), (5, vec![0, 1])] {
        let mut net = Net::joined(count, 14);
        for n in 0..count {
            net.publish(n, &n.to_string(), 0);
        }
        net.until(secs(1), "known", Net::converged);
        net.part(&part);
        net.run(secs(20));
        for n in part.iter() {
            assert_eq!(net.holds(*n).len(), part.len());
        }
        net.publish(0, "0", 1);
        net.cut.clear();
        let took = net.until(secs(10), "together again", Net::converged);
        assert!(took < secs(5), "{took:?}");
        assert_eq!(net.holds(0).len(), count);
        net.check_events();
    }
}

#[test]
fn what_was_removed_while_a_node_slept_is_gone_for_it_too() {
    let mut net = Net::joined(3, 15);
    for id in ["a", "b"] {
        net.publish(0, id, 0);
    }
    net.until(secs(1), "known", Net::converged);
    // The node is stopped, not dead: it still believes that all live, and nothing tells it of the removal itself.
    let sleeper = net.nodes[2].take();
    net.run(secs(20));
    net.withdraw(0, "a");
    net.until(secs(5), "known", Net::converged);
    net.publish(0, "c", 0);
    net.run(secs(5));
    net.nodes[2] = sleeper;
    net.until(secs(10), "converged", Net::converged);
    let ids: Vec<String> = net.holds(2).into_keys().map(|(_, id)| id).collect();
    assert_eq!(ids, ["b", "c"]);
    net.check_events();
}

#[test]
fn a_node_that_leaves_is_gone_at_once() {
    let mut net = Net::joined(5, 16);
    net.publish(1, "a", 0);
    net.until(secs(1), "known", Net::converged);
    net.input(1, Input::Leave);
    assert_eq!(net.node(1).poll_timeout(), None);
    net.crash(1);
    let took = net.until(secs(1), "gone", Net::converged);
    assert!(took < ms(5), "{took:?}");
    net.start(1);
    net.until(secs(2), "back", Net::converged);
    net.check_events();
}

#[test]
fn nodes_that_all_start_again_find_each_other() {
    let mut net = Net::joined(4, 17);
    (0..4).for_each(|n| net.crash(n));
    net.run(secs(60));
    (0..4).for_each(|n| net.start(n));
    let took = net.until(secs(5), "all up", Net::converged);
    assert!(took < secs(3), "{took:?}");
}

#[test]
fn removals_are_forgotten_once_all_have_them() {
    let mut net = Net::joined(3, 18);
    for round in 0..50 {
        net.publish(0, &round.to_string(), 0);
        net.withdraw(0, &round.to_string());
    }
    net.publish(0, "kept", 0);
    net.run(secs(10));
    let text = format!("{:?}", net.node(0));
    assert!(text.contains("removals: {}"), "{text}");
    // The others hear with the next digest that they may forget them, too.
    let text = format!("{:?}", net.node(1));
    assert_eq!(text.matches("record: None").count(), 0, "{text}");
}

#[test]
fn nodes_that_missed_the_news_of_each_other_find_each_other() {
    let mut net = Net::new(3, 19);
    net.crash(2);
    net.until(secs(10), "the first two", Net::all_up);
    net.run(secs(3));
    // Node 0 tells of the new one, and of that only so often, while node 1 cannot hear it; and nobody tells the new one
    // of node 1, which has long been no news.
    net.part(&[1]);
    net.start(2);
    net.run(ms(1500));
    net.cut.clear();
    net.until(secs(5), "all are up", Net::all_up);
    assert!(net.seen[1].downs.len() <= 1, "only the one that went at the beginning");
}

#[test]
fn a_node_that_comes_back_as_another_takes_the_place_of_what_it_was() {
    for seed in 0..10 {
        let mut net = Net::joined(4, seed);
        net.publish(1, "a", 0);
        net.until(secs(1), "known", Net::converged);
        net.crash(1);
        let other = NetworkPeer { id: node(9), ..peer(1) };
        net.start_with(1, Config::new(other, 0));
        let nodes: BTreeSet<NodeId> = [node(0), node(9), node(2), node(3)].into();
        let sees_all = |net: &Net, n: usize| {
            let me = if n == 1 { node(9) } else { node(n) };
            net.node(n).peers().map(|peer| peer.id).chain([me]).collect::<BTreeSet<_>>() == nodes
        };
        net.until(secs(10), "the new one is in, the old one out", |net| (0..4).all(|n| sees_all(net, n)));
        net.run(secs(5));
        for n in 0..4 {
            assert!(sees_all(&net, n) && net.holds(n).is_empty(), "seed {seed}, node {n}");
            // Packets to the old one come to the new one, its own among them: nobody is to blame for that.
            assert_eq!(net.node(n).stats().malformed, 0, "seed {seed}, node {n}");
        }
    }
}

#[test]
fn nodes_that_never_lost_each_other_stay_with_each_other_when_others_come_back() {
    for seed in 0..10 {
        let mut net = Net::joined(6, seed);
        for n in 0..6 {
            net.publish(n, "a", 0);
        }
        net.until(secs(2), "known", Net::converged);
        // One that is alone takes the others for dead, one after the other, and is back before it is done: those that
        // it still knows hear from it that the others are dead.
        net.part(&[1]);
        net.run(ms(3500 + 200 * seed));
        net.cut.clear();
        net.until(secs(15), "together", |net| net.all_up() && net.converged());
        for n in [0, 2, 3, 4, 5] {
            let lost: BTreeSet<NodeId> = net.seen[n].downs.iter().map(|(_, lost)| *lost).collect();
            assert!(lost.is_subset(&[node(1)].into()), "node {n}, seed {seed}: {lost:?}");
        }
        net.check_events();
    }
}

#[test]
fn knowledge_is_compared_again_after_the_only_other_node_was_taken_for_dead() {
    for millis in (3000..5000).step_by(100) {
        let mut net = Net::joined(2, 5);
        net.part(&[1]);
        net.run(ms(millis));
        net.cut.clear();
        net.until(secs(15), "together", Net::all_up);
        net.run(secs(2));
        for n in 0..2 {
            let text = format!("{:?}", net.node(n));
            assert!(text.contains("digest_at: Some"), "node {n} after {millis} ms: {text}");
        }
    }
}
