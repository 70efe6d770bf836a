//! Addresses and methods as clients write them that have no other way.

use serde_json::{Value, json};

use super::{JSON, api, raw, restaurant};
use crate::short::keys::client::{asking, call_with, make};
use crate::support::api::id;
use crate::support::{Api, Daemon, PATIENCE, eventually_true};

/// Each call of the document: its method and its address, filled in.
async fn calls(api: &Api, restaurant: u32, order: &str) -> Vec<(String, String)> {
    let document = api.get("/openapi.json").await.ok(200);
    let mut calls = vec![("GET".to_owned(), "/openapi.json".to_owned())];
    for (path, item) in document["paths"].as_object().expect("paths") {
        let filled = path
            .replace("{restaurant_id}", &restaurant.to_string())
            .replace("{internal_order_id}", order)
            .replace("{number}", "1")
            .replace("{key_id}", "999");
        calls.extend(item.as_object().expect("an item").keys().map(|method| (method.to_uppercase(), filled.clone())));
    }
    calls
}

#[tokio::test]
async fn a_slash_at_the_end_makes_no_difference() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({})).await;
    for (method, path) in calls(&api, restaurant, id(&order)).await {
        for query in ["", "?q=1&restaurant_id=7", "?nothing=/"] {
            let line = |slash: &str| format!("{method} {path}{slash}{query}");
            let (without, with) = (raw(&api, &line(""), &[], b"").await, raw(&api, &line("/"), &[], b"").await);
            assert_eq!((without.0, &without.2["code"]), (with.0, &with.2["code"]), "{method} {path} {query}");
            assert!(without.2["code"] != "not_found" && without.0 < 500, "{method} {path}: {without:?}");
        }
        let twice = raw(&api, &format!("{method} {path}//"), &[], b"").await;
        assert_eq!((twice.0, &twice.2["code"]), (404, &json!("not_found")), "{method} {path}//");
    }
    let within = format!("GET /v1//restaurants/{restaurant}/slots");
    assert_eq!(raw(&api, &within, &[], b"").await.0, 404);
    assert_eq!(raw(&api, "GET //healthz", &[], b"").await.0, 404);
    // Whole URLs as proxies are asked for, and old clients.
    let whole = format!("POST http://localhost/v1/restaurants/{restaurant}/orders/?");
    assert_eq!(raw(&api, &whole, &[JSON], b"{}").await.0, 201);
    // The same series of the metrics, too.
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.contains("/v1/restaurants/{restaurant_id}/slots\""), "{metrics}");
    assert!(!metrics.contains("slots/\""), "{metrics}");
}

#[tokio::test]
async fn a_post_stands_for_the_method_that_it_names() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({})).await;
    let order = format!("/v1/orders/{}", id(&order));
    let pool = format!("/v1/restaurants/{restaurant}");
    let sent = async |path: &str, named: &str, body: Value| {
        api.json_with("POST", path, &[("x-http-method-override", named)], &body).await
    };
    for (at, named) in ["PATCH", "patch", "Patch"].into_iter().enumerate() {
        let changed = sent(&order, named, json!({"note": format!("n{at}")})).await.ok(200);
        assert_eq!(changed["note"], format!("n{at}"));
    }
    assert_eq!(sent(&pool, "put", json!({"max_number": 50})).await.ok(200)["max_number"], 50);
    // As PATCH, with all that PATCH has: conditions, and faults of its body.
    let stale = [("x-http-method-override", "PATCH"), ("if-match", "\"1\"")];
    api.json_with("POST", &order, &stale, &json!({"note": "x"})).await.problem(412, "version_mismatch");
    assert_eq!(sent(&order, "PATCH", json!({"nte": 1})).await.faults(422, "invalid_body"), ["/nte unknown_field"]);
    for name in ["X-HTTP-Method", "X-Method-Override"] {
        let answer = api.json_with("POST", &order, &[(name, "PATCH")], &json!({"status": "ready"})).await;
        assert_eq!(answer.ok(200)["status"], "ready", "{name}");
    }
    // Only what the address has, only methods that change something, and only with POST.
    let none = sent(&order, "DELETE", json!({})).await;
    none.problem(405, "method_not_allowed");
    assert!(none.header("allow").is_some_and(|allow| allow.contains("PATCH")), "{none:?}");
    sent(&order, "PUT", json!({})).await.problem(405, "method_not_allowed");
    for named in ["", "GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH, PUT", "MERGE"] {
        let path = format!("{pool}/orders");
        sent(&path, named, json!({})).await.problem(400, "invalid_method_override");
    }
    let twice = ["X-HTTP-Method-Override: PATCH", "X-HTTP-Method-Override: PUT", JSON];
    assert_eq!(raw(&api, &format!("POST {order}"), &twice, b"{}").await.0, 400);
    let override_of = async |method: &str, path: &str, named: &str| {
        api.send(method, path, &[("x-http-method-override", named.as_bytes())], None).await
    };
    override_of("GET", &order, "DELETE").await.problem(400, "invalid_method_override");
    override_of("GET", &order, "GET").await.ok(200);
    assert_eq!(api.live(restaurant).await.len(), 1, "no order was made by mistake");
    let metrics = api.get("/metrics").await.text;
    let counted = |line: &&str| line.contains("orders/{internal_order_id}\"") && line.contains("method=\"PATCH\"");
    assert!(metrics.lines().any(|line| counted(&line)), "{metrics}");
}

#[tokio::test]
async fn an_override_gets_past_no_door() {
    let options = asking().await;
    let (till, screen) = (make(&options, &["--role", "till"]), make(&options, &["--role", "screen"]));
    let admin = make(&options, &["--role", "admin"]);
    let spent = make(&options, &["--role", "screen"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let bearer = |key: &str| format!("Bearer {key}");
    let made =
        call_with(&api, Some(&bearer(&till)), "POST", "/v1/restaurants/7/orders/", Some(&json!({}))).await.ok(201);
    call_with(&api, Some(&bearer(&screen)), "POST", "/v1/restaurants/7/orders/", Some(&json!({})))
        .await
        .problem(403, "forbidden");
    let order = format!("/v1/orders/{}", id(&made));
    let overriding = async |key: &str, path: &str, named: &str, more: &[(&str, &str)]| {
        let bearer = bearer(key);
        let mut headers = vec![("authorization", bearer.as_str()), ("x-http-method-override", named)];
        headers.extend(more);
        api.json_with("POST", path, &headers, &json!({"status": "ready"})).await
    };
    // A screen may read the order, so a POST that is judged as what it is must not pass for that.
    for slash in ["", "/"] {
        let path = format!("{order}{slash}");
        overriding(&screen, &path, "PATCH", &[]).await.problem(403, "forbidden");
        overriding(&screen, &path, "GET", &[]).await.problem(405, "method_not_allowed");
        overriding("nsk_none", &path, "PATCH", &[]).await.problem(401, "unauthenticated");
        let page = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
        overriding(&till, &path, "PATCH", &page).await.problem(403, "cross_origin_request");
    }
    call_with(&api, Some(&bearer(&screen)), "POST", &format!("{order}/status"), Some(&json!({"status": "ready"})))
        .await
        .problem(403, "forbidden");
    assert_eq!(call_with(&api, Some(&bearer(&till)), "GET", &order, None).await.ok(200)["version"], 1);
    assert_eq!(overriding(&till, &order, "PATCH", &[]).await.ok(200)["status"], "ready");
    overriding(&till, "/v1/keys/4", "DELETE", &[]).await.problem(403, "forbidden");
    overriding(&admin, "/v1/keys/4/", "delete", &[]).await.ok(200);
    call_with(&api, Some(&bearer(&spent)), "GET", &order, None).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_status_can_be_posted() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({"note": "first"})).await;
    let path = format!("/v1/orders/{}/status", id(&order));
    let post = async |headers: &[(&str, &str)], body: Value| api.json_with("POST", &path, headers, &body).await;
    let ready = post(&[], json!({"status": "ready"})).await;
    assert_eq!((ready.header("etag"), ready.header("durability")), (Some("\"2\""), Some("memory")));
    let ready = ready.ok(200);
    assert_eq!((&ready["status"], &ready["note"]), (&json!("ready"), &json!("first")));
    // Again: the same, and no change.
    assert_eq!(post(&[], json!({"status": "READY"})).await.ok(200)["version"], 2);
    post(&[("if-match", "\"1\"")], json!({"status": "served"})).await.problem(412, "version_mismatch");
    post(&[("if-match", "W/\"2\"")], json!({"status": "served"})).await.problem(400, "invalid_if_match");
    assert_eq!(post(&[("if-match", "\"2\"")], json!({"status": "served"})).await.ok(200)["status"], "served");
    post(&[], json!({"status": "pending"})).await.problem(409, "forbidden_status");
    assert_eq!(post(&[], json!({})).await.faults(422, "invalid_body"), ["/status missing"]);
    assert_eq!(post(&[], json!({"status": null})).await.faults(422, "invalid_body"), ["/status wrong_type"]);
    let faults = post(&[], json!({"status": "eaten", "sate": 1})).await.faults(422, "invalid_body");
    assert_eq!(faults, ["/sate unknown_field", "/status invalid_value"]);
    api.send("POST", &path, &[], None).await.problem(400, "malformed_json");
    let ended = post(&[("durability", "MEMORY")], json!({"status": "completed"})).await;
    assert_eq!((ended.status, ended.header("durability")), (200, Some("memory")), "{ended:?}");
    post(&[], json!({"status": "cancelled"})).await.problem(409, "order_final");
    eventually_true(PATIENCE, || async {
        let events = api.get(&format!("/v1/orders/{}/events", id(&order))).await.ok(200);
        let kinds: Vec<_> = events["events"].as_array().expect("a list").iter().map(|event| &event["kind"]).collect();
        kinds == ["created", "changed", "changed", "released"]
    })
    .await;
    let nothing = "/v1/orders/01a20694-05ca-8000-8000-3f844c55d7e8/status";
    api.post(nothing, json!({"status": "ready"})).await.problem(404, "order_not_found");
}
