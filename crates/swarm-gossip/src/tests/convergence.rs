//! How fast records reach all nodes, and that they do whatever is lost on the way.

use std::time::Duration;

use proptest::prelude::*;
use swarm_types::IdSource;

use super::net::*;
use crate::Input;

#[test]
fn nodes_find_each_other_from_one_address() {
    let mut net = Net::new(5, 1);
    let took = net.until(secs(10), "all are up", Net::all_up);
    assert!(took < secs(3), "{took:?}");
    net.check_events();
}

#[test]
fn a_change_reaches_all_in_one_trip() {
    let mut net = Net::joined(5, 2);
    net.publish(1, "a", 0);
    assert!(!net.node(1).acknowledged(NETWORK, "a"));
    assert_eq!(net.until(secs(1), "known", Net::converged), ms(1));
    assert_eq!(net.until(secs(1), "acknowledged", |net| net.node(1).acknowledged(NETWORK, "a")), ms(1));
    net.withdraw(1, "a");
    assert!(!net.node(1).acknowledged(NETWORK, "a"));
    assert_eq!(net.until(secs(1), "gone", Net::converged), ms(1));
    net.until(secs(1), "acknowledged", |net| net.node(1).acknowledged(NETWORK, "a"));
    net.check_events();
}

/// 200 records on each of 5 nodes.
fn burst(net: &mut Net) {
    for n in 0..5 {
        for i in 0..200 {
            net.publish(n, &format!("{n}-{i}"), 0);
        }
    }
}

#[test]
fn a_thousand_records_converge_within_200_ms_without_loss() {
    let mut net = Net::joined(5, 3);
    burst(&mut net);
    let took = net.until(secs(2), "known", Net::converged);
    assert!(took < ms(200), "{took:?}");
    assert_eq!(net.holds(0).len(), 1000);
    net.check_events();
}

#[test]
fn a_thousand_records_converge_within_2_s_at_20_per_cent_loss() {
    for seed in 0..4 {
        let mut net = Net::joined(5, seed);
        (net.loss, net.delay) = (20, (ms(1), ms(20)));
        burst(&mut net);
        let took = net.until(secs(10), "known", Net::converged);
        assert!(took < secs(2), "seed {seed}: {took:?}");
        net.check_events();
    }
}

#[test]
fn records_that_come_at_once_are_sent_together() {
    let mut net = Net::joined(2, 4);
    let before = net.datagrams + net.streams;
    let now = net.now;
    let gossip = net.nodes[0].as_mut().unwrap();
    for i in 0..500 {
        gossip.handle(now, Input::Publish(record(&i.to_string(), 0)));
    }
    net.drain(0);
    assert_eq!(net.datagrams + net.streams - before, 1);
    assert_eq!(net.streams, 1);
    net.until(ms(10), "known", Net::converged);
}

#[test]
fn thirty_nodes_pass_changes_on() {
    let mut net = Net::joined(30, 5);
    let before = net.datagrams;
    net.publish(7, "a", 0);
    assert!(net.datagrams - before <= 8, "the owner does not send to all by itself");
    let took = net.until(secs(3), "known", Net::converged);
    assert!(took < secs(1), "{took:?}");
    net.until(secs(3), "acknowledged", |net| net.node(7).acknowledged(NETWORK, "a"));
}

#[test]
fn records_reach_nodes_that_their_owner_does_not_reach() {
    let mut net = Net::joined(4, 6);
    net.cut = [(0, 3), (3, 0)].into();
    net.publish(0, "a", 0);
    net.until(secs(8), "known by way of the others", |net| net.holds(3).len() == 1);
    net.run(secs(30));
    assert!(net.all_up(), "others can probe for those who cannot");
    net.withdraw(0, "a");
    net.until(secs(8), "gone by way of the others", |net| net.holds(3).is_empty());
}

#[test]
fn a_node_that_joins_gets_everything() {
    let mut net = Net::joined(4, 7);
    net.crash(3);
    net.run(secs(20));
    for n in 0..3 {
        for i in 0..50 {
            net.publish(n, &format!("{n}-{i}"), 0);
        }
        for i in 0..25 {
            net.withdraw(n, &format!("{n}-{i}"));
        }
    }
    net.start(3);
    let took = net.until(secs(5), "known", Net::converged);
    assert!(took < secs(2), "{took:?}");
    assert_eq!(net.holds(3).len(), 75);
    net.check_events();
}

#[test]
fn when_nothing_changes_little_is_sent() {
    let mut net = Net::joined(5, 8);
    burst(&mut net);
    net.run(secs(30));
    let (datagrams, bytes) = (net.datagrams + net.streams, net.bytes);
    net.run(secs(60));
    let (datagrams, bytes) = (net.datagrams + net.streams - datagrams, net.bytes - bytes);
    // Two probes, their answers, and a digest, per second and node.
    assert!(datagrams <= 5 * 60 * 6, "{datagrams} datagrams");
    assert!(bytes <= 5 * 60 * 1500, "{bytes} bytes");
}

/// The longest that a datagram of a random history is under way.
const LONGEST: Duration = ms(80);

/// What happens in a random history.
#[derive(Debug, Clone)]
enum Step {
    Publish(usize, u8, u32),
    Withdraw(usize, u8),
    Crash(usize),
    Start(usize),
    Part(usize),
    Heal,
    Wait(u64),
}

fn step(nodes: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..nodes, 0..12u8, 0..1000u32).prop_map(|(n, id, state)| Step::Publish(n, id, state)),
        5 => (0..nodes, 0..12u8).prop_map(|(n, id)| Step::Withdraw(n, id)),
        1 => (0..nodes).prop_map(Step::Crash),
        2 => (0..nodes).prop_map(Step::Start),
        1 => (1..nodes).prop_map(Step::Part),
        1 => Just(Step::Heal),
        4 => (1..6000u64).prop_map(Step::Wait),
    ]
}

fn take(net: &mut Net, step: &Step) {
    match *step {
        Step::Publish(n, id, state) if net.nodes[n].is_some() => net.publish(n, &id.to_string(), state),
        Step::Withdraw(n, id) if net.nodes[n].is_some() => net.withdraw(n, &id.to_string()),
        Step::Crash(n) => net.crash(n),
        Step::Start(n) if net.nodes[n].is_none() => net.start(n),
        Step::Part(n) => net.part(&(0..n).collect::<Vec<_>>()),
        Step::Heal => net.cut.clear(),
        Step::Wait(millis) => net.run(ms(millis)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Loss, copies, reordering, crashes, partitions: when all that ends, all nodes hold exactly what the owners say.
    #[test]
    fn all_converge_after_healing(
        seed: u64,
        loss in 0..40u64,
        steps in proptest::collection::vec(step(4), 1..60),
    ) {
        let mut net = Net::new(4, seed);
        (net.loss, net.copies, net.delay) = (loss, 10, (ms(0), LONGEST));
        for step in &steps {
            take(&mut net, step);
        }
        (net.loss, net.copies, net.cut) = (0, 0, Default::default());
        // The one whose address all know.
        take(&mut net, &Step::Start(0));
        // All may agree that there is nothing while the news of what came and went is still under way to them.
        net.run(LONGEST);
        net.until(secs(30), "converged", Net::converged);
        net.check_events();
        // And so it stays: nothing that is still on its way brings back what was removed.
        let removals: Vec<usize> = net.seen.iter().map(|seen| seen.removals).collect();
        net.run(secs(5));
        prop_assert!(net.converged());
        prop_assert_eq!(removals, net.seen.iter().map(|seen| seen.removals).collect::<Vec<_>>());
    }

    /// While a network only loses and reorders, an endpoint that its owner removed for good never comes back.
    #[test]
    fn what_was_removed_never_comes_back(seed: u64, loss in 0..30u64) {
        let mut net = Net::joined(4, seed);
        (net.loss, net.copies, net.delay) = (loss, 20, (ms(0), ms(300)));
        let mut random = IdSource::from_seed(seed);
        for round in 0..20 {
            let (owner, id) = (random.below(4) as usize, format!("{round}"));
            for state in 0..random.below(4) as u32 + 1 {
                net.publish(owner, &id, state);
                net.run(Duration::from_millis(random.below(50)));
            }
            net.withdraw(owner, &id);
            net.run(Duration::from_millis(random.below(200)));
            net.publish(owner, &format!("kept-{round}"), 0);
        }
        net.until(secs(30), "converged", Net::converged);
        // Each of the 20 endpoints was removed at most once from each of the three others; and nobody was given up.
        for seen in &net.seen {
            prop_assert!(seen.downs.is_empty());
            prop_assert!(seen.removals <= 20, "{} removals", seen.removals);
        }
        prop_assert_eq!(net.holds(0).len(), 20);
        net.check_events();
    }
}
