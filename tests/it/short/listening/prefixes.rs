//! A daemon that a proxy serves under a path of its own.

use serde_json::{Value, json};

use super::proxies::from;
use crate::support::api::id;
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true};

/// An answer to a GET over a connection from this address: its status, its `Location`, its body.
async fn get(daemon: &Daemon, peer: &str, path: &str, lines: &[&str]) -> (u16, Option<String>, String) {
    let mut wire = from(daemon, peer).await;
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    wire.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes()).await;
    let (status, head, body) = wire.read().await;
    let location = head.lines().find_map(|line| line.strip_prefix("location: ")).map(str::to_owned);
    (status, location, body)
}

fn servers(document: &str) -> Value {
    let document: Value = serde_json::from_str(document).expect("the document is JSON");
    document["servers"].as_array().expect("servers").iter().map(|server| server["url"].clone()).collect()
}

/// The addresses that a page of Swagger UI names, as its `src` and `href` have them.
fn named_by(page: &str) -> Vec<&str> {
    let attributes = ["src=\"", "href=\""].into_iter().flat_map(|name| page.split(name).skip(1));
    attributes.filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn a_daemon_answers_with_its_prefix_and_without() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await.with("NOWSERVING_HTTP_BASE_PATH", "/shop/orders"));
    let api = Api::at(daemon.url());
    // A proxy may leave it in or take it away: to the client it is always there.
    for under in ["/shop/orders", ""] {
        let made = api.post(&format!("{under}/v1/restaurants/7/orders"), json!({})).await;
        let order = made.ok(201);
        let location = format!("/shop/orders/v1/orders/{}", id(&order));
        assert_eq!(made.header("location"), Some(location.as_str()));
        assert_eq!(api.get(&location).await.ok(200), order);
        let found = api.get(&format!("{under}/v1/restaurants/7/search?q={}", id(&order))).await.ok(200);
        assert_eq!(found["orders"], json!([order]));

        let docs = api.get(&format!("{under}/docs")).await;
        assert_eq!((docs.status, docs.header("location")), (303, Some("/shop/orders/docs/")), "{under}");
        let page = reqwest::Url::parse(&format!("{}{under}/docs/", daemon.url())).expect("a URL");
        let shown = api.get(page.path()).await;
        assert_eq!(shown.status, 200, "{under}");
        let assets = named_by(&shown.text);
        assert!(assets.iter().any(|asset| asset.ends_with(".css")), "{}", shown.text);
        assert!(assets.iter().filter(|asset| asset.ends_with(".js")).count() > 2, "{}", shown.text);
        for asset in assets {
            assert!(!asset.starts_with('/') && !asset.contains("//"), "{asset} leads out of the prefix");
            let asset = api.get(page.join(asset).expect("a URL").path()).await;
            assert!(asset.status == 200 && !asset.text.is_empty(), "{under}: {asset:?}");
        }
        let initializer = api.get(page.join("./swagger-initializer.js").expect("a URL").path()).await;
        let document = initializer.text.split('"').find(|text| text.ends_with("openapi.json")).expect("it names it");
        let document = api.get(page.join(document).expect("a URL").path()).await;
        assert_eq!(servers(&document.text), json!(["/shop/orders"]), "{under}");

        api.get(&format!("{under}/healthz")).await.ok(200);
        api.get(&format!("{under}/nothing")).await.problem(404, "not_found");
        api.get(&format!("{under}/v1/restaurants/x/slots")).await.problem(422, "invalid_parameter");
    }
    for path in ["/shop/v1/restaurants/7/slots", "/shop/orders/shop/orders/v1/restaurants/7/slots", "/shop/orders"] {
        api.get(path).await.problem(404, "not_found");
    }
    // By its template, whatever the way to it: or each prefix would be a series of its own.
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.contains("\"/v1/restaurants/{restaurant_id}/orders\"") && !metrics.contains("/shop"), "{metrics}");
}

#[tokio::test]
async fn a_trusted_proxy_says_the_prefix_and_no_other_peer() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_HTTP_TRUSTED_PROXIES", "127.0.0.2");
    let daemon = Daemon::start(&options);
    for (peer, lines, prefix) in [
        ("127.0.0.2", &["X-Forwarded-Prefix: /proxied"][..], "/proxied"),
        ("127.0.0.2", &["X-Forwarded-Prefix: /"], ""),
        ("127.0.0.2", &[], ""),
        ("127.0.0.3", &["X-Forwarded-Prefix: /proxied"], ""),
    ] {
        let (status, location, _) = get(&daemon, peer, "/docs", lines).await;
        assert_eq!((status, location), (303, Some(format!("{prefix}/docs/"))), "{peer} {lines:?}");
        let (_, _, document) = get(&daemon, peer, "/openapi.json", lines).await;
        let url = if prefix.is_empty() { "/" } else { prefix };
        assert_eq!(servers(&document), json!([url]), "{peer} {lines:?}");
    }
    // What the page names is there, whether the proxy leaves its prefix in or not.
    let lines = &["X-Forwarded-Prefix: /proxied"];
    for under in ["", "/proxied"] {
        let (status, _, page) = get(&daemon, "127.0.0.2", &format!("{under}/docs/"), lines).await;
        let assets: Vec<String> = named_by(&page).into_iter().map(str::to_owned).collect();
        assert!(status == 200 && assets.len() > 4, "{under}: {page}");
        // What is read from the wire has to be text.
        for asset in assets.iter().filter(|asset| !asset.ends_with(".png")) {
            let asset = asset.trim_start_matches("./");
            let (status, _, body) = get(&daemon, "127.0.0.2", &format!("{under}/docs/{asset}"), lines).await;
            assert!(status == 200 && !body.is_empty(), "{under}/docs/{asset}: {status}");
        }
        let (_, _, initializer) =
            get(&daemon, "127.0.0.2", &format!("{under}/docs/swagger-initializer.js"), lines).await;
        assert!(
            initializer.contains("\"/proxied/openapi.json\"") || initializer.contains("\"../openapi.json\""),
            "{initializer}"
        );
    }
    let unstripped = get(&daemon, "127.0.0.2", "/proxied/healthz", &["X-Forwarded-Prefix: /proxied"]).await;
    assert_eq!(unstripped.0, 200, "it may leave it in");
    assert!(!daemon.output().contains("X-Forwarded-Prefix"), "{}", daemon.output());

    for wrong in [
        "X-Forwarded-Prefix: //evil.example",
        "X-Forwarded-Prefix: https://evil.example",
        "X-Forwarded-Prefix: /\\evil.example",
        "X-Forwarded-Prefix: /../..",
        "X-Forwarded-Prefix: /proxied/",
        "X-Forwarded-Prefix: /\"}],\"servers\":[{\"url\":\"https://evil.example",
        "X-Forwarded-Prefix: /</script><script>alert(1)</script>",
        "X-Forwarded-Prefix: /a\r\nX-Forwarded-Prefix: /b",
    ] {
        let (status, location, _) = get(&daemon, "127.0.0.2", "/docs", &[wrong]).await;
        assert_eq!((status, location.as_deref()), (303, Some("/docs/")), "{wrong}");
        let (_, _, document) = get(&daemon, "127.0.0.2", "/openapi.json", &[wrong]).await;
        assert!(servers(&document) == json!(["/"]) && !document.contains("evil"), "{wrong}");
        let (_, _, initializer) = get(&daemon, "127.0.0.2", "/docs/swagger-initializer.js", &[wrong]).await;
        assert!(!initializer.contains("evil") && !initializer.contains("alert("), "{wrong}");
    }
    eventually_true(PATIENCE, || async { daemon.output().contains("X-Forwarded-Prefix is ignored") }).await;
}

#[tokio::test]
async fn a_base_path_that_is_none_is_refused_at_start() {
    for wrong in ["orders", "/orders/", "/", "//evil.example", "/a/../b", "/a b", "/%61", "/a?b"] {
        let options = DaemonOptions::local().with("NOWSERVING_HTTP_BASE_PATH", wrong);
        let refused = options.run("config", &[]);
        assert!(!refused.status.success(), "{wrong}");
        let named = ["http.base_path", "NOWSERVING_HTTP_BASE_PATH", "/orders"];
        assert!(named.iter().all(|name| refused.stderr.contains(name)), "{wrong}: {}", refused.stderr);
    }
    let kept = DaemonOptions::local().with("NOWSERVING_HTTP_BASE_PATH", "/shop/orders").run("config", &[]);
    assert!(kept.status.success() && kept.stdout.contains("base_path = \"/shop/orders\""), "{kept:?}");
}
