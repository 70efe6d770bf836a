//! By which names a request may call this daemon.
//!
//! A web page may make a name of its own mean the machine of its reader (DNS rebinding), and so reach a daemon there.
//! To the browser the daemon is then the page's own server, so that the page may send and read anything. What gives it
//! away is the name. An address cannot be made to mean something else, so this machine's own are good.

use std::sync::{Arc, Once};

use axum::http::{HeaderMap, Uri, Version, header};

use crate::{
    domain::Authority,
    http::{code::Code, listen::arrival::Arrival, problem::Problem},
};

const X_FORWARDED_HOST: &str = "x-forwarded-host";

/// Whatever asks these calls the daemon by whatever address it found. A page that gets to read them learns how the
/// service is: `/readyz` gives its reasons as the stores' errors have them, with addresses and names of keys, and
/// without passwords and without anything of an order.
pub(crate) const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// What a request calls this daemon.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    /// From the target, where that is a whole URL, and from the Host header.
    told: [Option<Authority<&'a str>>; 2],
    /// From a trusted proxy: what the request called the proxy. None for what is no host.
    forwarded: Vec<Option<Authority<&'a str>>>,
}

impl<'a> Names<'a> {
    /// Reads them. A target that is a whole URL comes before the Host header, which RFC 9112 (3.2.2) has ignored then;
    /// here each name is looked at.
    ///
    /// # Errors
    /// `malformed_request` as RFC 9112 (3.2) demands: more than one Host, one that is no host, or none in HTTP/1.1.
    pub(crate) fn of(
        version: Version,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        arrival: &Arrival,
    ) -> Result<Self, Problem> {
        let malformed = |detail: &str| Problem::new(Code::MalformedRequest, detail);
        let read = |text: &'a str| {
            let no_host = "What the request has for a host is none; send a name or an address, and a port if need be.";
            Authority::parse(text).map(Some).ok_or_else(|| malformed(no_host))
        };
        let target = uri.authority().map_or(Ok(None), |target| read(target.as_str()))?;
        let mut lines = headers.get_all(header::HOST).iter();
        let host = match (lines.next(), lines.next()) {
            (Some(_), Some(_)) => return Err(malformed("There is more than one Host header; send one.")),
            // Where there is no host to name, as RFC 9112 has it.
            (Some(line), None) if line.is_empty() => None,
            // What is not ASCII is no host either.
            (Some(line), None) => read(line.to_str().unwrap_or_default())?,
            (None, _) if version == Version::HTTP_10 => None,
            (None, _) => return Err(malformed("There is no Host header; send one.")),
        };
        Ok(Self { told: [target, host], forwarded: forwarded(headers, arrival) })
    }

    /// Each of them that could be read.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Authority<&'a str>> {
        self.told.iter().chain(&self.forwarded).flatten()
    }
}

fn forwarded<'a>(headers: &'a HeaderMap, arrival: &Arrival) -> Vec<Option<Authority<&'a str>>> {
    if !arrival.by_proxy {
        return Vec::new();
    }
    let lines = headers.get_all(X_FORWARDED_HOST).iter().map(|line| line.to_str().unwrap_or("?"));
    let names = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty());
    names.map(Authority::parse).collect()
}

/// The names that are good.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    /// `http.hosts`; with a port, only with that one.
    own: Arc<[Authority]>,
    is_checked: bool,
}

impl Hosts {
    /// The machine's own names and addresses, and these. Where keys are asked for, a page of strangers has none, and
    /// proxies may call the daemon as they like. So names are looked at there only if there is a list of them.
    pub(crate) fn new(own: Vec<Authority>, keys_required: bool) -> Self {
        Self { is_checked: !keys_required || !own.is_empty(), own: own.into() }
    }

    /// Turns away what does not call this daemon by good names only.
    ///
    /// # Errors
    /// `misdirected_request`.
    pub(crate) fn check(&self, route: &str, names: &Names<'_>, arrival: &Arrival) -> Result<(), Problem> {
        if !self.is_checked || PROBES.contains(&route) {
            return Ok(());
        }
        let unreadable = names.forwarded.iter().any(Option::is_none);
        let named = names.told.iter().any(Option::is_some);
        if named && !unreadable && names.iter().all(|name| self.is_good(name, arrival)) {
            return Ok(());
        }
        static SAID: Once = Once::new();
        // Once, since a page may ask for ever. What it calls us is its own text: only written with all escaped.
        SAID.call_once(|| tracing::warn!("turned away a request for another host; http.hosts lists more names"));
        tracing::debug!(?names, "turned away: another host");
        Err(Problem::plain(Code::MisdirectedRequest))
    }

    fn is_good(&self, name: &Authority<&str>, arrival: &Arrival) -> bool {
        let is_listed = |own: &Authority| own.has_host_of(name) && is_port(own.port(), name.port());
        name.is_loopback()
            || name.address().is_some_and(|address| arrival.at.contains(&Some(address)))
            || self.own.iter().any(is_listed)
    }
}

/// Whether a port is the one that is listed, if one is. A request that names none means that of its scheme, which may
/// have been another one before a proxy.
fn is_port(listed: Option<u16>, named: Option<u16>) -> bool {
    listed.is_none_or(|listed| named.map_or(listed == 80 || listed == 443, |named| named == listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status that a request to `target` with these headers gets; 200 where it is let in.
    fn status(hosts: &Hosts, arrival: &Arrival, version: Version, target: &str, lines: &[(&str, &[u8])]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = header::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            headers.append(name, header::HeaderValue::from_bytes(value).expect("a header value"));
        }
        let uri = target.parse().expect("a target");
        let judged = Names::of(version, &uri, &headers, arrival)
            .and_then(|names| hosts.check("/v1/keys", &names, arrival).map(|()| drop(names)));
        judged.map_or_else(|problem| problem.code().status().as_u16(), |()| 200)
    }

    fn hosts(own: &[&str], keys_required: bool) -> Hosts {
        Hosts::new(own.iter().map(|name| name.parse().expect("a host")).collect(), keys_required)
    }

    /// As [`status`], of a usual request with this Host.
    fn with_host(hosts: &Hosts, arrival: &Arrival, host: &str) -> u16 {
        status(hosts, arrival, Version::HTTP_11, "/", &[("host", host.as_bytes())])
    }

    #[test]
    fn without_keys_only_the_machines_own_names_are_good() {
        let keyless = hosts(&[], false);
        for (host, expected) in [
            ("localhost", 200),
            ("LocalHost:8042", 200),
            ("localhost.", 200),
            ("board.localhost.:8042", 200),
            ("127.0.0.1", 200),
            ("127.255.0.9:1", 200),
            ("[::1]", 200),
            ("[::1]:8042", 200),
            ("evil.example", 421),
            ("evil.example:8042", 421),
            ("localhost.evil.example", 421),
            ("notlocalhost", 421),
            ("127.0.0.1.nip.io:8042", 421),
            ("127.1", 421),
            ("2130706433", 421),
            ("0.0.0.0:8042", 421),
            ("[::]:8042", 421),
            ("10.0.0.7", 421),
            ("", 421),
            ("localhost@evil.example", 400),
            ("evil.example@localhost", 400),
            ("localhost/evil.example", 400),
            ("localhost, evil.example", 400),
            ("::1", 400),
            ("localhost:99999", 400),
        ] {
            assert_eq!(with_host(&keyless, &Arrival::default(), host), expected, "{host}");
        }
    }

    #[test]
    fn an_address_of_the_daemon_is_good_and_no_other() {
        let arrival = Arrival { at: ["10.0.0.7", "::"].map(|at| at.parse().ok()), ..Arrival::default() };
        for (host, expected) in [
            ("10.0.0.7:8042", 200),
            ("[::ffff:10.0.0.7]", 200),
            ("[::]:8042", 200),
            ("localhost", 200),
            ("10.0.0.8", 421),
            ("10.0.0.7.nip.io", 421),
            ("0.0.0.0", 421),
            ("shop.example", 421),
        ] {
            assert_eq!(with_host(&hosts(&[], false), &arrival, host), expected, "{host}");
        }
    }

    #[test]
    fn listed_names_are_good_and_checked_where_there_are_any() {
        for keys_required in [false, true] {
            let hosts =
                hosts(&["Shop.example", "kitchen.example:8443", "web.example:443", "203.0.113.9"], keys_required);
            for (host, expected) in [
                ("shop.EXAMPLE", 200),
                ("shop.example.:1", 200),
                ("kitchen.example:8443", 200),
                ("kitchen.example", 421),
                ("kitchen.example:8042", 421),
                ("web.example", 200),
                ("web.example:443", 200),
                ("web.example:80", 421),
                ("203.0.113.9:8042", 200),
                ("localhost:8042", 200),
                ("www.shop.example", 421),
                ("shop.example.evil", 421),
            ] {
                assert_eq!(with_host(&hosts, &Arrival::default(), host), expected, "{host}");
            }
        }
        // With keys and no list any name will do, but not what is none.
        for (host, expected) in [("backend_pool", 200), ("", 200), ("evil.example", 200), ("a b", 400)] {
            assert_eq!(with_host(&hosts(&[], true), &Arrival::default(), host), expected, "{host}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        for keys_required in [false, true] {
            let hosts = hosts(&[], keys_required);
            let status = |version, lines: &[(&str, &[u8])]| status(&hosts, &Arrival::default(), version, "/", lines);
            let local: (&str, &[u8]) = ("host", b"localhost");
            assert_eq!(status(Version::HTTP_11, &[]), 400);
            assert_eq!(status(Version::HTTP_11, &[local, local]), 400);
            assert_eq!(status(Version::HTTP_10, &[local, ("host", b"evil.example")]), 400);
            assert_eq!(status(Version::HTTP_11, &[("host", b"localhost\xff")]), 400);
            assert_eq!(status(Version::HTTP_11, &[("host", b"\xe9")]), 400);
            assert_eq!(status(Version::HTTP_10, &[local]), 200);
            // An old client, but no browser. Without keys a name is wanted all the same.
            assert_eq!(status(Version::HTTP_10, &[]), if keys_required { 200 } else { 421 });
        }
    }

    #[test]
    fn a_target_with_a_host_is_looked_at_too() {
        let keyless = hosts(&["shop.example"], false);
        for (target, host, expected) in [
            ("http://localhost:8042/v1/keys", "localhost:8042", 200),
            ("http://shop.example/v1/keys", "localhost", 200),
            ("http://evil.example/v1/keys", "localhost", 421),
            ("http://localhost/v1/keys", "evil.example", 421),
            ("http://localhost@evil.example/v1/keys", "localhost", 400),
            ("//evil.example/v1/keys", "localhost", 200),
            ("evil.example:443", "localhost", 421),
        ] {
            let lines: [(&str, &[u8]); 1] = [("host", host.as_bytes())];
            assert_eq!(
                status(&keyless, &Arrival::default(), Version::HTTP_11, target, &lines),
                expected,
                "{target} {host}"
            );
        }
    }

    #[test]
    fn what_a_trusted_proxy_was_called_is_looked_at_too() {
        let keyless = hosts(&["shop.example"], false);
        let proxied = Arrival { by_proxy: true, ..Arrival::default() };
        for (forwarded, expected) in [
            (&["shop.example"][..], 200),
            (&["shop.example:443, localhost"], 200),
            (&[""], 200),
            (&["evil.example"], 421),
            (&["shop.example, evil.example"], 421),
            (&["shop.example", "evil.example"], 421),
            (&["a b"], 421),
        ] {
            let mut lines: Vec<(&str, &[u8])> = vec![("host", b"127.0.0.1:8042")];
            lines.extend(forwarded.iter().map(|name| ("x-forwarded-host", name.as_bytes())));
            let status = |arrival| status(&keyless, arrival, Version::HTTP_11, "/", &lines);
            assert_eq!(status(&proxied), expected, "{forwarded:?}");
            assert_eq!(status(&Arrival::default()), 200, "no other peer is believed: {forwarded:?}");
        }
        // It vouches for no other name.
        let lines: [(&str, &[u8]); 2] = [("host", b"evil.example"), ("x-forwarded-host", b"shop.example")];
        assert_eq!(status(&keyless, &proxied, Version::HTTP_11, "/", &lines), 421);
    }

    #[test]
    fn probes_may_call_it_anything() {
        let (mut headers, arrival) = (HeaderMap::new(), Arrival::default());
        headers.insert(header::HOST, header::HeaderValue::from_static("10.244.3.17:8042"));
        let uri = Uri::from_static("/");
        let names = Names::of(Version::HTTP_11, &uri, &headers, &arrival).expect("a host");
        for (route, is_good) in [("/healthz", true), ("/readyz", true), ("/metrics", false), ("unmatched", false)] {
            assert_eq!(hosts(&[], false).check(route, &names, &arrival).is_ok(), is_good, "{route}");
        }
    }
}
