//! `nowserving doctor` on real servers that something is the matter with: it says so, says what to do, and does
//! nothing.

use std::collections::BTreeMap;

use crate::support::daemon::Finished;
use crate::support::{Api, Daemon, DaemonOptions, OwnRedis, PATIENCE, eventually};
use nowserving::domain::RestaurantId;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// A deployment of four partitions on a Redis of the test's own, with an order in it, and no daemon.
struct Patient {
    redis: OwnRedis,
    options: DaemonOptions,
    ledger: PgConnection,
}

impl Patient {
    async fn new() -> Self {
        let redis = OwnRedis::start().await;
        let mut options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 4);
        options.redis_url = Some(redis.url());
        let url = options.database_url.as_deref().expect("a database");
        let ledger = PgConnection::connect(url).await.expect("Postgres answers");
        let daemon = Daemon::start(&options);
        let api = Api::at(daemon.url());
        for restaurant in 1..20 {
            api.create(restaurant, json!({})).await;
        }
        let mut patient = Self { redis, options, ledger };
        patient.wait_for_months().await;
        let (status, output) = daemon.terminate();
        assert!(status.success(), "{output}");
        patient
    }

    /// A daemon makes them in its first moments.
    async fn wait_for_months(&mut self) {
        let start = std::time::Instant::now();
        let months = r"SELECT count(*) FROM pg_class WHERE relname ~ '^orders_y\d+m\d+$'";
        while sqlx::query_scalar::<_, i64>(months).fetch_one(&mut self.ledger).await.expect("Postgres answers") < 12 {
            assert!(start.elapsed() < PATIENCE, "the months ahead are not made");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn sql(&mut self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut self.ledger).await.expect("a good statement");
    }

    async fn redis<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let answer = redis::cmd(words[0]).arg(&words[1..]).query_async(&mut self.redis.connect().await).await;
        answer.expect("Redis answers")
    }

    fn key(&self, partition: u16, kind: &str) -> String {
        format!("{}:{{{partition}}}:{kind}", self.options.namespace)
    }

    /// All that the two servers say of the partitions.
    async fn state(&mut self) -> Vec<String> {
        let mut state = Vec::new();
        for partition in 0..4 {
            let fields: BTreeMap<String, Vec<u8>> = self.redis(&["HGETALL", &self.key(partition, "partition")]).await;
            state.push(format!("{fields:?}"));
        }
        let rows = "SELECT p::text FROM outbox_progress AS p ORDER BY partition";
        state
            .extend(sqlx::query_scalar::<_, String>(rows).fetch_all(&mut self.ledger).await.expect("Postgres answers"));
        state
    }

    /// What doctor says; it has changed nothing.
    async fn examined(&mut self) -> Finished {
        let before = self.state().await;
        let finished = self.options.run("doctor", &[]);
        assert_eq!(self.state().await, before, "doctor changed something");
        finished
    }

    /// Doctor finds this and nothing else, and advises that.
    async fn assert_wrong(&mut self, what: &str, advice: &str) {
        let finished = self.examined().await;
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        let found = wrong(&finished);
        assert!(found.len() == 1 && found[0].0.contains(what) && found[0].1.contains(advice), "{what}: {found:#?}");
    }
}

/// What is wrong, and what to do, apart from the durability of the test servers.
fn wrong(finished: &Finished) -> Vec<(String, String)> {
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let findings = lines.windows(2).filter(|pair| pair[0].starts_with("WRONG") && !pair[0].contains("with fsync off"));
    findings.map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

#[tokio::test]
async fn a_redis_that_was_restarted_needs_a_daemon() {
    let mut patient = Patient::new().await;
    let healthy = patient.examined().await;
    assert_eq!(wrong(&healthy), []);
    for part in ["all 4 partitions: open to callers", "no daemon runs", "no events wait", "no dead letters"] {
        assert!(healthy.stdout.contains(part), "{part} is not in {}", healthy.stdout);
    }

    patient.redis.kill9();
    patient.redis.restart().await;
    for _ in 0..2 {
        patient.assert_wrong("all 4 partitions: their Redis was restarted", "run `nowserving serve`").await;
    }
    let _daemon = Daemon::start(&patient.options);
    eventually(PATIENCE, || async {
        let healthy = patient.options.run("doctor", &[]);
        Some(()).filter(|()| wrong(&healthy).is_empty() && healthy.stdout.contains("one daemon runs"))
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_lost_data_is_told_from_a_ledger_that_did() {
    let mut patient = Patient::new().await;
    // Fenced off, half built, and being built.
    let second = patient.key(1, "partition");
    let _: u32 = patient.redis(&["HSET", &second, "gen", "0", "fenced", "1", "fenced_on", "another"]).await;
    patient.assert_wrong("partition 1: fenced off, and no daemon is building", "run `nowserving serve`").await;
    let _: u32 = patient.redis(&["HSET", &second, "building", "2"]).await;
    patient.assert_wrong("partition 1: their next generation is half built", "run `nowserving serve`").await;
    let builder = "6a6e1b1c-0000-4000-8000-000000000000";
    let lease = format!("UPDATE outbox_progress SET builder = '{builder}', builder_until = now() + interval '1 hour'");
    patient.sql(&format!("{lease} WHERE partition = 1")).await;
    patient.assert_wrong(&format!("is being built by daemon {builder}"), "wait").await;
    patient.sql("UPDATE outbox_progress SET builder = NULL, builder_until = NULL").await;
    let _: u32 = patient.redis(&["HSET", &second, "gen", "1"]).await;

    patient.sql("UPDATE outbox_progress SET sequence = sequence + 1 WHERE partition IN (0, 1, 3)").await;
    patient.assert_wrong("3 partitions (0-1, 3): Redis is behind what the ledger has", "disk").await;
    for partition in 0..4 {
        let _: u32 = patient.redis(&["XTRIM", &patient.key(partition, "outbox"), "MAXLEN", "0"]).await;
    }
    patient.sql("UPDATE outbox_progress SET sequence = sequence - 2 WHERE partition IN (0, 1, 3)").await;
    patient.assert_wrong("3 partitions (0-1, 3): the ledger is behind what it had confirmed", "copy").await;
    patient.sql("UPDATE outbox_progress SET generation = NULL, run_id = NULL, sequence = 0").await;
    patient.assert_wrong("all 4 partitions: Redis holds them, and the ledger has never heard", "database_url").await;
}

#[tokio::test]
async fn an_empty_redis_is_not_filled() {
    let mut patient = Patient::new().await;
    patient.redis.stop();
    patient.redis.lose_data();
    patient.redis.restart().await;
    patient.assert_wrong("all 4 partitions: Redis holds nothing of them", "run `nowserving serve`").await;
    assert_eq!(patient.redis::<u32>(&["DBSIZE"]).await, 0);

    // Nor is a ledger that no daemon has used.
    patient.sql("DELETE FROM outbox_progress; DELETE FROM deployment").await;
    let unused = patient.examined().await;
    assert!(wrong(&unused).is_empty() && unused.stdout.contains("no daemon has used this ledger yet"), "{unused:?}");
}

#[tokio::test]
async fn events_that_no_daemon_writes_are_counted() {
    let mut patient = Patient::new().await;
    let idle = Daemon::start(&patient.options.clone().with("NOWSERVING_WRITE_BEHIND_ENABLED", false));
    Api::at(idle.url()).create(7, json!({})).await;
    let finds = async |patient: &Patient, what: &str| {
        let finished = eventually(PATIENCE, || async {
            let finished = patient.options.run("doctor", &[]);
            Some(finished).filter(|finished| wrong(finished).iter().any(|(found, _)| found.contains(what)))
        });
        finished.await
    };
    let waiting = finds(&patient, "no daemon is writing them").await;
    assert!(waiting.stdout.contains("1 events wait in Redis, the oldest for "), "{waiting:?}");
    assert!(waiting.stdout.contains("write_behind.enabled"), "{waiting:?}");
    idle.kill9();
    let gone = finds(&patient, "no daemon runs to write them").await;
    assert!(gone.stdout.contains("1 daemons ended without a word"), "{gone:?}");
    patient.assert_wrong("1 events wait in Redis, the oldest for ", "run `nowserving serve`").await;
}

#[tokio::test]
async fn what_the_settings_ask_of_the_servers_is_looked_at() {
    let mut patient = Patient::new().await;
    patient.options = patient.options.with("NOWSERVING_DURABILITY_LEVEL", "replica");
    patient.assert_wrong("durability.level replica cannot be given: Redis has no replicas", "another level").await;
    patient.options = patient.options.clone().with("NOWSERVING_DURABILITY_LEVEL", "ledger");
    let given = patient.examined().await;
    assert!(wrong(&given).is_empty() && given.stdout.contains("level ledger can be given"), "{given:?}");
    let unwritten = patient.options.clone().with("NOWSERVING_WRITE_BEHIND_ENABLED", false);
    let found = wrong(&unwritten.run("doctor", &[]));
    assert!(found.len() == 1 && found[0].0.contains("no daemon writes into the ledger"), "{found:#?}");
    patient.options = patient.options.with("NOWSERVING_DURABILITY_LEVEL", "memory");
    patient.options = patient.options.with("NOWSERVING_LEDGER_MAX_CONNECTIONS", 1000);
    patient.assert_wrong("a daemon may want 1000", "lower ledger.max_connections").await;
    patient.options = patient.options.with("NOWSERVING_LEDGER_MAX_CONNECTIONS", 10);
    let () = patient.redis(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    patient.assert_wrong("Redis takes no changes: it has 0 replicas", "bring the replicas back").await;
    let () = patient.redis(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    patient.options = patient.options.clone().with("NOWSERVING_PARTITIONS", 8);
    patient.assert_wrong("this ledger was made for 4 partitions", "set partitions to 4").await;
    patient.options = patient.options.clone().with("NOWSERVING_PARTITIONS", 4);

    let version: String = patient.redis.info("redis_version").await.expect("it has one");
    if version.starts_with("7.0.") {
        patient.options = patient.options.clone().with("NOWSERVING_DURABILITY_LEVEL", "fsync");
        patient.assert_wrong("durability.level fsync cannot be given", "another level").await;
        let () = patient.redis(&["CONFIG", "SET", "appendfsync", "always"]).await;
        let healthy = patient.examined().await;
        assert!(wrong(&healthy).is_empty() && healthy.stdout.contains("level fsync can be given"), "{healthy:?}");
    }
}

#[tokio::test]
async fn a_business_date_that_is_far_from_utcs_is_named() {
    let mut patient = Patient::new().await;
    let healthy = patient.examined().await;
    assert!(healthy.stdout.contains("the business dates of 19 restaurants are within a day of UTC's"), "{healthy:?}");
    // As a clock of Redis leaves it that was a month ahead.
    let partition = RestaurantId::new(7).expect("in range").partition(4);
    let pool = format!("{}:{{{partition}}}:pool:7", patient.options.namespace);
    let mut connection = patient.redis.connect().await;
    let mut day: Vec<u8> = redis::cmd("HGET").arg(&pool).arg("day").query_async(&mut connection).await.expect("bytes");
    let days = u16::from_be_bytes([day[0], day[1]]) + 30;
    day[..2].copy_from_slice(&days.to_be_bytes());
    redis::cmd("HSET").arg(&pool).arg("day").arg(&day).exec_async(&mut connection).await.expect("Redis answers");
    patient.assert_wrong("the business dates of 1 restaurants are more than a day from UTC's", "business-day").await;

    // A daemon with other time zones, which says so in an hour from now.
    let daemon = Daemon::start(&patient.options);
    let says = async |part: &str| {
        eventually(PATIENCE, || async {
            Some(patient.options.run("doctor", &[])).filter(|finished| finished.stdout.contains(part))
        })
        .await
    };
    says("ok     the daemons that run have the time zones of 20").await;
    let soon = "now() + interval '1 hour'";
    let other = format!(
        "INSERT INTO daemons (id, servers, seen_at, time_zones) VALUES (gen_random_uuid(), '{{}}', {soon}, '1999z')"
    );
    sqlx::raw_sql(AssertSqlSafe(other)).execute(&mut patient.ledger).await.expect("a good statement");
    says("note   the daemons that run have the time zones of several versions: 1999z (1), 20").await;
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
}

#[tokio::test]
async fn background_tasks_that_fail_or_hang_are_named() {
    let mut patient = Patient::new().await;
    let daemon = Daemon::start(&patient.options);
    let says = async |patient: &Patient, part: &str| {
        eventually(PATIENCE, || async {
            Some(patient.options.run("doctor", &[])).filter(|finished| finished.stdout.contains(part))
        })
        .await
    };
    let healthy = says(&patient, "13 background tasks run in time, and none failed").await;
    assert_eq!(wrong(&healthy), []);
    assert!(!healthy.stdout.contains("survey lease"), "only what is wrong is named: {healthy:?}");
    let all = patient.options.run("doctor", &["--tasks"]);
    for task in ["partitions", "months", "survey lease", "write-behind"] {
        let line = all.stdout.lines().find(|line| line.trim_start().starts_with(&format!("{task} ")));
        assert!(line.is_some_and(|line| line.contains(" every ")), "{task}: {all:?}");
    }

    // What only one task needs.
    patient.sql("ALTER TABLE leases RENAME TO leases_elsewhere").await;
    let failing = says(&patient, "its task `survey lease` failed ").await;
    assert_eq!(failing.status.code(), Some(2), "{failing:?}");
    let found = wrong(&failing);
    assert!(found.len() == 1 && found[0].1.contains("it tries again, every 2 s at the latest"), "{found:#?}");
    patient.sql("ALTER TABLE leases_elsewhere RENAME TO leases").await;
    says(&patient, "none failed").await;
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");

    // One that hangs, of a daemon that says so in an hour from now, and one of a daemon that does not speak of tasks.
    let late = r#"[{"task": "months", "every_ms": 60000, "ago_ms": 3600000, "took_ms": 5, "result": "ok"}]"#;
    let soon = "now() + interval '1 hour'";
    patient.sql(&format!("INSERT INTO daemons VALUES (gen_random_uuid(), '{{}}', {soon}, '{late}')")).await;
    patient.sql(&format!("INSERT INTO daemons VALUES (gen_random_uuid(), '{{}}', {soon})")).await;
    patient.assert_wrong("its task `months` has ended no run for 60 min, and is to run every 60 s", "hangs").await;
}
