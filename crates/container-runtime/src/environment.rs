//! How a later list of environment variables overrides an earlier one.

/// Merges `over` into `base`: `NAME=value` replaces or adds, `NAME` alone removes.
pub(crate) fn merge(base: &mut Vec<String>, over: &[String]) {
    for entry in over {
        let name = entry.split('=').next().unwrap_or(entry);
        let at = base.iter().position(|e| e.split('=').next() == Some(name));
        match (entry.contains('='), at) {
            (true, Some(i)) => base[i].clone_from(entry),
            (true, None) => base.push(entry.clone()),
            (false, Some(i)) => drop(base.remove(i)),
            (false, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_later_value_replaces_and_a_bare_name_removes() {
        let mut base = vec!["A=1".to_owned(), "B=2".to_owned()];
        super::merge(&mut base, &["B=3".into(), "A".into(), "C=4".into(), "D".into()]);
        assert_eq!(base, ["B=3", "C=4"]);
    }
}
