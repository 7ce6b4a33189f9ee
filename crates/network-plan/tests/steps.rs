//! Whatever is there, the steps lead to the plan, also when they are broken off and begun again.
#![allow(clippy::unwrap_used)]

mod plans;

use std::collections::BTreeSet;

use network_plan as plan;
use network_plan::model::ModelNamespace;
use network_plan::*;
use plans::*;
use proptest::prelude::*;

/// Makes at most so many of the steps that are due; how many were due.
fn advance(model: &mut ModelNamespace, plan: &NetPlan, most: usize) -> usize {
    let steps = diff(&model.observe(plan), plan);
    for step in steps.iter().take(most) {
        model.execute(step).unwrap_or_else(|error| panic!("{error}: {step:?} of {steps:#?}"));
    }
    steps.len()
}

/// That the namespace is as the plan says, found out without [`diff`].
fn satisfies(model: &ModelNamespace, plan: &NetPlan) -> Result<(), TestCaseError> {
    let seen = model.observe(plan);
    for link in &plan.links {
        let there = seen.links.get(&link.name);
        prop_assert!(there.is_some(), "{} is missing", link.name);
        let there = there.unwrap();
        prop_assert!(there.up);
        prop_assert!(link.mac.is_none() || there.mac == link.mac);
        prop_assert!(link.mtu.is_none_or(|mtu| there.mtu == mtu));
        if link.master.is_some() {
            prop_assert_eq!((&there.master, there.port), (&link.master, link.port));
        }
        if let LinkKind::Vxlan(vxlan) = link.kind {
            prop_assert_eq!(there.vxlan, Some(vxlan));
        }
        let (wanted, has): (BTreeSet<_>, BTreeSet<_>) =
            (link.addresses.iter().collect(), there.addresses.iter().collect());
        prop_assert!(wanted.is_subset(&has), "{}: {wanted:?}, has {has:?}", link.name);
        prop_assert!(!link.only_these_addresses || wanted == has, "{}: {wanted:?}, has {has:?}", link.name);
        for (key, value) in &link.sysctls {
            prop_assert_eq!(seen.sysctls.get(key), Some(value), "{}", key);
        }
    }
    for (key, value) in &plan.sysctls {
        prop_assert_eq!(seen.sysctls.get(key), Some(value), "{}", key);
    }
    for (key, value) in &plan.sysctls_if_present {
        prop_assert!(seen.sysctls.get(key).is_none_or(|there| there == value), "{key}");
    }
    prop_assert!(plan.routes.iter().all(|route| seen.routes.contains(route)), "{:?}", seen.routes);
    prop_assert_eq!(&seen.neighbors, &plan.neighbors);
    prop_assert_eq!(&seen.forwarding, &plan.forwarding);
    Ok(())
}

/// What somebody does by hand.
#[derive(Debug, Clone)]
enum Drift {
    Delete(&'static str),
    Unplug(&'static str),
    SetDown(&'static str),
    Step(Step),
}

fn a_drift() -> impl Strategy<Value = Drift> {
    let name = || {
        let index = 0..BRIDGES.len() + VXLANS.len() + CABLES.len();
        index.prop_map(|n| *BRIDGES.iter().chain(&VXLANS).chain(&CABLES).nth(n).unwrap())
    };
    let entry = (a_mac(), proptest::option::of(1..4_u8)).prop_map(|(mac, remote)| {
        let to = remote.map_or(ForwardTo::Port, |n| ForwardTo::Remote(ip(192, n)));
        ForwardingEntry { mac, to }
    });
    let neighbor = (a_mac(), 1..4_u8).prop_map(|(mac, n)| Neighbor { ip: ip(10, n), mac });
    let change = prop_oneof![
        (name(), entry.clone()).prop_map(|(name, one)| Step::Forwarding(name.into(), vec![one], vec![])),
        (name(), entry).prop_map(|(name, one)| Step::Forwarding(name.into(), vec![], vec![one])),
        (name(), neighbor.clone()).prop_map(|(name, one)| Step::Neighbors(name.into(), vec![one], vec![])),
        (name(), neighbor).prop_map(|(name, one)| Step::Neighbors(name.into(), vec![], vec![one])),
        (name(), an_address()).prop_map(|(name, one)| Step::AddAddress(name.into(), one)),
        (name(), an_address()).prop_map(|(name, one)| Step::RemoveAddress(name.into(), one)),
        (name(), a_mac()).prop_map(|(name, mac)| Step::SetMac(name.into(), mac)),
        (name(), Just(BridgePort::default())).prop_map(|(name, port)| Step::SetPort(name.into(), port)),
    ];
    prop_oneof![
        name().prop_map(Drift::Delete),
        name().prop_map(Drift::Unplug),
        name().prop_map(Drift::SetDown),
        change.prop_map(Drift::Step),
    ]
}

fn drift(model: &mut ModelNamespace, drift: Drift) {
    match drift {
        Drift::Delete(name) => drop(model.delete_link(name)),
        Drift::Unplug(name) => drop(model.unplug(name)),
        Drift::SetDown(name) => drop(model.set_down(name)),
        // the kernel may refuse: then nothing is done
        Drift::Step(step) => drop(model.execute(&step)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn from_any_plan_the_steps_lead_to_any_other(a in a_plan(), b in a_plan()) {
        let mut model = ModelNamespace::default();
        for plan in [&a, &b] {
            advance(&mut model, plan, usize::MAX);
            satisfies(&model, plan)?;
            prop_assert_eq!(diff(&model.observe(plan), plan), vec![]);
        }
    }

    #[test]
    fn steps_that_were_broken_off_are_taken_up_again(
        a in a_plan(),
        b in a_plan(),
        breaks in proptest::collection::vec(0..30_usize, 0..4),
    ) {
        let mut model = ModelNamespace::default();
        advance(&mut model, &a, usize::MAX);
        for most in breaks {
            advance(&mut model, &b, most);
        }
        advance(&mut model, &b, usize::MAX);
        satisfies(&model, &b)?;
        prop_assert_eq!(diff(&model.observe(&b), &b), vec![]);
    }

    #[test]
    fn what_others_changed_is_put_right(
        a in a_plan(),
        b in a_plan(),
        drifts in proptest::collection::vec(a_drift(), 1..6),
        most in 0..30_usize,
    ) {
        let mut model = ModelNamespace::default();
        advance(&mut model, &a, usize::MAX);
        advance(&mut model, &b, most);
        drifts.into_iter().for_each(|one| drift(&mut model, one));
        advance(&mut model, &b, usize::MAX);
        satisfies(&model, &b)?;
        prop_assert_eq!(diff(&model.observe(&b), &b), vec![]);
    }
}
