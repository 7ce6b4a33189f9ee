//! The model of a namespace that the simulator uses, against a kernel: for plan after plan, and after changes by hand, both see
//! the same to do and come to the same.
#![allow(clippy::unwrap_used)]

mod kernel;
#[path = "../../network-plan/tests/plans/mod.rs"]
mod plans;

use std::collections::BTreeSet;

use overlay_network::{NetNamespace, plan};
use plan::model::ModelNamespace;
use plan::{LinkKind, Namespace, NetPlan, Observed, Step, diff};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const CASES: usize = 40;

/// What happens to a namespace.
#[derive(Debug, Clone)]
enum Deed {
    Apply(Box<NetPlan>),
    Delete(&'static str),
    SetDown(&'static str),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let names: Vec<&str> = plans::BRIDGES.iter().chain(&plans::VXLANS).chain(&plans::CABLES).copied().collect();
    let name = || proptest::sample::select(names.clone());
    let deed = prop_oneof![
        4 => plans::a_plan().prop_map(|plan| Deed::Apply(Box::new(plan))),
        1 => name().prop_map(Deed::Delete),
        2 => name().prop_map(Deed::SetDown),
    ];
    proptest::collection::vec(deed, 2..8)
}

/// Regardless of the order in which a kernel lists addresses.
fn sorted(steps: &[Step]) -> BTreeSet<String> {
    steps.iter().map(|step| format!("{step:?}")).collect()
}

/// What the plan speaks of.
fn shown(mut seen: Observed, plan: &NetPlan) -> Observed {
    seen.links.retain(|name, _| name != "lo" && plan.links.iter().any(|link| link.name == *name));
    for link in &plan.links {
        let Some(there) = seen.links.get_mut(&link.name) else { continue };
        (there.index, there.peer, there.carrier) = (0, None, false);
        there.mac = there.mac.filter(|_| link.mac.is_some());
        there.mtu = link.mtu.map_or(0, |_| there.mtu);
        there.addresses.sort();
    }
    seen.routes.retain(|route| plan.routes.contains(route));
    seen.routes.sort_by_key(|route| route.destination);
    seen
}

#[test]
fn the_model_does_what_the_kernel_does() {
    kernel::in_namespaces("the_model_does_what_the_kernel_does", async || {
        let dir = tempfile::tempdir().unwrap();
        let mut runner = TestRunner::deterministic();
        for case in 0..CASES {
            let pin = dir.path().join(case.to_string());
            let namespace = NetNamespace::pinned(&pin).unwrap();
            let mut model = ModelNamespace::default();
            let deeds = deeds().new_tree(&mut runner).unwrap().current();
            for deed in deeds {
                match deed {
                    Deed::Delete(name) => {
                        namespace.delete_link(name).await.unwrap();
                        model.delete_link(name);
                    }
                    Deed::SetDown(name) => {
                        if model.is_up(name) {
                            namespace.set_up(name, false).await.unwrap();
                            model.set_down(name);
                        }
                    }
                    Deed::Apply(mut plan) => {
                        for link in &mut plan.links {
                            if let LinkKind::Veth { peer_namespace, .. } = &mut link.kind {
                                *peer_namespace = Namespace::Path(pin.clone());
                            }
                        }
                        let due = diff(&model.observe(&plan), &plan);
                        due.iter().for_each(|step| model.execute(step).unwrap());
                        let made = namespace.apply(&plan).await.unwrap();
                        assert_eq!(sorted(&made), sorted(&due), "case {case}");
                        let (seen, expected) = (namespace.observe(&plan).await.unwrap(), model.observe(&plan));
                        assert_eq!(shown(seen.clone(), &plan), shown(expected, &plan), "case {case}");
                        assert_eq!(diff(&seen, &plan), vec![], "case {case}");
                    }
                }
            }
            NetNamespace::unpin(&pin).unwrap();
        }
    });
}
