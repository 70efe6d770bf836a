//! Ranges of a restaurant's pool, what they show, and numbers that are asked for.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::world::{api, findings, left_redis, ms, restaurant};
use crate::support::api::{Answer, id, number, text};
use crate::support::{Api, PATIENCE, eventually_true};

/// A main range for the tables, one for deliveries that shows its own small figures, and one for apps that overflows.
fn settings() -> Value {
    json!({
        "max_number": 499, "format": "A{n:02}", "cooldown_seconds": 600, "ranges": [
            {"id": "delivery", "min_number": 501, "max_number": 503, "format": "D{n-500:02}",
             "match": {"order_type": ["delivery"]}},
            {"id": "app", "min_number": 601, "max_number": 602, "format": "P{n-600:02}", "policy": "lowest",
             "match": {"order_source": ["app", "web"], "order_type": []}, "overflow": true},
        ],
    })
}

fn delivery() -> Value {
    json!({"order_type": "delivery"})
}

fn by_app() -> Value {
    json!({"order_source": "app", "order_type": "takeaway"})
}

fn shown(order: &Value) -> (&str, &str) {
    (text(order, "display_number_formatted"), text(order, "number_range"))
}

async fn ask(api: &Api, restaurant: u32, body: Value) -> Answer {
    api.post(&format!("/v1/restaurants/{restaurant}/orders"), body).await
}

async fn assert_sound(restaurant: u32) {
    eventually_true(PATIENCE, || async {
        let (behind, findings) = findings(restaurant).await;
        assert!(behind > 0 || findings.is_empty(), "{findings:?}");
        behind == 0
    })
    .await;
}

#[tokio::test]
async fn the_first_range_that_matches_gives_the_number() {
    let (api, restaurant) = (api().await, restaurant());
    assert_eq!(api.configure(restaurant, settings()).await["ranges"][0]["id"], "delivery");
    for (body, expected) in [
        (json!({}), ("A01", "main")),
        (delivery(), ("D01", "delivery")),
        (json!({"order_type": "delivery", "order_source": "app"}), ("D02", "delivery")),
        (by_app(), ("P01", "app")),
        (json!({"order_source": "web"}), ("P02", "app")),
        (json!({"order_source": "pos"}), ("A02", "main")),
        // The one for apps has nothing left, and overflows.
        (by_app(), ("A03", "main")),
        (delivery(), ("D03", "delivery")),
    ] {
        let order = api.create(restaurant, body.clone()).await;
        assert_eq!(shown(&order), expected, "{body}");
        assert_eq!(order["number_reason"], Value::Null);
        assert_eq!(api.order(id(&order)).await.ok(200), order);
    }
    // The one for deliveries does not.
    let problem = ask(&api, restaurant, delivery()).await.problem(409, "pool_exhausted");
    assert_eq!((&problem["range"], &problem["next_free_at"]), (&json!("delivery"), &Value::Null));
    assert_sound(restaurant).await;
}

#[tokio::test]
async fn an_exhausted_range_says_when_its_own_next_number_is_free() {
    let (api, restaurant) = (api().await, restaurant());
    let mut few = settings();
    (few["max_number"], few["cooldown_seconds"]) = (json!(2), json!(300));
    api.configure(restaurant, few.clone()).await;
    let mut tables = Vec::new();
    for _ in 0..2 {
        tables.push(api.create(restaurant, json!({})).await);
    }
    let mut apps = Vec::new();
    for _ in 0..2 {
        apps.push(api.create(restaurant, by_app()).await);
    }
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        deliveries.push(api.create(restaurant, delivery()).await);
    }
    let rest = async |order: &Value| ms(&api.release(id(order), false).await.ok(200)["released_at"]) + 300_000;
    let of_delivery = rest(&deliveries[1]).await;
    let refused = async |body: Value| {
        let problem = ask(&api, restaurant, body).await.problem(409, "pool_exhausted");
        (text(&problem, "range").to_owned(), problem["next_free_at"].as_str().map(|_| ms(&problem["next_free_at"])))
    };
    assert_eq!(refused(delivery()).await, ("delivery".to_owned(), Some(of_delivery)));
    assert_eq!(refused(json!({})).await, ("main".to_owned(), None), "none of its own rests");
    assert_eq!(refused(by_app()).await, ("app".to_owned(), None));
    let of_main = rest(&tables[0]).await;
    assert_eq!(refused(json!({})).await, ("main".to_owned(), Some(of_main)));
    assert_eq!(refused(by_app()).await, ("app".to_owned(), Some(of_main)), "it overflows into the main one");
    rest(&apps[0]).await;
    assert_eq!(refused(by_app()).await, ("app".to_owned(), Some(of_main)), "whichever is first");
}

#[tokio::test]
async fn what_is_shown_leads_to_the_order_of_its_range() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, settings()).await;
    let table = api.create(restaurant, json!({})).await;
    let delivered = api.create(restaurant, delivery()).await;
    let look = async |written: &str| api.get(&format!("/v1/restaurants/{restaurant}/numbers/{written}")).await;
    let search = async |q: &str| {
        let path = format!("/v1/restaurants/{restaurant}/search?include_completed=true&q={q}");
        let found = api.get(&path).await.ok(200);
        found["orders"].as_array().expect("orders").iter().map(|order| id(order).to_owned()).collect::<Vec<_>>()
    };
    let check = async |when: &str| {
        for (written, number, order) in [
            ("A01", 1, &table),
            ("D01", 501, &delivered),
            ("d%201", 501, &delivered),
            // The bare number leads to itself, whatever it is shown as.
            ("1", 1, &table),
            ("501", 501, &delivered),
        ] {
            let report = look(written).await.ok(200);
            assert_eq!((&report["number"], id(&report["order"])), (&json!(number), id(order)), "{written} {when}");
            let path = format!("/api/orders/lookup?restaurant_id={restaurant}&display_number={written}");
            assert_eq!(id(&api.get(&path).await.ok(200)), id(order), "{written} {when}");
            assert_eq!(search(written).await, [id(order)], "{written} {when}");
        }
        assert_eq!(look("D99").await.faults(422, "invalid_parameter"), ["/number invalid_value"]);
        assert!(search("D02").await.is_empty());
    };
    check("while both are live").await;
    for order in [&table, &delivered] {
        api.release(id(order), false).await.ok(200);
        left_redis(order).await;
    }
    check("when only the ledger has them").await;
    // What was shown stays with the order when the range is gone.
    api.configure(restaurant, json!({"max_number": 499, "format": "B{n}"})).await;
    check("after the range was dropped").await;
}

#[tokio::test]
async fn figures_that_are_shown_without_letters_are_looked_up_where_no_number_is_meant() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"min_number": 101, "max_number": 199, "format": "{n-100:02}"})).await;
    let order = api.create(restaurant, json!({})).await;
    assert_eq!((number(&order), shown(&order)), (101, ("01", "main")));
    let path = format!("/api/orders/lookup?restaurant_id={restaurant}&display_number=01");
    assert_eq!(api.get(&path).await.ok(200), order);
    let found = api.get(&format!("/v1/restaurants/{restaurant}/search?q=1")).await.ok(200);
    assert_eq!(found["orders"], json!([order]));
    let path = format!("/v1/restaurants/{restaurant}/numbers/1");
    api.get(&path).await.problem(404, "number_out_of_range");
}

#[tokio::test]
async fn a_number_that_is_asked_for_is_given_or_nothing_is() {
    let (api, restaurant) = (api().await, restaurant());
    let mut blocked = settings();
    blocked["blocked_numbers"] = json!([13]);
    api.configure(restaurant, blocked).await;
    let order = api.create(restaurant, json!({"requested_number": 42, "note": "flag"})).await;
    assert_eq!((number(&order), shown(&order), &order["number_reason"]), (42, ("A42", "main"), &json!("requested")));
    // Of whichever range, whatever the order is.
    let order = api.create(restaurant, json!({"requested_number": "0502"})).await;
    assert_eq!((shown(&order), &order["number_reason"]), (("D02", "delivery"), &json!("requested")));
    // The rings go on where they were.
    assert_eq!(number(&api.create(restaurant, json!({})).await), 1);
    assert_eq!(number(&api.create(restaurant, delivery()).await), 501);
    assert_eq!(number(&api.create(restaurant, delivery()).await), 503);

    let taken = async |number: u32| {
        let answer = ask(&api, restaurant, json!({"requested_number": number})).await;
        let problem = answer.problem(409, "number_taken");
        (text(&problem, "state").to_owned(), problem["holder"].clone())
    };
    let holder = json!({"internal_order_id": id(&order), "display_number_formatted": "D02"});
    assert_eq!(taken(502).await, ("live".to_owned(), holder.clone()));
    api.release(id(&order), false).await.ok(200);
    assert_eq!(taken(502).await, ("cooling".to_owned(), holder));
    assert_eq!(taken(13).await, ("blocked".to_owned(), Value::Null));
    assert_eq!(taken(500).await, ("outside".to_owned(), Value::Null));
    assert_eq!(taken(999_999).await, ("outside".to_owned(), Value::Null));
    api.release(id(&order), true).await.ok(200);
    assert_eq!(number(&api.create(restaurant, json!({"requested_number": 502})).await), 502);
    for bad in [json!(0), json!(1_000_000), json!("D02"), json!(1.5), json!([1])] {
        let faults = ask(&api, restaurant, json!({"requested_number": bad})).await.faults(422, "invalid_body");
        assert!(faults[0].starts_with("/requested_number "), "{faults:?}");
    }
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.contains("nowserving_allocations_total{outcome=\"taken\"}"), "they are counted");
    assert_sound(restaurant).await;
}

#[tokio::test]
async fn a_number_whose_rest_is_over_may_be_asked_for() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 9, "cooldown_seconds": 1})).await;
    let order = api.create(restaurant, json!({"requested_number": 5})).await;
    api.release(id(&order), false).await.ok(200);
    eventually_true(PATIENCE, || async {
        let answer = ask(&api, restaurant, json!({"requested_number": 5})).await;
        answer.status == 201 || answer.problem(409, "number_taken")["state"] == "live"
    })
    .await;
    assert_eq!(api.slots(restaurant).await["live"], 1);
    assert_sound(restaurant).await;
}

#[tokio::test]
async fn a_repeat_that_asks_for_a_number_answers_with_the_first_order() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, settings()).await;
    let body = json!({"requested_number": 42});
    let first = api.create_with_key(restaurant, "flag", &body).await.ok(201);
    for same in [body, json!({"requested_number": "0042"})] {
        let again = api.create_with_key(restaurant, "flag", &same).await;
        assert_eq!((again.ok(201), again.header("idempotent-replayed")), (first.clone(), Some("true")));
    }
    for other in [json!({"requested_number": 43}), json!({})] {
        api.create_with_key(restaurant, "flag", &other).await.problem(422, "idempotency_conflict");
    }
    // A refusal is not remembered.
    let wish = json!({"requested_number": 42, "note": "another"});
    api.create_with_key(restaurant, "next", &wish).await.problem(409, "number_taken");
    api.release(id(&first), true).await.ok(200);
    assert_eq!(number(&api.create_with_key(restaurant, "next", &wish).await.ok(201)), 42);
}

#[tokio::test]
async fn of_many_that_ask_for_one_number_one_gets_it() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, settings()).await;
    let answers = join_all((0..40).map(|_| ask(&api, restaurant, json!({"requested_number": 7})))).await;
    let (given, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!(given.len(), 1);
    let order = given[0].ok(201);
    for answer in refused {
        assert_eq!(answer.problem(409, "number_taken")["holder"]["internal_order_id"], order["internal_order_id"]);
    }
    assert_sound(restaurant).await;
}

#[tokio::test]
async fn slots_count_by_range() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 499})).await;
    assert_eq!(api.slots(restaurant).await.get("ranges"), None, "there is the main one alone");
    let mut blocked = settings();
    blocked["blocked_numbers"] = json!(["1-99", 502]);
    api.configure(restaurant, blocked).await;
    let check = async |expected: [(&str, u64, u64, u64, u64); 3]| {
        let slots = api.slots(restaurant).await;
        let ranges = slots["ranges"].as_array().expect("ranges");
        let of = |range: &Value, name: &str| range[name].as_u64().expect("a count");
        for (range, (id, capacity, free, live, cooling)) in ranges.iter().zip(expected) {
            assert_eq!(range["id"], id);
            let found = ["capacity", "free", "live", "cooling"].map(|name| of(range, name));
            assert_eq!(found, [capacity, free, live, cooling], "{range}");
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let utilization = 1.0 - free as f64 / capacity as f64;
            assert!((range["utilization"].as_f64().expect("a number") - utilization).abs() < 1e-9, "{range}");
        }
        for name in ["capacity", "free", "live", "cooling"] {
            assert_eq!(ranges.iter().map(|range| of(range, name)).sum::<u64>(), of(&slots, name), "{name} in {slots}");
        }
    };
    check([("main", 400, 400, 0, 0), ("delivery", 2, 2, 0, 0), ("app", 2, 2, 0, 0)]).await;
    let table = api.create(restaurant, json!({})).await;
    let delivered = [api.create(restaurant, delivery()).await, api.create(restaurant, delivery()).await];
    api.create(restaurant, by_app()).await;
    check([("main", 400, 399, 1, 0), ("delivery", 2, 0, 2, 0), ("app", 2, 1, 1, 0)]).await;
    api.release(id(&delivered[0]), false).await.ok(200);
    api.release(id(&table), true).await.ok(200);
    check([("main", 400, 400, 0, 0), ("delivery", 2, 0, 1, 1), ("app", 2, 1, 1, 0)]).await;
    // Where more runs are free than orders live, those are counted.
    let flags = [110, 120, 130, 140, 150, 160].map(|number| json!({"requested_number": number}));
    let flags = join_all(flags.into_iter().map(|body| api.create(restaurant, body))).await;
    for order in &flags[..5] {
        api.release(id(order), false).await.ok(200);
    }
    check([("main", 400, 394, 1, 5), ("delivery", 2, 0, 1, 1), ("app", 2, 1, 1, 0)]).await;
    // Retiring ones are counted nowhere.
    let mut smaller = settings();
    smaller["blocked_numbers"] = json!(["1-99", 502, 160, 150, 501]);
    smaller["ranges"][1]["max_number"] = json!(601);
    api.configure(restaurant, smaller).await;
    check([("main", 398, 394, 0, 4), ("delivery", 1, 0, 1, 0), ("app", 1, 0, 1, 0)]).await;
    let usage = api.get(&format!("/v1/restaurants/{restaurant}/usage")).await.ok(200);
    assert_eq!(usage["present"]["ranges"], api.slots(restaurant).await["ranges"]);
    assert_sound(restaurant).await;
}

#[tokio::test]
async fn ranges_that_do_not_go_together_are_refused_and_change_nothing() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}");
    let before = api.configure(restaurant, settings()).await;
    let range = |id: &str, min: u32, max: u32, format: &str| json!({"id": id, "min_number": min, "max_number": max, "format": format});
    for (ranges, fault) in [
        (json!([range("a", 400, 600, "{n}")]), "/ranges/0 overlap"),
        (json!([range("a", 600, 700, "{n}"), range("b", 700, 700, "{n}")]), "/ranges/1 overlap"),
        (json!([range("a", 700, 600, "{n}")]), "/ranges/0/max_number out_of_range"),
        (json!([range("a", 600, 600, "{n}"), range("a", 700, 700, "{n}")]), "/ranges/1/id duplicate"),
        (json!([range("A", 600, 600, "{n}")]), "/ranges/0/id invalid_value"),
        (json!([range("a", 600, 700, "{n+5}")]), "/ranges/0/format invalid_value"),
        (json!([range("a", 600, 700, "{n-600}")]), "/ranges/0/format out_of_range"),
        (json!([range("a", 600, 700, "A{n-500}")]), "/ranges/0/format shown_alike"),
    ] {
        let mut settings = settings();
        settings["ranges"] = ranges.clone();
        assert_eq!(api.put(&path, settings).await.faults(422, "invalid_body"), [fault], "{ranges}");
        let patched = api.json_with("PATCH", &path, &[], &json!({"ranges": ranges})).await;
        assert_eq!(patched.faults(422, "invalid_body"), [fault], "{ranges}");
    }
    // Fields that were right before may go wrong with one that changes.
    for (patch, fault, says) in [
        (json!({"max_number": 501}), "/ranges/0 overlap", "501"),
        (json!({"blocked_numbers": ["5??"]}), "/ranges/0 empty", "from 501 to 503"),
        (json!({"format": "D{n:02}"}), "/ranges/0/format shown_alike", "shows 501 as D01, as the main range shows 1"),
    ] {
        let answer = api.json_with("PATCH", &path, &[], &patch).await;
        assert_eq!(answer.faults(422, "invalid_body"), [fault], "{patch}");
        assert!(answer.text.contains(says), "{says}: {}", answer.text);
    }
    assert_eq!(api.get(&path).await.ok(200), before);
    assert_eq!(shown(&api.create(restaurant, delivery()).await), ("D01", "delivery"));
}

#[tokio::test]
async fn a_range_that_changes_lets_live_orders_be() {
    let (api, restaurant) = (api().await, restaurant());
    let mut first = settings();
    first["cooldown_seconds"] = json!(0);
    api.configure(restaurant, first.clone()).await;
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        deliveries.push(api.create(restaurant, delivery()).await);
    }
    let before = api.live(restaurant).await;
    // Smaller, then another name, then gone.
    let mut smaller = first.clone();
    smaller["ranges"][0]["max_number"] = json!(502);
    let mut renamed = first.clone();
    (renamed["ranges"][0]["id"], renamed["ranges"][0]["format"]) = (json!("courier"), json!("C{n-500:02}"));
    let dropped = json!({"max_number": 499, "cooldown_seconds": 0});
    for (settings, retiring) in [(smaller, 1), (renamed, 0), (dropped, 3)] {
        api.configure(restaurant, settings.clone()).await;
        assert_eq!(api.live(restaurant).await, before, "{settings}");
        assert_eq!(api.slots(restaurant).await["retiring"], retiring, "{settings}");
        assert_sound(restaurant).await;
    }
    for order in &deliveries {
        let done = api.release(id(order), false).await.ok(200);
        assert_eq!(shown(&done), shown(order));
    }
    eventually_true(PATIENCE, || async { api.slots(restaurant).await["retiring"] == 0 }).await;
    assert_eq!(shown(&api.create(restaurant, delivery()).await), ("0001", "main"), "there is no range for it any more");
    // The range comes back with all of its numbers.
    api.configure(restaurant, first).await;
    let again: BTreeSet<u64> =
        join_all((0..3).map(|_| api.create(restaurant, delivery()))).await.iter().map(number).collect();
    assert_eq!(again, BTreeSet::from([501, 502, 503]));
    assert_sound(restaurant).await;
}

#[tokio::test]
async fn an_order_that_changes_its_channel_keeps_number_and_range() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, settings()).await;
    let order = api.create(restaurant, delivery()).await;
    let changed = api.patch(id(&order), json!({"order_type": "dine_in", "order_source": "app"})).await.ok(200);
    assert_eq!((shown(&changed), number(&changed)), (("D01", "delivery"), 501));
    let done = api.release(id(&order), false).await.ok(200);
    assert_eq!(shown(&done), ("D01", "delivery"));
    left_redis(&order).await;
    assert_eq!(shown(&api.order(id(&order)).await.ok(200)), ("D01", "delivery"));
}

#[tokio::test]
async fn two_hundred_creations_at_once_across_four_ranges_are_all_distinct() {
    let (api, restaurant) = (api().await, restaurant());
    let range = |id: &str, min: u32, max: u32, policy: &str, source: &str, overflow: bool| {
        json!({"id": id, "min_number": min, "max_number": max, "policy": policy, "overflow": overflow,
               "match": {"order_source": [source]}})
    };
    api.configure(
        restaurant,
        json!({
            "max_number": 150, "cooldown_seconds": 600, "ranges": [
                range("kiosk", 151, 175, "sequential", "kiosk", true),
                range("app", 176, 185, "random", "app", true),
                range("phone", 201, 240, "lowest", "phone", false),
            ],
        }),
    )
    .await;
    let sources = ["pos", "kiosk", "app", "phone"];
    let bodies = (0..200).map(|turn| json!({"order_source": sources[turn % 4]}));
    let answers = join_all(bodies.map(|body| async {
        let answer = ask(&api, restaurant, body.clone()).await;
        (body, answer)
    }))
    .await;
    let mut by_range: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut refused = 0;
    for (body, answer) in &answers {
        if answer.status == 201 {
            let order = answer.ok(201);
            by_range.entry(shown(&order).1.to_owned()).or_default().push(number(&order));
            continue;
        }
        assert_eq!(answer.problem(409, "pool_exhausted")["range"], "phone");
        assert_eq!(body["order_source"], "phone");
        refused += 1;
    }
    // 50 of each: kiosk overflows with 25, app with 40, phone refuses 10.
    let counts: BTreeMap<&str, usize> = by_range.iter().map(|(range, numbers)| (&**range, numbers.len())).collect();
    assert_eq!(counts, BTreeMap::from([("app", 10), ("kiosk", 25), ("main", 115), ("phone", 40)]));
    assert_eq!(refused, 10);
    let distinct: BTreeSet<u64> = by_range.values().flatten().copied().collect();
    assert_eq!(distinct.len(), 190);
    for (range, first, last) in [("main", 1, 150), ("kiosk", 151, 175), ("app", 176, 185), ("phone", 201, 240)] {
        assert!(by_range[range].iter().all(|number| (first..=last).contains(number)), "{range}: {by_range:?}");
    }
    assert_sound(restaurant).await;
}
