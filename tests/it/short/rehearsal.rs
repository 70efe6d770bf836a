//! `nowserving rehearse` on orders that a real daemon made: under the settings that they had each gets the number that it
//! had, under others it is told what would have happened, and nothing is changed.

use std::{fs::File, path::Path, process::Stdio};

use crate::support::{
    Api, Clock, Daemon, DaemonOptions, OwnRedis, PATIENCE,
    api::{id, number, text},
    daemon::Finished,
    eventually, keeper, scratch,
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

const RESTAURANT: u32 = 7;

/// A daemon with its Redis on one clock, and what was asked of it.
struct Shop {
    clock: Clock,
    ahead_seconds: i64,
    options: DaemonOptions,
    _redis: OwnRedis,
    api: Api,
    live: Vec<Value>,
    completed: Vec<String>,
    made: Vec<Value>,
    dice: u64,
}

impl Shop {
    async fn open(settings: Value) -> (Daemon, Self) {
        let clock = Clock::new();
        let redis = OwnRedis::start_with_clock(&clock, &[]).await;
        let mut options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 1).with_clock(&clock);
        options.redis_url = Some(redis.url());
        let daemon = Daemon::start(&options);
        let api = Api::at(daemon.url());
        api.configure(RESTAURANT, settings).await;
        let (live, completed, made) = (Vec::new(), Vec::new(), Vec::new());
        (daemon, Self { clock, ahead_seconds: 0, options, _redis: redis, api, live, completed, made, dice: 42 })
    }

    /// A number below `sides`; the same ones in each run.
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    fn pass(&mut self, seconds: i64) {
        self.ahead_seconds += seconds;
        self.clock.set(self.ahead_seconds);
    }

    async fn order(&mut self, body: Value) {
        let order = self.api.create(RESTAURANT, body).await;
        self.live.push(order.clone());
        self.made.push(order);
    }

    /// Something that happens in a restaurant.
    async fn happen(&mut self) {
        match self.roll(12) {
            0..=3 => {
                let source = ["app", "pos"][self.roll(2) as usize];
                self.order(json!({"order_source": source})).await;
            }
            4 => self.order(json!({"table_number": "12"})).await,
            5 if self.roll(3) == 0 => {
                let wished = 201 + self.made.len();
                self.order(json!({"requested_number": wished})).await;
            }
            6..=8 if !self.live.is_empty() => {
                let at = self.roll(self.live.len() as u64) as usize;
                let order = self.live.remove(at);
                match self.roll(5) {
                    0 => _ = self.api.release(id(&order), true).await.ok(200),
                    1 => _ = self.api.patch(id(&order), json!({"status": "cancelled"})).await.ok(200),
                    _ => {
                        self.api.patch(id(&order), json!({"status": "completed"})).await.ok(200);
                        self.completed.push(id(&order).to_owned());
                    }
                }
            }
            // The order moves to another table and channel: when it came, it was another one.
            9 if !self.live.is_empty() => {
                let at = self.roll(self.live.len() as u64) as usize;
                let moved = json!({"table_number": "40", "order_source": "kiosk"});
                self.api.patch(id(&self.live[at]), moved).await.ok(200);
            }
            10 => {
                // Its number may rest no more.
                if let Some(order) = self.completed.pop() {
                    let reopened = self.api.reopen(&order).await;
                    if reopened.status == 200 {
                        self.live.push(reopened.value());
                    }
                }
            }
            _ => {
                let seconds = self.roll(120) as i64;
                self.pass(seconds);
            }
        }
    }

    fn rehearse(&self, arguments: &[&str]) -> Finished {
        self.options.run("rehearse", &[&[&*RESTAURANT.to_string()], arguments].concat())
    }

    fn report(&self, from: &str, more: &[&str]) -> Value {
        let to = "2100-01-01T00:00:00Z";
        let finished = self.rehearse(&[&["--from", from, "--to", to, "--json"], more].concat());
        assert!(finished.status.success(), "{finished:?}");
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
    }

    /// Waits until the ledger has as many orders as were made.
    async fn recorded(&self) -> Value {
        let first = text(&self.made[0], "created_at").to_owned();
        eventually(PATIENCE, || async {
            let report = self.report(&first, &[]);
            Some(report).filter(|report| report["orders"] == self.made.len())
        })
        .await
    }

    /// All that a rehearsal reads.
    async fn ledger(&self) -> Vec<String> {
        let url = self.options.database_url.as_deref().expect("a database");
        let mut ledger = PgConnection::connect(url).await.expect("Postgres answers");
        let mut rows = Vec::new();
        for table in ["orders", "order_events", "restaurants", "display_order_slots", "slot_usage"] {
            let all = format!("SELECT coalesce(string_agg(t::text, '|' ORDER BY t::text), '') FROM {table} AS t");
            rows.push(
                sqlx::query_scalar(sqlx::AssertSqlSafe(all)).fetch_one(&mut ledger).await.expect("it can be read"),
            );
        }
        rows
    }
}

fn pool() -> Value {
    json!({
        "max_number": 400, "cooldown_seconds": 600, "active_window_seconds": 30 * 86_400,
        "ranges": [{"id": "bar", "min_number": 501, "max_number": 503, "overflow": true,
                    "match": {"order_source": ["app"]}}],
        "business_day": {"starts_at": "04:00", "reset": "daily", "first_number": 101},
        "time_zone": "Europe/Berlin",
    })
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).expect("it can be written");
    file.to_str().expect("UTF-8").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_get_the_numbers_that_they_had_and_a_smaller_pool_runs_out() {
    let (daemon, mut shop) = Shop::open(pool()).await;
    let reservation = |number: u32| format!("/v1/restaurants/{RESTAURANT}/reservations/{number}");
    shop.api.put(&reservation(120), json!({"table_number": "12"})).await;
    shop.order(json!({})).await;
    for _ in 0..120 {
        shop.happen().await;
    }
    // The date is set on by hand: the rings begin anew. The table gets another number.
    let day = format!("/v1/restaurants/{RESTAURANT}/business-day");
    let today: chrono::NaiveDate = text(&shop.api.get(&day).await.ok(200), "date").parse().expect("a date");
    shop.api.put(&day, json!({"date": today + chrono::Days::new(1)})).await.ok(200);
    assert_eq!(shop.api.json("DELETE", &reservation(120), &json!({})).await.status, 204);
    shop.api.put(&reservation(190), json!({"table_number": "12"})).await;
    for _ in 0..80 {
        shop.happen().await;
    }
    // Two days later what was live still is, and the rings begin anew by themselves.
    shop.pass(54 * 3600);
    let third_part = shop.made.len();
    for _ in 0..100 {
        shop.happen().await;
    }
    let report = shop.recorded().await;
    assert_eq!(report["same_number"], shop.made.len(), "{report:#}");
    let would = &report["as_it_would_have_been"];
    assert!(would["resets"].as_u64() >= Some(2), "{report:#}");
    for figure in ["fullest_minute", "shortest_rest", "overflowed", "misheard"] {
        assert_eq!(would[figure], report["as_it_was"][figure], "{figure}");
    }
    // The history is not in vain.
    assert_eq!(report["as_it_was"]["overflowed"][0]["range"], "bar");
    for reason in ["reserved", "reserved_is_live", "requested"] {
        assert!(shop.made.iter().any(|order| order["number_reason"] == reason), "{reason}");
    }
    assert!(shop.made.iter().any(|order| number(order) == 101));
    let reopened = shop.api.get(&format!("/v1/restaurants/{RESTAURANT}/events?kind=reopened")).await.ok(200);
    assert_ne!(reopened["events"], json!([]));

    // Of the last part, the pool is known by what the ledger says of the instant a day before.
    for part in [third_part, third_part / 2] {
        let report = shop.report(text(&shop.made[part], "created_at"), &[]);
        assert!(report["orders"].as_u64() >= Some((shop.made.len() - part) as u64), "{report:#}");
        assert_eq!(report["same_number"], report["orders"], "{report:#}");
    }

    assert!(daemon.terminate().0.success());
    let before = shop.ledger().await;
    let folder = scratch::folder("rehearse");
    let smaller = file(
        &folder,
        "smaller.json",
        r#"{"max_number": 130, "min_number": 121, "ranges": null,
        "business_day": {"first_number": null}}"#,
    );
    let first = text(&shop.made[0], "created_at");
    let report = shop.report(first, &["--settings", &smaller]);
    let would = &report["as_it_would_have_been"];
    assert!(would["refused"].as_u64() > Some(0), "{report:#}");
    assert_eq!(would["ran_out"][0]["range"], Value::Null);
    assert_eq!(
        (&report["settings"]["max_number"], &report["settings"]["cooldown_seconds"]),
        (&json!(130), &json!(600))
    );
    assert_eq!(would["fullest_minute"]["utilization"], 1.0);

    // As text; the settings come by standard input, and the time is a business date of Berlin.
    let mut command = shop.options.command("rehearse");
    let today = today.to_string();
    command.args(["7", "--from", &today, "--to", &today, "--settings", "-"]);
    command.stdin(File::open(&smaller).expect("it is there")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = keeper::spawn(command).expect("it can be started").wait_with_output().expect("it ends");
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{page} {}", String::from_utf8_lossy(&output.stderr));
    for part in ["with ", "max_number 130", "as it would have been", "main would have run out from", "orders refused"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert_eq!(shop.ledger().await, before, "a rehearsal changed something");
}

#[tokio::test]
async fn what_cannot_be_rehearsed_is_told() {
    let (_daemon, shop) = Shop::open(json!({"max_number": 50})).await;
    let folder = scratch::folder("rehearse");
    let refused = |arguments: &[&str]| {
        let finished = shop.options.run("rehearse", arguments);
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
        finished.stderr
    };
    let time = ["--from", "2090-01-01", "--to", "2090-01-02"];
    eventually(PATIENCE, || async { shop.rehearse(&time).status.success().then_some(()) }).await;
    let unknown = refused(&[&["8"], &time[..]].concat());
    assert!(unknown.contains("the ledger does not know restaurant 8"), "{unknown}");
    for (from, to) in [("2090-01-02T00:00:00Z", "2090-01-02T00:00:00Z"), ("2090-01-03", "2090-01-01")] {
        let backwards = refused(&["7", "--from", from, "--to", to]);
        assert!(backwards.contains("--from must be before --to"), "{backwards}");
    }
    let early = refused(&["7", "--from", "2001-01-01", "--to", "2090-01-01"]);
    assert!(early.contains("the ledger has no events of 2001-01-01T00:00:00.000Z: it has them since 20"), "{early}");
    for (settings, faults) in [
        (r#"{"max_number": 0, "colour": 1}"#, &["/max_number ", "/colour "][..]),
        (r#"{"ranges": [{"id": "bar", "min_number": 50, "max_number": 60}]}"#, &["/ranges/0 overlaps the main range"]),
        (r#"{"min_number": 60}"#, &["max_number must not be below min_number"]),
        ("{", &["cannot be read as JSON"]),
        ("[]", &["must be a JSON object"]),
    ] {
        let file = file(&folder, "wrong.json", settings);
        let told = refused(&[&["7"], &time[..], &["--settings", &file]].concat());
        for fault in faults {
            assert!(told.contains(fault), "{settings}: {told}");
        }
        assert!(told.contains("wrong.json"), "{told}");
    }
    let missing = refused(&[&["7"], &time[..], &["--settings", "/not/there"]].concat());
    assert!(missing.contains("/not/there"), "{missing}");
    let no_time = shop.options.run("rehearse", &["7", "--from", "yesterday", "--to", "2090-01-01"]);
    assert_eq!(no_time.status.code(), Some(1));
    assert!(no_time.stderr.contains("must be a time such as"), "{no_time:?}");
}
