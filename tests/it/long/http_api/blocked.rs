//! Blocked numbers as numbers, ranges and patterns.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::world::{api, findings, restaurant};
use crate::support::api::{id, number};
use crate::support::{PATIENCE, eventually_true};

#[tokio::test]
async fn what_was_written_is_read_in_its_canonical_form() {
    let (api, restaurant) = (api().await, restaurant());
    for (written, read) in [
        (json!(["*4*"]), json!(["*4*"])),
        (json!(["13", "400-499", "*4*", 7]), json!([7, 13, "400-499", "*4*"])),
        (json!([666, 13, 13, "13"]), json!([13, 666])),
        (json!([15, 14, 13, 16]), json!([13, 14, 15, 16])),
        (json!(["10-19", "20-29", 25, 31, "007"]), json!([7, "10-29", 31])),
        (json!([]), json!([])),
    ] {
        let put = api.configure(restaurant, json!({"blocked_numbers": written})).await;
        assert_eq!(put["blocked_numbers"], read, "{written}");
        let again = api.get(&format!("/v1/restaurants/{restaurant}")).await.ok(200);
        assert_eq!(again, put);
        assert_eq!(api.configure(restaurant, again.clone()).await, again, "what was read can be written");
    }
}

#[tokio::test]
async fn patterns_block_what_they_match_under_any_policy() {
    let api = api().await;
    for policy in ["sequential", "lowest", "random"] {
        let restaurant = restaurant();
        let free: BTreeSet<u64> =
            (1..=60).filter(|n: &u64| !n.to_string().contains('4') && !(20..=29).contains(n)).collect();
        let settings =
            json!({"max_number": 60, "policy": policy, "blocked_numbers": ["*4*", "20-29"], "cooldown_seconds": 0});
        api.configure(restaurant, settings).await;
        let slots = api.slots(restaurant).await;
        assert_eq!((&slots["capacity"], &slots["blocked"]), (&json!(free.len()), &json!(60 - free.len())), "{slots}");
        for _ in 0..2 {
            let orders = futures_util::future::join_all(free.iter().map(|_| api.create(restaurant, json!({})))).await;
            assert_eq!(orders.iter().map(number).collect::<BTreeSet<_>>(), free, "{policy}");
            api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await.problem(409, "pool_exhausted");
            for order in &orders {
                api.release(id(order), false).await.ok(200);
            }
        }
        for (number, state) in [(4, "blocked"), (14, "blocked"), (40, "blocked"), (25, "blocked"), (30, "free")] {
            let look = api.get(&format!("/v1/restaurants/{restaurant}/numbers/{number}")).await.ok(200);
            assert_eq!(look["state"], state, "{number}");
        }
    }
}

#[tokio::test]
async fn a_number_that_a_pattern_blocks_while_it_is_held_retires() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 20, "cooldown_seconds": 1})).await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(api.create(restaurant, json!({})).await);
    }
    // 13 rests when it is blocked, 3 is live.
    api.release(id(&orders[12]), false).await.ok(200);
    api.configure(restaurant, json!({"max_number": 20, "cooldown_seconds": 1, "blocked_numbers": ["*3*", "18-19"]}))
        .await;
    let slots = api.slots(restaurant).await;
    for (state, count) in [("capacity", 16), ("blocked", 4), ("live", 16), ("free", 0), ("retiring", 4)] {
        assert_eq!(slots[state], count, "{state} in {slots}");
    }
    for order in orders.iter().filter(|order| number(order) != 13) {
        api.release(id(order), false).await.ok(200);
    }
    eventually_true(PATIENCE, || async { api.slots(restaurant).await["free"] == 16 }).await;
    let given = futures_util::future::join_all((0..16).map(|_| api.create(restaurant, json!({})))).await;
    let expected = (1..=20).filter(|n| ![3, 13, 18, 19].contains(n)).collect::<BTreeSet<u64>>();
    assert_eq!(given.iter().map(number).collect::<BTreeSet<_>>(), expected);
    api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await.problem(409, "pool_exhausted");
    eventually_true(PATIENCE, || async { findings(restaurant).await.0 == 0 }).await;
    assert_eq!(findings(restaurant).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn a_long_list_of_numbers_is_taken_and_kept_short() {
    let (api, restaurant) = (api().await, restaurant());
    let list: Vec<u32> = (1..=9999).filter(|n: &u32| n.to_string().contains('4')).collect();
    assert_eq!(list.len(), 3439);
    let path = format!("/v1/restaurants/{restaurant}");
    // As tools write it, a number a line.
    let body = serde_json::to_vec_pretty(&json!({"blocked_numbers": list})).expect("plain JSON");
    assert!(body.len() > 16 * 1024, "longer than other calls may be");
    let put = api.send("PUT", &path, &[("content-type", b"application/json")], Some(body)).await.ok(200);
    let kept = put["blocked_numbers"].as_array().expect("a list");
    assert!(kept.len() < 1000, "{} entries", kept.len());
    assert!(kept.contains(&json!("4000-4999")) && kept.contains(&json!(14)), "{put}");
    assert_eq!(api.get(&path).await.ok(200), put);
    let slots = api.slots(restaurant).await;
    assert_eq!((&slots["capacity"], &slots["blocked"]), (&json!(9999 - 3439), &json!(3439)));
    let by_pattern = super::world::restaurant();
    api.configure(by_pattern, json!({"blocked_numbers": ["*4*"]})).await;
    assert_eq!(api.slots(by_pattern).await, slots);

    let longer = json!({"blocked_numbers": vec![1; 70_000]});
    api.put(&path, longer).await.problem(413, "body_too_large");
    let reason = json!({"reason": "n".repeat(17 * 1024)});
    api.put(&format!("{path}/numbers/1/quarantine"), reason).await.problem(413, "body_too_large");
    let order = api.create(restaurant, json!({})).await;
    assert_eq!(number(&order), 1);
    eventually_true(PATIENCE, || async { findings(restaurant).await.0 == 0 }).await;
    assert_eq!(findings(restaurant).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn the_widest_range_without_a_digit_is_counted_exactly() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({"max_number": 999_999, "policy": "lowest", "blocked_numbers": ["*4*", "1-999"]}))
        .await;
    let slots = api.slots(restaurant).await;
    let capacity = 9_u32.pow(6) - 9_u32.pow(3);
    assert_eq!((&slots["capacity"], &slots["free"]), (&json!(capacity), &json!(capacity)), "{slots}");
    assert_eq!(number(&api.create(restaurant, json!({})).await), 1000);
}

#[tokio::test]
async fn what_is_wrong_with_blocked_numbers_is_said_of_each_entry() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}");
    let before = api.configure(restaurant, json!({"blocked_numbers": ["1??"]})).await;
    let detail = |problem: &Value, at: usize| problem["errors"][at]["detail"].as_str().expect("text").to_owned();
    let entries = json!(["499-400", "4x", 13, "0*", "", "1-2-3", 1_000_000, "5*-9", true]);
    let problem = api.put(&path, json!({"blocked_numbers": entries})).await.problem(422, "invalid_body");
    let pointers: Vec<&str> =
        problem["errors"].as_array().expect("a list").iter().filter_map(|fault| fault["pointer"].as_str()).collect();
    assert_eq!(pointers, [0, 1, 3, 4, 5, 6, 7, 8].map(|at| format!("/blocked_numbers/{at}")), "{problem}");
    for (at, said) in ["write 400-499", "'x'", "leading zeros", "empty", "no range", "999999", "no range", "boolean"]
        .iter()
        .enumerate()
    {
        assert!(detail(&problem, at).contains(said), "{said}: {problem}");
    }
    for (bad, pointer, said) in [
        (json!({"max_number": 50, "blocked_numbers": ["?", "??"]}), "", "every number of the range is blocked"),
        (json!({"blocked_numbers": ["*"]}), "", "every number of the range is blocked"),
        (
            json!({"blocked_numbers": (100..133).map(|n| format!("{n}*")).collect::<Vec<_>>()}),
            "/blocked_numbers",
            "33 patterns",
        ),
        (json!({"max_number": 999_999, "blocked_numbers": ["*1", "*3", "*5"]}), "", "pieces"),
    ] {
        let problem = api.put(&path, bad.clone()).await.problem(422, "invalid_body");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{bad}: {problem}");
        assert!(detail(&problem, 0).contains(said), "{bad}: {problem}");
    }
    assert_eq!(api.get(&path).await.ok(200), before);
}
