//! `GET /v1/restaurants/{restaurant_id}/numbers/{number}`.

use serde_json::{Value, json};

use super::world::{api, left_redis, ms, restaurant, time};
use crate::support::Api;
use crate::support::api::{id, number};

async fn look(api: &Api, restaurant: u32, number: &str) -> Value {
    api.get(&format!("/v1/restaurants/{restaurant}/numbers/{number}")).await.ok(200)
}

#[tokio::test]
async fn a_number_tells_what_it_does_and_for_whom() {
    let (api, restaurant) = (api().await, restaurant());
    assert_eq!(
        look(&api, restaurant, "42").await,
        json!({"number": 42, "state": "free", "order": null}),
        "no settings yet"
    );
    api.configure(restaurant, json!({"min_number": 40, "max_number": 50, "blocked_numbers": [41]})).await;
    let live = api.create(restaurant, json!({})).await;
    let next = api.create(restaurant, json!({})).await;
    assert_eq!((number(&live), number(&next)), (40, 42));
    let done = api.release(id(&next), false).await.ok(200);
    for (written, report) in [
        ("40", json!({"number": 40, "state": "live", "order": live})),
        ("0040", json!({"number": 40, "state": "live", "order": live})),
        ("41", json!({"number": 41, "state": "blocked", "order": null})),
        ("42", json!({"number": 42, "state": "cooling", "order": done})),
        ("0042", json!({"number": 42, "state": "cooling", "order": done})),
        ("000000000000042", json!({"number": 42, "state": "cooling", "order": done})),
        ("%EF%BC%94%EF%BC%92", json!({"number": 42, "state": "cooling", "order": done})),
        ("%D9%A4%D9%A2", json!({"number": 42, "state": "cooling", "order": done})),
        ("%E0%A5%AA%E0%A5%A8", json!({"number": 42, "state": "cooling", "order": done})),
        ("%2342", json!({"number": 42, "state": "cooling", "order": done})),
        ("No.%2042", json!({"number": 42, "state": "cooling", "order": done})),
        ("42%20", json!({"number": 42, "state": "cooling", "order": done})),
        (&format!("R{restaurant}-0042"), json!({"number": 42, "state": "cooling", "order": done})),
        ("43", json!({"number": 43, "state": "free", "order": null})),
    ] {
        assert_eq!(look(&api, restaurant, written).await, report, "{written}");
    }
    api.release(id(&next), true).await.ok(200);
    assert_eq!(
        look(&api, restaurant, "42").await,
        json!({"number": 42, "state": "free", "order": done}),
        "had it last"
    );

    for outside in ["39", "51", "9999", "0", "0000", "-1", "-42", "1000000", "99999999999999999999999999"] {
        let answer = api.get(&format!("/v1/restaurants/{restaurant}/numbers/{outside}")).await;
        answer.problem(404, "number_out_of_range");
    }
    for bad in ["forty", "4.2", "4e1", "%00", "%ff", "B-42", "R1-0042", "-"] {
        let answer = api.get(&format!("/v1/restaurants/{restaurant}/numbers/{bad}")).await;
        assert_eq!(answer.faults(422, "invalid_parameter"), ["/number invalid_value"], "{bad}");
    }
}

#[tokio::test]
async fn a_number_that_is_held_outside_the_pool_is_retiring() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 5})).await;
    let orders = [api.create(restaurant, json!({})).await, api.create(restaurant, json!({})).await];
    api.configure(restaurant, json!({"min_number": 2, "max_number": 5, "blocked_numbers": [2]})).await;
    for order in &orders {
        let report = look(&api, restaurant, &number(order).to_string()).await;
        assert_eq!((&report["state"], &report["order"]), (&json!("retiring"), order));
    }
    for order in &orders {
        api.release(id(order), true).await.ok(200);
    }
    // 1 is outside the range now, and was not always; 2 is inside, and blocked.
    let last = api.get(&format!("/v1/orders/{}", id(&orders[0]))).await.ok(200);
    assert_eq!(look(&api, restaurant, "1").await, json!({"number": 1, "state": "outside", "order": last}));
    assert_eq!(look(&api, restaurant, "2").await["state"], "blocked");
}

#[tokio::test]
async fn at_tells_who_had_it_then() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 1, "cooldown_seconds": 600})).await;
    let mut had = Vec::new();
    for _ in 0..3 {
        let order = api.create(restaurant, json!({})).await;
        had.push(api.release(id(&order), true).await.ok(200));
        // The next one comes in another millisecond.
        let over = ms(&had[had.len() - 1]["released_at"]);
        crate::support::eventually_true(crate::support::PATIENCE, || async {
            chrono::Utc::now().timestamp_millis() > over + 5
        })
        .await;
    }
    let holder = api.create(restaurant, json!({})).await;
    let at = async |ms: i64| look(&api, restaurant, &format!("1?at={}", time(ms))).await;

    let start = ms(&had[0]["number_given_at"]);
    assert_eq!(at(start - 1).await, json!({"number": 1, "state": "free", "order": null}), "nobody yet");
    for order in &had {
        let (from, to) = (ms(&order["number_given_at"]), ms(&order["released_at"]));
        assert_eq!(at(from).await["order"], *order);
        if to > from {
            assert_eq!(at(to - 1).await, json!({"number": 1, "state": "live", "order": order}));
        }
        // A rest that was ended early counts as rest.
        assert_eq!(at(to).await, json!({"number": 1, "state": "cooling", "order": order}));
        assert_eq!(at(to + 1).await["order"], *order);
    }
    let now = ms(&holder["number_given_at"]);
    assert_eq!(at(now).await, json!({"number": 1, "state": "live", "order": holder}));
    assert_eq!(at(now + 86_400_000).await["order"], holder);

    // After the rest, the number was free, and still the last holder's.
    let done = api.release(id(&holder), false).await.ok(200);
    let released = ms(&done["released_at"]);
    assert_eq!(at(released + 599_999).await, json!({"number": 1, "state": "cooling", "order": done}));
    assert_eq!(at(released + 600_000).await, json!({"number": 1, "state": "free", "order": done}));

    // Any offset, and a `+` that was not encoded.
    let shifted = chrono::DateTime::from_timestamp_millis(ms(&had[1]["number_given_at"])).expect("a time");
    let shifted = shifted.with_timezone(&chrono::FixedOffset::east_opt(7200).expect("an offset"));
    let written = shifted.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    for written in [written.replace('+', "%2B"), written] {
        assert_eq!(look(&api, restaurant, &format!("1?at={written}")).await["order"], had[1], "{written}");
    }
    for bad in ["yesterday", "1700000000", "2026-13-01T00:00:00Z", "2026-01-01", "%00"] {
        let faults = api.get(&format!("/v1/restaurants/{restaurant}/numbers/1?at={bad}")).await;
        let faults = faults.faults(422, "invalid_parameter");
        assert!(faults.len() == 1 && faults[0].starts_with("/at "), "{bad}: {faults:?}");
    }
    for far in ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "1969-12-31T23:59:59Z"] {
        assert_eq!(look(&api, restaurant, &format!("1?at={far}")).await["number"], 1, "{far}");
    }
    let outside = api.get(&format!("/v1/restaurants/{restaurant}/numbers/2?at={}", time(now))).await;
    outside.problem(404, "number_out_of_range");

    // A range that begins elsewhere changes nothing of that.
    api.configure(restaurant, json!({"min_number": 500, "max_number": 600})).await;
    assert_eq!(at(ms(&had[1]["number_given_at"])).await["order"], had[1]);
    assert_eq!(at(start - 1).await, json!({"number": 1, "state": "free", "order": null}), "it had no holder yet");
    assert_eq!(look(&api, restaurant, "1").await["order"], done);
    let outside = api.get(&format!("/v1/restaurants/{restaurant}/numbers/2?at={}", time(now))).await;
    outside.problem(404, "number_out_of_range");
}

#[tokio::test]
async fn a_number_is_read_as_the_restaurant_shows_it_or_showed_it() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"min_number": 42, "format": "A-{n:03}"})).await;
    let before = api.create(restaurant, json!({})).await;
    for written in ["A-042", "a042", "A%2042", "%C3%A1-42", "%EF%BC%A1%EF%BC%94%EF%BC%92"] {
        assert_eq!(look(&api, restaurant, written).await["order"], before, "{written}");
    }
    let other = api.get(&format!("/v1/restaurants/{restaurant}/numbers/B-042")).await;
    assert_eq!(other.faults(422, "invalid_parameter"), ["/number invalid_value"]);
    // The guest still holds what was shown then.
    api.configure(restaurant, json!({"min_number": 100, "format": "B{n}"})).await;
    let after = api.create(restaurant, json!({})).await;
    assert_eq!(look(&api, restaurant, "b-100").await["order"], after);
    assert_eq!(look(&api, restaurant, "A-042").await["order"], before);
    let done = api.release(id(&before), true).await.ok(200);
    assert_eq!(look(&api, restaurant, "A-042").await, json!({"number": 42, "state": "outside", "order": done}));
    left_redis(&done).await;
    assert_eq!(look(&api, restaurant, "A-042").await, json!({"number": 42, "state": "outside", "order": done}));
}
