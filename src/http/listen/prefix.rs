//! Under which path a client has found the daemon, where a proxy serves it under a path of its own.

use std::sync::Once;

use axum::http::{HeaderMap, Request, Uri, uri::PathAndQuery};

use crate::domain::BasePath;

const X_FORWARDED_PREFIX: &str = "x-forwarded-prefix";

/// What the paths of the daemon's own calls begin with.
pub(crate) const BEGINNINGS: [&str; 11] = [
    "/api/",
    "/assets/",
    "/board/",
    "/docs",
    "/healthz",
    "/kitchen/",
    "/metrics",
    "/openapi.json",
    "/readyz",
    "/v1/",
    "/voice/",
];

/// Finds out the path, takes it away where the proxy has not, and leaves it in the request's extensions for what the
/// answer refers to. A trusted proxy knows it best; else it is the one of the settings.
pub(super) fn settle<B>(request: &mut Request<B>, by_proxy: bool, base_path: &BasePath) {
    let forwarded = by_proxy.then(|| forwarded(request.headers())).flatten();
    let candidates = [forwarded.as_ref(), Some(base_path)];
    if let Some(uri) = candidates.into_iter().flatten().find_map(|prefix| without(request.uri(), prefix)) {
        *request.uri_mut() = uri;
    }
    let prefix = forwarded.unwrap_or_else(|| base_path.clone());
    if !prefix.is_root() {
        request.extensions_mut().insert(prefix);
    }
}

/// What a proxy says; None where it says nothing, or what cannot be taken.
fn forwarded(headers: &HeaderMap) -> Option<BasePath> {
    let mut lines = headers.get_all(X_FORWARDED_PREFIX).iter();
    let line = lines.next().filter(|line| !line.is_empty())?;
    let prefix = match (line.to_str(), lines.next()) {
        (Ok("/"), None) => Some(BasePath::default()),
        (Ok(text), None) => BasePath::parse(text),
        // More than one proxy says something of its own, or one that which is not ASCII.
        _ => None,
    };
    if prefix.is_none() {
        static SAID: Once = Once::new();
        // Once, since a client may be behind it that asks for ever.
        SAID.call_once(|| {
            tracing::warn!("X-Forwarded-Prefix is ignored where it is no path such as /orders, or there twice");
        });
        tracing::debug!(?line, "X-Forwarded-Prefix is ignored");
    }
    prefix
}

/// The target without a prefix; None where it has none. A prefix may begin as paths of the daemon do (`/api`), so what is
/// left has to be such a path itself.
fn without(uri: &Uri, prefix: &BasePath) -> Option<Uri> {
    let rest = (!prefix.is_root()).then(|| prefix.strip(uri.path())).flatten()?;
    let is_own = |path: &str| BEGINNINGS.iter().any(|beginning| path.starts_with(beginning));
    // The start page is found by the prefix alone, unless that is a path of the daemon by itself.
    if !is_own(rest) && (rest != "/" || is_own(uri.path())) {
        return None;
    }
    let rest = uri.query().map_or_else(|| PathAndQuery::try_from(rest), |query| format!("{rest}?{query}").try_into());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(rest.ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target and the prefix that are left of a request.
    fn settled(base_path: &str, by_proxy: bool, target: &str, lines: &[&[u8]]) -> (String, String) {
        let mut request = Request::builder().uri(target);
        for line in lines {
            request = request.header(X_FORWARDED_PREFIX, *line);
        }
        let mut request = request.body(()).expect("a request");
        settle(&mut request, by_proxy, &BasePath::parse(base_path).expect("a base path"));
        let prefix = request.extensions().get::<BasePath>().map(ToString::to_string);
        (request.uri().to_string(), prefix.unwrap_or_default())
    }

    #[test]
    fn a_path_is_the_same_with_the_prefix_and_without() {
        for (base_path, target, rest) in [
            ("/orders", "/orders/v1/orders/7?a=b&c", "/v1/orders/7?a=b&c"),
            ("/orders", "/v1/orders/7?a=b&c", "/v1/orders/7?a=b&c"),
            ("/orders", "/orders/docs", "/docs"),
            ("/orders", "/orders/docs/", "/docs/"),
            ("/orders", "/orders/openapi.json", "/openapi.json"),
            ("/orders", "/orders/orders/v1/keys", "/orders/orders/v1/keys"),
            ("/orders", "/orders/nothing", "/orders/nothing"),
            ("/orders", "/orders", "/orders"),
            ("/orders", "/orders/", "/"),
            ("/orders", "/orders/?a", "/?a"),
            ("/orders", "/orders/board/7", "/board/7"),
            ("/orders", "/ordersv1/keys", "/ordersv1/keys"),
            ("/orders", "//orders/v1/keys", "//orders/v1/keys"),
            ("/a/b", "/a/b/v1/keys", "/v1/keys"),
            ("/a/b", "/a/v1/keys", "/a/v1/keys"),
            // Those that begin as the daemon's own paths do.
            ("/api", "/api/orders/lookup?q=1", "/api/orders/lookup?q=1"),
            ("/api", "/api/api/orders/lookup?q=1", "/api/orders/lookup?q=1"),
            ("/api", "/api/v1/keys", "/v1/keys"),
            ("/v1", "/v1/restaurants/7/slots", "/v1/restaurants/7/slots"),
            ("/v1", "/v1/v1/restaurants/7/slots", "/v1/restaurants/7/slots"),
            ("/docs", "/docs/", "/docs/"),
            ("/docs", "/docs/docs/", "/docs/"),
            ("", "/v1/keys", "/v1/keys"),
            ("/orders", "*", "*"),
            ("/orders", "http://shop.example/orders/v1/keys?a", "http://shop.example/v1/keys?a"),
            ("/orders", "/orders/v1/keys?", "/v1/keys?"),
        ] {
            assert_eq!(settled(base_path, false, target, &[]), (rest.to_owned(), base_path.to_owned()), "{target}");
        }
    }

    #[test]
    fn a_trusted_proxy_says_the_prefix() {
        for (lines, prefix) in [
            (&[&b"/shop/orders"[..]][..], "/shop/orders"),
            (&[b"/"], ""),
            (&[b""], "/own"),
            (&[], "/own"),
            // What cannot be taken is as if it were not there.
            (&[b"/orders/"], "/own"),
            (&[b"orders"], "/own"),
            (&[b"//evil.example"], "/own"),
            (&[b"https://evil.example"], "/own"),
            (&[b"/\\evil.example"], "/own"),
            (&[b"/a/../b"], "/own"),
            (&[b"/\"></script><script>alert(1)</script>"], "/own"),
            (&[b"/a, /b"], "/own"),
            (&[b"/a", b"/b"], "/own"),
            (&[b"/\xe9"], "/own"),
        ] {
            assert_eq!(
                settled("/own", true, "/v1/keys", lines),
                ("/v1/keys".to_owned(), prefix.to_owned()),
                "{lines:?}"
            );
            assert_eq!(settled("/own", false, "/v1/keys", lines).1, "/own", "no other peer is believed: {lines:?}");
            assert_eq!(settled("/own", true, "/own/v1/keys", lines).0, "/v1/keys", "{lines:?}");
        }
        assert_eq!(settled("", true, "/shop/v1/keys", &[b"/shop"]), ("/v1/keys".to_owned(), "/shop".to_owned()));
        assert_eq!(settled("", false, "/shop/v1/keys", &[b"/shop"]), ("/shop/v1/keys".to_owned(), String::new()));
    }
}
