//! `nslookup [-type=a|aaaa|ptr] NAME [SERVER]`, with BusyBox's lines: the server, then what it answers. Without a type
//! both families are asked for, or for an address its name. Unlike there, a family without answers is not shown as an
//! empty section, and the same failure is told once. Leaves out the interactive mode and other types.

use std::net::IpAddr;
use std::process::ExitCode;

use super::resolve::{Data, Kind, Reply, Resolver, arpa, is_name};

const USAGE: &str = "usage: nslookup [-type=a|aaaa|ptr] NAME [SERVER]";

pub(super) fn main(args: Vec<String>) -> ExitCode {
    let (mut kinds, mut operands) = (None, Vec::new());
    for arg in args {
        let kind = ["-type=", "-q=", "-querytype="].iter().find_map(|prefix| arg.strip_prefix(prefix));
        match kind.map(str::to_ascii_lowercase).as_deref() {
            Some("a") => kinds = Some(vec![Kind::A]),
            Some("aaaa") => kinds = Some(vec![Kind::Aaaa]),
            Some("ptr") => kinds = Some(vec![Kind::Ptr]),
            Some(other) => return usage(&format!("no type '{other}' here")),
            None if arg.starts_with('-') => return usage(&format!("unknown option {arg}")),
            None => operands.push(arg),
        }
    }
    let [name, server @ ..] = operands.as_slice() else { return usage("a name is missing") };
    let mut resolver = Resolver::new();
    match server {
        [] => {}
        [server] => {
            let Some(address) = resolver.addresses(server, None).first().copied() else {
                eprintln!("nslookup: bad address '{server}'");
                return ExitCode::FAILURE;
            };
            resolver.servers = vec![address];
        }
        _ => return usage("too many arguments"),
    }
    let (mut names, kinds) = wanted(&resolver, name, kinds);
    names.retain(|name| is_name(name));
    if names.is_empty() {
        return usage(&format!("'{name}' is no name"));
    }
    let (text, found) = look_up(&resolver.servers, &(names, kinds), |name, kind| resolver.ask(name, kind));
    print!("{text}");
    if found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage(what: &str) -> ExitCode {
    eprintln!("nslookup: {what}\n{USAGE}");
    ExitCode::FAILURE
}

/// The names to ask for, one after the other until one has answers, and for which types.
fn wanted(resolver: &Resolver, name: &str, kinds: Option<Vec<Kind>>) -> (Vec<String>, Vec<Kind>) {
    match name.parse::<IpAddr>() {
        Ok(address) => (vec![arpa(address)], kinds.unwrap_or_else(|| vec![Kind::Ptr])),
        Err(_) => (resolver.candidates(name), kinds.unwrap_or_else(|| vec![Kind::A, Kind::Aaaa])),
    }
}

/// Asks and tells. The flag: whether there is any answer.
fn look_up(
    servers: &[IpAddr],
    (names, kinds): &(Vec<String>, Vec<Kind>),
    ask: impl Fn(&str, Kind) -> Option<(IpAddr, Reply)>,
) -> (String, bool) {
    let mut failures: Vec<String> = Vec::new();
    let mut answered = None;
    for name in names {
        let mut sections = String::new();
        for kind in kinds {
            // when nobody answers, nobody will for the other type
            let Some((server, reply)) = ask(name, *kind) else { break };
            answered.get_or_insert(server);
            sections.push_str(&section(&reply));
            if reply.records.is_empty() {
                let failure = match reply.code {
                    0 => format!("*** Can't find {name}: No answer\n"),
                    code => format!("** server can't find {name}: {}\n", code_name(code)),
                };
                if !failures.contains(&failure) {
                    failures.push(failure);
                }
            }
        }
        if let (false, Some(server)) = (sections.is_empty(), answered) {
            return (head(server) + &sections, true);
        }
    }
    match (answered, servers.first()) {
        (Some(server), _) => (head(server) + &failures.concat() + "\n", false),
        (None, Some(server)) => (head(*server) + ";; connection timed out; no servers could be reached\n\n", false),
        (None, None) => (";; there is no server to ask\n\n".to_owned(), false),
    }
}

fn head(server: IpAddr) -> String {
    let address = std::net::SocketAddr::new(server, 53);
    format!("Server:\t\t{server}\nAddress:\t{address}\n\n")
}

fn section(reply: &Reply) -> String {
    if reply.records.is_empty() {
        return String::new();
    }
    let mut text = String::from(if reply.authoritative { "" } else { "Non-authoritative answer:\n" });
    for (name, data) in &reply.records {
        text.push_str(&match data {
            Data::Address(address) => format!("Name:\t{name}\nAddress: {address}\n"),
            Data::Alias(target) => format!("{name}\tcanonical name = {target}\n"),
            Data::Name(target) => format!("{name}\tname = {target}\n"),
        });
    }
    text + "\n"
}

fn code_name(code: u8) -> String {
    match code {
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        3 => "NXDOMAIN".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        other => format!("error {other}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reply(code: u8, records: &[(&str, Data)]) -> Reply {
        let records = records.iter().map(|(name, data)| ((*name).to_owned(), data.clone())).collect();
        Reply::of(code, records)
    }

    fn address(text: &str) -> Data {
        Data::Address(text.parse().unwrap())
    }

    const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 11));

    fn run(names: &[&str], kinds: &[Kind], ask: impl Fn(&str, Kind) -> Option<Reply>) -> (String, bool) {
        let wanted = (names.iter().map(|name| (*name).to_owned()).collect(), kinds.to_vec());
        look_up(&[SERVER], &wanted, |name, kind| ask(name, kind).map(|reply| (SERVER, reply)))
    }

    const HEAD: &str = "Server:\t\t127.0.0.11\nAddress:\t127.0.0.11:53\n\n";

    #[test]
    fn a_service_shows_its_address_and_tasks_all_of_theirs() {
        let ask = |_: &str, kind| match kind {
            Kind::A => Some(reply(0, &[("web", address("10.0.1.3")), ("web", address("10.0.1.2"))])),
            _ => Some(reply(0, &[])),
        };
        let expected = "Non-authoritative answer:\nName:\tweb\nAddress: 10.0.1.3\nName:\tweb\nAddress: 10.0.1.2\n\n";
        assert_eq!(run(&["web"], &[Kind::A, Kind::Aaaa], ask), (format!("{HEAD}{expected}"), true));
    }

    #[test]
    fn an_unknown_name_is_told_once() {
        let (text, found) = run(&["web"], &[Kind::A, Kind::Aaaa], |_, _| Some(reply(3, &[])));
        assert_eq!((text, found), (format!("{HEAD}** server can't find web: NXDOMAIN\n\n"), false));
        let (text, _) = run(&["web"], &[Kind::A], |_, _| Some(reply(0, &[])));
        assert_eq!(text, format!("{HEAD}*** Can't find web: No answer\n\n"));
    }

    #[test]
    fn the_search_list_is_tried_until_something_answers() {
        let ask = |name: &str, _| match name {
            "web.lab" => Some(reply(0, &[("web.lab", Data::Alias("x".into())), ("x", address("10.0.0.1"))])),
            _ => Some(reply(3, &[])),
        };
        let (text, found) = run(&["web.a", "web.lab"], &[Kind::A], ask);
        assert!(found && text.contains("web.lab\tcanonical name = x\nName:\tx\nAddress: 10.0.0.1\n\n"), "{text}");
        assert!(!text.contains("find"), "{text}");
    }

    #[test]
    fn a_silent_server_is_told() {
        let (text, found) = run(&["web"], &[Kind::A], |_, _| None);
        assert_eq!((text, found), (format!("{HEAD};; connection timed out; no servers could be reached\n\n"), false));
    }

    #[test]
    fn an_address_is_asked_for_its_name() {
        let resolver = Resolver::default();
        let (names, kinds) = wanted(&resolver, "10.0.1.3", None);
        assert_eq!((names, kinds), (vec!["3.1.0.10.in-addr.arpa".to_owned()], vec![Kind::Ptr]));
        let ask = |name: &str, _| Some(reply(0, &[(name, Data::Name("web.1.x.net".into()))]));
        let (text, _) = run(&["3.1.0.10.in-addr.arpa"], &[Kind::Ptr], ask);
        assert!(text.ends_with("answer:\n3.1.0.10.in-addr.arpa\tname = web.1.x.net\n\n"), "{text}");
    }
}
