#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::net::TcpListener;

use proptest::prelude::*;

use super::http::{Body, BodyError, copy, read_head, request};
use super::*;

fn url(text: &str) -> Result<(String, u16, String), Failure> {
    Url::parse(text).map(|url| (url.host, url.port, url.target))
}

#[test]
fn urls_are_taken_apart() {
    let ok = |host: &str, port, target: &str| Ok((host.to_owned(), port, target.to_owned()));
    assert_eq!(url("web"), ok("web", 80, "/"));
    assert_eq!(url("http://web:8080/a/b?c=d#e"), ok("web", 8080, "/a/b?c=d"));
    assert_eq!(url("HTTP://web?x"), ok("web", 80, "/?x"));
    assert_eq!(url("[fd00::1]:81/"), ok("[fd00::1]", 81, "/"));
    assert_eq!(url("http://[fd00::1]"), ok("[fd00::1]", 80, "/"));
    assert_eq!(url("https://web"), Err(Failure(1, "Protocol \"https\" not supported".into())));
    for bad in ["http://", "web:port", "web:70000", "a b", "http://web/\r\nX: y", "user@web"] {
        assert_eq!(url(bad).unwrap_err().0, 3, "{bad}");
    }
}

#[test]
fn the_users_headers_replace_ours() {
    let url = Url::parse("web:8080/x").unwrap();
    assert_eq!(
        request("GET", &url, &[]),
        "GET /x HTTP/1.1\r\nHost: web:8080\r\nUser-Agent: curl\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let own = request("HEAD", &url, &["host: other".into(), "X-A: b".into()]);
    assert!(own.starts_with("HEAD /x ") && own.ends_with("\r\nhost: other\r\nX-A: b\r\n\r\n") && !own.contains("Host"));
}

fn fetch(reply: &str, method: &str) -> (u16, Result<String, String>) {
    let mut reader = reply.as_bytes();
    let head = read_head(&mut reader, method).unwrap();
    let mut body = Vec::new();
    let result = copy(&mut reader, head.body, |bytes| {
        body.extend_from_slice(bytes);
        Ok(())
    });
    (head.code, result.map(|()| String::from_utf8(body).unwrap()).map_err(|error| format!("{error:?}")))
}

#[test]
fn bodies_end_by_length_by_chunks_or_with_the_connection() {
    let get = |reply: &str| fetch(reply, "GET");
    assert_eq!(get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore"), (200, Ok("ok".into())));
    assert_eq!(get("HTTP/1.0 404\r\n\r\nall of it"), (404, Ok("all of it".into())));
    let chunks =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n";
    assert_eq!(get(chunks), (200, Ok("abc0123456789".into())));
    assert_eq!(get("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nx"), (204, Ok(String::new())));
    assert_eq!(fetch("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD"), (200, Ok(String::new())));
}

#[test]
fn bodies_that_end_too_early_are_told() {
    let get = |reply: &str| fetch(reply, "GET").1.unwrap_err();
    assert_eq!(get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"), "Short(3)");
    assert_eq!(get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok"), "Short(3)");
    assert_eq!(get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "Damaged");
    assert_eq!(get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"), "Damaged");
}

#[test]
fn replies_without_a_head_are_told() {
    let kind = |reply: &str| read_head(&mut reply.as_bytes(), "GET").unwrap_err().kind();
    assert_eq!(kind(""), io::ErrorKind::UnexpectedEof);
    assert_eq!(kind("HTTP/1.1 200 OK\r\n"), io::ErrorKind::UnexpectedEof);
    assert_eq!(kind("hello\r\n\r\n"), io::ErrorKind::InvalidData);
    assert_eq!(kind(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(70_000))), io::ErrorKind::InvalidData);
    assert_eq!(kind(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(20)), io::ErrorKind::InvalidData);
}

#[test]
fn write_out_knows_its_variables() {
    let transfer = Transfer { code: 200, remote: Some("10.0.1.2:80".parse().unwrap()), size: 7 };
    let text = written_out("%{http_code} 100%% %{remote_ip}:%{remote_port}\\t%{size_download}\\n%x%{nope}.", &transfer);
    assert_eq!(text, "200 100% 10.0.1.2:80\t7\n%x.");
    assert_eq!(written_out("%{response_code}%{remote_ip}", &Transfer::default()), "000");
}

#[test]
fn options_are_read_or_refused() {
    let read = |line: &str| read(line.split(' ').map(str::to_owned).collect());
    let options = read("-fsSm 2 -o /dev/null -w %{http_code} --connect-timeout 0.5 web other").unwrap();
    assert!(options.fail && options.silent && options.show_error && !options.head);
    assert_eq!(
        (options.max_time, options.connect_timeout),
        (Some(Duration::from_secs(2)), Some(Duration::from_millis(500)))
    );
    assert_eq!(
        (options.outputs, options.urls),
        (vec!["/dev/null".to_owned()], vec!["web".to_owned(), "other".to_owned()])
    );
    assert_eq!(read("-m 0 web").unwrap().max_time, None);
    assert_eq!(read("-L web").unwrap_err(), "option -L: is unknown to this small curl");
    assert_eq!(read("-m x web").unwrap_err(), "option -m: expected a proper numerical parameter");
    assert_eq!(read("-s").unwrap_err(), "(2) no URL specified");
}

/// A server that gives one reply to one connection.
fn server(reply: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).unwrap();
        stream.write_all(reply.as_bytes()).unwrap();
    });
    url
}

#[test]
fn transfers_end_with_curls_codes() {
    let to_null = |options: &Options, url: &str| run(options, url, Some("/dev/null".into()));
    let plain = Options::default();
    let (transfer, result) = to_null(&plain, &server("HTTP/1.1 503 x\r\n\r\nsorry"));
    assert_eq!((transfer.code, transfer.size, result), (503, 5, Ok(())));
    let fail = Options { fail: true, ..Options::default() };
    let (transfer, result) = to_null(&fail, &server("HTTP/1.1 503 x\r\n\r\nsorry"));
    assert_eq!(transfer.size, 0);
    assert_eq!(result, Err(Failure(22, "The requested URL returned error: 503".into())));
    assert_eq!(to_null(&plain, &server("")).1.unwrap_err().0, 52);
    assert_eq!(to_null(&plain, &server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")).1.unwrap_err().0, 18);
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = format!("Failed to connect to 127.0.0.1 port {}: Connection refused", nowhere.port());
    assert_eq!(to_null(&plain, &nowhere.to_string()).1, Err(Failure(7, message)));
}

#[test]
fn a_transfer_ends_when_its_time_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { max_time: Some(Duration::from_millis(50)), ..Options::default() };
    let (_, result) = run(&options, &listener.local_addr().unwrap().to_string(), None);
    assert_eq!(result, Err(Failure(28, "Operation timed out".into())));
}

proptest! {
    #[test]
    fn any_bytes_are_a_reply_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300), chunked in any::<bool>()) {
        let _ = read_head(&mut bytes.as_slice(), "GET");
        let body = if chunked { Body::Chunks } else { Body::Close };
        let mut size = 0;
        let result = copy(&mut bytes.as_slice(), body, |piece| { size += piece.len(); Ok(()) });
        prop_assert!(size <= bytes.len());
        prop_assert!(chunked || (result.is_ok() && size == bytes.len()));
        prop_assert!(!matches!(result, Err(BodyError::Write | BodyError::Read(_))));
    }

    #[test]
    fn any_text_is_a_url_or_not(text in ".{0,60}") {
        if let Ok(url) = Url::parse(&text) {
            prop_assert!(!url.host.is_empty() && url.target.starts_with('/'));
            prop_assert!(!request("GET", &url, &[]).lines().next().unwrap().contains(['\r', '\n']));
        }
    }
}
