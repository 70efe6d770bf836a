//! Orders whose number the restaurant's settings have put outside the pool since: beyond the range, or blocked.

use serde_json::{Value, json};

use super::world::{api, findings, left_redis, old_order_here, restaurant};
use crate::support::api::{id, number};
use crate::support::{Api, PATIENCE, eventually_true};

/// Settings under which the numbers that were given before are outside.
fn outside() -> [Value; 2] {
    [
        json!({"min_number": 101, "max_number": 110}),
        json!({"max_number": 110, "blocked_numbers": [1, 2, 3, 4, 5, 6, 7, 8]}),
    ]
}

/// Takes an order through its whole life, or a part of it.
async fn order(api: &Api, restaurant: u32, released: Option<bool>) -> Value {
    let order = api.create(restaurant, json!({})).await;
    match released {
        Some(immediate) => api.release(id(&order), immediate).await.ok(200),
        None => order,
    }
}

async fn state(api: &Api, restaurant: u32, order: &Value) -> Value {
    api.get(&format!("/v1/restaurants/{restaurant}/numbers/{}", number(order))).await.ok(200)["state"].clone()
}

/// The same answer each time, also when Redis has let go of the order.
async fn releases(api: &Api, order: &Value, wanted: Option<&Value>) {
    for _ in 0..3 {
        let answer = api.release(id(order), true).await;
        match wanted {
            Some(order) => assert_eq!(answer.ok(200), *order),
            None => drop(answer.problem(409, "number_moved_on")),
        }
        assert_eq!(api.release(id(order), false).await.ok(200)["internal_order_id"], order["internal_order_id"]);
    }
}

#[tokio::test]
async fn a_release_may_be_repeated_wherever_the_number_is_now() {
    let api = api().await;
    let mut later = Vec::new();
    for settings in outside() {
        let restaurant = restaurant();
        let before =
            json!({"policy": "lowest", "max_number": 20, "cooldown_seconds": 600, "active_window_seconds": 60});
        api.configure(restaurant, before.clone()).await;
        let former = order(&api, restaurant, Some(true)).await;
        let holder = order(&api, restaurant, None).await;
        let resting = order(&api, restaurant, Some(false)).await;
        let cancelled = order(&api, restaurant, None).await;
        let cancelled = api.patch(id(&cancelled), json!({"status": "cancelled"})).await.ok(200);
        let forgotten = old_order_here(restaurant, std::time::Duration::from_secs(3600)).await;
        let live = order(&api, restaurant, None).await;
        let freed = order(&api, restaurant, None).await;
        let other_former = order(&api, restaurant, Some(true)).await;
        let other_holder = order(&api, restaurant, Some(true)).await;
        let freed = api.release(id(&freed), true).await.ok(200);
        assert_eq!((number(&holder), number(&other_holder)), (number(&former), number(&other_former)));
        assert!([&resting, &cancelled, &live, &freed].into_iter().all(|order| number(order) <= 8));
        let mut after = before.clone();
        after.as_object_mut().expect("an object").extend(settings.as_object().expect("an object").clone());
        api.configure(restaurant, after).await;
        let gone = if settings.get("blocked_numbers").is_some() { "blocked" } else { "outside" };

        // Live: it retires, and its first release is like its second.
        assert_eq!(state(&api, restaurant, &live).await, "retiring");
        let served = api.patch(id(&live), json!({"status": "served", "note": "late"})).await.ok(200);
        assert_eq!(api.patch(id(&live), json!({"status": "served", "note": "late"})).await.ok(200), served);
        let done = api.release(id(&live), true).await.ok(200);
        assert_eq!((&done["status"], &done["note"]), (&json!("completed"), &json!("late")));
        releases(&api, &done, Some(&done)).await;
        assert_eq!(api.patch(id(&live), json!({"status": "completed"})).await.ok(200), done);
        assert_eq!(state(&api, restaurant, &live).await, gone);

        // Expired by clean-up: it rests, and its rest is ended.
        let cleaned = api.post(&format!("/v1/restaurants/{restaurant}/cleanup"), json!({})).await.ok(200);
        let expired = cleaned["orders"][0].clone();
        assert_eq!((id(&expired), &expired["status"]), (forgotten.as_str(), &json!("expired")));
        assert_eq!(
            api.post(&format!("/v1/restaurants/{restaurant}/cleanup"), json!({})).await.ok(200)["orders"],
            json!([])
        );

        // Resting: the rest goes on outside, until it is ended.
        for order in [&resting, &cancelled, &expired] {
            assert_eq!(state(&api, restaurant, order).await, "retiring");
            releases(&api, order, Some(order)).await;
            assert_eq!(state(&api, restaurant, order).await, gone);
        }
        // Free before it went outside.
        releases(&api, &freed, Some(&freed)).await;

        // Taken by another order, which is live or has ended.
        releases(&api, &former, None).await;
        assert_eq!(state(&api, restaurant, &holder).await, "retiring", "the holder keeps it");
        releases(&api, &other_former, None).await;
        releases(&api, &other_holder, Some(&other_holder)).await;
        let holder = api.release(id(&holder), true).await.ok(200);
        releases(&api, &former, None).await;
        releases(&api, &holder, Some(&holder)).await;

        assert_eq!(api.slots(restaurant).await["retiring"], 0);
        let ended = [done, resting, cancelled, expired, freed, other_holder, holder];
        later.push((restaurant, before, gone, ended, [former, other_former]));
    }
    for (restaurant, before, gone, ended, former) in &later {
        for order in ended.iter().chain(former) {
            left_redis(order).await;
        }
        for order in ended {
            releases(&api, order, Some(order)).await;
            assert_eq!(state(&api, *restaurant, order).await, *gone);
        }
        for order in former {
            releases(&api, order, None).await;
        }
        // Inside again, they are free.
        api.configure(*restaurant, before.clone()).await;
        for order in ended {
            releases(&api, order, Some(order)).await;
            assert_eq!(state(&api, *restaurant, order).await, "free");
        }
        for order in former {
            releases(&api, order, None).await;
        }
        eventually_true(PATIENCE, || async { findings(*restaurant).await == (0, Vec::new()) }).await;
    }
}

#[tokio::test]
async fn a_rest_that_is_over_outside_the_pool_may_be_ended_again() {
    let api = api().await;
    let mut later = Vec::new();
    for settings in outside() {
        let restaurant = restaurant();
        api.configure(restaurant, json!({"max_number": 20, "cooldown_seconds": 1})).await;
        let orders = [order(&api, restaurant, Some(false)).await, order(&api, restaurant, Some(false)).await];
        api.configure(restaurant, settings.clone()).await;
        for order in &orders {
            eventually_true(PATIENCE, || async { state(&api, restaurant, order).await != "retiring" }).await;
        }
        // Not seen to be over yet by any new order.
        releases(&api, &orders[0], Some(&orders[0])).await;
        assert!(number(&api.create(restaurant, json!({})).await) > 8);
        releases(&api, &orders[1], Some(&orders[1])).await;
        later.push((restaurant, orders));
    }
    for (restaurant, orders) in &later {
        for order in orders {
            left_redis(order).await;
            releases(&api, order, Some(order)).await;
        }
        eventually_true(PATIENCE, || async { findings(*restaurant).await == (0, Vec::new()) }).await;
    }
}
