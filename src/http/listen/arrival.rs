//! How a request has come.

use std::net::IpAddr;

/// How a request has come, as far as that can be believed. An extension of the request; a unit test has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// At which addresses it came in: that of the connection, and that which is listened on.
    pub at: [Option<IpAddr>; 2],
    /// Whether a trusted proxy passed it on.
    pub by_proxy: bool,
    /// How the client speaks to the daemon, or to the trusted proxy; None for plain text, which an unknown proxy may
    /// have made of it.
    pub scheme: Option<Scheme>,
}

/// How a browser speaks to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In plain text.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// Reads its name.
    pub(crate) fn read(name: &str) -> Option<Self> {
        match name {
            name if name.eq_ignore_ascii_case("http") => Some(Self::Http),
            name if name.eq_ignore_ascii_case("https") => Some(Self::Https),
            _ => None,
        }
    }

    /// The port where none is named.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}
