//! The `docker` of a node on a real terminal: sizes, keys, progress, exit codes.
#![allow(clippy::unwrap_used)]

use crate::support::{Cluster, Terminal};

const SIZE: (u16, u16) = (30, 120);

#[test]
fn a_container_s_terminal_has_the_window_s_size_signals_and_an_exit_code() {
    for c in Cluster::each(1, 0) {
        let docker = |args: &[&str]| Terminal::open(c.command("manager1", args), SIZE);
        let mut terminal = docker(&["run", "-it", "--rm", "--name", "one", "swarmlab/tools:1.0", "sh"]);
        terminal.until("# ");
        terminal.types("stty size\r");
        terminal.until("30 120\r");
        terminal.resize(41, 99);
        terminal.types("until stty size | grep '41 99'; do sleep 0.1; done; echo re''sized\r");
        terminal.until("41 99\r");
        terminal.until("resized");
        terminal.types("echo wai''ting; sleep 1000\r");
        terminal.until("waiting");
        terminal.types("\x03");
        terminal.until("# ");
        terminal.types("echo code=$?\r");
        terminal.until("code=130");

        let mut inner = docker(&["exec", "-it", "one", "sh"]);
        inner.until("# ");
        inner.types("stty size; exit 3\r");
        inner.until("30 120\r");
        assert_eq!(inner.finish(), Some(3), "as {}", c.user.name());
        let mut inner = docker(&["exec", "-it", "one", "sh"]);
        inner.until("# ");
        inner.types("\x10\x11");
        inner.until("read escape sequence");
        assert_eq!(inner.finish(), Some(1), "as {}", c.user.name());

        terminal.types("exit 7\r");
        assert_eq!(terminal.finish(), Some(7), "as {}", c.user.name());

        // no terminal in the container: signals go to its first process, which may not care
        let deaf = "trap 'echo not yet' INT; echo up; while :; do sleep 0.1; done";
        let mut deaf = docker(&["run", "--name", "deaf", "swarmlab/tools:1.0", "sh", "-c", deaf]);
        deaf.until("up");
        for _ in 0..2 {
            deaf.types("\x03");
            deaf.until("not yet");
        }
        deaf.types("\x03");
        deaf.until("got 3 SIGTERM/SIGINTs, forcefully exiting");
        assert_eq!(deaf.finish(), Some(1), "as {}", c.user.name());
        c.ok("manager1 rm -f deaf");
    }
}

#[test]
fn a_service_s_progress_is_shown_until_it_converges_or_is_left_by_one_ctrl_c() {
    let c = Cluster::one(1, 0);
    let create = |args: &[&str]| {
        let args = [&["service", "create"], args].concat();
        Terminal::open(c.command("manager1", &args), SIZE)
    };
    let mut good = create(&["--name", "web", "--replicas", "2", "swarmlab/web:1.0"]);
    good.until("overall progress: 0 out of 2 tasks");
    good.until("2/2: running   [==================================================>]");
    good.until("overall progress: 2 out of 2 tasks");
    good.until("verify: Waiting ");
    good.until(" converged");
    assert_eq!(good.finish(), Some(0));
    for name in ["a", "b", "c", "d"] {
        let mut bad = create(&["--name", name, "--constraint", "node.role==worker", "swarmlab/web:1.0"]);
        bad.until("no suitable node");
        bad.types("\x03");
        bad.until("Operation continuing in background.");
        assert_eq!(bad.finish(), Some(0));
    }
}
