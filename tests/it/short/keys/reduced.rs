//! What a screen sees of an order, by every call that it may make.

use serde_json::{Map, Value, json};

use super::browser::Browser;
use super::client::{asking, call, get, make};
use super::matrix::{ROLES_OF, calls};
use crate::support::api::id;
use crate::support::{Api, Daemon};

/// The fields that a board shows to all guests, written down here a second time on purpose.
const SEEN: [&str; 19] = [
    "internal_order_id",
    "restaurant_id",
    "display_order_number",
    "display_number_formatted",
    "number_range",
    "order_number",
    "business_date",
    "daily_sequence",
    "status",
    "order_source",
    "order_type",
    "created_at",
    "number_given_at",
    "updated_at",
    "released_at",
    "reopened_at",
    "version",
    "call_count",
    "last_called_at",
];

/// Every order in an answer, wherever it is.
fn orders(value: &Value, found: &mut Vec<Map<String, Value>>) {
    match value {
        Value::Object(fields) if fields.contains_key("internal_order_id") => found.push(fields.clone()),
        Value::Object(fields) => fields.values().for_each(|field| orders(field, found)),
        Value::Array(items) => items.iter().for_each(|item| orders(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn a_screen_sees_what_all_guests_may_see_by_whatever_call() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let plain = make(&options, &["--role", "screen", "--restaurants", "7"]);
    let naming = make(&options, &["--role", "screen", "--shows-names"]);
    let kitchen = make(&options, &["--role", "kitchen"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let (board, _) = Browser::paired(&api, &admin, "screen", 7).await;
    let secrets = ["José Núñez", "no onions", "till-7-99", "+34 600 000 000", "T12"];
    let new = json!({
        "table_number": secrets[4], "order_source": "kiosk", "order_type": "dine_in", "external_id": secrets[2],
        "customer_name": secrets[0], "note": secrets[1], "metadata": {"phone": secrets[3]}, "requested_number": 42,
    });
    let live = call(&api, &admin, "POST", "/v1/restaurants/7/orders", Some(&new)).await.ok(201);
    let mut ended = new.clone();
    ended["requested_number"] = json!(43);
    let ended = call(&api, &admin, "POST", "/v1/restaurants/7/orders", Some(&ended)).await.ok(201);
    call(&api, &admin, "POST", &format!("/v1/orders/{}/release", id(&ended)), Some(&json!({}))).await.ok(200);

    let mut found = 0;
    for call_name in calls(&api).await {
        let roles = ROLES_OF.iter().find(|(known, _)| *known == call_name).expect("a known call").1;
        if !roles.contains(&"screen") || !call_name.starts_with("GET ") {
            continue;
        }
        for (number, order) in [(42, &live), (43, &ended)] {
            let path = call_name.trim_start_matches("GET ").replace("{restaurant_id}", "7");
            let path = path.replace("{internal_order_id}", id(order)).replace("{number}", &number.to_string());
            for (key, names) in [(Some(&plain), false), (Some(&naming), true), (None, false)] {
                let answer = match key {
                    Some(key) => get(&api, key, &path).await,
                    None => board.get(&path).await,
                };
                let told = secrets.iter().filter(|secret| answer.text.contains(**secret)).count();
                let mut seen = Vec::new();
                if answer.status == 200 {
                    orders(&answer.value(), &mut seen);
                }
                for order in &seen {
                    for (field, value) in order {
                        let is_name = field == "customer_name" && names;
                        assert!(
                            value.is_null() || is_name || SEEN.contains(&field.as_str()),
                            "{path}: {field} {value}"
                        );
                    }
                    assert_eq!((&order["order_type"], &order["order_source"]), (&json!("dine_in"), &json!("kiosk")));
                    assert_eq!(order["customer_name"].is_string(), names, "{path}");
                }
                assert_eq!(told > 0, names && !seen.is_empty(), "{path}: {}", answer.text);
                found += seen.len();
            }
            let whole = get(&api, &kitchen, &path).await;
            assert_eq!(whole.text.contains(secrets[1]), whole.text.contains("internal_order_id"), "{path}: {whole:?}");
        }
    }
    // The list of live orders twice, as is the feed; each order by its id and by its number.
    assert_eq!(found, 3 * (2 + 2 + 2 + 2));
}

#[tokio::test]
async fn a_kitchen_says_how_far_an_order_is_and_nothing_else() {
    let options = asking().await;
    let till = make(&options, &["--role", "till"]);
    let kitchen = make(&options, &["--role", "kitchen", "--restaurants", "7"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let order = call(&api, &till, "POST", "/v1/restaurants/7/orders", Some(&json!({"note": "hot"}))).await.ok(201);
    let status = format!("/v1/orders/{}/status", id(&order));
    let set = async |key: &str, body: Value| call(&api, key, "POST", &status, Some(&body)).await;
    for step in ["preparing", "ready", "served", "preparing"] {
        let changed = set(&kitchen, json!({ "status": step })).await.ok(200);
        assert_eq!((&changed["status"], &changed["note"]), (&json!(step), &json!("hot")));
    }
    set(&kitchen, json!({"status": "pending"})).await.problem(409, "forbidden_status");
    for bad in [
        json!({"status": "completed"}),
        json!({"status": "cancelled"}),
        json!({"status": "expired"}),
        json!({"status": "held"}),
        json!({"status": "READY", "note": "cold"}),
        json!({"status": "ready", "customer_name": null}),
    ] {
        let problem = set(&kitchen, bad).await.problem(403, "forbidden");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("role kitchen")), "{problem}");
    }
    // What is over is for the till to take back.
    set(&till, json!({"status": "completed"})).await.ok(200);
    for step in ["preparing", "ready"] {
        set(&kitchen, json!({ "status": step })).await.problem(409, "order_final");
    }
    let reopened = set(&till, json!({"status": "preparing"})).await.ok(200);
    assert_eq!((&reopened["status"], &reopened["note"]), (&json!("preparing"), &json!("hot")));
}
