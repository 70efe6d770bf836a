//! Business dates: which one an order belongs to, its place in it, and what is asked by them.

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate, Timelike, Utc};
use serde_json::{Value, json};

use super::world::{api, backfill, findings, left_redis, restaurant};
use crate::support::api::{id, number, numbers, text};
use crate::support::{Api, PATIENCE, eventually_true};

/// A zone in which it is about noon, so that no date ends while a test runs; its date is that of UTC.
fn noon() -> String {
    match i64::from(Utc::now().hour()) - 12 {
        behind @ 1.. => format!("Etc/GMT+{behind}"),
        0 => "UTC".to_owned(),
        ahead => format!("Etc/GMT-{}", -ahead),
    }
}

fn date(value: &Value, field: &str) -> NaiveDate {
    text(value, field).parse().unwrap_or_else(|_| panic!("{field} is no date in {value}"))
}

fn path(restaurant: u32) -> String {
    format!("/v1/restaurants/{restaurant}/business-day")
}

async fn set(api: &Api, restaurant: u32, date: NaiveDate) -> Value {
    api.put(&path(restaurant), json!({"date": date})).await.ok(200)
}

/// The place of a new order.
async fn place(api: &Api, restaurant: u32) -> (NaiveDate, u64) {
    let order = api.create(restaurant, json!({})).await;
    (date(&order, "business_date"), order["daily_sequence"].as_u64().expect("a place"))
}

#[tokio::test]
async fn orders_have_their_date_and_their_place_in_it() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"time_zone": noon(), "max_number": 3, "cooldown_seconds": 0})).await;
    let before = api.get(&path(restaurant)).await.ok(200);
    let today = date(&before, "date");
    assert_eq!((&before["orders"], text(&before, "time_zone")), (&json!(0), &*noon()));
    assert_eq!(text(&before, "starts_at"), "00:00");
    for expected in 1..=7 {
        let order = api.create(restaurant, json!({})).await;
        assert_eq!((date(&order, "business_date"), &order["daily_sequence"]), (today, &json!(expected)));
        let done = api.release(id(&order), false).await.ok(200);
        for field in ["business_date", "daily_sequence"] {
            assert_eq!(done[field], order[field], "it keeps its {field}");
        }
    }
    let after = api.get(&path(restaurant)).await.ok(200);
    assert_eq!((&after["date"], &after["ends_at"]), (&before["date"], &before["ends_at"]));
    assert_eq!(after["orders"], 7);
}

#[tokio::test]
async fn places_have_no_gaps_however_many_ask_at_once() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"time_zone": noon(), "policy": "random"})).await;
    let orders = futures_util::future::join_all((0..100).map(|_| api.create(restaurant, json!({})))).await;
    let places: BTreeSet<u64> = orders.iter().filter_map(|order| order["daily_sequence"].as_u64()).collect();
    assert_eq!(places, (1..=100).collect());
    assert_eq!(orders.iter().map(number).collect::<BTreeSet<_>>().len(), 100);
}

#[tokio::test]
async fn a_call_that_is_refused_or_repeated_takes_no_place() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"time_zone": noon(), "max_number": 1, "cooldown_seconds": 0})).await;
    let first = api.create_with_key(restaurant, "a", &json!({})).await.ok(201);
    api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await.problem(409, "pool_exhausted");
    assert_eq!(id(&api.create_with_key(restaurant, "a", &json!({})).await.value()), id(&first));
    api.release(id(&first), false).await.ok(200);
    assert_eq!(place(&api, restaurant).await.1, 2);
}

#[tokio::test]
async fn a_date_is_set_back_and_on_and_no_place_is_given_twice() {
    let (api, restaurant) = (api().await, restaurant());
    let settings = json!({
        "time_zone": noon(), "cooldown_seconds": 0, "business_day": {"reset": "daily", "first_number": 500},
    });
    api.configure(restaurant, settings).await;
    let (today, first) = place(&api, restaurant).await;
    let (yesterday, tomorrow) = (today - Days::new(1), today + Days::new(1));
    assert_eq!((first, place(&api, restaurant).await), (1, (today, 2)));

    let answer = api.put(&path(restaurant), json!({"date": yesterday})).await;
    let back = answer.ok(200);
    assert!(answer.header("durability").is_some());
    assert_eq!((date(&back, "date"), &back["orders"]), (yesterday, &json!(0)));
    let order = api.create(restaurant, json!({})).await;
    assert_eq!((date(&order, "business_date"), &order["daily_sequence"]), (yesterday, &json!(1)));
    assert_eq!(number(&order), 3, "no ring begins anew with a date that is set back");
    // Where it is that date already, nothing changes.
    assert_eq!(set(&api, restaurant, yesterday).await["orders"], 1);

    // It goes on behind what each date has had: in Redis, or only in the ledger.
    assert_eq!(set(&api, restaurant, today).await["orders"], 2);
    let order = api.create(restaurant, json!({})).await;
    assert_eq!((date(&order, "business_date"), &order["daily_sequence"]), (today, &json!(3)));
    assert_eq!(number(&order), 500, "the ring begins anew with a later date");
    assert_eq!(set(&api, restaurant, tomorrow).await["orders"], 0);
    assert_eq!(place(&api, restaurant).await, (tomorrow, 1));
    for order in api.live(restaurant).await {
        api.release(id(&order), true).await.ok(200);
        left_redis(&order).await;
    }
    for (date, had) in [(yesterday, 1), (today, 3), (tomorrow, 1)] {
        assert_eq!(set(&api, restaurant, date).await["orders"], had);
        assert_eq!(place(&api, restaurant).await, (date, had + 1));
    }

    let events = format!("/v1/restaurants/{restaurant}/events?kind=business_date_set");
    eventually_true(PATIENCE, || async {
        api.get(&events).await.ok(200)["events"].as_array().is_some_and(|events| events.len() == 6)
    })
    .await;
    let told = api.get(&events).await.ok(200);
    let told: Vec<(Value, Value)> = told["events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| {
            assert!(event["internal_order_id"].is_null() && event["version"].is_null(), "{event}");
            assert!(event["actor"].is_string() && event["detail"]["ends_at"].is_string(), "{event}");
            (event["detail"]["before"].clone(), event["detail"]["after"].clone())
        })
        .collect();
    let mut expected = [
        (today, yesterday),
        (yesterday, today),
        (today, tomorrow),
        (tomorrow, yesterday),
        (yesterday, today),
        (today, tomorrow),
    ]
    .map(|(before, after)| (json!(before), json!(after)));
    if told.first() != expected.first() {
        expected.reverse();
    }
    assert_eq!(told, expected);
    assert_eq!(findings(restaurant).await.1, Vec::<String>::new());
}

/// Back over a date that has had orders, and on to that one by the settings.
#[tokio::test]
async fn a_date_between_goes_on_behind_what_it_has_had() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"time_zone": noon(), "cooldown_seconds": 0})).await;
    let (today, _) = place(&api, restaurant).await;
    let (yesterday, tomorrow) = (today - Days::new(1), today + Days::new(1));
    for is_known_to_redis in [true, false] {
        let before = api.get(&path(restaurant)).await.ok(200)["orders"].as_u64().expect("a count");
        set(&api, restaurant, tomorrow).await;
        place(&api, restaurant).await;
        if !is_known_to_redis {
            for order in api.live(restaurant).await {
                api.release(id(&order), true).await.ok(200);
                left_redis(&order).await;
            }
        }
        set(&api, restaurant, yesterday).await;
        place(&api, restaurant).await;
        // Other rules of dates: the next order asks which one it is.
        let starts_at = if is_known_to_redis { "00:01" } else { "00:00" };
        let settings = json!({"time_zone": noon(), "cooldown_seconds": 0, "business_day": {"starts_at": starts_at}});
        api.configure(restaurant, settings).await;
        assert_eq!(place(&api, restaurant).await, (today, before + 1));
    }
}

#[tokio::test]
async fn a_date_that_is_no_date_or_too_far_is_refused() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"time_zone": noon()})).await;
    let (today, _) = place(&api, restaurant).await;
    for (body, fault) in [
        (json!({"date": today - Days::new(2)}), "/date out_of_range"),
        (json!({"date": today + Days::new(2)}), "/date out_of_range"),
        (json!({"date": "0001-01-01"}), "/date out_of_range"),
        (json!({"date": "2026-02-30"}), "/date invalid_value"),
        (json!({"date": 20}), "/date wrong_type"),
        (json!({}), "/date missing"),
        (json!({"date": today, "day": 1}), "/day unknown_field"),
    ] {
        let found = api.put(&path(restaurant), body.clone()).await.faults(422, "invalid_body");
        assert_eq!(found, [fault], "{body}");
    }
    assert_eq!(place(&api, restaurant).await, (today, 2));
}

#[tokio::test]
async fn a_changed_zone_never_takes_a_date_back() {
    let (api, restaurant) = (api().await, restaurant());
    let mut places: Vec<(NaiveDate, u64)> = Vec::new();
    for round in 0..6 {
        // Both sides of the date line, by two managers who do not agree.
        for zone in ["Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            for starts_at in ["00:00", "04:00", "12:00"] {
                api.configure(restaurant, json!({"time_zone": zone, "business_day": {"starts_at": starts_at}})).await;
                for _ in 0..=round % 2 {
                    places.push(place(&api, restaurant).await);
                }
            }
        }
    }
    let utc = Utc::now().date_naive();
    for pair in places.windows(2) {
        let [(before, place), (after, next)] = [pair[0], pair[1]];
        assert!(after > before && next == 1 || after == before && next == place + 1, "{pair:?}");
    }
    assert!(places.iter().all(|(date, _)| (*date - utc).num_days().abs() <= 1), "{places:?}");
}

#[tokio::test]
async fn orders_and_numbers_are_found_by_their_date() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"time_zone": noon(), "max_number": 2, "cooldown_seconds": 0})).await;
    let mut orders = Vec::new();
    for name in ["Ana", "Bo", "Ana", "Cy"] {
        let order = api.create(restaurant, json!({"customer_name": name})).await;
        orders.push(api.release(id(&order), true).await.ok(200));
    }
    let live = api.create(restaurant, json!({"customer_name": "Ana"})).await;
    let today = date(&live, "business_date");
    set(&api, restaurant, today + Days::new(1)).await;
    let next = api.create(restaurant, json!({"customer_name": "Ana"})).await;
    // Some are in Redis, some only in the ledger.
    left_redis(&orders[0]).await;
    let tomorrow = today + Days::new(1);

    let search = async |query: String| {
        let found = api.get(&format!("/v1/restaurants/{restaurant}/search?{query}")).await.ok(200);
        found["orders"].as_array().expect("a list").iter().map(|order| id(order).to_owned()).collect::<Vec<_>>()
    };
    let ids = |orders: &[&Value]| orders.iter().map(|order| id(order).to_owned()).collect::<Vec<_>>();
    let of_today = ids(&[&live, &orders[3], &orders[2], &orders[1], &orders[0]]);
    assert_eq!(search(format!("business_date={today}")).await, of_today);
    assert_eq!(search(format!("business_date={tomorrow}")).await, ids(&[&next]));
    assert_eq!(search(format!("business_date={today}&q=ana")).await, ids(&[&live, &orders[2], &orders[0]]));
    assert_eq!(search(format!("business_date={today}&q=ana&include_completed=false")).await, ids(&[&live]));
    assert_eq!(search(format!("business_date={}", today - Days::new(3))).await, Vec::<String>::new());
    // In parts.
    let part = api.get(&format!("/v1/restaurants/{restaurant}/search?business_date={today}&limit=2")).await.ok(200);
    let cursor = text(&part, "next_cursor");
    assert_eq!(search(format!("business_date={today}&limit=9&cursor={cursor}")).await, of_today[2..]);

    let on = async |number: u64, date: NaiveDate| {
        api.get(&format!("/v1/restaurants/{restaurant}/numbers/{number}?business_date={date}")).await.ok(200)
    };
    let first = on(1, today).await;
    assert_eq!((&first["order"], text(&first, "state")), (&live, "live"), "the last of the date that had it");
    let second = on(2, today).await;
    assert_eq!(id(&second["order"]), id(&orders[3]), "its last holder of all is another one");
    assert_eq!(text(&second, "state"), "live", "what it is doing now");
    assert_eq!(on(2, tomorrow).await["order"], next);
    assert!(on(1, tomorrow).await["order"].is_null());

    for (query, faults) in [
        ("business_date=30.11.2026", vec!["/business_date invalid_value", "/q missing"]),
        ("business_date=2026-11-30&q=", vec![]),
        ("q=ana&business_date=", vec![]),
        ("q=ana&business_date=1969-12-31", vec!["/business_date invalid_value"]),
    ] {
        let answer = api.get(&format!("/v1/restaurants/{restaurant}/search?{query}")).await;
        let faults: Vec<&str> = faults.into_iter().filter(|fault| *fault != "/q missing").collect();
        if faults.is_empty() {
            answer.ok(200);
        } else {
            assert_eq!(answer.faults(422, "invalid_parameter"), faults, "{query}");
        }
    }
    let both = format!("/v1/restaurants/{restaurant}/numbers/1?business_date={today}&at=2026-01-01T00:00:00Z");
    assert_eq!(api.get(&both).await.faults(422, "invalid_parameter"), ["/business_date invalid_value"]);
}

#[tokio::test]
async fn an_import_keeps_its_dates_and_what_has_none_is_found_by_when_it_was_made() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"time_zone": "Europe/Berlin", "business_day": {"starts_at": "04:00"}})).await;
    let header = "id,restaurant_id,status,created_at,completed_at,display_number,business_date,daily_sequence";
    let row = |id: u32, at: &str, day: &str| {
        format!("{header}\n{restaurant}{id},{restaurant},completed,{at},2026-05-02T12:00:00Z,7,{day}\n")
    };
    // By the clock of Berlin it is 03:30 and 04:30.
    backfill(&row(1, "2026-05-02T01:30:00Z", ",")).await;
    backfill(&row(2, "2026-05-02T02:30:00Z", ",")).await;
    backfill(&row(3, "2026-05-02T02:40:00Z", "2026-05-01,57")).await;
    backfill(&row(4, "2026-05-02T02:50:00Z", "2026-05-01,")).await;
    let search = async |date: &str| {
        let found = api.get(&format!("/v1/restaurants/{restaurant}/search?business_date={date}")).await.ok(200);
        let orders = found["orders"].as_array().expect("a list").clone();
        orders.into_iter().map(|order| (text(&order, "external_id").to_owned(), order["daily_sequence"].clone()))
    };
    let found = |orders: &[(u32, Value)]| -> Vec<(String, Value)> {
        orders.iter().map(|(id, place)| (format!("{restaurant}{id}"), place.clone())).collect()
    };
    assert_eq!(search("2026-05-01").await.collect::<Vec<_>>(), found(&[(3, json!(57)), (1, json!(null))]));
    assert_eq!(search("2026-05-02").await.collect::<Vec<_>>(), found(&[(4, json!(null)), (2, json!(null))]));
    let report = api.get(&format!("/v1/restaurants/{restaurant}/numbers/7?business_date=2026-05-01")).await.ok(200);
    assert_eq!(report["order"]["daily_sequence"], 57, "{report}");
}

#[tokio::test]
async fn settings_of_dates_are_patched_guarded_and_told() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}");
    let first = api.put(&path, json!({"time_zone": "europe/berlin", "business_day": {"starts_at": "04:00"}})).await;
    let settings = first.ok(200);
    assert_eq!(text(&settings, "time_zone"), "Europe/Berlin", "as the database writes it");
    let etag = first.header("etag").expect("an ETag").to_owned();
    let patch = async |body: Value, etag: &str| api.json_with("PATCH", &path, &[("if-match", etag)], &body).await;
    let second = patch(json!({"business_day": {"reset": "daily"}}), &etag).await;
    let day = json!({"starts_at": "04:00", "reset": "daily", "first_number": null});
    assert_eq!(second.ok(200)["business_day"], day, "what is not named stays");
    assert_ne!(second.header("etag"), Some(&*etag));
    patch(json!({"time_zone": "UTC"}), &etag).await.problem(412, "version_mismatch");
    let etag = second.header("etag").expect("an ETag").to_owned();
    let unknown = patch(json!({"time_zone": "Europe/Berln"}), &etag).await;
    assert_eq!(unknown.faults(422, "invalid_body"), ["/time_zone invalid_value"]);
    assert!(unknown.text.contains("Europe/Berlin"), "the nearest is named: {}", unknown.text);
    let outside = patch(json!({"business_day": {"first_number": 10_000}}), &etag).await;
    assert!(outside.text.contains("first_number"), "{}", outside.text);
    outside.faults(422, "invalid_body");
    let third = patch(json!({"max_number": 20_000, "business_day": {"first_number": 10_000}}), &etag).await;
    assert_eq!(third.ok(200)["business_day"]["first_number"], 10_000);
    let etag = third.header("etag").expect("an ETag").to_owned();
    let fourth = patch(json!({"time_zone": null, "business_day": null, "max_number": null}), &etag).await.ok(200);
    assert_eq!(fourth["business_day"], json!({"starts_at": "00:00", "reset": "none", "first_number": null}));

    let events = format!("{path}/events?kind=configured");
    let told = async || api.get(&events).await.ok(200)["events"].as_array().expect("a list").clone();
    eventually_true(PATIENCE, || async { told().await.len() == 4 }).await;
    let mut changes: Vec<(Value, Value)> = told()
        .await
        .iter()
        .map(|event| (event["detail"]["before"]["time_zone"].clone(), event["detail"]["after"]["time_zone"].clone()))
        .collect();
    if changes.first().is_some_and(|(before, _)| !before.is_null()) {
        changes.reverse();
    }
    let berlin = || json!("Europe/Berlin");
    let expected = [(json!(null), berlin()), (berlin(), berlin()), (berlin(), berlin()), (berlin(), json!("UTC"))];
    assert_eq!(changes, expected);
}

#[tokio::test]
async fn a_day_is_counted_by_the_clock_of_the_restaurant() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"time_zone": "Asia/Kolkata"})).await;
    let path = format!("/v1/restaurants/{restaurant}/usage?step=1d&from=2026-10-05&to=2026-10-05");
    let usage = api.get(&path).await.ok(200);
    let at = |usage: &Value| (text(usage, "time_zone").to_owned(), text(usage, "from").to_owned());
    assert_eq!(at(&usage), ("Asia/Kolkata".to_owned(), "2026-10-04T18:30:00.000Z".to_owned()));
    let other = api.get(&format!("{path}&tz=UTC")).await.ok(200);
    assert_eq!(at(&other), ("UTC".to_owned(), "2026-10-05T00:00:00.000Z".to_owned()));
}

#[tokio::test]
async fn a_table_may_be_an_integer_and_older_systems_get_one_back() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create_with_key(restaurant, "t", &json!({"table_number": 5})).await.ok(201);
    assert_eq!(order["table_number"], "5");
    let repeat = api.create_with_key(restaurant, "t", &json!({"table_number": "5"})).await;
    assert_eq!(id(&repeat.value()), id(&order), "5 and \"5\" are one body");
    api.create_with_key(restaurant, "t", &json!({"table_number": "05"})).await.problem(422, "idempotency_conflict");
    let lookup = format!("/api/orders/lookup?internal_id={}", id(&order));
    let mut older = order.clone();
    older["table_number"] = json!(5);
    assert_eq!(api.get(&lookup).await.ok(200), older);
    let found = api.get(&format!("/api/orders/search?restaurant_id={restaurant}&q=5")).await.ok(200);
    assert_eq!(found["orders"], json!([older]));
    assert_eq!(api.order(id(&order)).await.ok(200)["table_number"], "5");
    for (sent, kept, given_back) in [
        (json!(17), json!("17"), json!(17)),
        (json!("T9"), json!("T9"), json!("T9")),
        (json!("007"), json!("007"), json!("007")),
        (json!(null), json!(null), json!(null)),
    ] {
        let changed = api.patch(id(&order), json!({"table_number": sent})).await.ok(200);
        assert_eq!(changed["table_number"], kept);
        assert_eq!(api.get(&lookup).await.ok(200)["table_number"], given_back);
    }
    let other = api.create(restaurant, json!({"table_number": "12"})).await;
    let found = api.get(&format!("/v1/restaurants/{restaurant}/search?q=12")).await.ok(200);
    assert_eq!(numbers(found["orders"].as_array().expect("a list")), [number(&other)]);
}
