//! `POST /v1/orders/{internal_order_id}/reopen`: an order that was completed by mistake.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{api, backfill, findings, left_redis, ms, old_order_here, restaurant, time};
use crate::support::api::{id, number};
use crate::support::{Api, PATIENCE, eventually_true};

/// An order that was completed, and whose number rests.
async fn completed(api: &Api, restaurant: u32, body: Value) -> Value {
    let order = api.create(restaurant, body).await;
    api.release(id(&order), false).await.ok(200)
}

/// What must come of reopening it: all is as it was, but for these.
fn reopened(before: &Value, now: &Value) -> Value {
    let mut expected = before.clone();
    expected["status"] = json!("preparing");
    expected["released_at"] = Value::Null;
    expected["version"] = json!(before["version"].as_u64().map(|version| version + 1));
    for field in ["updated_at", "reopened_at"] {
        expected[field] = now["updated_at"].clone();
    }
    expected
}

async fn look(api: &Api, restaurant: u32, number: u64, query: &str) -> Value {
    api.get(&format!("/v1/restaurants/{restaurant}/numbers/{number}{query}")).await.ok(200)
}

/// Waits until the next change has another millisecond than this time.
async fn is_past(at: &Value) {
    let at = ms(at);
    eventually_true(PATIENCE, || async { chrono::Utc::now().timestamp_millis() > at + 3 }).await;
}

#[tokio::test]
async fn a_completed_order_goes_back_to_preparing_with_its_number() {
    let (api, restaurant) = (api().await, restaurant());
    let details = json!({"customer_name": "Ada", "note": "no onions", "metadata": {"a": [1]}});
    for (turn, sent) in [None, Some(""), Some("{}")].into_iter().enumerate() {
        let ended = completed(&api, restaurant, details.clone()).await;
        let path = format!("/v1/orders/{}/reopen", id(&ended));
        let answer = api.send("POST", &path, &[("content-type", b"application/json")], sent.map(Into::into)).await;
        let order = answer.ok(200);
        assert_eq!(order, reopened(&ended, &order), "{sent:?}");
        assert!(ms(&order["reopened_at"]) >= ms(&ended["released_at"]));
        assert_eq!((answer.header("etag"), answer.header("durability")), (Some("\"3\""), Some("memory")));
        assert_eq!(api.order(id(&order)).await.ok(200), order);
        let report = look(&api, restaurant, number(&order), "").await;
        assert_eq!((&report["state"], &report["order"]), (&json!("live"), &order));
        assert_eq!(api.live(restaurant).await.last(), Some(&order));
        let slots = api.slots(restaurant).await;
        assert_eq!((&slots["live"], &slots["cooling"]), (&json!(turn + 1), &json!(0)));
        // It is open by now: a repeat finds it so.
        let again = api.reopen(id(&order)).await;
        assert_eq!((again.ok(200), again.header("etag")), (order, Some("\"3\"")));
    }
    assert_eq!(findings(restaurant).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn a_till_that_patches_it_to_preparing_reopens_it() {
    let (api, restaurant) = (api().await, restaurant());
    let ended = completed(&api, restaurant, json!({"note": "n"})).await;
    let order = api.patch(id(&ended), json!({"status": "preparing"})).await.ok(200);
    assert_eq!(order, reopened(&ended, &order));

    // With other details in one go, which the log shows.
    let ended = api.patch(id(&order), json!({"status": "completed"})).await.ok(200);
    let order = api.patch(id(&ended), json!({"status": "preparing", "note": "bumped by mistake"})).await.ok(200);
    let mut expected = reopened(&ended, &order);
    expected["note"] = json!("bumped by mistake");
    assert_eq!((&order, api.order(id(&order)).await.ok(200)), (&expected, expected.clone()));
    let log = api.get(&format!("/v1/orders/{}/events", id(&order))).await.ok(200);
    let log = log["events"].as_array().expect("events").clone();
    let kinds: Vec<&str> = log.iter().filter_map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds, ["created", "released", "reopened", "released", "reopened"]);
    for event in [&log[2], &log[4]] {
        let statuses = (&event["status_before"], &event["status_after"], &event["actor"]);
        assert_eq!(statuses, (&json!("completed"), &json!("preparing"), &json!("api")));
    }
    assert_eq!((&log[2]["detail"], &log[2]["version"]), (&Value::Null, &json!(3)));
    assert_eq!(log[4]["detail"], json!({"changes": {"note": ["n", "bumped by mistake"]}}));
    let of_kind = api.get(&format!("/v1/restaurants/{restaurant}/events?kind=reopened")).await.ok(200);
    assert_eq!(of_kind["events"], json!([log[4], log[2]]));

    // No other status leads back, and no other end.
    let ended = api.release(id(&order), false).await.ok(200);
    for status in ["pending", "ready", "served", "held"] {
        let problem = api.patch(id(&ended), json!({"status": status})).await.problem(409, "order_final");
        assert_eq!(problem["allowed"], json!(["preparing"]), "{status}");
    }
    assert_eq!(api.order(id(&ended)).await.ok(200), ended);
    assert_eq!(findings(restaurant).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn if_match_guards_a_reopening() {
    let (api, restaurant) = (api().await, restaurant());
    let ended = completed(&api, restaurant, json!({})).await;
    let path = format!("/v1/orders/{}/reopen", id(&ended));
    let reopen = async |tag: &str| api.json_with("POST", &path, &[("if-match", tag)], &json!({})).await;
    for stale in ["\"1\"", "\"3\"", "\"7\", \"9\""] {
        let answer = reopen(stale).await;
        assert_eq!(answer.problem(412, "version_mismatch")["current_version"], 2, "{stale}");
        assert_eq!(answer.header("etag"), Some("\"2\""));
    }
    reopen("2").await.problem(400, "invalid_if_match");
    assert_eq!(api.order(id(&ended)).await.ok(200), ended, "a refused call changes nothing");
    assert_eq!(reopen("\"9\", \"2\"").await.ok(200)["version"], 3);
    reopen("\"2\"").await.problem(412, "version_mismatch");
    assert_eq!(reopen("\"3\"").await.ok(200)["version"], 3, "it is open at that version");

    // So for a change that reopens.
    let ended = api.release(id(&ended), false).await.ok(200);
    let order = format!("/v1/orders/{}", id(&ended));
    for body in [json!({"status": "preparing"}), json!({"status": "preparing", "note": "x"})] {
        let patch = api.json_with("PATCH", &order, &[("if-match", "\"3\"")], &body).await;
        assert_eq!(patch.problem(412, "version_mismatch")["current_version"], 4);
    }
    let patch = api.json_with("PATCH", &order, &[("if-match", "\"4\"")], &json!({"status": "preparing"})).await;
    assert_eq!(patch.ok(200)["version"], 5);
}

#[tokio::test]
async fn what_is_not_asked_rightly_is_refused() {
    let (api, restaurant) = (api().await, restaurant());
    let ended = completed(&api, restaurant, json!({})).await;
    let path = format!("/v1/orders/{}/reopen", id(&ended));
    let faults = api.post(&path, json!({"status": "ready"})).await.faults(422, "invalid_body");
    assert_eq!(faults, ["/status unknown_field"]);
    api.post(&path, json!([])).await.problem(422, "invalid_body");
    let answer = api.post(&format!("{path}?immediate=true"), json!({})).await;
    answer.problem(422, "invalid_parameter");
    api.json_with("POST", &path, &[("durability", "granite")], &json!({})).await.problem(400, "invalid_durability");
    assert_eq!(api.order(id(&ended)).await.ok(200), ended);
    let answer = api.json_with("POST", &path, &[("durability", "ledger")], &json!({})).await;
    assert_eq!((&answer.ok(200)["status"], answer.header("durability")), (&json!("preparing"), Some("ledger")));
}

#[tokio::test]
async fn an_order_whose_number_does_not_rest_for_it_stays_as_it_ended() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 3, "policy": "lowest", "cooldown_seconds": 600})).await;
    let refused = async |order: &Value, code: &str| {
        api.reopen(id(order)).await.problem(409, code);
        for body in [json!({"status": "preparing"}), json!({"status": "preparing", "note": "x"})] {
            api.patch(id(order), body).await.problem(409, code);
        }
        assert_eq!(api.order(id(order)).await.ok(200), *order);
    };
    // Called off.
    let order = api.create(restaurant, json!({})).await;
    refused(&api.patch(id(&order), json!({"status": "cancelled"})).await.ok(200), "order_final").await;
    // Free at once, and given to the next one.
    let freed = api.create(restaurant, json!({})).await;
    let freed = api.release(id(&freed), true).await.ok(200);
    refused(&freed, "number_moved_on").await;
    let next = api.create(restaurant, json!({})).await;
    assert_eq!(number(&next), number(&freed));
    refused(&freed, "number_moved_on").await;
    // It rests for the next one; its rest was ended early.
    let next = api.release(id(&next), false).await.ok(200);
    refused(&freed, "number_moved_on").await;
    let next = api.release(id(&next), true).await.ok(200);
    refused(&next, "number_moved_on").await;
    // No rest at all, and one that is over.
    api.configure(restaurant, json!({"cooldown_seconds": 0})).await;
    refused(&completed(&api, restaurant, json!({})).await, "number_moved_on").await;
    api.configure(restaurant, json!({"cooldown_seconds": 1})).await;
    let ended = completed(&api, restaurant, json!({})).await;
    let over = || async { look(&api, restaurant, number(&ended), "").await["state"] == "free" };
    eventually_true(PATIENCE, over).await;
    refused(&ended, "number_moved_on").await;
    assert_eq!(findings(restaurant).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn what_clean_up_expired_stays_so_and_what_was_reopened_is_not_expired_at_once() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"active_window_seconds": 60, "cooldown_seconds": 600})).await;
    let cleanup = format!("/v1/restaurants/{restaurant}/cleanup");
    let (forgotten, bumped) = (
        old_order_here(restaurant, Duration::from_secs(3600)).await,
        old_order_here(restaurant, Duration::from_secs(3500)).await,
    );
    api.release(&bumped, false).await.ok(200);
    let bumped = api.reopen(&bumped).await.ok(200);
    for body in [json!({"dry_run": true}), json!({})] {
        let found = api.post(&cleanup, body).await.ok(200);
        let found = found["orders"].as_array().expect("orders").clone();
        assert_eq!(found.iter().map(id).collect::<Vec<_>>(), [&forgotten]);
    }
    api.reopen(&forgotten).await.problem(409, "order_final");
    api.patch(&forgotten, json!({"status": "preparing"})).await.problem(409, "order_final");
    assert_eq!(api.order(id(&bumped)).await.ok(200), bumped);
}

/// Between its end and its reopening the number rested, and was no order's; before and behind that it was this one's.
#[tokio::test]
async fn at_tells_when_a_reopened_order_had_its_number() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 1, "cooldown_seconds": 600})).await;
    let former = api.create(restaurant, json!({})).await;
    let former = api.release(id(&former), true).await.ok(200);
    is_past(&former["released_at"]).await;
    let mut order = api.create(restaurant, json!({})).await;
    let given = ms(&order["number_given_at"]);
    // By turns: when it began to have the number, and when it began to rest.
    let mut turns = vec![given];
    for turn in 0..5 {
        is_past(&order["updated_at"]).await;
        order = match turn % 2 {
            0 => api.release(id(&order), false).await.ok(200),
            _ => api.reopen(id(&order)).await.ok(200),
        };
        turns.push(ms(&order["updated_at"]));
    }
    assert_eq!(order["number_given_at"], json!(time(given)), "that does not change");
    let at = async |ms: i64| look(&api, restaurant, 1, &format!("?at={}", time(ms))).await;
    for (turn, pair) in turns.windows(2).enumerate() {
        let state = if turn % 2 == 0 { "live" } else { "cooling" };
        for instant in [pair[0], pair[0] + 1, pair[1] - 1] {
            let report = at(instant).await;
            assert_eq!((&report["state"], &report["order"]), (&json!(state), &order), "turn {turn}: {turns:?}");
        }
    }
    let last = turns[turns.len() - 1];
    for (instant, state) in [(last, "cooling"), (last + 599_999, "cooling"), (last + 600_000, "free")] {
        assert_eq!(at(instant).await["state"], state);
    }
    let before = at(given - 1).await;
    assert_eq!((&before["state"], &before["order"]), (&json!("cooling"), &former), "the one before had it");
    // As it is while it is live.
    let order = api.reopen(id(&order)).await.ok(200);
    let now = at(ms(&order["reopened_at"])).await;
    assert_eq!((&now["state"], &now["order"]), (&json!("live"), &order));
    assert_eq!(at(last).await["state"], "cooling");
    assert_eq!(findings(restaurant).await.1, Vec::<String>::new());
}

/// One test, because it waits long: an order leaves Redis a while after it is durable.
#[tokio::test]
async fn orders_that_left_redis_are_reopened_while_their_numbers_rest() {
    let (api, restaurant) = (api().await, restaurant());
    let foreign = "5f6f3c1e-9f60-4a53-8a7b-5d8f6b1f2a11";
    backfill(&format!(
        "id,restaurant_id,status,display_order_number,created_at,completed_at\n\
         {foreign},{restaurant},completed,38,2026-03-14T00:01:05Z,2026-03-14T00:31:40Z\n"
    ))
    .await;
    // Imported as it had ended: its number never was this service's to rest.
    api.reopen(foreign).await.problem(409, "number_moved_on");
    api.patch(foreign, json!({"status": "preparing"})).await.problem(409, "number_moved_on");

    let by_call = completed(&api, restaurant, json!({"note": "n"})).await;
    let by_patch = completed(&api, restaurant, json!({"note": "n"})).await;
    let rewritten = completed(&api, restaurant, json!({"note": "n"})).await;
    let early = completed(&api, restaurant, json!({})).await;
    let again = completed(&api, restaurant, json!({})).await;
    api.reopen(id(&again)).await.ok(200);
    let again = api.release(id(&again), false).await.ok(200);
    let called_off = api.create(restaurant, json!({})).await;
    let called_off = api.patch(id(&called_off), json!({"status": "cancelled"})).await.ok(200);
    for order in [&by_call, &by_patch, &rewritten, &early, &again, &called_off] {
        left_redis(order).await;
    }
    let path = format!("/v1/orders/{}", id(&by_call));
    let stale = [("if-match", "\"1\"")];
    api.json_with("POST", &format!("{path}/reopen"), &stale, &json!({})).await.problem(412, "version_mismatch");
    api.json_with("PATCH", &path, &stale, &json!({"status": "preparing"})).await.problem(412, "version_mismatch");
    api.reopen(id(&called_off)).await.problem(409, "order_final");
    api.release(id(&early), true).await.ok(200);
    api.reopen(id(&early)).await.problem(409, "number_moved_on");

    let order = api.reopen(id(&by_call)).await.ok(200);
    assert_eq!(order, reopened(&by_call, &order));
    let order = api.patch(id(&by_patch), json!({"status": "preparing"})).await.ok(200);
    assert_eq!(order, reopened(&by_patch, &order));
    let order = api.patch(id(&rewritten), json!({"status": "preparing", "note": "m"})).await.ok(200);
    let mut expected = reopened(&rewritten, &order);
    expected["note"] = json!("m");
    assert_eq!(order, expected);
    let order = api.reopen(id(&again)).await.ok(200);
    assert_eq!(order, reopened(&again, &order), "a second time");
    let live: Vec<Value> = api.live(restaurant).await;
    assert_eq!(live.iter().map(number).collect::<Vec<_>>(), [1, 2, 3, 5]);
    assert_eq!(api.slots(restaurant).await["cooling"], 1, "that of the one that was called off");
    // Found as live orders are.
    let search = format!("/v1/restaurants/{restaurant}/search?q={}", id(&by_call));
    assert_eq!(api.get(&search).await.ok(200)["orders"][0]["status"], "preparing");
    eventually_true(PATIENCE, || async { findings(restaurant).await == (0, Vec::new()) }).await;
}
