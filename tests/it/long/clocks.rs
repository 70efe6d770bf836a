//! Clocks that are wrong, set or lag behind: Redis's decides, none has authority alone, and time never goes back.

mod dates;

use std::time::Duration;

use crate::support::api::{Answer, id, number, text};
use crate::support::{
    Api, Clock, Daemon, DaemonOptions, OwnPostgres, OwnRedis, PATIENCE, Proxy, eventually, eventually_true, library,
};
use chrono::{DateTime, Utc};
use nowserving::allocator::{Allocator, AllocatorError};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// A Redis, a Postgres and a daemon, whose clocks can be set.
struct World {
    redis: OwnRedis,
    _postgres: OwnPostgres,
    redis_clock: Clock,
    postgres_clock: Clock,
    daemon_clock: Clock,
    options: DaemonOptions,
}

impl World {
    async fn new() -> Self {
        let [redis_clock, postgres_clock, daemon_clock] = [Clock::new(), Clock::new(), Clock::new()];
        let redis = OwnRedis::start_with_clock(&redis_clock, &[]).await;
        let postgres = OwnPostgres::start_with_clock(&postgres_clock).await;
        let mut options = DaemonOptions::local().with("NOWSERVING_PARTITIONS", 1).with_clock(&daemon_clock);
        options.redis_url = Some(redis.url());
        options.database_url = Some(postgres.create_database("ledger").await);
        options.migrate();
        Self { redis, _postgres: postgres, redis_clock, postgres_clock, daemon_clock, options }
    }

    fn start(&self) -> (Daemon, Api) {
        started(&self.options)
    }

    /// A daemon that logs what its housekeeping leaves alone, and why.
    fn start_talkative(&self) -> (Daemon, Api) {
        started(&self.options.clone().with("NOWSERVING_LOG_FILTER", "info,nowserving::service=debug"))
    }

    async fn ledger(&self) -> PgPool {
        PgPool::connect(self.options.database_url.as_deref().expect("a database")).await.expect("Postgres answers")
    }

    /// What Redis takes for the time.
    async fn now(&self) -> DateTime<Utc> {
        let told = redis::cmd("TIME").query_async::<(i64, u32)>(&mut self.redis.connect().await).await;
        let (seconds, micros) = told.expect("Redis answers");
        DateTime::from_timestamp(seconds, micros * 1000).expect("a time")
    }

    /// Waits until the outbox holds nothing that the ledger lacks.
    async fn drained(&self) {
        let outbox = format!("{}:{{0}}:outbox", self.options.namespace);
        eventually_true(PATIENCE, || async {
            let length = redis::cmd("XLEN").arg(&outbox).query_async(&mut self.redis.connect().await).await;
            length == Ok(0_u64)
        })
        .await;
    }

    async fn flush(&self) {
        redis::cmd("FLUSHALL").exec_async(&mut self.redis.connect().await).await.expect("Redis answers");
    }

    async fn run(&self, statement: &str) {
        let statement = AssertSqlSafe(statement.to_owned());
        sqlx::query(statement).execute(&self.ledger().await).await.expect("a good statement");
    }

    async fn count(&self, from: &str) -> i64 {
        let query = AssertSqlSafe(format!("SELECT count(*) FROM {from}"));
        sqlx::query_scalar(query).fetch_one(&self.ledger().await).await.expect("a good statement")
    }

    fn assert_sound(&self) {
        let verified = self.options.run("verify", &[]);
        assert!(verified.status.success(), "{verified:?}");
    }
}

fn started(options: &DaemonOptions) -> (Daemon, Api) {
    let daemon = Daemon::start(options);
    let api = Api::at(daemon.url());
    (daemon, api)
}

/// A field that is a time.
#[track_caller]
fn time(value: &Value, field: &str) -> DateTime<Utc> {
    text(value, field).parse().unwrap_or_else(|_| panic!("{field} is no time in {value}"))
}

/// Waits until a daemon has logged this. A pass of its housekeeping that failed is made again after a minute.
async fn logged(daemon: &Daemon, line: &str) {
    eventually_true(PATIENCE * 3, || async { daemon.output().contains(line) }).await;
}

/// What is served as soon as it is.
async fn served(ask: impl AsyncFn() -> Answer) -> Answer {
    eventually(PATIENCE, || async {
        let answer = ask().await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

async fn series(api: &Api, series: &str) -> Option<f64> {
    let metrics = api.get("/metrics").await.text;
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
    value.and_then(|value| value.parse().ok())
}

/// Whether an order is among those that a list or a search answers with.
async fn is_found(api: &Api, path: &str, order: &Value) -> bool {
    let found = served(async || api.get(path).await).await.ok(200);
    found["orders"].as_array().expect("a list").iter().any(|found| id(found) == id(order))
}

async fn with_key(api: &Api, key: &str, path: &str) -> Answer {
    api.send("GET", path, &[("authorization", format!("Bearer {key}").as_bytes())], None).await
}

fn make_key(options: &DaemonOptions, expires_in: &str) -> String {
    let made = options.run("keys", &["create", "--name", "till", "--role", "admin", "--expires-in", expires_in]);
    assert!(made.status.success(), "{made:?}");
    made.stdout.trim().to_owned()
}

const SLOTS: &str = "/v1/restaurants/7/slots";

const LIVE: &str = "/v1/restaurants/7/orders";
const SEARCH: &str = "/v1/restaurants/7/search?q=1";
const SEARCH_IN_THE_PAST: &str = "/v1/restaurants/7/search?q=1&include_completed=true";

/// The months of orders that are kept.
const MONTHS: &str = "pg_inherits WHERE inhparent = 'orders'::regclass";

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_clock_is_wrong_takes_the_time_from_redis() {
    for wrong in [-400 * DAY, 400 * DAY, -5 * HOUR, 90] {
        let mut world = World::new().await;
        world.options = world
            .options
            .with("NOWSERVING_AUTH_MODE", "keys")
            .with("NOWSERVING_LEDGER_RETAIN_ORDERS_DAYS", 31)
            .with("NOWSERVING_LEDGER_RETAIN_EVENTS_DAYS", 31);
        world.daemon_clock.set(wrong);
        let (month, moment) = (make_key(&world.options, "30d"), make_key(&world.options, "1s"));
        let (daemon, api) = world.start();
        let called = async |method: &str, path: &str, body: Value| {
            let authorization = format!("Bearer {month}");
            let headers = [("authorization", authorization.as_bytes()), ("content-type", b"application/json")];
            api.send(method, path, &headers, Some(body.to_string().into_bytes())).await
        };
        called("PUT", "/v1/restaurants/7", json!({"active_window_seconds": 3600})).await.ok(200);
        let before = world.now().await;
        let order = called("POST", "/v1/restaurants/7/orders", json!({})).await.ok(201);
        for field in ["created_at", "number_given_at", "updated_at"] {
            let off = (time(&order, field) - before).num_milliseconds();
            assert!(
                (-1000..60_000).contains(&off),
                "{field} is {off} ms off where the daemon's clock is {wrong} s off"
            );
        }
        // One is good, and one has expired, whatever the daemon's clock says; and also when it is put right.
        eventually_true(PATIENCE, || async { with_key(&api, &moment, SLOTS).await.status == 401 }).await;
        for clock in [wrong, 0, -wrong] {
            world.daemon_clock.set(clock);
            with_key(&api, &month, SLOTS).await.ok(200);
            with_key(&api, &moment, SLOTS).await.problem(401, "unauthenticated");
            let cleaned = called("POST", "/v1/restaurants/7/cleanup", json!({})).await.ok(200);
            assert_eq!(cleaned["orders"], json!([]), "{cleaned}");
            let path = format!("/v1/orders/{}", id(&order));
            assert_eq!(text(&with_key(&api, &month, &path).await.ok(200), "status"), "pending");
            for path in [LIVE, SEARCH, SEARCH_IN_THE_PAST] {
                let found = with_key(&api, &month, path).await.ok(200);
                assert_eq!(id(&found["orders"][0]), id(&order), "{path} with the clock {clock} s off: {found}");
            }
        }
        // Its history is not taken for old.
        eventually_true(PATIENCE, || async { world.count("months_due").await == 0 && world.count(MONTHS).await > 11 })
            .await;
        let (status, output) = daemon.terminate();
        assert!(status.success() && !output.contains("letting go"), "{output}");
        world.daemon_clock.set(0);
        world.assert_sound();
    }
}

/// What cannot be undone waits until all clocks agree.
#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_redis_alone_drops_no_history() {
    let mut world = World::new().await;
    world.options = world.options.with("NOWSERVING_LEDGER_RETAIN_ORDERS_DAYS", 31);
    let (daemon, api) = world.start();
    let order = api.create(7, json!({})).await;
    api.release(id(&order), true).await.ok(200);
    world.drained().await;
    // Months are made for 366 days: at the end of one, these reach into a thirteenth.
    eventually_true(PATIENCE, || async {
        series(&api, "nowserving_ledger_months_ahead").await.is_some_and(|months| months >= 12.0)
    })
    .await;
    // Samples of usage are history, too: this is today's partition.
    let today = world.now().await.format("slot_usage_y%Ym%md%d").to_string();
    let usage = format!("pg_class WHERE relname = '{today}'");
    eventually_true(PATIENCE, || async { world.count(&usage).await == 1 }).await;
    assert!(daemon.terminate().0.success());
    let is_kept = async |why: &str| {
        for _ in 0..2 {
            world.run("UPDATE months_due SET seen_at = seen_at - interval '2 hours'").await;
            let (daemon, api) = world.start_talkative();
            logged(&daemon, "no month is let go of while the clocks do not agree").await;
            logged(&daemon, "no sample of usage is dropped while the clocks do not agree").await;
            served(async || api.order(id(&order)).await).await.ok(200);
            assert!(daemon.terminate().0.success());
        }
        assert!(world.count(MONTHS).await >= 12 && world.count(&usage).await == 1, "{why}");
    };
    world.redis_clock.set(400 * DAY);
    is_kept("Redis's clock is alone with it").await;
    world.postgres_clock.set(400 * DAY);
    is_kept("the daemon's clock says something else").await;
    world.postgres_clock.set(0);
    world.daemon_clock.set(400 * DAY);
    is_kept("Postgres's clock says something else").await;

    // Where all say so, it is 400 days later: the month goes, after a look at it and an hour.
    world.postgres_clock.set(400 * DAY);
    let (daemon, _) = world.start();
    eventually_true(PATIENCE, || async { world.count("months_due").await > 0 }).await;
    assert!(daemon.terminate().0.success());
    assert!(world.count(&format!("orders WHERE internal_order_id = '{}'", id(&order))).await == 1, "it was just seen");
    world.run("UPDATE months_due SET seen_at = seen_at - interval '2 hours'").await;
    let (_daemon, api) = world.start();
    eventually_true(PATIENCE * 2, || async { api.order(id(&order)).await.status == 404 }).await;
    eventually_true(PATIENCE, || async { world.count(&usage).await == 0 }).await;
}

/// Clean-up by itself waits, too, until all clocks agree that orders are old.
#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_redis_alone_expires_no_order() {
    let mut world = World::new().await;
    world.options = world.options.with("NOWSERVING_SURVEY_INTERVAL_SECONDS", 1);
    let (_daemon, api) = world.start();
    let order = api.create(7, json!({})).await;
    world.redis_clock.set(DAY);
    let overdue = async || series(&api, "nowserving_orders_overdue").await == Some(1.0);
    eventually_true(PATIENCE, || async { overdue().await }).await;
    world.postgres_clock.set(DAY);
    for _ in 0..3 {
        const WALKS: &str = "nowserving_survey_duration_seconds_count";
        let before = series(&api, WALKS).await;
        eventually_true(PATIENCE, || async { series(&api, WALKS).await > before }).await;
        assert!(overdue().await, "it is seen, and left alone");
        assert_eq!(text(&api.order(id(&order)).await.ok(200), "status"), "pending");
    }
    world.daemon_clock.set(DAY);
    eventually_true(PATIENCE, || async { text(&api.order(id(&order)).await.ok(200), "status") == "expired" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_postgres_ends_no_rest() {
    for wrong in [5 * HOUR, -5 * HOUR, 400 * DAY] {
        let world = World::new().await;
        let (daemon, api) = world.start();
        api.configure(7, json!({"max_number": 20, "cooldown_seconds": 14_400, "policy": "lowest"})).await;
        let order = api.create(7, json!({})).await;
        api.release(id(&order), false).await.ok(200);
        world.drained().await;
        world.postgres_clock.set(wrong);
        // The ledger's housekeeping runs when a daemon starts.
        assert!(daemon.terminate().0.success());
        for _ in 0..2 {
            let (daemon, api) = world.start_talkative();
            logged(&daemon, "no rest is forgotten while the clocks do not agree").await;
            world.flush().await;
            let found = served(async || api.get("/v1/restaurants/7/numbers/1").await).await.ok(200);
            assert_eq!(text(&found, "state"), "cooling", "with Postgres's clock {wrong} s off");
            let next = served(async || api.post("/v1/restaurants/7/orders", json!({})).await).await.ok(201);
            assert_ne!(number(&next), 1);
            assert!(is_found(&api, LIVE, &next).await && is_found(&api, SEARCH_IN_THE_PAST, &order).await);
            assert!(daemon.terminate().0.success());
        }
        world.postgres_clock.set(0);
        world.assert_sound();
    }
}

/// Two clocks that were set are not enough.
#[tokio::test(flavor = "multi_thread")]
async fn rests_are_forgotten_when_all_clocks_agree_that_they_are_over() {
    let world = World::new().await;
    let (daemon, api) = world.start();
    let order = api.create(7, json!({})).await;
    api.release(id(&order), false).await.ok(200);
    world.drained().await;
    assert!(daemon.terminate().0.success());
    let keep_house_after = async |days: i64| {
        world.redis_clock.set(days * DAY);
        world.postgres_clock.set(days * DAY);
        let (daemon, _) = world.start();
        // The samples of usage, which have a partition a day, are seen to behind the rests.
        let today = world.now().await.format("pg_class WHERE relname = 'slot_usage_y%Ym%md%d'").to_string();
        eventually_true(PATIENCE, || async { world.count(&today).await == 1 }).await;
        assert!(daemon.terminate().0.success());
    };
    keep_house_after(40).await;
    assert_eq!(world.count("display_order_slots").await, 1, "the daemon's clock says something else");
    world.daemon_clock.set(80 * DAY);
    keep_house_after(80).await;
    assert_eq!(world.count("display_order_slots").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stamps_never_go_back_where_the_clock_of_redis_does() {
    let world = World::new().await;
    let (_daemon, api) = world.start();
    api.configure(7, json!({"max_number": 3, "cooldown_seconds": 0, "policy": "lowest"})).await;
    let mut last = world.now().await - chrono::TimeDelta::seconds(1);
    let mut numbers = Vec::new();
    for ahead in [0, HOUR, 0, -HOUR, -DAY, 30, -30, 2 * DAY, 0] {
        world.redis_clock.set(ahead);
        for _ in 0..3 {
            let order = served(async || api.post("/v1/restaurants/7/orders", json!({})).await).await.ok(201);
            let given = time(&order, "number_given_at");
            assert!(given >= last, "given at {given}, after {last} (clock {ahead} s ahead)");
            assert!(time(&order, "created_at") <= given);
            let ready = served(async || api.patch(id(&order), json!({"status": "ready"})).await).await.ok(200);
            assert!(time(&ready, "updated_at") >= given);
            for path in [LIVE, SEARCH, SEARCH_IN_THE_PAST] {
                assert!(is_found(&api, path, &order).await, "{path} (clock {ahead} s ahead)");
            }
            let ended = served(async || api.release(id(&order), true).await).await.ok(200);
            last = time(&ended, "released_at");
            assert!(last >= time(&ready, "updated_at"));
            assert!(is_found(&api, SEARCH_IN_THE_PAST, &order).await && !is_found(&api, LIVE, &order).await);
            numbers.push(number(&order));
        }
    }
    assert!(numbers.iter().all(|number| *number == 1), "each was free again: {numbers:?}");
    world.drained().await;
    // The lives of number 1 do not overlap, and the log is in the order of its times.
    world.assert_sound();
    let out_of_order =
        "(SELECT occurred_at < lag(occurred_at) OVER (ORDER BY sequence) AS back FROM order_events) AS e WHERE back";
    assert_eq!(world.count(out_of_order).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rests_follow_the_clock_of_redis_as_it_is_now() {
    let world = World::new().await;
    let (_daemon, api) = world.start();
    api.configure(7, json!({"max_number": 1, "cooldown_seconds": 3600})).await;
    // A day ahead for a while: stamps stay there, rests do not become a day longer.
    world.redis_clock.set(DAY);
    let first = served(async || api.post("/v1/restaurants/7/orders", json!({})).await).await.ok(201);
    api.release(id(&first), true).await.ok(200);
    world.redis_clock.set(0);
    let order = served(async || api.post("/v1/restaurants/7/orders", json!({})).await).await.ok(201);
    api.release(id(&order), false).await.ok(200);
    let next_free_at = time(&api.slots(7).await, "next_free_at");
    let rest = (next_free_at - world.now().await).num_seconds();
    assert!((3500..=3600).contains(&rest), "it rests for {rest} s");
    api.post("/v1/restaurants/7/orders", json!({})).await.problem(409, "pool_exhausted");
    world.redis_clock.set(3601);
    let next = served(async || api.post("/v1/restaurants/7/orders", json!({})).await).await.ok(201);
    assert!(time(&next, "number_given_at") >= time(&order, "number_given_at"));
    world.drained().await;
    world.assert_sound();
}

/// What is remembered of the calls of the last seconds is not remembered for as long as the clock went back.
#[tokio::test(flavor = "multi_thread")]
async fn calls_from_before_a_step_back_are_forgotten() {
    let world = World::new().await;
    let (_daemon, api) = world.start();
    let order = api.create(7, json!({})).await;
    let change = async |round: usize| {
        let status = ["ready", "held"][round % 2];
        let change = json!({ "status": status });
        served(async || api.patch(id(&order), change.clone()).await).await.ok(200);
    };
    world.redis_clock.set(DAY);
    for round in 0..250 {
        change(round).await;
    }
    world.redis_clock.set(0);
    // As many again would be more than are remembered.
    for round in 0..20 {
        change(round).await;
    }
    let stored = world.redis.connect().await;
    let packed: Vec<Vec<u8>> = redis::cmd("HVALS")
        .arg(format!("{}:{{0}}:order:7", world.options.namespace))
        .query_async(&mut stored.clone())
        .await
        .expect("Redis answers");
    assert!((20..100).contains(&packed[0][43]), "{} calls are remembered", packed[0][43]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_follow_a_step_of_the_clock_of_redis_both_ways() {
    let mut world = World::new().await;
    world.options = world.options.with("NOWSERVING_AUTH_MODE", "keys");
    let key = make_key(&world.options, "30d");
    let (_daemon, api) = world.start();
    with_key(&api, &key, SLOTS).await.ok(200);
    for (ahead, status) in [(31 * DAY, 401), (0, 200), (-400 * DAY, 200), (40 * DAY, 401), (0, 200)] {
        world.redis_clock.set(ahead);
        eventually_true(PATIENCE, || async { with_key(&api, &key, SLOTS).await.status == status }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_do_not_agree_are_reported() {
    let world = World::new().await;
    let (daemon, api) = world.start();
    let warnings = async || api.get("/readyz").await.ok(200)["warnings"].to_string();
    let doctor = || world.options.run("doctor", &[]);
    assert_eq!(warnings().await, "null");
    for (clock, ahead) in [(&world.postgres_clock, 300), (&world.daemon_clock, -300)] {
        clock.set(ahead);
    }
    let is_off = async |clock: &str, seconds: std::ops::Range<f64>| {
        let metric = format!("nowserving_clock_difference_seconds{{clock=\"{clock}\"}}");
        series(&api, &metric).await.is_some_and(|value| seconds.contains(&value))
    };
    eventually_true(PATIENCE, || async {
        is_off("postgres", 290.0..310.0).await && is_off("daemon", -310.0..-290.0).await
    })
    .await;
    // A look at it is good for a quarter of a second.
    let sentences =
        ["the clock of Postgres is ", " s ahead of Redis's", "the clock of this machine is ", " s behind Redis's"];
    eventually_true(PATIENCE, || async {
        let said = warnings().await;
        sentences.iter().all(|sentence| said.contains(sentence))
    })
    .await;
    let advice = doctor();
    assert_eq!(advice.status.code(), Some(2), "{advice:?}");
    for sentence in ["WRONG  the clock of Redis is", "WRONG  the clock of Postgres is"] {
        assert!(advice.stdout.contains(sentence), "{advice:?}");
    }
    for clock in [&world.postgres_clock, &world.daemon_clock] {
        clock.set(0);
    }
    eventually_true(PATIENCE, || async { warnings().await == "null" }).await;
    // A step of Redis's is known for an hour.
    world.redis_clock.set(600);
    eventually_true(PATIENCE, || async {
        series(&api, "nowserving_redis_clock_steps_total").await.is_some_and(|steps| steps >= 1.0)
    })
    .await;
    world.redis_clock.set(0);
    eventually_true(PATIENCE, || async { warnings().await.contains("the clock of Redis was set") }).await;
    assert!(daemon.output().contains("Redis's clock was set"), "{}", daemon.output());
    // A drift is none.
    assert!(series(&api, "nowserving_redis_clock_steps_total").await.is_some_and(|steps| steps <= 2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_sees_that_the_clock_of_redis_was_set_back() {
    const LINE: &str = "note   the clock of Redis was set back: the last change of an order is stamped ";
    let world = World::new().await;
    let (_daemon, api) = world.start();
    let doctor = || world.options.run("doctor", &[]);
    api.create(7, json!({})).await;
    world.drained().await;
    let advice = doctor();
    assert!(
        advice.stdout.contains("no events wait for the ledger") && !advice.stdout.contains("set back"),
        "{advice:?}"
    );
    world.redis_clock.set(HOUR);
    served(async || api.post(LIVE, json!({})).await).await.ok(201);
    world.drained().await;
    world.redis_clock.set(0);
    let advice = doctor();
    assert!(advice.stdout.contains(LINE), "{advice:?}");
    world.redis_clock.set(2 * HOUR);
    assert!(!doctor().stdout.contains(LINE), "it is past that stamp");
}

/// A daemon that Redis has told nothing yet knows no time, and takes none for it.
#[tokio::test]
async fn before_redis_has_told_the_time_there_is_none() {
    let redis = OwnRedis::start().await;
    let settings = library::redis_settings("none");
    let allocator = Allocator::new(&redis.url(), &settings, 1, Duration::from_secs(60)).expect("a good URL");
    assert!(matches!(allocator.now(), Err(AllocatorError::NoTime)));
    assert!(allocator.idempotency_since().is_err());
    allocator.ping().await.expect("Redis answers");
    assert!(allocator.now().is_ok());
}

/// The way to Redis takes long, so that a daemon asks for a number while another order has it.
#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_number_begins_when_it_is_given() {
    let redis = OwnRedis::start().await;
    let proxy = Proxy::start(&redis.socket());
    let mut options = DaemonOptions::migrated().await.with("NOWSERVING_REDIS_TIMEOUT_MS", PATIENCE.as_millis());
    options.redis_url = Some(redis.url());
    let (_slow, slow) = started(&DaemonOptions { redis_url: Some(proxy.url()), ..options.clone() });
    let (_quick, quick) = started(&options);
    quick.configure(7, json!({"max_number": 1})).await;
    let first = quick.create(7, json!({})).await;
    proxy.hold();
    let asked = Utc::now();
    let second = tokio::spawn({
        let slow = slow.clone();
        async move { slow.create(7, json!({})).await }
    });
    eventually_true(PATIENCE, || async { series(&slow, "nowserving_http_requests_in_flight").await == Some(1.0) })
        .await;
    let ended = quick.release(id(&first), true).await.ok(200);
    proxy.go_on();
    let second = second.await.expect("it ends");
    let (created, given) = (time(&second, "created_at"), time(&second, "number_given_at"));
    assert!(created < time(&ended, "released_at") && given >= time(&ended, "released_at"), "{second}");
    assert!(asked <= given);
    // Who had it while both were on their way: the first one alone.
    let holder = async |at: DateTime<Utc>| {
        let at = at.format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let found = quick.get(&format!("/v1/restaurants/7/numbers/1?at={at}")).await.ok(200);
        id(&found["order"]).to_owned()
    };
    let given_first = time(&first, "number_given_at");
    let (first, second) = (id(&first).to_owned(), id(&second).to_owned());
    eventually_true(PATIENCE, || async {
        quick.get(&format!("/v1/orders/{second}/events")).await.value()["events"] != json!([])
    })
    .await;
    // What the slow daemon takes for the time may be a moment behind.
    let (asked, ended) = (created.max(given_first), time(&ended, "released_at"));
    assert_eq!(holder(asked).await, first);
    assert_eq!(holder(asked + (ended - asked) / 2).await, first);
    assert_eq!(holder(given).await, second);
    let verified = options.run("verify", &[]);
    assert!(verified.status.success(), "{verified:?}");
}
