//! Placement constraints: `node.role == manager` and the like, parsed and matched against nodes.
//!
//! Shared by the control API (which refuses what does not parse), the scheduler (which filters nodes) and the
//! orchestrators (which take tasks off nodes that no longer match). It knows nodes and nothing else. All comparisons
//! ignore ASCII case and want the whole value; a key that no node has compares as the empty text, so `==` fails and
//! `!=` holds. A key that is not known at all matches no node.

use std::net::IpAddr;

use swarm_types::{Node, NodeRole};

/// One parsed constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    key: Key,
    negated: bool,
    value: String,
}

/// What a constraint looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Id,
    Hostname,
    Ip,
    Role,
    Os,
    Architecture,
    NodeLabel(String),
    EngineLabel(String),
    Unknown,
}

/// An expression that is no constraint; the messages are swarmkit's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// Neither `==` nor `!=`.
    #[error("constraint expected one operator from ==, !=")]
    NoOperator,
    /// The left side.
    #[error("key '{0}' is invalid")]
    Key(String),
    /// The right side.
    #[error("value '{0}' is invalid")]
    Value(String),
}

impl Constraint {
    /// Parses one expression.
    pub fn parse(expression: &str) -> Result<Self, ConstraintError> {
        // As swarmkit: `==` is looked for first, wherever it stands.
        let (negated, parts) = match (expression.split_once("=="), expression.split_once("!=")) {
            (Some(parts), _) => (false, parts),
            (None, Some(parts)) => (true, parts),
            (None, None) => return Err(ConstraintError::NoOperator),
        };
        let (key, value) = (parts.0.trim(), parts.1.trim());
        if !is_key(key) {
            return Err(ConstraintError::Key(shortened(key)));
        }
        if !is_value(value) {
            return Err(ConstraintError::Value(shortened(value)));
        }
        Ok(Self { key: Key::parse(key), negated, value: value.to_owned() })
    }

    /// Whether a node satisfies the constraint.
    pub fn matches(&self, node: &Node) -> bool {
        let description = node.description.as_ref();
        match &self.key {
            Key::Id => self.compare(&node.id.to_string()),
            Key::Hostname => self.compare(description.map_or("", |d| &d.hostname)),
            Key::Os => self.compare(description.map_or("", |d| &d.os)),
            Key::Architecture => self.compare(description.map_or("", |d| &d.architecture)),
            Key::Role => self.compare(match node.role {
                NodeRole::Worker => "worker",
                NodeRole::Manager => "manager",
            }),
            Key::NodeLabel(label) => self.compare(node.spec.annotations.labels.get(label).map_or("", String::as_str)),
            Key::EngineLabel(label) => {
                self.compare(description.and_then(|d| d.engine_labels.get(label)).map_or("", String::as_str))
            }
            Key::Ip => self.matches_ip(&node.status.addr),
            Key::Unknown => false,
        }
    }

    fn compare(&self, actual: &str) -> bool {
        self.value.eq_ignore_ascii_case(actual) != self.negated
    }

    fn matches_ip(&self, addr: &str) -> bool {
        let actual: Option<IpAddr> = addr.parse().ok();
        if let Ok(wanted) = self.value.parse::<IpAddr>() {
            return (actual == Some(wanted)) != self.negated;
        }
        match Subnet::parse(&self.value) {
            Some(subnet) => actual.is_some_and(|ip| subnet.contains(ip)) != self.negated,
            None => false,
        }
    }
}

/// Parses a list of expressions; the first that is wrong is the error.
pub fn parse_all(expressions: &[String]) -> Result<Vec<Constraint>, ConstraintError> {
    expressions.iter().map(|expression| Constraint::parse(expression)).collect()
}

/// Whether a node satisfies all of them.
pub fn all_match(constraints: &[Constraint], node: &Node) -> bool {
    constraints.iter().all(|constraint| constraint.matches(node))
}

impl Key {
    fn parse(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        // Label names keep their case: only the prefix ignores it.
        let label = |prefix: &str| lower.starts_with(prefix).then(|| text[prefix.len()..].to_owned());
        match lower.as_str() {
            "node.id" => Self::Id,
            "node.hostname" => Self::Hostname,
            "node.ip" => Self::Ip,
            "node.role" => Self::Role,
            "node.platform.os" => Self::Os,
            "node.platform.arch" => Self::Architecture,
            _ => match (label("node.labels."), label("engine.labels.")) {
                (Some(name), _) if !name.is_empty() => Self::NodeLabel(name),
                (_, Some(name)) if !name.is_empty() => Self::EngineLabel(name),
                _ => Self::Unknown,
            },
        }
    }
}

fn is_key(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.len() > 1
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn is_value(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b.is_ascii_whitespace() || br":-_.*()?+[]\^$|/".contains(&b))
}

fn shortened(text: &str) -> String {
    text.chars().take(256).collect()
}

struct Subnet {
    address: IpAddr,
    prefix: u32,
}

impl Subnet {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (IpAddr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
        (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, prefix })
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use swarm_types::*;

    fn node() -> Node {
        Node {
            id: NodeId::from_bits(7),
            meta: Meta::default(),
            spec: NodeSpec {
                annotations: Annotations {
                    name: String::new(),
                    labels: [("Zone".to_owned(), "east".to_owned())].into_iter().collect(),
                },
                ..NodeSpec::default()
            },
            role: NodeRole::Manager,
            description: Some(NodeDescription {
                hostname: "Manager1".into(),
                os: "linux".into(),
                architecture: "x86_64".into(),
                engine_labels: [("disk".to_owned(), "ssd".to_owned())].into_iter().collect(),
                ..NodeDescription::default()
            }),
            status: NodeStatus { addr: "10.77.0.11".into(), ..NodeStatus::default() },
            manager_status: None,
            certificate: NodeCertificate::default(),
            attachments: Default::default(),
        }
    }

    #[test]
    fn constraints_match_as_swarmkits_do() {
        let node = node();
        for (text, expected) in [
            ("node.role==manager", true),
            ("node.role == worker", false),
            ("NODE.ROLE!=Worker", true),
            ("node.hostname==manager1", true),
            ("node.id==0000000000000000000000007", true),
            ("node.platform.os!=windows", true),
            ("node.platform.arch==x86_64", true),
            ("node.labels.Zone==EAST", true),
            ("node.labels.zone==east", false),
            ("node.labels.zone!=east", true),
            ("engine.labels.disk==ssd", true),
            ("node.ip==10.77.0.11", true),
            ("node.ip==10.77.0.0/24", true),
            ("node.ip!=10.77.0.0/24", false),
            ("node.ip==0.0.0.0/0", true),
            ("node.ip==10.78.0.0/16", false),
            ("node.ip==fd00::/8", false),
            ("node.ip!=nonsense", false),
            ("node.unheardof!=x", false),
        ] {
            assert_eq!(Constraint::parse(text).unwrap().matches(&node), expected, "{text}");
        }
    }

    #[test]
    fn a_node_without_description_has_empty_values() {
        let node = Node { description: None, ..node() };
        assert!(!Constraint::parse("node.hostname==manager1").unwrap().matches(&node));
        assert!(Constraint::parse("engine.labels.disk!=ssd").unwrap().matches(&node));
    }

    #[test]
    fn malformed_expressions_are_named() {
        for (text, message) in [
            ("node.role", "constraint expected one operator from ==, !="),
            ("=manager", "constraint expected one operator from ==, !="),
            ("node role==manager", "key 'node role' is invalid"),
            ("==manager", "key '' is invalid"),
            ("node.role==", "value '' is invalid"),
            ("node.role==a>b", "value 'a>b' is invalid"),
        ] {
            assert_eq!(Constraint::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }
}
