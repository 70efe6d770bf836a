//! The commands, run as users run them: what they print, and the code they end with.

use std::process::Command;
use std::time::Duration;

use crate::support::api::id;
use crate::support::daemon::Finished;
use crate::support::library::old_order;
use crate::support::{self, Api, Daemon, DaemonOptions, OwnRedis, PATIENCE, eventually_true, scratch};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

/// What a refusal to start looks like: exit code 1 and one sentence, without secrets.
#[track_caller]
fn sentence(finished: &Finished) -> &str {
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let lines: Vec<&str> = finished.stderr.lines().filter(|line| line.starts_with("nowserving: ")).collect();
    assert_eq!(lines.len(), 1, "{finished:?}");
    assert!(!finished.stderr.contains("hunter2"), "a password is told: {finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    lines[0]
}

/// The program with these arguments and nothing else.
fn bare(arguments: &[&str]) -> Finished {
    let output = Command::new(env!("CARGO_BIN_EXE_nowserving"))
        .args(arguments)
        .env_clear()
        .output()
        .expect("the program can be started");
    Finished {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn without_servers() -> DaemonOptions {
    DaemonOptions::local()
}

#[test]
fn config_prints_what_is_in_effect_with_passwords_masked() {
    let file = scratch::folder("config").join("nowserving.toml");
    std::fs::write(&file, "partitions = 16\n[write_behind]\nbatch_size = 77\nfill_ms = 9\n")
        .expect("it can be written");
    let mut options = without_servers().with("NOWSERVING_WRITE_BEHIND_FILL_MS", 11);
    options.redis_url = Some("redis://me:hunter2@localhost:1/3".into());
    options.database_url = Some("postgres://me:hunter2@localhost:1/db?password=hunter2".into());
    let path = file.to_str().expect("UTF-8").to_owned();
    let printed = options.run("config", &["--config", &path, "--partitions", "32"]);
    assert!(printed.status.success() && printed.stderr.is_empty(), "{printed:?}");
    assert!(!printed.stdout.contains("hunter2"), "{}", printed.stdout);
    let settings: toml::Table = printed.stdout.parse().expect("it is TOML");
    assert_eq!(settings["redis_url"].as_str(), Some("redis://me:***@localhost:1/3"));
    assert_eq!(settings["database_url"].as_str(), Some("postgres://me:***@localhost:1/db?password=***"));
    // Defaults ← file ← environment ← flags.
    assert_eq!(settings["http"]["max_body_bytes"].as_integer(), Some(16_384));
    assert_eq!(settings["write_behind"]["batch_size"].as_integer(), Some(77));
    assert_eq!(settings["write_behind"]["fill_ms"].as_integer(), Some(11));
    assert_eq!(settings["partitions"].as_integer(), Some(32));

    let defaults = bare(&["config"]);
    let defaults: toml::Table = defaults.stdout.parse().expect("it is TOML");
    assert_eq!(defaults["listen"].as_str(), Some("127.0.0.1:8042"));
    assert_eq!(defaults["data_dir"].as_str(), Some(".nowserving"));
}

#[test]
fn a_moved_setting_is_read_and_told() {
    let file = scratch::folder("config").join("nowserving.toml");
    std::fs::write(&file, "[cleanup]\ninterval_seconds = 7\n").expect("it can be written");
    let path = file.to_str().expect("UTF-8").to_owned();
    let options = without_servers().with("NOWSERVING_HTTP_SHUTDOWN_DEADLINE_MS", 8);
    let printed = options.run("config", &["--config", &path]);
    assert!(printed.status.success(), "{printed:?}");
    let settings: toml::Table = printed.stdout.parse().expect("it is TOML");
    assert_eq!(settings["survey"]["interval_seconds"].as_integer(), Some(7));
    assert_eq!(settings["shutdown"]["deadline_ms"].as_integer(), Some(8));
    assert!(settings["cleanup"].get("interval_seconds").is_none(), "{}", printed.stdout);
    let of_file = format!("`cleanup.interval_seconds` (from {path}) has moved: write `survey.interval_seconds`");
    let of_variable = "`http.shutdown_deadline_ms` (from NOWSERVING_HTTP_SHUTDOWN_DEADLINE_MS) has moved: write";
    for told in [&*of_file, of_variable] {
        assert_eq!(printed.stderr.matches(told).count(), 1, "{printed:?}");
    }
    // Where there is a logger, it is a warning there; so for the daemon.
    let mut unusable = options;
    unusable.redis_url = Some("redis://127.0.0.1:1/0".into());
    let refused = unusable.run("serve", &["--config", &path, "--listen", "127.0.0.1:0"]);
    assert_eq!(sentence(&refused).matches("has moved").count(), 0, "{refused:?}");
    for told in [&*of_file, of_variable] {
        let lines: Vec<&str> = refused.stderr.lines().filter(|line| line.contains(told)).collect();
        assert!(lines.len() == 1 && lines[0].contains("WARN"), "{refused:?}");
    }

    std::fs::write(&file, "[cleanup]\ninterval_seconds = 7\n[survey]\ninterval_seconds = 8\n")
        .expect("it can be written");
    let refused = without_servers().run("config", &["--config", &path]);
    let text = sentence(&refused);
    assert!(text.contains("`cleanup.interval_seconds` and `survey.interval_seconds`"), "{text}");
}

#[test]
fn an_unknown_setting_is_an_error_that_names_the_nearest_one() {
    let file = scratch::folder("config").join("nowserving.toml");
    let path = file.to_str().expect("UTF-8").to_owned();
    for (text, unknown, known) in [
        ("partition = 3", "`partition`", "`partitions`"),
        ("[write_behind]\nbatchsize = 3", "`write_behind.batchsize`", "`write_behind.batch_size`"),
        ("[writebehind]\n", "`writebehind`", "`write_behind`"),
    ] {
        std::fs::write(&file, text).expect("it can be written");
        let refused = bare(&["config", "--config", &path]);
        let sentence = sentence(&refused);
        assert!(sentence.contains(unknown) && sentence.contains(known) && sentence.contains(&path), "{sentence}");
    }
    for (text, part) in
        [("partitions = ", "line 1"), ("partitions = \"x\"", "partitions"), ("partitions = 0", "1 to 1024")]
    {
        std::fs::write(&file, text).expect("it can be written");
        let refused = bare(&["config", "--config", &path]);
        assert!(sentence(&refused).contains(part), "{refused:?}");
    }
    let refused = bare(&["config", "--config", "/does/not/exist.toml"]);
    assert!(sentence(&refused).contains("/does/not/exist.toml"), "{refused:?}");

    let refused = without_servers().with("NOWSERVING_REDIS_URI", "redis://:hunter2@host").run("config", &[]);
    let named = sentence(&refused);
    assert!(named.contains("`NOWSERVING_REDIS_URI`") && named.contains("`NOWSERVING_REDIS_URL`"), "{named}");
    for (name, value) in [
        ("NOWSERVING_PARTITIONS", "many"),
        ("NOWSERVING_PARTITIONS", "0"),
        ("NOWSERVING_LISTEN", "here"),
        ("NOWSERVING_AUTO_PROVISION", "yes"),
        ("NOWSERVING_LOG_FORMAT", "xml"),
        ("NOWSERVING_REDIS_NAMESPACE", "a{b}"),
        ("NOWSERVING_DATABASE_URL", "mysql://me:hunter2@host/db"),
        ("NOWSERVING_REDIS_URL", "hunter2"),
    ] {
        for command in ["config", "serve"] {
            let refused = without_servers().with(name, value).run(command, &[]);
            assert!(sentence(&refused).contains(name), "{name}={value}: {refused:?}");
        }
    }
    // clap's own way to say it, with its own code.
    let refused = bare(&["serve", "--databse-url", "x"]);
    assert!(!refused.status.success() && refused.stderr.contains("--database-url"), "{refused:?}");
    let refused = bare(&["sevre"]);
    assert!(!refused.status.success() && refused.stderr.contains("serve"), "{refused:?}");
    let refused = bare(&["config", "--partitions", "x"]);
    assert!(sentence(&refused).contains("--partitions"), "{refused:?}");
}

#[test]
fn openapi_prints_the_document() {
    let printed = bare(&["openapi"]);
    assert!(printed.status.success() && printed.stderr.is_empty(), "{printed:?}");
    let document: Value = serde_json::from_str(&printed.stdout).expect("it is JSON");
    assert!(document["paths"]["/v1/restaurants/{restaurant_id}/orders"]["post"].is_object());
}

#[tokio::test]
async fn migrate_can_be_run_again() {
    let options = DaemonOptions::shared().await;
    let first = options.run("migrate", &[]);
    assert!(first.status.success() && first.stdout.contains("applied 0001"), "{first:?}");
    let second = options.run("migrate", &[]);
    assert!(second.status.success() && second.stdout.contains("up to date"), "{second:?}");
}

#[tokio::test]
async fn a_ledger_that_is_not_migrated_is_not_used() {
    let options = DaemonOptions::shared().await;
    for command in ["serve", "verify", "cleanup"] {
        let refused = options.run(command, if command == "serve" { &["--listen", "127.0.0.1:0"] } else { &[] });
        assert!(sentence(&refused).contains("nowserving migrate"), "{refused:?}");
    }
    options.migrate();
    drop(Daemon::start(&options));
    // The number of partitions is fixed when a deployment is made.
    let other = options.clone().with("NOWSERVING_PARTITIONS", 32);
    for command in ["serve", "verify", "cleanup"] {
        let refused = other.run(command, if command == "serve" { &["--listen", "127.0.0.1:0"] } else { &[] });
        let sentence = sentence(&refused);
        assert!(sentence.contains("64") && sentence.contains("32"), "{sentence}");
    }
}

#[tokio::test]
async fn servers_that_cannot_be_used_are_named_in_one_sentence() {
    let good = DaemonOptions::migrated().await;
    let evicting = OwnRedis::start_with(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let locked = OwnRedis::start().await;
    let no_password = locked.url();
    let client = redis::Client::open(no_password.as_str()).expect("a good URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let set = redis::cmd("CONFIG").arg(&["SET", "requirepass", "correct"]).exec_async(&mut connection).await;
    set.expect("it takes a password");
    let wrong_password = format!("{no_password}{}pass=hunter2", if no_password.contains('?') { "&" } else { "?" });
    let database = good.database_url.clone().expect("a database");
    let (before, after) = database.split_at(database.find('?').unwrap_or(database.len()));
    let no_such_database = format!("{before}_nowhere{after}");
    for (redis, postgres, parts) in [
        (Some("redis://me:hunter2@127.0.0.1:1/0"), None, ["127.0.0.1:1", "redis_url"]),
        (Some("unix:///does/not/exist.sock?pass=hunter2"), None, ["/does/not/exist.sock", "redis_url"]),
        (Some(evicting.url().as_str()), None, ["allkeys-lru", "noeviction"]),
        (Some(wrong_password.as_str()), None, ["redis_url", "assword"]),
        (None, Some("postgres://me:hunter2@127.0.0.1:1/db"), ["127.0.0.1:1", "database_url"]),
        (None, Some("postgres://me:hunter2@does.not.exist.invalid/db"), ["does.not.exist.invalid", "database_url"]),
        (None, Some(no_such_database.as_str()), ["_nowhere", "database_url"]),
    ] {
        let mut options = good.clone();
        options.redis_url = redis.map(str::to_owned).or(options.redis_url);
        options.database_url = postgres.map(str::to_owned).or(options.database_url);
        for command in ["serve", "verify", "migrate"] {
            let refused = options.run(command, if command == "serve" { &["--listen", "127.0.0.1:0"] } else { &[] });
            let sentence = sentence(&refused);
            assert!(parts.iter().all(|part| sentence.contains(part)), "{command}: {sentence}");
        }
    }
}

/// A daemon's data, at rest: orders in all states, durable, with nobody writing.
struct AtRest {
    options: DaemonOptions,
    redis: MultiplexedConnection,
    live: Vec<Value>,
}

const RESTAURANT: u32 = 7;

impl AtRest {
    async fn new() -> Self {
        let options = DaemonOptions::migrated().await;
        let daemon = Daemon::start(&options);
        let api = Api::at(daemon.url());
        api.configure(RESTAURANT, json!({"max_number": 50, "blocked_numbers": [13, 30]})).await;
        let mut live = Vec::new();
        for at in 0..12 {
            let order = api.create(RESTAURANT, json!({"note": "n"})).await;
            match at % 3 {
                0 => drop(api.release(id(&order), false).await.ok(200)),
                1 => drop(api.release(id(&order), true).await.ok(200)),
                _ => live.push(order),
            }
        }
        // Another restaurant, where nothing will be wrong.
        api.create(8, json!({})).await;
        let (status, output) = daemon.terminate();
        assert!(status.success(), "{output}");
        let client = redis::Client::open(options.redis_url.clone().expect("a Redis")).expect("a good URL");
        let redis = client.get_multiplexed_async_connection().await.expect("Redis answers");
        Self { options, redis, live }
    }

    /// The key of this kind of the restaurant.
    async fn key(&mut self, kind: &str) -> String {
        let pattern = format!("{}:*:{kind}:{RESTAURANT}", self.options.namespace);
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(pattern).query_async(&mut self.redis).await.expect("Redis answers");
        assert_eq!(keys.len(), 1, "{kind}: {keys:?}");
        keys.into_iter().next().expect("there is one")
    }

    async fn redis<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut self.redis).await.expect("Redis answers")
    }

    async fn sql(&self, statement: &'static str) -> u64 {
        use sqlx::Connection;
        let url = self.options.database_url.as_deref().expect("a database");
        let mut connection = sqlx::PgConnection::connect(url).await.expect("Postgres answers");
        sqlx::query(statement).execute(&mut connection).await.expect("a good statement").rows_affected()
    }

    /// Verify ends with 2 and says each of these, and nothing of the other restaurant.
    fn assert_found(&self, parts: &[String]) {
        let verified = self.options.run("verify", &[]);
        assert_eq!(verified.status.code(), Some(2), "{verified:?}");
        for part in parts {
            let wanted = |line: &str| line.contains(&format!("restaurant {RESTAURANT}: ")) && line.contains(part);
            assert!(verified.stdout.lines().any(wanted), "{part} is not in {verified:?}");
        }
        assert!(!verified.stdout.contains("restaurant 8:"), "{verified:?}");
        // Asked for the healthy one only, it finds nothing.
        let healthy = self.options.run("verify", &["--restaurant", "8"]);
        assert!(healthy.status.success(), "{healthy:?}");
    }

    fn assert_clean(&self) {
        let verified = self.options.run("verify", &[]);
        assert!(verified.status.success(), "{verified:?}");
        assert!(verified.stdout.contains("2 restaurants verified, 0 findings"), "{verified:?}");
    }
}

#[tokio::test]
async fn verify_finds_nothing_where_nothing_is_wrong() {
    let rest = AtRest::new().await;
    rest.assert_clean();
    // Nor while orders come and go.
    let daemon = Daemon::start(&rest.options);
    let api = Api::at(daemon.url());
    let load = tokio::spawn(async move {
        loop {
            let order = api.create(RESTAURANT, json!({})).await;
            api.release(id(&order), true).await.ok(200);
        }
    });
    for _ in 0..3 {
        let options = rest.options.clone();
        let verified = tokio::task::spawn_blocking(move || options.run("verify", &[])).await.expect("it ends");
        assert!(verified.status.success(), "{verified:?}");
    }
    assert!(!load.is_finished(), "orders came and went all the time");
    load.abort();
}

#[tokio::test]
async fn verify_finds_a_number_that_is_in_no_state_and_cleanup_repairs_it() {
    let mut rest = AtRest::new().await;
    let free = rest.key("free").await;
    let runs: Vec<(u32, u32)> = rest.redis(&["ZRANGE", &free, "0", "-1", "WITHSCORES"]).await;
    let (last, first) = *runs.iter().max_by_key(|(last, first)| last - first).expect("numbers are free");
    assert_eq!(rest.redis::<u32>(&["ZREM", &free, &last.to_string()]).await, 1);
    let leaked: Vec<String> =
        (first..=last).map(|number| format!("number {number} is neither free, live nor cooling")).collect();
    rest.assert_found(&leaked);

    let would = rest.options.run("cleanup", &["--dry-run"]);
    assert!(would.status.success() && would.stdout.contains(&format!("{} leaked", leaked.len())), "{would:?}");
    rest.assert_found(&leaked);
    let repaired = rest.options.run("cleanup", &["--restaurant", "8"]);
    assert!(repaired.status.success() && repaired.stdout.contains(" 0 leaked"), "{repaired:?}");
    rest.assert_found(&leaked);
    let repaired = rest.options.run("cleanup", &[]);
    assert!(repaired.status.success() && repaired.stdout.contains(&format!("{} leaked", leaked.len())), "{repaired:?}");
    rest.assert_clean();
    // They rest first: nobody knows since when they are free.
    let daemon = Daemon::start(&rest.options);
    let report = Api::at(daemon.url()).get(&format!("/v1/restaurants/{RESTAURANT}/numbers/{first}")).await.ok(200);
    assert_eq!(report["state"], "cooling");
}

#[tokio::test]
async fn verify_finds_a_number_that_is_in_two_states() {
    let mut rest = AtRest::new().await;
    let free = rest.key("free").await;
    let number = support::api::number(&rest.live[0]).to_string();
    rest.redis::<u32>(&["ZADD", &free, &number, &number]).await;
    rest.assert_found(&[format!("number {number} is in several states at once")]);
}

#[tokio::test]
async fn verify_finds_a_number_with_two_holders() {
    let mut rest = AtRest::new().await;
    let orders = rest.key("order").await;
    // The packed order of one holder under the id of another, and of nobody.
    let [one, two] = [0, 1].map(|at| uuid::Uuid::parse_str(id(&rest.live[at])).expect("a UUID").into_bytes());
    let connection = &mut rest.redis;
    let packed: Vec<u8> = redis::cmd("HGET").arg(&orders).arg(&one).query_async(connection).await.expect("it is live");
    let _: u32 = redis::cmd("HSET").arg(&orders).arg(&two).arg(packed).query_async(connection).await.expect("it can");
    let [kept, lost] = [0, 1].map(|at| support::api::number(&rest.live[at]));
    rest.assert_found(&[
        format!("number {kept} is held by several live orders"),
        format!("number {lost} is neither free, live nor cooling"),
    ]);
}

#[tokio::test]
async fn verify_finds_a_blocked_number_that_is_free() {
    let mut rest = AtRest::new().await;
    let free = rest.key("free").await;
    rest.redis::<u32>(&["ZADD", &free, "13", "13"]).await;
    rest.assert_found(&["number 13 is free, but does not belong to the pool".into()]);
}

#[tokio::test]
async fn verify_finds_what_the_ledger_does_not_have() {
    let rest = AtRest::new().await;
    assert_eq!(rest.sql("DELETE FROM display_order_slots WHERE restaurant_id = 7 AND status = 'live'").await, 4);
    let findings: Vec<String> = rest
        .live
        .iter()
        .map(|order| format!("does not have number {} held by order {}", support::api::number(order), id(order)))
        .collect();
    rest.assert_found(&findings);

    let rest = AtRest::new().await;
    assert_eq!(rest.sql("UPDATE orders SET note = 'forged' WHERE restaurant_id = 7 AND released_at IS NULL").await, 4);
    rest.assert_found(&[format!("version 1 of order {} differently", id(&rest.live[0]))]);

    let rest = AtRest::new().await;
    assert_eq!(
        rest.sql("UPDATE orders SET note = 'forged' WHERE restaurant_id = 7 AND released_at IS NOT NULL").await,
        8
    );
    rest.assert_found(&["the ledger does not have order".to_owned(), "as it ended".to_owned()]);

    let rest = AtRest::new().await;
    assert_eq!(rest.sql("UPDATE restaurants SET cooldown_seconds = 1 WHERE restaurant_id = 7").await, 1);
    rest.assert_found(&["different settings".to_owned()]);
}

#[tokio::test]
async fn verify_finds_a_live_order_that_redis_lost() {
    let mut rest = AtRest::new().await;
    let (orders, lost) = (rest.key("order").await, id(&rest.live[2]).to_owned());
    let bytes = uuid::Uuid::parse_str(&lost).expect("a UUID").into_bytes();
    let gone: u32 =
        redis::cmd("HDEL").arg(&orders).arg(&bytes).query_async(&mut rest.redis).await.expect("Redis answers");
    assert_eq!(gone, 1);
    rest.assert_found(&[
        format!("the ledger has order {lost} as live, Redis does not hold it"),
        format!("leads to order {lost}, which is not here"),
    ]);
}

#[tokio::test]
async fn cleanup_expires_what_no_client_closed() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_CLEANUP_ENABLED", false);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for restaurant in [RESTAURANT, 8] {
        api.configure(restaurant, json!({"active_window_seconds": 60})).await;
    }
    let young = api.create(RESTAURANT, json!({})).await;
    let old = old_order(&options, RESTAURANT, Duration::from_secs(3600)).await;
    let elsewhere = old_order(&options, 8, Duration::from_secs(61)).await;
    let would = options.run("cleanup", &["--dry-run"]);
    assert!(would.status.success() && would.stdout.contains("2 orders would be expired"), "{would:?}");
    assert!(would.stdout.contains(&old) && would.stdout.contains(&elsewhere), "{would:?}");
    let status = async |id: &str| api.order(id).await.ok(200)["status"].clone();
    assert_eq!([status(&old).await, status(&elsewhere).await], ["preparing", "preparing"]);
    let done = options.run("cleanup", &["--restaurant", "7"]);
    assert!(done.status.success() && done.stdout.contains("1 orders expired"), "{done:?}");
    let all = [status(&old).await, status(&elsewhere).await, status(id(&young)).await];
    assert_eq!(all, ["expired", "preparing", "pending"]);
}

#[tokio::test]
async fn the_other_commands_find_the_private_servers_of_a_daemon_or_start_them() {
    let options = DaemonOptions::local();
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let order = api.create(RESTAURANT, json!({})).await;
    for command in ["verify", "migrate", "cleanup"] {
        let done = options.run(command, &[]);
        assert!(done.status.success(), "while the daemon runs: {command}: {done:?}");
    }
    eventually_true(PATIENCE, || async { api.get("/readyz").await.status == 200 }).await;
    assert_eq!(api.order(id(&order)).await.ok(200), order);
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    assert_eq!(scratch::servers_under(&options.data_dir), []);
    for command in ["verify", "migrate", "cleanup"] {
        let done = options.run(command, &[]);
        assert!(done.status.success(), "on its own: {command}: {done:?}");
        assert_eq!(scratch::servers_under(&options.data_dir), [], "{command} stops what it started");
    }
    assert!(options.run("verify", &[]).stdout.contains("1 restaurants verified, 0 findings"));
}

#[tokio::test]
async fn verify_finds_a_closed_partition_and_goes_on() {
    let mut rest = AtRest::new().await;
    let pool = rest.key("pool").await;
    let partition = pool.replace(&format!("pool:{RESTAURANT}"), "partition");
    let _: u64 = rest.redis(&["HSET", &partition, "gen", "99"]).await;
    let verified = rest.options.run("verify", &[]);
    assert_eq!(verified.status.code(), Some(2), "{verified:?}");
    for part in ["is closed: Redis is at generation 99", "1 restaurants verified"] {
        assert!(verified.stdout.contains(part), "{part} is not in {verified:?}");
    }
}

#[tokio::test]
async fn doctor_is_content_with_local_mode() {
    let options = DaemonOptions::local();
    let daemon = Daemon::start(&options);
    Api::at(daemon.url()).create(RESTAURANT, json!({})).await;
    // The months ahead are made in the first moments.
    eventually_true(PATIENCE, || async { options.run("doctor", &[]).status.success() }).await;
    let healthy = options.run("doctor", &[]);
    assert!(healthy.stdout.contains("all 64 partitions: open to callers"), "{healthy:?}");
    assert!(!healthy.stdout.contains("WRONG"), "{healthy:?}");
    // Nor does it mind that servers which it has started itself are others by then.
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    for _ in 0..2 {
        let at_rest = options.run("doctor", &[]);
        assert!(at_rest.status.success(), "{at_rest:?}");
        assert!(at_rest.stdout.contains("all 64 partitions: closed when their private Redis"), "{at_rest:?}");
    }
    let verified = options.run("verify", &[]);
    assert!(verified.status.success() && verified.stdout.contains(" 0 findings"), "{verified:?}");
}

#[tokio::test]
async fn doctor_says_what_is_wrong_and_what_to_do() {
    let redis = OwnRedis::start().await;
    let mut options = DaemonOptions::shared().await;
    options.redis_url = Some(redis.url());
    let unmigrated = options.run("doctor", &[]);
    assert_eq!(unmigrated.status.code(), Some(2), "{unmigrated:?}");
    assert!(unmigrated.stdout.contains("run `nowserving migrate`"), "{unmigrated:?}");

    assert!(options.run("migrate", &[]).status.success());
    {
        let daemon = Daemon::start(&options);
        Api::at(daemon.url()).create(RESTAURANT, json!({})).await;
        let (status, output) = daemon.terminate();
        assert!(status.success(), "{output}");
    }

    // A ledger that is not durable (as test servers are), a dead letter, no append-only file, a Redis that lost its
    // data.
    use sqlx::Connection;
    let url = options.database_url.as_deref().expect("a database");
    let mut ledger = sqlx::PgConnection::connect(url).await.expect("Postgres answers");
    sqlx::query(
        "INSERT INTO dead_letters (partition, generation, sequence, entry, reason) VALUES (0, 1, 1, '', 'odd')",
    )
    .execute(&mut ledger)
    .await
    .expect("a good statement");
    let client = redis::Client::open(redis.url()).expect("a good URL");
    let mut wire = client.get_multiplexed_async_connection().await.expect("Redis answers");
    for words in [&["CONFIG", "SET", "appendonly", "no"][..], &["FLUSHALL"]] {
        let _: () = redis::cmd(words[0]).arg(&words[1..]).query_async(&mut wire).await.expect("Redis answers");
    }
    let sick = options.run("doctor", &[]);
    assert_eq!(sick.status.code(), Some(2), "{sick:?}");
    for finding in
        ["fsync off", "1 entries wait in dead_letters, the oldest for ", "keeps no append-only file", "it lost data"]
    {
        assert!(sick.stdout.contains(finding), "{finding} is not in {}", sick.stdout);
    }
}

#[tokio::test]
async fn doctor_looks_at_each_server_by_itself() {
    let good = DaemonOptions::migrated().await;
    let redis = Some("redis://me:hunter2@127.0.0.1:1/0".to_owned());
    let postgres = Some("postgres://me:hunter2@127.0.0.1:1/db".to_owned());
    let no_redis = DaemonOptions { redis_url: redis.clone(), ..good.clone() }.run("doctor", &[]);
    let no_postgres = DaemonOptions { database_url: postgres.clone(), ..good.clone() }.run("doctor", &[]);
    let neither = DaemonOptions { redis_url: redis, database_url: postgres, ..good }.run("doctor", &[]);
    let (of_redis, of_postgres) = ("the Redis at redis://me:***@127.0.0.1:1/0", "the database at postgres://me:***@");
    for (found, code, parts) in [
        (&no_redis, 2, [of_redis, "redis_url", "ok     Postgres 1"]),
        (&no_postgres, 2, [of_postgres, "database_url", "ok     Redis "]),
        (&neither, 1, [of_redis, of_postgres, "WRONG"]),
    ] {
        assert_eq!(found.status.code(), Some(code), "{found:?}");
        assert!(parts.iter().all(|part| found.stdout.contains(part)), "{parts:?}: {found:?}");
        assert!(!found.stdout.contains("hunter2"), "{found:?}");
    }
    assert!(sentence(&neither).contains("neither server"), "{neither:?}");
}
