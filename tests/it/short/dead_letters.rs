//! Entries that the ledger refuses: they hold up no other entry, they are seen, and they are written once their cause is gone.

use crate::support::api::id;
use crate::support::daemon::Finished;
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true, library};
use nowserving::domain::RestaurantId;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const RESTAURANT: u32 = 7;

/// A deployment with one partition, whose outbox is the test's to write into.
struct Deployment {
    options: DaemonOptions,
    redis: MultiplexedConnection,
    ledger: PgConnection,
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

impl Deployment {
    async fn new() -> Self {
        let options = DaemonOptions::shared().await.with("NOWSERVING_PARTITIONS", 1);
        options.migrate();
        let client = redis::Client::open(options.redis_url.as_deref().expect("a Redis")).expect("a good URL");
        let redis = client.get_multiplexed_async_connection().await.expect("Redis answers");
        let url = options.database_url.as_deref().expect("a database");
        let ledger = PgConnection::connect(url).await.expect("Postgres answers");
        Self { options, redis, ledger }
    }

    fn outbox(&self) -> String {
        format!("{}:{{0}}:outbox", self.options.namespace)
    }

    /// The last entry of the outbox.
    async fn last_entry(&mut self) -> Fields {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(self.outbox()).arg("+").arg("-").arg("COUNT").arg(1);
        let mut entries: Vec<(String, Fields)> = command.query_async(&mut self.redis).await.expect("Redis answers");
        entries.pop().expect("the outbox is not empty").1
    }

    /// Appends an entry that no script would make.
    async fn append(&mut self, fields: &Fields) {
        let partition = format!("{}:{{0}}:partition", self.options.namespace);
        let mut next = redis::cmd("HINCRBY");
        let sequence: u64 =
            next.arg(partition).arg("seq").arg(1).query_async(&mut self.redis).await.expect("Redis answers");
        let mut add = redis::cmd("XADD");
        add.arg(self.outbox()).arg(format!("{sequence}-0"));
        for (name, value) in fields {
            add.arg(name).arg(value);
        }
        let _: String = add.query_async(&mut self.redis).await.expect("Redis answers");
    }

    async fn sql(&mut self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&mut self.ledger).await.expect("a good statement");
    }

    async fn count(&mut self, of: &str) -> i64 {
        let query = AssertSqlSafe(format!("SELECT count(*) FROM {of}"));
        sqlx::query_scalar(query).fetch_one(&mut self.ledger).await.expect("a good query")
    }

    async fn wait_for(&mut self, of: &str, count: i64) {
        let start = std::time::Instant::now();
        while self.count(of).await != count {
            assert!(start.elapsed() < PATIENCE, "there are {} of {of}, not {count}", self.count(of).await);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        self.options.run("dead-letters", arguments)
    }

    fn listed(&self) -> Vec<Value> {
        let listed = self.run(&["list", "--json"]);
        assert!(listed.status.success(), "{listed:?}");
        let mut list: Value = serde_json::from_str(&listed.stdout).expect("it is JSON");
        assert!(list["next_after"].is_null());
        list["dead_letters"].as_array_mut().expect("a list").drain(..).collect()
    }

    fn assert_verified(&self) {
        let verified = self.options.run("verify", &[]);
        assert!(verified.status.success() && verified.stdout.contains(" 0 findings"), "{verified:?}");
    }
}

fn with(mut fields: Fields, name: &str, value: &[u8]) -> Fields {
    let field = fields.iter_mut().find(|(field, _)| field == name.as_bytes()).expect("a field of entries");
    field.1 = value.to_vec();
    fields
}

async fn metric(api: &Api, name: &str) -> f64 {
    let text = api.get("/metrics").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a metric");
    line.trim().parse().expect("a number")
}

#[tokio::test]
async fn entries_that_are_no_good_become_dead_letters_and_hold_up_no_other() {
    let mut deployment = Deployment::new().await;
    {
        let idle = deployment.options.clone().with("NOWSERVING_WRITE_BEHIND_ENABLED", false);
        let daemon = Daemon::start(&idle);
        Api::at(daemon.url()).create(RESTAURANT, json!({})).await;
    }
    let good = deployment.last_entry().await;
    deployment.append(&vec![(b"e".to_vec(), b"1".to_vec()), (b"what".to_vec(), b"\xff\0".to_vec())]).await;
    deployment.append(&with(good.clone(), "e", b"1 eaten   ")).await;
    deployment.append(&with(good.clone(), "x", br#"{"a":"an\u0000ymous"}"#)).await;
    deployment.append(&with(good.clone(), "e", b"1 created 99999999999999  ")).await;
    deployment.append(&with(good, "o", b"\x01short")).await;

    let daemon = Daemon::start(&deployment.options);
    let api = Api::at(daemon.url());
    let order = api.create(RESTAURANT, json!({})).await;
    api.release(id(&order), false).await.ok(200);
    deployment.wait_for("order_events WHERE kind = 'released'", 1).await;
    assert_eq!(deployment.count("dead_letters").await, 5);
    eventually_true(PATIENCE, || async { metric(&api, "nowserving_dead_letters_total").await >= 5.0 }).await;
    let healthy = api.get("/readyz").await;
    assert_eq!(healthy.status, 200, "{healthy:?}");

    let listed = deployment.run(&["list"]);
    assert!(listed.status.success(), "{listed:?}");
    for part in ["bytes that are no event", "kind eaten", "created order", "(22021)", "(23514)", "dead-letters retry"] {
        assert!(listed.stdout.contains(part), "{part} is not in {listed:?}");
    }
    let letters = deployment.listed();
    let sqlstates: Vec<&Value> = letters.iter().map(|letter| &letter["sqlstate"]).collect();
    assert_eq!(sqlstates, [&Value::Null, &Value::Null, &json!("22021"), &json!("23514"), &Value::Null]);
    assert_eq!(letters[2]["restaurant_id"], RESTAURANT);
    let ids: Vec<String> = letters.iter().map(|letter| letter["id"].to_string()).collect();
    let page = deployment.run(&["list", "--after", &ids[0], "--limit", "2"]);
    assert!(page.stdout.contains(&format!("--after {}", ids[2])) && !page.stdout.contains("(23514)"), "{page:?}");
    let doctor = deployment.options.run("doctor", &[]);
    assert!(doctor.stdout.contains("5 entries wait") && doctor.stdout.contains("dead-letters list"), "{doctor:?}");

    // Their cause is in them, so no retry helps.
    let retried = deployment.run(&["retry", "--all"]);
    assert_eq!(retried.status.code(), Some(2), "{retried:?}");
    for part in ["0 written, 5 not", "cannot be read", "refuses it (22021)", "refuses it (23514)"] {
        assert!(retried.stdout.contains(part), "{part} is not in {retried:?}");
    }
    assert_eq!(deployment.count("dead_letters").await, 5);

    let careless = deployment.run(&["drop", "--all"]);
    assert!(careless.status.code() == Some(1) && careless.stderr.contains("--yes"), "{careless:?}");
    assert_eq!(deployment.count("dead_letters").await, 5);
    let dropped = deployment.run(&["drop", &ids[0], &ids[2], "--yes"]);
    assert!(dropped.status.success() && dropped.stdout.contains("2 dropped"), "{dropped:?}");
    let unknown = deployment.run(&["drop", &ids[0], "--yes"]);
    assert!(unknown.status.code() == Some(2) && unknown.stdout.contains("no such dead letter"), "{unknown:?}");
    let dropped = deployment.run(&["drop", "--all", "--yes"]);
    assert!(dropped.status.success() && dropped.stdout.contains("3 dropped"), "{dropped:?}");
    assert!(deployment.run(&["list"]).stdout.contains("no dead letters"));
    for incomplete in [&["retry"][..], &["drop", "--yes"], &["retry", "1", "--all"]] {
        assert_eq!(deployment.run(incomplete).status.code(), Some(1), "{incomplete:?}");
    }
    drop(daemon);
    // Nothing is wrong but that they are gone.
    let verified = deployment.options.run("verify", &[]);
    let gone = "partition 0: 5 of the latest 10000 events are neither in order_events nor in dead_letters (those that";
    assert!(verified.stdout.contains(gone) && verified.stdout.contains(" 1 findings"), "{verified:?}");
}

#[tokio::test]
async fn an_entry_that_does_not_say_its_generation_becomes_a_dead_letter_like_others() {
    let mut deployment = Deployment::new().await;
    let daemon = Daemon::start(&deployment.options);
    let api = Api::at(daemon.url());
    api.create(RESTAURANT, json!({})).await;
    deployment.wait_for("order_events WHERE kind = 'created'", 1).await;
    let foreign = vec![(b"what".to_vec(), b"\xff\0".to_vec())];
    deployment.append(&foreign).await;
    deployment.wait_for("dead_letters", 1).await;
    deployment.append(&foreign).await;
    api.create(RESTAURANT, json!({})).await;
    deployment.wait_for("order_events WHERE kind = 'created'", 2).await;
    assert_eq!(deployment.count("dead_letters").await, 2);
}

#[tokio::test]
async fn what_was_refused_is_written_when_its_cause_is_gone() {
    let mut deployment = Deployment::new().await;
    deployment.sql("ALTER TABLE orders ADD CONSTRAINT taste CHECK (note <> 'anchovies')").await;
    let daemon = Daemon::start(&deployment.options);
    let api = Api::at(daemon.url());
    let note = json!({"note": "anchovies"});
    // Refused as it was made: one is live still, one changes its mind, one ends well, one ends badly.
    // One after the other: changes of an order that are written together are written as the last of them.
    let live = api.create_with_key(RESTAURANT, "once", &note).await.ok(201);
    let changed = api.create_with_key(RESTAURANT, "twice", &note).await.ok(201);
    let ended = api.create(RESTAURANT, note.clone()).await;
    let lost = api.create(RESTAURANT, note.clone()).await;
    let late = api.create(RESTAURANT, json!({})).await;
    deployment.wait_for("dead_letters", 4).await;
    deployment.wait_for("orders", 1).await;
    api.patch(id(&changed), json!({"note": "olives"})).await.ok(200);
    api.patch(id(&ended), json!({"note": "olives"})).await.ok(200);
    api.release(id(&ended), false).await.ok(200);
    api.release(id(&lost), false).await.ok(200);
    api.patch(id(&late), json!({"note": "anchovies", "status": "ready"})).await.ok(200);
    api.release(id(&late), true).await.ok(200);
    api.create(RESTAURANT, json!({})).await;
    deployment.wait_for("dead_letters", 7).await;
    deployment.wait_for("order_events WHERE kind = 'created'", 2).await;
    assert_eq!(deployment.count("orders").await, 4);

    // What Redis said stays what is read: it keeps what the ledger does not have.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(api.order(id(&live)).await.ok(200)["note"], "anchovies");
    for order in [&lost, &late] {
        assert_eq!(api.order(id(order)).await.ok(200)["status"], "completed");
    }

    let refused = deployment.run(&["retry", "--all"]);
    assert!(refused.status.code() == Some(2) && refused.stdout.contains("0 written, 7 not"), "{refused:?}");
    deployment.sql("ALTER TABLE orders DROP CONSTRAINT taste").await;
    // No Redis is needed, and daemons may run.
    let mut options = deployment.options.clone();
    options.redis_url = Some("unix:///does/not/exist.sock".into());
    let first = deployment.listed()[0]["id"].to_string();
    let retried = options.run("dead-letters", &["retry", &first]);
    assert!(retried.status.success() && retried.stdout.contains("1 written, 0 not"), "{retried:?}");
    let retried = options.run("dead-letters", &["retry", "--all"]);
    assert!(retried.status.success() && retried.stdout.contains("6 written, 0 not"), "{retried:?}");
    assert!(!retried.stdout.contains("is held by order"), "{retried:?}");

    assert_eq!(deployment.count("dead_letters").await, 0);
    assert_eq!(deployment.count("orders").await, 6);
    assert_eq!(deployment.count("orders WHERE idempotency_key IS NOT NULL").await, 2);
    assert_eq!(deployment.count("order_events WHERE kind = 'created'").await, 6);
    // Every event lies at its place: no gaps, nothing twice.
    let gaps = "(SELECT sequence - lag(sequence, 1, 0::bigint) OVER (ORDER BY sequence) AS step FROM order_events) AS s
                WHERE step <> 1";
    assert_eq!(deployment.count(gaps).await, 0);
    let status = format!("orders WHERE internal_order_id = '{}' AND note = 'olives'", id(&changed));
    assert_eq!(deployment.count(&status).await, 1, "a later change stays");
    assert_eq!(deployment.count("display_order_slots WHERE status = 'live'").await, 3);
    assert_eq!(deployment.count("display_order_slots WHERE status = 'cooling'").await, 2);
    deployment.assert_verified();
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
}

#[tokio::test]
async fn a_number_that_another_order_has_by_now_is_left_to_it() {
    let mut deployment = Deployment::new().await;
    let daemon = Daemon::start(&deployment.options);
    let api = Api::at(daemon.url());
    api.configure(RESTAURANT, json!({"max_number": 1, "cooldown_seconds": 0})).await;
    deployment.sql("ALTER TABLE orders ADD CONSTRAINT taste CHECK (note <> 'anchovies')").await;
    let first = api.create(RESTAURANT, json!({"note": "anchovies"})).await;
    api.release(id(&first), true).await.ok(200);
    let second = api.create(RESTAURANT, json!({})).await;
    deployment.wait_for("orders", 1).await;
    deployment.wait_for("dead_letters", 2).await;
    deployment.sql("ALTER TABLE orders DROP CONSTRAINT taste").await;
    let retried = deployment.run(&["retry", "--all"]);
    assert!(retried.status.success() && retried.stdout.contains("2 written"), "{retried:?}");
    assert!(retried.stdout.contains(&format!("is held by order {} by now", id(&second))), "{retried:?}");
    let kept = format!("display_order_slots WHERE status = 'live' AND current_order_id = '{}'", id(&second));
    assert_eq!(deployment.count(&kept).await, 1);
    drop(daemon);
    deployment.assert_verified();
}

#[tokio::test]
async fn the_live_order_gets_its_number_when_the_end_before_it_is_written() {
    let mut deployment = Deployment::new().await;
    let daemon = Daemon::start(&deployment.options);
    let api = Api::at(daemon.url());
    api.configure(RESTAURANT, json!({"max_number": 1, "cooldown_seconds": 0})).await;
    let first = api.create(RESTAURANT, json!({})).await;
    deployment.wait_for("orders", 1).await;
    deployment.sql("ALTER TABLE orders ADD CONSTRAINT taste CHECK (status <> 'completed')").await;
    api.release(id(&first), true).await.ok(200);
    let second = api.create(RESTAURANT, json!({})).await;
    deployment.wait_for("orders", 2).await;
    deployment.wait_for("dead_letters", 1).await;
    let held = |order| format!("display_order_slots WHERE status = 'live' AND current_order_id = '{}'", id(order));
    assert_eq!(deployment.count(&held(&first)).await, 1, "as far as the ledger knows");

    deployment.sql("ALTER TABLE orders DROP CONSTRAINT taste").await;
    let retried = deployment.run(&["retry", "--all"]);
    assert!(retried.status.success() && retried.stdout.contains("1 written"), "{retried:?}");
    assert!(!retried.stdout.contains("is held by order"), "{retried:?}");
    assert_eq!(deployment.count(&held(&second)).await, 1);
    drop(daemon);
    deployment.assert_verified();
}

/// Redis keeps what the ledger does not have, and lets it go once the ledger does; of what was dropped it is said so.
#[tokio::test]
async fn an_end_that_became_a_dead_letter_is_kept_until_it_is_written() {
    let mut deployment = Deployment { options: DaemonOptions::migrated().await, ..Deployment::new().await };
    let url = deployment.options.database_url.as_deref().expect("a database");
    deployment.ledger = PgConnection::connect(url).await.expect("Postgres answers");
    let daemon = Daemon::start(&deployment.options);
    let api = Api::at(daemon.url());
    let (first, second) = (api.create(RESTAURANT, json!({})).await, api.create(RESTAURANT, json!({})).await);
    deployment.wait_for("orders", 2).await;
    deployment.sql("ALTER TABLE orders ADD CONSTRAINT taste CHECK (status <> 'completed')").await;
    api.release(id(&first), false).await.ok(200);
    api.release(id(&second), false).await.ok(200);
    deployment.wait_for("dead_letters", 2).await;
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    deployment.sql("ALTER TABLE orders DROP CONSTRAINT taste").await;

    let letters = deployment.listed();
    let findings = async |parts: &[String]| {
        let verified = deployment.options.run("verify", &[]);
        for part in parts {
            assert!(verified.stdout.contains(part), "{part} is not in {verified:?}");
        }
    };
    let as_it_ended = |order: &Value| format!("the ledger does not have order {} as it ended: ", id(order));
    let waits = |at: usize| format!("its end waits as dead letter {}", letters[at]["id"]);
    findings(&[as_it_ended(&first) + &waits(0), as_it_ended(&second) + &waits(1)]).await;

    let retried = deployment.run(&["retry", &letters[0]["id"].to_string()]);
    assert!(retried.status.success(), "{retried:?}");
    let dropped = deployment.run(&["drop", &letters[1]["id"].to_string(), "--yes"]);
    assert!(dropped.status.success(), "{dropped:?}");
    let keeps = format!("order {} has ended, and the ledger will not know: Redis keeps it", id(&second));
    assert!(dropped.stdout.contains(&keeps), "{dropped:?}");
    assert!(!dropped.stdout.contains(id(&first)), "{dropped:?}");

    let service = library::service(&deployment.options).await;
    let restaurant = RestaurantId::new(i64::from(RESTAURANT)).expect("a restaurant");
    let kept = async || {
        let kept = service.allocator().kept_orders(restaurant).await.expect("Redis answers");
        kept.iter().map(|order| order.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(kept().await.len(), 2);
    service.usage.retire_left_behind(restaurant, 0).await.expect("both answer");
    assert_eq!(kept().await, [id(&second)]);
    findings(&[as_it_ended(&second) + "its end was dead-lettered, it seems, and then dropped"]).await;
}

/// Of one order the ledger refuses the end, of another one that it was taken back: written late, neither wins over what
/// came behind it.
#[tokio::test]
async fn a_reopened_order_stays_so_when_the_end_before_it_is_written() {
    let mut deployment = Deployment::new().await;
    let daemon = Daemon::start(&deployment.options);
    let api = Api::at(daemon.url());
    let (endless, closed) = (api.create(RESTAURANT, json!({})).await, api.create(RESTAURANT, json!({})).await);
    let open = api.create(RESTAURANT, json!({})).await;
    api.release(id(&closed), false).await.ok(200);
    api.release(id(&open), false).await.ok(200);
    deployment.wait_for("orders WHERE status = 'completed'", 2).await;
    deployment
        .sql(
            "ALTER TABLE orders ADD CONSTRAINT no_end CHECK (status <> 'completed') NOT VALID,
                 ADD CONSTRAINT no_way_back CHECK (reopenings = 0) NOT VALID",
        )
        .await;
    api.release(id(&endless), false).await.ok(200);
    deployment.wait_for("dead_letters", 1).await;
    for order in [&endless, &closed, &open] {
        api.reopen(id(order)).await.ok(200);
    }
    let ended = api.release(id(&closed), false).await.ok(200);
    let ready = api.patch(id(&open), json!({"status": "ready"})).await.ok(200);
    deployment.wait_for("dead_letters", 6).await;
    deployment.sql("ALTER TABLE orders DROP CONSTRAINT no_end, DROP CONSTRAINT no_way_back").await;

    // The latest first: what is older must not undo it.
    let mut letters: Vec<String> = deployment.listed().iter().map(|letter| letter["id"].to_string()).collect();
    letters.reverse();
    for letter in letters {
        let retried = deployment.run(&["retry", &letter]);
        assert!(retried.status.success(), "{retried:?}");
    }
    assert_eq!(deployment.count("orders WHERE status = 'completed'").await, 1);
    assert_eq!(deployment.count("display_order_slots WHERE status = 'live'").await, 2);
    for (order, versions) in [(&endless, 3), (&closed, 4), (&open, 4)] {
        let events = format!("order_events WHERE internal_order_id = '{}'", id(order));
        assert_eq!(deployment.count(&events).await, versions, "each is in the log");
    }
    assert_eq!(api.order(id(&closed)).await.ok(200), ended);
    assert_eq!(api.order(id(&open)).await.ok(200), ready);
    drop(daemon);
    deployment.assert_verified();
}
