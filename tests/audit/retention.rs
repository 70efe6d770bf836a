//! How long the ledger keeps what is over.

use std::time::Duration;

use nowserving::domain::Timestamp;
use nowserving::ledger::{Ledger, LedgerSettings, MonthlyTable, SetAside, StoredMonth};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true, library};

/// Long ago, for a ledger that keeps a hundred days.
const LONG_AGO: Duration = Duration::from_secs(400 * 86_400);
const FOREIGN_ID: &str = "6f0a1c52-93d4-4c0e-8f57-0d9a6be1c003";

struct World {
    options: DaemonOptions,
    db: PgConnection,
}

impl World {
    async fn new() -> Self {
        // Clean-up would expire what is to be live.
        let options = DaemonOptions::migrated().await.with("NOWSERVING_CLEANUP_ENABLED", false);
        let db = PgConnection::connect(options.database_url.as_deref().expect("a database")).await.expect("connects");
        Self { options, db }
    }

    /// A daemon that keeps orders and events so many days.
    fn daemon(&self, orders_days: u32, events_days: u32) -> Daemon {
        let options = self.options.clone().with("NOWSERVING_LEDGER_RETAIN_ORDERS_DAYS", orders_days);
        Daemon::start(&options.with("NOWSERVING_LEDGER_RETAIN_EVENTS_DAYS", events_days))
    }

    async fn is_kept(&mut self, why: &str) {
        let daemon = self.daemon(100, 0);
        let looked =
            || async { Api::at(daemon.url()).get("/metrics").await.text.contains("nowserving_ledger_months_ahead 12") };
        eventually_true(PATIENCE, looked).await;
        assert!(daemon.terminate().0.success());
        assert_eq!(self.count(OLD_MONTHS).await, 1, "{why}");
    }

    async fn run(&mut self, statement: String) {
        sqlx::query(AssertSqlSafe(statement.clone()))
            .execute(&mut self.db)
            .await
            .unwrap_or_else(|e| panic!("{statement}: {e}"));
    }

    async fn count(&mut self, from: &str) -> i64 {
        let query = AssertSqlSafe(format!("SELECT count(*) FROM {from}"));
        sqlx::query_scalar(query).fetch_one(&mut self.db).await.unwrap_or_else(|e| panic!("{from}: {e}"))
    }

    async fn wait_for(&mut self, from: &str, wanted: i64) {
        let url = self.options.database_url.clone().expect("a database");
        eventually_true(PATIENCE, || async {
            let mut db = PgConnection::connect(&url).await.expect("connects");
            let query = AssertSqlSafe(format!("SELECT count(*) FROM {from}"));
            sqlx::query_scalar::<_, i64>(query).fetch_one(&mut db).await.expect("a count") == wanted
        })
        .await;
    }

    /// What a retention finds to be over is let go of when it has been so for an hour: this is the first look, and the hour.
    async fn first_look(&mut self, orders_days: u32, events_days: u32) {
        self.run("DELETE FROM months_due".into()).await;
        let daemon = self.daemon(orders_days, events_days);
        let url = self.options.database_url.clone().expect("a database");
        eventually_true(PATIENCE, || async {
            let mut db = PgConnection::connect(&url).await.expect("connects");
            let seen = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM months_due").fetch_one(&mut db);
            seen.await.expect("a count") > 0
        })
        .await;
        assert!(daemon.terminate().0.success());
        self.run("UPDATE months_due SET seen_at = seen_at - interval '2 hours'".into()).await;
    }

    /// A live order from long ago, in the ledger, with an alias.
    async fn old_order(&mut self, daemon: &Daemon, restaurant: u32) -> String {
        Api::at(daemon.url()).put(&format!("/v1/restaurants/{restaurant}"), json!({})).await.ok(200);
        let id = library::old_order(&self.options, restaurant, LONG_AGO).await;
        assert_eq!(Api::at(daemon.url()).order(&id).await.status, 200);
        self.wait_for(&format!("orders WHERE internal_order_id = '{id}'"), 1).await;
        self.run(format!("INSERT INTO order_aliases VALUES ('{FOREIGN_ID}', '{id}') ON CONFLICT DO NOTHING")).await;
        id
    }

    /// Ends an order and frees its number at once; returns when Redis has let go of it.
    async fn end(&mut self, daemon: &Daemon, id: &str) {
        Api::at(daemon.url()).release(id, true).await.ok(200);
        self.wait_for(&format!("orders WHERE internal_order_id = '{id}' AND released_at IS NOT NULL"), 1).await;
        let service = library::service(&self.options).await;
        let order = id.parse().expect("an order id");
        let gone = || async { service.allocator().order(order).await.expect("Redis answers").is_none() };
        eventually_true(PATIENCE * 2, gone).await;
    }
}

/// The months of orders from long ago.
const OLD_MONTHS: &str = "pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'orders'::regclass AND relname < 'orders_y' || to_char(now() - interval '300 days', 'YYYY\"m\"MM')";
const SET_ASIDE: &str = "pg_class WHERE relkind = 'r' AND relname LIKE 'dropped\\_%'";
const MADE_READY: &str = "pg_inherits WHERE inhparent = 'orders'::regclass";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_goes_when_nothing_needs_it_any_more() {
    let mut world = World::new().await;
    let keeper = world.daemon(0, 0);
    let id = world.old_order(&keeper, 7).await;
    assert_eq!(world.count(OLD_MONTHS).await, 1);

    // Its order is live.
    world.first_look(100, 0).await;
    world.is_kept("a live order is kept, however old it is").await;

    // A change that somebody may still write.
    world.end(&keeper, &id).await;
    world.wait_for("display_order_slots", 0).await;
    world
        .run(
            "INSERT INTO dead_letters (partition, generation, sequence, entry, reason) VALUES (0, 1, 1, '', 'no')"
                .into(),
        )
        .await;
    world.first_look(100, 0).await;
    world.is_kept("a dead letter holds it").await;
    world.run("DELETE FROM dead_letters".into()).await;
    // Its order has changed just now.
    world.first_look(100, 0).await;
    world.is_kept("what was changed lately is not over").await;
    world.run("SELECT ensure_month((now() - interval '200 days')::date)".into()).await;
    world.run("UPDATE order_events SET occurred_at = now() - interval '200 days'".into()).await;
    // It is seen for the first time.
    world.run("DELETE FROM months_due".into()).await;
    world.is_kept("a clock may be wrong, and put right within the hour").await;

    // Nothing: two daemons at once let go of it.
    world.first_look(100, 0).await;
    let daemons = [world.daemon(100, 0), world.daemon(100, 0)];
    world.wait_for(OLD_MONTHS, 0).await;
    world.wait_for(SET_ASIDE, 0).await;
    assert_eq!(world.count("order_aliases").await, 0);
    let api = Api::at(daemons[0].url());
    for id in [id.as_str(), FOREIGN_ID] {
        api.order(id).await.problem(404, "order_not_found");
    }
    let events = api.get(&format!("/v1/orders/{id}/events")).await.ok(200);
    assert_eq!(events["events"].as_array().map(Vec::len), Some(2), "its events are kept longer: {events}");
    api.create(7, json!({})).await;

    // An order of that month that comes late is written all the same, by a daemon that knew the month.
    let late = world.old_order(&keeper, 8).await;
    assert_eq!(world.count("dead_letters").await, 0);
    world.end(&keeper, &late).await;
    assert_eq!(Api::at(keeper.url()).order(&late).await.ok(200)["status"], "completed");
}

#[tokio::test]
async fn events_have_a_time_of_their_own() {
    let mut world = World::new().await;
    world.run("SELECT ensure_month('2020-05-01'), ensure_month('2020-06-01')".into()).await;
    for month in ["2020-05-31", "2020-06-01"] {
        world
            .run(format!(
                "INSERT INTO order_events (partition, generation, sequence, occurred_at, kind, restaurant_id, version)
                 VALUES (0, 0, 1, '{month} 12:00Z', 'configured', 7, 1)"
            ))
            .await;
    }
    // A crash came between the two steps.
    world.run("SELECT set_aside_month('order_events', '2020-06-01', now())".into()).await;
    assert_eq!((world.count("order_events").await, world.count(SET_ASIDE).await), (1, 1));
    let daemon = world.daemon(0, 0);
    world.wait_for(SET_ASIDE, 0).await;
    assert!(daemon.terminate().0.success());
    assert_eq!(world.count("order_events").await, 1, "for ever is the default");

    world.first_look(0, 31).await;
    let _daemon = world.daemon(0, 31);
    world.wait_for("order_events", 0).await;
    world.wait_for(SET_ASIDE, 0).await;
    assert_eq!(world.count("pg_class WHERE relname IN ('orders_y2020m05', 'orders_y2020m06')").await, 2);
    assert!(world.count(MADE_READY).await >= 13);
}

#[tokio::test]
async fn nobody_is_kept_waiting() {
    let mut world = World::new().await;
    world.run("SELECT ensure_month('2020-05-01')".into()).await;
    let settings = LedgerSettings {
        url: world.options.database_url.clone().expect("a database"),
        max_connections: 4,
        timeout_ms: 10_000,
        connect_timeout_ms: 10_000,
    };
    let ledger = Ledger::connect(&settings).await.expect("connects");
    let month = |table| StoredMonth { table, first_day: "2020-05-01".parse().expect("a day") };
    let stored = ledger.stored_months().await.expect("answers");
    assert_eq!(stored, [MonthlyTable::Events, MonthlyTable::Orders].map(month));

    // A writer that takes its time is not waited for, and can go on.
    let mut writer = world.db.begin().await.expect("Postgres answers");
    sqlx::query("LOCK TABLE orders IN ROW EXCLUSIVE MODE").execute(&mut *writer).await.expect("is free");
    let (orders, recent) = (month(MonthlyTable::Orders), Timestamp::from_unix_ms(Timestamp::MAX_MS));
    assert_eq!(ledger.set_aside(orders, recent).await.expect("answers"), SetAside::Busy);
    sqlx::query("LOCK TABLE orders_y2020m05 IN ROW EXCLUSIVE MODE").execute(&mut *writer).await.expect("is free");
    assert_eq!(ledger.set_aside(orders, recent).await.expect("answers"), SetAside::Busy);
    writer.commit().await.expect("commits");
    assert_eq!(ledger.stored_months().await.expect("answers"), stored, "all is as it was");

    // Of several at once one does it.
    let attempts =
        [ledger.set_aside(orders, recent), ledger.set_aside(orders, recent), ledger.set_aside(orders, recent)];
    let done: Vec<SetAside> = futures_util::future::try_join_all(attempts).await.expect("answers");
    assert_eq!(done.iter().filter(|became| **became == SetAside::Done).count(), 1, "{done:?}");
    // One that was made anew waits for the older one to be dropped.
    world.run("SELECT ensure_month('2020-05-01')".into()).await;
    assert_eq!(ledger.set_aside(orders, recent).await.expect("answers"), SetAside::Busy);
    let drops = [ledger.drop_set_aside(), ledger.drop_set_aside()];
    futures_util::future::try_join_all(drops).await.expect("answers");
    assert_eq!(world.count(SET_ASIDE).await, 0);
    assert_eq!(ledger.set_aside(orders, recent).await.expect("answers"), SetAside::Done);
    assert_eq!(ledger.drop_set_aside().await.expect("answers"), ["dropped_orders_y2020m05"]);
}

#[tokio::test]
async fn a_month_is_the_least_that_is_kept() {
    let options = DaemonOptions::local();
    for days in ["30", "1", "36501", "-1", "a month"] {
        let refused = options.clone().with("NOWSERVING_LEDGER_RETAIN_ORDERS_DAYS", days).run("config", &[]);
        assert!(!refused.status.success() && refused.stderr.contains("RETAIN_ORDERS_DAYS"), "{days}: {refused:?}");
    }
}
