//! `GET` and `PUT /v1/restaurants/{restaurant_id}`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::world::{api, restaurant};
use crate::support::api::{id, number, text};
use crate::support::{PATIENCE, eventually_true};

fn defaults() -> Value {
    json!({
        "min_number": 1, "max_number": 9999, "policy": "sequential", "cooldown_seconds": 14_400,
        "active_window_seconds": 86_400, "blocked_numbers": [], "format": "{n:04}", "ranges": [], "time_zone": "UTC",
        "business_day": {"starts_at": "00:00", "reset": "none", "first_number": null},
        "cooldown_min_seconds": null, "avoid": [], "served_seconds": 0, "max_calls": 3, "name": null, "languages": ["en"],
        "accent_colour": null, "background_colour": null,
    })
}

#[tokio::test]
async fn put_replaces_and_missing_fields_take_their_defaults() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}");
    assert_eq!(api.get(&path).await.ok(200), defaults(), "before anybody asked for an order");
    let full = json!({
        "min_number": 100, "max_number": 999_999, "policy": "random", "cooldown_seconds": 0, "active_window_seconds": 60,
        "blocked_numbers": [13, 666, 777], "format": "№{n:06}!", "time_zone": "Australia/Lord_Howe",
        "business_day": {"starts_at": "04:30", "reset": "daily", "first_number": 500},
        "cooldown_min_seconds": 0, "avoid": ["teen_ty", "swapped"], "served_seconds": 600, "max_calls": 0,
        "name": "Café Ω", "languages": ["pt-BR", "en"], "accent_colour": "#c81e1e", "background_colour": "#00000f",
        "ranges": [{
            "id": "kiosk", "min_number": 1, "max_number": 99, "policy": "lowest", "format": "K{n:02}", "overflow": true,
            "match": {"order_type": ["takeaway"], "order_source": ["kiosk", "app"]},
        }],
    });
    assert_eq!(api.configure(restaurant, full.clone()).await, full);
    assert_eq!(api.get(&path).await.ok(200), full);
    let mut partly = defaults();
    partly["max_number"] = json!(500);
    assert_eq!(api.configure(restaurant, json!({"max_number": 500})).await, partly);
    assert_eq!(api.get(&path).await.ok(200), partly);
    assert_eq!(api.configure(restaurant, json!({})).await, defaults());
    let spelt = api.configure(restaurant, json!({"languages": ["PT-br"], "accent_colour": "#C81E1E"})).await;
    assert_eq!((&spelt["languages"], &spelt["accent_colour"]), (&json!(["pt-BR"]), &json!("#c81e1e")));
    let unordered = api.configure(restaurant, json!({"blocked_numbers": [666, 13, 13]})).await;
    assert_eq!(unordered["blocked_numbers"], json!([13, 666]));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_and_change_nothing() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}");
    let before = api.configure(restaurant, json!({"max_number": 77})).await;
    for (bad, faults) in [
        (json!({"min_number": 0}), vec!["/min_number out_of_range"]),
        (json!({"min_number": -5}), vec!["/min_number out_of_range"]),
        (json!({"max_number": 1_000_000}), vec!["/max_number out_of_range"]),
        (json!({"max_number": 1e300}), vec!["/max_number out_of_range"]),
        (json!({"max_number": 99.5}), vec!["/max_number wrong_type"]),
        (json!({"max_number": "9999"}), vec!["/max_number wrong_type"]),
        (json!({"min_number": 10, "max_number": 9}), vec![" invalid_value"]),
        (json!({"min_number": 13, "max_number": 13, "blocked_numbers": [13]}), vec![" invalid_value"]),
        (json!({"policy": "fastest"}), vec!["/policy invalid_value"]),
        (json!({"policy": null}), vec!["/policy wrong_type"]),
        (json!({"cooldown_seconds": 2_592_001}), vec!["/cooldown_seconds out_of_range"]),
        (json!({"cooldown_seconds": -1}), vec!["/cooldown_seconds out_of_range"]),
        (json!({"active_window_seconds": 59}), vec!["/active_window_seconds out_of_range"]),
        (json!({"blocked_numbers": [0]}), vec!["/blocked_numbers/0 out_of_range"]),
        (json!({"blocked_numbers": [1, "2", true]}), vec!["/blocked_numbers/2 wrong_type"]),
        (json!({"blocked_numbers": 13}), vec!["/blocked_numbers wrong_type"]),
        (json!({"format": "42"}), vec!["/format invalid_value"]),
        (json!({"format": "{n}{n}"}), vec!["/format invalid_value"]),
        (json!({"format": "a\u{0}{n}"}), vec!["/format invalid_value"]),
        (json!({"max_numbr": 5}), vec!["/max_numbr unknown_field"]),
        (json!({"time_zone": "Europe/Berln"}), vec!["/time_zone invalid_value"]),
        (json!({"time_zone": 1}), vec!["/time_zone wrong_type"]),
        (json!({"business_day": {"starts_at": "4:00"}}), vec!["/business_day/starts_at invalid_value"]),
        (json!({"business_day": {"starts_at": "12:01"}}), vec!["/business_day/starts_at invalid_value"]),
        (json!({"business_day": {"reset": "weekly"}}), vec!["/business_day/reset invalid_value"]),
        (json!({"business_day": {"end": "04:00"}}), vec!["/business_day/end unknown_field"]),
        (json!({"served_seconds": 2_592_001}), vec!["/served_seconds out_of_range"]),
        (json!({"served_seconds": -1}), vec!["/served_seconds out_of_range"]),
        (json!({"max_calls": 1001}), vec!["/max_calls out_of_range"]),
        (json!({"name": "x".repeat(81)}), vec!["/name too_long"]),
        (json!({"name": " "}), vec!["/name invalid_value"]),
        (json!({"name": "a\0"}), vec!["/name nul_character"]),
        (json!({"languages": []}), vec!["/languages invalid_value"]),
        (json!({"languages": ["en", "de", "fr", "it", "es"]}), vec!["/languages too_long"]),
        (json!({"languages": ["de", "DE"]}), vec!["/languages invalid_value"]),
        (json!({"languages": ["en", "english"]}), vec!["/languages/1 invalid_value"]),
        (json!({"languages": "en"}), vec!["/languages wrong_type"]),
        (json!({"accent_colour": "red"}), vec!["/accent_colour invalid_value"]),
        (json!({"background_colour": "#12345"}), vec!["/background_colour invalid_value"]),
        (json!({"background_colour": 0}), vec!["/background_colour wrong_type"]),
        (json!({"business_day": "04:00"}), vec!["/business_day wrong_type"]),
        (json!({"max_number": 50, "business_day": {"first_number": 51}}), vec![" invalid_value"]),
        (
            json!({"min_number": 0, "policy": 7, "format": "", "x": 1, "active_window_seconds": 1}),
            vec![
                "/active_window_seconds out_of_range",
                "/format invalid_value",
                "/min_number out_of_range",
                "/policy wrong_type",
                "/x unknown_field",
            ],
        ),
    ] {
        let found = api.put(&path, bad.clone()).await.faults(422, "invalid_body");
        assert_eq!(found, faults, "{bad}");
    }
    api.send("PUT", &path, &[], None).await.problem(400, "malformed_json");
    for no_object in [json!([]), json!(null), json!("x"), json!(7)] {
        assert_eq!(api.put(&path, no_object).await.faults(422, "invalid_body"), [" wrong_type"]);
    }
    assert_eq!(api.get(&path).await.ok(200), before);
}

#[tokio::test]
async fn a_smaller_range_lets_live_orders_be_and_retires_their_numbers() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 10, "cooldown_seconds": 1})).await;
    let mut orders = Vec::new();
    for _ in 0..10 {
        orders.push(api.create(restaurant, json!({})).await);
    }
    let before = api.live(restaurant).await;
    api.configure(restaurant, json!({"max_number": 6, "blocked_numbers": [2], "cooldown_seconds": 1})).await;
    let slots = api.slots(restaurant).await;
    for (state, count) in [("capacity", 5), ("live", 5), ("free", 0), ("blocked", 1), ("retiring", 5), ("reserved", 0)]
    {
        assert_eq!(slots[state], count, "{state} in {slots}");
    }
    assert_eq!(api.live(restaurant).await, before, "nobody was disturbed");
    api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await.problem(409, "pool_exhausted");

    // They rest like others, and then they are gone.
    for order in &orders {
        let done = api.release(id(order), false).await.ok(200);
        assert_eq!(done["display_number_formatted"], order["display_number_formatted"]);
    }
    eventually_true(PATIENCE, || async {
        let slots = api.slots(restaurant).await;
        assert_eq!(slots["live"], 0, "{slots}");
        slots["retiring"] == 0 && slots["free"] == 5
    })
    .await;
    let again: BTreeSet<u64> = futures_util::future::join_all((0..5).map(|_| api.create(restaurant, json!({}))))
        .await
        .iter()
        .map(number)
        .collect();
    assert_eq!(again, BTreeSet::from([1, 3, 4, 5, 6]), "none of those that retired");
    api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await.problem(409, "pool_exhausted");

    // A wider range takes the retired numbers back.
    api.configure(restaurant, json!({"max_number": 10})).await;
    let slots = api.slots(restaurant).await;
    assert_eq!((&slots["capacity"], &slots["live"], &slots["free"]), (&json!(10), &json!(5), &json!(5)));
}

#[tokio::test]
async fn blocked_numbers_are_never_given_under_any_policy() {
    let api = api().await;
    for policy in ["sequential", "lowest", "random"] {
        let restaurant = restaurant();
        let blocked = [1, 13, 14, 30];
        api.configure(
            restaurant,
            json!({"max_number": 30, "policy": policy, "blocked_numbers": blocked, "cooldown_seconds": 0}),
        )
        .await;
        for round in 0..3 {
            let orders = futures_util::future::join_all((0..26).map(|_| api.create(restaurant, json!({})))).await;
            let given: BTreeSet<u64> = orders.iter().map(number).collect();
            assert_eq!(given, (1..=30).filter(|n| !blocked.contains(n)).collect(), "{policy}, round {round}");
            api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await.problem(409, "pool_exhausted");
            for order in &orders {
                api.release(id(order), false).await.ok(200);
            }
        }
        assert_eq!(api.slots(restaurant).await["blocked"], 4);
    }
}

#[tokio::test]
async fn a_format_holds_for_new_orders_only() {
    let (api, restaurant) = (api().await, restaurant());
    let first = api.create(restaurant, json!({})).await;
    api.configure(restaurant, json!({"format": "A-{n:03}"})).await;
    let second = api.create(restaurant, json!({})).await;
    api.configure(restaurant, json!({"format": "{n}"})).await;
    let third = api.create(restaurant, json!({})).await;
    let shown = |order: &Value| text(order, "display_number_formatted").to_owned();
    assert_eq!([&first, &second, &third].map(shown), ["0001", "A-002", "3"]);
    assert_eq!(text(&second, "order_number"), format!("R{restaurant}-0002"), "the legacy field has a form of its own");
    // What was shown once stays with the order for ever.
    for order in [&first, &second, &third] {
        assert_eq!(api.order(id(order)).await.ok(200), *order);
        let changed = api.patch(id(order), json!({"note": "x"})).await.ok(200);
        assert_eq!(shown(&changed), shown(order));
        assert_eq!(shown(&api.release(id(order), false).await.ok(200)), shown(order));
    }
}

#[tokio::test]
async fn a_policy_holds_for_numbers_given_from_then_on() {
    let (api, restaurant) = (api().await, restaurant());
    let next = async || number(&api.create(restaurant, json!({})).await);
    let set = async |policy: &str| {
        api.configure(restaurant, json!({"policy": policy, "max_number": 20, "cooldown_seconds": 0})).await;
    };
    set("sequential").await;
    assert_eq!([next().await, next().await, next().await], [1, 2, 3]);
    for order in api.live(restaurant).await {
        api.release(id(&order), false).await.ok(200);
    }
    assert_eq!([next().await, next().await], [4, 5], "a ring goes on");
    set("lowest").await;
    assert_eq!([next().await, next().await, next().await, next().await], [1, 2, 3, 6]);
    set("random").await;
    let mut drawn = Vec::new();
    for _ in 0..14 {
        drawn.push(next().await);
    }
    assert_eq!(drawn.iter().copied().collect::<BTreeSet<_>>(), (7..=20).collect(), "each of the rest, once");
    assert!(!drawn.is_sorted(), "one in 87 billion draws is sorted: {drawn:?}");
    api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await.problem(409, "pool_exhausted");
}

#[tokio::test]
async fn a_cooldown_holds_for_numbers_given_from_then_on() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"cooldown_seconds": 600})).await;
    let before = api.create(restaurant, json!({})).await;
    api.configure(restaurant, json!({"cooldown_seconds": 0})).await;
    let after = api.create(restaurant, json!({})).await;
    for (order, state) in [(&before, "cooling"), (&after, "free")] {
        api.release(id(order), false).await.ok(200);
        let report = api.get(&format!("/v1/restaurants/{restaurant}/numbers/{}", number(order))).await.ok(200);
        assert_eq!(report["state"], state, "{report}");
    }
}
