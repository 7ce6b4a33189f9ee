//! Containers: the list of `ps`.

use super::list::Kind;
use super::units::{human_duration, human_size};
use super::{LABEL_METHOD, display_image, ellipsis, go_time, host_and_port, labels, row, short_id};
use crate::spec::json::{array, at, int, strings, text};
use docker_api::time::UnixTime;
use serde_json::{Value, json};

/// `docker ps`
pub const LIST: Kind = Kind {
    headers: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
    ],
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    type_name: "*formatter.ContainerContext",
    raw: Some((
        "container_id: {{.ID}}",
        "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n",
    )),
};

/// The same with `--size`.
pub const LIST_WITH_SIZE: Kind = Kind {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    raw: Some((
        "container_id: {{.ID}}",
        "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\nsize: {{.Size}}\n",
    )),
    ..LIST
};

/// A container as a row.
pub fn list_row(container: &Value, now: UnixTime, trunc: bool) -> Value {
    let id = text(container, "Id");
    let created = UnixTime::new(int(container, "Created"), 0);
    let mut names: Vec<String> =
        strings(container, "Names").iter().map(|name| name.strip_prefix('/').unwrap_or(name).to_owned()).collect();
    // A name with a slash is a link of another container.
    if trunc && let Some(own) = names.iter().find(|name| !name.contains('/')).cloned() {
        names = vec![own];
    }
    let mut command = text(container, "Command").to_owned();
    if trunc {
        command = ellipsis(&command, 20);
    }
    let mounts: Vec<String> = array(container, "Mounts")
        .iter()
        .map(|mount| match text(mount, "Name") {
            "" => text(mount, "Source"),
            name => name,
        })
        .map(|name| if trunc { ellipsis(name, 15) } else { name.to_owned() })
        .collect();
    let local = array(container, "Mounts").iter().filter(|mount| text(mount, "Driver") == "local").count();
    let networks: Vec<&str> = at(container, "NetworkSettings.Networks")
        .and_then(Value::as_object)
        .map_or(Vec::new(), |map| map.keys().map(String::as_str).collect());
    let size = |key: &str| human_size(int(container, key) as f64, 3);
    let size = match int(container, "SizeRootFs") {
        total if total > 0 => format!("{} (virtual {})", size("SizeRw"), size("SizeRootFs")),
        _ => size("SizeRw"),
    };
    row([
        ("ID", json!(if trunc { short_id(id) } else { id.to_owned() })),
        ("Names", json!(names.join(","))),
        ("Image", json!(image(container, trunc))),
        ("Command", json!(format!("{command:?}"))),
        ("CreatedAt", json!(go_time(created))),
        ("RunningFor", json!(format!("{} ago", human_duration(now.as_nanos() - created.as_nanos())))),
        ("Ports", json!(ports(array(container, "Ports")))),
        ("State", json!(text(container, "State"))),
        ("Status", json!(text(container, "Status"))),
        ("Size", json!(size)),
        ("Labels", json!(labels(at(container, "Labels"), true))),
        (LABEL_METHOD, at(container, "Labels").cloned().unwrap_or_default()),
        ("Mounts", json!(mounts.join(","))),
        ("LocalVolumes", json!(local.to_string())),
        ("Networks", json!(networks.join(","))),
        ("Platform", Value::Null),
    ])
}

fn image(container: &Value, trunc: bool) -> String {
    let image = text(container, "Image");
    if image.is_empty() {
        return "<no image>".into();
    }
    if trunc {
        let short = short_id(text(container, "ImageID"));
        if !short.is_empty() && short == short_id(image) {
            return short;
        }
        return match image.parse::<docker_api::ImageReference>() {
            Ok(reference) if reference.tag.is_none() => reference.familiar_name(),
            _ => display_image(image),
        };
    }
    image.to_owned()
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`; neighbours with the same port on both sides are joined.
pub fn ports(ports: &[Value]) -> String {
    struct Group {
        key: String,
        ip: String,
        protocol: String,
        first: i64,
        last: i64,
    }
    let mut sorted: Vec<&Value> = ports.iter().collect();
    sorted.sort_by_key(|p| (int(p, "PrivatePort"), text(p, "IP"), int(p, "PublicPort"), text(p, "Type")));
    let show = |group: &Group| {
        let span = match group.first == group.last {
            true => group.first.to_string(),
            false => format!("{}-{}", group.first, group.last),
        };
        match group.ip.is_empty() {
            true => format!("{span}/{}", group.protocol),
            false => format!("{}->{span}/{}", host_and_port(&group.ip, &span), group.protocol),
        }
    };
    let (mut done, mut mapped, mut groups) = (Vec::new(), Vec::new(), Vec::<Group>::new());
    for port in sorted {
        let (ip, private, public, protocol) =
            (text(port, "IP"), int(port, "PrivatePort"), int(port, "PublicPort"), text(port, "Type"));
        if !ip.is_empty() && public != private {
            mapped.push(format!("{}->{private}/{protocol}", host_and_port(ip, &public.to_string())));
            continue;
        }
        let key = format!("{ip}/{protocol}");
        match groups.iter_mut().find(|group| group.key == key) {
            Some(group) if private == group.last + 1 => group.last = private,
            Some(group) => {
                done.push(show(group));
                (group.first, group.last) = (private, private);
            }
            None => groups.push(Group { key, ip: ip.into(), protocol: protocol.into(), first: private, last: private }),
        }
    }
    done.extend(groups.iter().map(show));
    done.extend(mapped);
    done.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_join_where_both_sides_agree() {
        let ports = [
            json!({"PrivatePort": 80, "PublicPort": 8080, "IP": "0.0.0.0", "Type": "tcp"}),
            json!({"PrivatePort": 443, "Type": "tcp"}),
            json!({"PrivatePort": 444, "Type": "tcp"}),
            json!({"PrivatePort": 53, "PublicPort": 53, "IP": "::", "Type": "udp"}),
        ];
        assert_eq!(super::ports(&ports), "[::]:53->53/udp, 443-444/tcp, 0.0.0.0:8080->80/tcp");
    }

    #[test]
    fn a_row_shortens_what_is_long() {
        let container = json!({
            "Id": "0123456789abcdef", "Names": ["/other/link", "/web"], "Image": "docker.io/library/nginx:1",
            "Command": "sleep 1000000000000000000", "Created": 0, "State": "running", "Status": "Up 3 seconds",
        });
        let row = list_row(&container, UnixTime::new(120, 0), true);
        assert_eq!(row["ID"], "0123456789ab");
        assert_eq!(row["Names"], "web");
        assert_eq!(row["Image"], "nginx:1");
        assert_eq!(row["Command"], "\"sleep 1000000000000…\"");
        assert_eq!(row["RunningFor"], "2 minutes ago");
    }
}
