//! `GET /v1/restaurants/{restaurant_id}/orders`: the kitchen screen.

use serde_json::{Value, json};

use super::world::{api, restaurant};
use crate::support::Api;
use crate::support::api::{id, number, numbers};

async fn list(api: &Api, restaurant: u32, query: &str) -> (Vec<Value>, Option<String>) {
    let page = api.get(&format!("/v1/restaurants/{restaurant}/orders{query}")).await.ok(200);
    let orders = page["orders"].as_array().unwrap_or_else(|| panic!("{page}")).clone();
    let next = page.get("next_cursor").unwrap_or_else(|| panic!("no next_cursor in {page}"));
    (orders, next.as_str().map(str::to_owned))
}

#[tokio::test]
async fn live_orders_are_listed_oldest_first() {
    let (api, restaurant) = (api().await, restaurant());
    assert_eq!(list(&api, restaurant, "").await, (vec![], None), "nobody has ordered yet");
    // A random policy, so that the order of the list is not that of the numbers.
    api.configure(restaurant, json!({"policy": "random"})).await;
    let mut orders = Vec::new();
    for at in 0..20 {
        orders.push(api.create(restaurant, json!({"note": at.to_string()})).await);
    }
    // Orders of one millisecond have no order among them.
    orders.sort_by_key(|order| (order["created_at"].to_string(), id(order).to_owned()));
    assert_eq!(list(&api, restaurant, "").await, (orders.clone(), None));

    let done = orders.remove(7);
    api.release(id(&done), false).await.ok(200);
    let gone = orders.remove(3);
    api.patch(id(&gone), json!({"status": "cancelled"})).await.ok(200);
    assert_eq!(list(&api, restaurant, "").await, (orders, None), "final orders are not there");
}

#[tokio::test]
async fn the_list_is_filtered_by_status() {
    let (api, restaurant) = (api().await, restaurant());
    let statuses = ["pending", "preparing", "ready", "served", "held"];
    for status in statuses.iter().cycle().take(10) {
        let order = api.create(restaurant, json!({})).await;
        if *status != "pending" {
            api.patch(id(&order), json!({"status": status})).await.ok(200);
        }
    }
    for (at, status) in (1..).zip(statuses) {
        let (found, _) = list(&api, restaurant, &format!("?status={status}")).await;
        let mut found = numbers(&found);
        found.sort_unstable();
        assert_eq!(found, [at, at + 5], "{status}");
    }
    for (query, count) in [
        ("?status=ready,held", 4),
        ("?status=ready&status=held&status=pending", 6),
        ("?status=ready,ready", 2),
        ("?status=READY", 2),
        ("?status=", 10),
    ] {
        assert_eq!(list(&api, restaurant, query).await.0.len(), count, "{query}");
    }
    for bad in ["completed", "cancelled", "expired", "eaten", "READY!", "EXPIRED", "ready,eaten", "%00"] {
        let answer = api.get(&format!("/v1/restaurants/{restaurant}/orders?status={bad}")).await;
        let faults = answer.faults(422, "invalid_parameter");
        assert!(faults.len() == 1 && faults[0].starts_with("/status "), "{bad}: {faults:?}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps_while_orders_come_and_go() {
    let (api, restaurant) = (api().await, restaurant());
    for _ in 0..25 {
        api.create(restaurant, json!({})).await;
    }
    let all = api.live(restaurant).await;
    let (first, cursor) = list(&api, restaurant, "?limit=10").await;
    assert_eq!(first, all[..10]);
    let cursor = cursor.expect("there is more");
    // The last one of the page ends, one ahead ends, and a new one comes.
    api.release(id(&all[9]), false).await.ok(200);
    api.release(id(&all[12]), false).await.ok(200);
    let new = api.create(restaurant, json!({})).await;
    let (second, cursor) = list(&api, restaurant, &format!("?limit=10&cursor={cursor}")).await;
    let expected: Vec<Value> =
        all[10..].iter().filter(|order| id(order) != id(&all[12])).cloned().chain([new]).collect();
    assert_eq!(second, expected[..10]);
    let (third, end) = list(&api, restaurant, &format!("?limit=10&cursor={}", cursor.expect("there is more"))).await;
    assert_eq!((&third[..], end), (&expected[10..], None));

    let (exactly, end) = list(&api, restaurant, &format!("?limit={}", 24)).await;
    assert_eq!((exactly.len(), end), (24, None), "a full last page is the last one");
    let mut filtered = Vec::new();
    let mut cursor = String::new();
    loop {
        let (page, next) = list(&api, restaurant, &format!("?status=pending&limit=7&cursor={cursor}")).await;
        filtered.extend(numbers(&page));
        match next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    assert_eq!(filtered, numbers(&api.live(restaurant).await));
}

#[tokio::test]
async fn limits_and_cursors_are_checked() {
    let (api, here, there) = (api().await, restaurant(), restaurant());
    for _ in 0..2 {
        api.create(there, json!({})).await;
    }
    let (_, foreign) = list(&api, there, "?limit=1").await;
    let foreign = foreign.expect("there is more");
    for (query, fault) in [
        ("limit=0", "/limit out_of_range"),
        ("limit=1001", "/limit out_of_range"),
        ("limit=-1", "/limit out_of_range"),
        ("limit=99999999999999999999", "/limit out_of_range"),
        ("limit=ten", "/limit out_of_range"),
        ("limit=1&limit=2", "/limit duplicate"),
        ("cursor=42", "/cursor invalid_value"),
        ("cursor=%00", "/cursor nul_character"),
        (&format!("cursor={foreign}"), "/cursor invalid_value"),
        ("limt=5", "/limt unknown_parameter"),
    ] {
        let answer = api.get(&format!("/v1/restaurants/{here}/orders?{query}")).await;
        assert_eq!(answer.faults(422, "invalid_parameter"), [fault], "{query}");
    }
    let faults = api.get(&format!("/v1/restaurants/{here}/orders?limit=0&cursor=42&status=x&y=1")).await;
    assert_eq!(
        faults.faults(422, "invalid_parameter"),
        ["/cursor invalid_value", "/limit out_of_range", "/status invalid_value", "/y unknown_parameter"]
    );
    assert_eq!(number(&list(&api, there, "?limit=1000").await.0[0]), 1);
}
