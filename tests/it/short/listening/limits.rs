//! Slow, oversized and too many clients: each is ended at its limit, and the others notice nothing.

use serde_json::json;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::support::api::Wire;
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true};

/// A daemon with short times for slow clients.
async fn impatient() -> Daemon {
    let options = DaemonOptions::migrated().await;
    let options = options.with("NOWSERVING_HTTP_HEADER_TIMEOUT_MS", 2000).with("NOWSERVING_HTTP_BODY_TIMEOUT_MS", 1000);
    Daemon::start(&options.with("NOWSERVING_HTTP_IDLE_TIMEOUT_MS", 3000))
}

/// The value of a series at `/metrics`.
pub async fn series(api: &Api, name: &str) -> f64 {
    let text = api.get("/metrics").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// What the daemon said before it closed the connection.
async fn closed(wire: &mut Wire) -> String {
    timeout(PATIENCE, wire.until_closed()).await.expect("the daemon closes the connection")
}

#[tokio::test]
async fn slow_clients_are_ended_and_others_are_not() {
    let daemon = impatient().await;
    let api = Api::at(daemon.url());

    // Nothing at all.
    assert_eq!(closed(&mut Wire::to(&api).await).await, "");

    // A head that comes byte by byte, and never to its end: each byte buys no more time.
    let mut wire = Wire::to(&api).await;
    let start = Instant::now();
    let dripping = async {
        for byte in b"GET /healthz HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')) {
            wire.write(&[*byte]).await;
            if let Ok(said) = timeout(Duration::from_millis(20), wire.until_closed()).await {
                return said;
            }
            assert!(start.elapsed() < PATIENCE, "the daemon closes the connection");
        }
        unreachable!("it drips for ever")
    };
    assert_eq!(dripping.await, "");

    // A body that does not come.
    let mut wire = Wire::to(&api).await;
    wire.write(b"POST /v1/restaurants/7/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        .await;
    let (status, head, body) = wire.read().await;
    assert_eq!((status, head.contains("connection: close")), (408, true), "{head}");
    assert!(body.contains("\"body_timeout\""), "{body}");
    assert_eq!(closed(&mut wire).await, "");

    // Nothing after an answer.
    let mut wire = Wire::to(&api).await;
    assert_eq!(wire.get("/healthz").await.0, 200);
    assert_eq!(closed(&mut wire).await, "");

    // A client that goes on is served for much longer than any of these limits.
    let mut wire = Wire::to(&api).await;
    for _ in 0..40 {
        assert_eq!(wire.get("/healthz").await.0, 200);
        sleep(Duration::from_millis(100)).await;
    }
    eventually_true(PATIENCE, || async { series(&api, "nowserving_http_requests_in_flight").await == 0.0 }).await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_no_secret_is_logged() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_HTTP_MAX_HEADER_BYTES", 16384);
    let daemon = Daemon::start(&options.with("NOWSERVING_LOG_FILTER", "trace"));
    let api = Api::at(daemon.url());
    let secret = "nsk_do-not-log-me";
    let request = |line: &str, more: &str| {
        format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n{more}\r\n").into_bytes()
    };
    let large = format!("X-Large: {}\r\n", "x".repeat(20_000));
    let many: String = (0..200).map(|at| format!("X-{at}: 1\r\n")).collect();
    let almost = format!("X-Large: {}\r\n", "x".repeat(15_000));
    for (line, more, status) in [
        ("GET /healthz".to_owned(), almost.as_str(), 200),
        ("GET /healthz".to_owned(), &large, 431),
        ("GET /healthz".to_owned(), &many, 431),
        (format!("GET /healthz?{}", "x".repeat(9000)), "", 414),
        (format!("GET /healthz?{}", "x".repeat(60_000)), "", 431),
        ("G\u{7f}ET /healthz".to_owned(), "", 400),
        ("GET /healthz".to_owned(), "X-Broken\r\n", 400),
        ("POST /v1/restaurants/7/orders".to_owned(), "Content-Length: 99999999\r\nExpect: 100-continue\r\n", 413),
        ("POST /v1/restaurants/7/orders".to_owned(), "Content-Length: -1\r\n", 400),
        ("POST /v1/restaurants/7/orders".to_owned(), "Transfer-Encoding: gzip\r\n", 400),
    ] {
        let mut wire = Wire::to(&api).await;
        wire.write(&request(&line, more)).await;
        let (got, head, _) = timeout(PATIENCE, wire.read()).await.expect("an answer");
        assert_eq!(got, status, "{} {}: {head}", &line[..line.len().min(40)], &more[..more.len().min(40)]);
    }
    api.get("/healthz").await.ok(200);
    assert!(!daemon.output().contains(secret), "{}", daemon.output());
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    const MOST: usize = 50;
    let daemon = Daemon::start(&DaemonOptions::migrated().await.with("NOWSERVING_HTTP_MAX_CONNECTIONS", MOST));
    let api = Api::at(daemon.url());
    let mut wires = Vec::new();
    for _ in 0..MOST {
        let mut wire = Wire::to(&api).await;
        assert_eq!(wire.get("/healthz").await.0, 200);
        wires.push(wire);
    }
    for _ in 0..20 {
        assert_eq!(closed(&mut Wire::to(&api).await).await, "");
    }
    let (_, _, metrics) = wires[0].get("/metrics").await;
    let value = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    assert_eq!(value("nowserving_http_connections"), Some("50"), "{metrics}");
    assert_eq!(value("nowserving_http_shed_total{reason=\"connections\"}"), Some("20"));
    // Those that are there go on, and one that goes makes room for one.
    for wire in &mut wires {
        assert_eq!(wire.get("/healthz").await.0, 200);
    }
    drop(wires.pop());
    eventually_true(PATIENCE, || async {
        let mut wire = Wire::to(&api).await;
        wire.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        closed(&mut wire).await.contains("200 OK")
    })
    .await;
}

#[tokio::test]
async fn half_closed_connections_do_not_stay() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let api = Api::at(daemon.url());
    for head in
        ["", "GET /heal", "POST /v1/restaurants/7/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n{"]
    {
        let mut wire = Wire::to(&api).await;
        wire.write(head.as_bytes()).await;
        wire.half_close().await;
        closed(&mut wire).await;
    }
    // This one may have been carried out, as with any answer that is lost.
    let mut wire = Wire::to(&api).await;
    wire.write(b"POST /v1/restaurants/7/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    wire.half_close().await;
    closed(&mut wire).await;
    api.create(7, json!({})).await;
    api.slots(7).await;
    // The one that asks is left.
    eventually_true(PATIENCE, || async { series(&api, "nowserving_http_connections").await == 1.0 }).await;
}

#[tokio::test]
async fn a_shutdown_answers_what_has_begun_and_closes_what_waits() {
    let mut daemon = Daemon::start(&DaemonOptions::migrated().await);
    let api = Api::at(daemon.url());
    let mut idle = Wire::to(&api).await;
    assert_eq!(idle.get("/healthz").await.0, 200);
    let mut begun = Wire::to(&api).await;
    let body = json!({"note": "last orders"}).to_string();
    let head = format!(
        "POST /v1/restaurants/7/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    begun.write(head.as_bytes()).await;
    assert_eq!(begun.read().await.0, 100, "its body is waited for");

    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(closed(&mut idle).await, "");
    begun.write(body.as_bytes()).await;
    let (status, head, body) = timeout(PATIENCE, begun.read()).await.expect("an answer");
    assert_eq!((status, head.contains("connection: close")), (201, true), "{head}{body}");
    assert_eq!(closed(&mut begun).await, "");
    assert!(daemon.wait().success(), "{}", daemon.output());
}
