//! Bodies in chunks: taken off a buffer one by one, each refused before it is kept.

use crate::error::{Code, Error, Result};

use super::head::LIMIT_HEAD_BYTES;

/// The error of a body over the limit.
pub fn body_too_large(limit: usize) -> Error {
    Error::new(Code::BodyTooLarge, format!("the body is over {limit} bytes"))
        .hint("send fewer rows a request, send them as an Arrow stream to a job, or raise limit_body_bytes")
}

/// The error of a job's body over the limit.
pub fn job_too_large(limit: usize) -> Error {
    Error::new(Code::BodyTooLarge, format!("the job's body is over {limit} bytes"))
        .hint("submit several jobs, or raise limit_job_body_bytes")
}

/// What [`take_chunk`] did.
#[derive(Debug, PartialEq)]
pub enum Chunk {
    /// Took so many bytes.
    Took(usize),
    /// Took so many bytes, and the body is whole.
    End(usize),
    /// Needs more bytes first.
    More,
}

/// Takes one chunk, or a part of one, off the front of `bytes`.
pub fn take_chunk(bytes: &[u8], body: &mut Vec<u8>, limit: usize) -> Result<Chunk> {
    let (line, size) = match size_line(bytes)? {
        Some(found) => found,
        None => return Ok(Chunk::More),
    };
    if size == 0 {
        return trailers(bytes, line);
    }
    let size = usize::try_from(size).map_err(|_| body_too_large(limit))?;
    if body.len().checked_add(size).is_none_or(|total| total > limit) {
        return Err(body_too_large(limit));
    }
    let end = line.checked_add(size).and_then(|end| end.checked_add(2)).ok_or_else(malformed)?;
    let Some(chunk) = bytes.get(line..end) else { return Ok(Chunk::More) };
    let (data, tail) = chunk.split_at(size);
    if tail != b"\r\n" {
        return Err(malformed());
    }
    body.extend_from_slice(data);
    Ok(Chunk::Took(end))
}

/// Where in a chunked body its next byte stands, if its chunks are not waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunks {
    /// Bytes of this chunk that are to come.
    left: u64,
    /// Whether the line's end behind it is still to come.
    tail: bool,
}

impl Chunks {
    /// As [`take_chunk`], but takes what is there of a chunk.
    pub fn take(&mut self, bytes: &[u8], body: &mut Vec<u8>, limit: usize) -> Result<Chunk> {
        if self.left > 0 {
            let taken = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            body.extend_from_slice(bytes.get(..taken).unwrap_or_default());
            self.left -= taken as u64;
            self.tail = self.left == 0;
            return Ok(if taken == 0 { Chunk::More } else { Chunk::Took(taken) });
        }
        if self.tail {
            return match bytes {
                [b'\r', b'\n', ..] => {
                    self.tail = false;
                    Ok(Chunk::Took(2))
                }
                [] | [b'\r'] => Ok(Chunk::More),
                _ => Err(malformed()),
            };
        }
        match size_line(bytes)? {
            None => Ok(Chunk::More),
            Some((line, 0)) => trailers(bytes, line),
            Some((_, size)) if size > limit as u64 => Err(body_too_large(limit)),
            Some((line, size)) => {
                self.left = size;
                Ok(Chunk::Took(line))
            }
        }
    }
}

fn malformed() -> Error {
    Error::new(Code::MalformedRequest, "the chunked body cannot be read")
}

/// The length of a chunk's first line, and the chunk's size; `None` while it is not whole.
fn size_line(bytes: &[u8]) -> Result<Option<(usize, u64)>> {
    // The parser takes a line without any digit for the size 0, and with it for the end.
    if bytes.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    match httparse::parse_chunk_size(bytes) {
        // The parser takes a missing size for 0, and anything for an extension: what ends a line elsewhere
        // would then hide a second request from here.
        Ok(httparse::Status::Complete((line, _))) if !is_plain(bytes.get(..line).unwrap_or_default()) => {
            Err(malformed())
        }
        Ok(httparse::Status::Complete((line, size))) => Ok(Some((line, size))),
        // A size line that does not end is not waited for.
        Ok(httparse::Status::Partial) if bytes.len() < 1_024 => Ok(None),
        _ => Err(malformed()),
    }
}

/// Passes over the trailers behind the last chunk's first line, if any: lines up to an empty one.
fn trailers(bytes: &[u8], line: usize) -> Result<Chunk> {
    let rest = bytes.get(line..).unwrap_or_default();
    if rest.starts_with(b"\r\n") {
        return Ok(Chunk::End(line + 2));
    }
    match memchr::memmem::find(rest, b"\r\n\r\n") {
        Some(at) => Ok(Chunk::End(line + at + 4)),
        None if rest.len() > LIMIT_HEAD_BYTES => Err(malformed()),
        None => Ok(Chunk::More),
    }
}

/// Whether a size line starts with a digit and holds no control character before its end.
fn is_plain(line: &[u8]) -> bool {
    let Some((text, b"\r\n")) = line.split_last_chunk::<2>().map(|(text, end)| (text, end.as_slice())) else {
        return false;
    };
    text.first().is_some_and(u8::is_ascii_hexdigit) && text.iter().all(|b| *b == b'\t' || !b.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_in_any_pieces() {
        let whole = b"4;x=1\r\nwiki\r\n5\r\npedia\r\n0\r\nT: 1\r\n\r\nNEXT";
        for step in 1..whole.len() {
            let (mut body, mut given, mut seen, mut ended) = (Vec::new(), Vec::new(), 0, false);
            while !ended {
                let next = whole.len().min(seen + step);
                given.extend_from_slice(&whole[seen..next]);
                seen = next;
                loop {
                    match take_chunk(&given, &mut body, 100).unwrap() {
                        Chunk::Took(bytes) => drop(given.drain(..bytes)),
                        Chunk::End(bytes) => {
                            given.drain(..bytes);
                            ended = true;
                            break;
                        }
                        Chunk::More => break,
                    }
                }
            }
            assert_eq!(body, b"wikipedia");
            assert!(b"NEXT".starts_with(&given));
        }
    }

    #[test]
    fn parts_of_chunks_come_in_any_pieces() {
        let whole = b"4;x=1\r\nwiki\r\n5\r\npedia\r\n0\r\nT: 1\r\n\r\nNEXT";
        for step in 1..whole.len() {
            let (mut chunks, mut body, mut given, mut ended) = (Chunks::default(), Vec::new(), Vec::new(), false);
            for piece in whole.chunks(step) {
                given.extend_from_slice(piece);
                while !ended {
                    match chunks.take(&given, &mut body, 100).unwrap() {
                        Chunk::Took(bytes) => drop(given.drain(..bytes)),
                        Chunk::More => break,
                        Chunk::End(bytes) => {
                            given.drain(..bytes);
                            ended = true;
                        }
                    }
                }
            }
            assert!(ended && body == b"wikipedia" && given == b"NEXT", "{step}");
        }
        for hostile in [&b"ffffffffffffffff\r\n"[..], b"65\r\n", b"zz\r\n", b"-1\r\n", b"2;\nxx\r\n"] {
            assert!(Chunks::default().take(hostile, &mut Vec::new(), 100).is_err());
        }
        let mut chunks = Chunks { left: 0, tail: true };
        assert!(chunks.take(b"ab", &mut Vec::new(), 100).is_err());
    }

    #[test]
    fn hostile_chunks_are_refused_before_they_are_kept() {
        let mut body = Vec::new();
        for (bytes, code) in [
            (&b"ffffffffffffffff\r\n"[..], Code::BodyTooLarge),
            (b"65\r\n", Code::BodyTooLarge),
            (b"zz\r\n", Code::MalformedRequest),
            (b"1\r\nab", Code::MalformedRequest),
            (b"-1\r\n", Code::MalformedRequest),
            (b"\r\n", Code::MalformedRequest),
            (b";x\r\n", Code::MalformedRequest),
            (b"2;\nxx\r\n[]\r\n", Code::MalformedRequest),
            (b"\r\n", Code::MalformedRequest),
            (b";x\r\n", Code::MalformedRequest),
        ] {
            let error = take_chunk(bytes, &mut body, 100);
            assert!(error.as_ref().is_err_and(|e| e.code() == code) || error == Ok(Chunk::More), "{bytes:?} {error:?}");
        }
        assert!(body.is_empty());
    }
}
