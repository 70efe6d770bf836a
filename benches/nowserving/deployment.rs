//! A daemon with a Redis and a Postgres as local mode runs them, each process known, so that its CPU time can be told.

use std::time::Duration;

use crate::{
    cpu,
    support::{Daemon, DaemonOptions, OwnPostgres, OwnRedis},
};

/// What runs while something is measured: the three, and nobody else.
pub struct Deployment {
    pub daemon: Daemon,
    pub redis: OwnRedis,
    pub postgres: OwnPostgres,
    pub options: DaemonOptions,
}

/// CPU time used so far.
#[derive(Debug, Clone, Copy)]
pub struct CpuTimes {
    pub daemon: Duration,
    pub redis: Duration,
    pub postgres: Duration,
}

impl Deployment {
    /// Redis with its append-only file synced each second, a Postgres whose commits survive a power loss, and a daemon
    /// with its default settings but for these.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_after(settings, |_| ()).await.0
    }

    /// As [`Deployment::start`], after what has to be done while the tables are there and no daemon runs.
    pub async fn start_after<T>(settings: &[(&str, &str)], prepare: impl FnOnce(&DaemonOptions) -> T) -> (Self, T) {
        let (redis, postgres) = (OwnRedis::start().await, OwnPostgres::start_durable().await);
        let mut options = DaemonOptions::local().with("NOWSERVING_LOG_FILTER", "warn");
        options.redis_url = Some(redis.url());
        options.database_url = Some(postgres.create_database("bench").await);
        for (name, value) in settings {
            options = options.with(name, value);
        }
        options.migrate();
        let prepared = prepare(&options);
        let daemon = Daemon::start(&options);
        (Self { daemon, redis, postgres, options }, prepared)
    }

    /// Host and port of the daemon.
    pub fn host(&self) -> String {
        host(&self.daemon)
    }

    pub fn cpu(&self) -> CpuTimes {
        CpuTimes {
            daemon: cpu::of_process(self.daemon.pid()),
            redis: cpu::of_process(self.redis.pid()),
            postgres: cpu::of_tree(self.postgres.pid()),
        }
    }

    /// Waits until the ledger has everything, however long that takes; how long that was.
    pub async fn drained(&self) -> Duration {
        let started = std::time::Instant::now();
        loop {
            let metrics = crate::client::get(&self.host(), "/metrics").await;
            if crate::client::sample(&metrics, "nowserving_outbox_entries") == Some(0.0) {
                return started.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Host and port of a daemon.
pub fn host(daemon: &Daemon) -> String {
    daemon.url().trim_start_matches("http://").to_owned()
}

impl CpuTimes {
    /// µs that each used since, for each of so many things.
    pub fn micros_each_since(self, before: Self, things: u64) -> [f64; 3] {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = |now: Duration, then: Duration| (now - then).as_secs_f64() * 1e6 / things as f64;
        [each(self.daemon, before.daemon), each(self.redis, before.redis), each(self.postgres, before.postgres)]
    }
}
