//! `docker run` and what follows it, on one engine.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::support::Cluster;

const TOOLS: &str = "swarmlab/tools:1.0";

#[test]
fn containers_run_answer_and_end_as_on_docker() {
    for c in Cluster::each(1, 0) {
        let d = |line: &str| format!("manager1 {}", line.replace("TOOLS", TOOLS));
        assert_eq!(c.ok(&d("run --rm TOOLS echo hi")), "hi");
        assert_eq!(c.feed(&d("run -i --rm TOOLS cat"), b"fed\n").out, "fed\n");
        let done = c.docker(&d("run --rm TOOLS sh -c 'echo out; echo err >&2; exit 7'"));
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(7), "out\n", "err\n"));
        c.refused(&d("run --rm TOOLS nosuch"), 127, "exec: \"nosuch\": executable file not found in $PATH");
        c.refused(&d("run --rm TOOLS /etc"), 126, "is a directory");
        c.refused(&d("run --rm nosuch:1"), 125, "nosuch:1");
        c.refused(&d("run --nosuch TOOLS"), 125, "unknown flag: --nosuch");
        c.refused(&d("run --rm --network nowhere TOOLS true"), 125, "network nowhere not found");
        assert_eq!(c.ok(&d("ps -aq")), "", "--rm leaves nothing, also after a start that failed");

        c.ok(&d("run -d --name c1 TOOLS sh -c 'echo one; echo two; exec sleep 1000'"));
        c.until(&d("logs c1"), |out| out == "one\ntwo");
        assert_eq!(c.ok(&d("logs --tail 1 c1")), "two");
        let stamped = c.ok(&d("logs -t --tail 1 c1"));
        assert!(stamped.ends_with("Z two") && stamped.starts_with("20"), "{stamped}");
        assert_eq!(c.ok(&d("logs --since 2100-01-01T00:00:00Z c1")), "");
        assert_eq!(c.ok(&d("logs --until 2001-01-01T00:00:00Z c1")), "");
        assert_eq!(c.ok(&d("exec -e A=b -w /tmp c1 sh -c 'echo $A; pwd; id -u'")), "b\n/tmp\n0");
        assert_eq!(c.docker(&d("exec c1 sh -c 'exit 5'")).code, Some(5));
        let missing = c.docker(&d("exec c1 nosuch"));
        assert_eq!(missing.code, Some(127), "{missing:?}");
        assert!(missing.out.contains("executable file not found in $PATH: unknown"), "{missing:?}");
        assert!(c.ok(&d("top c1")).contains("sleep 1000"));
        c.refused(&d("run --name c1 TOOLS"), 125, "The container name \"/c1\" is already in use");
        c.refused(&d("rm c1"), 1, "container is running");
        assert_eq!(c.ok(&d("stop -t 0 c1")), "c1");
        assert_eq!(c.ok(&d("inspect -f '{{.State.Status}} {{.State.ExitCode}}' c1")), "exited 137");
        assert_eq!(c.ok(&d("wait c1")), "137");
        c.refused(&d("exec c1 true"), 1, "is not running");
        c.refused(&d("kill c1"), 1, "is not running");
        c.ok(&d("start c1"));
        c.ok(&d("kill -s KILL c1"));
        c.ok(&d("rename c1 c2"));
        c.refused(&d("logs c1"), 1, "No such container: c1");
        c.ok(&d("rm c2"));
        c.refused(&d("rm c2"), 1, "No such container: c2");

        // the signal that an image or a flag asks for, within the grace period
        let trap = "trap \"echo bye; exit 42\" INT; while :; do sleep 0.05; done";
        c.ok(&d(&format!("run -d --name trap --stop-signal INT TOOLS sh -c '{trap}; echo ready'")));
        c.until(&d("inspect -f {{.State.Running}} trap"), |out| out == "true");
        c.until(&d("top trap"), |out| out.contains("sleep 0.05"));
        c.ok(&d("stop trap"));
        assert_eq!(c.ok(&d("inspect -f {{.State.ExitCode}} trap")), "42");
        assert_eq!(c.ok(&d("logs trap")), "bye");
    }
}

#[test]
fn logs_are_followed_to_the_end_and_health_is_told() {
    let c = Cluster::one(1, 0);
    c.ok("manager1 run -d --name talker swarmlab/tools:1.0 sh -c 'echo first; read line; echo last'");
    c.ok("manager1 rm -f talker");
    c.ok("manager1 run -d -i --name talker swarmlab/tools:1.0 sh -c 'echo first; read line; echo got $line'");
    let mut follow = c.command("manager1", &["logs", "-f", "talker"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    assert_eq!(c.feed("manager1 attach talker", b"word\n").code, Some(0));
    assert_eq!(lines.next().unwrap().unwrap(), "got word");
    assert!(lines.next().is_none(), "it ends with the container");
    assert!(follow.wait().unwrap().success());

    c.ok("manager1 run -d --name sick --health-cmd false --health-interval 100ms --health-retries 2 swarmlab/tools:1.0 sleep 1000");
    c.until("manager1 inspect -f {{.State.Health.Status}} sick", |out| out == "unhealthy");
    c.ok("manager1 run -d --name well --health-cmd true --health-interval 100ms swarmlab/tools:1.0 sleep 1000");
    c.until("manager1 inspect -f {{.State.Health.Status}} well", |out| out == "healthy");
    assert!(c.ok("manager1 ps -f name=sick").contains("(unhealthy)"));
    c.ok("manager1 rm -f sick well talker");
}
