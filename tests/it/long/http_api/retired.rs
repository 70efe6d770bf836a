//! Orders that have left Redis: the ledger answers for them as Redis did.

use serde_json::json;

use super::world::{api, left_redis, ms, restaurant, time};
use crate::support::api::{id, number};

/// One test, because it waits long: an order leaves Redis a while after it is durable.
#[tokio::test]
async fn the_ledger_answers_for_orders_that_left_redis() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"policy": "lowest", "format": "A-{n:03}"})).await;
    let body = json!({
        "table_number": "T5", "order_source": "web", "order_type": "delivery", "external_id": "X-1",
        "customer_name": "Ολυμπία", "note": "\"quoted\"", "metadata": {"deep": [{"a": 1.5}, null, "é", 12345678901234567u64]},
    });
    let live = api.create(restaurant, json!({"customer_name": "Olympia"})).await;
    let create = async |key: &str| api.create_with_key(restaurant, key, &body).await.ok(201);
    let resting = create("resting").await;
    let moved = create("moved").await;
    let freed = create("freed").await;
    let cancelled = create("cancelled").await;
    let resting = api.release(id(&resting), false).await.ok(200);
    let moved = api.release(id(&moved), true).await.ok(200);
    let next = api.create(restaurant, json!({"note": "took it over"})).await;
    assert_eq!(number(&next), number(&moved));
    let next = api.release(id(&next), true).await.ok(200);
    let freed = api.release(id(&freed), true).await.ok(200);
    api.patch(id(&cancelled), json!({"status": "ready"})).await.ok(200);
    let cancelled = api.patch(id(&cancelled), json!({"status": "cancelled", "note": null})).await.ok(200);
    let all = [&resting, &moved, &next, &freed, &cancelled];
    for order in all {
        left_redis(order).await;
    }

    for order in all {
        assert_eq!(api.order(id(order)).await.ok(200), *order, "to the letter");
        assert_eq!(api.get(&format!("/api/orders/lookup?internal_id={}", id(order))).await.ok(200), *order);
        let status = order["status"].clone();
        assert_eq!(api.patch(id(order), json!({"status": status})).await.ok(200), *order);
        api.patch(id(order), json!({"status": "ready"})).await.problem(409, "order_final");
        api.patch(id(order), json!({"note": "other"})).await.problem(409, "order_final");
        assert_eq!(api.release(id(order), false).await.ok(200), *order);
        let headers = [("if-match", "\"77\"")];
        let path = format!("/v1/orders/{}", id(order));
        api.json_with("PATCH", &path, &headers, &json!({"note": "x"})).await.problem(412, "version_mismatch");
    }
    // The key still stands for the order.
    let again = api.create_with_key(restaurant, "cancelled", &body).await;
    assert_eq!((again.ok(201), again.header("idempotent-replayed")), (cancelled.clone(), Some("true")));
    api.create_with_key(restaurant, "cancelled", &json!({})).await.problem(422, "idempotency_conflict");

    let look = async |number: u64, query: &str| {
        api.get(&format!("/v1/restaurants/{restaurant}/numbers/{number}{query}")).await.ok(200)
    };
    for (order, state) in [(&resting, "cooling"), (&next, "free"), (&cancelled, "cooling")] {
        let report = look(number(order), "").await;
        assert_eq!((&report["state"], &report["order"]), (&json!(state), order));
    }
    let then = time(ms(&moved["released_at"]) - 1);
    if ms(&moved["released_at"]) > ms(&moved["created_at"]) {
        let report = look(number(&moved), &format!("?at={then}")).await;
        assert_eq!((&report["state"], &report["order"]), (&json!("live"), &moved));
    }
    let before = time(ms(&resting["created_at"]) - 1);
    assert_eq!(look(number(&resting), &format!("?at={before}")).await["order"], json!(null));

    // Found by every kind of key, newest first, joined with what is live.
    let search = async |q: &str, more: &str| {
        let path = format!("/v1/restaurants/{restaurant}/search?q={q}&include_completed=true{more}");
        let found = api.get(&path).await.ok(200);
        found["orders"].as_array().expect("orders").iter().map(|order| id(order).to_owned()).collect::<Vec<_>>()
    };
    let mut named: Vec<String> =
        [&resting, &moved, &freed, &cancelled].iter().map(|order| id(order).to_owned()).collect();
    named.sort_by(|a, b| b.cmp(a));
    for q in ["T5", "t5", "x-1", "%CE%BB%CF%85%CE%BC", "%CE%9F%CE%9B%CE%A5"] {
        assert_eq!(search(q, "").await, named, "{q}");
    }
    assert_eq!(search("T5", "&limit=2").await, named[..2]);
    assert_eq!(search("T5", &format!("&limit=2&cursor={}", named[1])).await, named[2..]);
    assert_eq!(search(id(&resting), "").await, [id(&resting)]);
    for shown in [format!("R{restaurant}-0005"), "a-005".into(), "5".into(), "0005".into()] {
        assert_eq!(search(&shown, "").await, [id(&cancelled)], "{shown}");
    }
    assert_eq!(search("olymp", "").await, [id(&live)]);

    // The number of the former holder has moved on; a rest can still be ended early.
    api.release(id(&moved), true).await.problem(409, "number_moved_on");
    assert_eq!(api.release(id(&resting), true).await.ok(200), resting);
    assert_eq!(look(number(&resting), "").await["state"], "free");
    assert_eq!(api.release(id(&resting), true).await.ok(200), resting, "again");
    api.slots(restaurant).await;
}
