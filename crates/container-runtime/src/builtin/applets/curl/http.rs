//! HTTP/1.1 as far as a GET or HEAD needs it (RFC 9112): the request's text, the reply's head, the ways in which a body
//! ends. Leaves out trailers, which are read over, and keeping a connection for a second request.

use std::io::{self, BufRead, Read};

use super::Failure;

/// Longest head of a reply, of a line within a body, and most informational replies before the real one.
const LONGEST_HEAD: u64 = 64 * 1024;
const LONGEST_LINE: u64 = 4096;
const MOST_INFORMATIONAL: usize = 8;

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Name or address, an IPv6 one in brackets.
    pub host: String,
    pub port: u16,
    /// Path and query.
    pub target: String,
}

impl Url {
    /// Reads `[http://]host[:port][/path][?query]`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |what: &str| Failure(3, format!("URL rejected: {what}"));
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => return Err(Failure(1, format!("Protocol \"{scheme}\" not supported"))),
            None => text,
        };
        if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(bad("Malformed input to a URL function"));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        if authority.contains('@') {
            return Err(bad("this small curl knows no users and passwords"));
        }
        let port_at = authority.rfind(':').filter(|colon| !authority[*colon..].contains(']'));
        let (host, port) = match port_at {
            Some(colon) => (&authority[..colon], &authority[colon + 1..]),
            None => (authority, ""),
        };
        let port = match port {
            "" => 80,
            port => port.parse().map_err(|_| bad("Port number was not a decimal number between 0 and 65535"))?,
        };
        if host.is_empty() {
            return Err(bad("No host part in the URL"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { host: host.to_owned(), port, target })
    }
}

/// The request's text. Headers of the user replace ours of the same name.
pub(super) fn request(method: &str, url: &Url, headers: &[String]) -> String {
    let host = if url.port == 80 { url.host.clone() } else { format!("{}:{}", url.host, url.port) };
    let given =
        |name: &str| headers.iter().any(|line| line.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name)));
    let mut text = format!("{method} {} HTTP/1.1\r\n", url.target);
    for (name, value) in [("Host", host.as_str()), ("User-Agent", "curl"), ("Accept", "*/*"), ("Connection", "close")] {
        if !given(name) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    headers.iter().for_each(|line| text.push_str(&format!("{line}\r\n")));
    text + "\r\n"
}

/// The head of a reply.
#[derive(Debug)]
pub(super) struct Head {
    pub code: u16,
    /// As it came, with the empty line.
    pub text: Vec<u8>,
    pub body: Body,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunks,
    /// With the connection.
    Close,
}

/// Reads a reply's head. `UnexpectedEof`: there was none; `InvalidData`: it is no HTTP/1.
pub(super) fn read_head(reader: &mut impl BufRead, method: &str) -> io::Result<Head> {
    for _ in 0..MOST_INFORMATIONAL {
        let head = read_one_head(reader, method)?;
        if !(100..200).contains(&head.code) {
            return Ok(head);
        }
    }
    Err(invalid("the server only gives informational replies"))
}

fn read_one_head(reader: &mut impl BufRead, method: &str) -> io::Result<Head> {
    let mut limited = reader.take(LONGEST_HEAD);
    let mut text = Vec::new();
    loop {
        let start = text.len();
        if limited.read_until(b'\n', &mut text)? == 0 {
            return Err(match limited.limit() {
                0 => invalid("the reply's head is longer than 64 KiB"),
                _ => io::ErrorKind::UnexpectedEof.into(),
            });
        }
        if matches!(&text[start..], b"\r\n" | b"\n") {
            break;
        }
    }
    let lines = String::from_utf8_lossy(&text);
    let mut lines = lines.lines();
    let status = lines.next().unwrap_or_default();
    let code = status.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let code = code.ok_or_else(|| invalid("Received HTTP/0.9 when not allowed"))?;
    let (mut length, mut chunks) = (None, false);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.trim().to_ascii_lowercase().as_str() {
            "content-length" => {
                length = Some(value.trim().parse().map_err(|_| invalid("Invalid Content-Length: value"))?);
            }
            "transfer-encoding" => chunks |= value.to_ascii_lowercase().contains("chunked"),
            _ => {}
        }
    }
    let without_body = method == "HEAD" || matches!(code, 100..=199 | 204 | 304);
    let body = match (without_body, chunks, length) {
        (true, ..) => Body::Length(0),
        (_, true, _) => Body::Chunks,
        (_, _, Some(length)) => Body::Length(length),
        _ => Body::Close,
    };
    Ok(Head { code, text, body })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Why a body did not come whole.
#[derive(Debug)]
pub(super) enum BodyError {
    /// The connection ended so many bytes too early.
    Short(u64),
    Damaged,
    Read(io::Error),
    Write,
}

/// Hands a body on, piece by piece.
pub(super) fn copy(
    reader: &mut impl BufRead,
    body: Body,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BodyError> {
    match body {
        Body::Length(length) => copy_some(reader, length, &mut sink),
        Body::Close => match copy_some(reader, u64::MAX, &mut sink) {
            Err(BodyError::Short(_)) => Ok(()),
            other => other,
        },
        Body::Chunks => loop {
            let line = line(reader)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| BodyError::Damaged)?;
            if size == 0 {
                // trailers, to an empty line
                while !self::line(reader)?.is_empty() {}
                return Ok(());
            }
            copy_some(reader, size, &mut sink)?;
            if !self::line(reader)?.is_empty() {
                return Err(BodyError::Damaged);
            }
        },
    }
}

fn line(reader: &mut impl BufRead) -> Result<String, BodyError> {
    let mut bytes = Vec::new();
    reader.take(LONGEST_LINE).read_until(b'\n', &mut bytes).map_err(BodyError::Read)?;
    match bytes.last() {
        Some(b'\n') => Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
        Some(_) if bytes.len() as u64 == LONGEST_LINE => Err(BodyError::Damaged),
        _ => Err(BodyError::Short(1)),
    }
}

fn copy_some(
    reader: &mut impl BufRead,
    mut left: u64,
    sink: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BodyError> {
    while left > 0 {
        let available = match reader.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BodyError::Read(error)),
        };
        if available.is_empty() {
            return Err(BodyError::Short(left));
        }
        let piece = available.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        sink(&available[..piece]).map_err(|_| BodyError::Write)?;
        reader.consume(piece);
        left -= piece as u64;
    }
    Ok(())
}
