//! Kiosks and kitchen screens that are web pages of another origin, in a browser.

use serde_json::{Value, json};

use super::{JSON, raw};
use crate::short::keys::client::make;
use crate::support::api::id;
use crate::support::{Api, Daemon, DaemonOptions};

const KIOSK: &str = "http://kiosk.local:3000";
const BOARD: &str = "https://board.example";

async fn options() -> DaemonOptions {
    DaemonOptions::migrated().await.with("NOWSERVING_HTTP_ALLOWED_ORIGINS", format!("{BOARD}, {KIOSK}"))
}

/// A field of the head, which is in small letters.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Whether a page of this origin gets to read the answer, and its version, its wait and its id.
fn is_readable(head: &str, origin: &str) -> bool {
    let exposed = field(head, "access-control-expose-headers").unwrap_or_default();
    field(head, "access-control-allow-origin") == Some(origin)
        && field(head, "vary").is_some_and(|vary| vary.contains("origin"))
        && ["etag", "retry-after", "location", "durability", "idempotent-replayed", "x-request-id"]
            .iter()
            .all(|name| exposed.split(", ").any(|field| field == *name))
}

/// What a browser asks before a page may send more than a form could.
async fn preflight(api: &Api, path: &str, origin: &str, method: &str, more: &[&str]) -> (u16, String) {
    let (origin, method) = (format!("Origin: {origin}"), format!("Access-Control-Request-Method: {method}"));
    let mut fields = vec![origin.as_str(), &method, "Sec-Fetch-Mode: cors", "Sec-Fetch-Site: cross-site"];
    fields.extend(["Access-Control-Request-Headers: authorization,content-type,idempotency-key"]);
    fields.extend(more);
    let (status, head, _) = raw(api, &format!("OPTIONS {path}"), &fields, b"").await;
    (status, head)
}

/// As a page sends it: with its origin, and what the browser says of it.
async fn from_page(api: &Api, line: &str, origin: &str, more: &[&str], body: &[u8]) -> (u16, String, Value) {
    let origin = format!("Origin: {origin}");
    let mut fields = vec![origin.as_str(), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors"];
    fields.extend(more);
    raw(api, line, &fields, body).await
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_works_as_any_client() {
    let daemon = Daemon::start(&options().await);
    let api = Api::at(daemon.url());
    for origin in [KIOSK, BOARD] {
        for (path, method) in [
            ("/v1/restaurants/7/orders", "POST"),
            ("/v1/restaurants/7/orders/", "POST"),
            ("/v1/restaurants/7", "PUT"),
            ("/v1/orders/42", "PATCH"),
            ("/v1/keys/1", "DELETE"),
            ("/nothing", "GET"),
        ] {
            let (status, head) = preflight(&api, path, origin, method, &[]).await;
            assert_eq!(status, 204, "{path} {head}");
            assert!(is_readable(&head, origin), "{head}");
            let methods = field(&head, "access-control-allow-methods").unwrap_or_default();
            assert!(methods.split(", ").any(|allowed| allowed == method.to_lowercase()), "{head}");
            let headers = field(&head, "access-control-allow-headers").unwrap_or_default();
            for name in ["authorization", "content-type", "durability", "idempotency-key", "if-match", "x-request-id"] {
                assert!(headers.split(", ").any(|allowed| allowed == name), "{name}: {head}");
            }
            assert!(field(&head, "access-control-max-age").is_some(), "{head}");
            assert_eq!(field(&head, "access-control-allow-private-network"), None, "{head}");
            assert_eq!(field(&head, "access-control-allow-credentials"), None, "{head}");
        }
        let private = ["Access-Control-Request-Private-Network: true"];
        let (_, head) = preflight(&api, "/v1/restaurants/7/orders", origin, "POST", &private).await;
        assert_eq!(field(&head, "access-control-allow-private-network"), Some("true"), "{head}");

        let orders = "POST /v1/restaurants/7/orders";
        let key = format!("Idempotency-Key: {origin}");
        let (status, head, order) = from_page(&api, orders, origin, &[JSON, &key], b"{}").await;
        assert!(status == 201 && is_readable(&head, origin), "{head}");
        let order = format!("/v1/orders/{}", id(&order));
        let overridden = [JSON, "X-HTTP-Method-Override: PATCH"];
        for (line, more, body) in [
            (format!("GET {order}"), &[][..], &b""[..]),
            (format!("PATCH {order}"), &[JSON], b"{\"note\":\"x\"}"),
            (format!("POST {order}"), &overridden, b"{\"note\":\"y\"}"),
            (format!("POST {order}/release"), &[], b""),
            ("PUT /v1/restaurants/7".to_owned(), &[JSON], b"{}"),
            ("HEAD /v1/restaurants/7/slots".to_owned(), &[], b""),
            ("GET /openapi.json".to_owned(), &[], b""),
        ] {
            let mut wire = crate::support::api::Wire::to(&api).await;
            let fields: String = more.iter().map(|field| format!("{field}\r\n")).collect();
            let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            let page = format!("Origin: {origin}\r\nSec-Fetch-Site: cross-site\r\n");
            let sent = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{page}{fields}{length}\r\n");
            wire.write(&[sent.as_bytes(), body].concat()).await;
            let said = wire.until_closed().await.to_ascii_lowercase();
            let (head, _) = said.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with("http/1.1 200") && is_readable(head, origin), "{line}: {head}");
        }
    }
}

#[tokio::test]
async fn an_allowed_page_gets_to_read_what_went_wrong() {
    let options = options().await.with("NOWSERVING_AUTH_MODE", "keys");
    let (till, screen) = (make(&options, &["--role", "till"]), make(&options, &["--role", "screen"]));
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    // A pre-flight has no key, and needs none.
    for path in ["/v1/restaurants/7/orders", "/v1/keys", "/metrics", "/nothing"] {
        let (status, head) = preflight(&api, path, KIOSK, "POST", &[]).await;
        assert!(status == 204 && is_readable(&head, KIOSK), "{path} {head}");
    }
    let bearer = |key: &str| format!("Authorization: Bearer {key}");
    let (till, screen) = (bearer(&till), bearer(&screen));
    let orders = "POST /v1/restaurants/7/orders";
    let (status, _, order) = from_page(&api, orders, KIOSK, &[&till, JSON], b"{}").await;
    assert_eq!(status, 201);
    let order = format!("/v1/orders/{}", id(&order));
    let (patch, long) = (format!("PATCH {order}"), format!("GET /v1/{}", "x".repeat(9000)));
    let large = vec![b' '; 140_000];
    for (line, more, body, expected) in [
        (orders, &[JSON][..], &b"{}"[..], (401, "unauthenticated")),
        (orders, &[&screen, JSON], b"{}", (403, "forbidden")),
        ("GET /nothing", &[&till], b"", (404, "not_found")),
        ("DELETE /v1/restaurants/7", &[&till], b"", (405, "method_not_allowed")),
        (&patch, &[&till, JSON], b"{\"status\":\"pending\"}", (200, "")),
        (&patch, &[&till, JSON], b"{\"status\":\"expired\"}", (409, "forbidden_status")),
        (&patch, &[&till, JSON, "If-Match: \"9\""], b"{\"note\":\"x\"}", (412, "version_mismatch")),
        (orders, &[&till, JSON], &large, (413, "body_too_large")),
        (&long, &[&till], b"", (414, "uri_too_long")),
        (orders, &[&till, "Content-Type: text/plain"], b"{}", (415, "unsupported_media_type")),
        (orders, &[&till, JSON], b"{\"nte\":1}", (422, "invalid_body")),
        (orders, &[&till, JSON, "If-None-Match: *"], b"{}", (400, "condition_not_honoured")),
        (orders, &[&till, JSON, "X-HTTP-Method-Override: BREW"], b"{}", (400, "invalid_method_override")),
    ] {
        let (status, head, body) = from_page(&api, line, KIOSK, more, body).await;
        assert_eq!((status, body["code"].as_str().unwrap_or_default()), expected, "{line:.40} {more:?}");
        assert!(is_readable(&head, KIOSK), "{line:.40}: {head}");
    }
    // An OPTIONS that is no pre-flight has the answer that it always had.
    let (status, head, _) = raw(&api, "OPTIONS /v1/restaurants/7/orders", &[], b"").await;
    assert!(status == 405 && field(&head, "allow").is_some_and(|allow| allow.contains("post")), "{head}");
    assert_eq!(field(&head, "access-control-allow-origin"), None);
    let (status, head, _) = from_page(&api, "OPTIONS /v1/restaurants/7/orders", KIOSK, &[], b"").await;
    assert!(status == 405 && is_readable(&head, KIOSK), "{head}");
}

#[tokio::test]
async fn pages_of_other_origins_are_kept_out_as_ever() {
    let daemon = Daemon::start(&options().await);
    let api = Api::at(daemon.url());
    let silent = |head: &str| !head.contains("access-control-");
    for origin in [
        "https://evil.example",
        "null",
        "",
        "http://kiosk.local",
        "https://kiosk.local:3000",
        "http://kiosk.local:30001",
        "http://a.kiosk.local:3000",
        "http://kiosk.local.evil.example:3000",
        "http://kiosk.local:3000/",
        "http://kiosk.local:3000, https://evil.example",
        "https://board.example.",
    ] {
        let (status, head) = preflight(&api, "/v1/restaurants/7/orders", origin, "POST", &[]).await;
        assert!(status == 403 && silent(&head), "{origin}: {head}");
        let (status, head, _) = from_page(&api, "POST /v1/restaurants/7/orders", origin, &[JSON], b"{}").await;
        assert!(status == 403 && silent(&head), "{origin}: {head}");
        for line in ["GET /v1/usage/top", "GET /nothing"] {
            let (_, head, _) = from_page(&api, line, origin, &[], b"").await;
            assert!(silent(&head), "{origin}: {head}");
        }
    }
    let both = format!("Origin: {BOARD}");
    let (status, head, _) = from_page(&api, "POST /v1/restaurants/7/orders", KIOSK, &[JSON, &both], b"{}").await;
    assert!(status == 403 && silent(&head), "two origins: {head}");
    // It calls by a good name all the same, and is told so.
    for (line, host, expected) in
        [("POST /v1/restaurants/7/orders", "kiosk.local", 421), ("OPTIONS /v1/keys", "evil.example:8042", 421)]
    {
        let headers: [(&str, &[u8]); 3] =
            [("host", host.as_bytes()), ("origin", KIOSK.as_bytes()), ("access-control-request-method", b"POST")];
        let (method, path) = line.split_once(' ').expect("a method");
        let answer = api.send(method, path, &headers, None).await;
        let problem = answer.problem(expected, "misdirected_request");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("http.hosts")), "{problem}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(KIOSK));
    }
    assert_eq!(api.live(7).await, Vec::<Value>::new(), "no order was made");
}

#[tokio::test]
async fn no_origin_is_allowed_by_default() {
    let api = super::api().await;
    let (status, head) = preflight(&api, "/v1/restaurants/7/orders", KIOSK, "POST", &[]).await;
    assert!(status == 403 && !head.contains("access-control-") && !head.contains("vary"), "{head}");
    let (status, head, _) = raw(&api, "OPTIONS /v1/restaurants/7/orders", &[], b"").await;
    assert!(status == 405 && field(&head, "allow").is_some(), "{head}");
}

#[tokio::test]
async fn a_setting_that_is_no_origin_is_named_at_start() {
    let options = DaemonOptions::migrated().await;
    for bad in
        ["*", "null", "kiosk.local", "https://kiosk.example/", "https://*.example", "https://kiosk.example/board"]
    {
        let options = options.clone().with("NOWSERVING_HTTP_ALLOWED_ORIGINS", bad);
        let Err((status, output)) = Daemon::try_start(&options) else { panic!("{bad} was taken") };
        assert!(!status.success() && output.contains("http.allowed_origins") && output.contains(bad), "{output}");
    }
    let shown = options.with("NOWSERVING_HTTP_ALLOWED_ORIGINS", "HTTPS://Board.example:443").run("config", &[]);
    assert!(shown.stdout.contains(&json!(["https://board.example"]).to_string()), "{shown:?}");
}
