//! `items`: what a kitchen cooks comes back as it was given, live and long after.

use serde_json::{Value, json};

use super::world::{api, called_in_ledger, left_redis, restaurant};
use crate::support::api::id;

fn item(name: &str, quantity: u32, note: Option<&str>, station: Option<&str>) -> Value {
    json!({"name": name, "quantity": quantity, "note": note, "station": station})
}

#[tokio::test]
async fn items_come_back_as_they_were_given_and_are_replaced_as_a_whole() {
    let (api, restaurant) = (api().await, restaurant());
    let given = json!([
        {"name": "Käsespätzle 🧀", "quantity": 2, "note": "no onions", "station": "grill"},
        {"name": "Tea"},
        {"name": "Tea", "note": null, "station": ""},
    ]);
    let kept = json!([
        item("Käsespätzle 🧀", 2, Some("no onions"), Some("grill")),
        item("Tea", 1, None, None),
        item("Tea", 1, None, Some("")),
    ]);
    let order = api.create(restaurant, json!({"items": given})).await;
    assert_eq!(order["items"], kept);
    let none = api.create(restaurant, json!({})).await;
    assert_eq!(none["items"], Value::Null);
    assert_eq!(api.live(restaurant).await, [order.clone(), none]);

    let path = id(&order);
    let noted = api.patch(path, json!({"note": "n"})).await.ok(200);
    assert_eq!(noted["items"], kept, "what is not given is left alone");
    assert_eq!(api.patch(path, json!({"items": given})).await.ok(200), noted, "they are the same");
    let other = api.patch(path, json!({"items": [{"name": "Pie"}]})).await.ok(200);
    assert_eq!((&other["items"], &other["version"]), (&json!([item("Pie", 1, None, None)]), &json!(3)));
    assert_eq!(api.patch(path, json!({"items": []})).await.ok(200)["items"], json!([]));
    assert_eq!(api.patch(path, json!({"items": null})).await.ok(200)["items"], Value::Null);
    let last = api.patch(path, json!({"items": given})).await.ok(200);

    let log = api.get(&format!("/v1/orders/{path}/events")).await.ok(200);
    let changes: Vec<_> = log["events"].as_array().expect("events").iter().map(|event| &event["detail"]).collect();
    let lean = json!([
        {"name": "Käsespätzle 🧀", "quantity": 2, "note": "no onions", "station": "grill"},
        {"name": "Tea", "quantity": 1},
        {"name": "Tea", "quantity": 1, "station": ""},
    ]);
    assert_eq!(changes[2], &json!({"changes": {"items": [lean, [{"name": "Pie", "quantity": 1}]]}}));
    assert_eq!(changes[4], &json!({"changes": {"items": [[], null]}}));

    let ended = api.release(path, true).await.ok(200);
    assert_eq!(ended["items"], kept);
    left_redis(&last).await;
    assert_eq!(api.order(path).await.ok(200), ended);
    assert_eq!(called_in_ledger(path).await["items"], lean);
    let found = api.get(&format!("/v1/restaurants/{restaurant}/search?q={path}&include_completed=true")).await.ok(200);
    assert_eq!(found["orders"], json!([ended]));
}

/// As many as there may be, as long as they may be, in letters that take many bytes.
#[tokio::test]
async fn fifty_long_items_are_taken_and_no_more() {
    let (api, restaurant) = (api().await, restaurant());
    let long =
        |count: usize| vec![item(&"🧀".repeat(100), 999, Some(&"é".repeat(200)), Some(&"ß".repeat(40))); count];
    let order = api.create(restaurant, json!({"items": long(50)})).await;
    assert_eq!(order["items"], json!(long(50)));
    assert_eq!(api.order(id(&order)).await.ok(200), order);
    let path = format!("/v1/restaurants/{restaurant}/orders");
    assert_eq!(api.post(&path, json!({"items": long(51)})).await.faults(422, "invalid_body"), ["/items too_long"]);
    let patched = api.patch(id(&order), json!({"items": long(51)})).await;
    assert_eq!(patched.faults(422, "invalid_body"), ["/items too_long"]);
    for (field, value, fault) in [
        ("name", "x".repeat(101), "/items/1/name too_long"),
        ("note", "x".repeat(201), "/items/1/note too_long"),
        ("station", "x".repeat(41), "/items/1/station too_long"),
    ] {
        let mut items = long(2);
        items[1][field] = json!(value);
        assert_eq!(api.post(&path, json!({"items": items})).await.faults(422, "invalid_body"), [fault]);
    }
    assert_eq!(api.live(restaurant).await, [order]);
}

#[tokio::test]
async fn a_repeat_with_other_items_is_another_request() {
    let (api, restaurant) = (api().await, restaurant());
    let key = "till-1/items";
    let order = api.create_with_key(restaurant, key, &json!({"items": [{"name": "Tea"}]})).await.ok(201);
    let same = json!({"items": [{"quantity": 1, "station": null, "name": "Tea"}]});
    assert_eq!(api.create_with_key(restaurant, key, &same).await.ok(201), order);
    let other = json!({"items": [{"name": "Tea", "quantity": 2}]});
    api.create_with_key(restaurant, key, &other).await.problem(422, "idempotency_conflict");
}
