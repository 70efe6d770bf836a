//! The older system's endpoints.

use serde_json::json;

use super::world::{api, restaurant};
use crate::support::api::{id, numbers};

#[tokio::test]
async fn lookup_finds_by_number_and_by_id() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"min_number": 42})).await;
    let order = api.create(restaurant, json!({"note": "x"})).await;
    let by_number = async |number: &str| {
        api.get(&format!("/api/orders/lookup?restaurant_id={restaurant}&display_number={number}")).await
    };
    for written in ["0042", "42", "00042", "%2342", "%EF%BC%94%EF%BC%92", "No.%2042", &format!("R{restaurant}-42")] {
        assert_eq!(by_number(written).await.ok(200), order, "{written}");
    }
    let by_id = api.get(&format!("/api/orders/lookup?internal_id={}", id(&order))).await;
    assert_eq!((by_id.ok(200), by_id.header("etag")), (order.clone(), Some("\"1\"")));

    let done = api.release(id(&order), false).await.ok(200);
    assert_eq!(by_number("0042").await.ok(200), done, "had it last");
    let next = api.create(restaurant, json!({})).await;
    assert_eq!(by_number("0043").await.ok(200), next);

    by_number("0044").await.problem(404, "order_not_found");
    by_number("0041").await.problem(404, "number_out_of_range");
    let nobody = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    api.get(&format!("/api/orders/lookup?internal_id={nobody}")).await.problem(404, "order_not_found");
    for (query, faults) in [
        (String::new(), vec!["/display_number missing", "/restaurant_id missing"]),
        (format!("restaurant_id={restaurant}"), vec!["/display_number missing"]),
        ("display_number=1".into(), vec!["/restaurant_id missing"]),
        (
            "restaurant_id=0&display_number=x".into(),
            vec!["/display_number invalid_value", "/restaurant_id invalid_value"],
        ),
        (
            "restaurant_id=-7&display_number=-1".into(),
            vec!["/display_number invalid_value", "/restaurant_id invalid_value"],
        ),
        ("internal_id=42".into(), vec!["/internal_id invalid_value"]),
        (format!("internal_id={nobody}&display_number=1"), vec!["/internal_id invalid_value"]),
        (format!("internal_id={nobody}&x=1"), vec!["/x unknown_parameter"]),
    ] {
        let answer = api.get(&format!("/api/orders/lookup?{query}")).await;
        assert_eq!(answer.faults(422, "invalid_parameter"), faults, "{query}");
    }
}

#[tokio::test]
async fn search_is_the_same_search() {
    let (api, restaurant) = (api().await, restaurant());
    for name in ["Ana", "Anabel", "Bob", "Banana"] {
        api.create(restaurant, json!({"customer_name": name})).await;
    }
    let all = api.live(restaurant).await;
    api.release(id(&all[0]), false).await.ok(200);
    let search = async |query: &str| {
        let found = api.get(&format!("/api/orders/search?restaurant_id={restaurant}&{query}")).await.ok(200);
        assert_eq!(found.as_object().map(|found| found.keys().map(String::as_str).collect()), Some(vec!["orders"]));
        numbers(found["orders"].as_array().expect("orders"))
    };
    assert_eq!(search("q=ana").await, [4, 2]);
    assert_eq!(search("q=ana&include_completed=true").await, [4, 2, 1]);
    assert_eq!(search("q=ana&include_completed=1&limit=2").await, [4, 2]);
    assert_eq!(search("q=0003").await, [3]);
    let answer = api.get("/api/orders/search?limit=0&include_completed=maybe").await;
    assert_eq!(
        answer.faults(422, "invalid_parameter"),
        ["/include_completed invalid_value", "/limit out_of_range", "/q missing", "/restaurant_id missing"]
    );
}
