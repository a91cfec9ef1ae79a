//! The client's half of HTTP/1.1, as little of it as a load generator needs.

use std::net::{SocketAddr, ToSocketAddrs};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{Code, Error, Result};
use crate::names::shorten;

/// Most bytes of an answer's head.
const LIMIT_HEAD_BYTES: usize = 64 << 10;
/// Most bytes of an answer's body.
const LIMIT_BODY_BYTES: usize = 1 << 30;

/// Where a server is: the parts of `http://HOST[:PORT][/PREFIX]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host and port, as the `Host` header has them.
    pub host: String,
    pub port: u16,
    /// What stands before every path, without a slash at its end.
    pub prefix: String,
}

impl Target {
    /// Reads a server's address.
    pub fn parse(url: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::new(Code::SettingInvalid, format!("\"{}\" {what}", shorten(url)))
                .hint("give the server's address as http://HOST:PORT")
        };
        let Some(rest) = url.strip_prefix("http://") else { return Err(wrong("does not begin with http://")) };
        if url.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#' || b == b'?' || b == b'@') {
            return Err(wrong("is not the address of a server"));
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        // The port follows the last colon, unless that is inside an IPv6 address.
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => {
                (name, port.parse().map_err(|_| wrong("has no port that could be one"))?)
            }
            _ => (authority, 80),
        };
        if name.is_empty() {
            return Err(wrong("names no host"));
        }
        let prefix = path.trim_end_matches('/').to_owned();
        Ok(Self { host: authority.to_owned(), port, prefix })
    }

    /// The addresses it has.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        let name = match self.host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => name,
            _ => &self.host,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        Ok((name, self.port).to_socket_addrs()?.collect())
    }
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    /// Bytes of the head itself.
    pub bytes: usize,
    pub body_bytes: usize,
    /// Whether the connection stays open.
    pub keeps_alive: bool,
}

/// Why a request got no answer.
#[derive(Debug)]
pub enum Failure {
    /// The connection ended or could not be made.
    Connection(std::io::Error),
    /// The answer is not HTTP/1.1 with a length.
    Protocol,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Connection(error)
    }
}

/// A connection, and what it has read.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends a request and reads its answer, whose body [`Connection::body`] then has.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Head, Failure> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let mut head = None;
        loop {
            if self.buffer.len() == self.buffer.capacity() {
                self.buffer.reserve(self.buffer.capacity());
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Failure::Connection(std::io::ErrorKind::UnexpectedEof.into()));
            }
            if head.is_none() {
                head = read_head(&self.buffer)?;
            }
            match head {
                Some(head) if self.buffer.len() == head.bytes + head.body_bytes => return Ok(head),
                // Nothing was asked for that could follow.
                Some(head) if self.buffer.len() > head.bytes + head.body_bytes => return Err(Failure::Protocol),
                None if self.buffer.len() > LIMIT_HEAD_BYTES => return Err(Failure::Protocol),
                _ => {}
            }
        }
    }

    /// The body of the last answer.
    pub fn body(&self, head: Head) -> &[u8] {
        self.buffer.get(head.bytes..).unwrap_or_default()
    }
}

/// The head at the start of `bytes`; `None` while it is not whole.
fn read_head(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = response.parse(bytes).map_err(|_| Failure::Protocol)? else {
        return Ok(None);
    };
    let status = response.code.ok_or(Failure::Protocol)?;
    let mut head = Head { status, bytes: head_bytes, body_bytes: 0, keeps_alive: response.version == Some(1) };
    let mut length = None;
    for header in response.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(|_| Failure::Protocol)?;
            length = Some(text.trim().parse().map_err(|_| Failure::Protocol)?);
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.keeps_alive &= !header.value.eq_ignore_ascii_case(b"close");
        }
    }
    // Without a length the body's end is unknown to us: chunks are not read.
    head.body_bytes = length.filter(|n| *n <= LIMIT_BODY_BYTES).ok_or(Failure::Protocol)?;
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        for (url, host, port, prefix) in [
            ("http://localhost:8000", "localhost:8000", 8000, ""),
            ("http://localhost", "localhost", 80, ""),
            ("http://127.0.0.1:1/", "127.0.0.1:1", 1, ""),
            ("http://[::1]:9/a/b/", "[::1]:9", 9, "/a/b"),
            ("http://[::1]", "[::1]", 80, ""),
        ] {
            let expected = Target { host: host.to_owned(), port, prefix: prefix.to_owned() };
            assert_eq!(Target::parse(url).unwrap(), expected);
        }
        assert!(!Target::parse("http://[::1]:9").unwrap().addresses().unwrap().is_empty());
        for url in [
            "",
            "localhost:8000",
            "https://a",
            "http://",
            "http://:80",
            "http://a:b",
            "http://a:70000",
            "http://a\r\nX: y",
            "http://u@a",
        ] {
            assert_eq!(Target::parse(url).unwrap_err().code(), Code::SettingInvalid, "{url}");
        }
    }

    #[test]
    fn reads_heads() {
        let head = |text: &str| read_head(text.as_bytes());
        let whole = head("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").unwrap().unwrap();
        assert_eq!((whole.status, whole.body_bytes, whole.keeps_alive), (200, 5, true));
        let last = head("HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n").unwrap().unwrap();
        assert_eq!((last.status, last.body_bytes, last.keeps_alive), (503, 0, false));
        assert!(head("HTTP/1.1 200 OK\r\ncontent-le").unwrap().is_none());
        for bad in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "SSH-2.0 hello\r\n\r\n"]
        {
            assert!(head(bad).is_err(), "{bad}");
        }
    }
}
