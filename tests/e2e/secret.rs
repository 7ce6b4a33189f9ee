//! `docker secret` and `docker config` with real tasks: who gets them, where they lie, how they change.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use crate::support::Cluster;

const VALUE: &str = "correct-horse-battery-staple";

/// Files below a folder in which the text stands.
fn holding(folder: &Path, text: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => holding(&path, text, found),
            kind if kind.is_file() => {
                let content = std::fs::read(&path).unwrap_or_default();
                if content.windows(text.len()).any(|window| window == text.as_bytes()) {
                    found.push(path.display().to_string());
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_secret_reaches_the_tasks_that_need_it_in_memory_alone() {
    for c in Cluster::each(1, 1) {
        let made = c.feed("manager1 secret create -l tier=back pw -", VALUE.as_bytes());
        assert_eq!(made.code, Some(0), "{made:?}");
        c.refused("worker1 secret ls", 1, "This node is not a swarm manager");
        assert_eq!(c.feed("manager1 secret create pw -", b"x").code, Some(1), "the name is taken");
        c.ok("manager1 service create -q --name app --constraint node.hostname==worker1 --secret pw \
             --secret source=pw,target=/etc/key,mode=0400 swarmlab/tools:1.0 sleep 1000");
        let app = c.ok("worker1 ps -q -f name=app");
        let sh = |script: &str| c.ok(&format!("worker1 exec {app} sh -c '{script}'"));
        assert_eq!(sh("cat /run/secrets/pw"), VALUE);
        assert_eq!(sh("cat /etc/key"), VALUE);
        assert_eq!(sh("stat -c %a:%s /run/secrets/pw /etc/key"), "444:28\n400:28");
        assert_eq!(sh("grep -c ^tmpfs./run/secrets/pw.tmpfs.ro, /proc/mounts"), "1");
        c.refused(&format!("worker1 exec {app} sh -c 'echo x > /run/secrets/pw'"), 2, "Read-only file system");
        for shown in
            ["manager1 secret inspect pw", "manager1 secret inspect --pretty pw", "manager1 service inspect app"]
        {
            let out = c.ok(shown);
            assert!(!out.contains(VALUE) && !out.contains("Y29ycmVjdC1ob3JzZ"), "{shown}: {out}");
        }
        assert!(!c.ok(&format!("worker1 inspect {app}")).contains(VALUE));
        let nodes = c.socket("manager1").parent().unwrap().parent().unwrap().to_owned();
        let mut found = Vec::new();
        holding(&nodes, "com.docker.swarm.service.name", &mut found);
        assert!(!found.is_empty(), "what is no secret is found on the nodes' disks");
        found.clear();
        holding(&nodes, VALUE, &mut found);
        assert!(found.is_empty(), "on disk as it is: {found:?}");

        c.refused("manager1 secret rm pw", 1, "secret 'pw' is in use by the following service: app");
        assert_eq!(c.feed("manager1 secret create pw.2 -", b"second").code, Some(0));
        c.ok("manager1 service update -q --secret-rm pw --secret-add source=pw.2,target=pw app");
        let app = c.until("worker1 ps -q -f name=app", |out| !out.is_empty() && !out.contains(&app));
        assert_eq!(c.ok(&format!("worker1 exec {app} cat /run/secrets/pw")), "second");
        c.ok("manager1 service rm app");
        assert_eq!(c.ok("manager1 secret ls --format {{.Name}}"), "pw\npw.2", "secrets outlive services");

        c.power("manager1", "kill");
        c.power("manager1", "start");
        c.until("manager1 secret ls --format {{.Name}} -f label=tier=back", |out| out == "pw");
        assert_eq!(c.ok("manager1 secret rm pw pw.2"), "pw\npw.2");
    }
}

#[test]
fn configs_are_read_by_anybody_and_filled_in_for_each_task() {
    let c = Cluster::one(1, 1);
    let create = |name: &str, flags: &str, content: &str| {
        let done = c.feed(&format!("manager1 config create {flags} {name} -"), content.as_bytes());
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    create("plain", "", "listen 80;\n");
    let template = "{{.Node.Hostname}} {{.Task.Slot}} {{env \"TIER\"}} {{secret \"key\"}} {{config \"plain\"}}";
    create("filled", "--template-driver golang", template);
    create("broken", "--template-driver golang", "{{.Nope}}");
    assert_eq!(c.feed("manager1 secret create pw -", b"s3cret").code, Some(0));
    assert!(c.ok("manager1 config inspect --pretty plain").ends_with("Data:\nlisten 80;"));
    assert_eq!(c.ok("manager1 config inspect -f '{{printf \"%s\" .Spec.Data}}' plain"), "listen 80;");

    c.ok("manager1 service create -q --name app --replicas 2 --replicas-max-per-node 1 -e TIER=back --config plain \
         --config source=filled,target=/etc/app.conf,mode=0440 --secret source=pw,target=key swarmlab/tools:1.0 sleep 1000");
    let mut slots = Vec::new();
    for node in ["manager1", "worker1"] {
        let app = c.ok(&format!("{node} ps -q -f name=app"));
        assert_eq!(c.ok(&format!("{node} exec {app} stat -c %a /plain /etc/app.conf")), "444\n440");
        let content = c.ok(&format!("{node} exec {app} cat /etc/app.conf"));
        let (slot, rest) = content.strip_prefix(&format!("{node} ")).unwrap().split_once(' ').unwrap();
        assert_eq!(rest, "back s3cret listen 80;");
        slots.push(slot.to_owned());
    }
    slots.sort();
    assert_eq!(slots, ["1", "2"]);

    c.ok("manager1 service create -d --name bad --restart-condition none --config broken swarmlab/tools:1.0 true");
    c.until("manager1 service ps bad --no-trunc --format {{.Error}}", |out| {
        out.contains("failed to expand templated config") && out.contains("at <.Nope>: can't evaluate field Nope")
    });
    let large = vec![b'x'; 500 * 1024];
    let done = c.feed("manager1 secret create large -", &large);
    assert!(done.err.contains("secret data must be larger than 0 and less than 512000 bytes"), "{done:?}");
    assert_eq!(c.feed("manager1 secret create almost -", &large[1..]).code, Some(0));
}
