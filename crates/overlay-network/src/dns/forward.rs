//! Asking the servers upstream. Each try has a socket of its own, connected to the one server and with a port drawn by
//! the kernel, and an id drawn anew: what does not come from that server with that id and question is not the answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};

use super::Transport;
use super::answer::failure;

/// Longest wait for one server.
const TRY: Duration = Duration::from_secs(2);
/// How many servers are tried: as many as resolv.conf(5) can name, and Docker asks.
const MOST_SERVERS: usize = 3;
const HEADER: usize = 12;

/// The question of a message, as it stands there: the name's labels, then type and class. `None` unless the message is
/// long enough and the name is written out (the first name of a message has nothing to point to).
pub(super) fn question(message: &[u8]) -> Option<(&[u8], &[u8; 4])> {
    let rest = message.get(HEADER..)?;
    let mut end = 0;
    loop {
        match usize::from(*rest.get(end)?) {
            0 => break,
            length @ 1..=63 => end += 1 + length,
            _ => return None,
        }
        if end > 254 {
            return None;
        }
    }
    let (name, rest) = rest.split_at(end + 1);
    Some((name, rest.first_chunk()?))
}

/// Whether these bytes answer what was asked under this id.
fn answers(reply: &[u8], query: &[u8], id: [u8; 2]) -> bool {
    let (Some(header), Some((asked, kind))) = (reply.first_chunk::<HEADER>(), question(query)) else { return false };
    let is_reply = header[2] & 0x80 != 0;
    let same_question = match question(reply) {
        Some((name, theirs)) => name.eq_ignore_ascii_case(asked) && theirs == kind,
        // some servers send errors without the question
        None => header[4..6] == [0, 0] && header[3] & 0xf != 0,
    };
    header[..2] == id && is_reply && same_question
}

/// Gives the first usable reply of the servers, with the asker's id; SERVFAIL when there is none. As Docker: SERVFAIL
/// and REFUSED make for the next server, all other replies (also that there is no such name, or a truncated one, upon
/// which the asker comes again by TCP) are passed on as they are.
pub(super) async fn forward(query: &[u8], transport: Transport, servers: &[SocketAddr]) -> Option<Vec<u8>> {
    for server in servers.iter().take(MOST_SERVERS) {
        let exchange = async {
            match transport {
                Transport::Udp => by_udp(query, *server).await,
                Transport::Tcp => by_tcp(query, *server).await,
            }
        };
        match tokio::time::timeout(TRY, exchange).await {
            Ok(Ok(mut reply)) => {
                let code = reply.get(3).map_or(0, |byte| byte & 0xf);
                if code == ResponseCode::ServFail.low() || code == ResponseCode::Refused.low() {
                    continue;
                }
                if let (Some(id), Some(own)) = (query.get(..2), reply.get_mut(..2)) {
                    own.copy_from_slice(id);
                }
                return Some(reply);
            }
            Ok(Err(error)) => tracing::debug!(%server, %error, "upstream name server failed"),
            Err(_) => tracing::debug!(%server, "upstream name server did not answer"),
        }
    }
    failure(query, ResponseCode::ServFail)
}

/// The query under an id of its own.
fn under_new_id(query: &[u8]) -> (Vec<u8>, [u8; 2]) {
    let id = Message::query().metadata.id.to_be_bytes();
    let mut query = query.to_vec();
    if let Some(place) = query.get_mut(..2) {
        place.copy_from_slice(&id);
    }
    (query, id)
}

pub(super) async fn by_udp(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    // without it only a closed port is told, not that no way leads to the server; what cannot be set costs time at most
    let _ = match server {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true),
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true),
    };
    let (sent, id) = under_new_id(query);
    socket.send(&sent).await?;
    loop {
        // that nobody listens there comes as an error, which does not make a socket readable
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        match received(&socket) {
            Ok(reply) if answers(&reply, query, id) => return Ok(reply),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ready.is_error() => {}
            Err(error) => return Err(socket.take_error()?.unwrap_or(error)),
        }
    }
}

/// One datagram. The buffer is on the stack and only while reading, so that waiting costs no memory.
fn received(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 65_535];
    let length = socket.try_recv(&mut buffer)?;
    Ok(buffer[..length].to_vec())
}

pub(super) async fn by_tcp(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let (sent, id) = under_new_id(query);
    stream.write_all(&framed(&sent)).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).await?;
    if answers(&reply, query, id) {
        return Ok(reply);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the reply is not to our question"))
}

/// A message as it travels in a stream: after its length (RFC 1035, 4.2.2). Longer than a message can be, it is cut.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut framed = Vec::with_capacity(2 + usize::from(length));
    framed.extend(length.to_be_bytes());
    framed.extend(message.iter().take(usize::from(length)));
    framed
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_there_is_given_up_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reply = runtime.block_on(async {
            let free = [UdpSocket::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap()];
            // an A query for "nosuch", written by hand
            let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x06nosuch\0\0\x01\0\x01";
            let asked = tokio::time::timeout(TRY / 2, forward(query, Transport::Udp, &free));
            asked.await.expect("no waiting for a server that is not there")
        });
        assert_eq!(reply.unwrap()[3] & 0xf, ResponseCode::ServFail.low());
    }
}
