//! A daemon with a Redis and a Postgres as local mode runs them, each process known, so that its CPU time can be told.

use std::{path::PathBuf, time::Duration};

use crate::{
    client::{self, Call, Connection, Site},
    cpu,
    support::{Daemon, DaemonOptions, OwnPostgres, OwnRedis},
};

/// A daemon says how much is waiting once a second: what it says then is of after the load.
const UNTIL_TOLD: Duration = Duration::from_millis(1500);
/// Longer than what any load leaves takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// What runs while something is measured: the three, and nothing else.
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

    /// As [`Deployment::start`], of another build of the daemon.
    pub async fn start_program(program: PathBuf, settings: &[(&str, &str)]) -> Self {
        Self::start_options(DaemonOptions { program, ..DaemonOptions::local() }, settings, |_| ()).await.0
    }

    /// As [`Deployment::start`], after what has to be done while the tables are there and no daemon runs.
    pub async fn start_after<T>(settings: &[(&str, &str)], prepare: impl FnOnce(&DaemonOptions) -> T) -> (Self, T) {
        Self::start_options(DaemonOptions::local(), settings, prepare).await
    }

    async fn start_options<T>(
        options: DaemonOptions,
        settings: &[(&str, &str)],
        prepare: impl FnOnce(&DaemonOptions) -> T,
    ) -> (Self, T) {
        let (redis, postgres) = (OwnRedis::start().await, OwnPostgres::start_durable().await);
        let mut options = options.with("NOWSERVING_LOG_FILTER", "warn");
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

    /// Waits until the ledger has everything.
    pub async fn drained(&self) {
        drained(&Site::here(self.host())).await;
    }
}

/// Waits until a daemon says that nothing waits for the ledger.
pub async fn drained(site: &Site) {
    let mut connection = Connection::to(site).await;
    let waiting = async {
        loop {
            tokio::time::sleep(UNTIL_TOLD).await;
            let metrics = connection.ok(Call::get("/metrics")).await;
            let metrics = std::str::from_utf8(&metrics).expect("text");
            if client::sample(metrics, "nowserving_outbox_entries") == Some(0.0) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the write-behind keeps up");
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
