//! The database's shape, from an empty database to the latest migration.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::daemon::Finished;
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true};
use chrono::{Datelike, Months, Utc};
use serde_json::json;
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};

async fn connect(options: &DaemonOptions) -> PgConnection {
    let url = options.database_url.as_deref().expect("a Postgres that is not private");
    PgConnection::connect(url).await.expect("Postgres answers")
}

/// Everything that was made in the database, without what extensions brought: one line each.
async fn schema(options: &DaemonOptions) -> BTreeSet<String> {
    const QUERIES: [&str; 5] = [
        "SELECT format('%s %s', c.relkind, c.relname) || coalesce(' ' || pg_get_partkeydef(c.oid), '')
             || coalesce(' ' || pg_get_expr(c.relpartbound, c.oid), '') || coalesce(' ' || c.reloptions::text, '')
         FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind NOT IN ('i', 'I')",
        "SELECT format('%s.%s %s not null %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)
             || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') || ' ' || a.attidentity::text
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped",
        // Postgres names the indexes of a partition as it likes.
        "SELECT format('index on %s %s %s', t.relname, i.indisvalid,
             regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX \\S+ ON (ONLY )?', 'INDEX ON '))
         FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid WHERE t.relnamespace = 'public'::regnamespace",
        "SELECT format('constraint on %s %s', conrelid::regclass, pg_get_constraintdef(oid))
         FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0",
        "SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
         AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = p.oid AND deptype = 'e')",
    ];
    let mut connection = connect(options).await;
    let mut found = BTreeSet::new();
    for query in QUERIES {
        let lines: Vec<String> = sqlx::query_scalar(query).fetch_all(&mut connection).await.expect("a good query");
        assert!(!lines.is_empty());
        found.extend(lines);
    }
    found
}

/// What an earlier version left: the first migrations only.
async fn migrate_to(options: &DaemonOptions, last: i64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut migrator = Migrator::new(folder.as_path()).await.expect("they can be read");
    migrator.migrations =
        migrator.iter().filter(|migration| migration.version <= last).cloned().collect::<Vec<_>>().into();
    migrator.run(&mut connect(options).await).await.expect("they can be applied");
}

/// Their numbers.
fn migrations() -> Vec<i64> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let names = std::fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it can be read").file_name());
    names.filter_map(|name| name.to_str()?.split('_').next()?.parse().ok()).collect()
}

fn last_migration() -> i64 {
    migrations().into_iter().max().expect("there are migrations")
}

#[tokio::test]
async fn an_empty_database_becomes_one_that_a_daemon_can_use() {
    let options = DaemonOptions::shared().await;
    let migrated = options.run("migrate", &[]);
    let applied = migrated.stdout.lines().filter(|line| line.starts_with("applied 0")).count();
    assert_eq!(applied, migrations().len(), "{migrated:?}");
    let daemon = Daemon::start(&options);
    Api::at(daemon.url()).create(7, json!({})).await;
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    let written: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
        .fetch_one(&mut connect(&options).await)
        .await
        .expect("Postgres answers");
    assert_eq!(written, 1);
}

#[tokio::test]
async fn a_database_of_any_earlier_version_becomes_as_a_fresh_one() {
    let months = ["2026-11-01", "2026-12-01"];
    let make_months = async |options: &DaemonOptions| {
        let mut connection = connect(options).await;
        for month in months {
            let made = sqlx::query_scalar::<_, bool>("SELECT ensure_month($1::text::date)").bind(month);
            made.fetch_one(&mut connection).await.expect("months can be made");
        }
    };
    let fresh = DaemonOptions::migrated().await;
    make_months(&fresh).await;
    let expected = schema(&fresh).await;
    for version in 1..last_migration() {
        let options = DaemonOptions::shared().await;
        migrate_to(&options, version).await;
        // Months that were made before a later migration came.
        if version >= 2 {
            make_months(&options).await;
        }
        let refused = options.run("serve", &["--listen", "127.0.0.1:0"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        options.migrate();
        make_months(&options).await;
        let found = schema(&options).await;
        let differences: Vec<_> = found.symmetric_difference(&expected).collect();
        assert!(differences.is_empty(), "from version {version}: {differences:#?}");
    }
}

#[tokio::test]
async fn several_may_migrate_at_once() {
    let options = DaemonOptions::shared().await;
    let runs = (0..4).map(|_| {
        let options = options.clone();
        tokio::task::spawn_blocking(move || options.run("migrate", &[]))
    });
    for run in futures_util::future::join_all(runs).await {
        let run = run.expect("it ends");
        assert!(run.status.success(), "{run:?}");
    }
    assert_eq!(schema(&options).await, schema(&DaemonOptions::migrated().await).await);
}

/// A large ledger keeps the first of them busy for longer than any other statement may take.
#[tokio::test]
async fn a_migration_waits_for_another_one_as_long_as_that_takes() {
    let options = DaemonOptions::shared().await.with("NOWSERVING_LEDGER_TIMEOUT_MS", 100);
    let mut other = connect(&options).await;
    let mut other = other.begin().await.expect("Postgres answers");
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('nowserving migrate', 0))")
        .execute(&mut *other)
        .await
        .expect("the lock is free");
    let run = tokio::task::spawn_blocking({
        let options = options.clone();
        move || options.run("migrate", &[])
    });
    eventually_true(PATIENCE, || async {
        assert!(!run.is_finished(), "it waits");
        sqlx::query_scalar::<_, bool>(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'
                            AND now() - query_start > interval '500 ms')",
        )
        .fetch_one(&mut connect(&options).await)
        .await
        .expect("Postgres answers")
    })
    .await;
    other.rollback().await.expect("Postgres answers");
    let run = run.await.expect("it ends");
    assert!(run.status.success(), "{run:?}");
}

#[track_caller]
fn assert_refused(finished: &Finished, parts: &[&str]) {
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let sentences: Vec<&str> = finished.stderr.lines().filter_map(|line| line.strip_prefix("nowserving: ")).collect();
    assert!(sentences.len() == 1 && parts.iter().all(|part| sentences[0].contains(part)), "{finished:?}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let options = DaemonOptions::migrated().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', true, '\\x00', 0)",
    )
    .execute(&mut connect(&options).await)
    .await
    .expect("it can be pretended");
    assert_refused(&options.run("migrate", &[]), &["9999", "newer nowserving"]);
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_behind() {
    let options = DaemonOptions::shared().await;
    let existing = "CREATE TABLE orders (id int); INSERT INTO orders VALUES (7)";
    sqlx::raw_sql(existing).execute(&mut connect(&options).await).await.expect("it can be made");
    assert_refused(&options.run("migrate", &[]), &["orders"]);
    let mut connection = connect(&options).await;
    let tables: Vec<String> = sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
        .fetch_all(&mut connection)
        .await
        .expect("Postgres answers");
    assert_eq!(tables, ["orders"], "all or nothing");
    let kept: i32 = sqlx::query_scalar("SELECT id FROM orders").fetch_one(&mut connection).await.expect("it is there");
    assert_eq!(kept, 7);
}

#[tokio::test]
async fn months_exist_a_year_ahead() {
    let options = DaemonOptions::migrated().await;
    let daemon = Daemon::start(&options);
    let today = Utc::now().date_naive();
    let due: BTreeSet<String> = (0..=12)
        .map(|ahead| today.with_day(1).expect("every month has a first day") + Months::new(ahead))
        .flat_map(|month| ["orders", "order_events"].map(|table| format!("{table}_y{}", month.format("%Ym%m"))))
        .collect();
    eventually_true(PATIENCE, || async {
        let partitions = "SELECT inhrelid::regclass::text FROM pg_inherits
                          WHERE inhparent IN ('orders'::regclass, 'order_events'::regclass)";
        let found: Vec<String> =
            sqlx::query_scalar(partitions).fetch_all(&mut connect(&options).await).await.expect("Postgres answers");
        due.is_subset(&found.into_iter().collect())
    })
    .await;
    // One that was dropped is made when it is needed.
    let this_month = today.format("%Ym%m");
    let drop_month = format!("DROP TABLE orders_y{this_month}, order_events_y{this_month}");
    let mut connection = connect(&options).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(drop_month)).execute(&mut connection).await.expect("it was made");
    Api::at(daemon.url()).create(7, json!({})).await;
    eventually_true(PATIENCE, || async {
        let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
            .fetch_one(&mut connect(&options).await)
            .await
            .expect("Postgres answers");
        orders == 1
    })
    .await;
    let dead: i64 =
        sqlx::query_scalar("SELECT count(*) FROM dead_letters").fetch_one(&mut connection).await.expect("it answers");
    assert_eq!(dead, 0);
}
