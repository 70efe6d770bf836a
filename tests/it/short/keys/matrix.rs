//! Every call × every role × every state of a key.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use nowserving::domain::{OrderId, RestaurantId, Timestamp};
use serde_json::{Value, json};

use super::client::{asking, call, call_with, create, get, ledger, made_up, make};
use crate::support::api::{Answer, id};
use crate::support::{Api, Daemon, DaemonOptions, scratch};

/// Which roles each call is for, written down here a second time on purpose; nobody: needs no key.
pub(super) const ROLES_OF: [(&str, &[&str]); 48] = [
    ("POST /v1/restaurants/{restaurant_id}/orders", &["admin", "till"]),
    ("GET /v1/orders/{internal_order_id}", &["admin", "till", "kitchen", "screen"]),
    ("PATCH /v1/orders/{internal_order_id}", &["admin", "till"]),
    ("POST /v1/orders/{internal_order_id}/release", &["admin", "till"]),
    ("POST /v1/orders/{internal_order_id}/reopen", &["admin", "till"]),
    ("POST /v1/orders/{internal_order_id}/calls", &["admin", "till", "kitchen"]),
    ("POST /v1/orders/{internal_order_id}/status", &["admin", "till", "kitchen"]),
    ("GET /v1/orders/{internal_order_id}/events", &["admin", "till"]),
    ("GET /v1/restaurants/{restaurant_id}/orders", &["admin", "till", "kitchen", "screen"]),
    ("GET /v1/restaurants/{restaurant_id}/numbers/{number}", &["admin", "till", "kitchen", "screen"]),
    ("GET /v1/restaurants/{restaurant_id}/search", &["admin", "till"]),
    ("GET /v1/restaurants/{restaurant_id}/slots", &["admin", "till", "kitchen", "screen"]),
    ("GET /v1/restaurants/{restaurant_id}/events", &["admin", "till"]),
    ("GET /v1/restaurants/{restaurant_id}/usage", &["admin", "till", "metrics"]),
    ("GET /v1/restaurants/{restaurant_id}/feed", &["admin", "till", "kitchen", "screen"]),
    ("GET /v1/feed", &["admin"]),
    ("GET /v1/usage/top", &["admin", "metrics"]),
    ("GET /v1/restaurants/{restaurant_id}", &["admin", "till", "kitchen", "screen"]),
    ("PUT /v1/restaurants/{restaurant_id}", &["admin"]),
    ("PATCH /v1/restaurants/{restaurant_id}", &["admin"]),
    ("GET /v1/restaurants/{restaurant_id}/business-day", &["admin", "till", "kitchen", "screen"]),
    ("PUT /v1/restaurants/{restaurant_id}/business-day", &["admin"]),
    ("GET /v1/restaurants/{restaurant_id}/reservations", &["admin", "till", "kitchen", "screen"]),
    ("GET /v1/restaurants/{restaurant_id}/reservations/{number}", &["admin", "till", "kitchen", "screen"]),
    ("PUT /v1/restaurants/{restaurant_id}/reservations/{number}", &["admin"]),
    ("DELETE /v1/restaurants/{restaurant_id}/reservations/{number}", &["admin"]),
    ("PUT /v1/restaurants/{restaurant_id}/numbers/{number}/quarantine", &["admin", "till"]),
    ("DELETE /v1/restaurants/{restaurant_id}/numbers/{number}/quarantine", &["admin", "till"]),
    ("POST /v1/restaurants/{restaurant_id}/cleanup", &["admin"]),
    ("GET /api/orders/lookup", &["admin", "till"]),
    ("GET /api/orders/search", &["admin", "till"]),
    ("POST /v1/keys", &["admin"]),
    ("GET /v1/keys", &["admin"]),
    ("GET /v1/keys/{key_id}", &["admin"]),
    ("DELETE /v1/keys/{key_id}", &["admin"]),
    ("POST /v1/pairings", &[]),
    ("GET /v1/pairings/current", &[]),
    ("POST /v1/screens", &["admin"]),
    ("GET /v1/screens", &["admin"]),
    ("GET /v1/screens/{screen_id}", &["admin"]),
    ("DELETE /v1/screens/{screen_id}", &["admin"]),
    ("PUT /v1/screens/self", &["kitchen", "screen"]),
    ("GET /v1/restaurants/{restaurant_id}/screen-sessions", &["admin"]),
    ("GET /metrics", &["admin", "metrics"]),
    ("GET /healthz", &[]),
    ("GET /readyz", &[]),
    ("GET /openapi.json", &[]),
    ("GET /docs/", &[]),
];

const ROLES: [&str; 5] = ["admin", "till", "kitchen", "screen", "metrics"];

/// What is not about one restaurant, and so is not for keys of some.
pub(super) const WHOLE_CHAIN: [&str; 3] = ["GET /metrics", "GET /v1/usage/top", "GET /v1/feed"];

/// The restaurant that every call of the matrix is about.
pub(super) const RESTAURANT: u32 = 7;

/// Every call that the daemon says it has, and the two that are not documented.
pub(super) async fn calls(api: &Api) -> Vec<String> {
    let document = api.get("/openapi.json").await.ok(200);
    let paths = document["paths"].as_object().expect("paths");
    let mut calls: Vec<String> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("a path item").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    calls.extend(["GET /openapi.json".to_owned(), "GET /docs/".to_owned()]);
    calls
}

/// The requests that make this call.
pub(super) fn requests(call: &str, order: &str) -> Vec<(String, String, Option<Value>)> {
    let (method, template) = call.split_once(' ').expect("a method and a path");
    let path = template
        .replace("{restaurant_id}", &RESTAURANT.to_string())
        .replace("{internal_order_id}", order)
        .replace("{number}", "1")
        .replace("{key_id}", "999999")
        .replace("{screen_id}", "999999");
    let paths = match template {
        "/api/orders/lookup" => {
            vec![format!("{path}?restaurant_id={RESTAURANT}&display_number=1"), format!("{path}?internal_id={order}")]
        }
        "/api/orders/search" => vec![format!("{path}?restaurant_id={RESTAURANT}&q=1")],
        _ if template.ends_with("/search") => vec![format!("{path}?q=1")],
        _ => vec![path],
    };
    let body = ["POST", "PUT", "PATCH"].contains(&method).then(|| json!({}));
    paths.into_iter().map(|path| (method.to_owned(), path, body.clone())).collect()
}

/// Whether a request came past the door, whatever became of it there.
pub(super) fn is_admitted(answer: &Answer) -> bool {
    assert!(answer.status < 500, "{answer:?}");
    ![401, 403, 429].contains(&answer.status)
}

async fn expect_all(api: &Api, cases: Vec<(String, Option<String>, String, u16)>, order: &str) {
    let checks = cases.into_iter().flat_map(|(who, authorization, call, expected)| {
        requests(&call, order).into_iter().map(move |request| (who.clone(), authorization.clone(), request, expected))
    });
    let checked = stream::iter(checks)
        .map(|(who, authorization, (method, path, body), expected)| async move {
            let answer = call_with(api, authorization.as_deref(), &method, &path, body.as_ref()).await;
            match expected {
                401 => {
                    answer.problem(401, "unauthenticated");
                    assert!(answer.header("www-authenticate").is_some_and(|it| it.starts_with("Bearer")), "{answer:?}");
                }
                403 => drop(answer.problem(403, "forbidden")),
                _ => assert!(is_admitted(&answer), "{who}: {answer:?}"),
            }
        })
        .buffer_unordered(48)
        .count()
        .await;
    assert!(checked > 0);
}

#[tokio::test]
async fn every_call_is_for_its_roles_and_restaurants_only() {
    let options = asking().await;
    let mut keys: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for role in ROLES {
        keys.insert((role, "all"), make(&options, &["--role", role]));
        keys.insert((role, "here"), make(&options, &["--role", role, "--restaurants", "5,7"]));
        keys.insert((role, "elsewhere"), make(&options, &["--role", role, "--restaurants", "8,9"]));
    }
    let (expired, revoked) = (make(&options, &["--role", "admin"]), make(&options, &["--role", "admin"]));
    // Sixteenth and seventeenth.
    let past = "UPDATE api_keys SET expires_at = now() - interval '1 hour' WHERE id = 16";
    sqlx::raw_sql(past).execute(&mut ledger(&options).await).await.expect("a key can expire");
    assert!(options.run("keys", &["revoke", "17"]).status.success());

    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let order = create(&api, &keys[&("till", "here")], RESTAURANT).await;
    let roles_of: BTreeMap<_, _> = ROLES_OF.into_iter().collect();
    let mut cases = Vec::new();
    let bearer = |key: &str| Some(format!("Bearer {key}"));
    for call in calls(&api).await {
        let roles = roles_of.get(call.as_str()).unwrap_or_else(|| panic!("who may {call}?"));
        let refused = if roles.is_empty() { 200 } else { 401 };
        for (who, authorization) in [
            ("nobody", None),
            ("a stranger", bearer(&made_up())),
            ("one with half a key", bearer("nsk_half")),
            ("one with the key for a name", Some(format!("Basic {}", keys[&("admin", "all")]))),
            ("one whose key has expired", bearer(&expired)),
            ("one whose key was revoked", bearer(&revoked)),
        ] {
            cases.push((format!("{who}: {call}"), authorization, call.clone(), refused));
        }
        for ((role, scope), key) in &keys {
            let about_all = WHOLE_CHAIN.contains(&call.as_str());
            let about_none = ["/v1/keys", "/v1/screens"].iter().any(|of_none| call.contains(of_none));
            let about_one = !about_all && !about_none && !roles.is_empty();
            let within = *scope == "all" || !about_all && (*scope == "here" || !about_one);
            let may = roles.is_empty() || roles.contains(role) && within;
            cases.push((format!("{role} of {scope}: {call}"), bearer(key), call.clone(), if may { 200 } else { 403 }));
        }
    }
    expect_all(&api, cases, id(&order)).await;
}

#[tokio::test]
async fn a_refusal_does_not_tell_what_exists() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let elsewhere = make(&options, &["--role", "till", "--restaurants", "8"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let order = create(&api, &admin, RESTAURANT).await;
    let other = OrderId::new(Timestamp::from_unix_ms(1_700_000_000_000), restaurant(7), 5).to_string();
    let foreign = import(&options, RESTAURANT, "7f0c2a5e-3b1d-4c8f-9a6e-1d2b3c4d5e6f");
    let unknown = "7f0c2a5e-3b1d-4c8f-9a6e-1d2b3c4d5e70";
    let same = |answer: &Answer| {
        let mut problem = answer.problem(403, "forbidden");
        problem["request_id"] = Value::Null;
        problem
    };
    let mut seen = Vec::new();
    for id in [id(&order), &other, &foreign, unknown, "42"] {
        seen.push(same(&get(&api, &elsewhere, &format!("/v1/orders/{id}")).await));
        seen.push(same(&get(&api, &elsewhere, &format!("/api/orders/lookup?internal_id={id}")).await));
        seen.push(same(&call(&api, &elsewhere, "PATCH", &format!("/v1/orders/{id}"), Some(&json!({}))).await));
    }
    for restaurant in ["7", "70", "x"] {
        seen.push(same(&get(&api, &elsewhere, &format!("/v1/restaurants/{restaurant}/slots")).await));
    }
    // Of two places that it names, which one is meant?
    let twice = "/api/orders/search?restaurant_id=8&restaurant_id=7&q=1";
    seen.push(same(&get(&api, &elsewhere, twice).await));
    let both = format!("/api/orders/lookup?restaurant_id=8&display_number=1&internal_id={}", id(&order));
    seen.push(same(&get(&api, &elsewhere, &both).await));
    assert!(seen.iter().all(|problem| *problem == seen[0]), "{seen:#?}");

    let here = make(&options, &["--role", "till", "--restaurants", "7"]);
    get(&api, &here, &format!("/v1/orders/{foreign}")).await.ok(200);
}

/// A foreign UUID may look like an order id of a restaurant that its order does not belong to.
#[tokio::test]
async fn an_alias_leads_no_caller_into_another_restaurant() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let elsewhere = make(&options, &["--role", "till", "--restaurants", "8"]);
    let disguised = OrderId::new(Timestamp::from_unix_ms(1_700_000_000_000), restaurant(8), 5).to_string();
    let alias = import(&options, RESTAURANT, &disguised);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let order = get(&api, &admin, &format!("/v1/orders/{alias}")).await.ok(200);
    assert_eq!(order["restaurant_id"], RESTAURANT);
    for (method, path) in [
        ("GET", format!("/v1/orders/{alias}")),
        ("GET", format!("/api/orders/lookup?internal_id={alias}")),
        ("PATCH", format!("/v1/orders/{alias}")),
        ("POST", format!("/v1/orders/{alias}/release")),
        ("POST", format!("/v1/orders/{alias}/reopen")),
        ("POST", format!("/v1/orders/{alias}/calls")),
    ] {
        let body = (method != "GET").then(|| json!({}));
        call(&api, &elsewhere, method, &path, body.as_ref()).await.problem(404, "order_not_found");
    }
}

fn restaurant(id: i64) -> RestaurantId {
    RestaurantId::new(id).expect("a restaurant")
}

/// Imports a finished order under this UUID; gives it back.
fn import(options: &DaemonOptions, restaurant: u32, id: &str) -> String {
    let file = scratch::folder("import").join("orders.csv");
    let (at, ended) = ("2026-03-14T00:01:05Z", "2026-03-14T00:31:40Z");
    let rows = format!(
        "id,restaurant_id,status,display_order_number,created_at,completed_at\n{id},{restaurant},completed,38,{at},{ended}\n"
    );
    std::fs::write(&file, rows).expect("it can be written");
    let imported = options.run("backfill", &["--csv", file.to_str().expect("UTF-8")]);
    assert!(imported.stdout.contains("taken finished: 1"), "{imported:?}");
    id.to_owned()
}

#[tokio::test]
async fn a_method_that_an_address_does_not_have_reaches_nothing() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for authorization in [None, Some(format!("Bearer {admin}"))] {
        let answer = call_with(&api, authorization.as_deref(), "DELETE", "/v1/restaurants/7", None).await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("GET,PUT,PATCH,HEAD"));
        call_with(&api, authorization.as_deref(), "GET", "/v1/nothing", None).await.problem(404, "not_found");
    }
    // A HEAD is judged as a GET is.
    assert_eq!(call_with(&api, None, "HEAD", "/metrics", None).await.status, 401);
    assert_eq!(call(&api, &admin, "HEAD", "/metrics", None).await.status, 200);
}

#[tokio::test]
async fn what_a_key_does_is_in_the_audit_log_under_its_number() {
    let options = asking().await;
    make(&options, &["--role", "admin"]);
    let till = make(&options, &["--role", "till"]);
    let daemon = Daemon::start(&options);
    let order = create(&Api::at(daemon.url()), &till, RESTAURANT).await;
    let order: uuid::Uuid = id(&order).parse().expect("a UUID");
    let mut ledger = ledger(&options).await;
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    let actors: Vec<Option<String>> = sqlx::query_scalar("SELECT actor FROM order_events WHERE internal_order_id = $1")
        .bind(order)
        .fetch_all(&mut ledger)
        .await
        .expect("Postgres answers");
    assert_eq!(actors, [Some("key:2".to_owned())]);
}
