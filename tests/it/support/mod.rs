//! What the integration tests share: real servers on private sockets, the real daemon, and patience.
//!
//! Each test binary has one Redis and one Postgres, started when first asked for; each test has a namespace and a
//! database of its own in them. A test that breaks a server starts its own.

// Each test binary uses a part of this.
#![allow(dead_code, unused_imports)]

pub mod api;
pub mod authority;
pub mod browser;
pub mod clock;
pub mod cut;
pub mod daemon;
pub mod heard;
pub mod keeper;
pub mod library;
pub mod metric_names;
pub mod prometheus;
pub mod proxy;
pub mod scratch;
pub mod screen;
pub mod servers;
pub mod shared;
pub mod topology;

use std::fmt::Debug;
use std::time::{Duration, Instant};

pub use api::{Answer, Api};
pub use authority::Authority;
pub use browser::Browser;
pub use clock::Clock;
pub use cut::Cut;
pub use daemon::{Daemon, DaemonOptions};
pub use prometheus::Prometheus;
pub use proxy::Proxy;
pub use screen::Screen;
pub use servers::{OwnPostgres, OwnRedis, PgBouncer};
pub use shared::{fresh_database, namespace, redis_url};
pub use topology::{Cluster, Node, Sentinel};

/// More than anything should take on a busy box; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls a condition until it gives a value; panics when the deadline passes first.
pub async fn eventually<T, F>(deadline: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < deadline, "the condition did not come true within {deadline:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// As [`eventually`], for a condition that is only true or false.
pub async fn eventually_true<F>(deadline: Duration, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    eventually(deadline, || {
        let holds = condition();
        async move { holds.await.then_some(()) }
    })
    .await;
}
