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
    let nothing = |dry_run: bool| json!({"dry_run": dry_run, "orders": [], "more": false});
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
