//! The addresses that may be called back: one strict grammar, read once, by the code that connects.
//!
//! Two readers of one URL are how servers are led astray, so what needs interpretation is refused, not interpreted: no
//! user names, no fragments, no numbers in place of an address, no characters beyond ASCII.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest URL, in bytes.
const LIMIT_BYTES: usize = 2_048;
const LIMIT_NAME_BYTES: usize = 253;
const LIMIT_LABEL_BYTES: usize = 63;

/// Whose address it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// In lower case, without a dot at its end.
    Name(String),
    Ip(IpAddr),
}

impl Host {
    /// As it stands in a URL.
    pub fn text(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Ip(IpAddr::V4(ip)) => ip.to_string(),
            Self::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        }
    }
}

/// A URL to call back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub secure: bool,
    pub host: Host,
    pub port: u16,
    /// Path and query, as they were given.
    pub target: String,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        if url.len() > LIMIT_BYTES {
            return Err("it is longer than 2048 bytes");
        }
        if !url.bytes().all(|b| {
            b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        }) {
            return Err("it holds a character that has to be escaped; a name beyond ASCII is written in its xn-- form");
        }
        if url.contains('#') {
            return Err("it has a fragment");
        }
        let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
        let secure = is_secure(scheme)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = read_authority(authority)?;
        if !has_whole_escapes(target) {
            return Err("it has a % without two hexadecimal digits");
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        let port = port.unwrap_or(default_port(secure));
        Ok(Self { secure, host, port, target: format!("{slash}{target}") })
    }

    /// Host and port, as the `Host` field has them.
    pub fn authority(&self) -> String {
        let host = self.host.text();
        if self.port == default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }
}

/// Whether a scheme is that of HTTP over TLS.
///
/// # Errors
/// It is neither `https` nor `http`.
pub fn is_secure(scheme: &str) -> Result<bool, &'static str> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Ok(true),
        "http" => Ok(false),
        _ => Err("its scheme is neither https nor http"),
    }
}

/// The port that a scheme means.
pub fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// Reads `host` or `host:port`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_authority(text: &str) -> Result<(Host, Option<u16>), &'static str> {
    if text.contains('@') {
        return Err("it has a user name");
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, rest) = rest.split_once(']').ok_or("its address has no ] at its end")?;
            let ip: Ipv6Addr = ip.parse().map_err(|_| "what it has in brackets is no IPv6 address")?;
            let port =
                if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or("it has no port after ]")?) };
            (Host::Ip(IpAddr::V6(ip)), port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            (read_host(host)?, port)
        }
    };
    Ok((host, port.map(read_port).transpose()?))
}

fn read_port(text: &str) -> Result<u16, &'static str> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let port = if digits { text.parse().unwrap_or(0) } else { 0 };
    if port == 0 { Err("its port is no number from 1 to 65535") } else { Ok(port) }
}

fn read_host(text: &str) -> Result<Host, &'static str> {
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    let name = text.to_ascii_lowercase();
    if name.is_empty() || name.len() > LIMIT_NAME_BYTES || !name.split('.').all(is_label) {
        return Err("its host is no name: letters, digits and dashes between dots, none at its end");
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    // Some resolvers take such names for addresses: 127.1, 0x7f000001, 2130706433.
    if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err("its host ends in a number; an IPv4 address is four numbers from 0 to 255 without leading zeros");
    }
    Ok(Host::Name(name))
}

fn is_label(label: &str) -> bool {
    (1..=LIMIT_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn has_whole_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(url: &str) -> Address {
        Address::parse(url).unwrap_or_else(|why| panic!("{url}: {why}"))
    }

    #[test]
    fn addresses_are_read() {
        let address = read("https://Hooks.Example.com/a%2Fb?c=d:e@f");
        assert_eq!((address.secure, address.port), (true, 443));
        assert_eq!(address.host, Host::Name("hooks.example.com".to_owned()));
        assert_eq!(address.target, "/a%2Fb?c=d:e@f");
        assert_eq!(address.authority(), "hooks.example.com");
        assert_eq!(read("HTTPS://a.b").target, "/");
        assert_eq!(read("https://a.b?q").target, "/?q");
        assert_eq!(read("http://a.b:8080/").authority(), "a.b:8080");
        assert_eq!(read("http://a.b:80/").authority(), "a.b");
        assert_eq!(read("https://[2001:DB8::1]:8443/x").authority(), "[2001:db8::1]:8443");
        assert_eq!(read("https://192.0.2.1/x").host, Host::Ip("192.0.2.1".parse().unwrap()));
        assert_eq!(read("https://xn--bcher-kva.example/").host, Host::Name("xn--bcher-kva.example".to_owned()));
        assert_eq!(read("https://1.example/").host, Host::Name("1.example".to_owned()));
    }

    const REFUSED: &[&str] = &[
        "",
        "https",
        "https:",
        "https:/a.b",
        "https://",
        "//a.b",
        "a.b",
        "ftp://a.b",
        "file:///etc/passwd",
        "javascript://a.b",
        "gopher://a.b",
        "https://user@a.b",
        "https://user:word@a.b",
        "https://a.b@c.d/",
        "https://@a.b",
        "https://a.b#f",
        "https://a.b/#f",
        "https://a.b\\@c.d",
        "https:\\\\a.b",
        "https://a.b\r\nX: y",
        "https://a.b/\r\nX: y",
        "https://a.b/\n",
        "https://a.b/ x",
        " https://a.b",
        "https://a.b\t",
        "https://a.b\0",
        "https://a b",
        "https://a.b.",
        "https://.a.b",
        "https://a..b",
        "https://-a.b",
        "https://a-.b",
        "https://a_b.c",
        "https://bücher.example",
        "https://ⓔxample.com",
        "https://a。b",
        "https://a.b:",
        "https://a.b:0",
        "https://a.b:65536",
        "https://a.b:+1",
        "https://a.b:1:2",
        "https://a.b:80a",
        "https://a.b:٣",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://017700000001/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.01/",
        "https://127.0.0.0x1/",
        "https://256.0.0.1/",
        "https://1.2.3/",
        "https://1.2.3.4.5/",
        "https://a.0x7f/",
        "https://a.0x/",
        "https://127.0.0.1./",
        "https://[::1",
        "https://::1/",
        "https://[::1]a/",
        "https://[::1]:/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[1.2.3.4]/",
        "https://[]/",
        "https://a%2eb/",
        "https://a.b/%",
        "https://a.b/%4",
        "https://a.b/%zz",
        "https://a.b/<x>",
        "https://a.b/{x}",
        "https://a.b/\u{7f}",
        "https:///a.b",
        "https://?a.b",
        "https://*.a.b",
    ];

    #[test]
    fn what_would_have_to_be_interpreted_is_refused() {
        for url in REFUSED {
            assert!(Address::parse(url).is_err(), "{url:?} was read as {:?}", Address::parse(url));
        }
        assert!(Address::parse(&format!("https://a.b/{}", "x".repeat(LIMIT_BYTES))).is_err());
        assert!(Address::parse(&format!("https://{}.b/", "x".repeat(64))).is_err());
        assert!(Address::parse(&format!("https://{}b/", "x.".repeat(130))).is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_can_break_out_of_its_line(url in "(https?://)?[ -~\\r\\n\u{0}\u{e9}]{0,40}") {
            if let Ok(address) = Address::parse(&url) {
                let line = format!("{} {}", address.target, address.authority());
                prop_assert!(line.bytes().filter(|b| *b == b' ').count() == 1 && line.bytes().all(|b| (b' '..=b'~').contains(&b)));
                // What was read is what would be read again.
                let scheme = if address.secure { "https" } else { "http" };
                let again = format!("{scheme}://{}{}", address.authority(), address.target);
                prop_assert_eq!(Address::parse(&again), Ok(address));
            }
        }

        #[test]
        fn numbers_are_no_names(number in any::<u32>()) {
            for host in [format!("{number}"), format!("{number:#x}"), format!("0{number:o}"), format!("a.{number}"), format!("1.{}", number & 0xff_ffff)] {
                prop_assert!(Address::parse(&format!("https://{host}/")).is_err(), "{}", host);
            }
        }
    }
}
