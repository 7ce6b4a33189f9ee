//! Standard streams and files.

use crate::client::ByteStream;
use bytes::Bytes;
use std::io::Write;
use tokio::io::AsyncReadExt;

/// Writes to standard output. A reader that went away ends the program as a signal would: nothing more can be said.
pub fn out(bytes: &[u8]) {
    finish(std::io::stdout().lock(), bytes);
}

/// Writes to standard error.
pub fn err(bytes: &[u8]) {
    finish(std::io::stderr().lock(), bytes);
}

fn finish(mut stream: impl Write, bytes: &[u8]) {
    if let Err(error) = stream.write_all(bytes).and_then(|()| stream.flush())
        && error.kind() == std::io::ErrorKind::BrokenPipe
    {
        // 128 + SIGPIPE
        std::process::exit(141);
    }
}

/// A file, or standard input, read bit by bit.
pub fn open(path: Option<&str>) -> Result<ByteStream, String> {
    match path {
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|e| reason(&e))?;
            if file.metadata().is_ok_and(|m| m.is_dir()) {
                return Err("is a directory".into());
            }
            Ok(stream(tokio::fs::File::from_std(file)))
        }
        None => Ok(stream(tokio::io::stdin())),
    }
}

fn stream(reader: impl tokio::io::AsyncRead + Unpin + Send + 'static) -> ByteStream {
    Box::pin(futures_util::stream::unfold(reader, |mut reader| async move {
        let mut buffer = vec![0; 64 * 1024];
        match reader.read(&mut buffer).await {
            Ok(0) => None,
            Ok(n) => {
                buffer.truncate(n);
                Some((Ok(Bytes::from(buffer)), reader))
            }
            Err(error) => Some((Err(reason(&error)), reader)),
        }
    }))
}

/// An error of the system as Go words it: no number, small letters.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}
