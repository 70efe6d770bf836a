//! Web pages of other origins that may call all the same (CORS): those of the setting `http.allowed_origins`.
//!
//! tower-http's layer does not do here. It takes every OPTIONS for a pre-flight, and answers one from any page with 200;
//! here an OPTIONS that is none gets its 405, and a page that is not listed its 403.

use std::sync::Arc;

use axum::{
    body::HttpBody,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::config::Origin;

/// The methods of all calls: a page that uses the wrong one gets to read its 405.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

/// Header fields of requests, beyond those that any page may send: what the calls read, and what libraries for the browser
/// add by themselves.
const OF_REQUESTS: HeaderValue = HeaderValue::from_static(
    "Accept, Authorization, Cache-Control, Content-Type, Durability, Idempotency-Key, If-Match, If-None-Match, \
     Last-Event-ID, Pragma, X-HTTP-Method-Override, X-Request-Id, X-Requested-With, baggage, traceparent, tracestate",
);

/// Header fields of answers that a page may read, beyond those that any page may.
const OF_ANSWERS: HeaderValue = HeaderValue::from_static(
    "Allow, Durability, ETag, Idempotent-Replayed, Location, Retry-After, WWW-Authenticate, X-Request-Id",
);

/// For how many seconds a browser need not ask again; none believes more than two hours everywhere. Each call is looked at
/// again anyway.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// A page of the public internet, or of a network, asks for a server in a more private network (Private Network Access).
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The origins of `http.allowed_origins`.
#[derive(Debug, Clone)]
pub(crate) struct AllowedOrigins(Arc<[Origin]>);

impl AllowedOrigins {
    pub(crate) fn new(origins: &[Origin]) -> Self {
        Self(origins.into())
    }

    /// The origin of the page that a request comes from, where it is one of these. No browser sends two.
    pub(crate) fn of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        // The usual case costs nothing.
        if self.0.is_empty() {
            return None;
        }
        let mut lines = headers.get_all(header::ORIGIN).iter();
        let (origin, None) = (lines.next()?, lines.next()) else { return None };
        self.0.iter().any(|allowed| *origin == *allowed.as_str()).then_some(origin)
    }

    /// Lets a page of this allowed origin read an answer, whatever its status.
    pub(crate) fn let_read(&self, origin: Option<HeaderValue>, answer: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        // Also where the request has no origin: a cache in between must not give the answer to one that has.
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, OF_ANSWERS);
        }
    }
}

/// Whether a browser asks, for a page, if the page may send a request.
pub(crate) fn is_preflight(request: &Request) -> bool {
    *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && request.body().is_end_stream()
}

/// What a page of an allowed origin may send, to any address: what is wrong with its request the answer to that says.
pub(crate) fn preflight(asked: &HeaderMap) -> Response {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, OF_REQUESTS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
    if asked.get(REQUEST_PRIVATE_NETWORK).is_some_and(|asks| *asks == *"true") {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    (StatusCode::NO_CONTENT, headers).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::{Router, body::Body, routing::post};

    use super::*;
    use crate::{
        config::HttpSettings,
        http::{
            openapi,
            testing::{self, request, send},
        },
    };

    const KIOSK: &str = "http://kiosk.example:3000";

    fn app(allowed: &[&str]) -> Router {
        let origins = allowed.iter().map(|origin| (*origin).to_owned().try_into().expect("an origin"));
        let settings = HttpSettings { allowed_origins: origins.collect(), ..testing::settings() };
        testing::behind_the_edge(Router::new().route("/orders", post(|| async { "made" })), settings)
    }

    /// The status and the headers of CORS, of a request from a page.
    async fn asked(app: &Router, method: &str, path: &str, lines: &[(&str, &str)]) -> (u16, Vec<String>) {
        let sent = lines.iter().fold(request(method, path), |sent, (name, value)| sent.header(*name, *value));
        let answer = send(app, sent.body(Body::empty())).await;
        let names = answer.headers().keys().map(|name| name.as_str().to_owned());
        let status = answer.status().as_u16();
        (status, names.filter(|name| name.starts_with("access-control-") || name == "vary").collect())
    }

    #[tokio::test]
    async fn a_listed_origin_may_ask_send_and_read() {
        let app = app(&["https://board.example", KIOSK]);
        let from = [("Origin", KIOSK), ("Sec-Fetch-Site", "cross-site")];
        let asks = [from[0], from[1], ("Access-Control-Request-Method", "POST")];
        let (status, headers) = asked(&app, "OPTIONS", "/orders", &asks).await;
        let answered = ["methods", "headers", "origin"].map(|of| format!("access-control-allow-{of}"));
        assert!(status == 204 && answered.iter().all(|name| headers.contains(name)), "{status} {headers:?}");
        for (method, path, expected) in
            [("POST", "/orders", 200), ("GET", "/orders", 405), ("POST", "/nothing", 404), ("OPTIONS", "/orders", 405)]
        {
            let (status, headers) = asked(&app, method, path, &from).await;
            let read = ["access-control-allow-origin", "access-control-expose-headers", "vary"];
            let is_readable = read.iter().all(|name| headers.iter().any(|header| header == name));
            assert!(status == expected && is_readable, "{method} {path} {status} {headers:?}");
        }
    }

    #[tokio::test]
    async fn no_other_origin_may() {
        for (allowed, origins) in [
            (&[][..], &[KIOSK][..]),
            (&[KIOSK], &["http://kiosk.example"]),
            (&[KIOSK], &["https://kiosk.example:3000"]),
            (&[KIOSK], &["http://kiosk.example:30000"]),
            (&[KIOSK], &["http://kiosk.example:3000.evil.example"]),
            (&[KIOSK], &["HTTP://KIOSK.EXAMPLE:3000"]),
            (&[KIOSK], &["null"]),
            (&[KIOSK], &[KIOSK, KIOSK]),
            (&[KIOSK], &[KIOSK, "https://evil.example"]),
            (&["http://kiosk.example"], &["http://a.kiosk.example"]),
        ] {
            let app = app(allowed);
            let mut lines: Vec<_> = origins.iter().map(|origin| ("Origin", *origin)).collect();
            lines.push(("Access-Control-Request-Method", "POST"));
            for method in ["OPTIONS", "POST"] {
                let (status, headers) = asked(&app, method, "/orders", &lines).await;
                let told = headers.iter().any(|name| name.starts_with("access-control-"));
                assert!(status == 403 && !told, "{method} {lines:?} {status} {headers:?}");
            }
        }
    }

    /// No browser asks so: what no page of a listed origin asks is answered as any call.
    #[tokio::test]
    async fn a_question_without_an_origin_is_no_preflight() {
        let asks = [("Access-Control-Request-Method", "POST")];
        for allowed in [&[][..], &[KIOSK]] {
            let (status, headers) = asked(&app(allowed), "OPTIONS", "/orders", &asks).await;
            let told = headers.iter().any(|name| name.starts_with("access-control-"));
            assert!(status == 405 && !told, "{status} {headers:?}");
        }
    }

    #[tokio::test]
    async fn caches_are_told_where_origins_make_a_difference() {
        for (allowed, varies) in [(&[][..], false), (&[KIOSK], true)] {
            let (_, headers) = asked(&app(allowed), "POST", "/orders", &[]).await;
            assert_eq!(headers.contains(&"vary".to_owned()), varies);
        }
    }

    #[tokio::test]
    async fn a_private_network_is_let_into_where_that_is_asked() {
        let app = app(&[KIOSK]);
        let asks = [("Origin", KIOSK), ("Access-Control-Request-Method", "GET")];
        let private = [asks[0], asks[1], ("Access-Control-Request-Private-Network", "true")];
        for (lines, expected) in [(&asks[..], false), (&private, true)] {
            let (_, headers) = asked(&app, "OPTIONS", "/orders", lines).await;
            assert_eq!(headers.contains(&ALLOW_PRIVATE_NETWORK.as_str().to_owned()), expected);
        }
    }

    /// What a page cannot send, or not read, it does not have.
    #[test]
    fn every_documented_header_may_be_sent_or_read() {
        let document = serde_json::to_value(openapi()).expect("JSON");
        let (mut sent, mut read) = (BTreeSet::new(), BTreeSet::new());
        let items = document["paths"].as_object().expect("paths").values();
        for operation in items.flat_map(|item| item.as_object().expect("an item").values()) {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let fields = parameters.filter(|parameter| parameter["in"] == "header");
            sent.extend(fields.filter_map(|field| field["name"].as_str().map(str::to_owned)));
            let answers = operation["responses"].as_object().expect("responses").values();
            read.extend(answers.filter_map(|answer| answer["headers"].as_object()).flat_map(|it| it.keys().cloned()));
        }
        for (fields, list) in [(sent, OF_REQUESTS), (read, OF_ANSWERS)] {
            let list: Vec<_> = list.to_str().expect("ASCII").split(", ").map(str::to_ascii_lowercase).collect();
            assert!(fields.len() > 2);
            for field in fields {
                assert!(list.contains(&field.to_ascii_lowercase()), "{field} is not in {list:?}");
            }
        }
        let methods = METHODS;
        let methods: BTreeSet<_> = methods.to_str().expect("ASCII").split(", ").collect();
        for (_, item) in document["paths"].as_object().expect("paths") {
            for method in item.as_object().expect("an item").keys() {
                assert!(methods.contains(method.to_uppercase().as_str()), "{method}");
            }
        }
    }
}
