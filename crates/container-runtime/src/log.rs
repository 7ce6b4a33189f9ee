//! A container's stored output: files of records in order of time, bounded by rotation.
//!
//! A record is a 16-byte header (magic, stream, flags, length, nanoseconds) and the bytes of one line, or of a part
//! of a line longer than 16 KiB. Files are numbered upwards and the oldest are deleted, so nothing is ever renamed
//! under a reader. Each run of the container begins a new file: a record cut short by a crash can only be the
//! last of its file. Leaves out waiting for more: the shim tells followers when the log has grown.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::config::LogLimits;
use crate::error::{Context, Result};

const MAGIC: u8 = 0xA7;
const PARTIAL: u8 = 1;
const HEADER: usize = 16;
/// A line longer than this is stored in parts.
const MAX_LINE: usize = 16 << 10;

/// Which output a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// One stored line, or part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it came from.
    pub stream: Stream,
    /// Nanoseconds since 1970.
    pub at: i64,
    /// The bytes, with the newline if the line is complete.
    pub bytes: Vec<u8>,
    /// More of the same line follows.
    pub partial: bool,
}

/// The shim's side.
pub(crate) struct LogWriter {
    dir: PathBuf,
    seq: u32,
    file: File,
    size: u64,
    limits: LogLimits,
    pending: [Vec<u8>; 2],
    record: Vec<u8>,
}

impl LogWriter {
    pub(crate) fn open(dir: &Path, limits: LogLimits) -> Result<LogWriter> {
        fs::create_dir_all(dir).context(|| format!("making {}", dir.display()))?;
        let seq = files(dir).last().map_or(1, |s| s + 1);
        let file = create(dir, seq).context(|| format!("opening a log in {}", dir.display()))?;
        let mut w =
            LogWriter { dir: dir.into(), seq, file, size: 0, limits, pending: Default::default(), record: Vec::new() };
        w.prune();
        Ok(w)
    }

    /// Stores all complete lines of `bytes`; the rest waits for its newline or for [`LogWriter::flush`].
    /// Returns whether anything was stored.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8], now: i64) -> std::io::Result<bool> {
        let slot = stream as usize - 1;
        let mut stored = false;
        while !bytes.is_empty() {
            let room = MAX_LINE - self.pending[slot].len();
            let newline = bytes.iter().take(room).position(|b| *b == b'\n');
            let take = newline.map_or(room.min(bytes.len()), |i| i + 1);
            self.pending[slot].extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if newline.is_some() || self.pending[slot].len() == MAX_LINE {
                self.store(slot, newline.is_none(), now)?;
                stored = true;
            }
        }
        Ok(stored)
    }

    /// Stores unfinished lines, at the end.
    pub(crate) fn flush(&mut self, now: i64) -> std::io::Result<()> {
        for slot in 0..2 {
            if !self.pending[slot].is_empty() {
                self.store(slot, false, now)?;
            }
        }
        Ok(())
    }

    fn store(&mut self, slot: usize, partial: bool, now: i64) -> std::io::Result<()> {
        let len = self.pending[slot].len();
        if self.size > 0 && self.size + (HEADER + len) as u64 > self.limits.max_size {
            self.seq += 1;
            self.file = create(&self.dir, self.seq)?;
            self.size = 0;
            self.prune();
        }
        // One write per record: a reader sees whole records, and only a crash can cut one short.
        self.record.clear();
        self.record.extend_from_slice(&[MAGIC, slot as u8 + 1, if partial { PARTIAL } else { 0 }, 0]);
        self.record.extend_from_slice(&(len as u32).to_le_bytes());
        self.record.extend_from_slice(&now.to_le_bytes());
        self.record.extend_from_slice(&self.pending[slot]);
        self.pending[slot].clear();
        self.file.write_all(&self.record)?;
        self.size += self.record.len() as u64;
        Ok(())
    }

    fn prune(&mut self) {
        let all = files(&self.dir);
        for old in all.iter().rev().skip(self.limits.max_files as usize) {
            let _ = fs::remove_file(path(&self.dir, *old));
        }
    }
}

fn path(dir: &Path, seq: u32) -> PathBuf {
    dir.join(format!("{seq:06}.log"))
}

fn create(dir: &Path, seq: u32) -> std::io::Result<File> {
    File::options().append(true).create(true).open(path(dir, seq))
}

fn files(dir: &Path) -> Vec<u32> {
    let mut all: Vec<u32> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    all.sort_unstable();
    all
}

/// The daemon's side: reads on from where it was, across files.
pub(crate) struct LogReader {
    dir: PathBuf,
    current: Option<(u32, BufReader<File>, u64)>,
}

impl LogReader {
    pub(crate) fn open(dir: &Path) -> LogReader {
        LogReader { dir: dir.into(), current: None }
    }

    /// The next record, or `None` if there is no further whole one now.
    pub(crate) fn next(&mut self) -> Result<Option<LogEntry>> {
        self.read(true)
    }

    fn read(&mut self, payload: bool) -> Result<Option<LogEntry>> {
        loop {
            if self.current.is_none() && !self.advance(0)? {
                return Ok(None);
            }
            let Some((seq, file, offset)) = &mut self.current else {
                return Ok(None);
            };
            let seq = *seq;
            match record(file, payload).context(|| format!("reading logs in {}", self.dir.display()))? {
                Some((entry, length)) => {
                    *offset += length;
                    return Ok(Some(entry));
                }
                None => {
                    // Step back over a part of a record, then on to the next file if there is one.
                    let back = *offset;
                    file.seek(SeekFrom::Start(back)).context(|| "reading logs".into())?;
                    if !self.advance(seq)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn advance(&mut self, after: u32) -> Result<bool> {
        for seq in files(&self.dir).into_iter().filter(|s| *s > after) {
            match File::open(path(&self.dir, seq)) {
                Ok(f) => {
                    self.current = Some((seq, BufReader::with_capacity(32 << 10, f), 0));
                    return Ok(true);
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {} // rotated away meanwhile
                Err(e) => return Err(e).context(|| "opening a log".into()),
            }
        }
        Ok(false)
    }

    /// Skips to the last `lines` lines among those that `keep` accepts.
    pub(crate) fn tail(dir: &Path, lines: usize, keep: impl Fn(&LogEntry) -> bool) -> Result<LogReader> {
        let mut scan = LogReader::open(dir);
        // The starts of the last `lines` + 1 lines; memory is bounded by what was asked for, not by the log.
        let mut starts: VecDeque<(u32, u64)> = VecDeque::new();
        let mut inside = [false; 2];
        loop {
            let here = scan.current.as_ref().map(|(s, _, o)| (*s, *o));
            let Some(entry) = scan.read(false)? else {
                break;
            };
            if !keep(&entry) {
                continue;
            }
            let slot = entry.stream as usize - 1;
            if !inside[slot] && lines > 0 {
                // A record that opened a new file starts at that file's beginning.
                let now = scan.current.as_ref().map_or(0, |(s, _, _)| *s);
                let start = here.filter(|(s, _)| *s == now).unwrap_or((now, 0));
                if starts.len() == lines {
                    starts.pop_front();
                }
                starts.push_back(start);
            }
            inside[slot] = entry.partial;
        }
        match starts.front() {
            None => Ok(scan), // at the end: only what comes
            Some((seq, offset)) => {
                let mut f = File::open(path(dir, *seq)).context(|| "opening a log".into())?;
                f.seek(SeekFrom::Start(*offset)).context(|| "opening a log".into())?;
                Ok(LogReader { dir: dir.into(), current: Some((*seq, BufReader::with_capacity(32 << 10, f), *offset)) })
            }
        }
    }
}

fn record(file: &mut BufReader<File>, payload: bool) -> std::io::Result<Option<(LogEntry, u64)>> {
    let mut h = [0; HEADER];
    if !read_or_end(file, &mut h)? {
        return Ok(None);
    }
    let stream = match (h[0], h[1]) {
        (MAGIC, 1) => Stream::Stdout,
        (MAGIC, 2) => Stream::Stderr,
        _ => return Err(std::io::Error::other("damaged log record")),
    };
    let len = u32::from_le_bytes([h[4], h[5], h[6], h[7]]) as usize;
    if len > MAX_LINE {
        return Err(std::io::Error::other("damaged log record (length)"));
    }
    let mut at = [0; 8];
    at.copy_from_slice(&h[8..]);
    let mut entry = LogEntry { stream, at: i64::from_le_bytes(at), bytes: Vec::new(), partial: h[2] & PARTIAL != 0 };
    if payload {
        entry.bytes = vec![0; len];
        if !read_or_end(file, &mut entry.bytes)? {
            return Ok(None);
        }
    } else {
        file.seek_relative(len as i64)?;
    }
    Ok(Some((entry, (HEADER + len) as u64)))
}

fn read_or_end(file: &mut impl Read, buf: &mut [u8]) -> std::io::Result<bool> {
    match file.read_exact(buf) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all(r: &mut LogReader) -> Vec<String> {
        std::iter::from_fn(|| r.next().unwrap()).map(|e| String::from_utf8(e.bytes).unwrap()).collect()
    }

    #[test]
    fn lines_split_over_writes_are_stored_whole_and_in_order() {
        let d = tempfile::tempdir().unwrap();
        let mut w = LogWriter::open(d.path(), LogLimits::default()).unwrap();
        assert!(!w.write(Stream::Stdout, b"on", 1).unwrap());
        assert!(w.write(Stream::Stderr, b"err\n", 2).unwrap());
        w.write(Stream::Stdout, b"e\ntwo\nlast", 3).unwrap();
        w.flush(4).unwrap();
        let mut r = LogReader::open(d.path());
        assert_eq!(all(&mut r), ["err\n", "one\n", "two\n", "last"]);
        w.write(Stream::Stdout, b"more\n", 5).unwrap();
        assert_eq!(all(&mut r), ["more\n"], "a reader goes on from where it was");
    }

    #[test]
    fn rotation_bounds_the_files_and_readers_cross_them() {
        let d = tempfile::tempdir().unwrap();
        let mut w = LogWriter::open(d.path(), LogLimits { max_size: 4096, max_files: 2 }).unwrap();
        let mut r = LogReader::open(d.path());
        let mut seen = 0;
        for i in 0..1000 {
            w.write(Stream::Stdout, format!("line {i}\n").as_bytes(), i).unwrap();
            if i % 50 == 0 {
                seen += all(&mut r).len();
            }
        }
        seen += all(&mut r).len();
        assert_eq!(seen, 1000);
        assert_eq!(files(d.path()).len(), 2);
        let mut t = LogReader::tail(d.path(), 3, |_| true).unwrap();
        assert_eq!(all(&mut t), ["line 997\n", "line 998\n", "line 999\n"]);
        let mut t = LogReader::tail(d.path(), 170, |_| true).unwrap();
        assert_eq!(all(&mut t).len(), 170, "a tail may span files");
    }

    #[test]
    fn a_record_cut_short_ends_its_file_and_the_next_run_is_read() {
        let d = tempfile::tempdir().unwrap();
        let mut w = LogWriter::open(d.path(), LogLimits::default()).unwrap();
        w.write(Stream::Stdout, b"whole\nbroken\n", 1).unwrap();
        let f = File::options().write(true).open(path(d.path(), 1)).unwrap();
        f.set_len(f.metadata().unwrap().len() - 3).unwrap();
        let mut w = LogWriter::open(d.path(), LogLimits::default()).unwrap();
        w.write(Stream::Stdout, b"second run\n", 2).unwrap();
        assert_eq!(all(&mut LogReader::open(d.path())), ["whole\n", "second run\n"]);
    }

    #[test]
    fn a_line_longer_than_the_limit_is_stored_in_parts_and_counts_once() {
        let d = tempfile::tempdir().unwrap();
        let mut w = LogWriter::open(d.path(), LogLimits::default()).unwrap();
        w.write(Stream::Stdout, b"first\n", 1).unwrap();
        let long = [vec![b'x'; MAX_LINE * 2 + 5], b"\n".to_vec()].concat();
        w.write(Stream::Stdout, &long, 2).unwrap();
        let mut t = LogReader::tail(d.path(), 1, |_| true).unwrap();
        let parts: Vec<LogEntry> = std::iter::from_fn(|| t.next().unwrap()).collect();
        assert_eq!(parts.iter().map(|p| p.partial).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(parts.iter().map(|p| p.bytes.len()).sum::<usize>(), long.len());
    }
}
