//! Which client a request comes from, and how, where proxies stand in between.

use std::net::{IpAddr, SocketAddr};

use super::arrival::{Arrival, Scheme};
use crate::config::Network;
use axum::http::HeaderMap;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

pub(super) fn trusts(proxies: &[Network], address: IpAddr) -> bool {
    proxies.iter().any(|Network(network)| network.contains(&address))
}

/// What is known of the connection, and what a trusted proxy says of its own.
pub(super) fn believe(arrival: Arrival, peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> Arrival {
    if !arrival.by_proxy {
        return arrival;
    }
    Arrival { client: Some(client(peer, headers, proxies)), scheme: scheme(headers).or(arrival.scheme), ..arrival }
}

/// How the client speaks to the proxy; None where it does not say, or more than one proxy says something of its own.
fn scheme(headers: &HeaderMap) -> Option<Scheme> {
    let mut lines = headers.get_all(X_FORWARDED_PROTO).iter();
    let said = lines.next()?.to_str().ok()?;
    lines.next().is_none().then(|| Scheme::read(said.trim())).flatten()
}

/// The client's address. Each proxy adds to the right the address it got the request from. So the header is read from
/// the right for as long as the address is a trusted proxy's: what stands further left is a claim that no trusted proxy
/// made.
fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
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
        let proxies = ["10.0.0.0/8", "fd00::7/128"].map(|network| Network(network.parse().expect("a network")));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().expect("a header"));
        }
        client(peer.parse().expect("an address"), &headers, &proxies).to_string()
    }

    #[test]
    fn what_a_trusted_proxy_says_of_its_client_is_believed() {
        let peer: IpAddr = "10.1.1.1".parse().expect("an address");
        let proxies = [Network("10.0.0.0/8".parse().expect("a network"))];
        for (lines, scheme) in [
            (&["https"][..], Some(Scheme::Https)),
            (&["HTTP"], Some(Scheme::Http)),
            (&[], None),
            (&["https", "http"], None),
            (&["https, http"], None),
            (&["wss"], None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(X_FORWARDED_FOR, "203.0.113.9".parse().expect("a header"));
            for line in lines {
                headers.append(X_FORWARDED_PROTO, line.parse().expect("a header"));
            }
            let proxied = Arrival { client: Some(peer), by_proxy: true, ..Arrival::default() };
            let believed = believe(proxied, peer, &headers, &proxies);
            assert_eq!((believed.scheme, believed.client), (scheme, "203.0.113.9".parse().ok()), "{lines:?}");
            // Over TLS to the daemon, where the proxy does not say how it was spoken to itself.
            let over_tls = Arrival { scheme: Some(Scheme::Https), ..proxied };
            let expected = scheme.or(Some(Scheme::Https));
            assert_eq!(believe(over_tls, peer, &headers, &proxies).scheme, expected, "{lines:?}");
            let direct = Arrival { by_proxy: false, ..over_tls };
            assert_eq!(believe(direct, peer, &headers, &proxies), direct);
        }
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
