//! The daemon that the tests of this file share, and what looks behind it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nowserving::domain::{OrderId, RestaurantId, Timestamp};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::sync::OnceCell;

use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true, library, scratch};

/// A client of the shared daemon, with connections of its own: each test has a runtime of its own.
pub async fn api() -> Api {
    Api::at(world().await.0.url())
}

async fn world() -> &'static (Daemon, DaemonOptions) {
    static WORLD: OnceCell<(Daemon, DaemonOptions)> = OnceCell::const_new();
    WORLD
        .get_or_init(|| async {
            // The background clean-up would do what the tests of clean-up want to see done.
            let options = DaemonOptions::migrated().await.with("NOWSERVING_CLEANUP_ENABLED", false);
            (Daemon::start(&options), options)
        })
        .await
}

/// A restaurant that no other test has.
pub fn restaurant() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An order of the shared daemon that was created so long ago.
pub async fn old_order_here(restaurant: u32, age: Duration) -> String {
    library::old_order(&world().await.1, restaurant, age).await
}

/// Imports these rows, a CSV file, beside the shared daemon.
pub async fn backfill(rows: &str) {
    let file = scratch::folder("import").join("orders.csv");
    std::fs::write(&file, rows).expect("it can be written");
    let imported = world().await.1.run("backfill", &["--csv", file.to_str().expect("UTF-8")]);
    assert!(imported.status.success() && imported.stdout.contains("taken finished: 1"), "{imported:?}");
}

/// Waits until Redis has let go of a finished order, so that only the ledger has it.
pub async fn left_redis(order: &Value) {
    let service = library::service(&world().await.1).await;
    let id: OrderId = crate::support::api::id(order).parse().expect("an order id");
    eventually_true(PATIENCE * 2, || async { service.allocator().order(id).await.expect("Redis answers").is_none() })
        .await;
}

/// How many events of a restaurant the ledger does not have yet, and what is wrong with the restaurant.
pub async fn findings(restaurant: u32) -> (u64, Vec<String>) {
    let service = library::service(&world().await.1).await;
    let restaurant = RestaurantId::new(i64::from(restaurant)).expect("a restaurant");
    let verified = service.recovery.verify(restaurant).await.expect("both answer");
    (verified.behind, verified.findings.iter().map(ToString::to_string).collect())
}

/// The metadata of an order as the ledger has it.
pub async fn in_ledger(id: &str) -> Value {
    let url = world().await.1.database_url.as_deref().expect("a database");
    let mut db = PgConnection::connect(url).await.expect("connects");
    let query = "SELECT metadata FROM orders WHERE internal_order_id = $1::uuid";
    sqlx::query_scalar(query).bind(id).fetch_one(&mut db).await.expect("is there")
}

/// What a kitchen cooks of an order, and how often it was called, as the ledger has them.
pub async fn called_in_ledger(id: &str) -> Value {
    let url = world().await.1.database_url.as_deref().expect("a database");
    let mut db = PgConnection::connect(url).await.expect("connects");
    let query = "SELECT jsonb_build_object('items', items, 'call_count', call_count) FROM orders
                 WHERE internal_order_id = $1::uuid";
    sqlx::query_scalar(query).bind(id).fetch_one(&mut db).await.expect("is there")
}

/// Milliseconds since the epoch of a time as the API writes it.
#[track_caller]
pub fn ms(value: &Value) -> i64 {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    assert_eq!((text.len(), text.ends_with('Z')), (24, true), "UTC with milliseconds: {text}");
    let at = chrono::DateTime::parse_from_rfc3339(text).expect("RFC 3339");
    at.timestamp_millis()
}

/// The time as the API writes it.
pub fn time(ms: i64) -> String {
    Timestamp::from_unix_ms(ms).to_string()
}
