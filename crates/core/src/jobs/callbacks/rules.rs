//! Where the operator lets callbacks go: hosts by name, networks by address.
//!
//! A host is judged when a job is submitted and again before each attempt, an address each time a name was resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{Code, Error, Result};
use crate::names;
use crate::settings::Settings;

use super::address::{Address, Host, default_port, is_secure, read_authority};

/// The word for no host at all.
const OFF: &str = "off";
/// The word for all addresses that anybody on the internet may reach.
const PUBLIC: &str = "public";

/// IPv4 blocks that are not the public internet: IANA's special-purpose registry, multicast and reserved.
const SPECIAL_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// The IPv6 block that is the public internet. Mapped, compatible and translated IPv4, loopback, unique local, link-local
/// and multicast are all outside it.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What is special within it: protocol assignments (Teredo among them), documentation, 6to4.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Which hosts and networks may be called.
#[derive(Clone, Debug)]
pub struct Rules {
    hosts: Vec<Allowed>,
    networks: Networks,
}

#[derive(Clone, Debug)]
struct Allowed {
    secure: bool,
    /// Every name below it, not itself.
    below: bool,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, Default)]
struct Networks {
    public: bool,
    blocks: Vec<(IpAddr, u8)>,
}

impl Rules {
    /// The rules that a server's settings make; `None` where no host is allowed.
    ///
    /// # Errors
    /// `setting_invalid`.
    pub fn from_settings(settings: &Settings) -> Result<Option<Self>> {
        if settings.callback_hosts == OFF {
            return Ok(None);
        }
        let hosts = words(&settings.callback_hosts).map(Allowed::parse).collect::<Result<Vec<_>>>()?;
        let mut networks = Networks::default();
        for word in words(&settings.callback_networks) {
            networks.add(word)?;
        }
        Ok(Some(Self { hosts, networks }))
    }

    /// Reads a URL and judges its host.
    ///
    /// # Errors
    /// `callback_refused`.
    pub fn check(&self, url: &str) -> Result<Address> {
        let address = Address::parse(url).map_err(|why| {
            Error::new(Code::CallbackRefused, format!("the callback's URL cannot be used: {why}"))
                .hint("https://HOST/PATH, where the host is one of callback_hosts")
        })?;
        if self.hosts.iter().any(|allowed| allowed.holds(&address)) {
            return Ok(address);
        }
        let scheme = if address.secure { "https" } else { "http" };
        let message = format!("this server calls nobody at {scheme}://{}", names::shorten(&address.authority()));
        Err(Error::new(Code::CallbackRefused, message).hint("the operator allows hosts with --callback-hosts"))
    }

    /// Whether an address that a name was resolved to may be connected to.
    pub fn allows(&self, ip: IpAddr) -> bool {
        let within = |(block, length): &(IpAddr, u8)| is_within(ip, *block, *length);
        (self.networks.public && is_public(ip)) || self.networks.blocks.iter().any(within)
    }
}

/// What a caller is told where nobody is called back.
pub fn refused_all() -> Error {
    Error::new(Code::CallbackRefused, "this server calls nobody back")
        .hint("the operator allows hosts with --callback-hosts")
}

impl Allowed {
    fn parse(word: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Error::new(Code::SettingInvalid, format!("callback_hosts holds {}: {why}", names::shorten(word))).hint(
                "hosts look like hooks.example.com, hooks.example.com:8443, *.example.com or http://10.0.0.5:8080",
            )
        };
        let (scheme, rest) = word.split_once("://").unwrap_or(("https", word));
        let secure = is_secure(scheme).map_err(invalid)?;
        let (below, rest) = rest.strip_prefix("*.").map_or((false, rest), |rest| (true, rest));
        let (host, port) = read_authority(rest).map_err(invalid)?;
        if below && matches!(host, Host::Ip(_)) {
            return Err(invalid("an address has no names below it"));
        }
        Ok(Self { secure, below, host, port: port.unwrap_or(default_port(secure)) })
    }

    fn holds(&self, address: &Address) -> bool {
        let host = match (&self.host, &address.host) {
            (Host::Name(allowed), Host::Name(name)) if self.below => {
                name.strip_suffix(allowed.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (allowed, host) => allowed == host,
        };
        host && self.secure == address.secure && self.port == address.port
    }
}

impl Networks {
    fn add(&mut self, word: &str) -> Result<()> {
        if word == PUBLIC {
            self.public = true;
            return Ok(());
        }
        let block = || {
            let (ip, length) = word.split_once('/')?;
            let ip: IpAddr = ip.parse().ok()?;
            let length: u8 = length.parse().ok()?;
            (length <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, length))
        };
        let message = || format!("callback_networks holds {}", names::shorten(word));
        let block = block().ok_or_else(|| {
            Error::new(Code::SettingInvalid, message()).hint("networks look like public, 10.0.0.0/8 or fd00::/8")
        })?;
        self.blocks.push(block);
        Ok(())
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

fn is_within(ip: IpAddr, block: IpAddr, length: u8) -> bool {
    let length = u32::from(length);
    match (ip, block) {
        (IpAddr::V4(ip), IpAddr::V4(block)) => (ip.to_bits() ^ block.to_bits()).leading_zeros() >= length,
        (IpAddr::V6(ip), IpAddr::V6(block)) => (ip.to_bits() ^ block.to_bits()).leading_zeros() >= length,
        // A mapped address is no way around a rule: IPv4 rules are for IPv4 addresses.
        _ => false,
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|(block, length)| is_within(ip, (*block).into(), *length)),
        IpAddr::V6(_) => {
            is_within(ip, GLOBAL_V6.0.into(), GLOBAL_V6.1)
                && !SPECIAL_V6.iter().any(|(block, length)| is_within(ip, (*block).into(), *length))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(hosts: &str, networks: &str) -> Result<Option<Rules>> {
        let settings = Settings {
            callback_hosts: hosts.to_owned(),
            callback_networks: networks.to_owned(),
            ..Settings::default()
        };
        Rules::from_settings(&settings)
    }

    fn some(hosts: &str, networks: &str) -> Rules {
        rules(hosts, networks).unwrap().unwrap()
    }

    #[test]
    fn hosts_are_allowed_by_scheme_name_and_port() {
        let rules =
            some("hooks.example.com, *.example.org, b.example:8443,http://10.0.0.5:8080,[2001:db8::1]", "public");
        for url in [
            "https://hooks.example.com/x",
            "https://HOOKS.example.com:443/x",
            "https://a.example.org/",
            "https://a.b.example.org/",
            "https://b.example:8443/",
            "http://10.0.0.5:8080/x",
            "https://[2001:db8:0::1]/",
        ] {
            assert!(rules.check(url).is_ok(), "{url}");
        }
        for url in [
            "http://hooks.example.com/x",
            "https://hooks.example.com:444/x",
            "https://a.hooks.example.com/",
            "https://example.com/",
            "https://example.org/",
            "https://notexample.org/",
            "https://a.example.org:8443/",
            "https://b.example/",
            "https://10.0.0.5:8080/x",
            "http://10.0.0.5/x",
            "https://hooks.example.com.evil.test/",
            "https://[2001:db8::2]/",
            "https://hooks.example.com@evil.test/",
            "https://[::ffff:10.0.0.5]/",
            "http://167772165:8080/x",
        ] {
            assert_eq!(rules.check(url).unwrap_err().code(), Code::CallbackRefused, "{url}");
        }
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        assert!(rules("off", "nonsense").unwrap().is_none());
        for hosts in
            ["", "a.b,", "a.b/path", "ftp://a.b", "*.10.0.0.1", "*", "*.", "a.*.b", "user@a.b", "a.b:0", "off,a.b:x"]
        {
            assert_eq!(rules(hosts, "public").unwrap_err().code(), Code::SettingInvalid, "{hosts}");
        }
        for networks in ["", "all", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "fd00::/129", "10.0.0.0/-1", "a/8"] {
            assert_eq!(rules("a.b", networks).unwrap_err().code(), Code::SettingInvalid, "{networks}");
        }
    }

    #[test]
    fn only_public_addresses_are_public() {
        let rules = some("a.b", "public");
        for ip in [
            "8.8.8.8",
            "1.1.1.1",
            "172.15.255.255",
            "172.32.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::1",
        ] {
            assert!(rules.allows(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!rules.allows(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn networks_are_allowed_as_listed() {
        let rules = some("a.b", "10.1.0.0/16, fd00::/8");
        for (ip, allowed) in [
            ("10.1.2.3", true),
            ("10.2.0.0", false),
            ("8.8.8.8", false),
            ("fd00::1", true),
            ("fe80::1", false),
            ("::ffff:10.1.2.3", false),
        ] {
            assert_eq!(rules.allows(ip.parse().unwrap()), allowed, "{ip}");
        }
        assert!(some("a.b", "0.0.0.0/0").allows("127.0.0.1".parse().unwrap()));
        assert!(!some("a.b", "0.0.0.0/0").allows("::1".parse().unwrap()));
        assert!(some("a.b", "127.0.0.1/32").allows("127.0.0.1".parse().unwrap()));
        assert!(!some("a.b", "127.0.0.1/32").allows("127.0.0.2".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn what_the_library_calls_special_is_not_public(bits in any::<u32>(), wide in any::<u128>()) {
            let (v4, v6) = (Ipv4Addr::from_bits(bits), Ipv6Addr::from_bits(wide));
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified();
            prop_assert!(!(special && is_public(v4.into())));
            let special = v6.is_loopback() || v6.is_multicast() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.to_ipv4().is_some();
            prop_assert!(!(special && is_public(v6.into())));
            prop_assert!(!is_public(v4.to_ipv6_mapped().into()));
        }

        #[test]
        fn a_block_holds_what_its_first_bits_say(bits in any::<u32>(), other in any::<u32>(), length in 0_u8..=32) {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let within = is_within(Ipv4Addr::from_bits(bits).into(), Ipv4Addr::from_bits(other).into(), length);
            prop_assert_eq!(within, bits & mask == other & mask);
        }
    }
}
