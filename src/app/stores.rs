//! The two stores, as every command needs them: configured ones, or private ones under the data folder.

use std::time::Duration;

use crate::{
    allocator::{Allocator, AllocatorError},
    config::Settings,
    domain::{Durability, PartitionId, Timestamp},
    ledger::{Adopted, AgreedSettings, Difference, Ledger, LedgerError},
    local::{LocalServers, Needs, redis::AppendFsync},
    service::{DeadLetters, KeyStore, Rehearsals, ScreenStore, Service, ServiceSettings},
};

/// How long connections may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Both stores, connected and checked.
pub(crate) struct Stores {
    pub(crate) service: Service,
    /// The private servers that this process runs; None where it uses those of others.
    pub(crate) local: Option<LocalServers>,
    /// Whether the database is a private one, which this program may migrate unasked.
    pub(crate) private_database: bool,
    /// What the database is called in messages.
    database: String,
    /// What all daemons of a deployment must agree on, as it is set here.
    pub(crate) agreed: AgreedSettings,
}

impl Stores {
    /// For `serve`: starts the private servers that are needed.
    pub(crate) async fn start(settings: &Settings) -> anyhow::Result<Self> {
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
    pub(crate) async fn find_or_start(settings: &Settings, command: &str) -> anyhow::Result<Self> {
        let (local, urls) = servers(settings, needs(settings), command).await?;
        Self::connect(settings, local, urls).await
    }

    /// As [`Stores::find_or_start`], for a command that looks itself whether the servers answer.
    pub(crate) async fn find_or_start_unchecked(settings: &Settings, command: &str) -> anyhow::Result<Self> {
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
            Ok(service) => {
                Ok(Self { service, local, private_database, database: database(settings), agreed: settings.agreed() })
            }
            Err(error) => {
                if let Some(local) = local {
                    local.stop().await;
                }
                Err(error)
            }
        }
    }

    /// Makes the tables of a private database current; of another one, checks that they are.
    pub(crate) async fn prepare_ledger(&self) -> anyhow::Result<()> {
        let ledger = self.service.ledger();
        let pending = ledger.pending_migrations().await.map_err(|error| self.unusable(error))?;
        if !pending.is_empty() {
            if !self.private_database {
                anyhow::bail!(
                    "the ledger's tables are not up to date ({}): run `nowserving migrate`",
                    pending.join(", ")
                );
            }
            ledger.migrate().await.map_err(|error| self.unusable(error))?;
        }
        let deployment = ledger.deployment(self.service.allocator().partition_count()).await;
        deployment.map_err(|error| self.unusable(error))?;
        Ok(())
    }

    /// What to say where the ledger cannot do what a command needs.
    pub(crate) fn unusable(&self, error: LedgerError) -> anyhow::Error {
        unusable_database(&self.database, &error)
    }

    /// Says that this daemon runs, unless its settings differ in what all daemons of the deployment must agree on. A
    /// private database has no other daemons: there the settings are what it has from now on.
    pub(crate) async fn join_deployment(&self) -> anyhow::Result<()> {
        self.prepare_ledger().await?;
        if self.private_database
            && let Adopted::Changed(changes) = self.service.ledger().adopt(&self.agreed, None).await?
        {
            for Difference { key, recorded, own } in changes {
                tracing::info!(key, before = recorded, now = own, "a setting of this deployment was changed");
            }
        }
        let differences = self.service.recovery.agree(&self.agreed).await?;
        anyhow::ensure!(
            differences.is_empty(),
            "these settings are not those that all daemons of the deployment must share: {}; set them as they are there, \
             or, to change them for all, stop all daemons and run `nowserving migrate --adopt-settings` with the new ones",
            list(&differences)
        );
        Ok(())
    }

    /// Opens the partitions that can be served, for a command that changes or reads orders. Private servers that this
    /// process started are no other process's to bring up to date, so here their partitions get new generations, too.
    pub(crate) async fn open_partitions(&self) -> anyhow::Result<()> {
        self.prepare_ledger().await?;
        let recorded = self.service.ledger().agreed_settings().await?;
        let differences = Difference::between(&recorded, &self.agreed);
        if !differences.is_empty() {
            tracing::warn!("these settings are not those that the daemons share: {}", list(&differences));
        }
        // A daemon that starts at the same time may have begun to make them.
        for _ in 0..3 {
            let rebuild = self.service.recovery.open_partitions().await?;
            if self.local.is_some() {
                self.service.recovery.rebuild_partitions(rebuild).await;
            }
            if self.service.allocator().closed_partitions().is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// As [`Stores::check_level`], for level `ledger`, which daemons give.
    pub(crate) async fn check_writers(&self, level: Durability) -> anyhow::Result<()> {
        if level == Durability::Ledger
            && let Some(reason) = self.service.levels.ledger_fault().await
        {
            anyhow::bail!("durability.level {level} cannot be given: {reason}, or choose another level");
        }
        Ok(())
    }

    /// Refuses a durability level that the Redis servers cannot give, as long as no client relies on it.
    pub(crate) async fn check_level(&self, level: Durability) -> anyhow::Result<()> {
        let allocator = self.service.allocator();
        for partition in PartitionId::all(allocator.partition_count()) {
            if let Err(reason) = allocator.can_give(level, partition).await? {
                anyhow::bail!("durability.level {level} cannot be given: {reason}, or choose another level");
            }
        }
        Ok(())
    }

    /// Closes connections and stops what this process started.
    pub(crate) async fn close(self) {
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

/// The ledger alone, for a command that has little use for Redis, which may be unreachable.
pub(crate) struct LedgerAlone<'a> {
    ledger: Ledger,
    settings: &'a Settings,
    urls: Urls,
    local: Option<LocalServers>,
    private_database: bool,
}

impl<'a> LedgerAlone<'a> {
    /// Uses the private Postgres of a daemon that runs, or starts it for as long as needed; so for Redis, where the
    /// command has to know what time it is.
    pub(crate) async fn find_or_start(settings: &'a Settings, command: &str, needs_time: bool) -> anyhow::Result<Self> {
        let needs = Needs { redis: needs_time && settings.redis_url.is_empty(), ..needs(settings) };
        let (local, urls) = servers(settings, needs, command).await?;
        let ledger = Ledger::connect(database_url(settings, &urls), &settings.ledger).await;
        match ledger {
            Ok(ledger) => Ok(Self { ledger, settings, urls, local, private_database: needs.postgres }),
            Err(error) => {
                if let Some(local) = local {
                    local.stop().await;
                }
                Err(unusable_database(&database(settings), &error))
            }
        }
    }

    pub(crate) fn keys(&self) -> KeyStore {
        KeyStore::new(self.ledger.clone())
    }

    /// Screens.
    pub(crate) fn screens(&self) -> ScreenStore {
        ScreenStore::new(self.ledger.clone())
    }

    pub(crate) fn rehearsals(&self) -> Rehearsals {
        Rehearsals::new(self.ledger.clone())
    }

    pub(crate) fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.ledger.clone())
    }

    /// What time it is, if a Redis says so. Only here do the settings of Redis have to be usable.
    pub(crate) async fn redis_now(&self) -> anyhow::Result<Timestamp> {
        let has_redis = self.urls.redis.is_some() || !self.settings.redis_url.is_empty();
        anyhow::ensure!(has_redis, "no Redis runs");
        let allocator = allocator(self.settings, &self.urls)?;
        allocator.ping().await?;
        Ok(allocator.now()?)
    }

    /// Makes the tables of a private database current, which may not have any yet.
    pub(crate) async fn migrate_private(&self) -> anyhow::Result<()> {
        if self.private_database && !self.ledger.pending_migrations().await?.is_empty() {
            self.ledger.migrate().await?;
        }
        Ok(())
    }

    pub(crate) async fn close(self) {
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

fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
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

/// The URL of the ledger's database.
fn database_url<'a>(settings: &'a Settings, urls: &'a Urls) -> &'a str {
    urls.database.as_deref().unwrap_or_else(|| settings.database_url.expose())
}

/// The Redis side, whether it answers or not.
fn allocator(settings: &Settings, urls: &Urls) -> anyhow::Result<Allocator> {
    let url = urls.redis.as_deref().unwrap_or_else(|| settings.redis_url.expose());
    let window = Duration::from_secs(settings.idempotency.window_seconds);
    let levels = &settings.durability;
    let timeout = Duration::from_millis(levels.timeout_ms);
    let allocator = Allocator::new(url, &settings.redis, settings.partitions, window)?;
    let allocator = match urls.redis {
        Some(_) => allocator.with_levels_of_private_redis(timeout),
        None => allocator.with_levels(levels.replicas, timeout),
    };
    Ok(allocator.with_remembered(settings.remembered_changes()))
}

/// Both stores, whether they answer or not.
fn service(settings: &Settings, urls: &Urls) -> anyhow::Result<Service> {
    let allocator = allocator(settings, urls)?;
    let ledger = Ledger::lazy(database_url(settings, urls), &settings.ledger)?;
    let settings = ServiceSettings::of(settings, urls.redis.is_none());
    Ok(Service::new(allocator, ledger, &settings))
}

async fn check(settings: &Settings, service: &Service) -> anyhow::Result<()> {
    service.allocator().ping().await.map_err(|error| unusable_redis(settings, error))?;
    let replicated = settings.durability.level >= Durability::Replica;
    service.allocator().check_topology(replicated).await?;
    service.ledger().check().await.map_err(|error| unusable_database(&database(settings), &error))
}

fn database(settings: &Settings) -> String {
    let url = &settings.database_url;
    if url.is_empty() { "the private database".to_owned() } else { format!("the database at {}", url.masked()) }
}

/// What to say of a database that does not answer, or not as it should.
fn unusable_database(database: &str, error: &LedgerError) -> anyhow::Error {
    let (what, advice) = error.finding();
    anyhow::anyhow!("{database} cannot be used: {what}; {advice}")
}

fn unusable_redis(settings: &Settings, error: AllocatorError) -> anyhow::Error {
    let url = &settings.redis_url;
    let redis = if url.is_empty() { "the private Redis".to_owned() } else { format!("the Redis at {}", url.masked()) };
    let advice = error.advice(url.is_tls()).map(|advice| format!("; {advice}")).unwrap_or_default();
    anyhow::anyhow!("{redis} cannot be used: {}{advice}", error.reason())
}
