//! Asking one name server one question: what a check of a lab does from inside a container's namespace. For people's
//! questions, not for a resolver: no cache, no search list.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::forward::{by_tcp, by_udp};

/// Longest wait for one server.
const TRY: Duration = Duration::from_secs(2);
/// How often a server is asked: a datagram may be lost.
const TRIES: usize = 2;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The IPv4 addresses of a name.
    A,
    /// The IPv6 addresses of a name.
    Aaaa,
    /// The names of an address.
    Ptr,
}

/// Asks the server for `name` (for [`Wanted::Ptr`]: an address as text). The answers as text in the server's order:
/// none where it knows no such name, which Docker's server tells by SERVFAIL when it has nobody to ask further. The
/// error says why there is no answer.
pub async fn lookup(server: SocketAddr, name: &str, wanted: Wanted) -> Result<Vec<String>, String> {
    let (name, kind) = match wanted {
        Wanted::A => (absolute(name)?, RecordType::A),
        Wanted::Aaaa => (absolute(name)?, RecordType::AAAA),
        Wanted::Ptr => {
            let address: IpAddr = name.parse().map_err(|_| format!("{name:?} is no address"))?;
            (Name::from(address), RecordType::PTR)
        }
    };
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name, kind));
    let query = query.to_vec().map_err(|error| error.to_string())?;
    let reply = ask(server, &query).await?;
    let reply = Message::from_vec(&reply).map_err(|error| format!("{server}: its answer cannot be read: {error}"))?;
    match reply.metadata.response_code {
        ResponseCode::NoError => Ok(reply.answers.iter().filter_map(|record| text(&record.data)).collect()),
        ResponseCode::NXDomain | ResponseCode::ServFail => Ok(Vec::new()),
        other => Err(format!("{server}: it answers {other}")),
    }
}

fn absolute(name: &str) -> Result<Name, String> {
    let mut parsed = Name::from_ascii(name).map_err(|error| format!("{name:?} is no name: {error}"))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

/// By UDP, and by TCP where the answer was too long for it.
async fn ask(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>, String> {
    let mut why = String::new();
    for _ in 0..TRIES {
        match tokio::time::timeout(TRY, by_udp(query, server)).await {
            // the flag TC (RFC 1035, 4.1.1)
            Ok(Ok(reply)) if reply.get(2).is_some_and(|byte| byte & 0x02 != 0) => {
                return match tokio::time::timeout(TRY, by_tcp(query, server)).await {
                    Ok(reply) => reply.map_err(|error| format!("{server}: {error}")),
                    Err(_) => Err(format!("{server}: no answer within {} s by TCP", TRY.as_secs())),
                };
            }
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => why = format!("{server}: {error}"),
            Err(_) => why = format!("{server}: no answer within {} s", TRY.as_secs()),
        }
    }
    Err(why)
}

fn text(data: &RData) -> Option<String> {
    match data {
        RData::A(ip) => Some(ip.0.to_string()),
        RData::AAAA(ip) => Some(ip.0.to_string()),
        RData::PTR(name) => Some(name.0.to_ascii().trim_end_matches('.').to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hickory_proto::op::MessageType;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;
    use tokio::net::UdpSocket;

    /// A server that answers one question with these addresses and this code.
    async fn server(code: ResponseCode, addresses: &'static [[u8; 4]]) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let mut reply = Message::from_vec(&buffer[..length]).unwrap();
            reply.metadata.message_type = MessageType::Response;
            reply.metadata.response_code = code;
            for address in addresses {
                let name = reply.queries[0].name().clone();
                reply.add_answer(Record::from_rdata(name, 1, RData::A(A((*address).into()))));
            }
            socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
        });
        at
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn addresses_come_in_the_server_s_order_and_an_unknown_name_has_none() {
        run(async {
            let at = server(ResponseCode::NoError, &[[10, 0, 1, 4], [10, 0, 1, 3]]).await;
            assert_eq!(lookup(at, "tasks.web", Wanted::A).await.unwrap(), ["10.0.1.4", "10.0.1.3"]);
            let at = server(ResponseCode::ServFail, &[]).await;
            assert!(lookup(at, "nobody", Wanted::A).await.unwrap().is_empty());
            let at = server(ResponseCode::Refused, &[]).await;
            assert!(lookup(at, "web", Wanted::A).await.is_err());
            assert!(lookup(at, "no address", Wanted::Ptr).await.unwrap_err().contains("no address"));
        });
    }
}
