//! The back-fill, run as users run it, against a real Redis and a real Postgres.

mod again;
mod identity;
mod shown_numbers;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::daemon::Finished;
use crate::support::{Daemon, DaemonOptions, PATIENCE, eventually, eventually_true, keeper, scratch};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/orders.csv");
const SAMPLE_LINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/orders.jsonl");
const SAMPLE_DAY: &str = "2026-03-14";

/// A deployment whose database has its tables.
async fn deployment() -> DaemonOptions {
    // No order is expired behind a test's back.
    let options = DaemonOptions::shared().await.with("NOWSERVING_CLEANUP_ENABLED", false);
    let migrated = options.run("migrate", &[]);
    assert!(migrated.status.success(), "{}", migrated.stderr);
    options
}

fn back_fill(options: &DaemonOptions, arguments: &[&str]) -> String {
    let done = options.run("backfill", arguments);
    assert!(done.status.success(), "{}: {}\n{}", done.status, done.stdout, done.stderr);
    done.stdout
}

fn refused(done: &Finished) -> &str {
    assert_eq!(done.status.code(), Some(1), "{}\n{}", done.stdout, done.stderr);
    &done.stderr
}

fn file(name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = scratch::folder("rows").join(name);
    std::fs::write(&path, text).expect("a file can be written");
    path
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("our folders have plain names")
}

async fn get(daemon: &Daemon, path: &str) -> (StatusCode, Value) {
    let answer = Client::new().get(format!("{}{path}", daemon.url())).send().await.expect("the daemon answers");
    (answer.status(), answer.json().await.expect("the answer is JSON"))
}

async fn found(daemon: &Daemon, path: &str) -> Value {
    let (status, body) = get(daemon, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

async fn patch(daemon: &Daemon, id: &Value, change: Value) {
    let url = format!("{}/v1/orders/{}", daemon.url(), id.as_str().expect("an id is text"));
    let answer = Client::new().patch(url).json(&change).send().await.expect("the daemon answers");
    assert_eq!(answer.status(), StatusCode::OK);
}

/// The live orders of a restaurant.
async fn live(daemon: &Daemon, restaurant: u32) -> Vec<Value> {
    let list = found(daemon, &format!("/v1/restaurants/{restaurant}/orders?limit=1000")).await;
    list["orders"].as_array().expect("a list").clone()
}

/// Their numbers, by what `key` says of each.
async fn numbers(daemon: &Daemon, restaurant: u32, key: &str) -> BTreeMap<String, u64> {
    let text = |order: &Value| order[key].as_str().map_or_else(|| order[key].to_string(), str::to_owned);
    let number = |order: &Value| order["display_order_number"].as_u64().expect("live orders have numbers");
    live(daemon, restaurant).await.iter().map(|order| (text(order), number(order))).collect()
}

async fn database(options: &DaemonOptions) -> PgConnection {
    PgConnection::connect(options.database_url.as_deref().expect("it has one")).await.expect("Postgres answers")
}

async fn count(connection: &mut PgConnection, of: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM {of}");
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(connection).await.expect("it can be counted")
}

/// Waits until everything that was acknowledged is in the ledger, and every order in it once.
async fn settled(connection: &mut PgConnection, orders: i64) {
    let start = std::time::Instant::now();
    loop {
        let there = count(connection, "orders").await;
        assert!(there <= orders, "{there} orders, not {orders}");
        if there == orders {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{there} orders of {orders}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The orders of a restaurant that a search finds, those that have ended included.
async fn searched(daemon: &Daemon, restaurant: u32, text: &str) -> Vec<Value> {
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let path = format!("/v1/restaurants/{restaurant}/search?q={encoded}&include_completed=true");
    found(daemon, &path).await["orders"].as_array().expect("a list").clone()
}

/// The lines of a report's file.
fn remarks(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("it was written");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What the audit log says of an order, oldest first.
async fn events(daemon: &Daemon, id: &Value) -> Vec<Value> {
    let path = format!("/v1/orders/{}/events", id.as_str().expect("an id is text"));
    found(daemon, &path).await["events"].as_array().expect("a list").clone()
}

fn verified(options: &DaemonOptions) {
    let done = options.run("verify", &[]);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

#[tokio::test]
async fn the_sample_is_taken_once() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let report = back_fill(&options, &[SAMPLE]);
    assert!(report.contains("20 rows read"), "{report}");
    assert!(report.contains("taken live: 11, of these 9 with their own number"), "{report}");
    assert!(report.contains("taken finished: 8"), "{report}");
    assert!(report.contains("1 unknown_status: ") && report.contains("line 11, id 6f0a"), "{report}");
    assert!(!report.contains("events wait"), "the daemon writes them: {report}");

    let names = numbers(&daemon, 7, "customer_name").await;
    assert_eq!((names["María"], names["Emre"], names["Fatima"]), (42, 43, 44));
    let given: BTreeSet<u64> = names.values().copied().collect();
    assert_eq!(given.len(), 5, "no number twice: {names:?}");
    assert_eq!(
        numbers(&daemon, 12, "external_id").await.into_iter().collect::<Vec<_>>(),
        [("4713".to_owned(), 7), ("4714".to_owned(), 8), ("4715".to_owned(), 9)]
    );
    let orders = live(&daemon, 7).await;
    let grace = orders.iter().find(|order| order["customer_name"] == "Grace").expect("she is there");
    assert_eq!(grace["order_number"], "R7-0042-B", "what it was called stays");

    // Finished and live ones alike are found by their old UUID and by their new one.
    for (foreign, status) in [("001", "completed"), ("003", "cancelled"), ("005", "preparing"), ("009", "held")] {
        let by_alias = found(&daemon, &format!("/v1/orders/6f0a1c52-93d4-4c0e-8f57-0d9a6be1c{foreign}")).await;
        assert_eq!(by_alias["status"], status);
        let id = by_alias["internal_order_id"].as_str().expect("an id");
        assert_eq!(found(&daemon, &format!("/v1/orders/{id}")).await, by_alias);
    }
    let ana = found(&daemon, "/v1/orders/6f0a1c52-93d4-4c0e-8f57-0d9a6be1c001").await;
    assert_eq!(ana["created_at"], format!("{SAMPLE_DAY}T00:01:05.000Z"));
    assert_eq!(ana["released_at"], format!("{SAMPLE_DAY}T00:31:40.000Z"));
    assert_eq!((&ana["order_type"], &ana["table_number"]), (&json!("dine_in"), &json!("4")));
    let by_id = found(&daemon, "/v1/restaurants/12/search?q=4711&include_completed=true").await;
    assert_eq!(by_id["orders"][0]["customer_name"], "Kofi");

    let mut connection = database(&options).await;
    settled(&mut connection, 19).await;
    let events = count(&mut connection, "order_events WHERE kind = 'imported'").await;
    assert_eq!(events, 19);
    // Again, and from the other format: it is all there.
    for sample in [SAMPLE, SAMPLE_LINES] {
        let report = back_fill(&options, &[sample]);
        assert!(report.contains("taken live: 0,") && report.contains("taken finished: 0"), "{report}");
        assert!(report.contains("already there: 19") && report.contains("skipped: 1"), "{report}");
    }
    assert_eq!(numbers(&daemon, 7, "customer_name").await, names);
    assert_eq!(count(&mut connection, "orders").await, 19);
    assert_eq!(count(&mut connection, "order_events WHERE kind = 'imported'").await, events);
    verified(&options);
}

#[tokio::test]
async fn what_was_taken_without_a_daemon_waits_for_it() {
    let options = deployment().await;
    let report = back_fill(&options, &["--jsonl", SAMPLE_LINES]);
    // Three restaurants got settings.
    assert!(report.contains("14 events wait in Redis"), "{report}");
    let again = back_fill(&options, &["--csv", SAMPLE]);
    assert!(again.contains("already there: 19"), "{again}");
    let mut connection = database(&options).await;
    assert_eq!(count(&mut connection, "orders").await, 8);
    let daemon = Daemon::start(&options);
    settled(&mut connection, 19).await;
    assert_eq!(live(&daemon, 8).await.len(), 3);
}

#[tokio::test]
async fn a_trial_writes_nothing() {
    let options = deployment().await;
    let report = back_fill(&options, &["--dry-run", SAMPLE]);
    assert!(report.contains("would be taken live: 11, of these 10 ask for a number of their own"), "{report}");
    assert!(report.contains("would be taken finished: 8") && report.contains("skipped: 1"), "{report}");
    let daemon = Daemon::start(&options);
    assert_eq!(live(&daemon, 7).await, Vec::<Value>::new());
    let mut connection = database(&options).await;
    assert_eq!(count(&mut connection, "orders").await + count(&mut connection, "restaurants").await, 0);
}

#[tokio::test]
async fn a_number_that_is_taken_is_not_taken_away() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let url = format!("{}/v1/restaurants/7/orders", daemon.url());
    let made: Value = Client::new().post(url).send().await.expect("it answers").json().await.expect("JSON");
    assert_eq!(made["display_order_number"], 1);
    let mut rows = format!("id,restaurant_id,status,created_at,display_number\n1,7,new,{SAMPLE_DAY}T10:00:00Z,0001\n");
    // Far behind it, in another batch, is one that has a right to the number that would come next.
    for id in 1000..1600 {
        rows.push_str(&format!("{id},7,done,{SAMPLE_DAY}T10:00:00Z,\n"));
    }
    rows.push_str(&format!("2,7,new,{SAMPLE_DAY}T10:00:01Z,2\n"));
    let report = back_fill(&options, &[shown(&file("rows.csv", rows))]);
    assert!(report.contains("taken live: 2, of these 1 with their own number"), "{report}");
    let numbers = numbers(&daemon, 7, "external_id").await;
    assert_eq!(numbers["2"], 2);
    assert!(!BTreeSet::from([1, 2]).contains(&numbers["1"]), "{numbers:?}");
}

/// The older system's row for each of these.
fn many(live: u32, finished: u32) -> PathBuf {
    let path = scratch::folder("rows").join("many.csv");
    let mut out = BufWriter::new(std::fs::File::create(&path).expect("a file can be made"));
    writeln!(out, "id,restaurant_id,status,display_order_number,created_at,completed_at").expect("it can be written");
    for n in 0..live + finished {
        let (hour, minute, second) = (n / 3600 % 24, n / 60 % 60, n % 60);
        let at = format!("{SAMPLE_DAY} {hour:02}:{minute:02}:{second:02}+00");
        // Mixed, so that a run that is killed has done some of each.
        let open = u64::from(n) * u64::from(live) / u64::from(live + finished)
            != (u64::from(n) + 1) * u64::from(live) / u64::from(live + finished);
        let (status, ended) = if open { ("accepted", "") } else { ("closed", at.as_str()) };
        let id = uuid::Uuid::from_u128(0x6f0a_1c52_93d4_4c0e_8f57_0000_0000_0000 + u128::from(n));
        writeln!(out, "{id},{},{status},{},{at},{ended}", 1 + n % 7, 1 + n / 7 % 9999).expect("it can be written");
    }
    out.flush().expect("it can be written");
    path
}

#[tokio::test]
async fn a_run_that_is_killed_is_made_whole_by_the_next() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let (open, finished) = (2_000, 22_000);
    let path = many(open, finished);
    let mut connection = database(&options).await;
    let mut kills = 0;
    // Killed at several places, as long as there is something left to kill.
    for share in [1, 4, 8, 12] {
        let mut command = options.command("backfill");
        command.arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = keeper::spawn(command).expect("it can be started");
        let enough = i64::from(open + finished) * share / 20;
        let start = std::time::Instant::now();
        while child.try_wait().expect("it can be asked").is_none() && count(&mut connection, "orders").await < enough {
            assert!(start.elapsed() < PATIENCE, "it does not get on");
        }
        if child.try_wait().expect("it can be asked").is_none() {
            child.kill().expect("it can be killed");
            kills += 1;
        }
        child.wait().expect("it ends");
    }
    assert!(kills > 0, "it was too fast for the test");
    let before = count(&mut connection, "orders").await;
    assert!(before < i64::from(open + finished));

    let report = back_fill(&options, &[shown(&path)]);
    assert!(report.contains("24000 rows read") && report.contains("skipped: 0"), "{report}");
    settled(&mut connection, i64::from(open + finished)).await;
    let all = i64::from(open + finished);
    assert_eq!(count(&mut connection, "(SELECT DISTINCT internal_order_id FROM orders) AS o").await, all);
    assert_eq!(count(&mut connection, "order_aliases").await, all);
    assert_eq!(count(&mut connection, "order_events WHERE kind = 'imported'").await, all);
    assert_eq!(count(&mut connection, "orders WHERE released_at IS NULL").await, i64::from(open));
    assert_eq!(count(&mut connection, "display_order_slots WHERE status = 'live'").await, i64::from(open));
    let mut in_redis = 0;
    for restaurant in 1..=7 {
        let orders = live(&daemon, restaurant).await;
        let numbers: BTreeSet<u64> = orders.iter().filter_map(|order| order["display_order_number"].as_u64()).collect();
        assert_eq!(numbers.len(), orders.len(), "no number twice");
        in_redis += orders.len();
    }
    assert_eq!(in_redis, 2_000);
    let report = back_fill(&options, &[shown(&path)]);
    assert!(report.contains("already there: 24000"), "{report}");
    verified(&options);
}

#[tokio::test]
async fn a_signal_stops_it_between_batches() {
    let options = deployment().await;
    let path = many(0, 60_000);
    let mut connection = database(&options).await;
    let mut command = options.command("backfill");
    command.arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = keeper::spawn(command).expect("it can be started");
    let start = std::time::Instant::now();
    while count(&mut connection, "orders").await == 0 {
        assert!(start.elapsed() < PATIENCE, "it does not get on");
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("pids are small"));
    kill(pid, Signal::SIGINT).expect("it runs");
    let ended = child.wait_with_output().expect("it ends");
    let report = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(130), "{report}");
    assert!(report.contains("run it again to go on"), "{report}");
    let there = count(&mut connection, "orders").await;
    assert!(report.contains(&format!("taken finished: {there}\n")), "{there}: {report}");
    let report = back_fill(&options, &[shown(&path)]);
    assert!(report.contains(&format!("already there: {there}\n")), "{there}: {report}");
    assert_eq!(count(&mut connection, "orders").await, 60_000);
}

#[tokio::test]
async fn an_order_that_was_completed_in_between_is_not_revived() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    back_fill(&options, &[SAMPLE]);
    let names = |orders: Vec<Value>| -> BTreeSet<String> {
        orders.iter().map(|order| order["customer_name"].as_str().expect("it has one").to_owned()).collect()
    };
    let alias = "/v1/orders/6f0a1c52-93d4-4c0e-8f57-0d9a6be1c005";
    let id = eventually(PATIENCE, || async {
        let (status, order) = get(&daemon, alias).await;
        (status == StatusCode::OK).then(|| order["internal_order_id"].clone())
    })
    .await;
    patch(&daemon, &id, json!({"status": "completed"})).await;
    // At once, while Redis still has it,
    assert!(back_fill(&options, &[SAMPLE]).contains("already there: 19"));
    assert!(!names(live(&daemon, 7).await).contains("María"));
    // and when it is only in the ledger.
    let key = format!("{}:*", options.namespace);
    let bytes = uuid::Uuid::parse_str(id.as_str().expect("text")).expect("a UUID").into_bytes();
    let url = options.redis_url.clone().expect("it has one");
    eventually_true(PATIENCE * 2, || async { !holds(&url, &key, &bytes).await }).await;
    assert!(back_fill(&options, &[SAMPLE]).contains("already there: 19"));
    assert!(!names(live(&daemon, 7).await).contains("María"));
    assert_eq!(found(&daemon, alias).await["status"], "completed");
    verified(&options);
}

/// Whether any hash of orders holds this one.
async fn holds(url: &str, pattern: &str, id: &[u8; 16]) -> bool {
    let client = redis::Client::open(url).expect("the URL is good");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.expect("it tells");
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.expect("it tells");
        if kind == "hash" {
            let here: bool =
                redis::cmd("HEXISTS").arg(&key).arg(id).query_async(&mut connection).await.expect("it tells");
            if here {
                return true;
            }
        }
    }
    false
}

#[tokio::test]
async fn an_order_that_ended_there_since_is_left_alone_here() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    back_fill(&options, &[SAMPLE]);
    let text = std::fs::read_to_string(SAMPLE).expect("it is there");
    let since = file("since.csv", text.replace(",in_progress,42,", ",closed,42,"));
    let report = back_fill(&options, &[shown(&since)]);
    assert!(report.contains("already there: 19"), "{report}");
    assert!(report.contains("1 orders have ended there and are still live here"), "{report}");
    assert_eq!(numbers(&daemon, 7, "customer_name").await["María"], 42);
}

#[tokio::test]
async fn rows_that_make_no_sense_are_skipped_with_their_reason() {
    let options = deployment().await;
    let good = format!(r#""restaurant_id": 7, "created_at": "{SAMPLE_DAY}T10:00:00Z""#);
    let mut text = Vec::new();
    let mut line = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        text.push(b'\n');
    };
    line(format!(r#"{{"id": 1, "status": "done", {good}, "note": "the first"}}"#).as_bytes());
    line(b"not JSON");
    line(b"[1, 2]");
    line(format!(r#"{{"status": "done", {good}}}"#).as_bytes());
    line(format!(r#"{{"id": 5, "status": "lost", {good}}}"#).as_bytes());
    line(
        format!(r#"{{"id": 6, "status": "done", "restaurant_id": 0, "created_at": "{SAMPLE_DAY}T10:00:00Z"}}"#)
            .as_bytes(),
    );
    line(br#"{"id": 7, "status": "done", "restaurant_id": 7, "created_at": "soon"}"#);
    line(br#"{"id": 8, "status": "done", "restaurant_id": 7, "created_at": "2190-01-01T00:00:00Z"}"#);
    line(br#"{"id": 9, "status": "done", "restaurant_id": 7, "created_at": "1970-01-01T00:00:00Z"}"#);
    line(format!(r#"{{"id": 1, "status": "new", {good}}}"#).as_bytes());
    line(format!(r#"{{"id": "n\u0000ul", "status": "done", {good}}}"#).as_bytes());
    line(&[br#"{"id": 12, "status": "done", "note": "caf"#, &b"\xe9"[..], br#"", "#, good.as_bytes(), b"}"].concat());
    line(
        format!(
            r#"{{"id": 13, "status": "done", "note": "n\u0000ul", {good}, "completed_at": "{SAMPLE_DAY}T09:00:00Z"}}"#
        )
        .as_bytes(),
    );
    line(format!(r#"{{"id": 14, "status": "done", "note": "\ud800", {good}}}"#).as_bytes());
    line("[".repeat(20_000).as_bytes());
    let remarks = scratch::folder("report").join("remarks.jsonl");
    let path = file("odd.jsonl", text);
    let report = back_fill(&options, &["--report", shown(&remarks), shown(&path)]);
    assert!(report.contains("15 rows read") && report.contains("taken finished: 2"), "{report}");
    for reason in [
        "4 unreadable: ",
        "2 bad_id: ",
        "1 unknown_status: ",
        "1 bad_restaurant_id: ",
        "1 bad_created_at: ",
        "2 created_at_out_of_range: ",
        "1 duplicate_id: ",
        "1 not_utf8: ",
        "--encoding windows-1252",
        "1 characters_taken_out: ",
        "1 time_moved: ",
        "can be put right",
    ] {
        assert!(report.contains(reason), "{reason}: {report}");
    }
    let text = std::fs::read_to_string(remarks).expect("it was written");
    let remarks: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(remarks.iter().filter(|remark| remark["outcome"] == "skipped").count(), 13);
    let lost = remarks.iter().find(|remark| remark["reason"] == "unknown_status").expect("it is there");
    assert_eq!(
        *lost,
        json!({"outcome": "skipped", "place": 5, "id": "5", "reason": "unknown_status", "detail": "\"lost\""})
    );
    let mut connection = database(&options).await;
    assert_eq!(count(&mut connection, "orders WHERE note IN ('the first', 'nul')").await, 2);
}

#[tokio::test]
async fn an_unknown_restaurant_and_a_full_pool_are_reasons() {
    let options = deployment().await.with("NOWSERVING_AUTO_PROVISION", false);
    let daemon = Daemon::start(&options);
    let small = json!({"min_number": 1, "max_number": 3});
    let url = format!("{}/v1/restaurants/7", daemon.url());
    assert!(Client::new().put(url).json(&small).send().await.expect("it answers").status().is_success());
    let mut rows = "id,restaurant_id,status,created_at\n".to_owned();
    for id in 1..=5 {
        rows.push_str(&format!("{id},7,new,{SAMPLE_DAY}T10:00:0{id}Z\n"));
    }
    rows.push_str(&format!("6,8,new,{SAMPLE_DAY}T10:00:00Z\n7,8,done,{SAMPLE_DAY}T10:00:00Z\n"));
    let path = file("rows.csv", rows);
    let report = back_fill(&options, &[shown(&path)]);
    assert!(report.contains("2 pool_exhausted: ") && report.contains("1 restaurant_unknown: "), "{report}");
    assert!(report.contains("taken live: 3,") && report.contains("taken finished: 1"), "{report}");
    // With more room, the rest is taken.
    let url = format!("{}/v1/restaurants/7", daemon.url());
    assert!(Client::new().put(url).json(&json!({})).send().await.expect("it answers").status().is_success());
    let report = back_fill(&options, &[shown(&path)]);
    assert!(report.contains("taken live: 2,") && report.contains("already there: 4"), "{report}");
}

#[tokio::test]
async fn the_older_systems_table_is_read() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let mut connection = database(&options).await;
    let script = format!(
        r#"CREATE SCHEMA "Old ""Till""";
           CREATE TYPE order_state AS ENUM ('pending', 'confirmed', 'completed', 'cancelled');
           CREATE TABLE "Old ""Till""".orders (
               id uuid PRIMARY KEY, restaurant_id bigint NOT NULL, order_number varchar(50), display_order_number integer,
               status order_state NOT NULL, table_number text, order_source text, total numeric(10, 2), metadata jsonb,
               created_at timestamptz NOT NULL, updated_at timestamp, completed_at timestamptz, photo bytea);
           INSERT INTO "Old ""Till""".orders
           SELECT ('aaaaaaaa-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 1 + n % 3, 'R-' || n, n,
                  (CASE WHEN n % 10 = 0 THEN 'confirmed' ELSE 'completed' END)::order_state, 'T' || n, 'pos', n * 1.5,
                  jsonb_build_object('n', n), timestamptz '{SAMPLE_DAY} 10:00:00.123456+02' + n * interval '1 second',
                  timestamp '{SAMPLE_DAY} 11:00:00' + n * interval '1 second', NULL, '\x00ff'
           FROM generate_series(1, 1500) AS n"#
    );
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.expect("the table can be made");
    let report = back_fill(&options, &["--from-table", r#""Old ""Till""".orders"#, "--time-zone", "UTC"]);
    assert!(report.contains("1500 rows read"), "{report}");
    assert!(report.contains("taken live: 150, of these 150 with their own number"), "{report}");
    assert!(report.contains("taken finished: 1350"), "{report}");
    let order = found(&daemon, "/v1/orders/aaaaaaaa-0000-4000-8000-000000000007").await;
    assert_eq!(order["created_at"], format!("{SAMPLE_DAY}T08:00:07.123Z"));
    assert_eq!(order["released_at"], format!("{SAMPLE_DAY}T11:00:07.000Z"), "updated_at, for want of a better one");
    assert_eq!((&order["order_number"], &order["metadata"]), (&json!("R-7"), &json!({"n": 7})));
    settled(&mut connection, 1500).await;

    // A view of it, with names of its own and ids of more digits than fit elsewhere; by URL, and again.
    let view = "CREATE VIEW moved AS SELECT 12345678901234567890123456789::numeric + display_order_number AS \"ID\",
                    restaurant_id, 'held' AS status, created_at FROM \"Old \"\"Till\"\"\".orders WHERE display_order_number < 3";
    sqlx::raw_sql(view).execute(&mut connection).await.expect("the view can be made");
    let url = options.database_url.clone().expect("it has one");
    for taken in [2, 0] {
        let report = back_fill(&options, &["--from-table", "moved", "--source-url", &url]);
        assert!(report.contains(&format!("taken live: {taken},")), "{report}");
    }
    let held = found(&daemon, "/v1/restaurants/2/orders?status=held").await;
    assert_eq!(held["orders"][0]["external_id"], "12345678901234567890123456790");
    let again = back_fill(&options, &["--from-table", r#""Old ""Till""".orders"#]);
    assert!(again.contains("already there: 1500"), "{again}");
    verified(&options);
}

#[tokio::test]
async fn metadata_is_the_same_in_both_stores_by_whatever_way_it_came() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let mut db = database(&options).await;
    let sent = r#"{"b": 1e16, "a": [-0.0, 1.0, 12.10, 5e-324, 9007199254740993], "": {}}"#;
    let kept = r#"{"":{},"a":[0,1,12.1,5e-324,9007199254740993],"b":10000000000000000}"#;
    let rounded = r#"{"sim": 89014103211118510720}"#;
    let columns = "id,restaurant_id,status,created_at,metadata";
    let at = "2026-03-14T10:00:00Z";
    let (mut csv, mut lines, mut inserts) = (columns.to_owned(), String::new(), Vec::new());
    for (n, (status, metadata)) in
        [("ready", sent), ("completed", sent), ("ready", rounded), ("completed", rounded)].into_iter().enumerate()
    {
        csv += &format!("\ncsv-{n},7,{status},{at},\"{}\"", metadata.replace('"', "\"\""));
        for (way, metadata) in [("object", metadata.to_owned()), ("text", json!(metadata).to_string())] {
            let row = format!(r#""id":"{way}-{n}","restaurant_id":7,"status":"{status}","created_at":"{at}""#);
            lines += &format!("{{{row},\"metadata\":{metadata}}}\n");
        }
        inserts.push(format!("('table-{n}', 7, '{status}', '{at}'::timestamptz, '{metadata}'::jsonb)"));
    }
    let table = format!("CREATE TABLE theirs AS SELECT * FROM (VALUES {}) AS t ({columns})", inserts.join(", "));
    sqlx::raw_sql(AssertSqlSafe(table)).execute(&mut db).await.expect("the table can be made");
    let (csv, lines) = (file("rows.csv", csv), file("rows.jsonl", lines));
    for (arguments, rows) in [(vec![shown(&csv)], 2), (vec![shown(&lines)], 4), (vec!["--from-table", "theirs"], 2)] {
        let report = back_fill(&options, &arguments);
        assert!(report.contains(&format!("taken live: {rows},")), "{report}");
        assert!(report.contains(&format!("taken finished: {rows}")), "{report}");
        assert!(report.contains("cannot be kept exactly"), "{report}");
    }
    settled(&mut db, 16).await;
    verified(&options);
    let query = "SELECT external_id, internal_order_id::text, coalesce(metadata, 'null') FROM orders ORDER BY 1";
    let rows: Vec<(String, String, Value)> = sqlx::query_as(query).fetch_all(&mut db).await.expect("they are there");
    for (name, id, in_ledger) in &rows {
        let kept = if name.ends_with(['0', '1']) { kept } else { "null" };
        assert_eq!(in_ledger.to_string(), kept, "{name}");
        // The open ones are in Redis.
        assert_eq!(found(&daemon, &format!("/v1/orders/{id}")).await["metadata"].to_string(), kept, "{name}");
    }
}

#[tokio::test]
async fn history_with_numbers_outside_the_pool_may_be_released_again() {
    let options = deployment().await.with("NOWSERVING_AUTO_PROVISION", false);
    let daemon = Daemon::start(&options);
    let settings = json!({"max_number": 20, "blocked_numbers": [5]});
    let at = format!("{}/v1/restaurants/7", daemon.url());
    let put = Client::new().put(at).json(&settings).send().await.expect("the daemon answers");
    assert_eq!(put.status(), StatusCode::OK);
    let columns = "id,restaurant_id,status,created_at,display_order_number";
    let row = |id: &str, restaurant: u32, status: &str, number: u32| {
        format!("{id},{restaurant},{status},2026-03-14T10:00:00Z,{number}\n")
    };
    let rows = [
        row("outside", 7, "completed", 20_000),
        row("blocked", 7, "cancelled", 5),
        row("inside", 7, "completed", 6),
        row("unknown", 8, "completed", 42),
        row("open-outside", 7, "ready", 30_000),
        row("open-blocked", 7, "ready", 5),
    ];
    let file = file("rows.csv", format!("{columns}\n{}", rows.concat()));
    let report = back_fill(&options, &[shown(&file)]);
    assert!(report.contains("taken live: 2, of these 0 with their own number"), "{report}");
    let again = back_fill(&options, &[shown(&file)]);
    assert!(again.contains("already there: 6"), "{again}");
    let mut db = database(&options).await;
    settled(&mut db, 6).await;
    let query = "SELECT external_id, internal_order_id::text FROM orders";
    let ids: Vec<(String, String)> = sqlx::query_as(query).fetch_all(&mut db).await.expect("they are there");
    for (name, id) in &ids {
        for immediate in [true, true, false] {
            let url = format!("{}/v1/orders/{id}/release", daemon.url());
            let answer = Client::new().post(url).json(&json!({ "immediate": immediate })).send().await;
            let answer = answer.expect("the daemon answers");
            let (status, body) = (answer.status(), answer.text().await.expect("text"));
            assert_eq!(status, StatusCode::OK, "{name}: {body}");
        }
    }
    verified(&options);
}

#[tokio::test]
async fn what_cannot_be_read_is_one_sentence() {
    let options = deployment().await;
    let empty = file("empty.csv", "");
    let semicolons = file("rows.csv", "id;restaurant_id\n1;7\n");
    let twice = file("twice.csv", "id,restaurant_id,status,createdAt,created_at\n");
    let unmapped = file("map.csv", "L1,0\n");
    let bad = file("rows.jsonl", "nothing\n");
    for (arguments, words) in [
        (vec!["/nowhere/orders.csv"], "cannot read /nowhere/orders.csv"),
        (vec!["orders.txt"], "cannot read orders.txt"),
        (vec!["--csv", "/"], "is a folder"),
        (vec![shown(&empty)], "has no column id"),
        (vec![shown(&semicolons)], "no column status, created_at; the first line was read as «id;restaurant_id»"),
        (vec![shown(&twice)], "\"createdAt\" and \"created_at\" are both created_at"),
        (vec!["--restaurant-map", shown(&unmapped), SAMPLE], "which is no restaurant's id here"),
        (vec![shown(&bad)], "its first line was read as «nothing»"),
        (vec!["--from-table", "nowhere.orders"], "no table or view nowhere.orders"),
        (vec!["--from-table", "a; DROP TABLE orders"], "no table or view"),
        // The ledger's own table is not what is meant.
        (vec!["--from-table", "orders"], "has no column id"),
        (vec!["--from-table", "orders", "--source-url", "mysql://x:secret@y/z"], "not a Postgres URL"),
        (
            vec!["--from-table", "orders", "--source-url", "postgres://x:secret@localhost/z?host=/nowhere"],
            "cannot be reached",
        ),
    ] {
        let done = options.run("backfill", &arguments);
        let said = refused(&done);
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(said.lines().count() == 1 && !said.contains("secret"), "{arguments:?}: {said}");
    }
    let nothing = file("none.csv", "id,restaurant_id,status,created_at\n");
    assert!(back_fill(&options, &[shown(&nothing)]).contains("0 rows read"));
}

#[tokio::test]
async fn standard_input_is_a_source() {
    let options = deployment().await;
    let mut command = options.command("backfill");
    let sample = std::fs::File::open(SAMPLE).expect("it is there");
    command.args(["--csv", "-"]).stdin(sample).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = keeper::spawn(command).expect("it can be started").wait_with_output().expect("it ends");
    assert!(done.status.success());
    assert!(String::from_utf8_lossy(&done.stdout).contains("standard input: 20 rows read"));
}

#[tokio::test]
async fn a_foreign_uuid_that_looks_like_one_of_ours_is_an_alias_all_the_same() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    // Version 8, of restaurant 1, as another deployment of this service would have made it.
    let foreign = "01a20694-05ca-8000-8000-0bbcc7a0032b";
    let now = chrono::Utc::now().to_rfc3339();
    let folder = scratch::folder("v8");
    let file = folder.join("orders.jsonl");
    let row = json!({"id": foreign, "restaurant_id": 31, "status": "pending", "created_at": now});
    std::fs::write(&file, row.to_string()).expect("it can be written");
    let report = back_fill(&options, &[file.to_str().expect("UTF-8")]);
    assert!(report.contains("taken live: 1"), "{report}");

    let url = format!("{}/v1/orders/{foreign}", daemon.url());
    let client = reqwest::Client::new();
    // It is live, and known by its alias once the ledger has it.
    eventually_true(PATIENCE, || async { client.get(&url).send().await.is_ok_and(|got| got.status() == 200) }).await;
    let changed = client.patch(&url).json(&json!({"status": "ready"})).send().await.expect("answers");
    assert_eq!(changed.status(), 200);
    let released = client.post(format!("{url}/release")).send().await.expect("answers");
    assert_eq!(released.status(), 200);
    let order: Value = released.json().await.expect("JSON");
    assert_eq!((&order["status"], &order["restaurant_id"]), (&json!("completed"), &json!(31)));
}

/// Someone waits for a large file.
#[tokio::test]
async fn a_terminal_is_shown_how_far_it_is() {
    let options = deployment().await;
    let _daemon = Daemon::start(&options);
    let rows: String = (0..2000).map(|n| format!("t{n},7,closed,{SAMPLE_DAY}T10:00:00Z\n")).collect();
    let path = file("rows.csv", format!("id,restaurant_id,status,created_at\n{rows}"));
    let plain = options.command("backfill");
    let words = [plain.get_program()].into_iter().chain(plain.get_args()).chain([path.as_os_str()]);
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_str().expect("text"))).collect();
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line.join(" "), "/dev/null"]).stdin(Stdio::null()).current_dir("/").env("TERM", "xterm");
    terminal.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let seen = terminal.output().expect("script (of util-linux) can be started");
    let text = String::from_utf8_lossy(&seen.stdout);
    assert!(seen.status.success() && text.contains("taken finished: 2000"), "{text}");
    let steps: BTreeSet<&str> = text.split(" rows (").filter_map(|before| before.rsplit(' ').next()).collect();
    assert!(text.contains(" % ") && steps.contains("2,000") && steps.len() > 2, "{steps:?}: {text}");

    let again = options.run("backfill", &[shown(&path)]);
    assert!(again.stdout.contains("already there: 2000") && !again.stderr.contains(" % "), "{again:?}");
}
