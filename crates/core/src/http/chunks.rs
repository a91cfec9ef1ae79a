//! Bodies in chunks: taken off a buffer one by one, each refused before it is kept.

use crate::error::{Code, Error, Result};

use super::head::LIMIT_HEAD_BYTES;

/// The error of a body over the limit.
pub fn body_too_large(limit: usize) -> Error {
    Error::new(Code::BodyTooLarge, format!("the body is over {limit} bytes"))
        .hint("send fewer rows a request, or raise limit_body_bytes")
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
    let malformed = || Error::new(Code::MalformedRequest, "the chunked body cannot be read");
    // The parser takes a line without any digit for the size 0, and with it for the end.
    if bytes.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let (line, size) = match httparse::parse_chunk_size(bytes) {
        // The parser takes a missing size for 0, and anything for an extension: what ends a line elsewhere
        // would then hide a second request from here.
        Ok(httparse::Status::Complete((line, _))) if !is_plain(bytes.get(..line).unwrap_or_default()) => {
            return Err(malformed());
        }
        Ok(httparse::Status::Complete((line, size))) => (line, size),
        // A size line that does not end is not waited for.
        Ok(httparse::Status::Partial) if bytes.len() < 1_024 => return Ok(Chunk::More),
        _ => return Err(malformed()),
    };
    if size == 0 {
        // Trailers, if any, are passed over: lines up to an empty one.
        let rest = bytes.get(line..).unwrap_or_default();
        if rest.starts_with(b"\r\n") {
            return Ok(Chunk::End(line + 2));
        }
        return match memchr::memmem::find(rest, b"\r\n\r\n") {
            Some(at) => Ok(Chunk::End(line + at + 4)),
            None if rest.len() > LIMIT_HEAD_BYTES => Err(malformed()),
            None => Ok(Chunk::More),
        };
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
