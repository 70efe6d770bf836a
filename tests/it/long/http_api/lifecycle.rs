//! One order: read, changed, released.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{api, ms, old_order_here, restaurant};
use crate::support::Api;
use crate::support::api::{id, number};

const LIVE: [&str; 5] = ["pending", "preparing", "ready", "served", "held"];
const FINAL: [&str; 3] = ["completed", "cancelled", "expired"];

/// An order in a status, by the ways that lead there.
async fn order_in(api: &Api, restaurant: u32, status: &str) -> Value {
    match status {
        "pending" => api.create(restaurant, json!({})).await,
        "expired" => {
            let id = old_order_here(restaurant, Duration::from_secs(3600)).await;
            let expired = api.post(&format!("/v1/restaurants/{restaurant}/cleanup"), json!({})).await.ok(200);
            let found =
                expired["orders"].as_array().expect("orders").iter().find(|order| order["internal_order_id"] == id);
            found.unwrap_or_else(|| panic!("{id} is not in {expired}")).clone()
        }
        _ => {
            let order = api.create(restaurant, json!({})).await;
            api.patch(id(&order), json!({"status": status})).await.ok(200)
        }
    }
}

/// What the issue says of a change: "From a live status to any other live one except back to `pending`, and to
/// `completed` or `cancelled`; `expired` comes only from clean-up. A final order does not change: the same final status
/// again is 200, anything else 409 `order_final`; a forbidden change is 409 and names the allowed ones". But a completed order
/// whose number rests may be reopened.
fn expected(from: &str, to: &str) -> (u16, Option<&'static str>) {
    if from == to || (from, to) == ("completed", "preparing") {
        (200, None)
    } else if FINAL.contains(&from) {
        (409, Some("order_final"))
    } else if to == "pending" || to == "expired" {
        (409, Some("forbidden_status"))
    } else {
        (200, None)
    }
}

#[tokio::test]
async fn every_status_may_follow_exactly_those_that_the_table_says() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"active_window_seconds": 60})).await;
    for from in LIVE.into_iter().chain(FINAL) {
        for to in LIVE.into_iter().chain(FINAL) {
            let before = order_in(&api, restaurant, from).await;
            assert_eq!(before["status"], from);
            let answer = api.patch(id(&before), json!({"status": to})).await;
            let after = api.order(id(&before)).await.ok(200);
            match expected(from, to) {
                (409, Some(code)) => {
                    let problem = answer.problem(409, code);
                    let allowed: BTreeSet<&str> = problem["allowed"]
                        .as_array()
                        .unwrap_or_else(|| panic!("{from} to {to}: {problem}"))
                        .iter()
                        .filter_map(Value::as_str)
                        .collect();
                    let all = LIVE.into_iter().chain(FINAL);
                    let due = all.filter(|next| *next != from && expected(from, next).0 == 200).collect();
                    assert_eq!(allowed, due, "{from} to {to}");
                    assert_eq!(after, before, "{from} to {to} changes nothing");
                }
                _ if from == to => {
                    assert_eq!(answer.ok(200), before, "{from} again");
                    assert_eq!(after, before);
                }
                _ => {
                    assert_eq!(answer.ok(200), after);
                    assert_eq!(
                        (&after["status"], &after["version"]),
                        (&json!(to), &json!(before["version"].as_u64().map(|v| v + 1)))
                    );
                    assert_eq!(after["released_at"].is_string(), FINAL.contains(&to), "{from} to {to}");
                    let number = number(&after);
                    let report = api.get(&format!("/v1/restaurants/{restaurant}/numbers/{number}")).await.ok(200);
                    assert_eq!(report["state"], if FINAL.contains(&to) { "cooling" } else { "live" }, "{from} to {to}");
                }
            }
            // So that the pool does not fill up, and every order starts with a number of its own.
            api.release(id(&before), true).await.ok(200);
        }
    }
    api.slots(restaurant).await;
}

#[tokio::test]
async fn descriptive_fields_are_changed_one_by_one_and_null_clears() {
    let (api, restaurant) = (api().await, restaurant());
    let full = json!({
        "table_number": "1", "order_source": "pos", "order_type": "takeaway", "external_id": "e", "customer_name": "c",
        "note": "n", "metadata": {"a": 1, "b": 2},
    });
    let fields = full.as_object().expect("an object");
    let mut order = api.create(restaurant, full.clone()).await;
    let id = id(&order).to_owned();
    let others = json!({
        "table_number": "2", "order_source": "app", "order_type": "delivery", "external_id": "f", "customer_name": "d",
        "note": "m", "metadata": {"c": 3},
    });
    for field in fields.keys() {
        for value in [others[field].clone(), Value::Null] {
            let answer = api.patch(&id, json!({ field: value })).await;
            let changed = answer.ok(200);
            assert_eq!(changed["version"], json!(order["version"].as_u64().map(|v| v + 1)), "{field}");
            assert_eq!(answer.header("etag"), Some(format!("\"{}\"", changed["version"]).as_str()));
            assert!(ms(&changed["updated_at"]) >= ms(&order["updated_at"]));
            order[field] = value;
            order["version"] = changed["version"].clone();
            order["updated_at"] = changed["updated_at"].clone();
            assert_eq!(changed, order, "only {field} has changed");
            assert_eq!(api.order(&id).await.ok(200), order);
        }
    }
    // All together, with a status.
    let mut all = full.clone();
    all["status"] = json!("ready");
    let changed = api.patch(&id, all).await.ok(200);
    for (field, value) in fields {
        assert_eq!(&changed[field], value);
    }
    assert_eq!(
        (&changed["status"], &changed["version"]),
        (&json!("ready"), &json!(order["version"].as_u64().map(|v| v + 1)))
    );
    // What changes nothing is no change.
    for nothing in [json!({}), json!({"note": "n"}), json!({"status": "ready"}), json!({"metadata": {"b": 2, "a": 1}})]
    {
        assert_eq!(api.patch(&id, nothing).await.ok(200), changed);
    }
    assert_eq!(api.patch(&id, json!({"status": null})).await.faults(422, "invalid_body"), ["/status wrong_type"]);
    // A final status and a description in one go.
    let done = api.patch(&id, json!({"status": "cancelled", "note": "gone"})).await.ok(200);
    assert_eq!((&done["status"], &done["note"]), (&json!("cancelled"), &json!("gone")));
    assert!(done["released_at"].is_string());
}

#[tokio::test]
async fn a_final_order_does_not_change() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({"note": "n"})).await;
    let done = api.patch(id(&order), json!({"status": "completed"})).await.ok(200);
    for change in [
        json!({"note": "m"}),
        json!({"note": null}),
        json!({"status": "completed", "note": "m"}),
        json!({"status": "ready"}),
        json!({"status": "cancelled"}),
        json!({"status": "expired"}),
    ] {
        let answer = api.patch(id(&order), change.clone()).await;
        let problem = answer.problem(409, "order_final");
        let expected = (&json!(["preparing"]), &json!("completed"));
        assert_eq!((&problem["allowed"], &problem["order_status"]), expected, "{change}");
        assert_eq!(answer.header("etag"), Some("\"2\""));
    }
    assert_eq!(api.patch(id(&order), json!({"status": "completed"})).await.ok(200), done);
    assert_eq!(api.order(id(&order)).await.ok(200), done);
}

#[tokio::test]
async fn if_match_guards_a_change() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({})).await;
    let path = format!("/v1/orders/{}", id(&order));
    let change = |tag: &'static str, body: Value| {
        let (api, path) = (&api, &path);
        async move { api.json_with("PATCH", path, &[("if-match", tag)], &body).await }
    };
    for (version, (tag, body)) in [
        ("\"1\"", json!({"status": "ready"})),
        ("\"2\"", json!({"note": "x"})),
        ("*", json!({"status": "held"})),
        ("\"9\", \"4\"", json!({"note": "y"})),
    ]
    .into_iter()
    .enumerate()
    {
        let changed = change(tag, body).await;
        assert_eq!(changed.ok(200)["version"], version + 2, "{tag}");
        assert_eq!(changed.header("etag"), Some(format!("\"{}\"", version + 2).as_str()));
    }
    let before = api.get(&path).await.ok(200);
    for stale in ["\"1\"", "\"4\"", "\"6\"", "\"1\", \"2\"", "\"abc\"", "\"05\"", "\"\""] {
        for body in [json!({"status": "served"}), json!({"note": "z"}), json!({"status": "completed"})] {
            let answer = change(stale, body).await;
            assert_eq!(answer.problem(412, "version_mismatch")["current_version"], 5, "{stale}");
            assert_eq!(answer.header("etag"), Some("\"5\""));
        }
    }
    for malformed in ["5", "W/\"5\"", "\"5", "", "*, \"5\"", "\"5\" \"6\""] {
        change(malformed, json!({"status": "served"})).await.problem(400, "invalid_if_match");
    }
    assert_eq!(api.get(&path).await.ok(200), before, "a refused change changes nothing");

    let done = change("\"5\"", json!({"status": "completed"})).await.ok(200);
    assert_eq!(change("\"6\"", json!({"status": "completed"})).await.ok(200), done);
    change("\"5\"", json!({"status": "completed"})).await.problem(412, "version_mismatch");
    let nobody = format!("/v1/orders/{}", uuid::Uuid::from_u128(rand::random()));
    api.json_with("PATCH", &nobody, &[("if-match", "\"1\"")], &json!({"note": "x"}))
        .await
        .problem(404, "order_not_found");
}

#[tokio::test]
async fn of_many_changes_to_one_version_one_is_made() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({})).await;
    let path = format!("/v1/orders/{}", id(&order));
    for body in [|at| json!({"note": format!("note {at}")}), |at: usize| json!({"status": LIVE[1 + at % 4]})] {
        let tag = format!("\"{}\"", api.get(&path).await.ok(200)["version"]);
        let headers = [("if-match", tag.as_str())];
        let bodies: Vec<Value> = (0..20).map(body).collect();
        let answers =
            futures_util::future::join_all(bodies.iter().map(|body| api.json_with("PATCH", &path, &headers, body)))
                .await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        assert!(answers.iter().filter(|answer| answer.status != 200).all(|answer| answer.status == 412));
        assert_eq!(api.get(&path).await.ok(200), won[0].ok(200));
    }
    // Without a guard none is lost: each field that somebody set is set in the end.
    let fields = ["table_number", "external_id", "customer_name", "note"];
    let bodies: Vec<Value> = fields.iter().map(|field| json!({ *field: "set" })).collect();
    let changes = futures_util::future::join_all(bodies.iter().map(|body| api.json("PATCH", &path, body))).await;
    assert!(changes.iter().all(|answer| answer.status == 200), "{changes:?}");
    let after = api.get(&path).await.ok(200);
    assert!(fields.iter().all(|field| after[field] == "set"), "{after}");
}

#[tokio::test]
async fn ids_that_no_order_has_are_not_found() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({})).await;
    let mut neighbour = id(&order).to_owned();
    let last = neighbour.pop().expect("a digit");
    neighbour.push(if last == '0' { '1' } else { '0' });
    let foreign = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
    for unknown in [
        neighbour.as_str(),
        &foreign,
        "00000000-0000-0000-0000-000000000000",
        "42",
        "null",
        "%00",
        "%ff",
        "-1",
        "ffffffff-ffff-8fff-bfff-ffffffffffff",
    ] {
        api.order(unknown).await.problem(404, "order_not_found");
        api.patch(unknown, json!({"status": "ready"})).await.problem(404, "order_not_found");
        api.patch(unknown, json!({"note": "x"})).await.problem(404, "order_not_found");
        api.release(unknown, false).await.problem(404, "order_not_found");
        api.release(unknown, true).await.problem(404, "order_not_found");
        api.reopen(unknown).await.problem(404, "order_not_found");
    }
    // However it is written.
    assert_eq!(api.order(&id(&order).to_uppercase()).await.ok(200), order);
    assert_eq!(api.order(&id(&order).replace('-', "")).await.ok(200), order);
}

#[tokio::test]
async fn a_release_completes_unless_the_order_is_final() {
    let (api, restaurant) = (api().await, restaurant());
    for body in [None, Some("{}"), Some(r#"{"immediate": false}"#)] {
        let order = api.create(restaurant, json!({})).await;
        let path = format!("/v1/orders/{}/release", id(&order));
        let send = || api.send("POST", &path, &[("content-type", b"application/json")], body.map(Into::into));
        let answer = send().await;
        let done = answer.ok(200);
        assert_eq!((&done["status"], &done["version"]), (&json!("completed"), &json!(2)), "{body:?}");
        assert_eq!(answer.header("etag"), Some("\"2\""));
        assert!(ms(&done["released_at"]) >= ms(&order["created_at"]));
        assert_eq!(send().await.ok(200), done, "again");
        let report = api.get(&format!("/v1/restaurants/{restaurant}/numbers/{}", number(&order))).await.ok(200);
        assert_eq!((&report["state"], &report["order"]), (&json!("cooling"), &done));
    }
    let order = api.create(restaurant, json!({})).await;
    let cancelled = api.patch(id(&order), json!({"status": "cancelled"})).await.ok(200);
    assert_eq!(api.release(id(&order), false).await.ok(200), cancelled);
    assert_eq!(api.release(id(&order), true).await.ok(200), cancelled);
    assert_eq!(api.slots(restaurant).await["cooling"], 3);
}

#[tokio::test]
async fn an_immediate_release_frees_the_number_at_once_also_one_that_cools() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"policy": "lowest"})).await;
    let first = api.create(restaurant, json!({})).await;
    let done = api.release(id(&first), true).await.ok(200);
    assert_eq!((number(&first), &done["status"]), (1, &json!("completed")));
    let slots = api.slots(restaurant).await;
    assert_eq!((&slots["free"], &slots["cooling"], &slots["next_free_at"]), (&json!(9999), &json!(0), &Value::Null));
    // It was free already, and its last holder is still the same.
    assert_eq!(api.release(id(&first), true).await.ok(200), done);

    let second = api.create(restaurant, json!({})).await;
    assert_eq!(number(&second), 1);
    let rests = api.release(id(&second), false).await.ok(200);
    assert_eq!(api.slots(restaurant).await["cooling"], 1);
    assert_eq!(api.release(id(&second), true).await.ok(200), rests, "the order itself has not changed");
    assert_eq!(api.slots(restaurant).await["cooling"], 0);
    assert_eq!(number(&api.create(restaurant, json!({})).await), 1);
}

#[tokio::test]
async fn a_number_that_moved_on_is_not_freed_for_its_former_holder() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 1})).await;
    let path = format!("/v1/restaurants/{restaurant}/numbers/1");
    let former = api.create(restaurant, json!({})).await;
    let former = api.release(id(&former), true).await.ok(200);
    let holder = api.create(restaurant, json!({})).await;
    let check = async |state: &str| {
        api.release(id(&former), true).await.problem(409, "number_moved_on");
        assert_eq!(api.release(id(&former), false).await.ok(200), former, "that asks for nothing");
        assert_eq!(api.get(&path).await.ok(200)["state"], state);
    };
    check("live").await;
    let holder = api.release(id(&holder), false).await.ok(200);
    check("cooling").await;
    assert_eq!(api.release(id(&holder), true).await.ok(200), holder);
    check("free").await;
    assert_eq!(api.get(&path).await.ok(200)["order"], holder);
}
