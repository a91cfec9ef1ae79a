//! The head of a request: what of it matters here, and where its parts lie in the buffer.

use std::ops::Range;
use std::time::Duration;

use crate::error::{Code, Error, Result};

use super::respond::EVENTS;

/// Most bytes of a head.
pub const LIMIT_HEAD_BYTES: usize = 32 * 1024;
/// Most headers of a head.
const LIMIT_HEADERS: usize = 96;
/// Most bytes of a client's own request id.
const LIMIT_REQUEST_ID_BYTES: usize = 128;
/// Longest deadline a request may ask for, in seconds.
const LIMIT_TIMEOUT_S: f64 = 1e6;

/// The methods that any route has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Delete,
    Other,
}

/// How the body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// What the body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Json,
    Arrow,
    /// What curl says of `-d` without a header.
    Form,
    Other,
    /// Compressed or otherwise encoded.
    Encoded,
}

/// What `Accept` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Nothing, or anything: the kind of the request.
    Any,
    Json,
    Arrow,
    Neither,
}

/// A request's head. Ranges are places in the buffer it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub method: Method,
    /// The path, without the query.
    pub path: Range<usize>,
    /// What stands behind the path's question mark.
    pub query: Range<usize>,
    pub framing: Framing,
    pub content: Content,
    pub accept: Accept,
    /// Whether `Accept` names the stream of events, whatever else it names.
    pub accepts_events: bool,
    /// Whether the client speaks HTTP/1.0.
    pub old: bool,
    /// Whether the connection closes after this request.
    pub close: bool,
    pub expect_continue: bool,
    /// Whether the client would rather have a job than wait (RFC 7240).
    pub respond_async: bool,
    pub timeout: Option<Duration>,
    pub request_id: Option<Range<usize>>,
    /// Bytes of the head, its empty line included.
    pub length: usize,
}

impl Head {
    /// Whether a stream of events is the only answer the client takes of those we give.
    pub fn wants_events(&self) -> bool {
        self.accepts_events && self.accept == Accept::Neither
    }
}

/// Reads a head off the front of `bytes`; `None` while it is not whole.
///
/// # Errors
/// `malformed_request` or `headers_too_large`; the connection cannot go on after either.
pub fn parse(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; LIMIT_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= LIMIT_HEAD_BYTES => return Err(too_large()),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Err(error) => return Err(malformed(format!("the request's head cannot be read: {error}"))),
    };
    if length > LIMIT_HEAD_BYTES {
        return Err(too_large());
    }
    let old = request.version == Some(0);
    let mut head = Head {
        method: match request.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            Some("DELETE") => Method::Delete,
            _ => Method::Other,
        },
        path: path(bytes, request.path.unwrap_or("/"))?,
        query: query(bytes, request.path.unwrap_or("/"))?,
        framing: Framing::None,
        content: Content::Json,
        accept: Accept::Any,
        accepts_events: false,
        old,
        close: old,
        expect_continue: false,
        respond_async: false,
        timeout: None,
        request_id: None,
        length,
    };
    let mut framing = FramingHeaders::default();
    for header in request.headers.iter() {
        framing.note(header, old)?;
        note(&mut head, header, bytes, old)?;
    }
    head.framing = framing.decide(old)?;
    Ok(Some(head))
}

/// Takes what a header says of the request, its framing aside.
fn note(head: &mut Head, header: &httparse::Header, bytes: &[u8], old: bool) -> Result<()> {
    // Lengths tell most names apart before any letter is compared.
    match header.name.len() {
        6 if header.name.eq_ignore_ascii_case("accept") => {
            head.accept = accept(header.value, head.accept);
            head.accepts_events |= wanted(header.value).any(|kind| kind.eq_ignore_ascii_case(EVENTS.as_bytes()));
        }
        6 if header.name.eq_ignore_ascii_case("expect") => {
            head.expect_continue = !old && header.value.eq_ignore_ascii_case(b"100-continue");
        }
        6 if header.name.eq_ignore_ascii_case("prefer") => {
            let mut preferences = header.value.split(|b| matches!(b, b',' | b';'));
            head.respond_async |= preferences.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"respond-async"));
        }
        10 if header.name.eq_ignore_ascii_case("connection") => {
            let says = |wanted: &[u8]| {
                header.value.split(|b| *b == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(wanted))
            };
            head.close = says(b"close") || (old && !says(b"keep-alive"));
        }
        12 if header.name.eq_ignore_ascii_case("content-type") && head.content != Content::Encoded => {
            head.content = content(header.value);
        }
        12 if header.name.eq_ignore_ascii_case("x-request-id") => {
            let fits = (1..=LIMIT_REQUEST_ID_BYTES).contains(&header.value.len())
                && header.value.iter().all(|b| (0x21..0x7f).contains(b) && *b != b'"' && *b != b'\\');
            head.request_id = fits.then(|| place(bytes, header.value)).flatten();
        }
        16 if header.name.eq_ignore_ascii_case("content-encoding")
            && !header.value.eq_ignore_ascii_case(b"identity") =>
        {
            head.content = Content::Encoded;
        }
        18 if header.name.eq_ignore_ascii_case("monorail-timeout-s") => head.timeout = Some(timeout(header.value)?),
        _ => {}
    }
    Ok(())
}

/// The headers that say where a body ends and whose request it is: how requests get smuggled.
#[derive(Default)]
struct FramingHeaders {
    length: Option<usize>,
    chunked: bool,
    hosts: usize,
}

impl FramingHeaders {
    fn note(&mut self, header: &httparse::Header, old: bool) -> Result<()> {
        if header.name.eq_ignore_ascii_case("host") {
            self.hosts += 1;
        } else if header.name.eq_ignore_ascii_case("content-length") {
            let length = decimal(header.value)
                .filter(|length| self.length.is_none_or(|other| other == *length))
                .ok_or_else(|| malformed("Content-Length is not one decimal number"))?;
            self.length = Some(length);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if self.chunked || old || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(malformed("Transfer-Encoding is not chunked, once, in HTTP/1.1"));
            }
            self.chunked = true;
        }
        Ok(())
    }

    fn decide(&self, old: bool) -> Result<Framing> {
        if self.hosts > 1 || (self.hosts == 0 && !old) {
            return Err(malformed("there is not exactly one Host header"));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(malformed("both Content-Length and Transfer-Encoding are given")),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) if length > 0 => Ok(Framing::Length(length)),
            (false, _) => Ok(Framing::None),
        }
    }
}

fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::MalformedRequest, message).hint("this port speaks HTTP/1.1")
}

fn too_large() -> Error {
    Error::new(Code::HeadersTooLarge, format!("the head is over {LIMIT_HEAD_BYTES} bytes or {LIMIT_HEADERS} headers"))
        .hint("send fewer or shorter headers")
}

/// Where a part of the buffer lies in it.
fn place(bytes: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (bytes.get(start..end)? == part).then_some(start..end)
}

/// The query of a target; empty if it has none.
fn query(bytes: &[u8], target: &str) -> Result<Range<usize>> {
    let Some((_, query)) = target.split_once('?') else { return Ok(0..0) };
    place(bytes, query.as_bytes()).ok_or_else(|| malformed("the request's target cannot be read"))
}

/// The path of a target, in origin or absolute form, without its query.
fn path(bytes: &[u8], target: &str) -> Result<Range<usize>> {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let path = match path.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => path,
    };
    if path == "/" {
        return Ok(0..0);
    }
    place(bytes, path.as_bytes()).ok_or_else(|| malformed("the request's target cannot be read"))
}

fn decimal(value: &[u8]) -> Option<usize> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn timeout(value: &[u8]) -> Result<Duration> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|seconds| *seconds > 0.0 && *seconds <= LIMIT_TIMEOUT_S)
        .map(Duration::from_secs_f64)
        .ok_or_else(|| {
            Error::new(Code::MalformedRequest, "Monorail-Timeout-S is not a number of seconds over 0")
                .hint("for example Monorail-Timeout-S: 0.5")
        })
}

/// The kind of body that a content type names.
pub fn content(value: &[u8]) -> Content {
    let kind = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    if kind.eq_ignore_ascii_case(b"application/json") {
        Content::Json
    } else if kind.eq_ignore_ascii_case(crate::values::arrow_out::MEDIA_TYPE.as_bytes()) {
        Content::Arrow
    } else if kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
        || kind.eq_ignore_ascii_case(b"multipart/form-data")
    {
        Content::Form
    } else if kind.len() > 5 && kind.to_ascii_lowercase().ends_with(b"+json") {
        Content::Json
    } else {
        Content::Other
    }
}

/// Folds one `Accept` header in: the first kind we speak wins; quality 0 means never.
pub fn accept(value: &[u8], sofar: Accept) -> Accept {
    let mut best = sofar;
    for kind in wanted(value) {
        let asked = if kind.eq_ignore_ascii_case(crate::values::arrow_out::MEDIA_TYPE.as_bytes()) {
            Accept::Arrow
        } else if kind.eq_ignore_ascii_case(b"application/json") {
            Accept::Json
        } else if kind == b"*/*" || kind.eq_ignore_ascii_case(b"application/*") {
            Accept::Any
        } else {
            Accept::Neither
        };
        best = match (best, asked) {
            (Accept::Json | Accept::Arrow, _) => best,
            (_, Accept::Json | Accept::Arrow) => asked,
            (Accept::Neither, _) if asked == Accept::Any => Accept::Any,
            (Accept::Any, Accept::Neither) if sofar == Accept::Any && !has_any(value) => Accept::Neither,
            _ => best,
        };
    }
    best
}

/// The kinds that an `Accept` header names, without those it never wants.
fn wanted(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').filter_map(|item| {
        let mut parts = item.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let kind = parts.next().unwrap_or_default();
        let never = parts.any(|p| p == b"q=0" || p.starts_with(b"q=0.0") && p.iter().skip(4).all(|b| *b == b'0'));
        (!never).then_some(kind)
    })
}

fn has_any(value: &[u8]) -> bool {
    value.windows(3).any(|w| w == b"*/*") || value.windows(13).any(|w| w.eq_ignore_ascii_case(b"application/*"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(headers: &str) -> Result<Option<Head>> {
        parse(format!("POST /models/a/predict?x=1 HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes())
    }

    #[test]
    fn what_matters_is_read() {
        let head = read("Content-Length: 12\r\nCONTENT-TYPE: application/json; charset=utf-8\r\nConnection: close\r\nMonorail-Timeout-S: 0.5\r\nX-Request-Id: abc\r\nExpect: 100-continue\r\n").unwrap().unwrap();
        assert_eq!(head.path, 5..22);
        assert_eq!((head.method, head.framing, head.content), (Method::Post, Framing::Length(12), Content::Json));
        assert!(head.close && head.expect_continue && head.request_id.is_some());
        assert_eq!(head.timeout, Some(Duration::from_millis(500)));
        assert_eq!(read("Transfer-Encoding: chunked\r\n").unwrap().unwrap().framing, Framing::Chunked);
        assert_eq!(parse(b"GET /x HTT").unwrap(), None);
        assert!(parse(b"GET /x HTTP/1.0\r\n\r\n").unwrap().unwrap().close);
        assert!(!parse(b"GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap().unwrap().close);
        assert_eq!(read("X-Request-Id: a\"b\r\n").unwrap().unwrap().request_id, None);
    }

    #[test]
    fn what_could_smuggle_is_refused() {
        for headers in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Host: h\r\n",
            "Monorail-Timeout-S: 0\r\n",
            "Monorail-Timeout-S: NaN\r\n",
            "X: a\r\n folded\r\n",
        ] {
            assert_eq!(read(headers).unwrap_err().code(), Code::MalformedRequest, "{headers}");
        }
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n").unwrap_err().code(), Code::MalformedRequest);
        let long = format!("X: {}\r\n", "a".repeat(LIMIT_HEAD_BYTES));
        assert_eq!(read(&long).unwrap_err().code(), Code::HeadersTooLarge);
        assert_eq!(read(&"X: a\r\n".repeat(200)).unwrap_err().code(), Code::HeadersTooLarge);
    }

    #[test]
    fn accept_prefers_what_it_names() {
        let arrow = crate::values::arrow_out::MEDIA_TYPE;
        for (value, expected) in [
            ("*/*", Accept::Any),
            ("application/json", Accept::Json),
            (arrow, Accept::Arrow),
            ("text/html, */*;q=0.8", Accept::Any),
            ("text/html, application/json", Accept::Json),
            ("text/html", Accept::Neither),
            ("text/html, text/plain", Accept::Neither),
        ] {
            assert_eq!(read(&format!("Accept: {value}\r\n")).unwrap().unwrap().accept, expected, "{value}");
        }
    }

    #[test]
    fn events_are_for_those_who_want_nothing_else() {
        for (value, wants) in [
            ("text/event-stream", true),
            ("Text/Event-Stream;charset=utf-8", true),
            ("text/event-stream, text/html", true),
            ("text/event-stream;q=0", false),
            ("text/event-stream, application/json", false),
            ("text/event-stream, */*;q=0.1", false),
            ("*/*", false),
            ("text/html", false),
        ] {
            assert_eq!(read(&format!("Accept: {value}\r\n")).unwrap().unwrap().wants_events(), wants, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
