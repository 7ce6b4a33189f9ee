//! `docker node` on a cluster of one manager and two workers.
#![allow(clippy::unwrap_used)]

use crate::support::Cluster;

#[test]
fn nodes_are_listed_shown_labelled_promoted_demoted_and_removed() {
    for c in Cluster::each(1, 2) {
        let list = c.until("manager1 node ls --format '{{.Hostname}} {{.Status}} {{.ManagerStatus}}'", |out| {
            out.matches("Ready").count() == 3
        });
        assert_eq!(list, "manager1 Ready Leader\nworker1 Ready \nworker2 Ready".trim_end(), "as {}", c.user.name());
        assert_eq!(c.ok("manager1 node inspect self --format {{.Description.Hostname}}"), "manager1");
        c.refused("manager1 node inspect nosuch", 1, "node nosuch not found");
        c.refused("manager1 node demote manager1", 1, "attempting to demote the last manager of the swarm");
        c.refused("manager1 node rm worker2", 1, "is not down and can't be removed");
        c.refused("manager1 node rm manager1", 1, "is a cluster manager");
        c.refused("manager1 node update --availability asleep worker1", 1, "");

        c.ok("manager1 node update --label-add disk=ssd --availability pause worker1");
        let seen = c.ok("manager1 node inspect worker1 --format '{{.Spec.Labels.disk}} {{.Spec.Availability}}'");
        assert_eq!(seen, "ssd pause");

        c.ok("manager1 node promote worker1");
        c.until("worker1 node ls --format '{{.Hostname}} {{.ManagerStatus}}'", |out| out.contains("worker1 Reachable"));
        c.until("manager1 node demote worker1", |_| true);
        c.until("worker1 info --format {{.Swarm.ControlAvailable}}", |out| out == "false");
        c.refused("worker1 node ls", 1, "This node is not a swarm manager.");

        c.ok("worker2 swarm leave");
        c.until("manager1 node ls --format '{{.Hostname}} {{.Status}}'", |out| out.contains("worker2 Down"));
        c.ok("manager1 node rm worker2");
        c.ok("manager1 node rm --force worker1");
        assert_eq!(c.ok("manager1 node ls -q").lines().count(), 1);
    }
}
