//! Words in letters of any case, and days without a time.

use serde_json::{Value, json};

use super::{api, restaurant};
use crate::support::api::id;
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true};

#[tokio::test]
async fn words_are_read_in_letters_of_any_case() {
    let (api, restaurant) = (api().await, restaurant());
    let pool = format!("/v1/restaurants/{restaurant}");
    assert_eq!(api.configure(restaurant, json!({"policy": "Lowest"})).await["policy"], "lowest");
    let key = [("idempotency-key", "a"), ("durability", "Memory")];
    let body = json!({"order_source": "Kiosk", "order_type": "DINE_IN"});
    let made = api.json_with("POST", &format!("{pool}/orders"), &key, &body).await;
    assert_eq!(made.header("durability"), Some("memory"));
    let order = made.ok(201);
    assert_eq!((&order["order_source"], &order["order_type"]), (&json!("kiosk"), &json!("dine_in")));
    // The same request, whatever its letters.
    let again = json!({"order_source": "KIOSK", "order_type": "dine_in"});
    let again = api.json_with("POST", &format!("{pool}/orders"), &key, &again).await;
    assert_eq!((again.header("idempotent-replayed"), again.ok(201)["version"].clone()), (Some("true"), json!(1)));
    assert_eq!(
        api.patch(id(&order), json!({"status": "Ready", "order_type": "Takeaway"})).await.ok(200)["status"],
        "ready"
    );
    for query in ["status=READY", "status=Pending,Ready", "status=ready&status=Served"] {
        let found = api.get(&format!("{pool}/orders?{query}")).await.ok(200);
        assert_eq!(found["orders"].as_array().map(Vec::len), Some(1), "{query}");
    }
    for query in ["q=1&include_completed=True", "q=1&include_completed=FALSE"] {
        api.get(&format!("{pool}/search?{query}")).await.ok(200);
    }
    api.get(&format!("{pool}/events?kind=Created,CHANGED")).await.ok(200);
    api.get("/v1/usage/top?by=Live").await.ok(200);
}

#[tokio::test]
async fn a_word_that_is_not_known_is_answered_with_those_that_are() {
    let (api, restaurant) = (api().await, restaurant());
    let pool = format!("/v1/restaurants/{restaurant}");
    let order = api.create(restaurant, json!({})).await;
    let details = |problem: Value| problem["errors"][0]["detail"].as_str().unwrap_or_default().to_owned();
    for (path, known) in [
        (format!("{pool}/orders?status=done"), "pending, preparing, ready, served, held"),
        (format!("{pool}/events?kind=made"), "created, imported, changed"),
        ("/v1/usage/top?by=size".to_owned(), "utilization, exhaustions, allocations, live"),
        (format!("{pool}/search?q=1&include_completed=yes"), "true or false"),
    ] {
        let detail = details(api.get(&path).await.problem(422, "invalid_parameter"));
        assert!(detail.contains(known), "{path}: {detail}");
    }
    for (method, path, body, known) in [
        ("PATCH", format!("/v1/orders/{}", id(&order)), json!({"status": "done"}), ["`preparing`", "`completed`"]),
        ("POST", format!("{pool}/orders"), json!({"order_type": "eat_in"}), ["`dine_in`", "`drive_thru`"]),
        ("POST", format!("{pool}/orders"), json!({"order_source": "fax"}), ["`qr`", "`phone`"]),
        ("PUT", pool.clone(), json!({"policy": "best"}), ["`sequential`", "`random`"]),
    ] {
        let detail = details(api.json(method, &path, &body).await.problem(422, "invalid_body"));
        assert!(known.iter().all(|word| detail.contains(word)), "{body}: {detail}");
    }
    let level = [("durability", "disk")];
    let problem = api.json_with("POST", &format!("{pool}/orders"), &level, &json!({})).await;
    let detail = problem.problem(400, "invalid_durability")["detail"].clone();
    assert!(detail.as_str().is_some_and(|detail| detail.contains("memory, fsync, replica or ledger")), "{detail}");
}

/// The events of a restaurant within these days.
async fn events(api: &Api, query: &str) -> usize {
    let list = api.get(&format!("/v1/restaurants/7/events?kind=created&{query}")).await.ok(200);
    list["events"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_day_without_a_time_is_a_whole_day() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let api = Api::at(daemon.url());
    let order = api.create(7, json!({})).await;
    let made_at = order["created_at"].as_str().expect("a time");
    let today: chrono::NaiveDate = made_at[..10].parse().expect("a day");
    let (before, after) = (today.pred_opt().expect("a day"), today.succ_opt().expect("a day"));
    // Until the ledger has it.
    eventually_true(PATIENCE, || async { events(&api, "").await == 1 }).await;
    for (query, found) in [
        (format!("from={today}&to={today}"), 1),
        (format!("from={today}"), 1),
        (format!("to={today}"), 1),
        (format!("from={before}&to={after}"), 1),
        (format!("from={after}"), 0),
        (format!("to={before}"), 0),
        (format!("from={before}&to={before}"), 0),
        (format!("from={today}&to={made_at}"), 0),
        (format!("from={made_at}&to={today}"), 1),
    ] {
        assert_eq!(events(&api, &query).await, found, "{query}");
    }
    for (from, to, begins, ends) in [
        ("2026-10-05", "2026-10-05", "2026-10-05T00:00:00.000Z", "2026-10-06T00:00:00.000Z"),
        ("2024-02-28", "2024-02-29", "2024-02-28T00:00:00.000Z", "2024-03-01T00:00:00.000Z"),
        ("2025-12-31", "2026-01-01T06:00:00Z", "2025-12-31T00:00:00.000Z", "2026-01-01T06:00:00.000Z"),
    ] {
        let usage = api.get(&format!("/v1/restaurants/7/usage?from={from}&to={to}&step=1h")).await.ok(200);
        assert_eq!((&usage["from"], &usage["to"]), (&json!(begins), &json!(ends)), "{from} {to}");
    }
    for path in ["events", "usage"] {
        for bad in ["2026-02-30", "2026-1-5", "05.10.2026", "10/05/2026", "today", "2026-10-05T12:00"] {
            let answer = api.get(&format!("/v1/restaurants/7/{path}?from={bad}")).await;
            assert_eq!(answer.faults(422, "invalid_parameter"), ["/from invalid_value"], "{path} {bad}");
            let detail = answer.value()["errors"][0]["detail"].clone();
            assert!(detail.as_str().is_some_and(|detail| detail.contains("or a date such as 2026-11-23")), "{detail}");
        }
    }
    // A number is looked up at an instant, and a day is none.
    let at = api.get("/v1/restaurants/7/numbers/1?at=2026-10-05").await;
    assert_eq!(at.faults(422, "invalid_parameter"), ["/at invalid_value"]);
}
