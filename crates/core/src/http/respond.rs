//! Writing answers: one status line, few headers, a body of known length, or a stream.

use std::fmt::Write as _;

use crate::error::{Code, Error};
use crate::values::json_out;

/// The media type of JSON answers.
pub const JSON: &str = "application/json";
/// The media type of a stream of events.
pub const EVENTS: &str = "text/event-stream";

/// What an answer says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It stays open, as HTTP/1.1 connections do.
    Not,
    /// It stays open, which an HTTP/1.0 client must be told.
    NotThough10,
    /// It closes after this answer.
    Now,
}

impl Closing {
    /// What to tell a client of HTTP/1.0 (`old`) or 1.1.
    pub fn of(close: bool, old: bool) -> Self {
        match (close, old) {
            (true, _) => Closing::Now,
            (false, true) => Closing::NotThough10,
            (false, false) => Closing::Not,
        }
    }
}

/// What every answer carries besides its body.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub closing: Closing,
    /// Whether only the head is sent: the answer to HEAD.
    pub head_only: bool,
    pub request_id: &'a str,
    /// The `Date` header's value.
    pub date: &'a str,
}

/// How an answer's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Bytes(u64),
    /// In chunks, as [`chunk`] and [`last_chunk`] write them.
    Chunks,
    /// By the end of the connection: the chunks of HTTP/1.0.
    UntilClose,
}

/// Appends a whole answer.
pub fn answer(out: &mut Vec<u8>, frame: &Frame, status: u16, media_type: &str, extra: &str, body: &[u8]) {
    out.reserve(256 + body.len());
    head(out, frame, status, media_type, extra, Length::Bytes(body.len() as u64));
    if !frame.head_only {
        out.extend_from_slice(body);
    }
}

/// Appends the head of an answer; its body follows, if one is wanted.
pub fn head(out: &mut Vec<u8>, frame: &Frame, status: u16, media_type: &str, extra: &str, length: Length) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\ncontent-type: ");
    out.extend_from_slice(media_type.as_bytes());
    match length {
        Length::Bytes(bytes) => {
            out.extend_from_slice(b"\r\ncontent-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
        }
        Length::Chunks => out.extend_from_slice(b"\r\ntransfer-encoding: chunked"),
        Length::UntilClose => {}
    }
    out.extend_from_slice(b"\r\nx-request-id: ");
    out.extend_from_slice(frame.request_id.as_bytes());
    out.extend_from_slice(b"\r\ndate: ");
    out.extend_from_slice(frame.date.as_bytes());
    out.extend_from_slice(extra.as_bytes());
    out.extend_from_slice(match frame.closing {
        Closing::Not => b"\r\n\r\n",
        Closing::NotThough10 => b"\r\nconnection: keep-alive\r\n\r\n",
        Closing::Now => b"\r\nconnection: close\r\n\r\n",
    });
}

/// Appends a part of a body, which is not empty.
pub fn chunk(out: &mut Vec<u8>, length: Length, part: &[u8]) {
    if length != Length::Chunks {
        return out.extend_from_slice(part);
    }
    out.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
    out.extend_from_slice(part);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a body in parts.
pub fn last_chunk(out: &mut Vec<u8>, length: Length) {
    if length == Length::Chunks {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

/// Appends an error's answer, and gives its status; `extra` is more header lines, each after a line break.
pub fn error(out: &mut Vec<u8>, frame: &Frame, error: &Error, extra: &str) -> u16 {
    let status = error.code().status();
    let retry = matches!(
        error.code(),
        Code::Overloaded | Code::NotReady | Code::QueueUnavailable | Code::Draining | Code::JobStoreFull
    );
    let extra = if retry { "\r\nretry-after: 1" } else { extra };
    answer(out, frame, status, JSON, extra, &error_body(error, frame.request_id));
    status
}

/// The JSON of an error.
pub fn error_body(error: &Error, request_id: &str) -> Vec<u8> {
    let parts = error.parts();
    let mut body = Vec::with_capacity(256);
    body.extend_from_slice(b"{\"error\":{\"code\":\"");
    body.extend_from_slice(parts.code.as_str().as_bytes());
    body.extend_from_slice(b"\",\"message\":");
    json_out::text(&mut body, &parts.message);
    body.extend_from_slice(b",\"hint\":");
    match &parts.hint {
        Some(hint) => json_out::text(&mut body, hint),
        None => body.extend_from_slice(b"null"),
    }
    body.extend_from_slice(b",\"request_id\":");
    json_out::text(&mut body, request_id);
    body.extend_from_slice(b",\"details\":");
    // Details are plain data, which always has a JSON form.
    body.extend_from_slice(&serde_json::to_vec(&parts.details).unwrap_or_else(|_| b"[]".to_vec()));
    body.extend_from_slice(b"}}");
    body
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "200 OK",
        202 => "202 Accepted",
        400 => "400 Bad Request",
        404 => "404 Not Found",
        405 => "405 Method Not Allowed",
        406 => "406 Not Acceptable",
        409 => "409 Conflict",
        413 => "413 Content Too Large",
        415 => "415 Unsupported Media Type",
        422 => "422 Unprocessable Content",
        429 => "429 Too Many Requests",
        431 => "431 Request Header Fields Too Large",
        503 => "503 Service Unavailable",
        504 => "504 Gateway Timeout",
        _ => "500 Internal Server Error",
    }
}

/// A time as the `Date` header has it (RFC 9110, 5.6.7), from seconds since 1970.
pub fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = seconds / 86_400;
    let (year, month, day) = crate::clock::civil(days);
    let pick = |names: &[&'static str], at: u64| names.get(usize::try_from(at).unwrap_or(0)).copied().unwrap_or("");
    let mut text = String::with_capacity(29);
    let (second, minute, hour) = (seconds % 60, seconds / 60 % 60, seconds / 3_600 % 24);
    let _ = write!(
        text,
        "{}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} GMT",
        pick(&DAYS, days % 7),
        pick(&MONTHS, month.saturating_sub(1)),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_as_http_has_them() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
    }

    #[test]
    fn an_error_is_json_with_its_id() {
        let mut out = Vec::new();
        let frame = Frame { closing: Closing::Now, head_only: false, request_id: "r1", date: "d" };
        let fault = Error::new(Code::Overloaded, "full").hint("wait");
        assert_eq!(error(&mut out, &frame, &fault, ""), 503);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 503 ") && text.contains("retry-after: 1") && text.contains("connection: close")
        );
        let body: serde_json::Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(
            body["error"],
            serde_json::json!({"code": "overloaded", "message": "full", "hint": "wait", "request_id": "r1", "details": []})
        );
    }
}
