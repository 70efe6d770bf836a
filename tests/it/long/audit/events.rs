//! The events of orders and restaurants.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use crate::support::{Api, Daemon, DaemonOptions, OwnPostgres, PATIENCE, api, eventually, eventually_true};

/// The events of a list that the ledger has, over pages of this size.
async fn written_events_of(api: &Api, path: &str, limit: usize) -> Vec<Value> {
    let (mut events, mut cursor) = (Vec::new(), String::new());
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let list = api.get(&format!("{path}{sign}limit={limit}&cursor={cursor}")).await.ok(200);
        let page = list["events"].as_array().expect("a list of events");
        assert!(page.len() <= limit, "{list}");
        events.extend(page.iter().cloned());
        match list["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return events,
        }
    }
}

/// Once the ledger has all that was acknowledged: on a slow machine it may be behind for a while, and a page says so.
async fn events_of(api: &Api, path: &str, limit: usize) -> Vec<Value> {
    eventually_true(PATIENCE, || async { api.get(path).await.ok(200)["complete_up_to"].is_null() }).await;
    written_events_of(api, path, limit).await
}

async fn events_of_order(api: &Api, id: &str) -> Vec<Value> {
    events_of(api, &format!("/v1/orders/{id}/events"), 2).await
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| api::text(event, "kind")).collect()
}

#[tokio::test]
async fn every_change_of_an_order_is_told_with_before_and_after() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let api = Api::at(daemon.url());
    let order = api.create(7, json!({"note": "no onions", "metadata": {"seat": 1}})).await;
    let id = api::id(&order);
    let path = format!("/v1/orders/{id}");
    let change = json!({"status": "preparing", "note": null, "customer_name": "Ada", "metadata": {"seat": 1}});
    api.json_with("PATCH", &path, &[("x-request-id", "till-7")], &change).await.ok(200);
    api.patch(id, json!({"status": "ready"})).await.ok(200);
    api.patch(id, json!({"metadata": {"seat": [2, "\u{1}'\""]}})).await.ok(200);
    // What changes nothing is no event.
    api.patch(id, json!({"customer_name": "Ada"})).await.ok(200);
    api.patch(id, json!({"status": "completed", "table_number": "12"})).await.ok(200);
    api.release(id, true).await.ok(200);

    let events = events_of_order(&api, id).await;
    assert_eq!(kinds(&events), ["created", "changed", "changed", "changed", "released", "recycled"]);
    let told: Vec<Value> = events
        .iter()
        .map(|event| json!([event["status_before"], event["status_after"], event["version"], event["detail"]]))
        .collect();
    let seats = json!([{"seat": 1}, {"seat": [2, "\u{1}'\""]}]);
    assert_eq!(
        json!(told),
        json!([
            [null, "pending", 1, null],
            ["pending", "preparing", 2, {"changes": {"note": ["no onions", null], "customer_name": [null, "Ada"]}}],
            ["preparing", "ready", 3, null],
            ["ready", "ready", 4, {"changes": {"metadata": seats}}],
            ["ready", "completed", 5, {"changes": {"table_number": [null, "12"]}}],
            ["completed", "completed", 5, null],
        ])
    );
    for event in &events {
        assert_eq!(
            (&event["internal_order_id"], &event["display_order_number"], &event["restaurant_id"], &event["actor"]),
            (&order["internal_order_id"], &order["display_order_number"], &json!(7), &json!("api")),
        );
        assert!(event["request_id"].is_string() && event["occurred_at"].is_string(), "{event}");
    }
    assert_eq!(events[1]["request_id"], "till-7");
    // By the clock of Redis, which comes after the daemon's look at it; both are written alike.
    assert!(events[0]["occurred_at"].as_str() >= order["created_at"].as_str(), "{} {order}", events[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_before_is_right_when_many_change_at_once() {
    let options = DaemonOptions::migrated().await;
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let api = Api::at(daemons[0].url());
    let order = api.create(7, json!({"note": "0"})).await;
    let id = api::id(&order).to_owned();
    let mut tills = JoinSet::new();
    for till in 1..=8_usize {
        let (api, id) = (Api::at(daemons[till % 2].url()), id.clone());
        tills.spawn(async move {
            let mut made = 0;
            for round in 0..10 {
                let change = match round % 2 {
                    0 => json!({"note": format!("{till}-{round}")}),
                    _ => json!({"note": null, "table_number": format!("{till}-{round}")}),
                };
                // One that is overtaken too often is told so, and has changed nothing.
                made += usize::from(api.patch(&id, change).await.status == 200);
            }
            made
        });
    }
    let made: usize = tills.join_all().await.into_iter().sum();
    let events = events_of_order(&api, &id).await;
    assert!(made > 20 && events.len() > 20, "{made} changes, {} events", events.len());
    let (mut note, mut table) = (json!("0"), Value::Null);
    for (event, version) in events.iter().zip(1..) {
        assert_eq!(event["version"], version, "{event}");
        let changes = event["detail"]["changes"].as_object().cloned().unwrap_or_default();
        for (field, held) in [("note", &mut note), ("table_number", &mut table)] {
            let Some(pair) = changes.get(field) else { continue };
            assert_eq!(&pair[0], held, "{event}");
            assert_ne!(pair[0], pair[1], "{event}");
            *held = pair[1].clone();
        }
    }
    let order = api.order(&id).await.ok(200);
    assert_eq!((&order["note"], &order["table_number"]), (&note, &table));
}

#[tokio::test]
async fn settings_are_told_with_before_and_after() {
    let options = DaemonOptions::migrated().await;
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let path = "/v1/restaurants/7";
    let mut settings = Vec::new();
    // Quick enough that several share a batch.
    for max_number in [10, 20, 30, 40] {
        settings.push(api.put(path, json!({"max_number": max_number, "blocked_numbers": [3]})).await.ok(200));
    }
    let events = events_of(&api, "/v1/restaurants/7/events", 3).await;
    assert_eq!(kinds(&events), ["configured"; 4]);
    let mut before = Value::Null;
    for (event, (after, version)) in events.iter().rev().zip(settings.iter().zip(1..)) {
        assert_eq!(event["detail"], json!({"before": before, "after": after}));
        assert_eq!(
            (&event["version"], &event["internal_order_id"], &event["status_after"]),
            (&json!(version), &Value::Null, &Value::Null)
        );
        before = after.clone();
    }
    // As an older version wrote it.
    let mut db = PgConnection::connect(options.database_url.as_deref().expect("a database")).await.expect("connects");
    sqlx::query("UPDATE order_events SET detail = detail -> 'after' WHERE version = 2")
        .execute(&mut db)
        .await
        .expect("runs");
    let older = &events_of(&api, "/v1/restaurants/7/events", 3).await[2];
    assert_eq!(older["detail"], json!({"after": settings[1]}), "what was before it is not known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_stay_whole_while_others_write() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let api = Api::at(daemon.url());
    let mut ids = BTreeSet::new();
    for _ in 0..60 {
        ids.insert(api::id(&api.create(7, json!({})).await).to_owned());
    }
    assert_eq!(events_of(&api, "/v1/restaurants/7/events?kind=created", 100).await.len(), ids.len());
    let busy = tokio::spawn({
        let api = Api::at(daemon.url());
        async move {
            loop {
                api.create(7, json!({})).await;
            }
        }
    });
    let events = written_events_of(&api, "/v1/restaurants/7/events?kind=created", 7).await;
    busy.abort();
    let seen: Vec<&str> = events.iter().map(api::id).collect();
    let unique: BTreeSet<&str> = seen.iter().copied().collect();
    assert_eq!(unique.len(), seen.len(), "no event is there twice");
    assert!(ids.iter().all(|id| unique.contains(id.as_str())), "none is left out");
    let places = events.iter().map(|event| (api::text(event, "occurred_at"), event["sequence"].as_u64()));
    let places: Vec<_> = places.collect();
    assert!(places.is_sorted_by(|a, b| a > b), "newest first: {places:?}");
}

#[tokio::test]
async fn a_restaurants_events_are_filtered() {
    let options = DaemonOptions::migrated().await;
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let (first, second) = (api.create(7, json!({})).await, api.create(7, json!({})).await);
    api.create(8, json!({})).await;
    let (first, second) = (api::id(&first), api::id(&second));
    api.patch(first, json!({"status": "ready"})).await.ok(200);
    api.release(first, false).await.ok(200);
    let list = async |query: &str| events_of(&api, &format!("/v1/restaurants/7/events?{query}"), 100).await;

    let all = list("").await;
    assert_eq!(kinds(&all), ["released", "changed", "created", "created", "configured"]);
    assert_eq!(list("actor=api").await, all);
    assert_eq!(list("actor=cleanup").await, Vec::<Value>::new());
    assert_eq!(kinds(&list("kind=released&kind=configured,changed").await), ["released", "changed", "configured"]);
    assert_eq!(kinds(&list(&format!("order={second}")).await), ["created"]);
    assert_eq!(list("order=6f0a1c52-93d4-4c0e-8f57-0d9a6be1c001").await, Vec::<Value>::new());
    let at = api::text(&all[1], "occurred_at");
    let from = list(&format!("from={at}")).await;
    let to = list(&format!("to={at}")).await;
    assert!(from.contains(&all[1]) && !to.contains(&all[1]), "from is inclusive, to is not");
    assert_eq!(from.len() + to.len(), all.len());
    assert_eq!(events_of(&api, "/v1/restaurants/9/events", 5).await, Vec::<Value>::new(), "no order was made there");

    // The UUID that another system gave an imported order.
    let foreign = "6f0a1c52-93d4-4c0e-8f57-0d9a6be1c002";
    let mut db = PgConnection::connect(options.database_url.as_deref().expect("a database")).await.expect("connects");
    let alias = format!("INSERT INTO order_aliases VALUES ('{foreign}', '{first}')");
    sqlx::query(sqlx::AssertSqlSafe(alias)).execute(&mut db).await.expect("is written");
    assert_eq!(kinds(&list(&format!("order={foreign}")).await), ["released", "changed", "created"]);
    assert_eq!(events_of_order(&api, foreign).await, events_of_order(&api, first).await);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let api = Api::at(daemon.url());
    for _ in 0..2 {
        api.create(7, json!({})).await;
    }
    let of_seven = api.get("/v1/restaurants/7/events?limit=1").await.ok(200);
    let cursor = api::text(&of_seven, "next_cursor");
    let faults = async |path: &str| api.get(path).await.faults(422, "invalid_parameter");
    let bad = "/v1/restaurants/8/events?kind=eaten&from=now&to=2026-11-31&order=7&limit=0&cursor=7&actor=";
    assert_eq!(
        faults(bad).await,
        [
            "/cursor invalid_value",
            "/from invalid_value",
            "/kind invalid_value",
            "/limit out_of_range",
            "/order invalid_value",
            "/to invalid_value",
        ]
    );
    assert_eq!(faults(&format!("/v1/restaurants/8/events?cursor={cursor}")).await, ["/cursor invalid_value"]);
    for turned in ["from=2026-11-23T00:00:00Z&to=2026-11-23T00:00:00Z", "from=2026-11-24&to=2026-11-23"] {
        assert_eq!(faults(&format!("/v1/restaurants/8/events?{turned}")).await, ["/to invalid_value"]);
    }
    for id in ["42", "6f0a1c52-93d4-4c0e-8f57-0d9a6be1c001", "01a20694-05ca-8000-8000-3f844c55d7e8"] {
        api.get(&format!("/v1/orders/{id}/events")).await.problem(404, "order_not_found");
    }
}

#[tokio::test]
async fn what_waits_for_the_ledger_is_not_passed_over_in_silence() {
    let options = DaemonOptions::migrated().await;
    let daemon = Daemon::start(&options.clone().with("NOWSERVING_WRITE_BEHIND_ENABLED", false));
    let api = Api::at(daemon.url());
    let order = api.create(7, json!({})).await;
    let id = api::id(&order);
    for path in [format!("/v1/orders/{id}/events"), "/v1/restaurants/7/events".to_owned()] {
        let list = api.get(&path).await.ok(200);
        assert_eq!(list["events"], json!([]));
        let since = api::text(&list, "complete_up_to");
        // The change is as old as its script: the order's id, and so `created_at`, may be made a moment before it.
        assert!(since <= api::text(&order, "updated_at"), "{since} {order}");
    }
    let _writer = Daemon::start(&options);
    let events = eventually(PATIENCE, || async {
        let list = api.get(&format!("/v1/orders/{id}/events")).await.ok(200);
        list["complete_up_to"].is_null().then(|| list["events"].clone())
    })
    .await;
    assert_eq!(events.as_array().map(Vec::len), Some(1), "{events}");
}

#[tokio::test]
async fn without_the_ledger_there_is_no_audit_log() {
    let mut postgres = OwnPostgres::start().await;
    let mut options = DaemonOptions::shared().await;
    options.database_url = Some(postgres.create_database("ledger").await);
    options.migrate();
    let daemon = Daemon::start(&options.clone().with("NOWSERVING_LEDGER_TIMEOUT_MS", 1000));
    let api = Api::at(daemon.url());
    let order = api.create(7, json!({})).await;
    let path = format!("/v1/orders/{}/events", api::id(&order));
    assert_eq!(api.get(&path).await.ok(200)["events"].as_array().map(Vec::len), Some(1));
    postgres.immediate();
    for path in [path.as_str(), "/v1/restaurants/7/events"] {
        let answer = api.get(path).await;
        answer.problem(503, "unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    postgres.restart().await;
    eventually_true(PATIENCE, || async { api.get(&path).await.status == 200 }).await;
}
