//! `ETag`, `If-Match`, `If-None-Match` and `PATCH` of a restaurant's settings: managers do not undo each other's changes.

use serde_json::{Value, json};

use super::world::{api, restaurant};
use crate::support::api::Answer;
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true};

fn path(restaurant: u32) -> String {
    format!("/v1/restaurants/{restaurant}")
}

fn etag(answer: &Answer) -> String {
    answer.header("etag").unwrap_or_else(|| panic!("no ETag: {answer:?}")).to_owned()
}

async fn patch(api: &Api, restaurant: u32, body: Value) -> Answer {
    api.json("PATCH", &path(restaurant), &body).await
}

/// A call under one condition.
async fn under(api: &Api, method: &str, restaurant: u32, condition: (&str, &str), body: Option<&Value>) -> Answer {
    match body {
        Some(body) => api.json_with(method, &path(restaurant), &[condition], body).await,
        None => api.send(method, &path(restaurant), &[(condition.0, condition.1.as_bytes())], None).await,
    }
}

#[tokio::test]
async fn if_match_guards_settings_against_another_manager() {
    let (api, restaurant) = (api().await, restaurant());
    let first = api.put(&path(restaurant), json!({"cooldown_seconds": 60, "blocked_numbers": [13, "66?"]})).await;
    first.ok(200);
    let read = api.get(&path(restaurant)).await;
    assert_eq!(etag(&read), etag(&first), "a read names what the change named");
    let second =
        under(&api, "PUT", restaurant, ("if-match", &etag(&first)), Some(&json!({"cooldown_seconds": 120}))).await;
    assert_eq!(second.ok(200)["cooldown_seconds"], 120);
    assert_ne!(etag(&second), etag(&first));

    for (method, body) in
        [("PUT", Some(json!({"format": "B-{n}"}))), ("PATCH", Some(json!({"format": "B-{n}"}))), ("GET", None)]
    {
        for stale in [etag(&first), "\"1\"".into(), "\"\"".into(), "\"a\", \"b\"".into()] {
            let refused = under(&api, method, restaurant, ("if-match", &stale), body.as_ref()).await;
            refused.problem(412, "version_mismatch");
            assert_eq!(etag(&refused), etag(&second), "what is there now is named");
        }
        for unreadable in ["", "1", "W/\"1\"", "\"1\" \"2\"", "*, \"1\""] {
            let refused = under(&api, method, restaurant, ("if-match", unreadable), body.as_ref()).await;
            refused.problem(400, "invalid_if_match");
        }
    }
    let unchanged = api.get(&path(restaurant)).await;
    assert_eq!((unchanged.ok(200), etag(&unchanged)), (second.ok(200), etag(&second)));

    let list = format!("\"x\", {}", etag(&second));
    let third = under(&api, "PUT", restaurant, ("if-match", &list), Some(&json!({"cooldown_seconds": 3}))).await;
    assert_eq!(third.ok(200)["cooldown_seconds"], 3);
    let fourth = under(&api, "PATCH", restaurant, ("if-match", "*"), Some(&json!({"cooldown_seconds": 4}))).await;
    assert_eq!(fourth.ok(200)["cooldown_seconds"], 4);
    assert_eq!(under(&api, "GET", restaurant, ("if-match", &etag(&fourth)), None).await.ok(200), fourth.ok(200));
}

#[tokio::test]
async fn if_none_match_saves_a_read_and_guards_what_is_there() {
    let (api, restaurant) = (api().await, restaurant());
    let body = json!({"max_number": 50});
    // Defaults are read like settings, and are no settings of its own.
    let defaults = api.get(&path(restaurant)).await;
    let first = under(&api, "PUT", restaurant, ("if-none-match", "*"), Some(&body)).await;
    assert_eq!(first.ok(200)["max_number"], 50);
    for (method, body) in [("PUT", json!({"max_number": 60})), ("PATCH", json!({"max_number": 70}))] {
        let refused = under(&api, method, restaurant, ("if-none-match", "*"), Some(&body)).await;
        refused.problem(412, "version_mismatch");
        assert_eq!(etag(&refused), etag(&first));
        under(&api, method, restaurant, ("if-none-match", &etag(&first)), Some(&body))
            .await
            .problem(412, "version_mismatch");
        under(&api, method, restaurant, ("if-none-match", "1"), Some(&body)).await.problem(400, "invalid_if_match");
    }
    for known in [etag(&first), format!("W/{}", etag(&first)), format!("\"x\", W/{}", etag(&first)), "*".into()] {
        let same = under(&api, "GET", restaurant, ("if-none-match", &known), None).await;
        assert_eq!((same.status, same.text.as_str(), etag(&same)), (304, "", etag(&first)), "{known}");
    }
    let other = under(&api, "GET", restaurant, ("if-none-match", &etag(&defaults)), None).await;
    assert_eq!(other.ok(200)["max_number"], 50);
    let changed = under(&api, "PUT", restaurant, ("if-none-match", &etag(&defaults)), Some(&json!({}))).await;
    changed.ok(200);
}

#[tokio::test]
async fn defaults_are_named_as_what_they_become() {
    let (api, restaurant) = (api().await, restaurant());
    let before = api.get(&path(restaurant)).await;
    before.ok(200);
    api.create(restaurant, json!({})).await;
    let provisioned = api.get(&path(restaurant)).await;
    assert_eq!(etag(&provisioned), etag(&before), "the first order changed nothing about them");
    let changed = under(&api, "PUT", restaurant, ("if-match", &etag(&before)), Some(&json!({"max_number": 5}))).await;
    changed.ok(200);
    under(&api, "PUT", restaurant, ("if-match", &etag(&before)), Some(&json!({})))
        .await
        .problem(412, "version_mismatch");
}

#[tokio::test]
async fn a_patch_changes_what_is_given_and_nothing_else() {
    let (api, restaurant) = (api().await, restaurant());
    let full = json!({
        "min_number": 10, "max_number": 500, "policy": "random", "cooldown_seconds": 7, "active_window_seconds": 600,
        "blocked_numbers": [13, "400-419", "*7"], "format": "A-{n:03}",
    });
    api.configure(restaurant, full.clone()).await;
    for (body, field, becomes) in [
        (json!({"cooldown_seconds": 9}), "cooldown_seconds", json!(9)),
        (json!({"policy": null}), "policy", json!("sequential")),
        (json!({"blocked_numbers": ["1?"]}), "blocked_numbers", json!(["1?"])),
        (json!({"blocked_numbers": null}), "blocked_numbers", json!([])),
        (json!({"min_number": null}), "min_number", json!(1)),
        (json!({"format": null}), "format", json!("{n:04}")),
    ] {
        let before = api.get(&path(restaurant)).await;
        let mut expected = before.ok(200);
        expected[field] = becomes;
        let changed = patch(&api, restaurant, body.clone()).await;
        assert_eq!(changed.ok(200), expected, "{body}");
        assert_ne!(etag(&changed), etag(&before), "{body}");
        assert_eq!(changed.header("durability"), Some("memory"));
        let after = api.get(&path(restaurant)).await;
        assert_eq!((after.ok(200), etag(&after)), (expected, etag(&changed)), "{body}");
    }
    // Nothing changes: no new state, and no event.
    let before = api.get(&path(restaurant)).await;
    for body in [json!({}), json!({"policy": "sequential", "blocked_numbers": []}), json!({"format": null})] {
        let same = patch(&api, restaurant, body).await;
        assert_eq!((same.ok(200), etag(&same)), (before.ok(200), etag(&before)));
    }
    eventually_true(PATIENCE, || async {
        let events = api.get(&format!("{}/events?kind=configured", path(restaurant))).await.ok(200);
        events["events"].as_array().expect("a list").len() == 7
    })
    .await;
}

#[tokio::test]
async fn a_patch_that_makes_no_sense_is_refused_and_changes_nothing() {
    let (api, restaurant) = (api().await, restaurant());
    let before = api.configure(restaurant, json!({"min_number": 100, "max_number": 200})).await;
    for (bad, faults) in [
        (json!({"min_number": 201}), vec![" invalid_value"]),
        (json!({"max_number": 99}), vec![" invalid_value"]),
        (json!({"blocked_numbers": ["1??", 200]}), vec![" invalid_value"]),
        (json!({"max_number": null, "min_number": 10_000}), vec![" invalid_value"]),
        (json!({"min_number": 0, "colour": "red"}), vec!["/colour unknown_field", "/min_number out_of_range"]),
        (
            json!({"blocked_numbers": [1, "b", "2-1"]}),
            vec!["/blocked_numbers/1 invalid_value", "/blocked_numbers/2 invalid_value"],
        ),
        (json!({"cooldown_seconds": {"set": 1}}), vec!["/cooldown_seconds wrong_type"]),
        (json!([]), vec![" wrong_type"]),
        (json!(null), vec![" wrong_type"]),
    ] {
        assert_eq!(patch(&api, restaurant, bad.clone()).await.faults(422, "invalid_body"), faults, "{bad}");
    }
    for (declared, status) in [
        ("application/merge-patch+json", 200),
        ("Application/Merge-Patch+JSON; charset=utf-8", 200),
        ("application/json", 200),
        ("application/json-patch+json", 415),
        ("text/plain", 415),
    ] {
        let answer =
            api.send("PATCH", &path(restaurant), &[("content-type", declared.as_bytes())], Some(b"{}".to_vec())).await;
        assert_eq!(answer.status, status, "{declared}: {answer:?}");
    }
    api.send("PATCH", &path(restaurant), &[("content-type", b"application/json")], None)
        .await
        .problem(400, "malformed_json");
    assert_eq!(api.get(&path(restaurant)).await.ok(200), before);
}

#[tokio::test]
async fn patches_at_the_same_time_are_all_made() {
    let (api, restaurant) = (api().await, restaurant());
    api.configure(restaurant, json!({})).await;
    let fields = [
        ("min_number", json!(5)),
        ("max_number", json!(555)),
        ("policy", json!("lowest")),
        ("cooldown_seconds", json!(55)),
        ("active_window_seconds", json!(5555)),
        ("blocked_numbers", json!(["5?"])),
        ("format", json!("5-{n}")),
    ];
    let calls = fields.iter().map(|(field, value)| patch(&api, restaurant, json!({*field: value})));
    for answer in futures_util::future::join_all(calls).await {
        answer.ok(200);
    }
    let after = api.get(&path(restaurant)).await.ok(200);
    for (field, value) in &fields {
        assert_eq!(after[field], *value, "{after}");
    }
    // Of those that demand one state, one is made.
    let state = etag(&api.get(&path(restaurant)).await);
    let bodies: Vec<Value> = (1..=6).map(|n| json!({"cooldown_seconds": n})).collect();
    let calls = bodies.iter().map(|body| under(&api, "PATCH", restaurant, ("if-match", &state), Some(body)));
    let answers = futures_util::future::join_all(calls).await;
    let made: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!((made.len(), answers.iter().filter(|answer| answer.status == 412).count()), (1, 5), "{answers:?}");
    assert_eq!(api.get(&path(restaurant)).await.ok(200), made[0].ok(200));
}

#[tokio::test]
async fn what_has_no_settings_and_gets_none_has_no_tag() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await.with("NOWSERVING_AUTO_PROVISION", false));
    let api = Api::at(daemon.url());
    for condition in [("if-match", "*"), ("if-match", "\"1\""), ("if-none-match", "*")] {
        under(&api, "GET", 7, condition, None).await.problem(404, "restaurant_not_found");
        under(&api, "PATCH", 7, condition, Some(&json!({"max_number": 5}))).await.problem(404, "restaurant_not_found");
    }
    for tags in ["*", "\"1\""] {
        let refused = under(&api, "PUT", 7, ("if-match", tags), Some(&json!({}))).await;
        refused.problem(412, "version_mismatch");
        assert_eq!(refused.header("etag"), None);
    }
    let first = under(&api, "PUT", 7, ("if-none-match", "*"), Some(&json!({"max_number": 9}))).await;
    first.ok(200);
    let second = under(&api, "PATCH", 7, ("if-match", &etag(&first)), Some(&json!({"max_number": 8}))).await;
    assert_eq!(second.ok(200)["max_number"], 8);
}
