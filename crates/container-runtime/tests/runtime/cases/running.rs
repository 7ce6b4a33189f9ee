//! How a container is set up, and what it may do.

use container_runtime::config::*;
use container_runtime::*;

use crate::support::*;

pub async fn a_command_runs_and_its_output_and_status_are_kept(lab: Lab) -> Lab {
    let (code, out) = lab.sh("echo hello; echo oops >&2; exit 3").await;
    assert_eq!(code, 3);
    assert!(out.contains("hello\n") && out.contains("oops\n"), "{out}");
    lab
}

pub async fn environment_user_directory_and_hostname_are_as_configured(lab: Lab) -> Lab {
    let mut c =
        sh("echo $A-$B-$HOME; id -u; pwd; hostname; cat /etc/hostname; ls -d /dev/null /dev/shm /dev/pts /proc/1");
    c.env = vec!["A=1".into(), "B=x y".into()];
    c.working_dir = Some("/made/here".into());
    c.hostname = Some("box".into());
    let (code, out) = lab.run(c).await;
    assert_eq!(
        (code, out.as_str()),
        (0, "1-x y-/root\n0\n/made/here\nbox\nbox\n/dev/null\n/dev/pts\n/dev/shm\n/proc/1\n")
    );
    lab
}

pub async fn a_container_has_dockers_capabilities_and_masked_paths_and_cannot_gain_privileges(lab: Lab) -> Lab {
    let line = "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; wc -c </proc/keys; ls /sys/firmware; \
                echo 1 >/proc/sys/kernel/panic && echo written; cat /proc/self/stat | cut -d' ' -f1 >/dev/null; echo $$; trap";
    let (_, out) = lab.sh(line).await;
    assert!(out.contains("CapEff:\t00000000a80425fb") && out.contains("CapBnd:\t00000000a80425fb"), "{out}");
    assert!(out.contains("NoNewPrivs:\t1"), "{out}");
    assert!(out.contains("\n0\n") && !out.contains("written"), "{out}");
    // SIGPIPE and the signals that the shim blocks are as a program expects them.
    let (_, out) = lab.sh("grep -E 'SigBlk|SigIgn' /proc/self/status").await;
    assert!(out.contains("SigBlk:\t0000000000000000") && out.contains("SigIgn:\t0000000000000000"), "{out}");
    let mut c = sh("grep CapEff /proc/self/status");
    (c.cap_drop, c.cap_add) = (vec!["ALL".into()], vec!["CHOWN".into()]);
    assert!(lab.run(c).await.1.contains("CapEff:\t0000000000000001"));
    lab
}

pub async fn between_prepare_and_start_the_network_namespace_exists_and_nothing_runs(lab: Lab) -> Lab {
    let id = lab.create(sh("cat /proc/net/dev")).await;
    let pid = lab.runtime.prepare(&id).await.unwrap();
    assert_eq!(lab.runtime.prepare(&id).await.unwrap(), pid, "preparing twice is harmless");
    assert_eq!(lab.runtime.inspect(&id).unwrap().state.status, Status::Prepared);
    let ns = |p: String| std::fs::read_link(format!("/proc/{p}/ns/net")).unwrap();
    assert_ne!(ns(pid.to_string()), ns("self".into()));
    assert_eq!(lab.log(&id).await, "");
    // A prepared container survives the daemon, and can be given up.
    let lab = lab.restart().await;
    assert_eq!(lab.runtime.inspect(&id).unwrap().state.status, Status::Prepared);
    lab.runtime.stop(&id, None, None).await.unwrap();
    assert_eq!(lab.runtime.inspect(&id).unwrap().state.status, Status::Created);
    lab.runtime.start(&id).await.unwrap();
    within(lab.runtime.wait(&id, false)).await.unwrap();
    assert!(lab.log(&id).await.contains("lo:"));
    lab
}

pub async fn a_program_that_does_not_exist_fails_the_start_with_127_and_leaves_the_container_created(lab: Lab) -> Lab {
    for (program, code, text) in [
        ("nope", 127, "exec: \"nope\": executable file not found in $PATH"),
        ("/no/pe", 127, "exec: \"/no/pe\": stat /no/pe: no such file or directory"),
        ("/etc", 126, "exec: \"/etc\": is a directory"),
        ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied"),
    ] {
        let mut c = sh("");
        c.cmd = Some(vec![program.into()]);
        let id = lab.create(c).await;
        let e = lab.runtime.start(&id).await.unwrap_err();
        assert!(e.message.contains(text), "{e}");
        assert_eq!(e.exit_code(), code);
        let s = lab.runtime.inspect(&id).unwrap().state;
        assert_eq!((s.status, s.exit_code, s.pid), (Status::Created, code, None));
        assert!(s.error.unwrap().contains(text));
    }
    lab
}

pub async fn limits_are_enforced_as_root_and_accepted_without(lab: Lab) -> Lab {
    let mut c = sh("x=$(head -c 60000000 /dev/zero | tr '\\0' a); echo survived");
    c.resources =
        Resources { memory: Some(20 << 20), pids: Some(50), nano_cpus: Some(500_000_000), ..Default::default() };
    if lab.rootless {
        c.cmd = Some(vec!["true".into()]);
        assert_eq!(lab.run(c).await.0, 0);
        return lab;
    }
    let id = lab.create(c).await;
    lab.runtime.start(&id).await.unwrap();
    let state = within(lab.runtime.wait(&id, false)).await.unwrap();
    assert!(state.oom_killed && state.exit_code == 137, "{state:?}");
    lab
}

pub async fn binds_volumes_and_tmpfs_appear_and_read_only_holds(lab: Lab) -> Lab {
    let host = lab.dir.join("host");
    let volume = lab.dir.join("volume");
    std::fs::create_dir(&host).unwrap();
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(host.join("f"), "from the host").unwrap();
    let mut c = sh(
        "cat /in/f; echo data >/vol/h; echo t >/ram/t && cat /ram/t; df /ram | tail -1 | grep -c tmpfs; echo x >/in/g; echo r >/r; ls /vol",
    );
    c.read_only = true;
    c.mounts = vec![
        Mount { target: "/in".into(), read_only: true, source: MountSource::Bind(host.clone()) },
        Mount {
            target: "/vol".into(),
            read_only: false,
            source: MountSource::Volume { path: volume.clone(), no_copy: false },
        },
        Mount {
            target: "/ram".into(),
            read_only: false,
            source: MountSource::Tmpfs { size: Some(1 << 20), mode: None },
        },
    ];
    let (_, out) = lab.run(c).await;
    assert!(out.contains("from the hostt\n1\n") && out.contains("h\n"), "{out}");
    assert_eq!(out.matches("Read-only file system").count(), 2, "{out}");
    assert!(!host.join("g").exists());
    assert_eq!(std::fs::read_to_string(volume.join("h")).unwrap(), "data\n");

    // An empty volume is filled from the image; one with content is left as it is.
    let fresh = lab.dir.join("fresh");
    std::fs::create_dir(&fresh).unwrap();
    let over = |path: std::path::PathBuf| {
        let mut c = sh("ls /etc/passwd");
        c.mounts = vec![Mount {
            target: "/etc".into(),
            read_only: false,
            source: MountSource::Volume { path, no_copy: false },
        }];
        c
    };
    assert_eq!(lab.run(over(fresh.clone())).await.0, 0);
    assert!(fresh.join("passwd").exists());
    let missing = sh("true").tap(|c| {
        c.mounts = vec![Mount { target: "/x".into(), read_only: false, source: MountSource::Bind("/no/such".into()) }]
    });
    assert!(lab.runtime.create(missing).await.unwrap_err().message.contains("bind source path does not exist"));
    lab
}

pub async fn a_container_started_again_keeps_its_files(lab: Lab) -> Lab {
    let id = lab.create(sh("echo x >>/root/f; wc -l </root/f")).await;
    for _ in 0..3 {
        lab.runtime.start(&id).await.unwrap();
        let started = lab.runtime.inspect(&id).unwrap().state.started_at;
        let mut s = lab.runtime.watch(&id).unwrap();
        within(s.wait_for(|s| s.status == Status::Exited && s.started_at == started)).await.unwrap();
    }
    assert_eq!(lab.log(&id).await, "1\n2\n3\n");
    lab
}

pub async fn an_unmapped_user_is_refused_clearly_and_a_mapped_one_runs(lab: Lab) -> Lab {
    let c = sh("id -u; id -g; grep CapEff /proc/self/status").tap(|c| c.user = Some("65534:65534".into()));
    if lab.rootless {
        let id = lab.create(c).await;
        let e = lab.runtime.start(&id).await.unwrap_err();
        assert!(e.message.contains("uid 65534, which is not mapped"), "{e}");
    } else {
        let (code, out) = lab.run(c).await;
        assert_eq!((code, out.as_str()), (0, "65534\n65534\nCapEff:\t0000000000000000\n"));
    }
    let id = lab.create(sh("true").tap(|c| c.user = Some("nosuch".into()))).await;
    let e = lab.runtime.start(&id).await.unwrap_err();
    assert!(e.message.contains("unable to find user nosuch"), "{e}");
    lab
}

pub async fn conflicts_and_unknown_names_are_refused(lab: Lab) -> Lab {
    let id = lab.create(sh("sleep 1000").tap(|c| c.name = Some("/taken".into()))).await;
    let e = lab.runtime.create(sh("true").tap(|c| c.name = Some("taken".into()))).await.unwrap_err();
    assert_eq!(e.kind, Kind::Conflict);
    let e = lab.runtime.create(sh("true").tap(|c| c.image = "no/such:image".into())).await.unwrap_err();
    assert_eq!((e.kind, e.message.as_str()), (Kind::NotFound, "No such image: no/such:image"));
    for name in ["taken", "/taken", id.as_str(), id.short(), &id.as_str()[..3]] {
        assert_eq!(lab.runtime.resolve(name).unwrap(), id);
    }
    assert_eq!(lab.runtime.resolve("nobody").unwrap_err().kind, Kind::NotFound);
    lab.runtime.start(&id).await.unwrap();
    assert_eq!(lab.runtime.remove(&id, false).await.unwrap_err().kind, Kind::Conflict);
    lab.runtime.remove(&id, true).await.unwrap();
    assert_eq!(lab.runtime.kill(&id, 9).await.unwrap_err().kind, Kind::NotFound);
    lab
}

pub async fn hosts_and_resolver_can_be_set_while_it_runs(lab: Lab) -> Lab {
    let mut c = sh("sleep 1000");
    c.extra_hosts = vec![HostEntry { address: "10.0.0.9".into(), names: vec!["db".into()] }];
    (c.hostname, c.domainname) = (Some("box".into()), Some("example".into()));
    c.dns = Dns { servers: vec!["10.0.0.53".into()], search: vec!["lab".into()], ..Default::default() };
    let id = lab.create(c).await;
    lab.runtime.start(&id).await.unwrap();
    assert!(lab.exec(&id, "cat /etc/hosts").await.1.contains("10.0.0.9\tdb\n"));
    let before = lab.exec(&id, "cat /etc/resolv.conf").await.1;
    assert!(before.starts_with("nameserver 10.0.0.53\n") && before.contains("\nsearch lab\n"), "{before}");
    let made = lab.runtime.set_name_service(&id, NameService::Embedded).unwrap();
    assert_eq!(made.upstream, ["10.0.0.53:53".parse().unwrap()]);
    lab.runtime.set_own_addresses(&id, &["10.0.0.3".parse().unwrap(), "fd00::3".parse().unwrap()]).unwrap();
    let own = lab.exec(&id, "cat /etc/hosts").await.1;
    assert!(own.contains("10.0.0.9\tdb\n10.0.0.3\tbox.example box\nfd00::3\tbox.example box\n"), "{own}");
    let own = HostEntry { address: "10.0.0.2".into(), names: vec!["me".into()] };
    lab.runtime.set_hosts(&id, &[own]).unwrap();
    let out = lab.exec(&id, "cat /etc/hosts /etc/resolv.conf").await.1;
    assert!(out.contains("10.0.0.9\tdb\n10.0.0.2\tme\nnameserver 127.0.0.11\nsearch lab\n"), "{out}");
    lab
}
