//! Durability levels, as callers see them: an answer comes when its level is reached, and says so; or it says that this
//! is unknown, and a repeat waits again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::api::{Answer, id};
use crate::support::{Api, Daemon, DaemonOptions, OwnPostgres, OwnRedis, PATIENCE, eventually, eventually_true};
use futures_util::future::join_all;
use nowserving::domain::{PartitionId, RestaurantId};
use serde_json::{Value, json};
use sqlx::PgPool;

const ORDERS: &str = "/v1/restaurants/7/orders";

/// How long a level is waited for that cannot be reached.
const TIMEOUT: Duration = Duration::from_millis(700);

/// A deployment of one partition on a Redis of the test's own.
async fn on(redis: &OwnRedis, timeout: Duration) -> DaemonOptions {
    let mut options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 1);
    options.redis_url = Some(redis.url());
    let request_ms = (2 * timeout.as_millis() + 2000).max(10_000);
    let options = options.with("NOWSERVING_DURABILITY_TIMEOUT_MS", timeout.as_millis());
    options.with("NOWSERVING_HTTP_REQUEST_TIMEOUT_MS", request_ms)
}

async fn create(api: &Api, level: &str, key: &str) -> Answer {
    api.json_with("POST", ORDERS, &[("durability", level), ("idempotency-key", key)], &json!({})).await
}

/// The body of an answer that came with its level reached.
#[track_caller]
fn reached(answer: &Answer, status: u16, level: &str) -> Value {
    let body = answer.ok(status);
    assert_eq!(answer.header("durability"), Some(level));
    body
}

#[track_caller]
fn assert_unknown(answer: &Answer) {
    let problem = answer.problem(503, "durability_unknown");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("Idempotency-Key")), "{problem}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("durability"), None);
}

/// How often a command was called on a server.
async fn calls(redis: &OwnRedis, command: &str) -> u32 {
    let Some(stats) = redis.info(&format!("cmdstat_{command}")).await else { return 0 };
    let calls = stats.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
    calls.and_then(|calls| calls.parse().ok()).expect("a number of calls")
}

async fn knows_waitaof(redis: &OwnRedis) -> bool {
    let version = redis.info("redis_version").await.expect("it has a version");
    let mut parts = version.split('.').map(|part| part.parse::<u32>().expect("a number"));
    (parts.next(), parts.next()) >= (Some(7), Some(2))
}

/// Whether a server holds an order as a live one.
async fn holds(redis: &OwnRedis, options: &DaemonOptions, order: &str) -> bool {
    let order: uuid::Uuid = order.parse().expect("a UUID");
    let mut read = redis::cmd("HEXISTS");
    read.arg(format!("{}:{{0}}:order:7", options.namespace)).arg(order.as_bytes());
    read.query_async(&mut redis.connect().await).await.expect("the server answers")
}

#[tokio::test]
async fn what_replicas_have_outlives_the_master() {
    let mut master = OwnRedis::start_master(&[]).await;
    let replica = master.start_replica().await;
    let options = on(&master, PATIENCE).await;
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let mut orders = Vec::new();
    for at in 0..20 {
        orders.push(reached(&create(&api, "replica", &at.to_string()).await, 201, "replica"));
    }
    master.kill9();
    let promote = redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut replica.connect().await).await;
    promote.expect("the replica answers");
    for order in &orders {
        assert!(holds(&replica, &options, id(order)).await, "{order}");
    }
}

#[tokio::test]
async fn a_replica_that_hangs_makes_the_level_unknown_and_a_repeat_waits_again() {
    let master = OwnRedis::start_master(&[]).await;
    let replica = master.start_replica().await;
    let options = on(&master, TIMEOUT).await;
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    replica.pause();
    let begun = Instant::now();
    assert_unknown(&create(&api, "replica", "k").await);
    let waited = begun.elapsed();
    assert!(TIMEOUT <= waited, "{waited:?}");
    let [order] = &api.live(7).await[..] else { panic!("the order is there all the same, and once") };
    // A level that does not need the replica is reached meanwhile.
    reached(&api.json_with("PUT", "/v1/restaurants/8", &[("durability", "ledger")], &json!({})).await, 200, "ledger");

    // Repeats wait again, and together: a dead replica is waited for once, not once for each of them.
    let before = calls(&master, "wait").await;
    join_all((0..30).map(|_| create(&api, "replica", "k"))).await.iter().for_each(assert_unknown);
    let waits = calls(&master, "wait").await - before;
    assert!(waits < 15, "{waits} waits for 30 callers");
    let done = format!("/v1/orders/{}/release", id(order));
    api.post(&done, json!({})).await.ok(200);
    assert_unknown(&api.json_with("POST", &done, &[("durability", "replica")], &json!({})).await);

    replica.resume();
    let answer = create(&api, "replica", "k").await;
    assert_eq!(id(&reached(&answer, 201, "replica")), id(order));
    assert_eq!(answer.header("idempotent-replayed"), Some("true"));
    reached(&api.json_with("POST", &done, &[("durability", "replica")], &json!({})).await, 200, "replica");
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.contains(r#"nowserving_durability_total{level="replica",outcome="unknown"} 32"#), "{metrics}");
    assert!(metrics.contains(r#"nowserving_durability_total{level="replica",outcome="reached"} 2"#), "{metrics}");
}

#[tokio::test]
async fn those_who_wait_share_their_waits() {
    let master = OwnRedis::start_master(&[]).await;
    let replica = master.start_replica().await;
    let daemon = Daemon::start(&on(&master, PATIENCE).await);
    let api = Api::at(daemon.url());
    replica.pause();
    let keys: Vec<String> = (0..50).map(|at| at.to_string()).collect();
    let waiting = join_all(keys.iter().map(|key| create(&api, "replica", key)));
    let resume = async {
        eventually_true(PATIENCE, || async { api.live(7).await.len() == 50 }).await;
        // No call is held up by those that wait.
        api.create(7, json!({})).await;
        replica.resume();
    };
    let (answers, ()) = tokio::join!(waiting, resume);
    answers.iter().for_each(|answer| drop(reached(answer, 201, "replica")));
    let waits = calls(&master, "wait").await;
    assert!((1..=10).contains(&waits), "{waits} waits");
}

#[tokio::test]
async fn connections_that_were_closed_are_made_anew() {
    let master = OwnRedis::start_master(&[]).await;
    let _replica = master.start_replica().await;
    let daemon = Daemon::start(&on(&master, PATIENCE).await);
    let api = Api::at(daemon.url());
    for at in 0..3 {
        reached(&create(&api, "replica", &at.to_string()).await, 201, "replica");
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("normal");
        kill.exec_async(&mut master.connect().await).await.expect("the server answers");
    }
}

#[tokio::test]
async fn a_master_that_came_back_as_another_proves_nothing() {
    let mut master = OwnRedis::start_master(&["--appendfsync", "always"]).await;
    let replica = master.start_replica().await;
    let daemon = Daemon::start(&on(&master, PATIENCE).await);
    let api = Api::at(daemon.url());
    replica.pause();
    let crash = async {
        eventually_true(PATIENCE, || async { api.live(7).await.len() == 1 }).await;
        master.kill9();
        master.restart().await;
        replica.resume();
    };
    let (answer, ()) = tokio::join!(create(&api, "replica", "k"), crash);
    assert_unknown(&answer);
}

#[tokio::test]
async fn two_replicas_are_two() {
    let master = OwnRedis::start_master(&[]).await;
    let first = master.start_replica().await;
    let daemon = Daemon::start(&on(&master, TIMEOUT).await.with("NOWSERVING_DURABILITY_REPLICAS", 2));
    let api = Api::at(daemon.url());
    assert_unknown(&create(&api, "replica", "k").await);
    let second = master.start_replica().await;
    eventually(PATIENCE, || async { Some(create(&api, "replica", "k").await).filter(|answer| answer.status == 201) })
        .await;
    drop((first, second));
}

/// Releases are what makes room: what came of them must be told, too.
#[tokio::test]
async fn a_full_redis_tells_how_far_a_release_has_come() {
    let master = OwnRedis::start_master(&[]).await;
    let _replica = master.start_replica().await;
    let daemon = Daemon::start(&on(&master, PATIENCE).await);
    let api = Api::at(daemon.url());
    let (first, second) = (api.create(7, json!({})).await, api.create(7, json!({})).await);
    let mut limit = redis::cmd("CONFIG");
    limit.arg("SET").arg("maxmemory").arg(1);
    limit.exec_async(&mut master.connect().await).await.expect("the server answers");
    api.post(ORDERS, json!({})).await.problem(503, "unavailable");
    let release = async |order: &Value| {
        let path = format!("/v1/orders/{}/release", id(order));
        reached(&api.json_with("POST", &path, &[("durability", "replica")], &json!({})).await, 200, "replica")
    };
    assert_eq!(release(&first).await["status"], "completed");
    // Nor does it matter whether the server knows the script.
    let forget = redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut master.connect().await).await;
    forget.expect("the server answers");
    assert_eq!(release(&second).await["status"], "completed");
}

/// A Redis that makes its file durable before it answers can always be believed.
#[tokio::test]
async fn always_synced_is_on_disk() {
    let redis = OwnRedis::start_with(&["--appendfsync", "always"]).await;
    let options = on(&redis, PATIENCE).await.with("NOWSERVING_DURABILITY_LEVEL", "fsync");
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    reached(&api.post(ORDERS, json!({})).await, 201, "fsync");
    reached(&create(&api, "memory", "k").await, 201, "memory");
    assert_eq!(calls(&redis, "wait").await, 0);
    if knows_waitaof(&redis).await {
        return;
    }
    // What it does can be changed while it runs: then it is believed no longer.
    let mut change = redis::cmd("CONFIG");
    change.arg("SET").arg("appendfsync").arg("everysec");
    change.exec_async(&mut redis.connect().await).await.expect("the server answers");
    assert_unknown(&create(&api, "fsync", "k").await);
    create(&api, "fsync", "k").await.problem(400, "invalid_durability");
}

/// Also on a private Redis that an earlier daemon has left, and told otherwise.
#[tokio::test]
async fn a_private_redis_gives_the_level_that_is_set() {
    let options = DaemonOptions::local();
    let daemon = Daemon::start(&options);
    Api::at(daemon.url()).create(7, json!({})).await;
    daemon.kill9();
    let fsync = options.clone().with("NOWSERVING_DURABILITY_LEVEL", "fsync");
    for _ in 0..2 {
        let daemon = Daemon::start(&fsync);
        reached(&Api::at(daemon.url()).post(ORDERS, json!({})).await, 201, "fsync");
        let (status, output) = daemon.terminate();
        assert!(status.success(), "{output}");
    }
    let doctor = fsync.run("doctor", &[]);
    assert!(doctor.stdout.contains("(appendfsync always)"), "{doctor:?}");
    assert!(doctor.stdout.contains("durability.level fsync can be given"), "{doctor:?}");
    let doctor = options.run("doctor", &[]);
    assert!(doctor.stdout.contains("(appendfsync everysec)"), "{doctor:?}");
}

#[tokio::test]
async fn a_level_that_the_server_cannot_give_is_refused() {
    let redis = OwnRedis::start_with(&["--appendonly", "no"]).await;
    let options = on(&redis, TIMEOUT).await;
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let refused = create(&api, "fsync", "k").await.problem(400, "invalid_durability");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("appendonly yes")), "{refused}");
    assert_eq!(api.live(7).await, [] as [Value; 0], "nothing was changed");
    daemon.kill9();

    let refused = options.with("NOWSERVING_DURABILITY_LEVEL", "fsync").run("serve", &["--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let sentence = "nowserving: durability.level fsync cannot be given: Redis keeps no append-only file: set";
    assert!(refused.stderr.contains(sentence), "{refused:?}");
}

/// What no replica has, no replica keeps: nothing is begun.
#[tokio::test]
async fn replicas_that_no_redis_has_are_refused() {
    let redis = OwnRedis::start().await;
    let options = on(&redis, TIMEOUT).await;
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let refused = create(&api, "replica", "k").await.problem(400, "invalid_durability");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("no replicas")), "{refused}");
    assert_eq!(api.live(7).await, [] as [Value; 0], "nothing was changed");
    // The key was not used up.
    reached(&create(&api, "memory", "k").await, 201, "memory");
    daemon.kill9();
    let refused = options.with("NOWSERVING_DURABILITY_LEVEL", "replica").run("serve", &["--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("durability.level replica cannot be given: Redis has no replicas"), "{refused:?}");
}

/// A replica that has gone may come back: what waits for it is made, and said to be unknown.
#[tokio::test]
async fn replicas_that_are_away_are_waited_for() {
    let master = OwnRedis::start_master(&[]).await;
    let replica = master.start_replica().await;
    let options = on(&master, TIMEOUT).await.with("NOWSERVING_DURABILITY_LEVEL", "replica");
    let first = Daemon::start(&options);
    reached(&create(&Api::at(first.url()), "replica", "1").await, 201, "replica");
    drop(replica);
    eventually_true(PATIENCE, || async { master.info("connected_slaves").await.as_deref() == Some("0") }).await;
    assert_unknown(&create(&Api::at(first.url()), "replica", "2").await);
    // So for a daemon that starts meanwhile.
    let second = Daemon::start(&options);
    assert_unknown(&create(&Api::at(second.url()), "replica", "3").await);
    let _replica = master.start_replica().await;
    for (daemon, key) in [(&first, "2"), (&second, "3")] {
        let api = Api::at(daemon.url());
        let again = eventually(PATIENCE, || async {
            Some(create(&api, "replica", key).await).filter(|answer| answer.status == 201)
        });
        reached(&again.await, 201, "replica");
    }
}

#[tokio::test]
async fn a_private_redis_has_no_replicas() {
    let options = DaemonOptions::local();
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let refused = create(&api, "replica", "k").await.problem(400, "invalid_durability");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("a private Redis")), "{refused}");
    assert_eq!(api.live(7).await, [] as [Value; 0], "nothing was changed");
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    let replica = options.clone().with("NOWSERVING_DURABILITY_LEVEL", "replica");
    let unwritten =
        options.with("NOWSERVING_DURABILITY_LEVEL", "ledger").with("NOWSERVING_WRITE_BEHIND_ENABLED", false);
    for (options, level) in [(replica, "replica"), (unwritten, "ledger")] {
        let refused = options.run("serve", &["--listen", "127.0.0.1:0"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(refused.stderr.contains(&format!("durability.level {level} cannot be given")), "{refused:?}");
        let doctor = options.run("doctor", &[]);
        assert!(doctor.stdout.contains(&format!("durability.level {level} cannot be given")), "{doctor:?}");
    }
}

/// Daemons that leave the writing to others, where there are no others.
#[tokio::test]
async fn a_ledger_that_no_daemon_writes_is_refused() {
    let redis = OwnRedis::start().await;
    let writes = on(&redis, PATIENCE).await;
    let idle = writes.clone().with("NOWSERVING_WRITE_BEHIND_ENABLED", false);
    let daemon = Daemon::start(&idle);
    let api = Api::at(daemon.url());
    let refused = create(&api, "ledger", "k").await.problem(400, "invalid_durability");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("write_behind.enabled")), "{refused}");
    assert_eq!(api.live(7).await, [] as [Value; 0], "nothing was changed");
    let default = idle.clone().with("NOWSERVING_DURABILITY_LEVEL", "ledger");
    // It says of itself that it only stands by, once it has said anything.
    eventually_true(PATIENCE, || async {
        let doctor = default.run("doctor", &["--tasks"]);
        doctor.stdout.contains("it leaves the work to other daemons")
    })
    .await;
    let refused = default.run("serve", &["--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("durability.level ledger cannot be given: no daemon writes"), "{refused:?}");

    let writer = Daemon::start(&writes);
    eventually(PATIENCE, || async { Some(create(&api, "ledger", "k").await).filter(|answer| answer.status == 201) })
        .await;
    // Beside one that writes, one that does not may start; and one that has just gone may come back.
    let second = Daemon::start(&default);
    reached(&Api::at(second.url()).post(ORDERS, json!({})).await, 201, "ledger");
    drop(writer);
}

#[tokio::test]
async fn without_waitaof_a_second_is_too_long() {
    let redis = OwnRedis::start().await;
    if knows_waitaof(&redis).await {
        return;
    }
    let options = on(&redis, TIMEOUT).await.with("NOWSERVING_DURABILITY_LEVEL", "fsync");
    let refused = options.run("serve", &["--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    for word in ["everysec", "appendfsync always", "7.2"] {
        assert!(refused.stderr.contains(word), "{refused:?}");
    }
}

/// A server that knows WAITAOF: the Redis of this machine, or the one that `.ci/setup` has fetched.
async fn waitaof_server() -> Option<OwnRedis> {
    let redis = OwnRedis::start_master(&[]).await;
    if knows_waitaof(&redis).await {
        return Some(redis);
    }
    let fetched = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/usr/bin/valkey-server");
    let found = [fetched, PathBuf::from("/usr/bin/valkey-server")].into_iter().find(|program| program.exists());
    let Some(program) = found else {
        eprintln!("no server here knows WAITAOF: level fsync is tested with `appendfsync always` only");
        return None;
    };
    Some(OwnRedis::start_program(program, &[]).await)
}

#[tokio::test]
async fn waitaof_tells_when_the_disk_has_a_change() {
    let Some(redis) = waitaof_server().await else { return };
    let daemon = Daemon::start(&on(&redis, PATIENCE).await.with("NOWSERVING_DURABILITY_LEVEL", "fsync"));
    let api = Api::at(daemon.url());
    for _ in 0..3 {
        reached(&api.post(ORDERS, json!({})).await, 201, "fsync");
    }
    let keys: Vec<String> = (0..50).map(|at| at.to_string()).collect();
    let answers = join_all(keys.iter().map(|key| create(&api, "fsync", key))).await;
    answers.iter().for_each(|answer| drop(reached(answer, 201, "fsync")));
    let waits = calls(&redis, "waitaof").await;
    assert!((4..=53).contains(&waits), "{waits} waits");
}

/// A restaurant of one of two partitions.
fn of_partition(index: u16) -> RestaurantId {
    let mut ids = (1..).filter_map(|id| RestaurantId::new(id).ok());
    ids.find(|id| id.partition(2) == PartitionId::new(index)).expect("each partition has some")
}

/// How many transactions of this database wait for locks.
async fn waits_for_locks(pool: &PgPool) -> i64 {
    let waiting = "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
                   WHERE NOT l.granted AND a.datname = current_database()";
    sqlx::query_scalar(waiting).fetch_one(pool).await.expect("Postgres answers")
}

async fn in_ledger(pool: &PgPool, order: &Value) -> Option<(i64, String)> {
    let id: uuid::Uuid = id(order).parse().expect("a UUID");
    let found =
        sqlx::query_as("SELECT version::bigint, status::text FROM orders WHERE internal_order_id = $1").bind(id);
    found.fetch_optional(pool).await.expect("Postgres answers")
}

#[tokio::test]
async fn the_ledger_has_it_when_the_answer_comes() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_DURABILITY_LEVEL", "ledger");
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let pool = PgPool::connect(options.database_url.as_deref().expect("a database")).await.expect("Postgres answers");
    for _ in 0..10 {
        let order = reached(&api.post(ORDERS, json!({})).await, 201, "ledger");
        assert_eq!(in_ledger(&pool, &order).await, Some((1, "pending".into())));
        let changed = api.patch(id(&order), json!({"status": "ready", "note": "x"})).await;
        reached(&changed, 200, "ledger");
        assert_eq!(in_ledger(&pool, &order).await, Some((2, "ready".into())));
        reached(&api.release(id(&order), false).await, 200, "ledger");
        assert_eq!(in_ledger(&pool, &order).await, Some((3, "completed".into())));
        reached(&api.release(id(&order), true).await, 200, "ledger");
    }
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM order_events").fetch_one(&pool).await.expect("answers");
    // The settings, and for each order: created, changed, completed, recycled.
    assert_eq!(events, 41);
    reached(&api.put("/v1/restaurants/7", json!({"max_number": 50})).await, 200, "ledger");
    let settings = "SELECT count(*) FROM restaurants WHERE max_number = 50";
    let settings: i64 = sqlx::query_scalar(settings).fetch_one(&pool).await.expect("Postgres answers");
    assert_eq!(settings, 1);
    reached(&api.post("/v1/restaurants/7/cleanup", json!({})).await, 200, "ledger");
    reached(&api.post("/v1/restaurants/7/cleanup", json!({"dry_run": true})).await, 200, "memory");
}

/// The two are in one batch, and in two transactions.
#[tokio::test]
async fn a_part_of_a_batch_that_has_to_wait_holds_up_no_other() {
    let redis = OwnRedis::start().await;
    let options = on(&redis, PATIENCE).await.with("NOWSERVING_PARTITIONS", 2);
    let options = options.with("NOWSERVING_WRITE_BEHIND_BATCH_SIZE", 1).with("NOWSERVING_WRITE_BEHIND_FILL_MS", 1000);
    let options = options.with("NOWSERVING_LEDGER_TIMEOUT_MS", 120_000);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let paths = [0, 1].map(|index| format!("/v1/restaurants/{}/orders", of_partition(index).get()));
    let slow = reached(&api.json_with("POST", &paths[0], &[("durability", "ledger")], &json!({})).await, 201, "ledger");
    api.post(&paths[1], json!({})).await.ok(201);
    let is_trimmed = async |index: u16| {
        let mut length = redis::cmd("XLEN");
        length.arg(format!("{}:{{{index}}}:outbox", options.namespace));
        length.query_async::<u32>(&mut redis.connect().await).await.expect("the server answers") == 0
    };
    eventually_true(PATIENCE, || is_trimmed(1)).await;

    let pool = PgPool::connect(options.database_url.as_deref().expect("a database")).await.expect("Postgres answers");
    let mut holder = pool.begin().await.expect("Postgres answers");
    let order: uuid::Uuid = id(&slow).parse().expect("a UUID");
    let lock = sqlx::query("SELECT FROM orders WHERE internal_order_id = $1 FOR UPDATE").bind(order);
    lock.execute(&mut *holder).await.expect("Postgres answers");
    let (changed, made) =
        tokio::join!(api.patch(id(&slow), json!({"status": "ready"})), api.post(&paths[1], json!({})));
    changed.ok(200);
    made.ok(201);
    // What the ledger has of the other is trimmed at once.
    eventually_true(PATIENCE, || is_trimmed(1)).await;
    // And it waits still, for the first time.
    assert_eq!(waits_for_locks(&pool).await, 1);
    assert_eq!(in_ledger(&pool, &slow).await, Some((1, "pending".into())));
    // Until it is written, it is in the outbox.
    assert!(!is_trimmed(0).await);
    holder.rollback().await.expect("Postgres answers");
    eventually_true(PATIENCE, || async { in_ledger(&pool, &slow).await == Some((2, "ready".into())) }).await;
}

/// The batch under way cannot be written for as long as a row of it is locked: callers do not wait for it.
#[tokio::test]
async fn what_callers_wait_for_does_not_wait_for_a_batch() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 2);
    let options = options.with("NOWSERVING_DURABILITY_TIMEOUT_MS", PATIENCE.as_millis());
    let options = options.with("NOWSERVING_HTTP_REQUEST_TIMEOUT_MS", 3 * PATIENCE.as_millis());
    let options = options.with("NOWSERVING_LEDGER_TIMEOUT_MS", 120_000);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let [slow, quick] = [0, 1].map(|index| format!("/v1/restaurants/{}/orders", of_partition(index).get()));
    let at_ledger = async |path: &str, status| {
        reached(&api.json_with("POST", path, &[("durability", "ledger")], &json!({})).await, status, "ledger")
    };
    let held = at_ledger(&slow, 201).await;
    let pool = PgPool::connect(options.database_url.as_deref().expect("a database")).await.expect("Postgres answers");
    let mut holder = pool.begin().await.expect("Postgres answers");
    let order: uuid::Uuid = id(&held).parse().expect("a UUID");
    let lock = sqlx::query("SELECT FROM orders WHERE internal_order_id = $1 FOR UPDATE").bind(order);
    lock.execute(&mut *holder).await.expect("Postgres answers");
    api.patch(id(&held), json!({"status": "ready"})).await.ok(200);
    eventually_true(PATIENCE, || async { waits_for_locks(&pool).await == 1 }).await;

    let orders = join_all((0..50).map(|_| at_ledger(&quick, 201))).await;
    for order in &orders {
        assert_eq!(in_ledger(&pool, order).await, Some((1, "pending".into())));
        at_ledger(&format!("/v1/orders/{}/release", id(order)), 200).await;
        assert_eq!(in_ledger(&pool, order).await, Some((2, "completed".into())));
    }
    assert_eq!(waits_for_locks(&pool).await, 1, "the batch waits still");
    holder.rollback().await.expect("Postgres answers");
    eventually_true(PATIENCE, || async { in_ledger(&pool, &held).await == Some((2, "ready".into())) }).await;
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM order_events WHERE internal_order_id IS NOT NULL")
        .fetch_one(&pool)
        .await
        .expect("Postgres answers");
    assert_eq!(events, 102, "each change once");
}

/// Another writer holds the partition: its end is waited for, and what it wrote is not written again.
#[tokio::test]
async fn a_waiter_waits_for_the_writer_that_holds_its_partition() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 1);
    let options = options.with("NOWSERVING_DURABILITY_TIMEOUT_MS", PATIENCE.as_millis());
    let options = options.with("NOWSERVING_HTTP_REQUEST_TIMEOUT_MS", 3 * PATIENCE.as_millis());
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let pool = PgPool::connect(options.database_url.as_deref().expect("a database")).await.expect("Postgres answers");
    reached(&create(&api, "ledger", "first").await, 201, "ledger");
    let mut holder = pool.begin().await.expect("Postgres answers");
    let lock = sqlx::query("SELECT FROM outbox_progress FOR UPDATE");
    lock.execute(&mut *holder).await.expect("Postgres answers");
    let held = async {
        eventually_true(PATIENCE, || async { waits_for_locks(&pool).await > 0 }).await;
        holder.rollback().await.expect("Postgres answers");
    };
    let (created, ()) = tokio::join!(create(&api, "ledger", "second"), held);
    let order = reached(&created, 201, "ledger");
    assert_eq!(in_ledger(&pool, &order).await, Some((1, "pending".into())));
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM order_events").fetch_one(&pool).await.expect("answers");
    assert_eq!(events, 3);
}

#[tokio::test]
async fn without_postgres_the_ledger_level_is_unknown_until_it_is_back() {
    let mut postgres = OwnPostgres::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_DURABILITY_TIMEOUT_MS", TIMEOUT.as_millis());
    options.database_url = Some(postgres.create_database("levels").await);
    options.migrate();
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let durable = reached(&create(&api, "ledger", "before").await, 201, "ledger");
    postgres.immediate();
    assert_unknown(&create(&api, "ledger", "k").await);
    let order = create(&api, "memory", "k").await.ok(201);
    assert_eq!(api.order(id(&order)).await.ok(200), order);
    // What the ledger had before is still known to be there.
    assert_eq!(reached(&create(&api, "ledger", "before").await, 201, "ledger"), durable);
    let path = format!("/v1/orders/{}", id(&order));
    let cancel =
        async |level| api.json_with("PATCH", &path, &[("durability", level)], &json!({"status": "cancelled"})).await;
    assert_unknown(&cancel("ledger").await);
    // It is final by now; asking again changes nothing, and waits all the same.
    assert_unknown(&cancel("ledger").await);
    postgres.restart().await;
    let answer = eventually(PATIENCE, || async { Some(cancel("ledger").await).filter(|answer| answer.status == 200) });
    let cancelled = reached(&answer.await, 200, "ledger");
    assert_eq!((cancelled["status"].as_str(), cancelled["version"].as_u64()), (Some("cancelled"), Some(2)));
    assert_eq!(reached(&create(&api, "ledger", "k").await, 201, "ledger"), cancelled);
}

#[tokio::test]
async fn another_daemons_writing_counts() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 1);
    // This is about what is reached, not how soon.
    let options = options.with("NOWSERVING_DURABILITY_TIMEOUT_MS", 10_000);
    let options = options.with("NOWSERVING_HTTP_REQUEST_TIMEOUT_MS", 22_000);
    let writer = Daemon::start(&options);
    let watcher = Daemon::start(&options.clone().with("NOWSERVING_WRITE_BEHIND_ENABLED", false));
    let other = Daemon::start(&options);
    let (writer, watcher, other) = (Api::at(writer.url()), Api::at(watcher.url()), Api::at(other.url()));
    // One of the two writers has the partition to itself just now.
    for at in 0..10 {
        for (name, api) in [("writer", &writer), ("watcher", &watcher), ("other", &other)] {
            reached(&create(api, "ledger", &format!("{name} {at}")).await, 201, "ledger");
        }
    }
}

#[tokio::test]
async fn a_level_is_one_known_word() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let api = Api::at(daemon.url());
    for bad in [&b"disk"[..], b"", b"Disk", b"memory, ledger", b"\xff"] {
        let answer = api.send("POST", ORDERS, &[("durability", bad)], None).await;
        answer.problem(400, "invalid_durability");
    }
    let twice: [(&str, &[u8]); 2] = [("durability", b"memory"), ("durability", b"memory")];
    api.send("POST", ORDERS, &twice, None).await.problem(400, "invalid_durability");
    let order = api.create(7, json!({})).await;
    let order = format!("/v1/orders/{}", id(&order));
    let bad = [("durability", "disk")];
    api.json_with("PATCH", &order, &bad, &json!({})).await.problem(400, "invalid_durability");
    for (method, path) in [
        ("POST", format!("{order}/release")),
        ("PUT", "/v1/restaurants/7".to_owned()),
        ("POST", "/v1/restaurants/7/cleanup".to_owned()),
    ] {
        api.json_with(method, &path, &bad, &json!({})).await.problem(400, "invalid_durability");
    }
    assert_eq!(api.live(7).await.len(), 1, "nothing else was changed");
    let answer = api.post(ORDERS, json!({})).await;
    reached(&answer, 201, "memory");
}
