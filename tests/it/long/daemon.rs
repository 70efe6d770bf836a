//! The daemon in a bad world: killed, stopped, without its servers. What was acknowledged is kept, once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::api::{Answer, Wire, id, number, text};
use crate::support::{
    Api, Daemon, DaemonOptions, OwnPostgres, OwnRedis, PATIENCE, eventually, eventually_true, scratch,
};
use nix::sys::signal::Signal;
use rand::RngExt;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};

/// Few, so that each has much to write.
const PARTITIONS: u16 = 4;
const RESTAURANTS: std::ops::Range<u32> = 1..25;

/// What the daemon acknowledged: each order as it was last answered.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<HashMap<String, Value>>>);

impl Books {
    fn note(&self, order: &Value) {
        let mut orders = self.0.lock().expect("no holder panics");
        let known = orders.entry(id(order).to_owned()).or_insert_with(|| order.clone());
        if known["version"].as_u64() < order["version"].as_u64() {
            order.clone_into(known);
        }
    }

    fn len(&self) -> usize {
        self.0.lock().expect("no holder panics").len()
    }

    fn orders(&self) -> HashMap<String, Value> {
        self.0.lock().expect("no holder panics").clone()
    }
}

/// Tills that create, change and release orders until they are told to stop. A till whose daemon is gone goes to the
/// next one, or stops if there is none.
struct Load {
    books: Books,
    /// Requests that got no answer: what became of them is unknown.
    unanswered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tills: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(daemons: &[&Daemon], books: &Books) -> Self {
        let urls: Vec<String> = daemons.iter().map(|daemon| daemon.url().to_owned()).collect();
        let (unanswered, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let tills = (0..24).map(|till| {
            let (urls, books, unanswered, stop) = (urls.clone(), books.clone(), unanswered.clone(), stop.clone());
            tokio::spawn(async move {
                for turn in 0..urls.len() {
                    let api = Api::at(&urls[(till + turn) % urls.len()]);
                    while !stop.load(Ordering::Relaxed) {
                        if serve_a_guest(&api, &books).await.is_none() {
                            unanswered.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                    }
                }
            })
        });
        Self { books: books.clone(), tills: tills.collect(), unanswered, stop }
    }

    /// Waits for this many acknowledged orders.
    async fn until(&self, orders: usize) {
        eventually_true(PATIENCE * 2, || async { self.books.len() >= orders }).await;
    }

    /// Ends it; gives the number of requests that were not answered.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for till in self.tills {
            till.await.expect("a till does not panic");
        }
        self.unanswered.load(Ordering::Relaxed)
    }
}

/// An order from its beginning to some end; None when an answer did not come.
async fn serve_a_guest(api: &Api, books: &Books) -> Option<()> {
    let (restaurant, fate) = {
        let mut rng = rand::rng();
        (rng.random_range(RESTAURANTS), rng.random_range(0..4))
    };
    let send = async |method: &str, path: String, body: Value| {
        let headers: [(&str, &[u8]); 1] = [("content-type", b"application/json")];
        let answer = api.try_send(method, &path, &headers, Some(body.to_string().into_bytes())).await.ok()?;
        (answer.status < 500).then_some(answer)
    };
    let note = |answer: Answer, status: u16| {
        let order = answer.ok(status);
        books.note(&order);
        order
    };
    let created = send("POST", format!("/v1/restaurants/{restaurant}/orders"), json!({"note": "n"})).await?;
    let order = note(created, 201);
    let path = format!("/v1/orders/{}", id(&order));
    if fate > 0 {
        note(send("PATCH", path.clone(), json!({"status": "preparing", "table_number": "7"})).await?, 200);
    }
    if fate > 1 {
        note(send("PATCH", path.clone(), json!({"status": "ready"})).await?, 200);
    }
    if fate > 2 {
        note(send("POST", format!("{path}/release"), json!({"immediate": restaurant % 2 == 0})).await?, 200);
    }
    Some(())
}

async fn connect(options: &DaemonOptions) -> PgPool {
    let url = options.database_url.as_deref().expect("a Postgres that is not private");
    PgPoolOptions::new().max_connections(2).connect(url).await.expect("Postgres answers")
}

async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.expect("Postgres answers")
}

/// The sequence of each partition in Redis.
async fn sequences(options: &DaemonOptions, partitions: u16) -> BTreeMap<i16, i64> {
    let client = redis::Client::open(options.redis_url.clone().expect("a Redis")).expect("a good URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let mut found = BTreeMap::new();
    for partition in 0..partitions {
        let key = format!("{}:{{{partition}}}:partition", options.namespace);
        let sequence: i64 =
            redis::cmd("HGET").arg(&key).arg("seq").query_async(&mut connection).await.expect("it was opened");
        found.insert(partition.cast_signed(), sequence);
    }
    found
}

async fn progress(pool: &PgPool) -> BTreeMap<i16, i64> {
    let rows = sqlx::query("SELECT partition, sequence FROM outbox_progress").fetch_all(pool).await;
    rows.expect("Postgres answers").iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Waits until the ledger has everything that Redis has.
async fn drained(options: &DaemonOptions, partitions: u16) {
    let pool = connect(options).await;
    eventually_true(PATIENCE * 2, || async { sequences(options, partitions).await == progress(&pool).await }).await;
}

/// Holds the ledger against the books: everything that was acknowledged is there, once, in order, and little else.
async fn assert_kept(options: &DaemonOptions, partitions: u16, books: &Books, unanswered: usize) {
    let pool = connect(options).await;
    assert_eq!(sequences(options, partitions).await, progress(&pool).await, "the ledger is where Redis is");

    let rows = sqlx::query("SELECT partition, sequence FROM order_events ORDER BY partition, sequence");
    let mut events: BTreeMap<i16, Vec<i64>> = BTreeMap::new();
    for row in rows.fetch_all(&pool).await.expect("Postgres answers") {
        events.entry(row.get(0)).or_default().push(row.get(1));
    }
    for (partition, sequence) in progress(&pool).await {
        let found = events.remove(&partition).unwrap_or_default();
        assert_eq!(found, (1..=sequence).collect::<Vec<_>>(), "partition {partition} has no gap and nothing twice");
    }
    assert!(events.is_empty());

    let rows =
        sqlx::query("SELECT internal_order_id, version, status, display_order_number, restaurant_id, note FROM orders");
    let mut ledger = HashMap::new();
    for row in rows.fetch_all(&pool).await.expect("Postgres answers") {
        let id: uuid::Uuid = row.get(0);
        let order: (i32, String, i32, i32) = (row.get(1), row.get(2), row.get(3), row.get(4));
        assert!(ledger.insert(id.to_string(), order).is_none(), "{id} is there twice");
    }
    let acknowledged = books.orders();
    for (id, order) in &acknowledged {
        let (version, status, number, restaurant) = ledger.get(id).unwrap_or_else(|| panic!("{order} is lost"));
        let known = order["version"].as_i64().expect("a version");
        assert!(i64::from(*version) >= known, "{order} fell back to {version}");
        assert!(i64::from(*version) > known || order["status"] == **status, "{order} is {status}");
        assert_eq!(
            (json!(number), json!(restaurant)),
            (order["display_order_number"].clone(), order["restaurant_id"].clone())
        );
    }
    let more = ledger.len() - acknowledged.len();
    assert!(more <= unanswered, "{more} orders that no client was told of, {unanswered} requests without an answer");
    let created = count(&pool, "SELECT count(*) FROM order_events WHERE kind = 'created'").await;
    assert_eq!(created, i64::try_from(ledger.len()).expect("few"), "each order was created once");
    let versions = count(&pool, "SELECT sum(version)::bigint FROM orders").await;
    let changes = "SELECT count(*) FROM order_events WHERE kind IN ('created', 'changed', 'released')";
    assert_eq!(count(&pool, changes).await, versions, "each version is one event");
    assert_eq!(count(&pool, "SELECT count(*) FROM dead_letters").await, 0);
    // No number with two holders, in the ledger; and in Redis, where `verify` looks.
    let twice = "SELECT count(*) FROM (SELECT 1 FROM orders WHERE released_at IS NULL
                 GROUP BY restaurant_id, display_order_number HAVING count(*) > 1) AS twice";
    assert_eq!(count(&pool, twice).await, 0);
    let (options, verified) = (options.clone(), "verify");
    let verified = tokio::task::spawn_blocking(move || options.run(verified, &[])).await.expect("it ends");
    assert!(verified.status.success(), "{verified:?}");
}

/// The writer is made slow, so that there is always something that it has not written yet.
async fn slow_writer() -> DaemonOptions {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", PARTITIONS);
    options.with("NOWSERVING_WRITE_BEHIND_BATCH_SIZE", 10).with("NOWSERVING_WRITE_BEHIND_FILL_MS", 30)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_killed_while_it_writes_behind_loses_and_doubles_nothing() {
    let options = slow_writer().await;
    let books = Books::default();
    let pool = connect(&options).await;
    let mut unanswered = 0;
    for round in 1..=3 {
        let daemon = Daemon::start(&options);
        let load = Load::start(&[&daemon], &books);
        load.until(round * 400).await;
        // Its transaction is held up half-way, and there it dies.
        let mut holder = pool.begin().await.expect("Postgres answers");
        sqlx::query("LOCK TABLE order_events IN EXCLUSIVE MODE").execute(&mut *holder).await.expect("it can wait");
        eventually_true(PATIENCE, || async {
            count(&pool, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'order_events'::regclass")
                .await
                > 0
        })
        .await;
        daemon.kill9();
        holder.rollback().await.expect("Postgres answers");
        unanswered += load.end().await;
        let written: BTreeSet<String> = sqlx::query_scalar("SELECT internal_order_id::text FROM orders")
            .fetch_all(&pool)
            .await
            .expect("Postgres answers")
            .into_iter()
            .collect();
        let missing = books.orders().keys().filter(|id| !written.contains(*id)).count();
        assert!(missing > 0 && !written.is_empty(), "it was in the middle of writing: {missing} of {}", books.len());
    }
    let daemon = Daemon::start(&options);
    drained(&options, PARTITIONS).await;
    assert_kept(&options, PARTITIONS, &books, unanswered).await;
    // And those who ask are told the same.
    let api = Api::at(daemon.url());
    for (id, order) in books.orders().iter().take(200) {
        let found = api.order(id).await.ok(200);
        assert!(found["version"].as_u64() >= order["version"].as_u64(), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_daemons_on_the_same_stores_one_may_die() {
    let options = slow_writer().await;
    let books = Books::default();
    let (first, second) = (Daemon::start(&options), Daemon::start(&options));
    let load = Load::start(&[&first, &second], &books);
    load.until(600).await;
    first.kill9();
    load.until(1200).await;
    let third = Daemon::start(&options);
    load.until(1500).await;
    let unanswered = load.end().await;
    drained(&options, PARTITIONS).await;
    assert_kept(&options, PARTITIONS, &books, unanswered).await;
    for daemon in [second, third] {
        let (status, output) = daemon.terminate();
        assert_eq!(status.code(), Some(0), "{output}");
        // Each sees the ledger move and the outbox trimmed under its eyes, and takes neither for a loss.
        assert!(!output.contains("closed") && !output.contains("closing the partition"), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_drains_requests_and_outbox_and_ends_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let options = slow_writer().await;
        let books = Books::default();
        let mut daemon = Daemon::start(&options);
        let api = Api::at(daemon.url());
        let load = Load::start(&[&daemon], &books);
        load.until(300).await;
        // A request whose head is there and whose body is still on its way.
        let mut wire = Wire::to(&api).await;
        wire.write(
            b"POST /v1/restaurants/7/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
              content-length: 16\r\nexpect: 100-continue\r\n\r\n",
        )
        .await;
        assert_eq!(wire.read().await.0, 100, "it has begun to read the request");
        daemon.signal(signal);
        eventually_true(PATIENCE, || async {
            tokio::net::TcpStream::connect(api.url().strip_prefix("http://").expect("an address")).await.is_err()
        })
        .await;
        wire.write(b"{\"note\":\"late!\"}").await;
        let (status, _, body) = wire.read().await;
        assert_eq!(status, 201, "{body}");
        let order: Value = serde_json::from_str(&body).expect("an order");
        books.note(&order);
        let unanswered = load.end().await;
        let status = daemon.wait();
        assert_eq!(status.code(), Some(0), "{signal}: {}", daemon.output());
        assert_kept(&options, PARTITIONS, &books, unanswered).await;
    }
}

#[tokio::test]
async fn a_signal_while_postgres_is_away_ends_within_the_deadline() {
    let mut postgres = OwnPostgres::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_SHUTDOWN_DEADLINE_MS", 1000);
    options.database_url = Some(postgres.create_database("ledger").await);
    options.migrate();
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let books = Books::default();
    books.note(&api.create(7, json!({})).await);
    postgres.stop();
    books.note(&api.create(7, json!({})).await);
    let (status, output) = daemon.terminate();
    assert_eq!(status.code(), Some(0), "{output}");
    postgres.restart().await;
    let daemon = Daemon::start(&options);
    drained(&options, 64).await;
    assert_kept(&options, 64, &books, 0).await;
    drop(daemon);
}

/// Redis is unreachable: 503 with a time to come again.
#[track_caller]
fn assert_unavailable(answer: &Answer) {
    answer.away();
    let seconds: u64 = answer.header("retry-after").and_then(|seconds| seconds.parse().ok()).expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn without_redis_everything_waits_and_then_goes_on() {
    let mut redis = OwnRedis::start().await;
    let mut options = DaemonOptions::migrated().await;
    options.redis_url = Some(redis.url());
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let before = api.create(7, json!({"note": "before"})).await;
    drained(&options, 64).await;
    for round in 0..2 {
        redis.stop();
        let order = format!("/v1/orders/{}", id(&before));
        for (method, path, body) in [
            ("POST", "/v1/restaurants/7/orders", Some(json!({}))),
            ("POST", "/v1/restaurants/8/orders", Some(json!({}))),
            ("GET", &order, None),
            ("PATCH", &order, Some(json!({"status": "ready"}))),
            ("PATCH", &order, Some(json!({"note": "x"}))),
            ("POST", &format!("{order}/release"), Some(json!({}))),
            ("GET", "/v1/restaurants/7/orders", None),
            ("GET", "/v1/restaurants/7/slots", None),
            ("GET", "/v1/restaurants/7/numbers/1", None),
            ("GET", "/v1/restaurants/7/search?q=1&include_completed=true", None),
            ("GET", "/v1/restaurants/7", None),
            ("PUT", "/v1/restaurants/7", Some(json!({}))),
            ("POST", "/v1/restaurants/7/cleanup", Some(json!({}))),
            ("GET", "/api/orders/lookup?restaurant_id=7&display_number=0001", None),
        ] {
            let headers: [(&str, &[u8]); 1] = [("content-type", b"application/json")];
            let answer = api.send(method, path, &headers, body.map(|body| body.to_string().into_bytes())).await;
            assert_unavailable(&answer);
        }
        // What is wrong with a request is said all the same.
        api.post("/v1/restaurants/7/orders", json!({"note": 1})).await.problem(422, "invalid_body");
        api.get("/healthz").await.ok(200);
        let unready = api.get("/readyz").await.ok(503);
        assert_eq!(unready["status"], "not_ready");
        assert!(unready["reasons"][0].as_str().is_some_and(|reason| reason.contains("Redis")), "{unready}");

        redis.restart().await;
        eventually_true(PATIENCE, || async { api.get("/readyz").await.status == 200 }).await;
        let next = eventually(PATIENCE, || async {
            let answer = api.post("/v1/restaurants/7/orders", json!({})).await;
            (answer.status == 201).then(|| answer.ok(201))
        })
        .await;
        // Three numbers are skipped: what happened in the last seconds before it went cannot be known.
        assert_eq!(number(&next), round * 4 + 5, "nothing was given out meanwhile");
        assert_eq!(api.order(id(&before)).await.ok(200), before);
        drained(&options, 64).await;
    }
    let (status, output) = daemon.terminate();
    assert!(status.success() && !output.contains("panicked"), "{output}");
}

#[tokio::test]
async fn a_redis_that_hangs_is_not_waited_for_and_a_repeat_takes_no_second_number() {
    let redis = OwnRedis::start().await;
    let mut options = DaemonOptions::migrated().await.with("NOWSERVING_REDIS_TIMEOUT_MS", 300);
    options.redis_url = Some(redis.url());
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    api.create(7, json!({})).await;
    redis.pause();
    let body = json!({"note": "once"});
    let answers = futures_util::future::join_all((0..20).map(|_| api.create_with_key(7, "k", &body))).await;
    answers.iter().for_each(assert_unavailable);
    redis.resume();
    let order = eventually(PATIENCE, || async {
        let answer = api.create_with_key(7, "k", &body).await;
        (answer.status == 201).then(|| answer.ok(201))
    })
    .await;
    assert_eq!(number(&order), 2);
    assert_eq!(api.live(7).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_numbers_are_still_given_and_taken_back() {
    let mut postgres = OwnPostgres::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_LEDGER_CONNECT_TIMEOUT_MS", 500);
    options.database_url = Some(postgres.create_database("ledger").await);
    options.migrate();
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let books = Books::default();
    let before = api.create(7, json!({"customer_name": "Ana"})).await;
    drained(&options, 64).await;
    for immediate in [false, true] {
        if immediate {
            postgres.immediate()
        } else {
            postgres.stop()
        }
        let order = api.create(7, json!({"customer_name": "Bea"})).await;
        books.note(&order);
        assert_eq!(api.order(id(&order)).await.ok(200), order);
        books.note(&api.patch(id(&order), json!({"status": "ready"})).await.ok(200));
        books.note(&api.patch(id(&order), json!({"note": "x"})).await.ok(200));
        let listed: Vec<String> = api.live(7).await.iter().map(|order| id(order).to_owned()).collect();
        assert!(listed.contains(&id(&order).to_owned()) && listed.contains(&id(&before).to_owned()), "{listed:?}");
        let done = api.release(id(&order), false).await.ok(200);
        books.note(&done);
        assert_eq!(api.order(id(&order)).await.ok(200), done, "it is final, and the ledger does not have it yet");
        assert_eq!(api.release(id(&order), true).await.ok(200), done);
        assert_eq!(api.patch(id(&order), json!({"status": "completed"})).await.ok(200), done);
        api.configure(8, json!({"max_number": 5})).await;
        let keyed = api.create_with_key(8, &format!("k{immediate}"), &json!({})).await.ok(201);
        books.note(&keyed);
        assert_eq!(api.create_with_key(8, &format!("k{immediate}"), &json!({})).await.ok(201), keyed);
        api.slots(7).await;
        api.post("/v1/restaurants/7/cleanup", json!({})).await.ok(200);
        let live = format!("/v1/restaurants/7/numbers/{}", number(&before));
        assert_eq!(api.get(&live).await.ok(200)["order"], before);
        assert_eq!(api.get("/v1/restaurants/7/search?q=ana").await.ok(200)["orders"], json!([before]));
        api.get("/readyz").await.ok(200);

        // What only the ledger knows has to wait; nothing is claimed not to be there.
        let unknown = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let mut neighbour = id(&before).to_owned();
        let last = neighbour.pop().expect("a digit");
        neighbour.push(if last == '0' { '1' } else { '0' });
        for path in [
            "/v1/restaurants/7/search?q=ana&include_completed=true".to_owned(),
            format!("/v1/orders/{unknown}"),
            format!("/v1/orders/{neighbour}"),
            "/v1/restaurants/7/numbers/77".to_owned(),
            "/api/orders/search?restaurant_id=7&q=ana&include_completed=1".to_owned(),
        ] {
            assert_unavailable(&api.get(&path).await);
        }
        assert_unavailable(&api.release(&unknown.to_string(), false).await);
        assert_unavailable(&api.patch(&neighbour, json!({"status": "ready"})).await);

        postgres.restart().await;
        drained(&options, 64).await;
        api.order(&neighbour).await.problem(404, "order_not_found");
        let found = api.get("/v1/restaurants/7/search?q=bea&include_completed=true").await.ok(200);
        assert!(found["orders"].as_array().expect("orders").contains(&done), "{found}");
    }
    books.note(&before);
    assert_kept(&options, 64, &books, 0).await;
}

/// What the metrics say of each background task: under the name of a metric and the other labels, by task.
async fn of_tasks(api: &Api, metric: &str, labels: &str) -> BTreeMap<String, f64> {
    let text = api.get("/metrics").await.text;
    let start = format!("nowserving_task_{metric}{{task=\"");
    let series = text.lines().filter_map(|line| line.strip_prefix(&start)?.rsplit_once("} "));
    let series = series.filter_map(|(series, value)| Some((series.strip_suffix(labels)?.strip_suffix('"')?, value)));
    series.map(|(task, value)| (task.to_owned(), value.parse().expect("a number"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_task_that_fails_is_told_until_it_works_again() {
    let mut postgres = OwnPostgres::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_LEDGER_CONNECT_TIMEOUT_MS", 500);
    options.database_url = Some(postgres.create_database("ledger").await);
    options = options.with("NOWSERVING_USAGE_SAMPLE_SECONDS", 1).with("NOWSERVING_CLEANUP_INTERVAL_SECONDS", 1);
    options.migrate();
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    // The rest are there with keys and a certificate only.
    let all = "clocks, daemons, dead letters, feed, housekeeping, metrics, months, names, partitions, survey, survey \
               lease, usage, write-behind";
    eventually_true(PATIENCE, || async {
        let runs = of_tasks(&api, "runs_total", ",result=\"ok\"").await;
        runs.keys().cloned().collect::<Vec<_>>().join(", ") == all && runs.values().all(|runs| *runs >= 1.0)
    })
    .await;
    for metric in ["last_run_age_seconds", "last_run_duration_seconds", "last_run_failed"] {
        let known = of_tasks(&api, metric, "").await;
        assert!(known.len() == 13 && known.values().all(|value| *value >= 0.0), "{metric}: {known:?}");
    }

    let fail_without_postgres = ["daemons", "survey lease", "write-behind"];
    let failed = async |expected: f64| {
        let failed = of_tasks(&api, "last_run_failed", "").await;
        fail_without_postgres.iter().all(|task| failed[*task] == expected)
    };
    postgres.stop();
    eventually_true(PATIENCE, || failed(1.0)).await;
    assert_eq!(of_tasks(&api, "last_run_failed", "").await["metrics"], 0.0, "it has no need of Postgres");
    postgres.restart().await;
    eventually_true(PATIENCE, || failed(0.0)).await;
    let failures = of_tasks(&api, "runs_total", ",result=\"failed\"").await;
    assert!(fail_without_postgres.iter().all(|task| failures[*task] >= 1.0), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_too_much_waits_for_postgres_new_orders_wait_and_releases_work() {
    const LIMIT: u64 = 1000;
    let mut postgres = OwnPostgres::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_ADMISSION_OUTBOX_LIMIT", LIMIT);
    options.database_url = Some(postgres.create_database("ledger").await);
    options.migrate();
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let first = api.create(7, json!({})).await;
    drained(&options, 64).await;
    postgres.stop();
    let books = Books::default();
    books.note(&first);
    let mut events = 0;
    let refused = loop {
        let answer = api.post("/v1/restaurants/7/orders", json!({})).await;
        if answer.status != 201 {
            break answer;
        }
        let order = answer.ok(201);
        // More events than orders: it is they that are counted.
        let id = order["internal_order_id"].as_str().expect("an id");
        books.note(&api.patch(id, json!({"status": "preparing"})).await.ok(200));
        events += 2;
        assert!(events <= LIMIT + 2, "more than {LIMIT} wait");
    };
    assert_unavailable(&refused);
    // What came before was written; nearly all the others are what waits.
    assert!(events >= LIMIT - 10, "only {events} wait");
    for (id, _) in books.orders().into_iter().take(50) {
        books.note(&api.patch(&id, json!({"status": "ready"})).await.ok(200));
        books.note(&api.release(&id, false).await.ok(200));
    }
    assert_unavailable(&api.post("/v1/restaurants/8/orders", json!({})).await);
    api.live(7).await;
    postgres.restart().await;
    eventually_true(PATIENCE, || async { api.post("/v1/restaurants/8/orders", json!({})).await.status == 201 }).await;
    drained(&options, 64).await;
    assert_kept(&options, 64, &books, 1).await;
}

#[tokio::test]
async fn a_nearly_full_redis_takes_no_new_orders_but_lets_them_end() {
    let redis = OwnRedis::start().await;
    let mut options = DaemonOptions::migrated().await;
    options.redis_url = Some(redis.url());
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let order = api.create(7, json!({})).await;
    let limit = async |bytes: u64| {
        let mut cmd = redis::cmd("CONFIG");
        cmd.arg("SET").arg("maxmemory").arg(bytes);
        cmd.exec_async(&mut redis.connect().await).await.expect("Redis answers");
    };
    // What buffers of connections take comes and goes; beside this it is nothing.
    let mut ballast = redis::cmd("SETRANGE");
    ballast.arg("ballast").arg((64 << 20) - 1).arg("-");
    ballast.exec_async(&mut redis.connect().await).await.expect("Redis answers");
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut redis.connect().await).await.expect("answers");
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it says so");
    let used: u64 = used.trim().parse().expect("a number");
    // More than nine tenths of it are used, but nothing is refused by Redis itself.
    limit(used + used / 20).await;
    eventually_true(PATIENCE, || async { api.post("/v1/restaurants/7/orders", json!({})).await.status == 503 }).await;
    assert_unavailable(&api.post("/v1/restaurants/7/orders", json!({})).await);
    api.release(id(&order), false).await.ok(200);
    limit(0).await;
    eventually_true(PATIENCE, || async { api.post("/v1/restaurants/7/orders", json!({})).await.status == 201 }).await;
}

#[tokio::test]
async fn unknown_restaurants_are_refused_where_they_are_not_provisioned() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_AUTO_PROVISION", false);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for path in ["", "/slots", "/numbers/1"] {
        api.get(&format!("/v1/restaurants/7{path}")).await.problem(404, "restaurant_not_found");
    }
    for path in ["/orders", "/cleanup"] {
        api.post(&format!("/v1/restaurants/7{path}"), json!({})).await.problem(404, "restaurant_not_found");
    }
    api.create_with_key(7, "k", &json!({})).await.problem(404, "restaurant_not_found");
    api.configure(7, json!({"max_number": 3})).await;
    let order = api.create_with_key(7, "k", &json!({})).await;
    assert_eq!((number(&order.ok(201)), order.header("idempotent-replayed")), (1, None));
    api.post("/v1/restaurants/8/orders", json!({})).await.problem(404, "restaurant_not_found");
}

/// How a daemon that cannot start ends: code 1, and one sentence.
#[track_caller]
fn refusal(options: &DaemonOptions) -> String {
    let Err((status, output)) = Daemon::try_start(options) else { panic!("it started") };
    assert_eq!(status.code(), Some(1), "{output}");
    let sentences: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix("nowserving: ")).collect();
    assert!(sentences.len() == 1 && !output.contains("panicked"), "{output}");
    sentences[0].to_owned()
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let mut options = DaemonOptions::migrated().await;
    // The last flag of a kind would be refused as a second one; the environment is the layer below.
    options = options.with("NOWSERVING_LISTEN", &address);
    let finished = options.run("serve", &[]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains(&address) && finished.stderr.contains("--listen"), "{finished:?}");
}

#[tokio::test]
async fn a_data_folder_serves_one_daemon_and_keeps_its_data_through_a_crash() {
    let options = DaemonOptions::local();
    let daemon = Daemon::start(&options);
    let pid = daemon.pid();
    let sentence = refusal(&options);
    let folder = options.data_dir.display().to_string();
    assert!(sentence.contains(&folder) && sentence.contains(&pid.to_string()), "{sentence}");
    assert!(sentence.contains("--data-dir"), "{sentence}");

    let api = Api::at(daemon.url());
    api.configure(7, json!({"max_number": 100})).await;
    let books = Books::default();
    for at in 0..60 {
        let order = api.create_with_key(7, &at.to_string(), &json!({"note": at.to_string()})).await.ok(201);
        books.note(&order);
        if at % 3 == 0 {
            books.note(&api.release(id(&order), false).await.ok(200));
        }
    }
    let slots = api.slots(7).await;
    daemon.kill9();
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for (id, order) in books.orders() {
        assert_eq!(api.order(&id).await.ok(200), order);
    }
    assert_eq!(api.slots(7).await, slots);
    let again = api.create_with_key(7, "5", &json!({"note": "5"})).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(number(&api.create(7, json!({})).await), 61);
    let verified = options.run("verify", &[]);
    assert!(verified.status.success(), "{verified:?}");
    let (status, output) = daemon.terminate();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(scratch::servers_under(&options.data_dir), [], "its servers stop with it");

    // And through an orderly end.
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for (id, order) in books.orders() {
        assert_eq!(text(&api.order(&id).await.ok(200), "status"), order["status"]);
    }
}

#[tokio::test]
async fn two_servers_never_serve_one_partition() {
    // As when one daemon of two is given another Redis: the one that serves goes on, the other one says what is wrong.
    let (first, second) = (OwnRedis::start().await, OwnRedis::start().await);
    let mut options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 1);
    options.redis_url = Some(first.url());
    let one = Daemon::start(&options);
    let api = Api::at(one.url());
    api.create(7, json!({})).await;
    // It has said where it serves.
    let pool = connect(&options).await;
    let serving = "SELECT count(*) FROM daemons WHERE cardinality(servers) = 1";
    eventually_true(PATIENCE, || async { count(&pool, serving).await == 1 }).await;
    options.redis_url = Some(second.url());
    let other = Daemon::start(&options);
    let stranger = Api::at(other.url());
    eventually_true(PATIENCE, || async {
        let ready = stranger.get("/readyz").await;
        ready.status == 503 && ready.text.contains("give all daemons the same redis_url")
    })
    .await;
    assert_unavailable(&stranger.post("/v1/restaurants/7/orders", json!({})).await);
    assert_eq!(number(&api.create(7, json!({})).await), 2);
    // When the first one ends, the other may have it.
    let (status, output) = one.terminate();
    assert!(status.success(), "{output}");
    let order = eventually(PATIENCE, || async {
        let answer = stranger.post("/v1/restaurants/7/orders", json!({})).await;
        (answer.status == 201).then(|| answer.ok(201))
    })
    .await;
    assert!(number(&order) > 2, "{order}");
}

/// Daemons that have differently what all must share would answer differently, or drop what others keep.
#[tokio::test]
async fn a_daemon_that_does_not_agree_with_the_deployment_does_not_start() {
    const WINDOW: &str = "NOWSERVING_IDEMPOTENCY_WINDOW_SECONDS";
    let options = DaemonOptions::migrated().await.with(WINDOW, 3600);
    let first = Daemon::start(&options);
    let other = options.clone().with(WINDOW, 7200).with("NOWSERVING_LEDGER_RETAIN_ORDERS_DAYS", 90);
    let Err((status, output)) = Daemon::try_start(&other) else { panic!("it does not agree with the first") };
    assert_eq!(status.code(), Some(1), "{output}");
    for part in [
        "idempotency.window_seconds is 3600 there and 7200 here, ledger.retain_orders_days is 0 there and 90 here;",
        "stop all daemons and run `nowserving migrate --adopt-settings` with the new ones",
    ] {
        assert!(output.contains(part), "{part} is not in {output}");
    }
    let adopt = |options: &DaemonOptions| options.run("migrate", &["--adopt-settings"]);
    let refused = adopt(&other);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("stop all daemons first"), "{refused:?}");
    let sick = other.run("doctor", &[]);
    assert_eq!(sick.status.code(), Some(2), "{sick:?}");
    let found =
        "WRONG  all daemons of the deployment share idempotency.window_seconds = 3600, and the settings say 7200";
    assert!(sick.stdout.contains(found) && sick.stdout.contains("--adopt-settings"), "{sick:?}");
    let verified = other.run("verify", &[]);
    assert!(verified.status.success(), "what only looks goes on: {verified:?}");
    assert!(verified.stderr.contains("idempotency.window_seconds is 3600 there and 7200 here"), "{verified:?}");

    // None of this was recorded, and who agrees still joins.
    let second = Daemon::start(&options);
    let well = options.run("doctor", &[]);
    assert!(
        well.stdout.contains("ok     all daemons of the deployment share idempotency.window_seconds = 3600"),
        "{well:?}"
    );
    for daemon in [first, second] {
        let (status, output) = daemon.terminate();
        assert!(status.success(), "{output}");
    }
    let adopted = adopt(&other);
    assert!(adopted.status.success(), "{adopted:?}");
    let changed = "idempotency.window_seconds was 3600 and is 7200 from now on";
    assert!(
        adopted.stdout.contains(changed) && adopted.stdout.contains("ledger.retain_orders_days was 0"),
        "{adopted:?}"
    );
    let again = adopt(&other);
    assert!(again.status.success() && again.stdout.contains("these settings are those of the deployment"), "{again:?}");
    let Err((_, output)) = Daemon::try_start(&options) else { panic!("it has the settings of before") };
    assert!(output.contains("idempotency.window_seconds is 7200 there and 3600 here"), "{output}");
    let third = Daemon::start(&other);
    // One that was killed may run still, as far as the ledger knows.
    third.kill9();
    let refused = adopt(&options);
    assert!(refused.stderr.contains("one that was killed counts as stopped 30 s after it was seen"), "{refused:?}");

    // As after the migration that made the table: the first daemon that starts records what it has.
    let pool = connect(&options).await;
    sqlx::query("DELETE FROM agreed_settings").execute(&pool).await.expect("Postgres answers");
    assert!(options.run("doctor", &[]).stdout.contains("is not recorded yet"));
    let _fourth = Daemon::start(&options);
    assert!(Daemon::try_start(&other).is_err());
}

/// How long things are kept concerns those that run: one that runs alone brings its own, and the next ones have to agree.
#[tokio::test]
async fn what_is_kept_may_change_where_no_other_daemon_runs() {
    const KEPT: &str = "NOWSERVING_LEDGER_RETAIN_ORDERS_DAYS";
    let options = DaemonOptions::migrated().await;
    let first = Daemon::start(&options);
    let other = options.clone().with(KEPT, 90);
    assert!(Daemon::try_start(&other).is_err(), "another one runs");
    let (status, output) = first.terminate();
    assert!(status.success(), "{output}");
    let alone = Daemon::start(&other);
    assert!(Daemon::try_start(&options).is_err(), "what it keeps is what all keep");
    let (status, output) = alone.terminate();
    assert!(status.success() && output.contains("ledger.retain_orders_days is 0 there and 90 here"), "{output}");
    let with_another_namespace = other.clone().with("NOWSERVING_REDIS_NAMESPACE", "elsewhere");
    assert!(Daemon::try_start(&with_another_namespace).is_err(), "that is changed on purpose only");
}

/// A private database has no other daemons that would have to agree.
#[tokio::test]
async fn a_daemon_in_local_mode_takes_its_settings_over() {
    let options = DaemonOptions::local();
    let (status, output) = Daemon::start(&options).terminate();
    assert!(status.success(), "{output}");
    let other = options.clone().with("NOWSERVING_IDEMPOTENCY_WINDOW_SECONDS", 7200);
    let told = other.run("doctor", &[]);
    assert!(
        told.stdout.contains("note   all daemons of the deployment share idempotency.window_seconds = 86400"),
        "{told:?}"
    );
    let (status, output) = Daemon::start(&other).terminate();
    assert!(status.success(), "{output}");
    assert!(output.contains("a setting of this deployment was changed"), "{output}");
    let (status, output) = Daemon::start(&other).terminate();
    assert!(status.success() && !output.contains("a setting of this deployment was changed"), "{output}");
    let Err((_, output)) = Daemon::try_start(&other.with("NOWSERVING_PARTITIONS", 8)) else { panic!("that is fixed") };
    assert!(output.contains("the settings say 8") && output.contains("set partitions to 64"), "{output}");
}
