//! The `Idempotency-Key`.

use std::collections::BTreeSet;

use serde_json::json;

use super::world::{api, restaurant};
use crate::support::api::{id, number};

#[tokio::test]
async fn a_repeat_answers_with_the_order_as_it_now_stands() {
    let (api, restaurant) = (api().await, restaurant());
    let body = json!({"note": "x"});
    let first = api.create_with_key(restaurant, "k", &body).await;
    let order = first.ok(201);
    assert_eq!(first.header("idempotent-replayed"), None);

    let again = api.create_with_key(restaurant, "k", &body).await;
    assert_eq!(again.ok(201), order);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("location"), first.header("location"));

    let changed = api.patch(id(&order), json!({"status": "ready", "note": "y"})).await.ok(200);
    let again = api.create_with_key(restaurant, "k", &body).await;
    assert_eq!(again.ok(201), changed);
    assert_eq!(again.header("etag"), Some("\"2\""));

    let completed = api.release(id(&order), false).await.ok(200);
    let again = api.create_with_key(restaurant, "k", &body).await;
    assert_eq!(again.ok(201), completed);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));

    // Also when its number belongs to somebody else by now.
    api.release(id(&order), true).await.ok(200);
    api.configure(restaurant, json!({"policy": "lowest"})).await;
    assert_eq!(number(&api.create(restaurant, json!({})).await), number(&order));
    assert_eq!(api.create_with_key(restaurant, "k", &body).await.ok(201), completed);
    assert_eq!(api.live(restaurant).await.len(), 1);
}

#[tokio::test]
async fn a_hundred_parallel_repeats_make_one_order() {
    let (api, restaurant) = (api().await, restaurant());
    let body = json!({"customer_name": "Ana"});
    let repeats = (0..100).map(|_| api.create_with_key(restaurant, "the same key", &body));
    let answers = futures_util::future::join_all(repeats).await;
    let ids: BTreeSet<String> = answers.iter().map(|answer| id(&answer.ok(201)).to_owned()).collect();
    assert_eq!(ids.len(), 1);
    let new = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
    assert_eq!(new, 1, "one of them is told that it created the order");
    assert_eq!(api.live(restaurant).await.len(), 1);
    assert_eq!(api.slots(restaurant).await["live"], 1);
}

#[tokio::test]
async fn parallel_repeats_with_two_bodies_make_one_order_and_conflicts() {
    let (api, restaurant) = (api().await, restaurant());
    let bodies = [json!({"note": "a"}), json!({"note": "b"})];
    let answers =
        futures_util::future::join_all((0..40).map(|at| api.create_with_key(restaurant, "k", &bodies[at % 2]))).await;
    let winner = answers.iter().position(|answer| answer.status == 201).expect("one is first");
    let order = answers[winner].ok(201);
    for (at, answer) in answers.iter().enumerate() {
        if at % 2 == winner % 2 {
            assert_eq!(answer.ok(201), order);
        } else {
            assert_eq!(answer.problem(422, "idempotency_conflict")["internal_order_id"], order["internal_order_id"]);
        }
    }
    assert_eq!(api.live(restaurant).await, [order]);
}

#[tokio::test]
async fn bodies_are_compared_as_json() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/orders");
    let send = |key: &'static str, body: &'static str| {
        let headers: [(&str, &[u8]); 2] = [("content-type", b"application/json"), ("idempotency-key", key.as_bytes())];
        let (api, path) = (&api, &path);
        async move { api.send("POST", path, &headers, Some(body.into())).await }
    };
    let order = send("a", r#"{"note":"x","metadata":{"b":1,"a":{"d":[2],"c":3}}}"#).await.ok(201);
    let same =
        send("a", " { \"metadata\": {\"a\": {\"c\": 3, \"d\": [2]},\n \"b\": 1}, \"note\": \"\\u0078\" } ").await;
    assert_eq!((same.ok(201), same.header("idempotent-replayed")), (order.clone(), Some("true")));
    for other in [
        r#"{"note":"y","metadata":{"b":1,"a":{"d":[2],"c":3}}}"#,
        r#"{"note":"x","metadata":{"b":1,"a":{"d":[2],"c":4}}}"#,
        r#"{"note":"x"}"#,
        "{}",
        "",
    ] {
        let problem = send("a", other).await.problem(422, "idempotency_conflict");
        assert_eq!(problem["internal_order_id"], order["internal_order_id"], "{other}");
    }
    let empty = send("b", "").await.ok(201);
    assert_eq!(send("b", "{}").await.ok(201), empty, "an absent body is an empty object");
    let mut ids = [id(&order), id(&empty)];
    ids.sort_unstable();
    assert_eq!(api.live(restaurant).await.iter().map(id).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn only_successes_are_remembered() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/orders");
    let wrong = json!({"note": 7});
    api.create_with_key(restaurant, "k", &wrong).await.problem(422, "invalid_body");
    api.configure(restaurant, json!({"max_number": 1})).await;
    let holder = api.create(restaurant, json!({})).await;
    api.create_with_key(restaurant, "k", &json!({})).await.problem(409, "pool_exhausted");
    api.release(id(&holder), true).await.ok(200);
    let made = api.create_with_key(restaurant, "k", &json!({"note": "another body"})).await;
    assert_eq!((made.status, made.header("idempotent-replayed")), (201, None), "{}", made.text);
    // A repeat needs no number.
    assert_eq!(api.create_with_key(restaurant, "k", &json!({"note": "another body"})).await.ok(201), made.ok(201));
    api.post(&path, json!({})).await.problem(409, "pool_exhausted");
}

#[tokio::test]
async fn a_key_is_the_restaurants_own() {
    let (api, here, there) = (api().await, restaurant(), restaurant());
    let a = api.create_with_key(here, "k", &json!({"note": "a"})).await;
    let b = api.create_with_key(there, "k", &json!({"note": "b"})).await;
    assert_eq!((a.header("idempotent-replayed"), b.header("idempotent-replayed")), (None, None));
    assert_ne!(id(&a.ok(201)), id(&b.ok(201)));
    assert_eq!(api.create_with_key(there, "k", &json!({"note": "b"})).await.ok(201), b.ok(201));
}

#[tokio::test]
async fn keys_have_1_to_255_characters() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/orders");
    let longest = "k".repeat(255);
    let order = api.create_with_key(restaurant, &longest, &json!({})).await.ok(201);
    assert_eq!(api.create_with_key(restaurant, &longest, &json!({})).await.ok(201), order);
    // Another key, however much of it is the same.
    let other = api.create_with_key(restaurant, &longest[..254], &json!({})).await.ok(201);
    assert_ne!(id(&other), id(&order));
    let too_long = "k".repeat(256);
    for bad in [too_long.as_bytes(), b"", b"\xff\xfe", "ключ".as_bytes()] {
        api.send("POST", &path, &[("idempotency-key", bad)], None).await.problem(400, "invalid_idempotency_key");
    }
    let twice: [(&str, &[u8]); 2] = [("idempotency-key", b"a"), ("idempotency-key", b"b")];
    api.send("POST", &path, &twice, None).await.problem(400, "invalid_idempotency_key");
    assert_eq!(api.live(restaurant).await.len(), 2);
}
