//! `GET /v1/restaurants/{restaurant_id}/slots`, and a pool that runs out.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::world::{api, ms, restaurant};
use crate::support::api::{id, number};
use crate::support::{PATIENCE, eventually, eventually_true};

#[tokio::test]
async fn slots_say_how_full_the_pool_is() {
    let (api, restaurant) = (api().await, restaurant());
    let untouched = json!({
        "capacity": 9999, "free": 9999, "live": 0, "cooling": 0, "blocked": 0, "reserved": 0, "quarantined": 0,
        "retiring": 0, "utilization": 0.0, "next_free_at": null, "oldest_live_at": null,
    });
    assert_eq!(api.slots(restaurant).await, untouched);
    api.configure(restaurant, json!({"max_number": 100, "blocked_numbers": [13, 66, 666], "cooldown_seconds": 600}))
        .await;
    let orders = futures_util::future::join_all((0..10).map(|_| api.create(restaurant, json!({})))).await;
    let mut rests = Vec::new();
    for order in &orders[..4] {
        rests.push(ms(&api.release(id(order), false).await.ok(200)["released_at"]) + 600_000);
    }
    let slots = api.slots(restaurant).await;
    for (state, count) in [("capacity", 98), ("free", 88), ("live", 6), ("cooling", 4), ("blocked", 2), ("retiring", 0)]
    {
        assert_eq!(slots[state], count, "{state} in {slots}");
    }
    let utilization = slots["utilization"].as_f64().expect("a number");
    assert!((utilization - (1.0 - 88.0 / 98.0)).abs() < 1e-9, "{slots}");
    assert_eq!(ms(&slots["next_free_at"]), rests[0]);
    let oldest = orders[4..].iter().map(|order| ms(&order["created_at"])).min().expect("six are live");
    assert_eq!(ms(&slots["oldest_live_at"]), oldest);
    // It is the same as what the list and the numbers say.
    assert_eq!(api.live(restaurant).await.len(), 6);
}

#[tokio::test]
async fn numbers_whose_rest_is_over_count_as_free() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 3, "cooldown_seconds": 1})).await;
    for _ in 0..3 {
        let order = api.create(restaurant, json!({})).await;
        api.release(id(&order), false).await.ok(200);
    }
    assert_eq!(api.slots(restaurant).await["cooling"], 3);
    // Nobody asks for a number meanwhile.
    eventually_true(PATIENCE, || async { api.slots(restaurant).await["free"] == 3 }).await;
    let slots = api.slots(restaurant).await;
    assert_eq!((&slots["next_free_at"], &slots["utilization"]), (&Value::Null, &json!(0.0)));
    let report = api.get(&format!("/v1/restaurants/{restaurant}/numbers/1")).await.ok(200);
    assert_eq!(report["state"], "free");
}

#[tokio::test]
async fn an_exhausted_pool_says_when_to_come_again() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/orders");
    api.configure(restaurant, json!({"max_number": 2, "cooldown_seconds": 600})).await;
    let orders = [api.create(restaurant, json!({})).await, api.create(restaurant, json!({})).await];
    let answer = api.post(&path, json!({})).await;
    let problem = answer.problem(409, "pool_exhausted");
    assert_eq!((answer.header("retry-after"), &problem["next_free_at"]), (None, &Value::Null), "nothing cools");

    let done = api.release(id(&orders[0]), false).await.ok(200);
    let free_at = ms(&done["released_at"]) + 600_000;
    let answer = api.post(&path, json!({})).await;
    let problem = answer.problem(409, "pool_exhausted");
    assert_eq!(ms(&problem["next_free_at"]), free_at);
    assert_eq!(ms(&api.slots(restaurant).await["next_free_at"]), free_at);
    let seconds: i64 = answer.header("retry-after").and_then(|seconds| seconds.parse().ok()).expect("seconds");
    let rest = (free_at - chrono::Utc::now().timestamp_millis()).div_euclid(1000);
    assert!((rest..=600).contains(&seconds) && seconds <= rest + 5, "{seconds} s, when {rest} s are left");
    assert_eq!(api.live(restaurant).await, [orders[1].clone()], "a refusal takes nothing");
    assert!(api.release(id(&orders[0]), true).await.ok(200).is_object());
    assert_eq!(number(&api.create(restaurant, json!({})).await), 1);
}

#[tokio::test]
async fn a_client_that_waits_as_it_is_told_gets_the_number() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/orders");
    api.configure(restaurant, json!({"max_number": 1, "cooldown_seconds": 2})).await;
    let order = api.create(restaurant, json!({})).await;
    let free_at = ms(&api.release(id(&order), false).await.ok(200)["released_at"]) + 2000;
    let next = eventually(PATIENCE, || async {
        let answer = api.post(&path, json!({})).await;
        if answer.status == 201 {
            return Some(answer.ok(201));
        }
        let problem = answer.problem(409, "pool_exhausted");
        assert_eq!(ms(&problem["next_free_at"]), free_at);
        let seconds = answer.header("retry-after").expect("it cools");
        assert!(["1", "2"].contains(&seconds), "{seconds}");
        None
    })
    .await;
    assert_eq!(number(&next), 1);
    // By the clock of Redis, which keeps the rest; `created_at` may be a moment before that.
    assert!(ms(&next["updated_at"]) >= free_at, "a cooling number is not given out");
}

#[tokio::test]
async fn nine_thousand_nine_hundred_and_ninety_nine_live_orders_and_not_one_more() {
    let (api, restaurant) = (api().await, restaurant());
    let create = |_| {
        let api = api.clone();
        async move { number(&api.create(restaurant, json!({})).await) }
    };
    let given: Vec<u64> = stream::iter(0..9999).map(create).buffer_unordered(64).collect().await;
    let distinct: BTreeSet<u64> = given.iter().copied().collect();
    assert_eq!((given.len(), distinct.len()), (9999, 9999));
    assert_eq!((distinct.first(), distinct.last()), (Some(&1), Some(&9999)));
    for _ in 0..3 {
        let answer = api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await;
        answer.problem(409, "pool_exhausted");
        assert_eq!(answer.header("retry-after"), None);
    }
    let slots = api.slots(restaurant).await;
    assert_eq!((&slots["live"], &slots["free"], &slots["utilization"]), (&json!(9999), &json!(0), &json!(1.0)));
    // All of them are on the screen, page by page.
    let mut listed = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/restaurants/{restaurant}/orders?limit=1000&cursor={cursor}");
        let page = api.get(&path).await.ok(200);
        listed.extend(page["orders"].as_array().expect("orders").iter().map(number));
        match &page["next_cursor"] {
            Value::String(next) => next.clone_into(&mut cursor),
            _ => break,
        }
    }
    assert_eq!(listed, distinct);
    // One that is given back is the next one given.
    let report = api.get(&format!("/v1/restaurants/{restaurant}/numbers/4711")).await.ok(200);
    api.release(id(&report["order"]), true).await.ok(200);
    assert_eq!(create(0).await, 4711);
}
