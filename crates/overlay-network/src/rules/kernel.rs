//! Puts tables into the kernel, over netlink.
//!
//! A table is made, removed and replaced as a whole by transactions. Its comment carries a digest of what it was made
//! of, so that a daemon that starts anew can tell whether there is anything to do.
//!
//! # Why a replacement takes three transactions
//!
//! One that deletes the table and makes it again is atomic for rules, but not for a packet: that visits the new
//! table's chain first, in which nothing holds yet, and then, if the transaction takes effect just in between, the
//! old one's, in which nothing holds any more. Measured: one of 50,000 connections to a virtual address was refused
//! while tables were replaced without a pause. So the new table is made under another name first, the one under its
//! own name is replaced then, and the other one goes: whenever something changes, there is a table that does not.

use std::path::Path;

use nix::sys::socket::{setsockopt, sockopt};
use nlink::Nftables;
use nlink::netlink::nftables::Family;

use super::table::Table;
use super::{
    FAULT_TABLE, FaultRule, NODE_TABLE, NodeRules, OVERLAY_TABLE, OverlayRules, fault_table, lower, node_settings,
    node_table, overlay_table,
};
use crate::apply::{NetError, NetNamespace, netlink};

type Connection = nlink::netlink::Connection<Nftables>;

/// What the comment of our tables begins with: who made it, and by which version of [`lower`].
const MARK: &str = "swarmlab 1";
/// Bytes of the socket's buffer, of which a transaction can be as long as twice. Where we are not the machine's root,
/// it is `net.core.wmem_max` at most, often 208 KiB: enough for 300 services of ten backends each.
const LARGEST_TRANSACTION: usize = 4 << 20;
/// What the name of the table that bridges a replacement ends with.
const PASSING: &str = "-next";
/// Tries when another transaction comes between our look at the tables and our own.
const TRIES: usize = 3;

impl NetNamespace {
    /// Makes the rules of an overlay's namespace these; whether they were others before. UDP conversations with
    /// backends that a service has no more are forgotten then, as they would go on for as long as someone speaks.
    pub async fn apply_overlay_rules(&self, rules: &OverlayRules) -> Result<bool, NetError> {
        let changed = self.replace(OVERLAY_TABLE, overlay_table(rules).as_ref()).await?;
        if changed {
            self.forget_past_backends(rules).await?;
        }
        Ok(changed)
    }

    /// Makes the rules of the node's namespace these, with the kernel settings that they need; whether the rules
    /// were others before. UDP conversations that new rules would send elsewhere are forgotten then.
    ///
    /// A setting of a bridge that does not exist is left out: call this after bridges are made.
    pub async fn apply_node_rules(&self, rules: &NodeRules) -> Result<bool, NetError> {
        self.set(&node_settings(rules))?;
        let changed = self.replace(NODE_TABLE, node_table(rules).as_ref()).await?;
        if changed {
            self.forget_past_ports(rules).await?;
        }
        Ok(changed)
    }

    /// Makes the faults these; none removes their table. Whether they were others before.
    pub async fn apply_faults(&self, faults: &[FaultRule]) -> Result<bool, NetError> {
        self.replace(FAULT_TABLE, fault_table(faults).as_ref()).await
    }

    fn set(&self, settings: &[(String, String)]) -> Result<(), NetError> {
        if settings.is_empty() {
            return Ok(());
        }
        self.within(|| {
            for (key, value) in settings {
                let path = Path::new("/proc/sys").join(key);
                let wrong = |error| crate::apply::io(format!("set {key} to {value}"))(error);
                match std::fs::read_to_string(&path) {
                    Ok(now) if now.trim() == value => {}
                    Ok(_) => std::fs::write(&path, value).map_err(wrong)?,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        tracing::debug!(%key, "no such setting");
                    }
                    Err(error) => return Err(wrong(error)),
                }
            }
            Ok(())
        })?
    }

    /// Makes the table of this name that one, or makes sure that there is none.
    async fn replace(&self, name: &str, table: Option<&Table>) -> Result<bool, NetError> {
        let what = || format!("change nftables table {name}");
        let comment = table.map(|table| format!("{MARK} {:032x}", digest(&table.to_string())));
        let connection = self.filter()?;
        // only the machine's root may have more than `net.core.wmem_max`; for others the kernel cuts it off
        if setsockopt(connection.socket(), sockopt::SndBufForce, &LARGEST_TRANSACTION).is_err() {
            let _ = setsockopt(connection.socket(), sockopt::SndBuf, &LARGEST_TRANSACTION);
        }
        let passing = format!("{name}{PASSING}");
        for last in (0..TRIES).map(|tried| tried + 1 == TRIES) {
            let tables = connection.list_tables_in(Family::Inet).await.map_err(netlink("list nftables tables"))?;
            let find = |name: &str| tables.iter().find(|table| table.name == name);
            let (there, left_over) = (find(name), find(&passing).is_some());
            let steps = match (there, table) {
                (there, _) if !left_over && there.map(|there| &there.comment) == table.map(|_| &comment) => {
                    return Ok(false);
                }
                (Some(_), Some(table)) => {
                    let over = Table { name: passing.clone(), ..table.clone() };
                    let mut first = Step::create(over);
                    first.delete.extend(left_over.then(|| passing.clone()));
                    let mut second = Step::create(table.clone());
                    second.delete.push(name.to_owned());
                    vec![first, second, Step { delete: vec![passing.clone()], create: None }]
                }
                (there, table) => {
                    let delete = there.iter().map(|_| name.to_owned()).chain(left_over.then(|| passing.clone()));
                    vec![Step { delete: delete.collect(), create: table.cloned() }]
                }
            };
            match run(connection, &steps, comment.as_deref().unwrap_or_default()).await {
                Ok(()) => return Ok(true),
                // someone made or removed a table in between: look again
                Err(error) if !last && (error.is_not_found() || error.is_already_exists()) => {}
                Err(error) => return Err(netlink(what())(error)),
            }
        }
        Ok(false)
    }
}

/// A transaction.
struct Step {
    delete: Vec<String>,
    create: Option<Table>,
}

impl Step {
    fn create(table: Table) -> Self {
        Self { delete: Vec::new(), create: Some(table) }
    }
}

async fn run(connection: &Connection, steps: &[Step], comment: &str) -> Result<(), nlink::Error> {
    for step in steps {
        let mut transaction = connection.transaction();
        for name in &step.delete {
            transaction = transaction.del_table(name, Family::Inet);
        }
        if let Some(table) = &step.create {
            transaction = lower::create(transaction, table, comment)?;
        }
        transaction.commit(connection).await?;
    }
    Ok(())
}

/// FNV-1a of 128 bits: stable from one build to the next, and not meant to resist anyone, as only we write the text.
fn digest(text: &str) -> u128 {
    const START: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(START, |digest, byte| (digest ^ u128::from(byte)).wrapping_mul(PRIME))
}
