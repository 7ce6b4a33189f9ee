//! Three managers: the leader dies, another answers, the dead one comes back.
#![allow(clippy::unwrap_used)]

use crate::support::Cluster;

#[test]
fn a_new_leader_answers_when_the_leader_loses_its_power_and_the_old_one_returns() {
    let c = Cluster::one(3, 0);
    let list = "node ls --format '{{.Hostname}} {{.Status}} {{.ManagerStatus}}'";
    c.until(&format!("manager1 {list}"), |out| out.matches("Reachable").count() == 2);
    c.ok("manager1 service create -d --name kept --replicas 0 swarmlab/tools:1.0 sleep 1000");
    c.power("manager1", "kill");
    c.until(&format!("manager2 {list}"), |out| {
        let led = out.lines().any(|line| line.ends_with("Leader") && !line.starts_with("manager1"));
        led && out.contains("Unreachable")
    });
    assert_eq!(c.ok("manager2 service ls --format {{.Name}}"), "kept");
    c.ok("manager3 service create -d --name later --replicas 0 swarmlab/tools:1.0 sleep 1000");
    c.power("manager1", "start");
    c.until(&format!("manager1 {list}"), |out| out.contains("manager1 Ready Reachable"));
    let names = c.until("manager1 service ls --format {{.Name}}", |out| out.lines().count() == 2);
    assert_eq!(names, "kept\nlater");

    // two of three gone: no majority, and nobody pretends that there is one
    c.power("manager2", "kill");
    c.power("manager3", "kill");
    let done = c.docker("manager1 service create -d --name lost --replicas 0 swarmlab/tools:1.0 sleep 1000");
    assert_eq!(done.code, Some(1), "{done:?}");
    c.power("manager2", "start");
    c.until(&format!("manager2 {list}"), |out| out.contains("Leader"));
}
