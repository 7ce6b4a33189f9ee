//! `docker service` with real containers on a manager and two workers.
#![allow(clippy::unwrap_used)]

use crate::support::Cluster;

#[test]
fn a_service_is_made_scaled_updated_rolled_back_and_removed() {
    for c in Cluster::each(1, 2) {
        c.ok("manager1 service create -q --name web --replicas 3 --update-monitor 0s --update-parallelism 0 swarmlab/web:1.0");
        let nodes = c.until("manager1 service ps web --format {{.Node}} -f desired-state=running", |out| {
            out.lines().count() == 3
        });
        assert!(["manager1", "worker1", "worker2"].iter().all(|node| nodes.contains(node)), "an even spread: {nodes}");
        c.ok("manager1 service scale -d web=5");
        c.until("manager1 service ls --format {{.Replicas}}", |out| out == "5/5");
        c.ok("manager1 service scale -d web=1");
        c.until("manager1 service ls --format {{.Replicas}}", |out| out == "1/1");
        c.ok("manager1 service update -q --image swarmlab/web:2.0 web");
        let images = "manager1 service ps web --format {{.Image}} -f desired-state=running";
        c.until(images, |out| out == "swarmlab/web:2.0");
        let history = c.ok("manager1 service ps web --format {{.Image}}");
        assert!(history.contains("swarmlab/web:1.0"), "{history}");
        c.ok("manager1 service rollback -q web");
        c.until(images, |out| out == "swarmlab/web:1.0");
        c.until("manager1 service logs web", |out| out.contains("web.1."));
        c.refused(
            "manager1 service create -d --name web swarmlab/web:1.0",
            1,
            "name conflicts with an existing object",
        );
        c.ok("manager1 service rm web");
        c.refused("manager1 service ps web", 1, "no such service: web");
        for node in ["manager1", "worker1", "worker2"] {
            c.until(&format!("{node} ps -aq"), str::is_empty);
        }
    }
}

#[test]
fn tasks_wait_for_a_node_are_replaced_and_give_up_as_they_are_told() {
    let c = Cluster::one(1, 1);
    let states =
        |name: &str| format!("manager1 service ps {name} --no-trunc --format '{{{{.CurrentState}}}} {{{{.Error}}}}'");
    c.ok("manager1 service create -d --name pending --constraint node.labels.disk==ssd swarmlab/web:1.0");
    c.until(&states("pending"), |out| out.starts_with("Pending") && out.contains("no suitable node"));
    c.ok("manager1 node update --label-add disk=ssd worker1");
    c.until("manager1 service ps pending --format '{{.Node}} {{.CurrentState}}'", |out| {
        out.starts_with("worker1 Running")
    });

    c.ok(
        "manager1 service create -d --name once --restart-condition none swarmlab/tools:1.0 sh -c 'echo gone; exit 3'",
    );
    c.until(&states("once"), |out| out.starts_with("Failed") && out.contains("task: non-zero exit (3)"));
    assert_eq!(c.ok("manager1 service ps -q once").lines().count(), 1, "it is not tried again");

    c.ok("manager1 service create -d --name crash --restart-delay 0s --restart-max-attempts 2 swarmlab/web:crash");
    c.until("manager1 service ps crash --format {{.CurrentState}}", |out| out.matches("Failed").count() == 3);

    c.ok("manager1 service create -d --name absent swarmlab/nosuch:1 --restart-delay 1s");
    c.until(&states("absent"), |out| out.contains("Rejected") && out.contains("swarmlab/nosuch:1"));

    c.ok("manager1 service create -d --name everywhere --mode global swarmlab/tools:1.0 sleep 1000");
    c.until("manager1 service ls -f name=everywhere --format {{.Replicas}}", |out| out == "2/2");
    let container = c.until("worker1 ps -q -f name=everywhere", |out| !out.is_empty());
    c.ok(&format!("worker1 kill {container}"));
    c.until("manager1 service ps everywhere --format '{{.Node}} {{.CurrentState}}'", |out| {
        out.contains("worker1 Failed") && out.contains("worker1 Running")
    });
    c.refused("manager1 service scale everywhere=3", 1, "scale can only be used with replicated");
}
