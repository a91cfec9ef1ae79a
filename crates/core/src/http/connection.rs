//! One connection: read a request, answer it, and so on until one side closes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::error::{Code, Error, Result};

use super::event_loop::{EventLoop, Phase, Progress};
use super::head::{self, Framing, Head, LIMIT_HEAD_BYTES};
use super::respond::Frame;
use super::{respond, routes};

/// Room that a connection reads into at first, in bytes.
const READ_BYTES: usize = 8 * 1024;
/// Room over which an idle connection gives its buffers back, in bytes.
const KEEP_BYTES: usize = 64 * 1024;
/// Most bytes of further requests read while one is being answered.
const LIMIT_AHEAD_BYTES: usize = 64 * 1024;
/// How long, and for how many bytes, a refused request's rest is still read so that its sender sees the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// A request whose body was read: places in the connection's buffer, or a body of its own.
pub struct Request {
    pub head: Head,
    body: Body,
}

enum Body {
    /// Right behind the head, of so many bytes.
    InPlace(usize),
    /// Put together from chunks.
    Own(Vec<u8>),
}

impl Request {
    /// Bytes it still has in the connection's buffer.
    fn length(&self) -> usize {
        self.head.length
            + match self.body {
                Body::InPlace(length) => length,
                Body::Own(_) => 0,
            }
    }
}

/// A connection's socket and buffers.
pub struct Connection {
    stream: TcpStream,
    pub event_loop: Rc<EventLoop>,
    progress: Rc<Progress>,
    input: Vec<u8>,
    pub output: Vec<u8>,
    pub request_id: String,
    /// Bytes of `input` that are the request being answered.
    answering: usize,
    busy: bool,
}

/// Runs a connection to its end. Its errors are its client's, who is gone: there is nobody to tell.
pub async fn run(stream: TcpStream, event_loop: Rc<EventLoop>, progress: Rc<Progress>) {
    let mut connection = Connection {
        stream,
        event_loop,
        progress,
        input: Vec::with_capacity(READ_BYTES),
        output: Vec::new(),
        request_id: String::new(),
        answering: 0,
        busy: false,
    };
    let _ = connection.serve().await;
    connection.set_busy(false);
}

impl Connection {
    async fn serve(&mut self) -> io::Result<()> {
        loop {
            let request = match self.read_request().await? {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.event_loop.next_request_id(&mut self.request_id);
                    return self.refuse(&error).await;
                }
            };
            self.set_phase(Phase::Working);
            self.answering = request.length();
            self.name_request(&request.head);
            let close = request.head.close || self.event_loop.shared.is_draining();
            let alive = routes::answer(self, &request, close).await?;
            if !alive {
                return Ok(());
            }
            self.consume();
            self.write_output().await?;
            if close {
                return self.linger().await;
            }
            self.rest();
        }
    }

    /// Takes the client's id for the request, or makes one.
    fn name_request(&mut self, head: &Head) {
        let given = head.request_id.clone().and_then(|place| self.input.get(place));
        match given.and_then(|id| std::str::from_utf8(id).ok()) {
            Some(id) => {
                self.request_id.clear();
                self.request_id.push_str(id);
            }
            None => self.event_loop.next_request_id(&mut self.request_id),
        }
    }

    /// Answers what cannot be read as a request, and ends the connection.
    async fn refuse(&mut self, error: &Error) -> io::Result<()> {
        let date = self.event_loop.date().clone();
        let frame = Frame { close: true, head_only: false, request_id: &self.request_id, date: &date };
        respond::error(&mut self.output, &frame, error);
        self.write_output().await?;
        self.linger().await
    }

    /// Waits for a request and reads it whole; `None` when the client has closed.
    async fn read_request(&mut self) -> io::Result<Result<Option<Request>>> {
        let head = loop {
            if !self.input.is_empty() {
                self.set_busy(true);
                match head::parse(&self.input) {
                    Ok(Some(head)) => break head,
                    Ok(None) => {}
                    Err(error) => return Ok(Err(error)),
                }
                if self.progress.phase.get() == Phase::Idle {
                    self.set_phase(Phase::Reading);
                }
            }
            if self.fill().await? == 0 {
                return Ok(Ok(None));
            }
        };
        let limit = self.event_loop.shared.settings.limit_body_bytes;
        if matches!(head.framing, Framing::Length(length) if length > limit) {
            return Ok(Err(body_too_large(limit)));
        }
        if head.expect_continue && head.framing != Framing::None && self.input.len() == head.length {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = match head.framing {
            Framing::None => Body::InPlace(0),
            Framing::Length(length) => {
                while self.input.len() < head.length + length {
                    self.set_phase(Phase::Reading);
                    if self.fill().await? == 0 {
                        return Ok(Ok(None));
                    }
                }
                Body::InPlace(length)
            }
            Framing::Chunked => match self.read_chunks(head.length, limit).await? {
                Ok(Some(body)) => Body::Own(body),
                Ok(None) => return Ok(Ok(None)),
                Err(error) => return Ok(Err(error)),
            },
        };
        Ok(Ok(Some(Request { head, body })))
    }

    /// Reads a chunked body; what it took leaves the buffer behind the head.
    async fn read_chunks(&mut self, head: usize, limit: usize) -> io::Result<Result<Option<Vec<u8>>>> {
        let (mut body, mut taken) = (Vec::new(), head);
        loop {
            match take_chunk(self.input.get(taken..).unwrap_or_default(), &mut body, limit) {
                Ok(Chunk::Took(bytes)) => taken += bytes,
                Ok(Chunk::End(bytes)) => {
                    self.input.drain(head..taken + bytes);
                    return Ok(Ok(Some(body)));
                }
                Ok(Chunk::More) => {
                    // Once a read, not once a chunk: of tiny chunks there may be very many.
                    self.input.drain(head..taken);
                    taken = head;
                    self.set_phase(Phase::Reading);
                    if self.fill().await? == 0 {
                        return Ok(Ok(None));
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// The request's body.
    pub fn body<'a>(&'a self, request: &'a Request) -> &'a [u8] {
        match &request.body {
            Body::Own(body) => body,
            Body::InPlace(length) => {
                self.input.get(request.head.length..request.head.length + length).unwrap_or_default()
            }
        }
    }

    /// The request's path.
    pub fn path(&self, head: &Head) -> &str {
        if head.path.is_empty() {
            return "/";
        }
        self.input.get(head.path.clone()).and_then(|p| std::str::from_utf8(p).ok()).unwrap_or("/")
    }

    /// Drops the request that was answered from the buffer.
    fn consume(&mut self) {
        if self.answering >= self.input.len() {
            self.input.clear();
        } else {
            self.input.drain(..self.answering);
        }
        self.answering = 0;
    }

    /// Writes the answer; a client may be slow, but not stand still.
    async fn write_output(&mut self) -> io::Result<()> {
        let mut written = 0;
        while let Some(rest) = self.output.get(written..).filter(|rest| !rest.is_empty()) {
            self.set_phase(Phase::Writing);
            written += match self.stream.write(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                bytes => bytes,
            };
        }
        self.output.clear();
        Ok(())
    }

    /// Between requests: gives large buffers back.
    fn rest(&mut self) {
        if self.input.is_empty() {
            self.set_busy(false);
            if self.input.capacity() > KEEP_BYTES {
                self.input = Vec::with_capacity(READ_BYTES);
            }
        }
        if self.output.capacity() > KEEP_BYTES {
            self.output = Vec::new();
        }
        self.set_phase(Phase::Idle);
    }

    async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    /// Reads what the socket holds behind what was read before.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < 1024 {
            // At most doubled, and only as bytes arrive: a claimed length allocates nothing.
            self.input.reserve(self.input.len().clamp(READ_BYTES, 1 << 20));
        }
        let mut room = ReadBuf::uninit(self.input.spare_capacity_mut());
        match Pin::new(&mut self.stream).poll_read(context, &mut room) {
            Poll::Ready(Ok(())) => {
                let read = room.filled().len();
                let length = self.input.len() + read;
                // SAFETY: `poll_read` has filled, and so initialised, exactly `read` bytes of the spare room that
                // starts at the vector's length.
                unsafe { self.input.set_len(length) };
                Poll::Ready(Ok(read))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether the client has gone, looked at while an engine works for it.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> bool {
        // Until the socket has no more: only then does what happens next on it wake this task.
        while self.input.len() <= self.answering + LIMIT_AHEAD_BYTES {
            match self.poll_fill(context) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return true,
                Poll::Pending => return false,
            }
        }
        false
    }

    fn set_phase(&self, phase: Phase) {
        self.progress.phase.set(phase);
        if phase != Phase::Working {
            self.progress.since.set(self.event_loop.recent());
        }
    }

    /// Counts the connection among those with a request under way.
    fn set_busy(&mut self, busy: bool) {
        if self.busy != busy {
            self.busy = busy;
            self.event_loop.shared.count_busy(busy);
        }
    }

    /// Closes so that the last answer arrives: a socket closed over unread bytes is reset, answer and all.
    async fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        self.set_busy(false);
        let drain = async {
            let mut left = LINGER_BYTES;
            loop {
                self.input.clear();
                match self.fill().await {
                    Ok(read) if read > 0 && read < left => left -= read,
                    _ => return,
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drain).await;
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.set_busy(false);
    }
}

fn body_too_large(limit: usize) -> Error {
    Error::new(Code::BodyTooLarge, format!("the body is over {limit} bytes"))
        .hint("send fewer rows a request, or raise limit_body_bytes")
}

/// What [`take_chunk`] did.
#[derive(Debug, PartialEq)]
enum Chunk {
    /// Took so many bytes.
    Took(usize),
    /// Took so many bytes, and the body is whole.
    End(usize),
    /// Needs more bytes first.
    More,
}

/// Takes one chunk, or a part of one, off the front of `bytes`.
fn take_chunk(bytes: &[u8], body: &mut Vec<u8>, limit: usize) -> Result<Chunk> {
    let malformed = || Error::new(Code::MalformedRequest, "the chunked body cannot be read");
    // The parser takes a line without any digit for the size 0, and with it for the end.
    if bytes.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let (line, size) = match httparse::parse_chunk_size(bytes) {
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
        ] {
            let error = take_chunk(bytes, &mut body, 100);
            assert!(error.as_ref().is_err_and(|e| e.code() == code) || error == Ok(Chunk::More), "{bytes:?} {error:?}");
        }
        assert!(body.is_empty());
    }
}
