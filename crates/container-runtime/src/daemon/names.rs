//! Names for containers that were given none: an adjective and a place.

use std::collections::BTreeSet;

use super::record::random_id;
use crate::error::Result;

const FIRST: [&str; 24] = [
    "amber", "brave", "calm", "deft", "eager", "fair", "gentle", "hardy", "idle", "jolly", "keen", "lively", "merry",
    "nimble", "open", "proud", "quiet", "rapid", "sunny", "tidy", "upbeat", "vivid", "warm", "zesty",
];
const SECOND: [&str; 24] = [
    "anchor", "bay", "canal", "dock", "estuary", "ferry", "gulf", "harbour", "island", "jetty", "keel", "lagoon",
    "marina", "narrows", "ocean", "pier", "quay", "reef", "strait", "tide", "upwell", "voyage", "wharf", "yard",
];

/// A name that is not taken.
pub(super) fn choose(taken: &BTreeSet<String>) -> Result<String> {
    let mut tries = 0;
    loop {
        let id = random_id()?;
        let byte = |i: usize| usize::from_str_radix(&id[i..i + 2], 16).unwrap_or(0);
        let mut name = format!("{}_{}", FIRST[byte(0) % FIRST.len()], SECOND[byte(2) % SECOND.len()]);
        if tries > 3 {
            name.push_str(&id[4..8]);
        }
        if !taken.contains(&name) {
            return Ok(name);
        }
        tries += 1;
    }
}
