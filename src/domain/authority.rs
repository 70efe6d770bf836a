//! Host and port, as a URL and the `Host` header of a request have them: `shop.example:8443`, `[::1]`.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// A host, and a port where one is given: the authority of RFC 3986, without a user. Borrowed from a request, or owned.
#[derive(Debug, Clone, Copy)]
pub struct Authority<S = String> {
    host: Host<S>,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy)]
enum Host<S> {
    Address(IpAddr),
    /// Without the dot that a full name may end with.
    Name(S),
}

/// The most bytes that a name of the DNS has.
const MAX_NAME_BYTES: usize = 253;

impl<'a> Authority<&'a str> {
    /// Reads what a request says; None for what no host can be. An address of IPv4 is four decimal numbers: what
    /// resolvers besides take for one (`127.1`, `0x7f.1`) is a name here.
    #[must_use]
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Host::Address(IpAddr::V6(address.parse().ok()?).to_canonical()), port)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let name = name.strip_suffix('.').unwrap_or(name);
                let address = name.parse().map(|address| Host::Address(IpAddr::V4(address)));
                (address.or_else(|_| is_name(name).then_some(Host::Name(name)).ok_or(())).ok()?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            // RFC 3986 allows a colon without a port.
            Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
            None if port.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }
}

/// The characters of RFC 3986's `reg-name`, in labels that are not empty.
fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.~%!$&'()*+,;=".contains(&b);
    name.len() <= MAX_NAME_BYTES && name.bytes().all(allowed) && name.split('.').all(|label| !label.is_empty())
}

impl<S: AsRef<str>> Authority<S> {
    /// The port, where one is given.
    #[must_use]
    pub(crate) const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The address, where the host is one and no name.
    #[must_use]
    pub(crate) const fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        }
    }

    /// Whether the host means the machine itself: `localhost` and what is under it (RFC 6761), or a loopback address.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => {
                let last = name.as_ref().rsplit('.').next().unwrap_or_default();
                last.eq_ignore_ascii_case("localhost")
            }
        }
    }

    /// Whether the hosts are the same, whatever the ports and the case of letters.
    #[must_use]
    pub(crate) fn has_host_of(&self, other: &Authority<impl AsRef<str>>) -> bool {
        match (&self.host, &other.host) {
            (Host::Address(one), Host::Address(other)) => one == other,
            (Host::Name(one), Host::Name(other)) => one.as_ref().eq_ignore_ascii_case(other.as_ref()),
            _ => false,
        }
    }
}

/// What stands where a host name should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no host name or address, such as shop.example, shop.example:8443 or [fd00::7]")]
pub struct NoAuthority(String);

impl FromStr for Authority {
    type Err = NoAuthority;

    /// As [`Authority::parse`], of names that a host can have: letters, digits, `-`, `_` and dots.
    fn from_str(text: &str) -> Result<Self, NoAuthority> {
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let read = Authority::parse(text).and_then(|read| {
            let host = match read.host {
                Host::Address(address) => Host::Address(address),
                Host::Name(name) => Host::Name(plain(name).then(|| name.to_ascii_lowercase())?),
            };
            Some(Self { host, port: read.port })
        });
        read.ok_or_else(|| NoAuthority(text.to_owned()))
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Host::Address(address) => write!(f, "{address}")?,
            Host::Name(name) => f.write_str(name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Serialize for Authority {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Authority {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// As settings are compared. Whether `shop.example` and `shop.example:443` are the same to a request hangs on its
/// scheme.
impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.port == other.port && self.has_host_of(other)
    }
}

impl Eq for Authority {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_and_ports_are_read() {
        for (text, host, port) in [
            ("shop.example", "shop.example", None),
            ("Shop.Example.:8443", "shop.example", Some(8443)),
            ("localhost:", "localhost", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("127.0.0.1.", "127.0.0.1", None),
            ("[::1]:65535", "[::1]", Some(65535)),
            ("[0:0:0:0:0:0:0:1]", "[::1]", None),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1", Some(1)),
            ("board_2:08042", "board_2", Some(8042)),
        ] {
            let read: Authority = text.parse().expect(text);
            let port_text = port.map(|port: u16| format!(":{port}")).unwrap_or_default();
            assert_eq!((read.to_string(), read.port()), (format!("{host}{port_text}"), port), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_not_read() {
        for bad in [
            "",
            ".",
            ":",
            ":80",
            "a..b",
            "localhost..",
            ".localhost",
            "localhost@evil.example",
            "user:word@localhost",
            "localhost/",
            "localhost?",
            "localhost#",
            "local host",
            " localhost",
            "localhost\t",
            "localhost\0",
            "localhost\\",
            "münchen.example",
            "::1",
            "[::1",
            "::1]",
            "[::1]8042",
            "[::1]]",
            "[]",
            "[localhost]",
            "[127.0.0.1]",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "localhost:65536",
            "localhost:-1",
            "localhost:+1",
            "localhost:8042:8042",
            "localhost:http",
            "http://localhost",
        ] {
            assert!(Authority::parse(bad).is_none() && bad.parse::<Authority>().is_err(), "{bad:?}");
        }
        // A request may say it, and it is no host's name: a setting of it is a mistake.
        for odd in ["*", "*.shop.example", "a,b", "%6cocalhost"] {
            assert!(Authority::parse(odd).is_some_and(|odd| !odd.is_loopback()), "{odd}");
            assert!(odd.parse::<Authority>().is_err_and(|error| error.to_string().contains("shop.example")), "{odd}");
        }
        assert!(Authority::parse(&"x".repeat(254)).is_none());
    }

    #[test]
    fn only_loopback_names_and_addresses_are_loopback() {
        for (text, is_loopback) in [
            ("localhost", true),
            ("LOCALHOST.:8042", true),
            ("board.localhost", true),
            ("127.0.0.1", true),
            ("127.9.8.7:1", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.2]", true),
            ("localhost.evil.example", false),
            ("evillocalhost", false),
            ("127.0.0.1.nip.io", false),
            ("127.0.0.1.evil.example:8042", false),
            ("127.1", false),
            ("0x7f.0.0.1", false),
            ("0177.0.0.1", false),
            ("2130706433", false),
            ("128.0.0.1", false),
            ("0.0.0.0", false),
            ("[::]", false),
            ("[::2]", false),
        ] {
            let read = Authority::parse(text).expect(text);
            assert_eq!(read.is_loopback(), is_loopback, "{text}");
        }
    }

    #[test]
    fn hosts_are_compared_without_their_ports() {
        for (one, other, same) in [
            ("shop.example", "SHOP.example.:1", true),
            ("shop.example", "shop.example.evil", false),
            ("[::1]", "[0::1]:5", true),
            ("[::ffff:10.0.0.1]", "10.0.0.1", true),
            ("127.0.0.1", "localhost", false),
        ] {
            let (one, other) = (Authority::parse(one).expect(one), Authority::parse(other).expect(other));
            assert_eq!((one.has_host_of(&other), other.has_host_of(&one)), (same, same), "{one:?} {other:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(text in "[a-zA-Z0-9.:\\[\\]_-]{0,20}") {
            if let Ok(read) = text.parse::<Authority>() {
                prop_assert_eq!(read.to_string().parse(), Ok(read));
            }
        }

        #[test]
        fn nothing_that_is_read_panics(text in any::<String>()) {
            if let Some(read) = Authority::parse(&text) {
                prop_assert!(!text.contains(['@', '/', ' ']), "{:?}", read);
            }
        }
    }
}
