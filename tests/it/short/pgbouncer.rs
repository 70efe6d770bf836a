//! Postgres behind a pgbouncer that lends its servers for one transaction at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::api::id;
use crate::support::{Api, Daemon, DaemonOptions, OwnPostgres, PATIENCE, PgBouncer, eventually_true};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::task::JoinSet;

const SERVERS: u32 = 2;

/// A Postgres, the pgbouncer before it, and a migrated deployment that reaches it through that.
async fn behind_pgbouncer() -> (OwnPostgres, PgBouncer, DaemonOptions) {
    let postgres = OwnPostgres::start().await;
    postgres.create_database("ledger").await;
    let bouncer = PgBouncer::start(&postgres, SERVERS).await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_SURVEY_INTERVAL_SECONDS", 1);
    options.database_url = Some(bouncer.url("ledger"));
    let first = options.run("migrate", &[]);
    assert!(first.status.success() && first.stdout.contains("applied 0001"), "{first:?}");
    let second = options.run("migrate", &[]);
    assert!(second.status.success() && second.stdout.contains("up to date"), "{second:?}");
    (postgres, bouncer, options)
}

/// Callers that create orders, end most of them, and look into the past, until they are told to stop.
struct Load {
    callers: JoinSet<()>,
    stop: Arc<AtomicBool>,
    created: Arc<AtomicUsize>,
    read: Arc<AtomicUsize>,
}

impl Load {
    fn on(daemons: &[Daemon]) -> Self {
        let (stop, created, read) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = Self { callers: JoinSet::new(), stop, created, read };
        for caller in 0..8 {
            let api = Api::at(daemons[caller % daemons.len()].url());
            let (stop, created, read) = (load.stop.clone(), load.created.clone(), load.read.clone());
            load.callers.spawn(async move {
                let restaurant = u32::try_from(caller / 2 + 1).expect("small");
                while !stop.load(Ordering::Relaxed) {
                    let order = api.create(restaurant, json!({"customer_name": "Ana", "note": "no onions"})).await;
                    created.fetch_add(1, Ordering::Relaxed);
                    if created.load(Ordering::Relaxed) % 4 != 0 {
                        api.release(id(&order), true).await.ok(200);
                    }
                    // 503 while the ledger is unreachable; never anything else.
                    let found = api
                        .get(&format!("/v1/restaurants/{restaurant}/search?q=Ana&limit=5&include_completed=true"))
                        .await;
                    assert!(matches!(found.status, 200 | 503), "{found:?}");
                    let at = api.get(&format!("/v1/restaurants/{restaurant}/numbers/1")).await;
                    assert!(matches!(at.status, 200 | 503), "{at:?}");
                    read.fetch_add(usize::from(found.status == 200), Ordering::Relaxed);
                }
            });
        }
        load
    }

    async fn passes(&self, more: usize) {
        let (created, read) = (self.created.load(Ordering::Relaxed) + more, self.read.load(Ordering::Relaxed) + more);
        eventually_true(PATIENCE * 2, || async {
            self.created.load(Ordering::Relaxed) >= created && self.read.load(Ordering::Relaxed) >= read
        })
        .await;
    }

    /// Ends it; gives how many orders there are.
    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.expect("no caller saw anything wrong");
        }
        self.created.load(Ordering::Relaxed)
    }
}

/// Asks the Postgres itself.
async fn count(postgres: &OwnPostgres, query: &'static str) -> i64 {
    let mut ledger = PgConnection::connect(&postgres.url("ledger")).await.expect("Postgres answers");
    sqlx::query_scalar(query).fetch_one(&mut ledger).await.expect("it answers")
}

async fn drained(postgres: &OwnPostgres, orders: usize) {
    let written = "SELECT count(*) FROM order_events WHERE kind = 'created'";
    eventually_true(PATIENCE, || async { usize::try_from(count(postgres, written).await) == Ok(orders) }).await;
}

/// Every server of the pool, looked at from within: nothing of any session is there.
async fn assert_servers_are_clean(bouncer: &PgBouncer) {
    let mut held = Vec::new();
    for _ in 0..SERVERS {
        let mut connection = bouncer.connect("ledger").await.expect("pgbouncer answers");
        // Held until the other is looked at, so that it is another one.
        sqlx::raw_sql("BEGIN").execute(&mut connection).await.expect("a server is lent");
        let state = sqlx::raw_sql(
            "SELECT pg_backend_pid() AS pid, (SELECT count(*) FROM pg_prepared_statements) AS prepared,
                    current_setting('statement_timeout') AS timeout",
        );
        let state = sqlx::Executor::fetch_one(&mut connection, state).await.expect("it answers");
        assert_eq!((state.get::<i64, _>("prepared"), state.get::<&str, _>("timeout")), (0, "0"));
        held.push((state.get::<i32, _>("pid"), connection));
    }
    assert_ne!(held[0].0, held[1].0);
    for (_, mut connection) in held {
        sqlx::raw_sql("COMMIT").execute(&mut connection).await.expect("it ends");
    }
}

/// How many clients pgbouncer has of the deployment, and how many servers they share.
async fn clients_and_servers(bouncer: &PgBouncer) -> (usize, usize) {
    let mut console = bouncer.connect("pgbouncer").await.expect("its console answers");
    let mut count = [0, 0];
    for (count, list) in count.iter_mut().zip(["SHOW CLIENTS", "SHOW SERVERS"]) {
        let rows = sqlx::Executor::fetch_all(&mut console, sqlx::raw_sql(AssertSqlSafe(list))).await;
        let rows = rows.expect("the console answers");
        *count = rows.iter().filter(|row| row.get::<&str, _>("database") == "ledger").count();
    }
    (count[0], count[1])
}

#[tokio::test]
async fn two_daemons_share_fewer_servers_than_they_have_connections() {
    let (postgres, bouncer, options) = behind_pgbouncer().await;
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let load = Load::on(&daemons);
    load.passes(100).await;
    let (clients, servers) = clients_and_servers(&bouncer).await;
    assert!(clients > servers && servers == SERVERS as usize, "{clients} clients, {servers} servers");

    let verified = options.run("verify", &[]);
    assert!(verified.status.success(), "{verified:?}");
    let orders = load.end().await;
    drained(&postgres, orders).await;
    assert_servers_are_clean(&bouncer).await;
    assert_eq!(count(&postgres, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").await, 0);

    // The months ahead are made in the first moments. The server is one for tests, which is all that is wrong.
    eventually_true(PATIENCE, || async { !options.run("doctor", &[]).stdout.contains("months have no partition") })
        .await;
    let doctor = options.run("doctor", &[]);
    let wrong: Vec<&str> = doctor.stdout.lines().filter(|line| line.contains("WRONG")).collect();
    assert!(wrong.len() == 1 && wrong[0].contains("fsync off"), "{doctor:?}");
    for daemon in daemons {
        let (status, output) = daemon.terminate();
        assert!(status.success() && !output.contains("prepared statement"), "{output}");
    }
    let verified = options.run("verify", &[]);
    assert!(verified.status.success() && verified.stdout.contains("4 restaurants verified"), "{verified:?}");
}

#[tokio::test]
async fn a_pgbouncer_that_is_killed_loses_nothing() {
    let (postgres, mut bouncer, options) = behind_pgbouncer().await;
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let load = Load::on(&daemons);
    for _ in 0..3 {
        load.passes(50).await;
        bouncer.restart().await;
    }
    load.passes(50).await;
    let orders = load.end().await;
    drained(&postgres, orders).await;
    for daemon in daemons {
        let (status, output) = daemon.terminate();
        assert!(status.success(), "{output}");
    }
    let verified = options.run("verify", &[]);
    assert!(verified.status.success() && verified.stdout.contains(" 0 findings"), "{verified:?}");
}

#[tokio::test]
async fn a_statement_that_no_caller_waits_for_ends_on_the_server() {
    let (postgres, _bouncer, options) = behind_pgbouncer().await;
    let options = options.with("NOWSERVING_LEDGER_TIMEOUT_MS", 500).with("NOWSERVING_LEDGER_CONNECT_TIMEOUT_MS", 500);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let order = api.create(7, json!({})).await;
    api.release(id(&order), true).await.ok(200);
    drained(&postgres, 1).await;

    // Every reader of the orders hangs.
    let mut ledger = PgConnection::connect(&postgres.url("ledger")).await.expect("Postgres answers");
    sqlx::raw_sql("BEGIN; LOCK TABLE orders").execute(&mut ledger).await.expect("it can be locked");
    let mut callers = JoinSet::new();
    for caller in 0..20 {
        let api = api.clone();
        callers.spawn(async move {
            let answer = api.get("/v1/restaurants/7/search?q=Ana&include_completed=true");
            // Half of them hang up.
            let patience = if caller % 2 == 0 { Duration::from_millis(100) } else { PATIENCE };
            tokio::time::timeout(patience, answer).await.map(|answer| answer.status)
        });
    }
    while let Some(status) = callers.join_next().await {
        let status = status.expect("no caller panics");
        assert!(matches!(status, Ok(503) | Err(_)), "{status:?}");
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'ledger' AND wait_event_type = 'Lock'";
    eventually_true(PATIENCE, || async { count(&postgres, waiting).await == 0 }).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut ledger).await.expect("it can be unlocked");
    // No connection was left with another caller's answer on it.
    for _ in 0..20 {
        let found = api.order(id(&order)).await.ok(200);
        assert_eq!(id(&found), id(&order));
    }
}
