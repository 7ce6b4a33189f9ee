#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use proptest::prelude::*;

use super::*;

fn entry(names: &[&str], addresses: &[&str], reverse: Option<&str>) -> NameEntry {
    NameEntry {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        reverse: reverse.map(str::to_owned),
    }
}

/// Two networks, `back` before `front`, and one that the container is not on.
fn names() -> Names {
    let mut names = Names::default();
    names.set_network(
        "net1",
        vec![
            entry(&["web"], &["10.0.1.2"], None),
            entry(&["tasks.web", "web.1.abc"], &["10.0.1.3", "fd00:1::3"], Some("web.1.abc.back")),
            entry(&["tasks.web", "web.2.def"], &["10.0.1.4", "fd00:1::4"], Some("web.2.def.back")),
            entry(&["tasks.web", "web.3.ghi"], &["10.0.1.5"], Some("web.3.ghi.back")),
            entry(&["idle"], &[], None),
        ],
    );
    names.set_network(
        "net2",
        vec![
            entry(&["web"], &["10.0.2.2", "fd00:2::2"], None),
            entry(&["Api.V1"], &["10.0.2.9"], Some("api.v1.front")),
        ],
    );
    names.set_network("net3", vec![entry(&["secret"], &["10.0.3.2"], Some("secret.other"))]);
    names
}

fn view() -> DnsView {
    DnsView {
        networks: vec![("net1".into(), "back".into()), ("net2".into(), "front".into())],
        upstream: vec!["192.0.2.1:53".parse().unwrap()],
        forward: true,
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask_message(message: &Message, transport: Transport, rotation: &mut Rotation) -> Answer {
    answer(&names(), &view(), &message.to_vec().unwrap(), transport, rotation)
}

/// What a question gives, in words: `NoError 10.0.1.2`, or `Forward`.
fn ask_as(view: &DnsView, name: &str, kind: RecordType) -> String {
    match answer(&names(), view, &question(name, kind).to_vec().unwrap(), Transport::Udp, &mut Rotation::new(0)) {
        Answer::Reply(bytes) => words(&Message::from_vec(&bytes).unwrap()),
        other => format!("{other:?}"),
    }
}

fn ask(name: &str, kind: RecordType) -> String {
    ask_as(&view(), name, kind)
}

fn words(reply: &Message) -> String {
    let mut words = vec![format!("{:?}", reply.metadata.response_code)];
    words.extend(reply.answers.iter().map(|record| record.data.to_string()));
    words.join(" ")
}

use RecordType::{A, AAAA, ANY, MX, PTR, TXT};

#[test]
fn the_first_network_that_has_the_name_answers() {
    assert_eq!(ask("web.", A), "NoError 10.0.1.2");
    assert_eq!(ask("WeB.", A), "NoError 10.0.1.2");
    let mut turned = view();
    turned.networks.reverse();
    assert_eq!(ask_as(&turned, "web.", A), "NoError 10.0.2.2");
}

#[test]
fn the_other_family_may_come_from_a_later_network() {
    assert_eq!(ask("web.", AAAA), "NoError fd00:2::2");
}

#[test]
fn a_known_name_without_such_records_is_answered_empty() {
    assert_eq!(ask("web.back.", AAAA), "NoError");
    assert_eq!(ask("api.v1.", AAAA), "NoError");
    assert_eq!(ask("idle.", A), "NoError");
    for kind in [ANY, MX, TXT, RecordType::HTTPS, RecordType::NS, RecordType::Unknown(65280)] {
        assert_eq!(ask("web.", kind), "NoError", "{kind}");
        assert_eq!(ask("nowhere.", kind), "Forward", "{kind}");
    }
}

#[test]
fn a_network_can_be_named_also_for_names_with_dots() {
    assert_eq!(ask("web.back.", A), "NoError 10.0.1.2");
    assert_eq!(ask("web.front.", A), "NoError 10.0.2.2");
    assert_eq!(ask("web.FRONT.", A), "NoError 10.0.2.2");
    assert_eq!(ask("api.v1.", A), "NoError 10.0.2.9");
    assert_eq!(ask("api.v1.front.", A), "NoError 10.0.2.9");
    assert_eq!(ask("web.1.abc.back.", A), "NoError 10.0.1.3");
    assert_eq!(ask("api.v1.back.", A), "Forward");
    assert_eq!(ask("web.other.", A), "Forward");
}

#[test]
fn networks_with_dots_in_their_names_can_be_named_too() {
    let mut view = view();
    view.networks = vec![("net1".into(), "b.c.d".into())];
    assert_eq!(ask_as(&view, "web.b.c.d.", A), "NoError 10.0.1.2");
}

#[test]
fn names_of_other_networks_are_unknown() {
    assert_eq!(ask("secret.", A), "Forward");
    assert_eq!(ask("2.3.0.10.in-addr.arpa.", PTR), "Forward");
}

#[test]
fn unknown_names_fail_where_nobody_may_be_asked() {
    let internal = DnsView { forward: false, ..view() };
    assert_eq!(ask_as(&internal, "example.com.", A), "ServFail");
    assert_eq!(ask_as(&internal, "web.", A), "NoError 10.0.1.2");
    let alone = DnsView { upstream: vec![], ..view() };
    assert_eq!(ask_as(&alone, "example.com.", A), "ServFail");
}

#[test]
fn addresses_have_names() {
    assert_eq!(ask("3.1.0.10.in-addr.arpa.", PTR), "NoError web.1.abc.back.");
    assert_eq!(ask("9.2.0.10.IN-ADDR.arpa.", PTR), "NoError api.v1.front.");
    let v6 = format!("3.{}1.0.0.0.0.0.d.f.ip6.arpa.", "0.".repeat(23));
    assert_eq!(ask(&v6, PTR), "NoError web.1.abc.back.");
    // a virtual address has no name, a part of one neither
    assert_eq!(ask("2.1.0.10.in-addr.arpa.", PTR), "Forward");
    assert_eq!(ask("1.0.10.in-addr.arpa.", PTR), "Forward");
    assert_eq!(ask("web.", PTR), "Forward");
}

#[test]
fn removed_networks_are_forgotten() {
    let mut names = names();
    names.remove_network("net1");
    let query = question("tasks.web.", A).to_vec().unwrap();
    let answer = answer(&names, &view(), &query, Transport::Udp, &mut Rotation::new(0));
    assert_eq!(answer, Answer::Forward);
}

#[test]
fn every_address_is_first_equally_often_even_when_both_families_are_asked_for() {
    let mut rotation = Rotation::new(7);
    let mut first: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for _ in 0..30 {
        for kind in [A, AAAA] {
            let Answer::Reply(bytes) = ask_message(&question("tasks.web.", kind), Transport::Udp, &mut rotation) else {
                panic!("not a reply");
            };
            let reply = Message::from_vec(&bytes).unwrap();
            assert_eq!(reply.answers.len(), if kind == A { 3 } else { 2 }, "all addresses are in the answer");
            *first.entry(reply.answers[0].data.ip_addr().unwrap()).or_default() += 1;
        }
    }
    let counts: Vec<usize> = first.into_values().collect();
    assert_eq!(counts, [10, 10, 10, 15, 15]);
}

#[test]
fn a_rotation_forgets_rather_than_grows() {
    let mut rotation = Rotation::new(0);
    let mut names = Names::default();
    let many = (0..1000).map(|n| entry(&[&format!("n{n}")], &["10.0.0.1", "10.0.0.2"], None));
    names.set_network("net1", many.collect());
    for n in 0..1000 {
        let query = question(&format!("n{n}."), A).to_vec().unwrap();
        answer(&names, &view(), &query, Transport::Udp, &mut rotation);
    }
    assert!(rotation.remembered() <= 256);
}

/// The whole message, as it goes over the wire.
#[test]
fn an_answer_is_these_bytes() {
    let Answer::Reply(bytes) = ask_message(&question("Web.", A), Transport::Udp, &mut Rotation::new(0)) else {
        panic!("not a reply");
    };
    let mut expected = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    expected.extend(b"\x03Web\0\0\x01\0\x01"); // the question, its name in the asker's spelling
    expected.extend(b"\xc0\x0c\0\x01\0\x01\0\0\x02\x58\0\x04\x0a\0\x01\x02"); // A, IN, 600 s, 10.0.1.2
    assert_eq!(bytes, expected);
}

#[test]
fn a_long_answer_is_cut_to_what_the_asker_takes() {
    let mut names = Names::default();
    let addresses: Vec<IpAddr> = (0..6000_u32).map(|n| IpAddr::V4((0x0a00_0000 + n).into())).collect();
    names.set_network("net1", vec![NameEntry { names: vec!["many".into()], addresses, reverse: None }]);
    let ask = |payload: Option<u16>, transport| {
        let mut query = question("many.", A);
        query.edns = payload.map(|size| {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            edns
        });
        match answer(&names, &view(), &query.to_vec().unwrap(), transport, &mut Rotation::new(0)) {
            Answer::Reply(bytes) => {
                let reply = Message::from_vec(&bytes).unwrap();
                assert_eq!(reply.edns.is_some(), payload.is_some(), "EDNS is answered by EDNS, and only then");
                (bytes.len(), reply.answers.len(), reply.metadata.truncation)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(None, Transport::Udp), (502, 30, true));
    assert_eq!(ask(Some(100), Transport::Udp), (497, 29, true), "less than 512 is not believed");
    assert_eq!(ask(Some(1232), Transport::Udp), (1217, 74, true));
    assert_eq!(ask(Some(65_000), Transport::Udp), (4081, 253, true));
    assert_eq!(ask(None, Transport::Tcp), (65_526, 4094, true), "a message cannot be longer than 65,535 bytes");
}

#[test]
fn an_answer_that_just_fits_is_whole() {
    let mut names = Names::default();
    let addresses: Vec<IpAddr> = (0..30_u32).map(|n| IpAddr::V4((0x0a00_0000 + n).into())).collect();
    names.set_network("net1", vec![NameEntry { names: vec!["many".into()], addresses, reverse: None }]);
    let query = question("many.", A).to_vec().unwrap();
    let Answer::Reply(bytes) = answer(&names, &view(), &query, Transport::Udp, &mut Rotation::new(0)) else {
        panic!("not a reply");
    };
    let reply = Message::from_vec(&bytes).unwrap();
    assert_eq!((reply.answers.len(), reply.metadata.truncation), (30, false));
}

#[test]
fn an_unknown_version_of_edns_is_refused_as_rfc_6891_says() {
    let mut query = question("web.", A);
    let mut edns = Edns::new();
    edns.set_version(1);
    query.edns = Some(edns);
    let Answer::Reply(bytes) = ask_message(&query, Transport::Udp, &mut Rotation::new(0)) else {
        panic!("not a reply")
    };
    let reply = Message::from_vec(&bytes).unwrap();
    // extended code 16 lies in the OPT record's upper half and the header's lower
    assert_eq!(u16::from(reply.metadata.response_code), 16);
    assert_eq!(reply.edns.unwrap().version(), 0);
}

#[test]
fn other_classes_are_not_ours() {
    let mut query = question("web.", A);
    query.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(ask_message(&query, Transport::Udp, &mut Rotation::new(0)), Answer::Forward);
}

#[test]
fn a_dot_within_a_label_is_not_one_between_labels() {
    let mut query = question("x.", A);
    query.queries[0].set_name(Name::from_labels([b"api.v1".as_slice()]).unwrap());
    assert_eq!(ask_message(&query, Transport::Udp, &mut Rotation::new(0)), Answer::Forward);
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    let code = |bytes: &[u8]| match answer(&names(), &view(), bytes, Transport::Udp, &mut Rotation::new(0)) {
        Answer::Reply(reply) => {
            assert_eq!((reply.len(), &reply[..2], reply[2] & 0x80), (12, &bytes[..2], 0x80));
            format!("{:?}", Message::from_vec(&reply).unwrap().metadata.response_code)
        }
        other => format!("{other:?}"),
    };
    let good = question("web.", A).to_vec().unwrap();
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    assert_eq!(code(&[]), "Ignore");
    assert_eq!(code(&good[..11]), "Ignore");
    assert_eq!(code(&with(2, 0x81)), "Ignore", "a reply is not replied to, else two servers would never stop");
    assert_eq!(code(&with(2, 0x21)), "NotImp", "NOTIFY");
    assert_eq!(code(&with(2, 0x29)), "NotImp", "UPDATE");
    assert_eq!(code(&good[..12]), "FormErr");
    assert_eq!(code(&good[..good.len() - 1]), "FormErr");
    assert_eq!(code(&with(5, 0)), "FormErr", "no question");
    assert_eq!(code(&with(5, 2)), "FormErr", "two questions");
    assert_eq!(code(&with(7, 1)), "FormErr", "an answer in a question");
    assert_eq!(code(&with(11, 1)), "FormErr", "a record that is not there");
    assert_eq!(code(&with(12, 0xc0)), "FormErr", "a name that points");
    assert_eq!(code(&with(12, 64)), "FormErr", "a label of an unknown kind");
    let mut two_opt = question("web.", A);
    two_opt.edns = Some(Edns::new());
    let mut two_opt = two_opt.to_vec().unwrap();
    let opt = two_opt[two_opt.len() - 11..].to_vec();
    two_opt.extend(opt);
    two_opt[11] = 2;
    assert_eq!(code(&two_opt), "FormErr", "two OPT records");
}

#[test]
fn a_name_of_255_bytes_is_understood_and_a_longer_one_is_not() {
    let query = |labels: &[usize]| {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for length in labels {
            bytes.push(u8::try_from(*length).unwrap());
            bytes.extend(std::iter::repeat_n(b'a', *length));
        }
        bytes.extend([0, 0, 1, 0, 1]);
        bytes
    };
    let ask = |bytes: &[u8]| answer(&names(), &view(), bytes, Transport::Udp, &mut Rotation::new(0));
    assert_eq!(ask(&query(&[63, 63, 63, 61])), Answer::Forward);
    assert!(matches!(ask(&query(&[63, 63, 63, 62])), Answer::Reply(reply) if reply[3] & 0xf == 1));
}

#[test]
fn a_failure_repeats_the_question() {
    let query = question("web.", A).to_vec().unwrap();
    let reply = Message::from_vec(&answer::failure(&query, ResponseCode::ServFail).unwrap()).unwrap();
    assert_eq!(reply.queries, question("web.", A).queries);
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (0x1234, ResponseCode::ServFail));
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<u32>().prop_map(|n| IpAddr::V4(n.into())), any::<u128>().prop_map(|n| IpAddr::V6(n.into()))]
}

proptest! {
    #[test]
    fn any_bytes_get_one_of_three_answers(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Answer::Reply(reply) = answer(&names(), &view(), &bytes, Transport::Udp, &mut Rotation::new(0)) {
            prop_assert_eq!(&reply[..2], &bytes[..2]);
            Message::from_vec(&reply).unwrap();
        }
    }

    #[test]
    fn a_damaged_question_gets_one_of_three_answers(
        at in any::<proptest::sample::Index>(), value in any::<u8>(), cut in any::<proptest::sample::Index>(),
    ) {
        let mut message = question("web.1.abc.back.", A);
        message.edns = Some(Edns::new());
        let mut bytes = message.to_vec().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = value;
        bytes.truncate(1 + cut.index(bytes.len()));
        if let Answer::Reply(reply) = answer(&names(), &view(), &bytes, Transport::Udp, &mut Rotation::new(0)) {
            prop_assert_eq!(&reply[..2], &bytes[..2]);
            Message::from_vec(&reply).unwrap();
        }
    }

    #[test]
    fn every_answer_parses_fits_and_holds_the_right_addresses(
        addresses in proptest::collection::btree_set(address(), 0..400),
        payload in proptest::option::of(any::<u16>()),
        start in any::<usize>(),
        tcp in any::<bool>(),
        v6 in any::<bool>(),
    ) {
        let mut names = Names::default();
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        let entry = NameEntry { names: vec!["x".into()], addresses: addresses.clone(), reverse: None };
        names.set_network("net1", vec![entry]);
        let mut query = question("x.", if v6 { AAAA } else { A });
        query.edns = payload.map(|size| { let mut edns = Edns::new(); edns.set_max_payload(size); edns });
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let Answer::Reply(bytes) =
            answer(&names, &view(), &query.to_vec().unwrap(), transport, &mut Rotation::new(start)) else {
            return Err(TestCaseError::fail("not a reply"));
        };
        let limit = if tcp { 65_535 } else { usize::from(payload.unwrap_or(512).clamp(512, 4096)) };
        prop_assert!(bytes.len() <= limit, "{} bytes", bytes.len());
        let reply = Message::from_vec(&bytes).unwrap();
        let wanted: Vec<IpAddr> = addresses.iter().filter(|address| address.is_ipv6() == v6).copied().collect();
        let got: Vec<IpAddr> = reply.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
        prop_assert_eq!(reply.metadata.truncation, got.len() < wanted.len());
        prop_assert!(got.iter().all(|address| wanted.contains(address)));
        let room = limit - bytes.len();
        prop_assert!(!reply.metadata.truncation || room < 28, "{room} bytes of room were not used");
        prop_assert!(reply.answers.iter().all(|record| record.ttl == 600 && matches!(record.data, RData::A(_) | RData::AAAA(_))));
    }

    #[test]
    fn the_question_is_found_in_any_bytes_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Some((name, kind)) = forward::question(&bytes) {
            prop_assert!(name.len() <= 255 && name.last() == Some(&0));
            prop_assert_eq!(&bytes[12 + name.len()..16 + name.len()], kind);
        }
    }
}
