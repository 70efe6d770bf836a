//! Numbers that are kept for tables or taken out, rests that give way, and numbers that could be misheard.

use serde_json::{Value, json};

use super::world::{api, restaurant};
use crate::support::api::{Api, id, number, numbers};
use crate::support::{PATIENCE, eventually_true};

async fn state(api: &Api, restaurant: u32, number: u32) -> String {
    let report = api.get(&format!("/v1/restaurants/{restaurant}/numbers/{number}")).await.ok(200);
    report["state"].as_str().expect("a word").to_owned()
}

async fn reserve(api: &Api, restaurant: u32, number: u32, table: &str) -> Value {
    let path = format!("/v1/restaurants/{restaurant}/reservations/{number}");
    api.put(&path, json!({"table_number": table})).await.ok(200)
}

async fn at_table(api: &Api, restaurant: u32, table: &str) -> Value {
    api.create(restaurant, json!({"table_number": table})).await
}

#[tokio::test]
async fn a_tables_number_is_given_to_its_orders_and_to_no_others() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 10, "cooldown_seconds": 600})).await;
    assert_eq!(reserve(&api, restaurant, 3, "12").await, json!({"number": 3, "table_number": "12"}));
    assert_eq!(state(&api, restaurant, 3).await, "reserved");
    let slots = api.slots(restaurant).await;
    assert_eq!((&slots["capacity"], &slots["free"], &slots["reserved"]), (&json!(9), &json!(9), &json!(1)), "{slots}");

    let first = at_table(&api, restaurant, "12").await;
    assert_eq!((number(&first), state(&api, restaurant, 3).await.as_str()), (3, "live"));
    // It is held: the next one gets an ordinary number, and nobody else is put out.
    let second = at_table(&api, restaurant, "12").await;
    assert_eq!(number(&second), 1);
    let others = [api.create(restaurant, json!({})).await, at_table(&api, restaurant, "13").await];
    assert_eq!(numbers(&others), [2, 4]);
    let slots = api.slots(restaurant).await;
    assert_eq!((&slots["capacity"], &slots["free"], &slots["live"]), (&json!(9), &json!(6), &json!(3)), "{slots}");

    // Its guest has gone: it need not rest for the same table.
    api.release(id(&first), false).await.ok(200);
    assert_eq!(state(&api, restaurant, 3).await, "cooling");
    let third = at_table(&api, restaurant, "12").await;
    assert_eq!(number(&third), 3);
    // One who called the order off might still be called: the number rests.
    api.patch(id(&third), json!({"status": "cancelled"})).await.ok(200);
    let fourth = at_table(&api, restaurant, "12").await;
    assert_eq!(number(&fourth), 5);
    api.release(id(&third), true).await.ok(200);
    assert_eq!(state(&api, restaurant, 3).await, "reserved");
    assert_eq!(number(&at_table(&api, restaurant, "12").await), 3);

    // All others are used up before it is given to anybody else.
    for expected in [6, 7, 8, 9, 10] {
        assert_eq!(number(&api.create(restaurant, json!({})).await), expected);
    }
    let refused = api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await;
    refused.problem(409, "pool_exhausted");
}

#[tokio::test]
async fn a_tables_number_may_lie_outside_of_every_range() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 5, "cooldown_seconds": 600, "format": "T-{n:02}"})).await;
    reserve(&api, restaurant, 70, "patio").await;
    let slots = api.slots(restaurant).await;
    let counts = |slots: &Value| ["capacity", "free", "reserved", "retiring"].map(|name| slots[name].clone());
    assert_eq!(counts(&slots), [json!(5), json!(5), json!(0), json!(0)], "it costs the pool nothing");
    let order = at_table(&api, restaurant, "patio").await;
    assert_eq!((number(&order), &order["display_number_formatted"]), (70, &json!("T-70")));
    assert_eq!(counts(&api.slots(restaurant).await), [json!(5), json!(5), json!(0), json!(0)]);
    api.release(id(&order), false).await.ok(200);
    assert_eq!(state(&api, restaurant, 70).await, "cooling");
    assert_eq!(counts(&api.slots(restaurant).await), [json!(5), json!(5), json!(0), json!(0)]);

    // A number that is given up while it is held is as any other that is outside: it never returns.
    let order = at_table(&api, restaurant, "patio").await;
    let path = format!("/v1/restaurants/{restaurant}/reservations/70");
    assert_eq!(api.send("DELETE", &path, &[], None).await.status, 204);
    assert_eq!(counts(&api.slots(restaurant).await), [json!(5), json!(5), json!(0), json!(1)]);
    assert_eq!(state(&api, restaurant, 70).await, "retiring");
    api.release(id(&order), true).await.ok(200);
    assert_eq!(counts(&api.slots(restaurant).await), [json!(5), json!(5), json!(0), json!(0)]);
    assert_ne!(number(&at_table(&api, restaurant, "patio").await), 70);
}

#[tokio::test]
async fn reservations_are_listed_moved_and_given_up() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 50, "blocked_numbers": [13]})).await;
    let all = format!("/v1/restaurants/{restaurant}/reservations");
    assert_eq!(api.get(&all).await.ok(200), json!({"reservations": []}));
    reserve(&api, restaurant, 7, "12").await;
    reserve(&api, restaurant, 5, "14").await;
    reserve(&api, restaurant, 7, "12").await;
    let listed = json!({"reservations": [
        {"number": 5, "table_number": "14"}, {"number": 7, "table_number": "12"},
    ]});
    assert_eq!(api.get(&all).await.ok(200), listed);
    assert_eq!(api.get(&format!("{all}/0007")).await.ok(200), listed["reservations"][1]);

    let put = async |number: u32, body: Value| api.put(&format!("{all}/{number}"), body).await;
    put(13, json!({"table_number": "1"})).await.problem(422, "number_blocked");
    let blocking = json!({"max_number": 50, "blocked_numbers": ["5-9", 13]});
    let of_restaurant = format!("/v1/restaurants/{restaurant}");
    for method in ["PUT", "PATCH"] {
        let refused = api.json_with(method, &of_restaurant, &[], &blocking).await;
        assert_eq!(refused.faults(422, "invalid_body"), ["/blocked_numbers invalid_value"; 2]);
    }
    let refused = put(8, json!({"table_number": "12"})).await.problem(409, "table_has_number");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("Number 7")), "{refused}");
    for (body, fault) in [
        (json!({}), "/table_number missing"),
        (json!({"table_number": null}), "/table_number wrong_type"),
        (json!({"table_number": 1.5}), "/table_number wrong_type"),
        (json!({"table_number": " "}), "/table_number invalid_value"),
        (json!({"table_number": "a\0"}), "/table_number nul_character"),
        (json!({"table_number": "x".repeat(33)}), "/table_number too_long"),
        (json!({"table_number": "1", "table": "1"}), "/table unknown_field"),
    ] {
        assert_eq!(put(8, body).await.faults(422, "invalid_body"), [fault]);
    }
    // As orders do, it takes a table that is an integer.
    assert_eq!(put(5, json!({"table_number": 14})).await.ok(200), listed["reservations"][0]);
    api.get(&format!("{all}/8")).await.problem(404, "number_not_reserved");
    api.send("DELETE", &format!("{all}/8"), &[], None).await.problem(404, "number_not_reserved");
    assert_eq!(api.get(&all).await.ok(200), listed, "nothing is half-applied");

    // They are no part of the settings' body, and stay when that is put or patched; but they change its tag.
    let before = api.get(&of_restaurant).await;
    assert!(before.ok(200).get("special").is_none());
    api.put(&of_restaurant, json!({"special": {"reservations": {"1": "1"}}})).await.problem(422, "invalid_body");
    api.configure(restaurant, json!({"max_number": 60})).await;
    assert_eq!(api.get(&all).await.ok(200), listed);
    let tag = api.get(&of_restaurant).await.header("etag").expect("it has one").to_owned();
    assert_eq!(api.send("DELETE", &format!("{all}/5"), &[], None).await.status, 204);
    let late = api.json_with("PUT", &of_restaurant, &[("If-Match", &tag)], &json!({})).await;
    late.problem(412, "version_mismatch");
    assert_eq!(state(&api, restaurant, 5).await, "free");
    // Each of these changes is an event with before and after.
    eventually_true(PATIENCE, || async {
        let events = api.get(&format!("/v1/restaurants/{restaurant}/events?limit=100")).await.ok(200);
        let events = events["events"].as_array().expect("a list").clone();
        events.iter().any(|event| {
            let reserved = |side: &str| event["detail"][side]["special"]["reservations"].clone();
            reserved("before") == json!({"5": "14", "7": "12"}) && reserved("after") == json!({"7": "12"})
        })
    })
    .await;
}

#[tokio::test]
async fn a_number_that_is_taken_out_is_not_given_until_then() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 60, "cooldown_seconds": 600})).await;
    let path = |number: u32| format!("/v1/restaurants/{restaurant}/numbers/{number}/quarantine");
    let take_out = async |number: u32, body: Value| api.put(&path(number), body).await;
    let orders = [api.create(restaurant, json!({})).await, api.create(restaurant, json!({})).await];
    assert_eq!(numbers(&orders), [1, 2]);
    // Free, live and resting.
    api.release(id(&orders[1]), false).await.ok(200);
    for number in [3, 1, 2] {
        let body = json!({"reason": "the pager is lost", "until": null});
        assert_eq!(take_out(number, body.clone()).await.ok(200), body);
    }
    let states =
        async || [state(&api, restaurant, 1).await, state(&api, restaurant, 2).await, state(&api, restaurant, 3).await];
    assert_eq!(states().await, ["live", "quarantined", "quarantined"]);
    let slots = api.slots(restaurant).await;
    let counts = ["capacity", "free", "live", "cooling", "quarantined"].map(|name| slots[name].clone());
    assert_eq!(counts, [58, 57, 1, 0, 2].map(|count| json!(count)), "{slots}");
    assert_eq!(slots["next_free_at"], json!(null), "a number that is out is not free when its rest is over");
    assert_eq!(number(&api.create(restaurant, json!({})).await), 4);
    // One client cannot empty a pool.
    take_out(5, json!({"reason": "x"})).await.problem(409, "quarantine_full");
    take_out(61, json!({"reason": "x"})).await.problem(422, "number_not_in_pool");
    for (body, fault) in [
        (json!({"until": null}), "/reason missing"),
        (json!({"reason": " "}), "/reason invalid_value"),
        (json!({"reason": "a\0"}), "/reason nul_character"),
        (json!({"reason": "x".repeat(201)}), "/reason too_long"),
        (json!({"reason": "x", "until": "soon"}), "/until invalid_value"),
    ] {
        assert_eq!(take_out(5, body).await.faults(422, "invalid_body"), [fault]);
    }

    api.release(id(&orders[0]), true).await.ok(200);
    assert_eq!(states().await, ["quarantined", "quarantined", "quarantined"], "it begins when the order has ended");
    let put_back = async |number: u32| api.send("DELETE", &path(number), &[], None).await;
    for number in [1, 2, 3] {
        assert_eq!(put_back(number).await.status, 204);
    }
    assert_eq!(states().await, ["free", "cooling", "free"], "what rests by itself rests on");
    assert!(api.slots(restaurant).await["next_free_at"].is_string(), "the rest of 2");
    put_back(1).await.problem(404, "number_not_quarantined");

    // It comes back by itself.
    let soon = (chrono::Utc::now() + chrono::TimeDelta::seconds(2)).to_rfc3339();
    take_out(7, json!({"reason": "for a moment", "until": soon})).await.ok(200);
    assert_eq!(state(&api, restaurant, 7).await, "quarantined");
    eventually_true(PATIENCE, || async { state(&api, restaurant, 7).await == "free" }).await;
    let slots = api.slots(restaurant).await;
    assert_eq!((&slots["quarantined"], &slots["capacity"]), (&json!(0), &json!(60)), "{slots}");
    let mut given = Vec::new();
    for _ in 0..58 {
        given.push(number(&api.create(restaurant, json!({})).await));
    }
    assert!(given.contains(&7) && given.contains(&1) && !given.contains(&2), "{given:?}");
}

#[tokio::test]
async fn a_rest_gives_way_where_nothing_is_free() {
    let (api, restaurant) = (api().await, restaurant());
    let settings = json!({"max_number": 3, "cooldown_seconds": 3600, "cooldown_min_seconds": 0});
    api.configure(restaurant, settings).await;
    let mut orders = Vec::new();
    for _ in 0..3 {
        orders.push(api.create(restaurant, json!({})).await);
    }
    let create = async || api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await;
    create().await.problem(409, "pool_exhausted");
    let mut rests = Vec::new();
    for order in [&orders[1], &orders[0]] {
        let released = api.release(id(order), false).await.ok(200);
        rests.push((released["released_at"].to_string(), number(&released)));
    }
    // Of rests that began within one millisecond, the lower number goes first.
    rests.sort_unstable();
    // The one that has rested longest, and only while nothing is free.
    for (_, longest) in rests {
        assert_eq!(number(&create().await.ok(201)), longest);
    }
    create().await.problem(409, "pool_exhausted");
    // Not before it has rested as long as it must.
    api.configure(restaurant, json!({"max_number": 3, "cooldown_seconds": 3600, "cooldown_min_seconds": 2})).await;
    api.release(id(&orders[2]), false).await.ok(200);
    create().await.problem(409, "pool_exhausted");
    eventually_true(PATIENCE, || async { create().await.status == 201 }).await;
    let report = api.get(&format!("/v1/restaurants/{restaurant}/numbers/3")).await.ok(200);
    assert_eq!(report["state"], "live");
}

#[tokio::test]
async fn how_long_a_number_has_rested_is_known_whatever_the_cooldown_was_meanwhile() {
    let (api, restaurant) = (api().await, restaurant());
    let settings = |cooldown: u32, least: Option<u32>| json!({"max_number": 1, "cooldown_seconds": cooldown, "cooldown_min_seconds": least});
    let create = async || api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await;
    let rest_anew = async |first: Value| {
        api.configure(restaurant, first).await;
        let order = create().await.ok(201);
        api.release(id(&order), false).await.ok(200);
        order
    };
    // It rests for 600 s, and 0 of these are over: not 3000 of 3600, as the settings have them since. They were changed at
    // once or one after the other, before the rest could give way or since.
    for changes in [
        vec![settings(3600, Some(1000))],
        vec![settings(3600, None), settings(3600, Some(1000))],
        vec![settings(600, Some(500)), settings(3600, Some(1000))],
        vec![settings(7200, None), settings(3600, None), settings(3600, Some(1000))],
    ] {
        let order = rest_anew(settings(600, None)).await;
        for change in &changes {
            api.configure(restaurant, change.clone()).await;
        }
        create().await.problem(409, "pool_exhausted");
        // And so does an order that was made before they changed.
        api.release(id(&order), true).await.ok(200);
        api.configure(restaurant, settings(600, None)).await;
        let order = create().await.ok(201);
        api.configure(restaurant, settings(3600, None)).await;
        api.release(id(&order), false).await.ok(200);
        api.configure(restaurant, settings(3600, Some(1000))).await;
        create().await.problem(409, "pool_exhausted");
        api.release(id(&order), true).await.ok(200);
    }
    // What was noted of one rest says nothing of the next one.
    let order = rest_anew(settings(600, None)).await;
    for change in [settings(7200, Some(3600)), settings(7200, None)] {
        api.configure(restaurant, change).await;
    }
    api.release(id(&order), true).await.ok(200);
    rest_anew(settings(7200, None)).await;
    api.configure(restaurant, settings(7200, Some(0))).await;
    assert_eq!(number(&create().await.ok(201)), 1);
}

#[tokio::test]
async fn numbers_that_could_be_misheard_are_passed_over_while_the_other_is_live() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 50, "cooldown_seconds": 0, "avoid": ["teen_ty", "swapped"]})).await;
    let mut given = Vec::new();
    // 30 and 31 give way to 13, 40 and 41 to 14, and one each to 12, 15, 23, 24 and 34.
    for _ in 0..41 {
        given.push(number(&api.create(restaurant, json!({})).await));
    }
    let pairs = [(13, 30), (14, 40), (15, 50), (12, 21), (13, 31), (23, 32), (24, 42), (34, 43)];
    for (one, other) in pairs {
        assert!(!(given.contains(&one) && given.contains(&other)), "{one} and {other} are both live: {given:?}");
    }
    // It never stalls and never refuses: at last they are given all the same.
    let mut rest = Vec::new();
    for _ in 0..9 {
        rest.push(number(&api.create(restaurant, json!({})).await));
    }
    rest.extend(&given);
    rest.sort_unstable();
    assert_eq!(rest, (1..=50).collect::<Vec<u64>>());
}
