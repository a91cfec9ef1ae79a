//! Messages: what the headers of a request mean, and what a reply and a dead letter say.
//!
//! Brokers differ in how they carry headers; what they mean is the same on all of them, and the payload is a body as
//! HTTP has it.

use std::borrow::Cow;

use crate::catalog::Served;
use crate::error::{Code, Error, Result};
use crate::exchange::Media;
use crate::http::head::{self, Accept, Content};
use crate::http::{predict, respond};

use super::state::Outcome;
use super::{Config, message};

/// The header of an id that a request's sender chose: requests with the same one have one reply.
pub const MESSAGE_ID: &str = "message-id";
/// The header that a reply is told by.
pub const CORRELATION_ID: &str = "correlation-id";
pub const CONTENT_TYPE: &str = "content-type";
const ACCEPT: &str = "accept";
const REPLY_TO: &str = "reply-to";
/// Seconds since 1970.
const DEADLINE: &str = "deadline";
/// Of a trace (W3C Trace Context); both go on with the reply.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// Most headers of a request, bytes of all of them, and bytes of an id.
const LIMIT_HEADERS: usize = 64;
const LIMIT_HEADERS_BYTES: usize = 32 << 10;
const LIMIT_ID_BYTES: usize = 256;

/// A message's headers, in the order they came; names in any case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(pub Vec<(String, Vec<u8>)>);

impl Headers {
    /// The first header of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    fn check(&self) -> Result<()> {
        let bytes: usize = self.0.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.0.len() > LIMIT_HEADERS || bytes > LIMIT_HEADERS_BYTES {
            let message = format!("the headers are over {LIMIT_HEADERS_BYTES} bytes, or more than {LIMIT_HEADERS}");
            return Err(Error::new(Code::HeadersTooLarge, message).hint("send fewer or shorter headers"));
        }
        Ok(())
    }
}

/// A message as a broker gives it out.
#[derive(Debug)]
pub struct Delivery<T> {
    pub tag: T,
    /// How often it was given out, this time included.
    pub attempts: u32,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// What a request's headers ask for.
#[derive(Debug, PartialEq)]
pub struct Request {
    pub input: Media,
    pub output: Media,
    /// Chosen by its sender.
    pub message_id: Option<String>,
    /// Where its reply goes, if not where all go.
    pub reply_to: Option<String>,
    /// When nobody wants its answer any more, in seconds since 1970.
    pub deadline: Option<f64>,
}

impl Request {
    /// Reads the headers of a request, and looks at the size of its body.
    ///
    /// # Errors
    /// `headers_too_large`, `malformed_request`, `unsupported_media_type`, `not_acceptable`, `reply_to_refused`,
    /// `body_too_large`.
    pub fn read<T>(delivery: &Delivery<T>, config: &Config) -> Result<Self> {
        let headers = &delivery.headers;
        headers.check()?;
        let content = headers.get(CONTENT_TYPE).map_or(Content::Json, head::content);
        let accept = headers.get(ACCEPT).map_or(Accept::Any, |value| head::accept(value, Accept::Any));
        let (input, output) = predict::media(content, accept)?;
        if let Some(id) = headers.get(CORRELATION_ID) {
            check_id(CORRELATION_ID, id)?;
        }
        let message_id = headers.get(MESSAGE_ID).map(|id| check_id(MESSAGE_ID, id).map(str::to_owned)).transpose()?;
        let reply_to = headers.get(REPLY_TO).map(|name| check_reply_to(name, config)).transpose()?;
        let deadline = headers.get(DEADLINE).map(seconds).transpose()?;
        if delivery.body.len() > config.limit_body_bytes {
            return Err(Error::new(Code::BodyTooLarge, format!("the body is over {} bytes", config.limit_body_bytes))
                .hint("send fewer rows at once, or raise limit_body_bytes"));
        }
        Ok(Self { input, output, message_id, reply_to, deadline })
    }
}

fn malformed(message: String, hint: &'static str) -> Error {
    Error::new(Code::MalformedRequest, message).hint(hint)
}

fn check_id<'a>(name: &str, id: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(id)
        .ok()
        .filter(|id| (1..=LIMIT_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control))
        .ok_or_else(|| {
            malformed(
                format!("the header {name} is no id"),
                "an id is text of at most 256 bytes, without control characters",
            )
        })
}

/// A name that replies may go to: what a message says must not write just anywhere.
fn check_reply_to(name: &[u8], config: &Config) -> Result<String> {
    let allowed = config.reply_to.as_deref();
    let name = check_id(REPLY_TO, name)?;
    if allowed.is_none_or(|prefix| !name.starts_with(prefix))
        || [&config.requests, &config.unprocessable(), &config.failed()].iter().any(|own| *own == name)
    {
        return Err(Error::new(Code::ReplyToRefused, "the header reply-to names a place where replies may not go")
            .hint("leave it out, or start the server with --queue-reply-to PREFIX"));
    }
    Ok(name.to_owned())
}

fn seconds(value: &[u8]) -> Result<f64> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|s| s.is_finite())
        .ok_or_else(|| {
            malformed("the header deadline is no time".to_owned(), "a deadline is a number of seconds since 1970")
        })
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    Replies,
    /// Another place that a request asked for, and that the settings allow.
    Named(String),
    Unprocessable,
    Failed,
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    pub to: Target,
    pub headers: Vec<(Cow<'static, str>, Cow<'static, [u8]>)>,
    pub body: Vec<u8>,
}

/// What becomes of a request: its reply, and where nobody could score it, the request itself as a dead letter.
#[derive(Debug, PartialEq)]
pub struct Settled<T> {
    pub tag: T,
    /// The id that its sender chose.
    pub message_id: Option<String>,
    pub reply: Publication,
    pub dead_letter: Option<Publication>,
    pub outcome: Outcome,
    pub status: u16,
}

impl<T: std::fmt::Display> Delivery<T> {
    /// The request answered, by a version of its model.
    pub fn answered(self, request: Request, served: &Served, body: Vec<u8>) -> Settled<T> {
        let mut headers = self.reply_headers(request.output.name(), Cow::Borrowed("200"));
        // One header for both: each costs Redis about a twentieth of what the message does.
        headers.push((Cow::Borrowed("model"), Cow::Owned(format!("{}@{}", served.name, served.version).into_bytes())));
        let to = request.reply_to.map_or(Target::Replies, Target::Named);
        Settled {
            tag: self.tag,
            message_id: request.message_id,
            reply: Publication { to, headers, body },
            dead_letter: None,
            outcome: Outcome::Answered,
            status: 200,
        }
    }

    /// The request refused or given up, with the error that HTTP would have answered.
    pub fn refused(self, request: Option<Request>, error: &Error, outcome: Outcome) -> Settled<T> {
        let code = error.code();
        let status = code.status().to_string();
        let mut headers = self.reply_headers(respond::JSON, Cow::Owned(status));
        headers.push((Cow::Borrowed("code"), Cow::Borrowed(code.as_str().as_bytes())));
        let id = String::from_utf8_lossy(&self.correlation_id()).into_owned();
        let body = respond::error_body(error, &id);
        let (to, message_id) = request.map_or((Target::Replies, None), |request| {
            (request.reply_to.map_or(Target::Replies, Target::Named), request.message_id)
        });
        let dead = match outcome {
            Outcome::Unprocessable => Some(Target::Unprocessable),
            Outcome::Failed => Some(Target::Failed),
            Outcome::Answered | Outcome::Expired => None,
        };
        let tag = self.tag;
        let dead_letter = dead.map(|to| dead_letter(to, &id, self.attempts, error, self.headers, self.body));
        let reply = Publication { to, headers, body };
        Settled { tag, message_id, reply, dead_letter, outcome, status: code.status() }
    }

    /// What the reply is told by: the correlation id of the request, else its own id, else the broker's.
    fn correlation_id(&self) -> Cow<'static, [u8]> {
        let given = [CORRELATION_ID, MESSAGE_ID].iter().find_map(|name| self.headers.get(name));
        // What is no id was refused, and is not repeated.
        let given = given.filter(|id| check_id(CORRELATION_ID, id).is_ok());
        Cow::Owned(given.map_or_else(|| self.tag.to_string().into_bytes(), <[u8]>::to_vec))
    }

    fn reply_headers(
        &self,
        media_type: &'static str,
        status: Cow<'static, str>,
    ) -> Vec<(Cow<'static, str>, Cow<'static, [u8]>)> {
        let status = match status {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        let mut headers = Vec::with_capacity(6);
        headers.push((Cow::Borrowed(CORRELATION_ID), self.correlation_id()));
        headers.push((Cow::Borrowed(CONTENT_TYPE), Cow::Borrowed(media_type.as_bytes())));
        headers.push((Cow::Borrowed("status"), status));
        for name in TRACE {
            if let Some(value) = self.headers.get(name).filter(|value| value.len() <= message::LIMIT_TRACE_BYTES) {
                headers.push((Cow::Borrowed(name), Cow::Owned(value.to_vec())));
            }
        }
        headers
    }
}

/// Most bytes of a trace header that goes on: the standard asks for 512.
const LIMIT_TRACE_BYTES: usize = 1_024;

/// The request as it came, with what became of it.
fn dead_letter(to: Target, id: &str, attempts: u32, error: &Error, own: Headers, body: Vec<u8>) -> Publication {
    let mut headers: Vec<(Cow<'static, str>, Cow<'static, [u8]>)> =
        own.0.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(value))).collect();
    for (name, value) in [
        ("monorail-request-id", id.to_owned()),
        ("monorail-code", error.code().as_str().to_owned()),
        ("monorail-reason", error.to_string()),
        ("monorail-attempts", attempts.to_string()),
    ] {
        headers.push((Cow::Borrowed(name), Cow::Owned(value.into_bytes())));
    }
    Publication { to, headers, body }
}
