//! Usage: what the survey reports, the samples in the ledger, and the figures that are made of them.

mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::api::{id, text};
use crate::support::{Api, Daemon, DaemonOptions, OwnPostgres, PATIENCE, eventually, eventually_true, library};
use chrono::{DateTime, Timelike, Utc};
use nowserving::domain::usage::{Occupancy, Tally, UsageSample};
use nowserving::domain::{RestaurantId, Timestamp};
use nowserving::ledger::{Ledger, UsageBatch};
use rand::RngExt;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};
use uuid::Uuid;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A survey a second, a sample a second.
async fn quick() -> DaemonOptions {
    hurried(DaemonOptions::migrated().await)
}

fn hurried(options: DaemonOptions) -> DaemonOptions {
    options.with("NOWSERVING_SURVEY_INTERVAL_SECONDS", 1).with("NOWSERVING_USAGE_SAMPLE_SECONDS", 1)
}

/// The metrics whose series are those of the survey.
async fn surveyed(api: &Api) -> BTreeMap<String, f64> {
    let page = api.get("/metrics").await.text;
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.filter_map(|line| line.rsplit_once(' '));
    let ours = ["restaurant", "numbers{", "pool_utilization", "orders_overdue", "survey_leader"];
    samples
        .filter(|(series, _)| ours.iter().any(|name| series.starts_with(&format!("nowserving_{name}"))))
        .map(|(series, value)| (series.to_owned(), value.parse().expect("a number")))
        .collect()
}

async fn reports(api: &Api) -> bool {
    surveyed(api).await.contains_key("nowserving_restaurants")
}

async fn connect(options: &DaemonOptions) -> PgPool {
    let url = options.database_url.as_deref().expect("a Postgres that is not private");
    PgPoolOptions::new().max_connections(2).connect(url).await.expect("Postgres answers")
}

async fn ledger(options: &DaemonOptions) -> Ledger {
    let patience_ms = u64::try_from(PATIENCE.as_millis()).expect("a short time");
    let url = options.database_url.clone().expect("a Postgres that is not private");
    Ledger::connect(&url, &library::ledger_settings(patience_ms)).await.expect("Postgres answers")
}

/// Allocations and exhaustions of a restaurant, as the ledger has them.
async fn counted(pool: &PgPool, restaurant: i32) -> (i64, i64) {
    let query = "SELECT coalesce(sum(allocations), 0), coalesce(sum(exhaustions), 0) FROM slot_usage
                 WHERE restaurant_id = $1";
    let row = sqlx::query(query).bind(restaurant).fetch_one(pool).await.expect("Postgres answers");
    (row.get(0), row.get(1))
}

fn now() -> Timestamp {
    Utc::now().into()
}

fn restaurant(id: u32) -> RestaurantId {
    RestaurantId::new(id.into()).expect("in range")
}

/// A sample of a pool with so many numbers.
fn sample(id: u32, (live, cooling, numbers): (u32, u32, u32), allocations: u32, exhaustions: u32) -> UsageSample {
    let restaurant = restaurant(id);
    let occupancy = Occupancy { restaurant, free: numbers - live - cooling, live, cooling };
    UsageSample { restaurant, occupancy: Some(occupancy), tally: Tally { allocations, exhaustions } }
}

#[tokio::test]
async fn the_top_names_the_fullest_and_forgets_the_others() {
    let options = quick().await.with("NOWSERVING_USAGE_TOP", 2);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let mut orders = BTreeMap::new();
    for (restaurant, numbers, live) in [(1, 10, 9), (2, 10, 5), (3, 10, 2), (4, 20, 0)] {
        api.configure(restaurant, json!({"max_number": numbers})).await;
        for _ in 0..live {
            orders.entry(restaurant).or_insert_with(Vec::new).push(api.create(restaurant, json!({})).await);
        }
    }
    let in_top = |found: &BTreeMap<String, f64>| -> BTreeSet<String> {
        found
            .keys()
            .filter_map(|series| series.split("restaurant=\"").nth(1)?.split('"').next())
            .map(str::to_owned)
            .collect()
    };
    let seen = async |top: [&str; 2], free: f64| {
        eventually(PATIENCE, || async {
            let found = surveyed(&api).await;
            let fits = in_top(&found) == top.map(str::to_owned).into()
                && found["nowserving_numbers{state=\"free\"}"].total_cmp(&free).is_eq();
            fits.then_some(found)
        })
        .await
    };
    let found = seen(["1", "2"], 34.0).await;
    for (series, value) in [
        ("nowserving_restaurants", 4.0),
        ("nowserving_restaurants_exhausted", 0.0),
        ("nowserving_restaurants_exhausting{within=\"15m\"}", 0.0),
        ("nowserving_orders_overdue", 0.0),
        ("nowserving_survey_leader", 1.0),
        ("nowserving_restaurant_utilization_ratio{restaurant=\"1\"}", 0.9),
        ("nowserving_restaurant_numbers{restaurant=\"1\",range=\"main\",state=\"free\"}", 1.0),
        ("nowserving_restaurant_numbers{restaurant=\"1\",range=\"main\",state=\"live\"}", 9.0),
        ("nowserving_restaurant_numbers{restaurant=\"2\",range=\"main\",state=\"cooling\"}", 0.0),
        ("nowserving_pool_utilization_bucket{le=\"0\"}", 1.0),
        ("nowserving_pool_utilization_bucket{le=\"0.5\"}", 3.0),
        ("nowserving_pool_utilization_bucket{le=\"0.85\"}", 3.0),
        ("nowserving_pool_utilization_bucket{le=\"0.9\"}", 4.0),
        ("nowserving_pool_utilization_bucket{le=\"+Inf\"}", 4.0),
        ("nowserving_pool_utilization_count", 4.0),
    ] {
        assert_eq!(found.get(series), Some(&value), "{series} in {found:#?}");
    }
    // The first is emptied, the third is filled up: nothing of the first stays.
    for order in &orders[&1] {
        api.release(id(order), true).await.ok(200);
    }
    for _ in 0..8 {
        api.create(3, json!({})).await;
    }
    let found = seen(["2", "3"], 35.0).await;
    for (series, value) in [
        ("nowserving_restaurants_exhausted", 1.0),
        ("nowserving_restaurants_exhausting{within=\"4h\"}", 1.0),
        ("nowserving_restaurant_utilization_ratio{restaurant=\"3\"}", 1.0),
        ("nowserving_restaurant_exhaustion_seconds{restaurant=\"3\"}", 0.0),
    ] {
        assert_eq!(found.get(series), Some(&value), "{series} in {found:#?}");
    }
    // Prometheus reads it: no series, head or name twice.
    let page = api.get("/metrics").await.text;
    let mut known = BTreeSet::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        let name = if line.starts_with('#') { line } else { line.rsplit_once(' ').expect("a sample").0 };
        assert!(known.insert(name.to_owned()), "{name} is there twice");
    }
}

#[tokio::test]
async fn a_top_of_none_names_no_restaurant() {
    let daemon = Daemon::start(&quick().await.with("NOWSERVING_USAGE_TOP", 0));
    let api = Api::at(daemon.url());
    api.create(1, json!({})).await;
    let found = eventually(PATIENCE, || async {
        let found = surveyed(&api).await;
        (found.get("nowserving_numbers{state=\"live\"}") == Some(&1.0)).then_some(found)
    })
    .await;
    assert!(found.keys().all(|series| !series.contains("restaurant=")), "{found:#?}");
}

#[tokio::test]
async fn one_daemon_reports_and_another_takes_over() {
    let options = quick().await;
    let mut daemons: Vec<Daemon> = (0..3).map(|_| Daemon::start(&options)).collect();
    let leaders = async |daemons: &[Daemon]| {
        let mut found = Vec::new();
        for (i, daemon) in daemons.iter().enumerate() {
            let series = surveyed(&Api::at(daemon.url())).await;
            let leads = series["nowserving_survey_leader"] > 0.0;
            // Without the lease there is nothing but the news of it.
            assert!(leads || series.len() == 1, "{series:#?}");
            if series.contains_key("nowserving_restaurants") {
                found.push(i);
            }
        }
        found
    };
    Api::at(daemons[0].url()).create(7, json!({})).await;
    let mut last = None;
    for ended in ["killed", "stopped"] {
        let leader = eventually(PATIENCE, || async { leaders(&daemons).await.first().copied() }).await;
        // It stays the only one, over renewals.
        let until = std::time::Instant::now() + Duration::from_secs(3);
        while std::time::Instant::now() < until {
            assert_eq!(leaders(&daemons).await, [leader]);
        }
        let daemon = daemons.swap_remove(leader);
        if ended == "killed" {
            daemon.kill9();
        } else {
            let (status, output) = daemon.terminate();
            assert!(status.success(), "{output}");
        }
        last = Some(leader);
    }
    assert!(last.is_some());
    eventually_true(PATIENCE, || async { leaders(&daemons).await == [0] }).await;
    let found = surveyed(&Api::at(daemons[0].url())).await;
    assert_eq!(found.get("nowserving_restaurants"), Some(&1.0), "{found:#?}");
}

#[tokio::test]
async fn with_postgres_away_the_holder_goes_on_and_the_others_clean_up() {
    let postgres = OwnPostgres::start().await;
    let mut options = DaemonOptions::shared().await;
    options.database_url = Some(postgres.create_database("leases").await);
    options.migrate();
    let options = hurried(options);
    let first = Daemon::start(&options);
    let api = Api::at(first.url());
    eventually_true(PATIENCE, || reports(&api)).await;
    let second = Daemon::start(&options);
    let other = Api::at(second.url());
    api.configure(7, json!({})).await;
    let order = library::old_order(&options, 7, Duration::from_hours(2)).await;
    eventually_true(PATIENCE, || async {
        surveyed(&api).await.get("nowserving_numbers{state=\"live\"}") == Some(&1.0)
    })
    .await;
    let mut postgres = postgres;
    postgres.immediate();
    // Longer than the lease lasts: what happens now is still reported, by the same daemon.
    tokio::time::sleep(Duration::from_secs(11)).await;
    api.create(8, json!({})).await;
    eventually_true(PATIENCE, || async {
        surveyed(&api).await.get("nowserving_numbers{state=\"live\"}") == Some(&2.0)
    })
    .await;
    assert!(!reports(&other).await);
    api.get("/v1/usage/top").await.problem(503, "unavailable");
    api.get("/v1/restaurants/7/usage").await.problem(503, "unavailable");
    // Without it no daemon reports, but forgotten orders are expired.
    first.kill9();
    other.configure(7, json!({"active_window_seconds": 60})).await;
    eventually_true(PATIENCE, || async { text(&other.order(&order).await.ok(200), "status") == "expired" }).await;
    assert!(!reports(&other).await);
    postgres.restart().await;
    eventually_true(PATIENCE, || reports(&other)).await;
}

#[tokio::test]
async fn what_two_daemons_count_adds_up() {
    let options = quick().await;
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let apis = daemons.each_ref().map(|daemon| Api::at(daemon.url()));
    apis[0].configure(2, json!({"max_number": 5})).await;
    let tills = (0..8).map(|till: usize| {
        let api = apis[till % 2].clone();
        tokio::spawn(async move {
            for i in 0..25 {
                api.create(1, json!({})).await;
                // Of the 200 that ask for one of five numbers, 195 get none.
                let answer = api.post("/v1/restaurants/2/orders", json!({})).await;
                assert!([201, 409].contains(&answer.status), "{answer:?}");
                // The same again is no allocation.
                let key = format!("{till}/{i}");
                for _ in 0..2 {
                    api.create_with_key(3, &key, &json!({})).await.ok(201);
                }
            }
        })
    });
    for till in futures_util::future::join_all(tills).await {
        till.expect("a till does not panic");
    }
    let pool = connect(&options).await;
    let state = "SELECT live, cooling, free FROM slot_usage WHERE restaurant_id = 2 AND live IS NOT NULL
                 ORDER BY sampled_at DESC LIMIT 1";
    let sampled = eventually(PATIENCE, || async {
        let row = sqlx::query(state).fetch_optional(&pool).await.expect("Postgres answers")?;
        Some((row.get(0), row.get(1), row.get(2))).filter(|(live, ..): &(i32, i32, i32)| *live == 5)
    })
    .await;
    assert_eq!(sampled, (5, 0, 0));
    // Stopping writes what was not sampled yet, into a span of its own: that of the sample is over.
    apis[1].create(1, json!({})).await;
    for daemon in daemons {
        let (status, output) = daemon.terminate();
        assert!(status.success(), "{output}");
    }
    assert_eq!(counted(&pool, 1).await, (201, 0));
    assert_eq!(counted(&pool, 2).await, (5, 195));
    assert_eq!(counted(&pool, 3).await, (200, 0));
    let spans = "SELECT count(DISTINCT sampled_at) FROM slot_usage";
    let spans: i64 = sqlx::query_scalar(spans).fetch_one(&pool).await.expect("Postgres answers");
    assert!(spans > 1, "all was put into one span");
}

#[tokio::test]
async fn an_idle_restaurant_is_not_sampled_but_that_it_became_idle_is() {
    let options = quick().await;
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    api.configure(9, json!({})).await;
    let order = api.create(7, json!({})).await;
    let pool = connect(&options).await;
    let rows = async |live: i32| -> i64 {
        let query = "SELECT count(*) FROM slot_usage WHERE restaurant_id = 7 AND live = $1";
        sqlx::query_scalar(query).bind(live).fetch_one(&pool).await.expect("Postgres answers")
    };
    eventually_true(PATIENCE, || async { rows(1).await >= 2 }).await;
    // A survey between the making of the pool and its first order has found no live one, and its sample has that order's
    // allocation.
    let before = rows(0).await;
    api.release(id(&order), true).await.ok(200);
    eventually_true(PATIENCE, || async { rows(0).await == before + 1 }).await;
    // Another restaurant's samples prove that time goes on.
    api.create(8, json!({})).await;
    eventually_true(PATIENCE, || async {
        let query = "SELECT count(*) FROM slot_usage WHERE restaurant_id = 8 AND live = 1";
        let rows: i64 = sqlx::query_scalar(query).fetch_one(&pool).await.expect("Postgres answers");
        rows >= 3
    })
    .await;
    assert_eq!(rows(0).await, before + 1, "once is enough");
    let never: i64 = sqlx::query_scalar("SELECT count(*) FROM slot_usage WHERE restaurant_id = 9")
        .fetch_one(&pool)
        .await
        .expect("Postgres answers");
    assert_eq!(never, 0);
}

#[tokio::test]
async fn counts_wait_for_postgres() {
    let mut postgres = OwnPostgres::start().await;
    let mut options = DaemonOptions::shared().await;
    options.database_url = Some(postgres.create_database("usage").await);
    options.migrate();
    let options = hurried(options);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for _ in 0..3 {
        api.create(1, json!({})).await;
    }
    let before = connect(&options).await;
    eventually_true(PATIENCE, || async { counted(&before, 1).await == (3, 0) }).await;
    before.close().await;
    postgres.immediate();
    for _ in 0..4 {
        api.create(1, json!({})).await;
        // Several spans pass.
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    eventually_true(PATIENCE, || async { daemon.output().contains("samples of usage cannot be written") }).await;
    api.create(1, json!({})).await;
    postgres.restart().await;
    let after = connect(&options).await;
    eventually_true(PATIENCE, || async { counted(&after, 1).await == (8, 0) }).await;
}

#[tokio::test]
async fn a_batch_that_is_sent_twice_counts_once() {
    let options = DaemonOptions::migrated().await;
    let (ledger, pool) = (ledger(&options).await, connect(&options).await);
    let span = Timestamp::from_unix_ms(now().unix_ms() / 1000 * 1000);
    let batch = |number, allocations| UsageBatch {
        number,
        span,
        samples: vec![sample(1, (1, 1, 10), allocations, 1)],
        completes_survey: true,
    };
    let (one, another) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for (daemon, number, allocations, expected) in [
        (one, 1, 5, (5, 1)),
        (one, 1, 5, (5, 1)),
        (another, 1, 7, (12, 2)),
        (one, 2, 1, (13, 3)),
        (one, 1, 5, (13, 3)),
        (another, 1, 7, (13, 3)),
    ] {
        ledger.write_usage(daemon, &batch(number, allocations)).await.expect("Postgres answers");
        assert_eq!(counted(&pool, 1).await, expected);
    }
    // Many at once, of many restaurants: none waits for another in a ring.
    let many = (10..18).map(|daemon| {
        let samples = (1..500).map(|id| sample(id, (1, 1, 10), 1, 0)).collect();
        let (ledger, batch) = (ledger.clone(), UsageBatch { number: 1, span, samples, completes_survey: true });
        tokio::spawn(async move { ledger.write_usage(Uuid::from_u128(daemon), &batch).await })
    });
    for written in futures_util::future::join_all(many).await {
        written.expect("it does not panic").expect("Postgres answers");
    }
    assert_eq!(counted(&pool, 499).await, (8, 0));
}

/// What a roll-up, or an answer, should say of some samples: samples, live and utilization in the mean and at most,
/// least free, allocations, exhaustions.
type Figures = (i64, f64, i64, f64, f64, Option<i64>, i64, i64);

fn model<'a>(samples: impl IntoIterator<Item = &'a UsageSample>) -> Figures {
    let samples: Vec<&UsageSample> = samples.into_iter().collect();
    let pools: Vec<Occupancy> = samples.iter().filter_map(|sample| sample.occupancy).collect();
    let count = f64::from(u32::try_from(pools.len().max(1)).expect("few"));
    let utilization =
        |pool: &Occupancy| f64::from(pool.live + pool.cooling) / f64::from(pool.live + pool.cooling + pool.free);
    (
        i64::try_from(pools.len()).expect("few"),
        pools.iter().map(|pool| f64::from(pool.live)).sum::<f64>() / count,
        pools.iter().map(|pool| i64::from(pool.live)).max().unwrap_or(0),
        pools.iter().map(utilization).sum::<f64>() / count,
        pools.iter().map(utilization).max_by(f64::total_cmp).unwrap_or(0.0),
        pools.iter().map(|pool| i64::from(pool.free)).min(),
        samples.iter().map(|sample| i64::from(sample.tally.allocations)).sum(),
        samples.iter().map(|sample| i64::from(sample.tally.exhaustions)).sum(),
    )
}

#[track_caller]
fn assert_close(found: Figures, expected: Figures) {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
    let exact = |f: &Figures| (f.0, f.2, f.5, f.6, f.7);
    let fits = close(found.1, expected.1) && close(found.3, expected.3) && close(found.4, expected.4);
    assert!(fits && exact(&found) == exact(&expected), "{found:?} is not {expected:?}");
}

/// Figures in JSON; without samples, means and peaks are null.
fn told(figures: &Value) -> Figures {
    let int = |name: &str| figures[name].as_i64();
    let float = |name: &str| figures[name].as_f64().unwrap_or(0.0);
    assert_eq!(figures["samples"] == json!(0), figures["live_mean"].is_null(), "{figures}");
    (
        int("samples").expect("a count"),
        float("live_mean"),
        int("live_peak").unwrap_or(0),
        float("utilization_mean"),
        float("utilization_peak"),
        int("free_least"),
        int("allocations").expect("a count"),
        int("exhaustions").expect("a count"),
    )
}

/// Random samples of a restaurant, every five minutes of these hours; by the beginning of their span.
fn random_samples(id: u32, hours: impl IntoIterator<Item = i64>) -> BTreeMap<i64, UsageSample> {
    let mut rng = rand::rng();
    let mut samples = BTreeMap::new();
    for hour in hours {
        for span in (hour..hour + HOUR_MS).step_by(300_000) {
            let (live, cooling) = (rng.random_range(0..50), rng.random_range(0..40));
            let mut sample = sample(id, (live, cooling, 100), rng.random_range(0..9), rng.random_range(0..3));
            if rng.random_ratio(1, 10) {
                // Only counted in.
                sample.occupancy = None;
            }
            if rng.random_ratio(9, 10) {
                samples.insert(span, sample);
            }
        }
    }
    samples
}

async fn write_samples(ledger: &Ledger, samples: &BTreeMap<i64, UsageSample>) {
    let daemon = Uuid::from_u128(rand::random());
    for (number, (span, sample)) in (1..).zip(samples) {
        let batch =
            UsageBatch { number, span: Timestamp::from_unix_ms(*span), samples: vec![*sample], completes_survey: true };
        ledger.write_usage(daemon, &batch).await.expect("Postgres answers");
    }
}

#[tokio::test]
async fn hours_are_rolled_up_as_a_model_does_it() {
    let options = DaemonOptions::migrated().await;
    let (ledger, pool) = (ledger(&options).await, connect(&options).await);
    let this_hour = now().unix_ms() / HOUR_MS * HOUR_MS;
    let hour = this_hour - 3 * HOUR_MS;
    let mut samples = random_samples(1, [hour, this_hour]);
    let before = random_samples(2, [hour - 24 * HOUR_MS]);
    write_samples(&ledger, &samples).await;
    write_samples(&ledger, &before).await;
    let rolled_up = async |restaurant: i32| -> Vec<(i64, Figures)> {
        let query = "SELECT hour, samples::bigint, live_mean::float8, live_peak::bigint, utilization_mean::float8,
                            utilization_peak::float8, free_least::bigint, allocations::bigint, exhaustions::bigint
                     FROM slot_usage_hourly WHERE restaurant_id = $1 ORDER BY hour";
        let rows = sqlx::query(query).bind(restaurant).fetch_all(&pool).await.expect("Postgres answers");
        let figures = |row: &sqlx::postgres::PgRow| {
            (row.get(1), row.get(2), row.get(3), row.get(4), row.get(5), row.get(6), row.get(7), row.get(8))
        };
        let hour = |row: &sqlx::postgres::PgRow| row.get::<DateTime<Utc>, _>(0).timestamp_millis();
        rows.iter().map(|row| (hour(row), figures(row))).collect()
    };
    // An hour that is not over, or was only a moment ago, is left alone.
    assert_eq!(ledger.roll_up_usage(Timestamp::from_unix_ms(hour + HOUR_MS + 59_000)).await.expect("it answers"), 1);
    assert_eq!(rolled_up(1).await, []);
    assert_eq!(ledger.roll_up_usage(now()).await.expect("Postgres answers"), 1);
    assert_eq!(ledger.roll_up_usage(now()).await.expect("Postgres answers"), 0, "there is nothing new");
    let of_hour = |samples: &BTreeMap<i64, UsageSample>| model(samples.range(hour..hour + HOUR_MS).map(|(_, s)| s));
    let found = rolled_up(1).await;
    assert_eq!(found.iter().map(|(hour, _)| *hour).collect::<Vec<_>>(), [hour]);
    assert_close(found[0].1, of_hour(&samples));
    assert_close(rolled_up(2).await[0].1, model(before.values()));
    // Samples that come late are taken in by the next.
    let late = sample(1, (90, 10, 100), 1000, 7);
    let span = (hour..).step_by(1000).find(|span| !samples.contains_key(span)).expect("some second has none");
    write_samples(&ledger, &BTreeMap::from([(span, late)])).await;
    samples.insert(span, late);
    assert_eq!(ledger.roll_up_usage(now()).await.expect("Postgres answers"), 1);
    assert_close(rolled_up(1).await[0].1, of_hour(&samples));
}

#[tokio::test]
async fn a_roll_up_misses_no_sample_that_is_written_meanwhile() {
    let options = DaemonOptions::migrated().await;
    let (ledger, pool) = (ledger(&options).await, connect(&options).await);
    let hour = now().unix_ms() / HOUR_MS * HOUR_MS - 3 * HOUR_MS;
    let writers = (0..4_u128).map(|writer| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            for number in 1..=30 {
                let span = Timestamp::from_unix_ms(hour + i64::try_from(number).expect("few") % 12 * 300_000);
                let batch =
                    UsageBatch { number, span, samples: vec![sample(1, (1, 0, 10), 1, 0)], completes_survey: true };
                ledger.write_usage(Uuid::from_u128(writer), &batch).await.expect("Postgres answers");
            }
        })
    });
    let writers = futures_util::future::join_all(writers);
    let rolls = async {
        for _ in 0..20 {
            ledger.roll_up_usage(now()).await.expect("Postgres answers");
        }
    };
    let (written, ()) = tokio::join!(writers, rolls);
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    ledger.roll_up_usage(now()).await.expect("Postgres answers");
    let rolled_up = "SELECT sum(allocations) FROM slot_usage_hourly";
    let rolled_up: i64 = sqlx::query_scalar(rolled_up).fetch_one(&pool).await.expect("Postgres answers");
    assert_eq!((rolled_up, counted(&pool, 1).await), (120, (120, 0)));
}

#[tokio::test]
async fn old_days_and_months_are_dropped() {
    let options = DaemonOptions::migrated().await;
    let (ledger, pool) = (ledger(&options).await, connect(&options).await);
    let at = |days_ago: i64| Timestamp::from_unix_ms((now().unix_ms() / DAY_MS - days_ago) * DAY_MS);
    for (number, days_ago) in (1..).zip([0, 2, 3, 4, 70, 500]) {
        let batch = UsageBatch {
            number,
            span: at(days_ago),
            samples: vec![sample(1, (1, 0, 10), 1, 0)],
            completes_survey: true,
        };
        ledger.write_usage(Uuid::from_u128(1), &batch).await.expect("Postgres answers");
    }
    ledger.roll_up_usage(at(-1)).await.expect("Postgres answers");
    let days = async || -> BTreeSet<i64> {
        let query = "SELECT DISTINCT sampled_at FROM slot_usage";
        let found: Vec<DateTime<Utc>> = sqlx::query_scalar(query).fetch_all(&pool).await.expect("Postgres answers");
        found.iter().map(|day| (at(0).unix_ms() - day.timestamp_millis()) / DAY_MS).collect()
    };
    let hours = async || -> i64 {
        let query = "SELECT count(*) FROM slot_usage_hourly";
        sqlx::query_scalar(query).fetch_one(&pool).await.expect("Postgres answers")
    };
    assert_eq!((days().await, hours().await), ([0, 2, 3, 4, 70, 500].into(), 6));
    ledger.make_usage_partitions(now()).await.expect("Postgres answers");
    // A long reader is not waited for, nor are those behind it held up.
    let mut reader = pool.begin().await.expect("Postgres answers");
    sqlx::query("SELECT FROM slot_usage LIMIT 1").execute(&mut *reader).await.expect("Postgres answers");
    ledger.drop_usage(now(), 3, 400).await.expect("it leaves what it cannot have");
    assert_eq!(days().await, [0, 2, 3, 4, 70, 500].into());
    reader.rollback().await.expect("Postgres answers");
    // Two at once.
    let keep = || ledger.drop_usage(now(), 3, 400);
    let kept = tokio::join!(keep(), keep());
    assert!(kept.0.is_ok() && kept.1.is_ok(), "{kept:?}");
    assert_eq!(days().await, [0, 2, 3].into());
    assert_eq!(hours().await, 5, "the month of 500 days ago is gone, that of 70 days ago is not");
    let partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'slot_usage'::regclass";
    let partitions: i64 = sqlx::query_scalar(partitions).fetch_one(&pool).await.expect("Postgres answers");
    assert_eq!(partitions, 6, "three with samples, and three ahead");
    // And the daemon does it.
    let batch =
        UsageBatch { number: 7, span: at(30), samples: vec![sample(1, (1, 0, 10), 1, 0)], completes_survey: true };
    ledger.write_usage(Uuid::from_u128(1), &batch).await.expect("Postgres answers");
    let _daemon = Daemon::start(&options);
    eventually_true(PATIENCE, || async { !days().await.contains(&30) }).await;
}

#[tokio::test]
async fn a_restaurants_usage_is_as_a_model_says() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_USAGE_SAMPLE_SECONDS", 300);
    let ledger = ledger(&options).await;
    let this_hour = now().unix_ms() / HOUR_MS * HOUR_MS;
    let mut samples = random_samples(1, (2..30).map(|ago| this_hour - ago * HOUR_MS));
    // Months ago, by the hour only.
    let long_ago = this_hour / DAY_MS * DAY_MS - 60 * DAY_MS;
    samples.extend(random_samples(1, (0..48).map(|hour| long_ago + hour * HOUR_MS)));
    write_samples(&ledger, &samples).await;
    ledger.roll_up_usage(now()).await.expect("Postgres answers");
    // Some hours have late samples that are not rolled up.
    let late = random_samples(1, [this_hour - 2 * HOUR_MS]);
    let late: BTreeMap<_, _> = late.into_iter().filter(|(span, _)| !samples.contains_key(span)).collect();
    write_samples(&ledger, &late).await;
    samples.extend(late);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for (from, to, step) in [
        (this_hour - 30 * HOUR_MS, this_hour, "1h"),
        (this_hour - 30 * HOUR_MS, this_hour, "5m"),
        (this_hour - 30 * HOUR_MS, this_hour, "15m"),
        (this_hour - 30 * HOUR_MS, this_hour, "3h"),
        (long_ago, this_hour, "1d"),
        (long_ago, long_ago + 2 * DAY_MS, "1h"),
    ] {
        let (from_text, to_text) = (Timestamp::from_unix_ms(from), Timestamp::from_unix_ms(to));
        let path = format!("/v1/restaurants/1/usage?from={from_text}&to={to_text}&step={step}");
        let usage = api.get(&path).await.ok(200);
        let ms = |value: &Value| {
            value.as_str().expect("a time").parse::<DateTime<Utc>>().expect("a time").timestamp_millis()
        };
        let (from, to) = (ms(&usage["from"]), ms(&usage["to"]));
        let step_ms = usage["step_seconds"].as_i64().expect("seconds") * 1000;
        assert!(from <= from_text.unix_ms() && to >= to_text.unix_ms() && (to - from) % step_ms == 0, "{usage}");
        let within: Vec<(&i64, &UsageSample)> = samples.range(from..to).collect();
        let mut expected: BTreeMap<i64, Vec<&UsageSample>> = BTreeMap::new();
        let mut by_hour: BTreeMap<u32, Vec<&UsageSample>> = BTreeMap::new();
        for (span, sample) in &within {
            expected.entry((*span - from) / step_ms * step_ms + from).or_default().push(sample);
            by_hour.entry(Timestamp::from_unix_ms(**span).to_datetime().hour()).or_default().push(sample);
        }
        let series = usage["series"].as_array().expect("a series");
        assert_eq!(
            series.iter().map(|step| ms(&step["at"])).collect::<Vec<_>>(),
            expected.keys().copied().collect::<Vec<_>>()
        );
        for step in series {
            assert_close(told(step), model(expected[&ms(&step["at"])].iter().copied()));
        }
        assert_close(told(&usage["summary"]), model(within.iter().map(|(_, sample)| *sample)));
        let hours = usage["hours_of_day"].as_array().expect("hours");
        assert_eq!(hours.len(), 24);
        for (hour, of_day) in (0..).zip(hours) {
            assert_eq!(of_day["hour"], hour);
            assert_close(told(of_day), model(by_hour.get(&hour).into_iter().flatten().copied()));
        }
        let days = f64::from(u32::try_from((to.min(now().unix_ms()) - from) / 1000).expect("months")) / 86_400.0;
        let uses = usage["summary"]["allocations"].as_f64().expect("a count") / 9999.0 / days;
        let turnover = &usage["turnover"];
        assert!((turnover["uses_per_day"].as_f64().expect("a rate") - uses).abs() < uses / 100.0, "{turnover}");
        let seconds = turnover["seconds_between_uses"].as_f64().expect("it was used");
        assert!((seconds * uses / 86_400.0 - 1.0).abs() < 0.01, "{turnover}");
    }
}

#[tokio::test]
async fn a_forecast_is_made_of_samples_and_the_present() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_USAGE_SAMPLE_SECONDS", 60);
    let ledger = ledger(&options).await;
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    api.configure(1, json!({"max_number": 100})).await;
    assert_eq!(api.get("/v1/restaurants/1/usage").await.ok(200)["exhaustion_minutes"], json!(null));
    for _ in 0..60 {
        api.create(1, json!({})).await;
    }
    // Five a minute were taken until now: 40 are left.
    let minute = now().unix_ms() / 60_000 * 60_000;
    let samples = (1..=10_u32).map(|ago| {
        let free = 40 + 5 * (ago - 1);
        (minute - i64::from(ago) * 60_000, sample(1, (100 - free, 0, 100), 0, 0))
    });
    write_samples(&ledger, &samples.collect()).await;
    let usage = api.get("/v1/restaurants/1/usage").await.ok(200);
    let minutes = usage["exhaustion_minutes"].as_f64().unwrap_or_else(|| panic!("no forecast: {usage}"));
    assert!((7.0..10.0).contains(&minutes), "{minutes}");
    assert_eq!((&usage["present"]["free"], &usage["present"]["live"]), (&json!(40), &json!(60)));
    for _ in 0..40 {
        api.create(1, json!({})).await;
    }
    assert_eq!(api.get("/v1/restaurants/1/usage").await.ok(200)["exhaustion_minutes"], json!(0.0));
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_AUTO_PROVISION", false);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    api.configure(7, json!({})).await;
    for (query, faults) in [
        ("from=yesterday", vec!["/from invalid_value"]),
        ("to=", vec![]),
        ("from=2026-11-24T00:00:00Z&to=2026-11-24T00:00:00Z", vec!["/from invalid_value"]),
        ("from=2999-01-01T00:00:00Z", vec!["/from invalid_value"]),
        ("from=2026-11-25&to=2026-11-24", vec!["/from invalid_value"]),
        ("from=2020-01-01&to=2020-01-01&step=5m", vec!["/step invalid_value"]),
        ("from=2020-01-01&to=2020-01-01&step=1h", vec![]),
        ("step=0s", vec!["/step out_of_range"]),
        ("step=1500ms", vec!["/step out_of_range"]),
        ("step=60d", vec!["/step out_of_range"]),
        ("step=soon&limit=5", vec!["/limit unknown_parameter", "/step invalid_value"]),
        ("step=1s", vec!["/step out_of_range"]),
        ("from=1970-01-01T00:00:00Z&step=1h", vec!["/step out_of_range"]),
        ("from=2020-01-01T00:00:00Z&to=2020-01-01T01:00:00Z&step=5m", vec!["/step invalid_value"]),
        ("from=2020-01-01T00:00:00Z&to=2020-01-01T01:00:00Z&step=90m", vec!["/step invalid_value"]),
        ("from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z&step=1h", vec![]),
        ("from=1970-01-01T00:00:00Z&step=31d", vec![]),
        ("to=9999-12-31T23:59:59Z", vec![]),
    ] {
        let answer = api.get(&format!("/v1/restaurants/7/usage?{query}")).await;
        if faults.is_empty() {
            let usage = answer.ok(200);
            assert_eq!((&usage["series"], &usage["summary"]["samples"]), (&json!([]), &json!(0)), "{query}");
            assert_eq!(usage["turnover"]["seconds_between_uses"], json!(null));
            continue;
        }
        assert_eq!(answer.faults(422, "invalid_parameter"), faults, "{query}");
    }
    api.get("/v1/restaurants/8/usage").await.problem(404, "restaurant_not_found");
    api.get("/v1/restaurants/0/usage").await.problem(422, "invalid_parameter");
    for query in ["by=size", "limit=0", "limit=201", "by=live&by=live", "cursor=x"] {
        api.get(&format!("/v1/usage/top?{query}")).await.problem(422, "invalid_parameter");
    }
    assert_eq!(
        api.get("/v1/usage/top").await.ok(200),
        json!({"by": "utilization", "as_of": null, "restaurants": []}),
        "nothing was sampled yet"
    );
}

#[tokio::test]
async fn every_daemon_knows_the_top() {
    let options = quick().await;
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let apis = daemons.each_ref().map(|daemon| Api::at(daemon.url()));
    for (restaurant, numbers, orders, asked) in [(1, 10, 10, 13), (2, 100, 20, 20), (3, 10, 5, 5), (4, 10, 0, 0)] {
        apis[0].configure(restaurant, json!({"max_number": numbers})).await;
        for i in 0..asked {
            let answer = apis[i % 2].post(&format!("/v1/restaurants/{restaurant}/orders"), json!({})).await;
            assert_eq!(answer.status, if i < orders { 201 } else { 409 });
        }
    }
    let ranked = async |api: &Api, query: &str| -> (Value, Vec<u64>) {
        let top = api.get(&format!("/v1/usage/top?{query}")).await.ok(200);
        let restaurants = top["restaurants"].as_array().expect("a ranking").clone();
        (top, restaurants.iter().map(|ranked| ranked["restaurant_id"].as_u64().expect("an id")).collect())
    };
    for api in &apis {
        for (query, expected) in [
            ("", vec![1, 3, 2]),
            ("by=utilization&limit=1", vec![1]),
            ("by=live", vec![2, 1, 3]),
            ("by=allocations&limit=2", vec![2, 1]),
            ("by=exhaustions&limit=200", vec![1]),
        ] {
            eventually_true(PATIENCE, || async { ranked(api, query).await.1 == expected }).await;
        }
        let (top, _) = ranked(api, "by=exhaustions").await;
        let first = json!({"restaurant_id": 1, "utilization": 1.0, "free": 0, "live": 10, "cooling": 0,
                           "allocations": 10, "exhaustions": 3});
        assert_eq!(top["restaurants"][0], first, "{top}");
        let as_of: DateTime<Utc> = text(&top, "as_of").parse().expect("a time");
        assert!((Utc::now() - as_of).num_seconds() < 60, "{top}");
    }
}
