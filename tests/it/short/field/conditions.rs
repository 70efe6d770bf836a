//! Conditions are honoured, or refused: none is passed over where it guards something.

use serde_json::{Value, json};

use super::{JSON, api, raw, restaurant};
use crate::short::keys::client::{asking, call_with, create, make};
use crate::support::api::id;
use crate::support::{Api, Daemon};

/// Each call of the document: its method, its address filled in, and whether it documents If-Match.
async fn calls(api: &Api, restaurant: u32, order: &str) -> Vec<(String, String, bool)> {
    let document = api.get("/openapi.json").await.ok(200);
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let honours = parameters.iter().any(|parameter| parameter["name"] == "If-Match");
            let mut path = path
                .replace("{restaurant_id}", &restaurant.to_string())
                .replace("{internal_order_id}", order)
                .replace("{number}", "1")
                .replace("{key_id}", "1");
            if path == "/api/orders/lookup" {
                path = format!("{path}?internal_id={order}");
            }
            calls.push((method.to_uppercase(), path, honours));
        }
    }
    calls
}

/// A body that each call takes, and that changes something.
fn body(path: &str) -> Value {
    match path {
        "/v1/keys" => json!({"name": "x", "role": "till"}),
        path if path.ends_with("/status") => json!({"status": "ready"}),
        path if ["/cleanup", "/release", "/reopen", "/calls"].iter().any(|end| path.ends_with(end)) => json!({}),
        path if path.starts_with("/v1/orders/") => json!({"note": "x"}),
        _ => json!({}),
    }
}

#[tokio::test]
async fn no_condition_is_passed_over_on_any_call() {
    let options = asking().await;
    let (admin, screen) = (make(&options, &["--role", "admin"]), make(&options, &["--role", "screen"]));
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let order = create(&api, &admin, 7).await;
    let [bearer, of_screen] = [admin, screen].map(|key| format!("Bearer {key}"));
    let get = async |path: String| call_with(&api, Some(&bearer), "GET", &path, None).await.ok(200);
    let seen = async || {
        let keys = get("/v1/keys".to_owned()).await;
        let pool = get("/v1/restaurants/7".to_owned()).await;
        [get("/v1/restaurants/7/orders".to_owned()).await, get("/v1/restaurants/7/slots".to_owned()).await, pool, keys]
    };
    let before = seen().await;
    let mut honouring = 0;
    for (method, path, honours) in calls(&api, 7, id(&order)).await {
        let changes = method != "GET";
        honouring += usize::from(honours);
        for (field, value) in [
            ("if-match", "\"999\""),
            ("if-match", "\"998\", \"999\""),
            ("if-match", "\"a-tag-of-another-service\""),
            ("if-match", "*"),
            ("if-none-match", "*"),
            ("if-none-match", "\"1\""),
            ("if-unmodified-since", "Mon, 05 Oct 2026 00:00:00 GMT"),
            ("if-modified-since", "Mon, 05 Oct 2026 00:00:00 GMT"),
            ("if-range", "\"1\""),
        ] {
            if honours && (field, value) == ("if-match", "*") {
                continue;
            }
            let body = changes.then(|| body(&path).to_string().into_bytes());
            let headers: [(&str, &[u8]); 3] = [
                // An admin is no screen.
                ("authorization", if path == "/v1/screens/self" { &of_screen } else { &bearer }.as_bytes()),
                ("content-type", b"application/json"),
                (field, value.as_bytes()),
            ];
            let answer = api.send(&method, &path, &headers, body).await;
            let told = format!("{method} {path} {field}: {value}: {answer:?}");
            match field {
                "if-match" if honours => drop(answer.problem(412, "version_mismatch")),
                "if-match" | "if-unmodified-since" => drop(answer.problem(400, "condition_not_honoured")),
                "if-none-match" if honours && path == "/v1/restaurants/7" => {
                    // `*` is for a restaurant without settings of its own; a tag that it never had excludes nothing.
                    continue;
                }
                _ if changes => drop(answer.problem(400, "condition_not_honoured")),
                "if-none-match" if honours => assert_eq!(answer.status, 304, "{told}"),
                _ => assert!([200, 404, 422].contains(&answer.status), "{told}"),
            }
        }
    }
    assert!(honouring >= 5, "{honouring}");
    assert_eq!(seen().await, before, "nothing was made or changed");
}

#[tokio::test]
async fn a_refusal_says_which_calls_honour_it() {
    let (api, restaurant) = (api().await, restaurant());
    let orders = format!("/v1/restaurants/{restaurant}/orders");
    for (method, field, calls) in [
        ("POST", ("if-match", "\"1\""), "PATCH /v1/orders/{id}"),
        ("POST", ("if-none-match", "*"), "POST /v1/orders/{id}/release"),
        ("GET", ("if-match", "\"1\""), "GET /v1/orders/{id}"),
    ] {
        let answer = api.send(method, &orders, &[(field.0, field.1.as_bytes())], None).await;
        let problem = answer.problem(400, "condition_not_honoured");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.to_lowercase().starts_with(field.0) && detail.contains(calls), "{detail}");
    }
    assert_eq!(api.live(restaurant).await, Vec::<Value>::new());
    // What does not exist is said to.
    api.send("DELETE", &orders, &[("if-match", b"*")], None).await.problem(405, "method_not_allowed");
    api.send("PUT", "/v1/nothing", &[("if-match", b"*")], None).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_version_that_a_client_has_is_not_sent_again() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({})).await;
    let (path, by_id) =
        (format!("/v1/orders/{}", id(&order)), format!("/api/orders/lookup?internal_id={}", id(&order)));
    let by_number = format!("/api/orders/lookup?restaurant_id={restaurant}&display_number=1");
    let asked =
        async |path: &str, known: &str| api.send("GET", path, &[("if-none-match", known.as_bytes())], None).await;
    for path in [&path, &by_id, &by_number] {
        for known in ["\"1\"", "W/\"1\"", "\"7\", \"1\"", "*"] {
            let spared = asked(path, known).await;
            assert_eq!((spared.status, spared.text.as_str()), (304, ""), "{path} {known}");
            assert_eq!(spared.header("etag"), Some("\"1\""));
        }
        for known in ["\"2\"", "\"01\"", "1", "", "\"1"] {
            assert_eq!(asked(path, known).await.ok(200)["version"], 1, "{path} {known}");
        }
    }
    let (status, head, _) = raw(&api, &format!("HEAD {path}"), &["If-None-Match: \"1\""], b"").await;
    assert!(status == 304 && head.contains("etag: \"1\""), "{head}");
    api.patch(id(&order), json!({"note": "x"})).await.ok(200);
    assert_eq!(asked(&path, "\"1\"").await.ok(200)["version"], 2);
    // A version that is wanted comes first.
    let both: [(&str, &[u8]); 2] = [("if-match", b"\"1\""), ("if-none-match", b"\"2\"")];
    let stale = api.send("GET", &path, &both, None).await;
    assert_eq!(stale.problem(412, "version_mismatch")["current_version"], 2);
    let missing = "/v1/orders/01a20694-05ca-8000-8000-3f844c55d7e8";
    asked(missing, "*").await.problem(404, "order_not_found");
}

#[tokio::test]
async fn a_release_is_of_the_version_that_was_seen() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({})).await;
    let path = format!("/v1/orders/{}/release", id(&order));
    api.patch(id(&order), json!({"note": "x"})).await.ok(200);
    let release = async |tag: &str, body: Value| api.json_with("POST", &path, &[("if-match", tag)], &body).await;
    for immediate in [false, true] {
        let stale = release("\"1\"", json!({"immediate": immediate})).await;
        assert_eq!(stale.problem(412, "version_mismatch")["current_version"], 2);
        assert_eq!(stale.header("etag"), Some("\"2\""));
    }
    release("W/\"2\"", json!({})).await.problem(400, "invalid_if_match");
    release("\"1\", \"5\"", json!({})).await.problem(412, "version_mismatch");
    assert_eq!(api.order(id(&order)).await.ok(200)["status"], "pending");
    let ended = release("\"1\", \"2\"", json!({})).await.ok(200);
    assert_eq!((&ended["status"], &ended["version"]), (&json!("completed"), &json!(3)));
    // It has ended: the rest of its number is not ended on behalf of what was seen before.
    release("\"2\"", json!({"immediate": true})).await.problem(412, "version_mismatch");
    let number = format!("/v1/restaurants/{restaurant}/numbers/1");
    assert_eq!(api.get(&number).await.ok(200)["state"], "cooling");
    assert_eq!(release("\"3\"", json!({"immediate": true})).await.ok(200)["version"], 3);
    assert_eq!(api.get(&number).await.ok(200)["state"], "free");
    assert_eq!(release("*", json!({})).await.ok(200)["version"], 3);
    let (status, _, problem) =
        raw(&api, &format!("POST {path}"), &[JSON, "If-Match: \"3\"", "If-Match: *"], b"{}").await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_if_match")));
}
