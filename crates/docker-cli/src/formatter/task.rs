//! Tasks: the list of `service ps` and `node ps`, with its history indented.

use super::list::Kind;
use super::units::human_duration;
use super::{age, capitalize, display_image, ellipsis, natural_order, row, short_id};
use crate::spec::json::{array, at, int, text};
use docker_api::time::UnixTime;
use serde_json::{Value, json};

/// `docker service ps`, `docker node ps`
pub const LIST: Kind = Kind {
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Image", "IMAGE"),
        ("Node", "NODE"),
        ("DesiredState", "DESIRED STATE"),
        ("CurrentState", "CURRENT STATE"),
        ("Error", "ERROR"),
        ("Ports", "PORTS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
    type_name: "*task.taskContext",
    raw: Some((
        "id: {{.ID}}",
        "id: {{.ID}}\nname: {{.Name}}\nimage: {{.Image}}\nnode: {{.Node}}\ndesired_state: {{.DesiredState}}\ncurrent_state: {{.CurrentState}}\nerror: {{.Error}}\nports: {{.Ports}}\n",
    )),
};

/// A task with the names behind its ids.
#[derive(Debug, Clone)]
pub struct Named {
    /// The task.
    pub task: Value,
    /// Name of the service, or its id when it is gone.
    pub service: String,
    /// Name of the node, or its id.
    pub node: String,
}

/// Rows in Docker's order: by name, the newest of a slot first, older ones marked when `indent`.
pub fn list_rows(mut tasks: Vec<Named>, now: UnixTime, trunc: bool, indent: bool) -> Vec<Value> {
    tasks.sort_by(|a, b| {
        natural_order(&name(a), &name(b))
            .then_with(|| age(text(&a.task, "CreatedAt"), now).cmp(&age(text(&b.task, "CreatedAt"), now)))
    });
    let mut previous = String::new();
    let mut rows = Vec::with_capacity(tasks.len());
    for task in &tasks {
        let name = name(task);
        let shown = match indent && name == previous {
            true => format!(" \\_ {name}"),
            false => name.clone(),
        };
        previous = name;
        rows.push(list_row(task, shown, now, trunc));
    }
    rows
}

/// `web.1`, or for tasks of global services `web.NODEID`.
pub fn name(task: &Named) -> String {
    match int(&task.task, "Slot") {
        0 => format!("{}.{}", task.service, text(&task.task, "NodeID")),
        slot => format!("{}.{slot}", task.service),
    }
}

fn list_row(named: &Named, name: String, now: UnixTime, trunc: bool) -> Value {
    let task = &named.task;
    let id = text(task, "ID");
    let image = text(task, "Spec.ContainerSpec.Image");
    let mut error = text(task, "Status.Err").to_owned();
    if trunc {
        error = ellipsis(&error, 30);
    }
    if !error.is_empty() {
        error = format!("\"{error}\"");
    }
    let ports: Vec<String> = at(task, "Status.PortStatus")
        .map_or(&[][..], |status| array(status, "Ports"))
        .iter()
        .map(|port| format!("*:{}->{}/{}", int(port, "PublishedPort"), int(port, "TargetPort"), text(port, "Protocol")))
        .collect();
    let since = human_duration(age(text(task, "Status.Timestamp"), now)).to_lowercase();
    row([
        ("ID", json!(if trunc { short_id(id) } else { id.to_owned() })),
        ("Name", json!(name)),
        ("Image", json!(if trunc { display_image(image) } else { image.to_owned() })),
        ("Node", json!(named.node)),
        ("DesiredState", json!(capitalize(text(task, "DesiredState")))),
        ("CurrentState", json!(format!("{} {since} ago", capitalize(text(task, "Status.State"))))),
        ("Error", json!(error)),
        ("Ports", json!(ports.join(","))),
    ])
}
