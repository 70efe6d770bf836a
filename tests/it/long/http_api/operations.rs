//! What machines and their keepers ask: health, metrics, documentation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::world::api;
use crate::support::api::id;
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually, eventually_true};

#[tokio::test]
async fn a_healthy_daemon_says_so() {
    let api = api().await;
    assert_eq!(api.get("/healthz").await.ok(200), json!({"status": "ok"}));
    assert_eq!(api.get("/readyz").await.ok(200), json!({"status": "ready"}));
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem() {
    let api = api().await;
    for path in ["/v1", "/v1/orders", "/v1/restaurants/7/nothing", "/v2/orders/1", "/docs/nothing.js", "/%00", "/%ff"] {
        api.get(path).await.problem(404, "not_found");
    }
    for (method, path, allowed) in [
        ("DELETE", "/v1/orders/42", "GET,HEAD,PATCH"),
        ("POST", "/v1/orders/42", "GET,HEAD,PATCH"),
        ("DELETE", "/v1/restaurants/7", "GET,HEAD,PATCH,PUT"),
        ("GET", "/v1/restaurants/7/cleanup", "POST"),
        ("GET", "/v1/orders/42/release", "POST"),
        ("BREW", "/healthz", "GET,HEAD"),
    ] {
        let answer = api.send(method, path, &[], None).await;
        answer.problem(405, "method_not_allowed");
        let mut names: Vec<&str> = answer.header("allow").expect("it names the right ones").split(',').collect();
        names.sort_unstable();
        assert_eq!(names.join(","), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let api = api().await;
    for path in ["/healthz", "/v1/orders/42", "/nothing", "/metrics"] {
        let mine = api.send("GET", path, &[("x-request-id", b"till-7.42_a")], None).await;
        assert_eq!(mine.header("x-request-id"), Some("till-7.42_a"), "{path}");
        let one = api.get(path).await;
        let two = api.get(path).await;
        assert_ne!(one.header("x-request-id").expect("a new one"), two.header("x-request-id").expect("a new one"));
        for insane in [&b"a b"[..], b"\xff", &[b'x'; 65]] {
            let answer = api.send("GET", path, &[("x-request-id", insane)], None).await;
            assert_ne!(answer.headers["x-request-id"].as_bytes(), insane, "{path}");
        }
    }
}

/// The samples of the metrics: name with labels → value.
async fn samples(api: &Api) -> BTreeMap<String, f64> {
    let answer = api.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")));
    let mut described = BTreeSet::new();
    let mut samples = BTreeMap::new();
    for line in answer.text.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            described.insert(help.split(' ').next().expect("a name").to_owned());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let name = series.split('{').next().expect("a name");
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
            assert!(described.contains(name) || described.contains(base), "{name} has no help text");
            samples.insert(series.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")));
        }
    }
    samples
}

/// All that one restaurant can give occasion to count.
async fn exercise(api: &Api, restaurant: u32) {
    api.configure(restaurant, json!({"max_number": 2})).await;
    let orders =
        [api.create(restaurant, json!({})).await, api.create_with_key(restaurant, "k", &json!({})).await.ok(201)];
    api.create_with_key(restaurant, "k", &json!({})).await.ok(201);
    api.create_with_key(restaurant, "k", &json!({"note": "x"})).await.problem(422, "idempotency_conflict");
    api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await.problem(409, "pool_exhausted");
    api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!([])).await.problem(422, "invalid_body");
    api.patch(id(&orders[0]), json!({"status": "ready"})).await.ok(200);
    api.patch(id(&orders[0]), json!({"status": "cancelled"})).await.ok(200);
    api.release(id(&orders[1]), false).await.ok(200);
    api.release(id(&orders[1]), true).await.ok(200);
    for path in ["", "/orders", "/slots", "/numbers/1", "/search?q=1&include_completed=true", "/numbers/77"] {
        assert!([200, 404].contains(&api.get(&format!("/v1/restaurants/{restaurant}{path}")).await.status));
    }
    api.post(&format!("/v1/restaurants/{restaurant}/cleanup"), json!({})).await.ok(200);
    api.order(id(&orders[0])).await.ok(200);
    api.get(&format!("/nothing/{restaurant}")).await.problem(404, "not_found");
}

#[tokio::test]
async fn metrics_count_what_happens_and_do_not_grow_with_restaurants() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_SURVEY_INTERVAL_SECONDS", 1);
    // tests/it/long/usage.rs has a look at the restaurants in the top.
    let daemon = Daemon::start(&options.with("NOWSERVING_USAGE_TOP", 0));
    let api = Api::at(daemon.url());
    exercise(&api, 1).await;
    let before = eventually(PATIENCE, || async {
        let samples = samples(&api).await;
        let surveyed = samples.get("nowserving_restaurants") == Some(&1.0);
        let written = samples.get("nowserving_write_behind_events_total") >= Some(&7.0);
        // The last script that the orders of one restaurant lead to.
        let retired = samples.keys().any(|series| series.contains("script=\"retire\""));
        (surveyed && written && retired).then_some(samples)
    })
    .await;
    for (series, value) in [
        ("nowserving_allocations_total{outcome=\"allocated\"}", 2.0),
        ("nowserving_allocations_total{outcome=\"replayed\"}", 1.0),
        ("nowserving_allocations_total{outcome=\"exhausted\"}", 1.0),
        ("nowserving_allocations_total{outcome=\"refused\"}", 1.0),
        ("nowserving_allocations_total{outcome=\"unavailable\"}", 0.0),
        ("nowserving_allocations_total{outcome=\"failed\"}", 0.0),
        ("nowserving_pool_exhausted_total", 1.0),
        ("nowserving_releases_total{status=\"completed\"}", 1.0),
        ("nowserving_releases_total{status=\"cancelled\"}", 1.0),
        ("nowserving_orders_expired_total", 0.0),
        ("nowserving_orders_reopened_total", 0.0),
        ("nowserving_dead_letters_total", 0.0),
        ("nowserving_slot_collisions_total", 0.0),
        ("nowserving_write_behind_failures_total", 0.0),
        // Settings, two orders, ready, cancelled, completed, the rest ended early.
        ("nowserving_write_behind_events_total", 7.0),
        ("nowserving_partitions_open", 64.0),
        ("nowserving_partitions_closed", 0.0),
        (concat!("nowserving_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(before.get(series), Some(&value), "{series}");
    }
    for histogram in [
        "nowserving_http_request_duration_seconds",
        "nowserving_redis_script_duration_seconds",
        "nowserving_write_behind_batch_duration_seconds",
        "nowserving_write_behind_batch_events",
    ] {
        for part in ["bucket", "sum", "count"] {
            let found = before.keys().any(|series| series.starts_with(&format!("{histogram}_{part}")));
            assert!(found, "{histogram}_{part} is missing; buckets are what quantiles are made of");
        }
    }
    for gauge in ["outbox_entries", "outbox_lag_seconds", "restaurants", "redis_connects_total"] {
        assert!(before.contains_key(&format!("nowserving_{gauge}")), "{gauge}");
    }
    let states: Vec<&String> = before.keys().filter(|series| series.starts_with("nowserving_numbers{")).collect();
    assert_eq!(states.len(), 7, "{states:?}");
    let posts = "nowserving_http_requests_total{route=\"/v1/restaurants/{restaurant_id}/orders\",method=\"POST\",status=\"201\"}";
    assert_eq!(before.get(posts), Some(&3.0), "{before:#?}");

    for restaurant in 2..=51 {
        exercise(&api, restaurant).await;
    }
    let after = eventually(PATIENCE, || async {
        let samples = samples(&api).await;
        (samples.get("nowserving_restaurants") == Some(&51.0)).then_some(samples)
    })
    .await;
    assert_eq!(after["nowserving_allocations_total{outcome=\"allocated\"}"], 102.0);
    let series = |samples: &BTreeMap<String, f64>| samples.keys().cloned().collect::<BTreeSet<_>>();
    let new: Vec<String> = series(&after).difference(&series(&before)).cloned().collect();
    assert!(new.is_empty(), "series that grew with the restaurants: {new:#?}");
    // Reopened once: asked again, it is live already.
    let order = api.create(52, json!({})).await;
    api.release(id(&order), false).await.ok(200);
    for _ in 0..2 {
        api.reopen(id(&order)).await.ok(200);
    }
    api.release(id(&order), false).await.ok(200);
    api.patch(id(&order), json!({"status": "preparing"})).await.ok(200);
    assert_eq!(self::samples(&api).await["nowserving_orders_reopened_total"], 2.0);
    // The outbox is empty in the end.
    eventually_true(PATIENCE, || async {
        let samples = samples(&api).await;
        samples["nowserving_outbox_entries"] == 0.0 && samples["nowserving_outbox_lag_seconds"] == 0.0
    })
    .await;
}

/// Every `$ref` of a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(reference) => found.push(reference),
                    None => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_openapi_document_describes_every_call() {
    let document = api().await.get("/openapi.json").await.ok(200);
    let version = document["openapi"].as_str().expect("a version");
    assert!(version.starts_with("3.1."), "{version}");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let mut calls = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            calls.insert(format!("{} {path}", method.to_uppercase()));
            let name =
                operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no operationId"));
            assert!(names.insert(name), "{name} is there twice");
            let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
            for parameter in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let declared = parameters.iter().find(|p| p["name"] == parameter && p["in"] == "path");
                assert_eq!(declared.map(|p| &p["required"]), Some(&json!(true)), "{parameter} of {method} {path}");
            }
            for parameter in parameters {
                assert!(
                    parameter["schema"].is_object() && parameter["name"].is_string(),
                    "{method} {path}: {parameter}"
                );
            }
            let responses = operation["responses"].as_object().unwrap_or_else(|| panic!("{method} {path}"));
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            for (status, response) in responses {
                assert!(response["description"].is_string(), "{method} {path} {status}");
                // The HTTP library gives 431, bare.
                if status.starts_with('4') && status != "431" {
                    assert!(response["content"]["application/problem+json"].is_object(), "{method} {path} {status}");
                }
            }
        }
    }
    let table = [
        "POST /v1/restaurants/{restaurant_id}/orders",
        "GET /v1/orders/{internal_order_id}",
        "GET /v1/orders/{internal_order_id}/events",
        "PATCH /v1/orders/{internal_order_id}",
        "POST /v1/orders/{internal_order_id}/calls",
        "GET /v1/restaurants/{restaurant_id}/feed",
        "GET /v1/feed",
        "POST /v1/orders/{internal_order_id}/release",
        "POST /v1/orders/{internal_order_id}/status",
        "POST /v1/orders/{internal_order_id}/reopen",
        "GET /v1/restaurants/{restaurant_id}/orders",
        "GET /v1/restaurants/{restaurant_id}/events",
        "GET /v1/restaurants/{restaurant_id}/business-day",
        "PUT /v1/restaurants/{restaurant_id}/business-day",
        "GET /v1/restaurants/{restaurant_id}/numbers/{number}",
        "GET /v1/restaurants/{restaurant_id}/search",
        "GET /v1/restaurants/{restaurant_id}/slots",
        "GET /v1/restaurants/{restaurant_id}/usage",
        "GET /v1/usage/top",
        "GET /v1/restaurants/{restaurant_id}",
        "PATCH /v1/restaurants/{restaurant_id}",
        "PUT /v1/restaurants/{restaurant_id}",
        "POST /v1/restaurants/{restaurant_id}/cleanup",
        "GET /api/orders/lookup",
        "GET /api/orders/search",
        "POST /v1/keys",
        "GET /v1/keys",
        "GET /v1/keys/{key_id}",
        "DELETE /v1/keys/{key_id}",
        "POST /v1/pairings",
        "GET /v1/pairings/current",
        "POST /v1/screens",
        "GET /v1/screens",
        "GET /v1/screens/{screen_id}",
        "DELETE /v1/screens/{screen_id}",
        "PUT /v1/screens/self",
        "GET /v1/restaurants/{restaurant_id}/screen-sessions",
        "GET /v1/restaurants/{restaurant_id}/reservations",
        "GET /v1/restaurants/{restaurant_id}/reservations/{number}",
        "PUT /v1/restaurants/{restaurant_id}/reservations/{number}",
        "DELETE /v1/restaurants/{restaurant_id}/reservations/{number}",
        "PUT /v1/restaurants/{restaurant_id}/numbers/{number}/quarantine",
        "DELETE /v1/restaurants/{restaurant_id}/numbers/{number}/quarantine",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    ];
    assert_eq!(calls, table.into_iter().map(str::to_owned).collect());
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

/// What a page loads: the values of these attributes.
fn loaded(html: &str) -> Vec<String> {
    let attributes = ["src=\"", "href=\"", "src='", "href='"];
    let found = attributes.iter().flat_map(|attribute| {
        let quote = &attribute[attribute.len() - 1..];
        html.split(attribute).skip(1).filter_map(move |rest| rest.split(quote).next())
    });
    found.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_documentation_page_needs_no_internet() {
    let api = api().await;
    let mut place = "/docs".to_owned();
    let page = loop {
        let answer = api.get(&place).await;
        match answer.header("location") {
            Some(location) if (300..400).contains(&answer.status) => {
                assert!(location.starts_with('/'), "{location}");
                location.clone_into(&mut place);
            }
            _ => break answer,
        }
    };
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{:?}", page.headers);
    let parts = loaded(&page.text);
    assert!(
        parts.iter().any(|part| part.ends_with(".js")) && parts.iter().any(|part| part.ends_with(".css")),
        "{parts:?}"
    );
    let base = reqwest::Url::parse(&format!("{}/docs/", api.url())).expect("a URL");
    for part in &parts {
        let url = base.join(part).expect("a URL");
        assert_eq!(url.origin(), base.origin(), "{part} comes from elsewhere");
        let answer = api.get(url.path()).await;
        assert_eq!(answer.status, 200, "{part}");
        if part.ends_with(".css") {
            for outside in ["url(http", "url(//", "url(\"http", "@import"] {
                assert!(!answer.text.contains(outside), "{part} has {outside}");
            }
        }
        if part.ends_with("initializer.js") {
            assert!(answer.text.contains("/openapi.json"), "{}", answer.text);
            assert!(!answer.text.contains("http://") && !answer.text.contains("https://"), "{}", answer.text);
        }
    }
    assert!(parts.iter().any(|part| part.ends_with("initializer.js")), "{parts:?}");
}
