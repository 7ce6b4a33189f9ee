//! The kernel's settings of one namespace, as far as plans write them.

use std::collections::{BTreeMap, BTreeSet};

/// Settings that each link has, with what a new namespace begins with.
const OF_LINKS: [(&str, &str, &str); 7] = [
    ("ipv4", "promote_secondaries", "0"),
    ("ipv4", "route_localnet", "0"),
    ("ipv4", "rp_filter", "0"),
    ("ipv4", "send_redirects", "1"),
    ("ipv6", "accept_dad", "1"),
    ("ipv6", "accept_ra", "1"),
    ("ipv6", "disable_ipv6", "0"),
];
/// The others.
const OF_ALL: [(&str, &str); 5] = [
    ("net/bridge/bridge-nf-call-ip6tables", "1"),
    ("net/bridge/bridge-nf-call-iptables", "1"),
    ("net/ipv4/ip_early_demux", "1"),
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv6/conf/all/forwarding", "0"),
];

#[derive(Debug, Clone)]
pub(super) struct Settings {
    values: BTreeMap<String, String>,
    /// Those of links that were written themselves: they follow the default no more.
    own: BTreeSet<String>,
}

fn key(family: &str, place: &str, name: &str) -> String {
    format!("net/{family}/conf/{place}/{name}")
}

impl Default for Settings {
    fn default() -> Self {
        let all = OF_ALL.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let of_links = OF_LINKS.iter().flat_map(|(family, name, value)| {
            ["all", "default"].map(|place| (key(family, place, name), (*value).to_owned()))
        });
        Self { values: all.chain(of_links).collect(), own: BTreeSet::new() }
    }
}

impl Settings {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    pub fn set(&mut self, wanted: &str, value: &str) -> Result<(), String> {
        let held = self.values.get_mut(wanted).ok_or_else(|| format!("there is no setting {wanted}"))?;
        value.clone_into(held);
        self.own.insert(wanted.to_owned());
        // IPv4's default goes on to the links that are there (`devinet_copy_dflt_conf`), IPv6's does not
        if let Some(name) = wanted.strip_prefix("net/ipv4/conf/default/") {
            let of_link = |key: &String| {
                let rest = key.strip_prefix("net/ipv4/conf/").and_then(|rest| rest.split_once('/'));
                rest.is_some_and(|(place, setting)| place != "all" && setting == name)
            };
            for (_, held) in self.values.iter_mut().filter(|(key, _)| of_link(key) && !self.own.contains(*key)) {
                value.clone_into(held);
            }
        }
        Ok(())
    }

    pub fn link_made(&mut self, link: &str) {
        for (family, name, value) in OF_LINKS {
            let default = self.get(&key(family, "default", name)).unwrap_or(value).to_owned();
            self.values.insert(key(family, link, name), default);
        }
    }

    pub fn link_gone(&mut self, link: &str) {
        for (family, name, _) in OF_LINKS {
            let gone = key(family, link, name);
            self.values.remove(&gone);
            self.own.remove(&gone);
        }
    }
}
