//! How long the ledger keeps what is over.

use std::time::{Duration, Instant};

use nowserving::config::{self, Settings};
use nowserving::domain::Timestamp;
use nowserving::ledger::{Detached, Ledger, MonthlyTable, StoredMonth};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

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
        let mut db =
            PgConnection::connect(options.database_url.as_deref().expect("a database")).await.expect("connects");
        // Daemons that agree on nothing, as those of versions before the agreement: what one of them keeps, another one
        // must not take.
        let forget = "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
            CREATE TRIGGER forget BEFORE INSERT ON agreed_settings FOR EACH ROW EXECUTE FUNCTION forget()";
        sqlx::raw_sql(forget).execute(&mut db).await.expect("a good statement");
        Self { options, db }
    }

    /// A daemon that keeps orders and events so many days.
    fn daemon(&self, orders_days: u32, events_days: u32) -> Daemon {
        let options = self.options.clone().with("NOWSERVING_LEDGER_RETAIN_ORDERS_DAYS", orders_days);
        Daemon::start(&options.with("NOWSERVING_LEDGER_RETAIN_EVENTS_DAYS", events_days))
    }

    /// A daemon that keeps all, and so forgets what others find over. It has looked, and looks again in a minute.
    async fn keeper(&mut self) -> Daemon {
        self.run("INSERT INTO months_due (parent, first_day, written) VALUES ('orders', '1970-01-01', 0)".into()).await;
        let keeper = self.daemon(0, 0);
        self.wait_for("months_due", 0).await;
        keeper
    }

    /// A daemon finds that the old month is over, and leaves it alone for this reason, as its log says.
    async fn is_kept(&mut self, reason: &str) {
        let line = format!("a month is kept: {reason}");
        // A pass that failed, or that met others at work there, is made again after a minute.
        let deadline = Instant::now() + PATIENCE * 3;
        loop {
            let options = self.options.clone().with("NOWSERVING_LOG_FILTER", "info,nowserving::service=debug");
            let daemon = Daemon::start(&options.with("NOWSERVING_LEDGER_RETAIN_ORDERS_DAYS", 100));
            // A keeper that keeps all forgets what another daemon found over, and Postgres counts what is written some
            // seconds late: then this is a first look again.
            while !daemon.output().contains(&line) && self.count(JUST_SEEN).await == 0 {
                assert!(Instant::now() < deadline, "{reason}: {}", daemon.output());
                assert_eq!(self.count(OLD_MONTHS).await, 1, "{reason}");
                sleep(Duration::from_millis(20)).await;
            }
            let (status, output) = daemon.terminate();
            assert!(status.success(), "{output}");
            if output.contains(&line) {
                break;
            }
            self.run(AN_HOUR_PASSES.into()).await;
        }
        assert_eq!(self.count(OLD_MONTHS).await, 1, "{reason}");
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

    /// What a retention finds to be over is let go of when it has been so for an hour: this is the first look, and the
    /// hour.
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
        self.run(AN_HOUR_PASSES.into()).await;
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
/// Those that were found over within the last hour.
const JUST_SEEN: &str = "months_due WHERE seen_at > now() - interval '1 hour'";
/// And what was written before the first look counts as written before it: a session tells its figures when it ends, which
/// on a slow machine may be later.
const AN_HOUR_PASSES: &str = "UPDATE months_due AS m SET seen_at = seen_at - interval '2 hours',
    written = coalesce((SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables
                        WHERE relid = to_regclass(m.parent || to_char(m.first_day, '\"_y\"YYYY\"m\"MM'))), 0)";
const DETACHED: &str = "pg_class WHERE relkind = 'r' AND relname LIKE 'dropped\\_%'";
const MADE_READY: &str = "pg_inherits WHERE inhparent = 'orders'::regclass";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_goes_when_nothing_needs_it_any_more() {
    let mut world = World::new().await;
    let keeper = world.keeper().await;
    let id = world.old_order(&keeper, 7).await;
    assert_eq!(world.count(OLD_MONTHS).await, 1);

    // Its order is live.
    world.first_look(100, 0).await;
    world.is_kept("one of its orders has a number").await;

    // A change that a daemon may still write.
    world.end(&keeper, &id).await;
    world.wait_for("display_order_slots", 0).await;
    world
        .run(
            "INSERT INTO dead_letters (partition, generation, sequence, entry, reason) VALUES (0, 1, 1, '', 'no')"
                .into(),
        )
        .await;
    world.first_look(100, 0).await;
    world.is_kept("changes that the ledger refused wait for it").await;
    world.run("DELETE FROM dead_letters".into()).await;
    // Its order has changed just now.
    world.first_look(100, 0).await;
    world.is_kept("one of its orders has changed lately").await;
    world.run("SELECT ensure_month((now() - interval '200 days')::date)".into()).await;
    world.run("UPDATE order_events SET occurred_at = now() - interval '200 days'".into()).await;
    // It is seen for the first time: a clock may be wrong, and put right within the hour.
    world.run("DELETE FROM months_due".into()).await;
    let service = library::service(&world.options).await;
    for _ in 0..2 {
        let kept = config::LedgerSettings { retain_orders_days: 100, ..Settings::default().ledger };
        service.upkeep.keep_months(&kept, &CancellationToken::new()).await.expect("both answer");
        assert!(world.count(JUST_SEEN).await > 0 && world.count(OLD_MONTHS).await == 1);
    }

    // Nothing: two daemons at once let go of it.
    world.first_look(100, 0).await;
    let daemons = [world.daemon(100, 0), world.daemon(100, 0)];
    world.wait_for(OLD_MONTHS, 0).await;
    world.wait_for(DETACHED, 0).await;
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
    assert_eq!((world.count("order_events").await, world.count(DETACHED).await), (1, 1));
    let daemon = world.keeper().await;
    world.wait_for(DETACHED, 0).await;
    assert!(daemon.terminate().0.success());
    assert_eq!(world.count("order_events").await, 1, "for ever is the default");

    world.first_look(0, 31).await;
    let _daemon = world.daemon(0, 31);
    world.wait_for("order_events", 0).await;
    world.wait_for(DETACHED, 0).await;
    assert_eq!(world.count("pg_class WHERE relname IN ('orders_y2020m05', 'orders_y2020m06')").await, 2);
    assert!(world.count(MADE_READY).await >= 13);
}

#[tokio::test]
async fn no_caller_is_kept_waiting() {
    let mut world = World::new().await;
    world.run("SELECT ensure_month('2020-05-01')".into()).await;
    let url = world.options.database_url.clone().expect("a database");
    let ledger = Ledger::connect(&url, &library::ledger_settings(10_000)).await.expect("connects");
    let month = |table| StoredMonth { table, first_day: "2020-05-01".parse().expect("a day") };
    let stored = ledger.stored_months().await.expect("answers");
    assert_eq!(stored, [MonthlyTable::Events, MonthlyTable::Orders].map(month));

    // A writer that takes its time is not waited for, and can go on.
    let mut writer = world.db.begin().await.expect("Postgres answers");
    sqlx::query("LOCK TABLE orders IN ROW EXCLUSIVE MODE").execute(&mut *writer).await.expect("is free");
    let (orders, recent) = (month(MonthlyTable::Orders), Timestamp::from_unix_ms(Timestamp::MAX_MS));
    assert_eq!(ledger.detach_month(orders, recent).await.expect("answers"), Detached::Busy);
    sqlx::query("LOCK TABLE orders_y2020m05 IN ROW EXCLUSIVE MODE").execute(&mut *writer).await.expect("is free");
    assert_eq!(ledger.detach_month(orders, recent).await.expect("answers"), Detached::Busy);
    writer.commit().await.expect("commits");
    assert_eq!(ledger.stored_months().await.expect("answers"), stored, "all is as it was");

    // Of several at once one does it.
    let attempts =
        [ledger.detach_month(orders, recent), ledger.detach_month(orders, recent), ledger.detach_month(orders, recent)];
    let done: Vec<Detached> = futures_util::future::try_join_all(attempts).await.expect("answers");
    assert_eq!(done.iter().filter(|became| **became == Detached::Done).count(), 1, "{done:?}");
    // One that was made anew waits for the older one to be dropped.
    world.run("SELECT ensure_month('2020-05-01')".into()).await;
    assert_eq!(ledger.detach_month(orders, recent).await.expect("answers"), Detached::Busy);
    let drops = [ledger.drop_detached(), ledger.drop_detached()];
    futures_util::future::try_join_all(drops).await.expect("answers");
    assert_eq!(world.count(DETACHED).await, 0);
    assert_eq!(ledger.detach_month(orders, recent).await.expect("answers"), Detached::Done);
    assert_eq!(ledger.drop_detached().await.expect("answers"), ["dropped_orders_y2020m05"]);
}

#[tokio::test]
async fn a_month_is_the_least_that_is_kept() {
    let options = DaemonOptions::local();
    for days in ["30", "1", "36501", "-1", "a month"] {
        let refused = options.clone().with("NOWSERVING_LEDGER_RETAIN_ORDERS_DAYS", days).run("config", &[]);
        assert!(!refused.status.success() && refused.stderr.contains("RETAIN_ORDERS_DAYS"), "{days}: {refused:?}");
    }
}
