//! Clean-up: `POST /v1/restaurants/{restaurant_id}/cleanup`, and the loop behind it.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{api, old_order_here, restaurant};
use crate::support::api::id;
use crate::support::library::old_order;
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true};

fn ids(answer: &Value) -> Vec<String> {
    answer["orders"].as_array().unwrap_or_else(|| panic!("{answer}")).iter().map(|order| id(order).to_owned()).collect()
}

#[tokio::test]
async fn orders_older_than_the_window_expire_a_bounded_number_a_call() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/cleanup");
    let nothing = |dry_run: bool| json!({"dry_run": dry_run, "orders": [], "completed": [], "more": false});
    assert_eq!(api.post(&path, json!({})).await.ok(200), nothing(false), "nobody has ordered yet");
    api.configure(restaurant, json!({"active_window_seconds": 60, "cooldown_seconds": 600})).await;
    let mut old = Vec::new();
    for age in [3600, 600, 120, 90, 70] {
        old.push(old_order_here(restaurant, Duration::from_secs(age)).await);
    }
    let fresh = [
        old_order_here(restaurant, Duration::from_secs(20)).await,
        id(&api.create(restaurant, json!({})).await).to_owned(),
    ];
    let live = api.live(restaurant).await;

    // A dry run lists them, oldest first, and changes nothing.
    for (query, body) in
        [("", json!({"dry_run": true})), ("?dry_run=true", json!({})), ("?dry_run=1", json!({"dry_run": false}))]
    {
        let would = api.post(&format!("{path}{query}"), body).await.ok(200);
        assert_eq!(
            (&would["dry_run"], ids(&would), &would["more"]),
            (&json!(true), old.clone(), &json!(false)),
            "{query}"
        );
    }
    let would = api.post(&path, json!({"dry_run": true, "limit": 2})).await.ok(200);
    assert_eq!((ids(&would), &would["more"]), (old[..2].to_vec(), &json!(true)));
    assert_eq!(api.live(restaurant).await, live);

    let done = api.post(&path, json!({"limit": 2})).await.ok(200);
    assert_eq!((&done["dry_run"], ids(&done), &done["more"]), (&json!(false), old[..2].to_vec(), &json!(true)));
    for order in done["orders"].as_array().expect("orders") {
        assert_eq!(order["status"], "expired");
        assert!(order["released_at"].is_string());
        assert_eq!(api.order(id(order)).await.ok(200), *order);
        let report =
            api.get(&format!("/v1/restaurants/{restaurant}/numbers/{}", order["display_order_number"])).await.ok(200);
        assert_eq!((&report["state"], &report["order"]), (&json!("cooling"), order));
    }
    let rest = api.send("POST", &format!("{path}?limit=1000"), &[], None).await.ok(200);
    assert_eq!((ids(&rest), &rest["more"]), (old[2..].to_vec(), &json!(false)));
    assert_eq!(api.post(&path, json!({})).await.ok(200), nothing(false));
    assert_eq!(api.post(&path, json!({"dry_run": true})).await.ok(200), nothing(true));
    let left: Vec<String> = api.live(restaurant).await.iter().map(|order| id(order).to_owned()).collect();
    assert_eq!(left, fresh, "younger ones live on");

    for (query, body, status, fault) in [
        ("", json!({"limit": 0}), "invalid_body", "/limit out_of_range"),
        ("", json!({"limit": 1001}), "invalid_body", "/limit out_of_range"),
        ("", json!({"limit": -1}), "invalid_body", "/limit out_of_range"),
        ("", json!({"dry_run": "yes"}), "invalid_body", "/dry_run wrong_type"),
        ("", json!({"dryrun": true}), "invalid_body", "/dryrun unknown_field"),
        ("?limit=0", json!({}), "invalid_parameter", "/limit out_of_range"),
        ("?dry_run=maybe", json!({}), "invalid_parameter", "/dry_run invalid_value"),
    ] {
        assert_eq!(api.post(&format!("{path}{query}"), body).await.faults(422, status), [fault]);
    }
}

#[tokio::test]
async fn orders_that_are_served_for_long_enough_are_completed() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/cleanup");
    let serve = async || {
        let order = api.create(restaurant, json!({})).await;
        api.patch(id(&order), json!({"status": "served"})).await.ok(200)
    };
    let completed = |answer: &Value| -> Vec<Value> { answer["completed"].as_array().expect("orders").clone() };
    let ready = api.create(restaurant, json!({})).await;
    let (one, other) = (serve().await, serve().await);
    let nothing = api.post(&path, json!({})).await.ok(200);
    assert_eq!((&nothing["orders"], completed(&nothing)), (&json!([]), vec![]), "the settings do not ask for it");
    api.configure(restaurant, json!({"served_seconds": 1, "cooldown_seconds": 600})).await;
    // Not before their time, and oldest first.
    let would = async || completed(&api.post(&path, json!({"dry_run": true})).await.ok(200)).len() == 2;
    eventually_true(PATIENCE, || async { would().await }).await;
    let dry = api.post(&path, json!({"dry_run": true, "limit": 1})).await.ok(200);
    assert_eq!((completed(&dry), &dry["more"]), (vec![one.clone()], &json!(true)));
    assert_eq!(api.live(restaurant).await, [ready.clone(), one.clone(), other.clone()], "a dry run changes nothing");
    let done = api.post(&path, json!({})).await.ok(200);
    let done = completed(&done);
    assert_eq!(done.iter().map(id).collect::<Vec<_>>(), [id(&one), id(&other)]);
    for order in &done {
        assert_eq!((&order["status"], &order["version"]), (&json!("completed"), &json!(3)));
        assert_eq!(api.order(id(order)).await.ok(200), *order);
    }
    assert_eq!(api.live(restaurant).await, [ready]);
    // It may be taken back like any other, and its time begins anew.
    let back = api.reopen(id(&one)).await.ok(200);
    assert_eq!((&back["status"], &back["display_order_number"]), (&json!("preparing"), &one["display_order_number"]));
    let log = api.get(&format!("/v1/orders/{}/events", id(&other))).await.ok(200);
    let actors: Vec<_> = log["events"].as_array().expect("events").iter().map(|event| &event["actor"]).collect();
    assert_eq!(actors, ["api", "api", "api"], "whoever calls for the clean-up does it");
}

#[tokio::test]
async fn a_background_loop_completes_what_is_served() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_SURVEY_INTERVAL_SECONDS", 1);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    api.configure(7, json!({"served_seconds": 2})).await;
    let kept = api.create(8, json!({})).await;
    api.patch(id(&kept), json!({"status": "served"})).await.ok(200);
    for round in 0..2 {
        let (ready, order) = (api.create(7, json!({})).await, api.create(7, json!({})).await);
        api.patch(id(&order), json!({"status": "served"})).await.ok(200);
        eventually_true(PATIENCE, || async { api.order(id(&order)).await.ok(200)["status"] == "completed" }).await;
        assert_eq!(api.release(id(&ready), true).await.ok(200)["version"], 2, "{round}: it was left alone");
        let log = async || api.get(&format!("/v1/orders/{}/events", id(&order))).await.ok(200)["events"][2].clone();
        eventually_true(PATIENCE, || async { log().await["actor"] == "cleanup" }).await;
    }
    assert_eq!(api.order(id(&kept)).await.ok(200)["status"], "served", "its restaurant has it so");
}

#[tokio::test]
async fn a_background_loop_does_the_same() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_SURVEY_INTERVAL_SECONDS", 1);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    api.configure(7, json!({"active_window_seconds": 60})).await;
    let fresh = api.create(7, json!({})).await;
    let mut old = Vec::new();
    for age in [3600, 61] {
        old.push(old_order(&options, 7, Duration::from_secs(age)).await);
    }
    eventually_true(PATIENCE, || async { api.live(7).await == [fresh.clone()] }).await;
    for id in old {
        assert_eq!(api.order(&id).await.ok(200)["status"], "expired");
    }
}
