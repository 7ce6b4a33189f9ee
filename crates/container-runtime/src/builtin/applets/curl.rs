//! `curl URL ...`: HTTP/1.1 GET and HEAD, one connection for each URL, with curl's messages and exit codes.
//!
//! Leaves out TLS, redirects (they are shown, not followed), sending data, proxies, and the progress meter. Messages
//! carry no times, unlike curl's, so that equal outcomes print equally.

mod http;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use self::http::{Head, Url};
use super::resolve::{Kind, Resolver};
use super::{Argument, Arguments, reason};

const USAGE: &str =
    "usage: curl [-sSfiI46] [-m SECONDS] [--connect-timeout SECONDS] [-H HEADER] [-o FILE] [-w FORMAT] URL...";

#[derive(Debug, Clone, Default)]
struct Options {
    silent: bool,
    show_error: bool,
    fail: bool,
    include: bool,
    head: bool,
    only: Option<Kind>,
    max_time: Option<Duration>,
    connect_timeout: Option<Duration>,
    headers: Vec<String>,
    outputs: Vec<String>,
    write_out: String,
    urls: Vec<String>,
}

/// Why a transfer failed: curl's exit code and message.
#[derive(Debug, PartialEq, Eq)]
struct Failure(u8, String);

/// What is known of a transfer, for `-w`.
#[derive(Debug, Default)]
struct Transfer {
    code: u16,
    remote: Option<SocketAddr>,
    size: u64,
}

pub(super) fn main(args: Vec<String>) -> ExitCode {
    let options = match read(args) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("curl: {what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut exit = 0;
    for (at, url) in options.urls.iter().enumerate() {
        let (transfer, result) = run(&options, url, options.outputs.get(at).cloned());
        if let Err(Failure(code, message)) = &result {
            exit = *code;
            if !options.silent || options.show_error {
                eprintln!("curl: ({code}) {message}");
            }
        } else {
            exit = 0;
        }
        print!("{}", written_out(&options.write_out, &transfer));
        // what follows goes after it, also if it is an error that the other stream tells
        let _ = io::stdout().flush();
    }
    ExitCode::from(exit)
}

fn read(args: Vec<String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = Arguments::new(args);
    while let Some(arg) = args.next() {
        let name = match arg {
            Argument::Option(name) => name,
            Argument::Operand(url) => {
                options.urls.push(url);
                continue;
            }
        };
        let value = |args: &mut Arguments| args.value().ok_or_else(|| format!("option {name}: requires parameter"));
        let seconds = |args: &mut Arguments| {
            let parsed = args.seconds().ok_or_else(|| format!("option {name}: expected a proper numerical parameter"));
            // zero is curl's word for no limit
            parsed.map(|time| Some(time).filter(|time| !time.is_zero()))
        };
        match name.as_str() {
            "-s" | "--silent" => options.silent = true,
            "-S" | "--show-error" => options.show_error = true,
            "-f" | "--fail" => options.fail = true,
            "-i" | "--include" | "--show-headers" => options.include = true,
            "-I" | "--head" => options.head = true,
            "-4" | "--ipv4" => options.only = Some(Kind::A),
            "-6" | "--ipv6" => options.only = Some(Kind::Aaaa),
            "-m" | "--max-time" => options.max_time = seconds(&mut args)?,
            "--connect-timeout" => options.connect_timeout = seconds(&mut args)?,
            "-H" | "--header" => options.headers.push(value(&mut args)?),
            "-o" | "--output" => options.outputs.push(value(&mut args)?),
            "-w" | "--write-out" => options.write_out = value(&mut args)?,
            "--url" => {
                let url = value(&mut args)?;
                options.urls.push(url);
            }
            other => return Err(format!("option {other}: is unknown to this small curl")),
        }
    }
    if options.headers.iter().any(|line| line.contains(['\r', '\n'])) {
        return Err("a header has one line".into());
    }
    match options.urls.is_empty() {
        true => Err("(2) no URL specified".into()),
        false => Ok(options),
    }
}

/// One transfer, given up when its time is over. What it wrote until then stays.
fn run(options: &Options, url: &str, output: Option<String>) -> (Transfer, Result<(), Failure>) {
    let (done, result) = mpsc::channel();
    let (own, url) = (options.clone(), url.to_owned());
    let work = move || {
        let mut transfer = Transfer::default();
        let result = transmit(&own, &url, output.as_deref(), &mut transfer);
        let _ = done.send((transfer, result));
    };
    std::thread::spawn(work);
    let timed_out = || (Transfer::default(), Err(Failure(28, "Operation timed out".into())));
    match options.max_time {
        Some(limit) => result.recv_timeout(limit).unwrap_or_else(|_| timed_out()),
        None => result.recv().unwrap_or_else(|_| timed_out()),
    }
}

fn transmit(options: &Options, url: &str, output: Option<&str>, transfer: &mut Transfer) -> Result<(), Failure> {
    let url = Url::parse(url)?;
    let stream = connect(options, &url, transfer)?;
    let lost = |error: io::Error| Failure(56, format!("Recv failure: {}", reason(&error)));
    let method = if options.head { "HEAD" } else { "GET" };
    let request = http::request(method, &url, &options.headers);
    (&stream).write_all(request.as_bytes()).map_err(|e| Failure(55, format!("Send failure: {}", reason(&e))))?;
    let mut reader = io::BufReader::new(&stream);
    let Head { code, text, body } = http::read_head(&mut reader, method).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure(52, "Empty reply from server".into()),
        io::ErrorKind::InvalidData => Failure(1, error.to_string()),
        _ => lost(error),
    })?;
    transfer.code = code;
    if options.fail && code >= 400 {
        return Err(Failure(22, format!("The requested URL returned error: {code}")));
    }
    let unwritten = |_| Failure(23, "Failure writing output to destination".into());
    let mut sink: Box<dyn Write> = match output {
        // not locked: when the time is over, others must be able to print
        None | Some("-") => Box::new(io::stdout()),
        Some(path) => Box::new(File::create(path).map_err(unwritten)?),
    };
    if options.include || options.head {
        sink.write_all(&text).map_err(unwritten)?;
    }
    let copied = http::copy(&mut reader, body, |bytes| {
        transfer.size += bytes.len() as u64;
        sink.write_all(bytes)
    });
    // what came before a failure is shown too
    let flushed = sink.flush();
    copied.map_err(|error| match error {
        http::BodyError::Short(left) => Failure(18, format!("transfer closed with {left} bytes remaining to read")),
        http::BodyError::Damaged => Failure(56, "chunk hex-length char not a hex digit".into()),
        http::BodyError::Read(error) => lost(error),
        http::BodyError::Write => Failure(23, "Failure writing output to destination".into()),
    })?;
    flushed.map_err(unwritten)
}

/// The first of the host's addresses that accepts a connection, in the order in which the name server gave them.
fn connect(options: &Options, url: &Url, transfer: &mut Transfer) -> Result<TcpStream, Failure> {
    let addresses = Resolver::new().addresses(&url.host, options.only);
    if addresses.is_empty() {
        return Err(Failure(6, format!("Could not resolve host: {}", url.host)));
    }
    let mut last = None;
    for ip in addresses {
        let address = SocketAddr::new(ip, url.port);
        let connected = match options.connect_timeout {
            Some(limit) => TcpStream::connect_timeout(&address, limit),
            None => TcpStream::connect(address),
        };
        match connected {
            Ok(stream) => {
                transfer.remote = Some(address);
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if error.kind() == io::ErrorKind::TimedOut => Err(Failure(28, "Connection timed out".into())),
        error => {
            let why = error.as_ref().map(reason).unwrap_or_default();
            Err(Failure(7, format!("Failed to connect to {} port {}: {why}", url.host, url.port)))
        }
    }
}

/// What `-w` prints: `%{http_code}`, `%{remote_ip}`, `%{remote_port}`, `%{size_download}`, `%%`, and `\n`, `\r`, `\t`.
fn written_out(format: &str, transfer: &Transfer) -> String {
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find(['%', '\\']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let escapes = [("%%", "%"), ("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t")];
        if let Some((escape, meaning)) = escapes.iter().find(|(escape, _)| rest.starts_with(escape)) {
            text.push_str(meaning);
            rest = &rest[escape.len()..];
        } else if let Some((name, after)) = rest.strip_prefix("%{").and_then(|rest| rest.split_once('}')) {
            match name {
                "http_code" | "response_code" => text.push_str(&format!("{:03}", transfer.code)),
                "remote_ip" => text.push_str(&transfer.remote.map(|one| one.ip().to_string()).unwrap_or_default()),
                "remote_port" => text.push_str(&transfer.remote.map_or(0, |one| one.port()).to_string()),
                "size_download" => text.push_str(&transfer.size.to_string()),
                other => eprintln!("curl: unknown --write-out variable: '{other}'"),
            }
            rest = after;
        } else {
            text.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    text + rest
}
