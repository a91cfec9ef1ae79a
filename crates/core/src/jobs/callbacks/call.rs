//! One attempt to call: resolve, judge every address, connect to a judged one, send, and read how it was taken.
//!
//! The other end is nobody we trust: it may be slow, silent, endless or not HTTP at all. Of its answer only the status and
//! `Retry-After` are read, under a cap, and the whole attempt has a time limit. Nothing that it says is told to anybody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::clock;
use crate::error::{Code, Error, Result};
use crate::settings::Settings;

use super::address::{Address, Host};
use super::rules::Rules;

/// Most bytes of an answer's head, those that only tell to wait included.
const LIMIT_HEAD_BYTES: usize = 16 * 1024;
const LIMIT_FIELDS: usize = 64;
/// How much of an answer's body is thrown away, and for how long, so that an honest end sees its answer taken.
const LIMIT_LEFT_BYTES: usize = 64 * 1024;
const LIMIT_LEFT: Duration = Duration::from_millis(200);
/// Addresses of one host that are tried, and how long each may take to connect.
const ADDRESSES: usize = 4;
const CONNECT: Duration = Duration::from_secs(4);

/// Why an attempt failed.
#[derive(Debug, Default)]
pub struct Refusal {
    /// In words, for the job's record.
    pub why: String,
    /// How long the other end wants to be left alone.
    pub wait_s: Option<f64>,
    /// It wants no more of this.
    pub gone: bool,
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { why, ..Self::default() }
    }
}

/// What makes attempts.
pub struct Caller {
    tls: TlsConnector,
    limit: Duration,
}

impl Caller {
    /// Takes the public roots, and those of `callback_ca_file`.
    ///
    /// # Errors
    /// `setting_invalid`.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let path = &settings.callback_ca_file;
        if path != "off" {
            let invalid = |why: String| {
                Error::new(Code::SettingInvalid, format!("the certificates at {path} cannot be used: {why}"))
                    .hint("callback_ca_file is a file of certificates in PEM")
            };
            let found: Vec<CertificateDer<'_>> =
                CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|e| invalid(e.to_string()))?;
            if found.is_empty() {
                return Err(invalid("there is none".to_owned()));
            }
            for certificate in found {
                roots.add(certificate).map_err(|e| invalid(e.to_string()))?;
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::new(Code::Internal, format!("no TLS can be spoken: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let limit = Duration::from_secs_f64(settings.callback_timeout_s);
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), limit })
    }

    /// Sends a request whose header fields end in a line break, and reads how it was taken.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn call(&self, rules: &Rules, address: &Address, fields: &str, body: &[u8]) -> Result<(), Refusal> {
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nuser-agent: monorail/{}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n{fields}\r\n",
            address.target,
            address.authority(),
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let until = Instant::now() + self.limit;
        let late = |_| Refusal::from(format!("no answer within {} s", self.limit.as_secs_f64()));
        let mut stream = timeout_at(until, self.open(rules, address)).await.map_err(late)??;
        let answer = timeout_at(until, exchange(&mut stream, &request)).await.map_err(late)??;
        // A courtesy; the answer is known.
        let _ = timeout(LIMIT_LEFT, drain(&mut stream, answer.left)).await;
        answer.judge()
    }

    async fn open(&self, rules: &Rules, address: &Address) -> Result<Box<dyn Stream>, Refusal> {
        let stream = connect(&resolve(rules, address).await?).await?;
        if !address.secure {
            return Ok(Box::new(stream));
        }
        let name = match &address.host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|e| format!("no TLS with {name}: {e}"))?,
            Host::Ip(ip) => ServerName::from(*ip),
        };
        Ok(Box::new(self.tls.connect(name, stream).await.map_err(|e| format!("no TLS: {e}"))?))
    }
}

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The addresses of a host that may be connected to. What is connected to is one of these very addresses: the name is not
/// resolved again.
async fn resolve(rules: &Rules, address: &Address) -> Result<Vec<SocketAddr>, Refusal> {
    let found: Vec<SocketAddr> = match &address.host {
        Host::Ip(ip) => vec![SocketAddr::new(*ip, address.port)],
        Host::Name(name) => {
            let found = lookup_host((name.as_str(), address.port)).await;
            found.map_err(|e| format!("{name} cannot be resolved: {e}"))?.collect()
        }
    };
    let mut allowed: Vec<SocketAddr> = found.into_iter().filter(|found| rules.allows(found.ip())).collect();
    allowed.truncate(ADDRESSES);
    if allowed.is_empty() {
        // The addresses themselves are not told: a job's record is no way to ask for names of the inner network.
        return Err(format!("{} has no address that callback_networks allows", address.host.text()).into());
    }
    Ok(allowed)
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Refusal> {
    let mut why = "no address".to_owned();
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // One write, then a read: nothing to gather for.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = format!("no answer within {} s", CONNECT.as_secs()),
        }
    }
    Err(format!("cannot connect: {why}").into())
}

/// Sends a request, and reads the answer's head.
async fn exchange(stream: &mut impl Stream, request: &[u8]) -> Result<Answer, Refusal> {
    let sent = match stream.write_all(request).await {
        Ok(()) => stream.flush().await,
        failed => failed,
    };
    // Whoever refuses may answer and close before the whole request is read.
    match (read_answer(stream).await, sent) {
        (Err(_), Err(error)) => Err(format!("the request could not be sent: {error}").into()),
        (answer, _) => answer,
    }
}

/// Throws away so much of what follows an answer's head.
async fn drain(stream: &mut impl Stream, mut left: usize) {
    let mut part = [0; 4_096];
    while left > 0
        && let Ok(read @ 1..) = stream.read(&mut part).await
    {
        left = left.saturating_sub(read);
    }
    let _ = stream.shutdown().await;
}

/// What is read of an answer.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    wait_s: Option<f64>,
    /// Bytes of its body that were not read with its head, up to the limit.
    left: usize,
}

impl Answer {
    fn judge(self) -> Result<(), Refusal> {
        let Self { status, wait_s, .. } = self;
        let why = match status {
            200..=299 => return Ok(()),
            300..=399 => format!("answered {status}: redirects are not followed"),
            _ => format!("answered {status}"),
        };
        Err(Refusal { why, wait_s, gone: status == 410 })
    }
}

async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer, Refusal> {
    let (mut bytes, mut part, mut seen) = (Vec::new(), [0; 4_096], 0);
    loop {
        let read = stream.read(&mut part).await.map_err(|e| format!("the connection broke: {e}"))?;
        if read == 0 {
            return Err("the connection was closed before an answer".to_owned().into());
        }
        bytes.extend(part.iter().take(read));
        seen += read;
        loop {
            let mut fields = [httparse::EMPTY_HEADER; LIMIT_FIELDS];
            let mut head = httparse::Response::new(&mut fields);
            match head.parse(&bytes).map_err(|_| "the answer is not HTTP".to_owned())? {
                httparse::Status::Partial => break,
                httparse::Status::Complete(end) => match head.code.unwrap_or(0) {
                    // The answer proper follows.
                    100 | 102..=199 => drop(bytes.drain(..end)),
                    status => {
                        let body = if status == 204 { Some(0) } else { length(head.headers) };
                        let left = body.unwrap_or(usize::MAX).saturating_sub(bytes.len() - end).min(LIMIT_LEFT_BYTES);
                        return Ok(Answer { status, wait_s: wait_s(head.headers), left });
                    }
                },
            }
        }
        if seen > LIMIT_HEAD_BYTES {
            return Err(format!("the answer's head is over {} KiB", LIMIT_HEAD_BYTES / 1_024).into());
        }
    }
}

fn field<'a>(fields: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(field.value).ok().map(str::trim)
}

/// How long an answer says that its body is.
fn length(fields: &[httparse::Header<'_>]) -> Option<usize> {
    field(fields, "content-length")?.parse().ok()
}

/// What `Retry-After` says, in seconds from now.
fn wait_s(fields: &[httparse::Header<'_>]) -> Option<f64> {
    let text = field(fields, "retry-after")?;
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(f64::from(seconds));
    }
    Some((clock::from_http_date(text)? - clock::now()).max(0.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::runtime::Builder;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Answer, Refusal> {
        Builder::new_current_thread().build().unwrap().block_on(read_answer(&mut &bytes[..]))
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(read(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Answer { status: 204, wait_s: None, left: 0 });
        let without_length = read(b"HTTP/1.0 200 OK\n\nbody").unwrap();
        assert_eq!((without_length.status, without_length.left), (200, LIMIT_LEFT_BYTES));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbody").unwrap().left, 5);
        assert_eq!(read(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nbody").unwrap().left, 0);
        let waits = read(b"HTTP/1.1 429 x\r\nRetry-After: 7\r\n\r\n").unwrap();
        assert_eq!((waits.status, waits.wait_s), (429, Some(7.0)));
        let early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 500 x\r\n\r\n";
        assert_eq!(read(early).unwrap().status, 500);
        let past = read(b"HTTP/1.1 503 x\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n").unwrap();
        assert_eq!(past.wait_s, Some(0.0));
        assert_eq!(read(b"HTTP/1.1 503 x\r\nretry-after: -5\r\n\r\n").unwrap().wait_s, None);
    }

    #[test]
    fn lies_are_refused() {
        let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'x'; 40_000]].concat();
        let waiting = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(2_000);
        for (bytes, words) in [
            (&b""[..], "closed before"),
            (b"HTTP/1.1 200", "closed before"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP"),
            (b"\x16\x03\x01\x02\x00\x01", "not HTTP"),
            (b"HTTP/1.1 99999 OK\r\n\r\n", "not HTTP"),
            (b"HTTP/2 200\r\n\r\n", "not HTTP"),
            (&endless, "over 16 KiB"),
            (&waiting, "over 16 KiB"),
        ] {
            let refusal = read(bytes).expect_err(words);
            assert!(refusal.why.contains(words), "{}", refusal.why);
        }
        assert!(
            Answer { status: 302, wait_s: None, left: 0 }
                .judge()
                .unwrap_err()
                .why
                .contains("redirects are not followed")
        );
        assert!(Answer { status: 410, wait_s: None, left: 0 }.judge().unwrap_err().gone);
    }

    proptest! {
        #[test]
        fn nothing_that_answers_breaks_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300), as_http in any::<bool>()) {
            let bytes = if as_http { [b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes].concat() } else { bytes };
            if let Ok(answer) = read(&bytes) {
                prop_assert!(answer.status < 1_000 && answer.wait_s.is_none_or(|wait| wait >= 0.0 && wait.is_finite()));
            }
        }
    }
}
