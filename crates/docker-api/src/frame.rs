//! The multiplexed stream of `logs` and of `attach` without TTY.
//!
//! Each frame is an 8-byte header, `[stream, 0, 0, 0, length as big-endian u32]`, and that many bytes of payload.
//! With a TTY there are no frames, only raw bytes. [`Decoder`] takes the stream in pieces of any size and hands payload
//! on as it arrives, so that a frame of any length needs no buffer.

use crate::limits::MAX_FRAME;

/// Bytes before each payload.
pub const HEADER_LEN: usize = 8;

/// Where a frame's payload belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stream {
    /// Standard input; engines echo it in attach streams, readers treat it as standard output.
    Stdin = 0,
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// A failure of the engine itself while it produced the stream; the payload is its message.
    SystemError = 3,
}

/// The header of a frame of `len` bytes.
pub fn header(stream: Stream, len: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = len.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// Appends payload as one frame, or as several where it is longer than [`MAX_FRAME`]. Empty payload adds nothing.
pub fn encode(stream: Stream, payload: &[u8], out: &mut Vec<u8>) {
    for chunk in payload.chunks(MAX_FRAME) {
        out.reserve(HEADER_LEN + chunk.len());
        out.extend_from_slice(&header(stream, chunk.len() as u32));
        out.extend_from_slice(chunk);
    }
}

/// Incremental reader of a multiplexed stream.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_LEN],
    filled: usize,
    current: Option<(Stream, usize)>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, calling `emit` for each piece of payload. `starts` tells whether the piece is the
    /// first of its frame: log readers that parse a prefix of each message need the boundary.
    pub fn decode(&mut self, mut input: &[u8], mut emit: impl FnMut(Piece<'_>)) -> Result<(), FrameError> {
        loop {
            match self.current {
                Some((stream, remaining)) => {
                    let take = remaining.min(input.len());
                    if take == 0 {
                        return Ok(());
                    }
                    let starts = self.filled == HEADER_LEN;
                    self.filled = 0;
                    let (data, rest) = input.split_at(take);
                    input = rest;
                    let ends = take == remaining;
                    emit(Piece { stream, starts, ends, data });
                    self.current = (!ends).then_some((stream, remaining - take));
                }
                None => {
                    let take = (HEADER_LEN - self.filled).min(input.len());
                    self.header[self.filled..self.filled + take].copy_from_slice(&input[..take]);
                    self.filled += take;
                    input = &input[take..];
                    if self.filled < HEADER_LEN {
                        return Ok(());
                    }
                    let (stream, len) = parse_header(self.header)?;
                    if len == 0 {
                        self.filled = 0;
                    } else {
                        self.current = Some((stream, len));
                    }
                }
            }
        }
    }

    /// To be called at the end of the stream: an end inside a frame means that something was lost.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.current.is_none() && self.filled == 0 {
            true => Ok(()),
            false => Err(FrameError::Truncated),
        }
    }
}

/// A piece of one frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Where it belongs.
    pub stream: Stream,
    /// First piece of its frame.
    pub starts: bool,
    /// Last piece of its frame.
    pub ends: bool,
    /// The bytes, never empty.
    pub data: &'a [u8],
}

fn parse_header(header: [u8; HEADER_LEN]) -> Result<(Stream, usize), FrameError> {
    let [kind, _, _, _, a, b, c, d] = header;
    let stream = match kind {
        0 => Stream::Stdin,
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        3 => Stream::SystemError,
        other => return Err(FrameError::UnknownStream(other)),
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len));
    }
    Ok((stream, len))
}

/// A stream that cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first byte of a header is none of the known streams: usually a raw TTY stream read as frames.
    #[error("Unrecognized input header: {0}")]
    UnknownStream(u8),
    /// A header announces more than [`MAX_FRAME`].
    #[error("frame of {0} bytes is longer than the limit of {MAX_FRAME}")]
    TooLong(usize),
    /// The stream ended inside a frame.
    #[error("unexpected EOF")]
    Truncated,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_eight_bytes_and_its_payload() {
        let mut out = Vec::new();
        encode(Stream::Stderr, b"oh", &mut out);
        assert_eq!(out, b"\x02\0\0\0\0\0\0\x02oh");
    }

    #[test]
    fn corrupt_headers_and_early_ends_are_errors() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.decode(b"hello world", |_| ()), Err(FrameError::UnknownStream(b'h')));
        let mut decoder = Decoder::new();
        assert!(matches!(decoder.decode(b"\x01\0\0\0\xff\xff\xff\xff", |_| ()), Err(FrameError::TooLong(_))));
        let mut decoder = Decoder::new();
        decoder.decode(b"\x01\0\0\0\0\0\0\x05ab", |_| ()).unwrap();
        assert_eq!(decoder.finish(), Err(FrameError::Truncated));
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_decodes_to_the_same(
            frames in proptest::collection::vec((1u8..=2, proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
            step in 1usize..20,
        ) {
            let mut wire = Vec::new();
            let mut expected = Vec::new();
            for (kind, payload) in &frames {
                let stream = if *kind == 1 { Stream::Stdout } else { Stream::Stderr };
                encode(stream, payload, &mut wire);
                if !payload.is_empty() {
                    expected.push((stream, payload.clone()));
                }
            }
            let mut seen: Vec<(Stream, Vec<u8>)> = Vec::new();
            let mut decoder = Decoder::new();
            for chunk in wire.chunks(step) {
                decoder.decode(chunk, |piece| {
                    if piece.starts {
                        seen.push((piece.stream, Vec::new()));
                    }
                    seen.last_mut().unwrap().1.extend_from_slice(piece.data);
                }).unwrap();
            }
            decoder.finish().unwrap();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Decoder::new().decode(&bytes, |_| ());
        }
    }
}
