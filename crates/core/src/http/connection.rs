//! One connection: read a request, answer it, and so on until one side closes.

mod incoming;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::error::{Code, Error, Result};
use crate::jobs::files::SPOOL_BYTES;

use super::chunks::{Chunk, body_too_large, take_chunk};
use super::event_loop::{EventLoop, Phase, Progress};
use super::head::{self, Content, Framing, Head, Method};
use super::respond::Closing;
use super::routes;

pub use incoming::{Incoming, Pulled};

/// Room that a connection reads into at first, in bytes.
const READ_BYTES: usize = 8 * 1024;
/// Room over which an idle connection gives its buffers back, in bytes.
const KEEP_BYTES: usize = 64 * 1024;
/// Most bytes of further requests read while one is being answered.
const LIMIT_AHEAD_BYTES: usize = 64 * 1024;
/// Bytes of a body after which its sender's time starts anew.
const PROGRESS_BYTES: usize = 16 * 1024;
/// How long, and for how many bytes, a refused request's rest is still read so that its sender sees the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// What a client is told that waits before it sends a body.
const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Whether a request's body may be one that is not read into memory.
fn may_be_large(head: &Head) -> bool {
    let large = match head.framing {
        Framing::None => false,
        Framing::Length(length) => length > SPOOL_BYTES,
        Framing::Chunked => true,
    };
    large && head.method == Method::Post && head.content == Content::Arrow
}

/// A request whose body was read: places in the connection's buffer, or a body of its own.
pub struct Request {
    pub head: Head,
    body: Body,
    /// When its head was whole.
    pub began: Instant,
}

enum Body {
    /// Right behind the head, of so many bytes.
    InPlace(usize),
    /// Put together from chunks.
    Own(Vec<u8>),
    /// Still to be pulled off the socket, by whoever answers.
    Unread,
}

impl Request {
    /// Bytes it still has in the connection's buffer.
    fn length(&self) -> usize {
        self.head.length
            + match self.body {
                Body::InPlace(length) => length,
                Body::Own(_) | Body::Unread => 0,
            }
    }
}

impl Request {
    /// Whether its body is still to be pulled.
    pub fn is_unread(&self) -> bool {
        matches!(self.body, Body::Unread)
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
    /// Bytes accounted for in what all connections hold.
    held: usize,
    busy: bool,
    /// Bytes that what is made of this body holds in memory.
    aside: usize,
    /// Whether it must not go on after this answer.
    last: bool,
}

/// Why a connection ends while a request is read.
enum End {
    /// The client has closed, or its socket failed: there is nobody to tell.
    Closed,
    Refused(Error),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        End::Closed
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Refused(error)
    }
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
        held: 0,
        busy: false,
        aside: 0,
        last: false,
    };
    let _ = connection.serve().await;
}

impl Connection {
    async fn serve(&mut self) -> io::Result<()> {
        loop {
            self.request_id.clear();
            let request = match self.read_request().await {
                Ok(request) => request,
                Err(End::Closed) => return Ok(()),
                Err(End::Refused(error)) => return self.refuse(&error).await,
            };
            self.set_phase(Phase::Working);
            self.answering = request.length();
            let close = request.head.close || request.is_unread() || self.event_loop.shared.is_draining();
            let alive = routes::answer(self, &request, close).await;
            if !alive {
                return Ok(());
            }
            self.consume();
            self.write_output().await?;
            if close || self.last {
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
        if self.request_id.is_empty() {
            self.event_loop.next_request_id(&mut self.request_id);
        }
        let status = routes::refuse(self, Closing::Now, false, error, "");
        self.event_loop.shared.metrics.unknown_model.count(status);
        routes::log_refusal(self, status);
        self.write_output().await?;
        self.linger().await
    }

    /// Waits for a request and reads it whole.
    async fn read_request(&mut self) -> Result<Request, End> {
        let head = self.read_head().await?;
        self.name_request(&head);
        let began = Instant::now();
        if may_be_large(&head) && routes::takes_large(self, &head) {
            return Ok(Request { head, body: Body::Unread, began });
        }
        let limit = self.event_loop.shared.settings.limit_body_bytes;
        if matches!(head.framing, Framing::Length(length) if length > limit) {
            return Err(body_too_large(limit).into());
        }
        if head.expect_continue && head.framing != Framing::None && self.input.len() == head.length {
            self.stream.write_all(GO_ON).await?;
        }
        let body = match head.framing {
            Framing::None => Body::InPlace(0),
            Framing::Length(length) => {
                while self.input.len() < head.length + length {
                    self.fill_body(0, 0).await?;
                }
                Body::InPlace(length)
            }
            Framing::Chunked => Body::Own(self.read_chunks(head.length, limit).await?),
        };
        Ok(Request { head, body, began })
    }

    async fn read_head(&mut self) -> Result<Head, End> {
        loop {
            if !self.input.is_empty() {
                self.set_busy(true);
                if let Some(head) = head::parse(&self.input)? {
                    return Ok(head);
                }
                if self.progress.phase.get() == Phase::Idle {
                    self.set_phase(Phase::Reading);
                }
            }
            if self.fill().await? == 0 {
                return Err(End::Closed);
            }
        }
    }

    /// Reads more of a body, of which `kept` bytes are elsewhere already, and `gone` ones on the disk.
    ///
    /// The client's time starts anew with every [`PROGRESS_BYTES`], so that a trickle is cut off; what all
    /// connections hold together is bounded, so that no number of large bodies takes all memory.
    async fn fill_body(&mut self, kept: usize, gone: usize) -> Result<(), End> {
        let before = (self.input.len() + kept + gone) / PROGRESS_BYTES;
        if self.progress.phase.get() != Phase::Reading {
            self.set_phase(Phase::Reading);
        }
        if self.fill().await? == 0 {
            return Err(End::Closed);
        }
        let bytes = self.input.len() + kept;
        let held = bytes + self.aside;
        if (bytes + gone) / PROGRESS_BYTES > before {
            self.set_phase(Phase::Reading);
        }
        if held > KEEP_BYTES && !self.hold(held) {
            let error = Error::new(Code::Overloaded, "the server holds as many bytes of bodies as it may");
            return Err(error.hint("try again later, send smaller bodies, or raise limit_buffered_bytes").into());
        }
        Ok(())
    }

    /// Accounts for the bytes this connection holds; false if all connections together hold too many.
    fn hold(&mut self, bytes: usize) -> bool {
        let shared = &self.event_loop.shared;
        let fits = shared.hold_bytes(self.held, bytes);
        self.held = bytes;
        fits
    }

    /// Reads a chunked body; what it took leaves the buffer behind the head.
    async fn read_chunks(&mut self, head: usize, limit: usize) -> Result<Vec<u8>, End> {
        let (mut body, mut taken) = (Vec::new(), head);
        loop {
            match take_chunk(self.input.get(taken..).unwrap_or_default(), &mut body, limit)? {
                Chunk::Took(bytes) => taken += bytes,
                Chunk::End(bytes) => {
                    self.input.drain(head..taken + bytes);
                    return Ok(body);
                }
                Chunk::More => {
                    // Once a read, not once a chunk: of tiny chunks there may be very many.
                    self.input.drain(head..taken);
                    taken = head;
                    self.fill_body(body.len(), 0).await?;
                }
            }
        }
    }

    /// The request's body.
    pub fn body<'a>(&'a self, request: &'a Request) -> &'a [u8] {
        match &request.body {
            Body::Own(body) => body,
            Body::Unread => &[],
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

    /// What stands behind the path's question mark.
    pub fn query(&self, head: &Head) -> &str {
        self.input.get(head.query.clone()).and_then(|q| std::str::from_utf8(q).ok()).unwrap_or_default()
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

    /// Sends what there is of an answer that goes on; false if the client went away.
    pub async fn flush(&mut self) -> bool {
        let sent = self.write_output().await.is_ok();
        self.set_phase(Phase::Working);
        sent
    }

    /// The connection ends after this answer.
    pub fn end_after_answer(&mut self) {
        self.last = true;
    }

    /// Writes the answer; a client may be slow, but not stand still.
    async fn write_output(&mut self) -> io::Result<()> {
        if self.output.len() > KEEP_BYTES {
            // An answer is never refused for its size: its rows were accepted. But it counts against new bodies.
            self.hold(self.held + self.output.len());
        }
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
        if self.held > 0 {
            self.hold(0);
        }
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
        self.hold(0);
    }
}
