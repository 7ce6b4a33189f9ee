//! Whether a check's command only reads. A check that changed something would make the state depend on being watched.

/// `docker` verbs that read, with the management command before them where there is one.
const READS: &[&str] = &[
    "config inspect",
    "config ls",
    "container diff",
    "container inspect",
    "container logs",
    "container ls",
    "container port",
    "container ps",
    "container stats",
    "container top",
    "context inspect",
    "context ls",
    "diff",
    "events",
    "history",
    "image history",
    "image inspect",
    "image ls",
    "images",
    "info",
    "inspect",
    "logs",
    "network inspect",
    "network ls",
    "node inspect",
    "node ls",
    "node ps",
    "port",
    "ps",
    "secret inspect",
    "secret ls",
    "service inspect",
    "service logs",
    "service ls",
    "service ps",
    "stack config",
    "stack ls",
    "stack ps",
    "stack services",
    "stats",
    "swarm ca",
    "system df",
    "system events",
    "system info",
    "top",
    "version",
    "volume inspect",
    "volume ls",
];

/// Says what in `command` would change something; `None` if nothing is known to.
pub(crate) fn objection(command: &str) -> Option<String> {
    for part in command.split(['|', ';', '&', '\n', '(', ')', '`']) {
        let words: Vec<&str> = part.split_whitespace().collect();
        let words: Vec<&str> =
            words.into_iter().skip_while(|w| ["sudo", "!", "if", "then", "while", "$"].contains(w)).collect();
        if words.first().is_some_and(|w| w.trim_start_matches('$') == "docker") {
            let verbs: Vec<&str> = words.iter().skip(1).filter(|w| !w.starts_with('-')).copied().take(2).collect();
            let pair = verbs.join(" ");
            let first = verbs.first().copied().unwrap_or_default();
            let execs_reading = first == "exec" || pair == "container exec";
            if !verbs.is_empty() && !execs_reading && !READS.contains(&pair.as_str()) && !READS.contains(&first) {
                return Some(format!("`docker {pair}`"));
            }
        }
        let writes = ["rm", "mv", "kill", "pkill", "tee", "touch", "mkdir", "reboot", "swarmlab"];
        if let Some(word) = words.first().filter(|w| writes.contains(w)) {
            return Some(format!("`{word}`"));
        }
    }
    let redirects = command.replace("2>&1", "").replace(">/dev/null", "").replace("> /dev/null", "");
    let mut quote = None;
    for c in redirects.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            ('>', None) => return Some("`>`".to_owned()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_commands_pass_and_changing_ones_are_named() {
        for good in [
            "docker node ls -q | wc -l",
            "docker service ps web --filter 'desired-state=running' 2>/dev/null",
            "docker --version",
            "docker inspect -f '{{.State.Pid}}' $(docker ps -q)",
            "cat /etc/hosts",
            "docker exec $(docker ps -q) cat /etc/hostname",
            "docker node inspect self --format '{{ if gt 1 0 }}a{{ end }}'",
        ] {
            assert_eq!(objection(good), None, "{good}");
        }
        for bad in [
            "docker service scale web=3",
            "docker node ls; docker service rm web",
            "echo $(docker swarm leave)",
            "echo a > /tmp/b",
            "rm -rf /tmp/x",
            "docker swarm join-token --rotate worker",
        ] {
            assert!(objection(bad).is_some(), "{bad}");
        }
    }
}
