//! Whom a request comes from, where proxies stand in between.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Whether an address is among the trusted ones.
pub(super) fn trusts(proxies: &[IpNet], address: IpAddr) -> bool {
    proxies.iter().any(|network| network.contains(&address))
}

/// The client's address. Each proxy adds to the right whom it got the request from, so that is read from the right for as
/// long as the address is a trusted proxy's: what stands further left is what somebody else claims.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let hops = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
    let mut hops = hops.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    while trusts(proxies, client) {
        // A hop that cannot be read ends what is known.
        let Some(hop) = hops.next().and_then(address) else { break };
        client = hop;
    }
    client
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().or_else(|_| hop.parse().map(|with_port: SocketAddr| with_port.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, lines: &[&str]) -> String {
        let proxies = ["10.0.0.0/8", "fd00::7/128"].map(|network| network.parse().expect("a network"));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().expect("a header"));
        }
        client(peer.parse().expect("an address"), &headers, &proxies).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        for (peer, lines, client) in [
            ("10.1.1.1", &["203.0.113.9"][..], "203.0.113.9"),
            ("10.1.1.1", &[], "10.1.1.1"),
            ("203.0.113.1", &["203.0.113.9"], "203.0.113.1"),
            ("127.0.0.1", &["203.0.113.9"], "127.0.0.1"),
            // What the client claims itself stands further left.
            ("10.1.1.1", &["8.8.8.8, 203.0.113.9"], "203.0.113.9"),
            ("10.1.1.1", &["8.8.8.8, 203.0.113.9, 10.2.2.2"], "203.0.113.9"),
            ("10.1.1.1", &["8.8.8.8", "203.0.113.9,fd00::7"], "203.0.113.9"),
            ("10.1.1.1", &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            ("fd00::7", &["2001:db8::1"], "2001:db8::1"),
            ("fd00::7", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("fd00::7", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.1.1.1", &["203.0.113.9:1234"], "203.0.113.9"),
            ("10.1.1.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            ("10.1.1.1", &["203.0.113.9, unknown"], "10.1.1.1"),
            ("10.1.1.1", &["", ""], "10.1.1.1"),
            ("10.1.1.1", &["203.0.113.9, , 10.2.2.2"], "10.2.2.2"),
        ] {
            assert_eq!(seen(peer, lines), client, "{peer} {lines:?}");
        }
    }
}
