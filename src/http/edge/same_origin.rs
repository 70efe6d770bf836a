//! Whether a request that may change something comes from a web page of another origin.
//!
//! A browser sends such requests for any page without asking first, as long as they are simple: a form, `fetch` with
//! `no-cors`. It says where they come from (`Origin`, and `Sec-Fetch-Site` to what it holds for safe), which no page
//! can change. Clients that are no browsers send neither. What only reads is let pass: its answer has no CORS headers, so
//! that the page does not get to see it. A stream is not let pass: a page that opens some takes the places of screens. Pages of allowed origins (`cors`) do not come here.

use axum::http::{HeaderMap, HeaderValue, Method, header};

use super::host::Names;
use crate::{
    domain::Authority,
    http::{
        code::Code,
        listen::arrival::{Arrival, Scheme},
        problem::Problem,
    },
};

/// Calls whose answers have no end.
const STREAMS: [&str; 2] = ["/v1/feed", "/v1/restaurants/{restaurant_id}/feed"];

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether a call opens a stream.
pub(crate) fn is_stream(route: &str) -> bool {
    STREAMS.contains(&route)
}

/// Turns away what comes from a page of another origin and is more than a question.
///
/// # Errors
/// `cross_origin_request`.
pub(crate) fn check(
    method: &Method,
    route: &str,
    headers: &HeaderMap,
    names: &Names<'_>,
    arrival: &Arrival,
) -> Result<(), Problem> {
    let is_foreign = || {
        // A page of ours, or a person. Of anything else, and of what is not known yet, the worst is thought.
        let ours = |site: &HeaderValue| [&b"same-origin"[..], b"none"].contains(&site.as_bytes());
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let from_elsewhere = match (origins.next(), origins.next()) {
            (None, _) => false,
            (Some(origin), None) => !is_ours(origin, names, arrival),
            // No browser sends two.
            (Some(_), Some(_)) => true,
        };
        from_elsewhere || !headers.get_all(SEC_FETCH_SITE).iter().all(ours)
    };
    // HEAD is a GET whose body is not wanted.
    let only_asks = [Method::GET, Method::HEAD].contains(method) && !is_stream(route);
    if only_asks || !is_foreign() {
        return Ok(());
    }
    tracing::debug!("turned away: from a page of another origin");
    Err(Problem::plain(Code::CrossOriginRequest))
}

/// Whether a browser says that a request comes from a page, whichever.
pub(crate) fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE)
}

/// Whether a request comes from a page of this service itself, as far as the browser says. What may change something has to
/// say so; what only reads may also come from a browser that says nothing, or from a person.
pub(crate) fn is_own_page(method: &Method, headers: &HeaderMap, names: &Names<'_>, arrival: &Arrival) -> bool {
    let reads = [Method::GET, Method::HEAD].contains(method);
    let sites: Vec<&[u8]> = headers.get_all(SEC_FETCH_SITE).iter().map(HeaderValue::as_bytes).collect();
    let origins: Vec<&HeaderValue> = headers.get_all(header::ORIGIN).iter().collect();
    let site = match sites.as_slice() {
        [] => None,
        [site] => Some(*site == b"same-origin" || reads && *site == b"none"),
        _ => Some(false),
    };
    let origin = match origins.as_slice() {
        [] => None,
        [origin] => Some(is_ours(origin, names, arrival)),
        _ => Some(false),
    };
    // Neither may say otherwise.
    site != Some(false) && origin != Some(false) && (reads || site.or(origin).is_some())
}

/// Whether an origin is the one that the request goes to. `null`, which a page without an origin has, is not.
fn is_ours(origin: &HeaderValue, names: &Names<'_>, arrival: &Arrival) -> bool {
    let Some((scheme, origin)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else { return false };
    let Some(scheme) = Scheme::read(scheme) else { return false };
    let Some(origin) = Authority::parse(origin) else { return false };
    // A request that names no port means that of its scheme. Without more than plain HTTP to go by, the scheme is the
    // page's: TLS may have ended at a proxy.
    let port = |of: &Authority<&str>| of.port().unwrap_or(scheme.port());
    let is_same = |name: &Authority<&str>| name.has_host_of(&origin) && port(name) == port(&origin);
    arrival.scheme.is_none_or(|known| known == scheme) && names.iter().any(is_same)
}

#[cfg(test)]
mod tests {
    use axum::http::{Uri, Version};

    use super::*;

    /// Whether a POST with these header fields is let in.
    fn lets_in(arrival: &Arrival, lines: &[(&str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = header::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            headers.append(name, HeaderValue::from_str(value).expect("a header value"));
        }
        let uri = Uri::from_static("/v1/restaurants/7/orders");
        let names = Names::of(Version::HTTP_11, &uri, &headers, arrival).expect("a host");
        for safe in [Method::GET, Method::HEAD] {
            assert!(check(&safe, "/v1/orders", &headers, &names, arrival).is_ok(), "{safe} {lines:?}");
        }
        let judged = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS].map(|method| {
            let judged = check(&method, "/v1/orders", &headers, &names, arrival);
            judged.map_err(|problem| assert_eq!(problem.code(), Code::CrossOriginRequest)).is_ok()
        });
        assert!(judged.iter().all(|other| *other == judged[0]), "{lines:?}");
        judged[0]
    }

    #[test]
    fn only_a_page_of_the_same_origin_may_change_something() {
        for (host, origin, is_ours) in [
            ("localhost:8042", "http://localhost:8042", true),
            ("LOCALHOST:8042", "http://localhost:8042", true),
            ("localhost.:8042", "http://localhost.:8042", true),
            ("[::1]:8042", "http://[::1]:8042", true),
            ("127.0.0.1", "http://127.0.0.1", true),
            ("localhost:80", "http://localhost", true),
            ("shop.example", "http://shop.example:80", true),
            // TLS ended at a proxy that says nothing of it.
            ("shop.example", "https://shop.example", true),
            ("shop.example:443", "https://shop.example", true),
            ("shop.example:8443", "https://shop.example:8443", true),
            ("localhost:8042", "http://localhost:9999", false),
            ("localhost:8042", "http://localhost", false),
            ("localhost", "http://localhost:8042", false),
            ("shop.example", "http://shop.example:443", false),
            ("localhost:8042", "http://127.0.0.1:8042", false),
            ("localhost:8042", "https://evil.example", false),
            ("localhost:8042", "http://localhost.evil.example:8042", false),
            ("localhost:8042", "http://evil.example@localhost:8042", false),
            ("localhost:8042", "http://localhost:8042/", false),
            ("localhost:8042", "http://localhost:8042 http://evil.example", false),
            ("localhost:8042", "http://localhost:8042, http://evil.example", false),
            ("localhost:8042", "localhost:8042", false),
            ("localhost:8042", "//localhost:8042", false),
            ("localhost:8042", "null", false),
            ("localhost:8042", "", false),
            ("localhost:8042", "file://", false),
            ("localhost:8042", "file://localhost:8042", false),
            ("localhost:8042", "chrome-extension://abcdefgh", false),
        ] {
            assert_eq!(lets_in(&Arrival::default(), &[("host", host), ("origin", origin)]), is_ours, "{host} {origin}");
        }
        let twice = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://localhost")];
        assert!(!lets_in(&Arrival::default(), &twice));
    }

    #[test]
    fn what_the_browser_says_of_the_site_is_believed() {
        for (site, is_ours) in [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
            ("Same-Origin", false),
            ("same-origin, cross-site", false),
            ("\"same-origin\"", false),
            ("something-new", false),
            ("", false),
        ] {
            let lines = [("host", "localhost:8042"), ("sec-fetch-site", site)];
            assert_eq!(lets_in(&Arrival::default(), &lines), is_ours, "{site}");
            // Either of the two is enough to turn it away.
            let both = [lines[0], lines[1], ("origin", "http://localhost:8042")];
            assert_eq!(lets_in(&Arrival::default(), &both), is_ours, "{site}");
            assert!(!lets_in(&Arrival::default(), &[lines[0], lines[1], ("origin", "https://evil.example")]), "{site}");
            assert!(!lets_in(&Arrival::default(), &[lines[0], lines[1], ("sec-fetch-site", "cross-site")]), "{site}");
        }
        assert!(lets_in(&Arrival::default(), &[("host", "localhost:8042")]), "a client that is no browser");
    }

    #[test]
    fn a_page_of_this_service_is_told_from_others() {
        let host = ("host", "localhost:8042");
        let (ours, theirs) = (("origin", "http://localhost:8042"), ("origin", "http://localhost:3000"));
        let site = |site: &'static str| ("sec-fetch-site", site);
        for (lines, changes, reads) in [
            (&[][..], false, true),
            (&[ours], true, true),
            (&[theirs], false, false),
            (&[site("same-origin")], true, true),
            (&[site("none")], false, true),
            (&[site("same-site")], false, false),
            (&[site("cross-site")], false, false),
            (&[site("something-new")], false, false),
            (&[site("same-origin"), ours], true, true),
            (&[site("same-origin"), theirs], false, false),
            (&[site("same-site"), ours], false, false),
            (&[site("none"), ours], false, true),
            (&[site("same-origin"), site("same-origin")], false, false),
            (&[ours, ours], false, false),
            (&[("origin", "null")], false, false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines.iter().chain([&host]) {
                let name = header::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
                headers.append(name, HeaderValue::from_str(value).expect("a header value"));
            }
            let (uri, arrival) = (Uri::from_static("/v1/orders"), Arrival::default());
            let names = Names::of(Version::HTTP_11, &uri, &headers, &arrival).expect("a host");
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
                assert_eq!(is_own_page(&method, &headers, &names, &arrival), changes, "{method} {lines:?}");
            }
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(is_own_page(&method, &headers, &names, &arrival), reads, "{method} {lines:?}");
            }
        }
    }

    #[test]
    fn a_scheme_that_is_known_has_to_fit() {
        for (scheme, origin, is_ours) in [
            (Some(Scheme::Https), "https://shop.example", true),
            (Some(Scheme::Https), "http://shop.example", false),
            (Some(Scheme::Http), "http://shop.example", true),
            (Some(Scheme::Http), "https://shop.example", false),
            (None, "https://shop.example", true),
            (None, "http://shop.example", true),
        ] {
            let arrival = Arrival { scheme, ..Arrival::default() };
            assert_eq!(
                lets_in(&arrival, &[("host", "shop.example"), ("origin", origin)]),
                is_ours,
                "{scheme:?} {origin}"
            );
        }
    }

    #[test]
    fn a_trusted_proxy_may_have_been_called_otherwise() {
        let lines =
            [("host", "backend:8042"), ("x-forwarded-host", "shop.example"), ("origin", "https://shop.example")];
        assert!(lets_in(&Arrival { by_proxy: true, ..Arrival::default() }, &lines));
        assert!(!lets_in(&Arrival::default(), &lines));
    }
}
