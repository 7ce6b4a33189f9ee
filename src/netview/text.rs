//! A namespace as a page of plain, aligned text.

use std::fmt::Write as _;

use overlay_network::look::{Link, Table, View};

use super::place::Place;

/// The whole page. Parts that hold nothing are left out.
pub fn page(place: &Place, view: &View) -> String {
    let mut page = match &place.file {
        Some(file) => format!("{} ({})\n", place.title, file.display()),
        None => format!("{}\n", place.title),
    };
    section(&mut page, "interfaces", links(&view.links));
    let routes = view.routes.iter().map(|route| {
        let via = route.via.map(|via| format!("via {via}")).unwrap_or_default();
        vec![route.destination.clone(), route.dev.clone(), via]
    });
    section(&mut page, "routes", aligned(routes));
    let neighbors = view.neighbors.iter().map(|entry| {
        let mac = entry.mac.clone().unwrap_or_else(|| "-".to_owned());
        vec![entry.ip.to_string(), mac, entry.dev.clone(), entry.state.to_owned()]
    });
    section(&mut page, "neighbours (address -> MAC)", aligned(neighbors));
    let forwarding = view.forwarding.iter().map(|entry| {
        let to = match (&entry.remote, &entry.bridge) {
            (Some(remote), _) => format!("to node {remote}"),
            (None, Some(bridge)) => format!("port of {bridge}"),
            (None, None) => String::new(),
        };
        vec![entry.mac.clone(), entry.dev.clone(), to, entry.state.to_owned()]
    });
    section(&mut page, "forwarding (MAC -> port, node)", aligned(forwarding));
    let namespaces = place
        .namespaces
        .iter()
        .map(|(file, of)| vec![file.clone(), of.as_ref().map(|name| format!("network {name}")).unwrap_or_default()]);
    section(&mut page, "namespaces in /var/run/docker/netns", aligned(namespaces));
    for found in &view.tables {
        page.push('\n');
        table(&mut page, found);
    }
    page
}

fn section(page: &mut String, title: &str, lines: Vec<String>) {
    if !lines.is_empty() {
        let _ = write!(page, "\n{title}\n");
        for line in lines {
            let _ = writeln!(page, "  {line}");
        }
    }
}

/// Columns as wide as their widest cell, two blanks apart, none behind the last.
fn aligned(rows: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows.collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).filter(|(_, width)| **width > 0);
        let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A bridge is followed by its ports.
fn links(links: &[Link]) -> Vec<String> {
    let mut rows = Vec::new();
    for link in links.iter().filter(|link| !is_port(link, links)) {
        rows.push(row(link, ""));
        for port in links.iter().filter(|port| port.master.as_deref() == Some(&link.name)) {
            rows.push(row(port, "  "));
        }
    }
    aligned(rows.into_iter())
}

fn is_port(link: &Link, links: &[Link]) -> bool {
    link.master.as_ref().is_some_and(|master| links.iter().any(|other| other.name == *master))
}

fn row(link: &Link, indent: &str) -> Vec<String> {
    let state = match (link.up, link.carrier) {
        (false, _) => "down",
        // a bridge without a port that is up, or a cable without an other end
        (true, false) => "no carrier",
        (true, true) => "up",
    };
    // every link has one of fe80::/10 by itself, which tells nothing
    let mut more: Vec<String> = link.addresses.iter().filter(|text| !text.starts_with("fe80:")).cloned().collect();
    if let Some(vxlan) = &link.vxlan {
        more.push(format!("vni {} port {}", vxlan.vni, vxlan.port));
        more.extend(vxlan.local.map(|local| format!("local {local}")));
        more.extend(vxlan.proxy.then(|| "proxy".to_owned()));
        more.extend(vxlan.learning.then(|| "learning".to_owned()));
    }
    vec![
        format!("{indent}{}", link.name),
        link.kind.clone(),
        state.to_owned(),
        format!("mtu {}", link.mtu),
        link.mac.clone().unwrap_or_default(),
        more.join(" "),
    ]
}

/// As `nft list table` shows it.
fn table(page: &mut String, table: &Table) {
    let _ = writeln!(page, "table {} {} {{", table.family, table.name);
    let mut blocks = Vec::new();
    for set in &table.sets {
        let mut block =
            format!("    {} {} {{\n        type {}\n", if set.map { "map" } else { "set" }, set.name, set.holds);
        for (at, element) in set.elements.iter().enumerate() {
            let head = if at == 0 { "elements = {" } else { "            " };
            let tail = if at + 1 == set.elements.len() { " }" } else { "," };
            let _ = writeln!(block, "        {head} {element}{tail}");
        }
        blocks.push(format!("{block}    }}\n"));
    }
    for chain in &table.chains {
        let mut block = format!("    chain {} {{\n", chain.name);
        for line in chain.base.iter().chain(&chain.rules) {
            let _ = writeln!(block, "        {line}");
        }
        blocks.push(format!("{block}    }}\n"));
    }
    page.push_str(&blocks.join("\n"));
    page.push_str("}\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use overlay_network::look::{Chain, Forwarding, NeighborEntry, Route, Set, Vxlan};

    fn link(index: u32, name: &str, kind: &str, master: Option<&str>, addresses: &[&str]) -> Link {
        Link {
            index,
            name: name.into(),
            kind: kind.into(),
            up: true,
            carrier: name != "veth9",
            mac: (kind != "loopback").then(|| format!("02:42:00:00:00:{index:02x}")),
            mtu: 1450,
            master: master.map(str::to_owned),
            peer: None,
            addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
            vxlan: None,
        }
    }

    #[test]
    fn an_overlay_s_namespace_reads_like_this() {
        let mut vxlan = link(3, "vxlan0", "vxlan", Some("br0"), &[]);
        let local = "10.77.0.11".parse().ok();
        vxlan.vxlan = Some(Vxlan { vni: 4097, port: 4789, local, learning: false, proxy: true });
        let mac = || Some("02:42:0a:00:01:04".to_owned());
        let view = View {
            links: vec![
                link(1, "lo", "loopback", None, &["127.0.0.1/8"]),
                link(2, "br0", "bridge", None, &["10.0.1.1/24", "10.0.1.5/32", "fe80::1/64"]),
                vxlan,
                link(9, "veth9", "veth", Some("br0"), &[]),
            ],
            routes: vec![Route { destination: "10.0.1.0/24".into(), via: None, dev: "br0".into() }],
            neighbors: vec![NeighborEntry {
                dev: "vxlan0".into(),
                ip: "10.0.1.4".parse().unwrap(),
                mac: mac(),
                state: "permanent",
            }],
            forwarding: vec![Forwarding {
                dev: "vxlan0".into(),
                bridge: None,
                mac: mac().unwrap(),
                remote: "10.77.0.12".parse().ok(),
                state: "static",
            }],
            tables: vec![Table {
                family: "inet".into(),
                name: "swarmlab".into(),
                sets: vec![Set {
                    name: "services".into(),
                    map: true,
                    holds: "ipv4_addr : verdict".into(),
                    elements: vec!["10.0.1.5 : goto service-web".into(), "10.0.1.7 : goto service-db".into()],
                }],
                chains: vec![Chain {
                    name: "prerouting".into(),
                    base: Some("type nat hook prerouting priority dstnat; policy accept;".into()),
                    rules: vec!["ip daddr vmap @services".into()],
                }],
            }],
        };
        let place = Place {
            title: "overlay network web".into(),
            file: Some("/var/run/docker/netns/1-x2mdqjzxy6".into()),
            bridge: None,
            namespaces: Vec::new(),
        };
        let wanted = "\
overlay network web (/var/run/docker/netns/1-x2mdqjzxy6)

interfaces
  lo        loopback  up          mtu 1450                     127.0.0.1/8
  br0       bridge    up          mtu 1450  02:42:00:00:00:02  10.0.1.1/24 10.0.1.5/32
    vxlan0  vxlan     up          mtu 1450  02:42:00:00:00:03  vni 4097 port 4789 local 10.77.0.11 proxy
    veth9   veth      no carrier  mtu 1450  02:42:00:00:00:09

routes
  10.0.1.0/24  br0

neighbours (address -> MAC)
  10.0.1.4  02:42:0a:00:01:04  vxlan0  permanent

forwarding (MAC -> port, node)
  02:42:0a:00:01:04  vxlan0  to node 10.77.0.12  static

table inet swarmlab {
    map services {
        type ipv4_addr : verdict
        elements = { 10.0.1.5 : goto service-web,
                     10.0.1.7 : goto service-db }
    }

    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr vmap @services
    }
}
";
        assert_eq!(page(&place, &view), wanted);
    }
}
