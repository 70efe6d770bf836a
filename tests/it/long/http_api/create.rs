//! `POST /v1/restaurants/{restaurant_id}/orders`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::world::{api, ms, restaurant};
use crate::support::api::{id, number};

#[tokio::test]
async fn an_order_keeps_every_field_and_says_where_it_is() {
    let (api, restaurant) = (api().await, restaurant());
    let body = json!({
        "table_number": "12", "order_source": "kiosk", "order_type": "dine_in", "external_id": "POS-1",
        "customer_name": "Ánna 🍕", "note": "no onions", "metadata": {"b": [1, 2.5, null, {"c": "d"}], "a": true},
    });
    let before = chrono::Utc::now().timestamp_millis();
    let answer = api.post(&format!("/v1/restaurants/{restaurant}/orders"), body.clone()).await;
    let order = answer.ok(201);
    let mut expected = body;
    for (field, value) in [
        ("internal_order_id", order["internal_order_id"].clone()),
        ("restaurant_id", json!(restaurant)),
        ("display_order_number", json!(1)),
        ("display_number_formatted", json!("0001")),
        ("order_number", json!(format!("R{restaurant}-0001"))),
        ("number_range", json!("main")),
        ("number_reason", Value::Null),
        ("business_date", order["business_date"].clone()),
        ("daily_sequence", json!(1)),
        ("status", json!("pending")),
        ("created_at", order["created_at"].clone()),
        ("number_given_at", order["number_given_at"].clone()),
        ("updated_at", order["updated_at"].clone()),
        ("released_at", Value::Null),
        ("reopened_at", Value::Null),
        ("items", Value::Null),
        ("call_count", json!(0)),
        ("last_called_at", Value::Null),
        ("version", json!(1)),
    ] {
        expected[field] = value;
    }
    assert_eq!(order, expected);
    // Redis's clock and ours are the same machine's.
    let created = ms(&order["created_at"]);
    assert!((before - 50..=chrono::Utc::now().timestamp_millis() + 50).contains(&created));
    assert!(ms(&order["number_given_at"]) >= created && ms(&order["updated_at"]) == ms(&order["number_given_at"]));
    assert_eq!(answer.header("location"), Some(format!("/v1/orders/{}", id(&order)).as_str()));
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert_eq!(answer.header("idempotent-replayed"), None);

    let read = api.get(answer.header("location").expect("a place")).await;
    assert_eq!(read.ok(200), order);
    assert_eq!(read.header("etag"), Some("\"1\""));
}

#[tokio::test]
async fn the_body_and_all_of_its_fields_are_optional() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/orders");
    let fields = [
        "table_number",
        "order_source",
        "order_type",
        "external_id",
        "customer_name",
        "note",
        "metadata",
        "items",
        "released_at",
        "reopened_at",
        "last_called_at",
    ];
    let nulls: Value = fields[..8].iter().map(|field| ((*field).to_owned(), Value::Null)).collect();
    for (at, body) in
        [None, Some(Vec::new()), Some(b"{}".to_vec()), Some(nulls.to_string().into())].into_iter().enumerate()
    {
        let order = api.send("POST", &path, &[("content-type", b"application/json")], body).await.ok(201);
        assert_eq!(number(&order), at as u64 + 1);
        for field in fields {
            assert_eq!(order.get(field), Some(&Value::Null), "{field}");
        }
    }
    assert_eq!(number(&api.send("POST", &path, &[], None).await.ok(201)), 5, "no content type, as there is no content");
}

#[tokio::test]
async fn sources_and_types_are_those_of_existing_systems() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/orders");
    let sources = ["qr", "pos", "kiosk", "app", "web", "phone", "api"];
    let types = ["dine_in", "takeaway", "delivery", "drive_thru"];
    for (field, values) in [("order_source", &sources[..]), ("order_type", &types[..])] {
        for value in values {
            assert_eq!(api.create(restaurant, json!({ field: value })).await[field], *value);
        }
        for bad in ["", "Q R", "dine in", "fax", " pos"] {
            let faults = api.post(&path, json!({ field: bad })).await.faults(422, "invalid_body");
            assert_eq!(faults, [format!("/{field} invalid_value")], "{bad:?}");
        }
    }
    assert_eq!(api.live(restaurant).await.len(), sources.len() + types.len());
}

#[tokio::test]
async fn texts_are_as_long_as_documented_and_no_longer() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/orders");
    for (field, most) in [("table_number", 32), ("external_id", 128), ("customer_name", 128), ("note", 500)] {
        let longest = "é".repeat(most);
        assert_eq!(api.create(restaurant, json!({ field: longest })).await[field], longest);
        let faults = api.post(&path, json!({ field: "é".repeat(most + 1) })).await.faults(422, "invalid_body");
        assert_eq!(faults, [format!("/{field} too_long")]);
    }
    // {"k":"…"} is 8 bytes around the text.
    let metadata = json!({"k": "x".repeat(2048 - 8)});
    assert_eq!(metadata.to_string().len(), 2048);
    assert_eq!(api.create(restaurant, json!({"metadata": metadata})).await["metadata"], metadata);
    let faults = api.post(&path, json!({"metadata": {"k": "x".repeat(2048 - 7)}})).await.faults(422, "invalid_body");
    assert_eq!(faults, ["/metadata too_large"]);
    assert_eq!(api.live(restaurant).await.len(), 5);
}

#[tokio::test]
async fn restaurants_are_numbered_from_1_to_2_to_the_31st_minus_1() {
    let api = api().await;
    for good in [1, 2_147_483_647] {
        let order = api.create(good, json!({})).await;
        assert_eq!((number(&order), &order["restaurant_id"]), (1, &json!(good)));
        assert_eq!(api.order(id(&order)).await.ok(200), order);
    }
    for bad in ["0", "-1", "2147483648", "18446744073709551617", "1.5", "seven", "%00", "%F0%9F%8D%95", "1e3"] {
        for (method, path) in [
            ("POST", format!("/v1/restaurants/{bad}/orders")),
            ("GET", format!("/v1/restaurants/{bad}/orders")),
            ("GET", format!("/v1/restaurants/{bad}")),
            ("PUT", format!("/v1/restaurants/{bad}")),
            ("GET", format!("/v1/restaurants/{bad}/slots")),
            ("GET", format!("/v1/restaurants/{bad}/numbers/1")),
            ("GET", format!("/v1/restaurants/{bad}/search?q=1")),
            ("POST", format!("/v1/restaurants/{bad}/cleanup")),
        ] {
            let faults = api.send(method, &path, &[], None).await.faults(422, "invalid_parameter");
            assert_eq!(faults, ["/restaurant_id invalid_value"], "{method} {path}");
        }
    }
}

#[tokio::test]
async fn two_hundred_at_once_get_two_hundred_numbers() {
    let (api, restaurant) = (api().await, restaurant());
    let orders = futures_util::future::join_all((0..200).map(|_| api.create(restaurant, json!({})))).await;
    let numbers: BTreeSet<u64> = orders.iter().map(number).collect();
    assert_eq!(numbers, (1..=200).collect(), "a ring gives one after the other");
    let ids: BTreeSet<&str> = orders.iter().map(id).collect();
    assert_eq!(ids.len(), 200);
}
