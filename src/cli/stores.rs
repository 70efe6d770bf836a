//! The two stores, as every command needs them: configured ones, or private ones under the data folder.

use std::time::Duration;

use anyhow::Context;

use crate::{
    allocator::{Allocator, AllocatorError, LevelSettings, RedisSettings, RedisTls},
    config::Settings,
    domain::{Durability, PartitionId, Timestamp},
    ledger::{Ledger, LedgerError, LedgerSettings},
    local::{LocalServers, Needs, redis::AppendFsync},
    service::{Service, ServiceSettings, Unknown, UsageSettings},
};

/// How long connections may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Both stores, connected and checked.
pub(super) struct Stores {
    pub(super) service: Service,
    /// The private servers that this process runs; None where it uses those of others.
    pub(super) local: Option<LocalServers>,
    /// Whether the database is a private one, which this program may migrate unasked.
    pub(super) private_database: bool,
}

impl Stores {
    /// For `serve`: starts the private servers that are needed.
    pub(super) async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let needs = needs(settings);
        let local = if needs.redis || needs.postgres {
            Some(LocalServers::start(&settings.data_dir, needs, appendfsync(settings), "serve").await?)
        } else {
            None
        };
        let urls = Urls::of(local.as_ref());
        Self::connect(settings, local, urls).await
    }

    /// For the other commands: uses the private servers of a daemon that runs, or starts them for as long as needed.
    pub(super) async fn find_or_start(settings: &Settings, command: &str) -> anyhow::Result<Self> {
        let (local, urls) = servers(settings, needs(settings), command).await?;
        Self::connect(settings, local, urls).await
    }

    /// As [`Stores::find_or_start`], for a command that looks itself whether the servers answer.
    pub(super) async fn find_or_start_unchecked(settings: &Settings, command: &str) -> anyhow::Result<Self> {
        let (local, urls) = servers(settings, needs(settings), command).await?;
        let service = service(settings, &urls);
        Self::of(settings, local, service).await
    }

    async fn connect(settings: &Settings, local: Option<LocalServers>, urls: Urls) -> anyhow::Result<Self> {
        let service = match service(settings, &urls) {
            Ok(service) => check(settings, &service).await.map(|()| service),
            Err(error) => Err(error),
        };
        Self::of(settings, local, service).await
    }

    async fn of(
        settings: &Settings,
        local: Option<LocalServers>,
        service: anyhow::Result<Service>,
    ) -> anyhow::Result<Self> {
        let private_database = settings.database_url.is_empty();
        match service {
            Ok(service) => Ok(Self { service, local, private_database }),
            Err(error) => {
                if let Some(local) = local {
                    local.stop().await;
                }
                Err(error)
            }
        }
    }

    /// Makes the tables of a private database current; of another one, checks that they are.
    pub(super) async fn prepare_ledger(&self) -> anyhow::Result<()> {
        let ledger = self.service.ledger();
        let pending = ledger.pending_migrations().await?;
        if !pending.is_empty() {
            if !self.private_database {
                anyhow::bail!(
                    "the ledger's tables are not up to date ({}): run `nowserving migrate`",
                    pending.join(", ")
                );
            }
            ledger.migrate().await?;
        }
        ledger.deployment(self.service.allocator().partition_count()).await?;
        Ok(())
    }

    /// Opens the partitions that can be served, for a command that changes or reads orders. Private servers that this
    /// process started are nobody else's to bring up to date, so here their partitions get new generations, too.
    pub(super) async fn open_partitions(&self) -> anyhow::Result<()> {
        self.prepare_ledger().await?;
        // A daemon that starts at the same time may have begun to make them.
        for _ in 0..3 {
            let rebuild = self.service.open_partitions().await?;
            if self.local.is_some() {
                self.service.rebuild_partitions(rebuild).await;
            }
            if self.service.allocator().closed_partitions().is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Refuses a durability level that the servers cannot give, as long as nobody relies on it.
    pub(super) async fn check_level(&self, level: Durability) -> anyhow::Result<()> {
        let allocator = self.service.allocator();
        for partition in PartitionId::all(allocator.partition_count()) {
            if let Err(reason) = allocator.can_give(level, partition).await? {
                anyhow::bail!("durability.level {level} cannot be given: {reason}, or choose another level");
            }
        }
        Ok(())
    }

    /// Closes connections and stops what this process started.
    pub(super) async fn close(self) {
        // A private Redis has no other users: where it is fenced off before it stops, the next start knows that nothing
        // is missing.
        if self.local.as_ref().is_some_and(|local| local.redis_url().is_some())
            && let Err(error) = self.service.allocator().seal_partitions().await
        {
            tracing::debug!(%error, "the private Redis could not be fenced off; the next start skips some numbers");
        }
        // A Postgres that hangs is not waited for: the private servers still have to be ended.
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.service.ledger().close()).await;
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

/// The ledger alone, for a command that has little use for Redis, which may be away.
pub(super) struct LedgerAlone {
    pub(super) ledger: Ledger,
    /// None where there is only a private Redis, and it does not run.
    allocator: Option<Allocator>,
    local: Option<LocalServers>,
    private_database: bool,
}

impl LedgerAlone {
    /// Uses the private Postgres of a daemon that runs, or starts it for as long as needed; so for Redis, where the command
    /// has to know what time it is.
    pub(super) async fn find_or_start(settings: &Settings, command: &str, needs_time: bool) -> anyhow::Result<Self> {
        let needs = Needs { redis: needs_time && settings.redis_url.is_empty(), ..needs(settings) };
        let (local, urls) = servers(settings, needs, command).await?;
        let ledger = Ledger::connect(&ledger_settings(settings, &urls)).await;
        match ledger {
            Ok(ledger) => {
                let has_redis = urls.redis.is_some() || !settings.redis_url.is_empty();
                let allocator = if has_redis { Some(allocator(settings, &urls)?) } else { None };
                Ok(Self { ledger, allocator, local, private_database: needs.postgres })
            }
            Err(error) => {
                if let Some(local) = local {
                    local.stop().await;
                }
                Err(unusable_database(settings, error))
            }
        }
    }

    /// What time it is, if a Redis says so.
    pub(super) async fn redis_now(&self) -> anyhow::Result<Timestamp> {
        let allocator = self.allocator.as_ref().context("no Redis runs")?;
        allocator.ping().await?;
        Ok(allocator.now()?)
    }

    /// Makes the tables of a private database current, which may not have any yet.
    pub(super) async fn migrate_private(&self) -> anyhow::Result<()> {
        if self.private_database && !self.ledger.pending_migrations().await?.is_empty() {
            self.ledger.migrate().await?;
        }
        Ok(())
    }

    pub(super) async fn close(self) {
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.ledger.close()).await;
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

/// Where private servers are; None for those that are not private.
#[derive(Default)]
struct Urls {
    redis: Option<String>,
    database: Option<String>,
}

impl Urls {
    fn of(local: Option<&LocalServers>) -> Self {
        let redis = local.and_then(LocalServers::redis_url).map(str::to_owned);
        Self { redis, database: local.and_then(LocalServers::database_url).map(str::to_owned) }
    }
}

fn needs(settings: &Settings) -> Needs {
    Needs { redis: settings.redis_url.is_empty(), postgres: settings.database_url.is_empty() }
}

/// A private Redis gives the level that the settings ask for, whatever its version.
fn appendfsync(settings: &Settings) -> AppendFsync {
    if settings.durability.level == Durability::Fsync { AppendFsync::Always } else { AppendFsync::EverySecond }
}

/// The private servers that are needed: those of a daemon that runs, or else ones that this process starts.
async fn servers(settings: &Settings, needs: Needs, command: &str) -> anyhow::Result<(Option<LocalServers>, Urls)> {
    if !needs.redis && !needs.postgres {
        return Ok((None, Urls::default()));
    }
    if let Some(found) = LocalServers::find(&settings.data_dir).await? {
        return Ok((None, Urls { redis: found.redis_url, database: found.database_url }));
    }
    let local = LocalServers::start(&settings.data_dir, needs, appendfsync(settings), command).await?;
    let urls = Urls::of(Some(&local));
    Ok((Some(local), urls))
}

fn ledger_settings(settings: &Settings, urls: &Urls) -> LedgerSettings {
    LedgerSettings {
        url: urls.database.clone().unwrap_or_else(|| settings.database_url.expose().to_owned()),
        max_connections: settings.ledger.max_connections,
        timeout_ms: settings.ledger.timeout_ms,
        connect_timeout_ms: settings.ledger.connect_timeout_ms,
    }
}

/// The Redis side, whether it answers or not.
fn allocator(settings: &Settings, urls: &Urls) -> anyhow::Result<Allocator> {
    let redis = RedisSettings {
        url: urls.redis.clone().unwrap_or_else(|| settings.redis_url.expose().to_owned()),
        lanes: settings.redis.lanes,
        pool_size: settings.redis.pool_size,
        timeout: Duration::from_millis(settings.redis.timeout_ms),
        connect_timeout: Duration::from_millis(settings.redis.connect_timeout_ms),
        tls: RedisTls {
            ca_file: settings.redis.ca_file.clone(),
            client_cert_file: settings.redis.client_cert_file.clone(),
            client_key_file: settings.redis.client_key_file.clone(),
        },
    };
    let window = Duration::from_secs(settings.idempotency.window_seconds);
    let levels = LevelSettings {
        replicas: settings.durability.replicas,
        timeout: Duration::from_millis(settings.durability.timeout_ms),
    };
    Ok(Allocator::new(&redis, &settings.redis.namespace, settings.partitions, window)?
        .with_levels(levels)
        .with_memory(settings.remembered_changes()))
}

/// Both stores, whether they answer or not.
fn service(settings: &Settings, urls: &Urls) -> anyhow::Result<Service> {
    let allocator = allocator(settings, urls)?;
    let ledger = Ledger::lazy(&ledger_settings(settings, urls))?;
    let (recovery, usage) = (&settings.recovery, &settings.usage);
    let settings = ServiceSettings {
        auto_provision: settings.auto_provision,
        outbox_limit: settings.write_behind.outbox_limit,
        shared: urls.redis.is_none(),
        memory_limit: Some(settings.write_behind.memory_limit_mb << 20).filter(|limit| *limit > 0),
        unknown: Unknown {
            seconds: recovery.unknown_seconds,
            at_least: recovery.skip_at_least,
            at_most: recovery.skip_at_most,
        },
        level: settings.durability.level,
        usage: UsageSettings {
            top: usage.top,
            sample: Duration::from_secs(usage.sample_seconds),
            keep_samples_days: usage.keep_samples_days,
            keep_hours_days: usage.keep_hours_days,
        },
    };
    Ok(Service::new(allocator, ledger, settings))
}

async fn check(settings: &Settings, service: &Service) -> anyhow::Result<()> {
    service.allocator().ping().await.map_err(|error| unusable_redis(settings, error))?;
    let replicated = settings.durability.level >= Durability::Replica;
    service.allocator().check_topology(replicated).await?;
    service.ledger().check().await.map_err(|error| unusable_database(settings, error))
}

/// What to say of a database that does not answer, or not as it should.
fn unusable_database(settings: &Settings, error: LedgerError) -> anyhow::Error {
    let (url, advice) = (settings.database_url.masked(), error.advice());
    anyhow::Error::new(error).context(format!("the database at {url} cannot be used; {advice}"))
}

fn unusable_redis(settings: &Settings, error: AllocatorError) -> anyhow::Error {
    anyhow::Error::new(error).context(format!(
        "the Redis at {} cannot be used; check redis_url (NOWSERVING_REDIS_URL) and that the server runs",
        settings.redis_url.masked()
    ))
}
