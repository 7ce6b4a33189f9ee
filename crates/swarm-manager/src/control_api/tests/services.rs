//! Requests about services: what is refused, and how names, ports, versions and filters are judged.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use swarm_types::*;

use super::fixture::{Leader, publishing, spec};
use crate::control_api::*;

fn create(spec: ServiceSpec) -> ControlRequest {
    ControlRequest::CreateService(Box::new(spec))
}

#[test]
fn what_is_wrong_with_a_spec_is_said_in_swarmkits_words() {
    let task = |edit: fn(&mut TaskSpec)| {
        let mut spec = spec("web");
        edit(Arc::make_mut(&mut spec.task));
        spec
    };
    let resources = |resources| Some(ResourceRequirements { limits: Some(resources), ..Default::default() });
    let mut leader = Leader::of(1, 0);
    for (spec, message) in [
        (spec(""), "meta: name must be provided"),
        (spec("-web"), "name must be valid as a DNS name component"),
        (spec("we.b"), "name must be valid as a DNS name component"),
        (spec(&"a".repeat(64)), "name must be 63 characters or fewer"),
        (task(|t| t.container.image.clear()), "ContainerSpec: image reference must be provided"),
        (task(|t| t.container.image = "Nginx:".into()), "ContainerSpec: \"Nginx:\" is not a valid repository/tag"),
        (
            task(|t| t.container.mounts = vec![Mount { target: "/a".into(), ..Mount::default() }; 2]),
            "ContainerSpec: duplicate mount point: /a",
        ),
        (
            task(|t| {
                t.container.healthcheck =
                    Some(HealthConfig { interval: Duration::from_micros(1), ..HealthConfig::default() });
            }),
            "ContainerSpec: Interval in HealthConfig cannot be less than 1ms",
        ),
        (
            ServiceSpec { mode: ServiceMode::Replicated { replicas: u64::MAX }, ..spec("web") },
            "Number of replicas must be non-negative",
        ),
        (
            ServiceSpec { mode: ServiceMode::GlobalJob, update: Some(UpdateConfig::default()), ..spec("web") },
            "Jobs may not have an update config",
        ),
        (
            ServiceSpec {
                update: Some(UpdateConfig { max_failure_ratio: 1.5, ..UpdateConfig::default() }),
                ..spec("web")
            },
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ),
        (
            ServiceSpec {
                update: Some(UpdateConfig { max_failure_ratio: f32::NAN, ..UpdateConfig::default() }),
                ..spec("web")
            },
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ),
    ] {
        let expected = format!("rpc error: code = InvalidArgument desc = {message}");
        assert_eq!(leader.refused(&create(spec)), expected);
    }
    for (limit, message) in [
        (Resources { nano_cpus: 1000, ..Resources::default() }, "invalid cpu value 0.000001: Must be at least 0.001"),
        (Resources { memory_bytes: 7, ..Resources::default() }, "invalid memory value 7: Must be at least 4MiB"),
    ] {
        let mut spec = spec("web");
        Arc::make_mut(&mut spec.task).resources = resources(limit);
        assert_eq!(leader.refused(&create(spec)), format!("rpc error: code = InvalidArgument desc = {message}"));
    }
    let mut constrained = spec("web");
    Arc::make_mut(&mut constrained.task).placement =
        Some(Placement { constraints: vec!["node.role=manager".into()], ..Placement::default() });
    assert_eq!(
        leader.refused(&create(constrained)),
        "rpc error: code = Unknown desc = constraint expected one operator from ==, !="
    );
    let mut plugin = spec("web");
    Arc::make_mut(&mut plugin.task).runtime = "plugin".into();
    assert_eq!(leader.ask(&create(plugin)).unwrap_err().kind, ControlErrorKind::Unimplemented);
}

#[test]
fn templates_that_no_task_could_fill_in_are_refused() {
    let mut leader = Leader::of(1, 0);
    let with = |change: &dyn Fn(&mut ContainerSpec)| {
        let mut spec = spec("web");
        spec.annotations.labels.insert("tier".into(), "front".into());
        change(&mut Arc::make_mut(&mut spec.task).container);
        create(spec)
    };
    // as Docker 20.10 words them
    for (env, why) in [
        ("A={{.Nope}}", "1:2: executing \"expansion\" at <.Nope>: can't evaluate field Nope in type *template.Context"),
        (
            "A={{.Node.Nope}}",
            "1:7: executing \"expansion\" at <.Node.Nope>: can't evaluate field Nope in type struct { ID string; Hostname string; Platform template.Platform }",
        ),
        (
            "A={{.Service.Labels.x}}",
            "1:10: executing \"expansion\" at <.Service.Labels.x>: map has no entry for key \"x\"",
        ),
        ("A={{env \"FOO\"}}", "1: function \"env\" not defined"),
        ("A={{", "1: unclosed action"),
    ] {
        let message = format!("expanding env failed: expanding env {env:?}: template: expansion:{why}");
        let refused = leader.refused(&with(&|container| container.env = vec![env.into()]));
        assert_eq!(refused, format!("rpc error: code = InvalidArgument desc = {message}"));
    }
    let place = "template: expansion:1:3: executing \"expansion\" at <.Nope>: can't evaluate field Nope in type *template.Context";
    assert_eq!(
        leader.refused(&with(&|container| {
            let mount = Mount { source: "v{{.Nope}}".into(), target: "/x".into(), ..Mount::default() };
            container.mounts = vec![mount];
        })),
        format!(
            "rpc error: code = InvalidArgument desc = expanding mounts failed: expanding mount source \"v{{{{.Nope}}}}\": {place}"
        )
    );
    let good = "{{.Service.Labels.tier}}-{{.Node.Hostname}}-{{if eq .Task.Slot \"1\"}}first{{end}}";
    assert!(leader.ask(&with(&|container| container.hostname = good.into())).is_ok());
}

#[test]
fn a_spec_that_is_too_large_for_the_log_is_refused() {
    let mut large = spec("web");
    Arc::make_mut(&mut large.task).container.env = vec!["A=".to_owned() + &"x".repeat(2 * 1024 * 1024)];
    assert!(Leader::of(1, 0).refused(&create(large)).contains("service spec is too large"));
}

#[test]
fn a_name_is_given_once_also_when_two_requests_race() {
    let mut leader = Leader::of(1, 0);
    let taken = "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already \
                 exists";
    let late = handle(leader.now, &mut leader.ids, &create(spec("web")), &leader.store, &leader.view).unwrap();
    leader.create(&spec("web"));
    assert_eq!(leader.refused(&create(spec("web"))), taken);
    let Decision::Propose { actions, .. } = late else { panic!("a write") };
    let applied = leader.apply(actions);
    let error = refusal(&create(spec("web")), &applied.refused[0].1);
    assert_eq!((error.kind, error.message.as_str()), (ControlErrorKind::AlreadyExists, taken));
}

#[test]
fn published_ports_belong_to_one_service() {
    let mut leader = Leader::of(1, 0).with_ingress();
    let web = leader.create(&publishing("web", 80, PublishMode::Ingress));
    let prefix = "rpc error: code = InvalidArgument desc = ";
    for mode in [PublishMode::Ingress, PublishMode::Host] {
        assert_eq!(
            leader.refused(&create(publishing("web2", 80, mode))),
            format!("{prefix}port '80' is already in use by service 'web' ({web}) as an ingress port")
        );
    }
    let dns = leader.create(&publishing("dns", 53, PublishMode::Host));
    leader.create(&publishing("dns2", 53, PublishMode::Host));
    assert_eq!(
        leader.refused(&create(publishing("dns3", 53, PublishMode::Ingress))),
        format!("{prefix}port '53' is already in use by service 'dns' ({dns}) as a host-published port")
    );
    // Not its own, nor one that is to be assigned.
    let update = leader.update_of("web", |spec| {
        let ports = &mut spec.endpoint.as_mut().unwrap().ports;
        ports.push(PortConfig { target_port: 443, published_port: 443, ..PortConfig::default() });
    });
    leader.ask(&update).unwrap();
    leader.create(&publishing("any1", 0, PublishMode::Ingress));
    leader.create(&publishing("any2", 0, PublishMode::Ingress));

    let mut twice = publishing("twice", 90, PublishMode::Ingress);
    let ports = &mut twice.endpoint.as_mut().unwrap().ports;
    ports.push(ports[0].clone());
    assert_eq!(leader.refused(&create(twice)), format!("{prefix}EndpointSpec: duplicate published ports provided"));
    let mut dnsrr = publishing("dnsrr", 90, PublishMode::Ingress);
    dnsrr.endpoint.as_mut().unwrap().mode = EndpointMode::DnsRoundRobin;
    assert_eq!(
        leader.refused(&create(dnsrr)),
        format!("{prefix}EndpointSpec: port published with ingress mode can't be used with dnsrr mode")
    );
}

#[test]
fn publishing_needs_the_ingress_network() {
    assert_eq!(
        Leader::of(1, 0).refused(&create(publishing("web", 80, PublishMode::Ingress))),
        "rpc error: code = FailedPrecondition desc = service needs ingress network, but no ingress network is present"
    );
}

#[test]
fn an_update_keeps_the_previous_spec_and_a_rollback_returns_to_it() {
    let mut leader = Leader::of(1, 0);
    leader.create(&spec("web"));
    let update = leader.update_of("web", |spec| Arc::make_mut(&mut spec.task).container.image = "nginx:2".into());
    leader.ask(&update).unwrap();
    let updated = leader.service("web");
    assert_eq!(updated.previous_spec.as_deref(), Some(&spec("web")));
    assert_eq!((updated.spec_version, updated.previous_spec_version), (Version(2), Some(Version(1))));
    assert_eq!(updated.update_status, None);

    let rollback = ControlRequest::UpdateService {
        service: "web".into(),
        version: updated.meta.version,
        spec: Box::new(spec("ignored")),
        rollback: true,
    };
    leader.ask(&rollback).unwrap();
    let back = leader.service("web");
    assert_eq!(back.spec, spec("web"));
    assert_eq!(back.previous_spec.as_deref(), Some(&updated.spec));
    assert_eq!(back.spec_version, Version(3));
    let status = back.update_status.as_ref().unwrap();
    assert_eq!((status.state, status.message.as_str()), (UpdateState::RollbackStarted, "manually requested rollback"));
}

#[test]
fn an_update_without_a_change_keeps_the_spec_version() {
    let mut leader = Leader::of(1, 0);
    leader.create(&spec("web"));
    let update = leader.update_of("web", |_| {});
    leader.ask(&update).unwrap();
    assert_eq!(leader.service("web").spec_version, Version(1));
}

#[test]
fn updates_that_services_do_not_allow_are_refused() {
    let mut leader = Leader::of(1, 0);
    let id = leader.create(&spec("web"));
    let version = leader.service("web").meta.version;
    let rollback =
        ControlRequest::UpdateService { service: "web".into(), version, spec: Box::new(spec("web")), rollback: true };
    assert_eq!(
        leader.refused(&rollback),
        format!("rpc error: code = FailedPrecondition desc = service {id} does not have a previous spec")
    );
    let mode = leader.update_of("web", |spec| spec.mode = ServiceMode::Global);
    assert_eq!(leader.refused(&mode), "rpc error: code = Unimplemented desc = service mode change is not allowed");
    let rename = leader.update_of("web", |spec| spec.annotations.name = "web2".into());
    assert_eq!(leader.refused(&rename), "rpc error: code = Unimplemented desc = renaming services is not supported");
    let first = leader.update_of("web", |spec| spec.mode = ServiceMode::Replicated { replicas: 2 });
    let second = leader.update_of("web", |spec| spec.mode = ServiceMode::Replicated { replicas: 3 });
    leader.ask(&first).unwrap();
    let stale = leader.ask(&second).unwrap_err();
    assert_eq!(stale.kind, ControlErrorKind::OutOfSequence);
    assert_eq!(stale.message, "rpc error: code = Unknown desc = update out of sequence");
}

#[test]
fn a_job_is_run_again_by_each_update() {
    let mut leader = Leader::of(1, 0);
    let mode = ServiceMode::ReplicatedJob { max_concurrent: 1, total_completions: 1 };
    leader.create(&ServiceSpec { mode, ..spec("job") });
    let update = leader.update_of("job", |spec| Arc::make_mut(&mut spec.task).force_update += 1);
    leader.now = leader.now.plus(Duration::from_secs(60));
    leader.ask(&update).unwrap();
    let job = leader.service("job").job_status.unwrap();
    assert_eq!((job.iteration, job.last_execution), (Version(1), leader.now));
}

#[test]
fn networks_are_named_by_name_and_stored_by_id() {
    let mut leader = Leader::of(1, 0).with_ingress();
    let network = NetworkSpec { annotations: Annotations::named("back"), ..NetworkSpec::default() };
    leader.ask(&ControlRequest::CreateNetwork(Box::new(network))).unwrap();
    let attached = |target: &str| {
        let mut spec = spec("web");
        Arc::make_mut(&mut spec.task).networks =
            vec![NetworkAttachmentConfig { target: target.into(), ..NetworkAttachmentConfig::default() }];
        spec
    };
    assert_eq!(leader.refused(&create(attached("nonesuch"))), "network nonesuch not found");
    assert_eq!(
        leader.refused(&create(attached("ingress"))),
        "rpc error: code = InvalidArgument desc = Service cannot be explicitly attached to the ingress network \
         \"ingress\""
    );
    leader.create(&attached("back"));
    let id = leader.store.networks().by_name("back").unwrap().id;
    assert_eq!(leader.service("web").spec.task.networks[0].target, id.to_string());
    assert_eq!(
        leader.refused(&ControlRequest::RemoveNetwork("back".into())),
        format!(
            "rpc error: code = FailedPrecondition desc = network {id} is in use by service {}",
            leader.service("web").id
        )
    );
}

#[test]
fn a_service_is_found_by_id_name_and_unambiguous_prefix() {
    let mut leader = Leader::of(1, 0);
    let ids: Vec<ServiceId> = (0..40).map(|number| leader.create(&spec(&format!("s{number}")))).collect();
    let get = |text: &str| ControlRequest::GetService(text.to_owned());
    for text in [ids[7].to_string(), "s7".to_owned(), "S7".to_owned(), ids[7].to_string()[..24].to_owned()] {
        let Ok(ControlResponse::Object(Object::Service(found))) = leader.ask(&get(&text)) else { panic!("{text}") };
        assert_eq!(found.id, ids[7]);
    }
    let same = ids.iter().filter(|id| id.to_string().starts_with('a')).count();
    assert!(same > 1, "the seed gives several ids with an a");
    let error = leader.ask(&get("a")).unwrap_err();
    assert_eq!(error.message, format!("service a is ambiguous ({same} matches found)"));
    let error = leader.ask(&get("nonesuch")).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ControlErrorKind::NotFound, "service nonesuch not found"));
    assert!(leader.ask(&get("")).is_err());
}

#[test]
fn lists_are_narrowed_by_all_filters_together() {
    let mut leader = Leader::of(1, 0);
    for (name, tier) in [("web1", "front"), ("web2", "back"), ("db", "back")] {
        let mut spec = spec(name);
        spec.annotations.labels.insert("tier".into(), tier.into());
        if name == "db" {
            spec.mode = ServiceMode::Global;
        }
        leader.create(&spec);
    }
    let mut names = |filters: ServiceFilters| -> Vec<String> {
        let response = leader.ask(&ControlRequest::ListServices(filters)).unwrap();
        let ControlResponse::Objects(objects) = response else { panic!("a list") };
        let mut names: Vec<String> = objects
            .iter()
            .map(|object| match object {
                Object::Service(service) => service.spec.annotations.name.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        names.sort();
        names
    };
    let text = |text: &str| vec![text.to_owned()];
    assert_eq!(names(ServiceFilters::default()), ["db", "web1", "web2"]);
    assert_eq!(names(ServiceFilters { names: text("web"), ..Default::default() }), ["web1", "web2"]);
    assert_eq!(names(ServiceFilters { labels: text("tier=back"), ..Default::default() }), ["db", "web2"]);
    assert_eq!(names(ServiceFilters { labels: text("tier"), ..Default::default() }), ["db", "web1", "web2"]);
    assert_eq!(names(ServiceFilters { labels: text("tier=back"), names: text("web"), ..Default::default() }), ["web2"]);
    assert_eq!(names(ServiceFilters { modes: text("global"), ..Default::default() }), ["db"]);
}

#[test]
fn tasks_are_listed_by_service_node_and_desired_state() {
    use crate::store::StoreAction;
    let mut leader = Leader::of(1, 1);
    let service = leader.create(&spec("web"));
    let node = leader.store.nodes().iter().next().unwrap().id;
    for (bits, desired) in [(1, DesiredState::Running), (2, DesiredState::Shutdown)] {
        let stored = leader.service("web");
        leader.apply(vec![StoreAction::Create(Object::Task(Arc::new(Task {
            id: TaskId::from_bits(bits),
            meta: Meta::default(),
            service_id: Some(service),
            slot: 1,
            node_id: Some(node),
            spec: stored.spec.task.clone(),
            spec_version: Version(1),
            service_annotations: Arc::new(stored.spec.annotations.clone()),
            status: TaskStatus::default(),
            desired_state: desired,
            networks: Vec::new(),
            endpoint: None,
            assigned_resources: Vec::new(),
            job_iteration: None,
        })))]);
    }
    let mut count = |filters| match leader.ask(&ControlRequest::ListTasks(filters)) {
        Ok(ControlResponse::Objects(tasks)) => Ok(tasks.len()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.message),
    };
    let text = |text: &str| vec![text.to_owned()];
    assert_eq!(count(TaskFilters::default()), Ok(2));
    assert_eq!(count(TaskFilters { desired_states: text("running"), ..Default::default() }), Ok(1));
    assert_eq!(count(TaskFilters { services: text("web"), nodes: text("m1"), ..Default::default() }), Ok(2));
    assert_eq!(count(TaskFilters { names: text("web.1"), nodes: text("w1"), ..Default::default() }), Ok(0));
    assert_eq!(
        count(TaskFilters { services: text("nonesuch"), ..Default::default() }),
        Err("service nonesuch not found".to_owned())
    );
    assert_eq!(
        count(TaskFilters { desired_states: text("asleep"), ..Default::default() }),
        Err("invalid desired-state filter: 'asleep'".to_owned())
    );
}
