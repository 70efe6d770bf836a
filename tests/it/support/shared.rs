//! The servers that all tests of a binary share, each in a corner of its own.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;

use super::{OwnPostgres, OwnRedis};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// The shared Redis: use it with a [`namespace`] of your own.
pub async fn redis_url() -> String {
    static REDIS: OnceCell<OwnRedis> = OnceCell::const_new();
    REDIS.get_or_init(OwnRedis::start).await.url()
}

/// A key namespace that no other test has.
pub fn namespace() -> String {
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The URL of a new, empty database on the shared Postgres.
pub async fn fresh_database() -> String {
    static POSTGRES: OnceCell<OwnPostgres> = OnceCell::const_new();
    let server = POSTGRES.get_or_init(OwnPostgres::start).await;
    server.create_database(&format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))).await
}
