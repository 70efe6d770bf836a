//! What callers see where an answer of Redis is lost between a daemon and its Redis.

use serde_json::json;

use super::till::while_lost;
use crate::support::api::{id, number, text};
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, Proxy, eventually_true, redis_url};

/// A daemon that loses answers when it is told to, and another one.
async fn daemons() -> (Proxy, Daemon, Daemon) {
    let redis = redis_url().await;
    let socket = redis.strip_prefix("unix://").expect("the tests' Redis is on a socket");
    let proxy = Proxy::start(socket.as_ref());
    let options = DaemonOptions::migrated().await.with("NOWSERVING_REDIS_TIMEOUT_MS", PATIENCE.as_millis());
    let losing = DaemonOptions { redis_url: Some(proxy.url()), ..options.clone() };
    (proxy, Daemon::start(&losing), Daemon::start(&options))
}

/// The 16 bytes of an id, as scripts take it.
fn bytes(order: &serde_json::Value) -> Vec<u8> {
    let id: uuid::Uuid = id(order).parse().expect("a UUID");
    id.as_bytes().to_vec()
}

const REPLAYED: Option<&str> = Some("true");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_first_copy_was_made_is_answered_as_a_replay() {
    let (proxy, losing, other) = daemons().await;
    let (till, cook) = (Api::at(losing.url()), Api::at(other.url()));
    let order = cook.create(7, json!({})).await;
    let (order_id, about) = (id(&order), bytes(&order));
    let path = format!("/v1/orders/{order_id}");

    // A status: the cook's stands.
    let changed = while_lost(&proxy, &about, till.patch(order_id, json!({ "status": "preparing" })), async || {
        cook.patch(order_id, json!({ "status": "ready" })).await.ok(200);
    })
    .await;
    assert_eq!(changed.header("idempotent-replayed"), REPLAYED);
    let changed = changed.ok(200);
    assert_eq!((text(&changed, "status"), &changed["version"]), ("ready", &json!(3)));

    // With If-Match: its own first copy is not held against it.
    let details = json!({ "note": "no onions" });
    let guarded = till.json_with("PATCH", &path, &[("if-match", "\"3\"")], &details);
    let changed = while_lost(&proxy, &about, guarded, async || {}).await;
    assert_eq!(changed.header("idempotent-replayed"), REPLAYED);
    let changed = changed.ok(200);
    assert_eq!((text(&changed, "note"), &changed["version"]), ("no onions", &json!(4)));

    // Without If-Match the daemon reads first; that a version was overtaken is no conflict with itself.
    let changed = while_lost(&proxy, &about, till.patch(order_id, json!({ "note": "no salt" })), async || {
        cook.patch(order_id, json!({ "note": "no pepper" })).await.ok(200);
    })
    .await;
    assert_eq!(changed.header("idempotent-replayed"), REPLAYED);
    assert_eq!(text(&changed.ok(200), "note"), "no pepper");

    // A release, whose number is another order's by the time of the repeat.
    cook.configure(8, json!({ "min_number": 1, "max_number": 1 })).await;
    let order = cook.create(8, json!({})).await;
    let mut next = None;
    let released = while_lost(&proxy, &bytes(&order), till.release(id(&order), true), async || {
        next = Some(cook.create(8, json!({})).await);
    })
    .await;
    assert_eq!(released.header("idempotent-replayed"), REPLAYED);
    assert_eq!(text(&released.ok(200), "status"), "completed");
    let next = next.expect("it was made meanwhile");
    assert_eq!((number(&next), cook.live(8).await), (1, vec![next]));

    // The log has each once.
    eventually_true(PATIENCE, || async {
        let events = cook.get(&format!("/v1/orders/{order_id}/events")).await.ok(200);
        let events = events["events"].as_array().expect("a list").clone();
        let versions: Vec<_> = events.iter().map(|event| event["version"].as_u64().expect("a version")).collect();
        versions == [1, 2, 3, 4, 5, 6]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_whose_answer_was_lost_do_not_come_back_over_later_ones() {
    let (proxy, losing, other) = daemons().await;
    let (manager, rival) = (Api::at(losing.url()), Api::at(other.url()));
    rival.configure(9, json!({ "max_number": 40 })).await;
    let body = json!({ "max_number": 50 });
    let stored = nowserving::domain::PoolSettings { max_number: 50, ..nowserving::domain::PoolSettings::default() };
    let about = serde_json::to_vec(&stored).expect("plain JSON");
    let put = while_lost(&proxy, &about, manager.put("/v1/restaurants/9", body), async || {
        rival.configure(9, json!({ "max_number": 70 })).await;
    })
    .await;
    assert_eq!(put.header("idempotent-replayed"), REPLAYED);
    let put = put.ok(200);
    let now = rival.get("/v1/restaurants/9").await.ok(200);
    assert_eq!((&now["max_number"], &put["max_number"]), (&json!(70), &json!(70)), "{put}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_whose_first_copy_was_made_are_not_held_against_it() {
    let (proxy, losing, other) = daemons().await;
    let (manager, rival) = (Api::at(losing.url()), Api::at(other.url()));
    let path = "/v1/restaurants/9";
    rival.configure(9, json!({ "max_number": 40 })).await;
    for (method, max_number) in [("PUT", 50), ("PATCH", 60)] {
        let seen = rival.get(path).await;
        let condition = [("if-match", seen.header("etag").expect("it has a tag"))];
        let stored = nowserving::domain::PoolSettings { max_number, ..nowserving::domain::PoolSettings::default() };
        let about = serde_json::to_vec(&stored).expect("plain JSON");
        let body = json!({ "max_number": max_number });
        let change = manager.json_with(method, path, &condition, &body);
        let answer = while_lost(&proxy, &about, change, async || {}).await;
        assert_eq!(answer.header("idempotent-replayed"), REPLAYED, "{method}");
        assert_eq!(answer.ok(200)["max_number"], max_number);
        let now = rival.get(path).await;
        assert_eq!(now.header("etag"), answer.header("etag"), "{method}");
        // Made once; for another call the condition holds no more.
        manager.json_with(method, path, &condition, &json!({ "max_number": 7 })).await.problem(412, "version_mismatch");
    }
    // Where another manager came in between, his stand, and are what is named.
    let seen = rival.get(path).await;
    let condition = [("if-match", seen.header("etag").expect("it has a tag"))];
    let stored = nowserving::domain::PoolSettings { max_number: 70, ..nowserving::domain::PoolSettings::default() };
    let about = serde_json::to_vec(&stored).expect("plain JSON");
    let body = json!({ "max_number": 70 });
    let answer = while_lost(&proxy, &about, manager.json_with("PUT", path, &condition, &body), async || {
        rival.configure(9, json!({ "max_number": 80 })).await;
    })
    .await;
    assert_eq!(answer.header("idempotent-replayed"), REPLAYED);
    assert_eq!(answer.ok(200)["max_number"], 80);
    assert_eq!(answer.header("etag"), rival.get(path).await.header("etag"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_both_answers_are_lost_the_caller_is_told_that_the_outcome_is_unknown() {
    let (proxy, losing, other) = daemons().await;
    let (till, cook) = (Api::at(losing.url()), Api::at(other.url()));
    let order = cook.create(7, json!({})).await;
    proxy.lose_about(&bytes(&order), 2);
    let answer = till.patch(id(&order), json!({ "status": "ready" })).await;
    let problem = answer.problem(503, "outcome_unknown");
    assert!(answer.header("retry-after").is_some(), "{problem}");
    assert_eq!(text(&cook.order(id(&order)).await.ok(200), "status"), "ready", "it was made");
}
