//! The settings: defaults ← file ← environment ← flags, validated whole before anything is bound.
//!
//! `config.default.toml`, embedded in the program, is both the lowest layer and the documentation. To add a key, write
//! it there with its comment and add the field here; its environment name and the check for unknown keys follow. A key
//! that gets another name is a line in `moved`.

mod agreed;
mod auth;
mod keys;
mod layers;
mod listen;
mod moved;
mod network;
mod origin;
mod postgres_url;
mod redis_url;
mod server_url;
mod service_links;

use std::path::PathBuf;
use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::domain::{Authority, BasePath, Durability};

pub(crate) use auth::AuthSettings;

pub use layers::ENV_LUA_FOLDER;
pub(crate) use listen::ListenAddress;
pub(crate) use moved::MovedKey;
pub(crate) use network::Network;
pub(crate) use origin::Origin;
pub(crate) use redis_url::{HostPort, RedisUrl};
pub(crate) use server_url::ServerUrl;

/// All settings of the program. `config.default.toml` says what each one means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct Settings {
    #[garde(skip)]
    pub listen: ListenAddress,
    #[garde(custom(not_empty_path))]
    pub data_dir: PathBuf,
    #[garde(custom(server_url::check_redis))]
    pub redis_url: ServerUrl,
    #[garde(custom(server_url::check_postgres))]
    pub database_url: ServerUrl,
    #[garde(skip)]
    pub auto_provision: bool,
    #[garde(custom(within(1, 1024)))]
    pub partitions: u16,
    #[garde(dive)]
    pub auth: AuthSettings,
    #[garde(dive)]
    pub http: HttpSettings,
    #[garde(dive)]
    pub shutdown: ShutdownSettings,
    #[garde(dive)]
    pub redis: RedisSettings,
    #[garde(dive)]
    pub ledger: LedgerSettings,
    #[garde(dive)]
    pub write_behind: WriteBehindSettings,
    #[garde(dive)]
    pub admission: AdmissionSettings,
    #[garde(dive)]
    pub durability: DurabilitySettings,
    #[garde(dive)]
    pub idempotency: IdempotencySettings,
    #[garde(dive)]
    pub recovery: RecoverySettings,
    #[garde(dive)]
    pub survey: SurveySettings,
    #[garde(dive)]
    pub cleanup: CleanupSettings,
    #[garde(dive)]
    pub usage: UsageSettings,
    #[garde(dive)]
    pub log: LogSettings,
    #[garde(dive)]
    pub otlp: OtlpSettings,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct HttpSettings {
    #[garde(custom(within(1024, 1_048_576)))]
    pub max_body_bytes: usize,
    #[garde(custom(within(100, 300_000)))]
    pub body_timeout_ms: u64,
    #[garde(custom(within(8192, 1_048_576)))]
    pub max_header_bytes: usize,
    #[garde(custom(within(100, 300_000)))]
    pub header_timeout_ms: u64,
    #[garde(custom(within(100, 3_600_000)))]
    pub idle_timeout_ms: u64,
    #[garde(custom(within(1, 1_000_000)))]
    pub max_connections: usize,
    #[garde(custom(within(0, 1_000_000)))]
    pub max_streams: usize,
    #[garde(custom(within(1, 100_000)))]
    pub max_concurrent_requests: usize,
    #[garde(custom(within(1, 60_000)))]
    pub queue_timeout_ms: u64,
    #[garde(custom(within(100, 300_000)))]
    pub request_timeout_ms: u64,
    #[garde(skip)]
    pub tls_cert_file: PathBuf,
    #[garde(custom(pair_of("tls_cert_file and tls_key_file", &self.tls_cert_file)))]
    pub tls_key_file: PathBuf,
    #[garde(skip)]
    pub trusted_proxies: Vec<Network>,
    #[garde(skip)]
    pub hosts: Vec<Authority>,
    #[garde(skip)]
    pub allowed_origins: Vec<Origin>,
    #[garde(skip)]
    pub base_path: BasePath,
    #[garde(skip)]
    pub voice_dir: PathBuf,
}

impl HttpSettings {
    /// How long a body may take to arrive.
    pub(crate) const fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    /// How long the line and header fields of a request may take to arrive, and a TLS handshake before them.
    pub(crate) const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// How long a connection may wait for its next request, and an answer for being read.
    pub(crate) const fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    /// How long a request may wait for its turn.
    pub(crate) const fn queue_timeout(&self) -> Duration {
        Duration::from_millis(self.queue_timeout_ms)
    }

    /// How long an answer may take once the body is here.
    pub(crate) const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

/// `[shutdown]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct ShutdownSettings {
    #[garde(custom(within(0, 600_000)))]
    pub deadline_ms: u64,
}

/// `[redis]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct RedisSettings {
    #[garde(custom(key_namespace))]
    pub namespace: String,
    #[garde(custom(within(1, 64)))]
    pub lanes: usize,
    #[garde(custom(within(1, 256)))]
    pub pool_size: usize,
    #[garde(custom(within(10, 60_000)))]
    pub timeout_ms: u64,
    #[garde(custom(within(10, 60_000)))]
    pub connect_timeout_ms: u64,
    #[garde(skip)]
    pub ca_file: PathBuf,
    #[garde(skip)]
    pub client_cert_file: PathBuf,
    #[garde(custom(pair_of("client_cert_file and client_key_file", &self.client_cert_file)))]
    pub client_key_file: PathBuf,
}

/// `[ledger]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct LedgerSettings {
    #[garde(custom(kept_days))]
    pub retain_orders_days: u32,
    #[garde(custom(kept_days))]
    pub retain_events_days: u32,
    #[garde(custom(within(2, 1000)))]
    pub max_connections: u32,
    #[garde(custom(within(100, 600_000)))]
    pub timeout_ms: u64,
    #[garde(custom(within(100, 600_000)))]
    pub connect_timeout_ms: u64,
}

/// `[write_behind]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct WriteBehindSettings {
    #[garde(skip)]
    pub enabled: bool,
    #[garde(custom(within(1, 5000)))]
    pub batch_size: usize,
    #[garde(custom(within(1, 16)))]
    pub transactions: usize,
    #[garde(custom(within(0, 1000)))]
    pub fill_ms: u64,
}

/// `[admission]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct AdmissionSettings {
    #[garde(custom(within(1000, 1_000_000_000)))]
    pub outbox_limit: u64,
    #[garde(custom(within(0, 1_000_000_000)))]
    pub memory_limit_mb: u64,
}

impl RedisSettings {
    /// How long a command may take.
    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// How long it may take to connect.
    pub(crate) const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
}

impl AdmissionSettings {
    /// How many bytes a Redis server with this `maxmemory` may use before new orders are refused; 0 for any number.
    #[must_use]
    pub(crate) const fn memory_limit(&self, maxmemory: u64) -> u64 {
        match self.memory_limit_mb {
            0 => maxmemory / 10 * 9,
            limit_mb => limit_mb << 20,
        }
    }
}

/// How long the answer to a wait for a durability level may take once the wait is over.
const LEVEL_ANSWER_MS: u64 = 1000;

/// `[durability]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct DurabilitySettings {
    #[garde(skip)]
    pub level: Durability,
    #[garde(custom(within(1, 16)))]
    pub replicas: u32,
    #[garde(custom(within(10, 60_000)))]
    pub timeout_ms: u64,
}

/// `[idempotency]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct IdempotencySettings {
    #[garde(custom(within(60, 604_800)))]
    pub window_seconds: u64,
}

/// `[recovery]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct RecoverySettings {
    #[garde(custom(within(0, 3600)))]
    pub unknown_seconds: u64,
    #[garde(custom(within(0, 10_000)))]
    pub skip_at_least: u32,
    #[garde(custom(within(0, 100_000)))]
    pub skip_at_most: u32,
    #[garde(custom(within(0, 10_000_000)))]
    pub remembered_changes: usize,
}

/// `[survey]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct SurveySettings {
    #[garde(custom(within(1, 86_400)))]
    pub interval_seconds: u64,
}

/// `[cleanup]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct CleanupSettings {
    #[garde(skip)]
    pub enabled: bool,
    #[garde(custom(within(1, 10_000)))]
    pub batch_size: usize,
}

/// `[usage]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct UsageSettings {
    #[garde(custom(within(0, 200)))]
    pub top: usize,
    #[garde(custom(within(1, 3600)))]
    pub sample_seconds: u64,
    #[garde(custom(within(1, 3660)))]
    pub keep_samples_days: u32,
    #[garde(custom(within(1, 36_600)))]
    pub keep_hours_days: u32,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct LogSettings {
    #[garde(skip)]
    pub format: LogFormat,
    #[garde(custom(log_filter))]
    pub filter: String,
}

/// `[otlp]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents each key")]
pub struct OtlpSettings {
    #[garde(custom(collector))]
    pub endpoint: String,
    #[garde(range(min = 0.0, max = 1.0))]
    pub sample_ratio: f64,
    #[garde(length(chars, min = 1, max = 255))]
    pub service_name: String,
}

impl OtlpSettings {
    /// Where the spans go: OTLP's own path, unless the endpoint names one.
    pub(crate) fn traces_url(&self) -> String {
        match self.endpoint.splitn(4, '/').nth(3) {
            None | Some("") => format!("{}/v1/traces", self.endpoint.trim_end_matches('/')),
            Some(_) => self.endpoint.clone(),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// The flags that every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArgs {
    /// Read settings from this TOML file (or NOWSERVING_CONFIG); each one can also be given as `NOWSERVING_…`
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address, or host name, and port of the HTTP API [default: 127.0.0.1:8042]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Folder of local mode [default: .nowserving]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data_dir: Option<String>,
    /// Redis server; without it a private one is started
    #[arg(long, global = true, value_name = "URL")]
    pub redis_url: Option<String>,
    /// Postgres database; without it a private one is started
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// What every Redis key begins with [default: ns]
    #[arg(long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// How many partitions the deployment has [default: 64]
    #[arg(long, global = true, value_name = "COUNT")]
    pub partitions: Option<String>,
    /// text or json [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// What is logged, such as "debug" or "info,nowserving=debug" [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log_filter: Option<String>,
}

/// Why the settings cannot be used. No message quotes a value that could hold a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the settings file {}: {source}; check --config (NOWSERVING_CONFIG)", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: not valid TOML: {reason}; correct that line", path.display())]
    NotToml { path: PathBuf, line: usize, reason: String },
    #[error("{}: there is no setting `{key}`; {hint}", path.display())]
    UnknownKey { path: PathBuf, key: String, hint: String },
    #[error("there is no setting for the environment variable `{name}`; {hint}")]
    UnknownVariable { name: String, hint: String },
    #[error("the value of the environment variable `{name}` is not UTF-8: write it in UTF-8")]
    NotUnicode { name: String },
    #[error(
        "`{old}` and `{new}` (both from {origin}) are one setting with two values: keep `{new}`, and its value only"
    )]
    TwoValues { old: String, new: String, origin: String },
    #[error("{origin} must be {expected}")]
    WrongType { origin: String, expected: &'static str },
    #[error("`{key}` (from {origin}): {reason}")]
    Invalid { key: String, origin: String, reason: String },
}

/// The settings, and what is to be told of them where there is a logger.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loaded {
    /// What is in effect.
    pub settings: Settings,
    /// What was given under an old key: a warning each.
    pub moved: Vec<MovedKey>,
}

impl Settings {
    /// Reads all layers: the defaults, the file, this process's environment, the flags.
    pub(crate) fn load(flags: &SettingsArgs) -> Result<Loaded, ConfigError> {
        Self::load_from(flags, layers::own_variables(std::env::vars_os())?.into_iter())
    }

    /// As [`Settings::load`], with the environment as an argument.
    pub(crate) fn load_from(
        flags: &SettingsArgs,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigError> {
        let (env_file, environment) = layers::from_environment(environment)?;
        let file = flags.config.clone().or(env_file);
        let (figment, moved) = layers::stack(file.as_deref(), environment, flags.given())?;
        let origin = |key: &str| match figment.find_metadata(key) {
            Some(metadata) => metadata.name.to_string(),
            None => "the defaults".to_owned(),
        };
        let settings: Self = figment.extract().map_err(|error| {
            let key = error.path.join(".");
            // A URL of the wrong type is a number or the like, but it may be a password all the same.
            let reason = if key.ends_with("_url") { "must be a URL in quotes".into() } else { plain(&error) };
            ConfigError::Invalid { origin: origin(&key), key, reason }
        })?;
        let invalid = |key: String, reason| ConfigError::Invalid { origin: origin(&key), key, reason };
        settings.validate().map_err(|report| match report.iter().next() {
            Some((path, error)) => invalid(path.to_string(), error.to_string()),
            None => invalid("settings".into(), report.to_string()),
        })?;
        settings.check_level_timeout().map_err(|reason| invalid("durability.timeout_ms".into(), reason))?;
        settings.check_transactions().map_err(|reason| invalid("write_behind.transactions".into(), reason))?;
        Ok(Loaded { settings, moved })
    }

    /// A request that waits for its level must hear what came of that, not that it took too long: it may have to wait
    /// for the group before its own, and for an answer that comes late.
    fn check_level_timeout(&self) -> Result<(), String> {
        let request_ms = self.http.request_timeout_ms;
        let longest_ms = (request_ms / 2).saturating_sub(LEVEL_ANSWER_MS);
        if self.durability.timeout_ms <= longest_ms {
            return Ok(());
        }
        let needed_ms = 2 * (self.durability.timeout_ms + LEVEL_ANSWER_MS);
        Err(format!(
            "a request may wait for its level twice, and {LEVEL_ANSWER_MS} ms each time for the answer, but \
             http.request_timeout_ms is {request_ms}: make that {needed_ms} or more, or this {longest_ms} or less"
        ))
    }

    /// Transactions that wait for each other's connections write nothing sooner.
    fn check_transactions(&self) -> Result<(), String> {
        let (wanted, connections) = (self.write_behind.transactions, self.ledger.max_connections);
        if !self.write_behind.enabled || u32::try_from(wanted).is_ok_and(|wanted| wanted <= connections) {
            return Ok(());
        }
        Err(format!(
            "{wanted} transactions need as many connections, but ledger.max_connections is {connections}: raise that, \
             or make this {connections} or less"
        ))
    }

    /// The settings as TOML, with passwords masked.
    pub(crate) fn masked(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }

    /// For how many acknowledged orders there is room until the ledger has them.
    #[must_use]
    pub(crate) fn remembered_changes(&self) -> usize {
        match self.recovery.remembered_changes {
            0 => usize::try_from(self.admission.outbox_limit).unwrap_or(usize::MAX),
            orders => orders,
        }
    }

    /// How long a shutdown may take.
    pub(crate) fn shutdown_deadline(&self) -> Duration {
        Duration::from_millis(self.shutdown.deadline_ms)
    }
}

impl Default for Settings {
    /// Those of the embedded file.
    fn default() -> Self {
        let defaults = Self::load_from(&SettingsArgs::default(), std::iter::empty());
        defaults.expect("the defaults are valid: a test reads them").settings
    }
}

impl SettingsArgs {
    fn given(&self) -> Vec<keys::Given> {
        [
            ("--listen", "listen", &self.listen),
            ("--data-dir", "data_dir", &self.data_dir),
            ("--redis-url", "redis_url", &self.redis_url),
            ("--database-url", "database_url", &self.database_url),
            ("--namespace", "redis.namespace", &self.namespace),
            ("--partitions", "partitions", &self.partitions),
            ("--log-format", "log.format", &self.log_format),
            ("--log-filter", "log.filter", &self.log_filter),
        ]
        .into_iter()
        .filter_map(|(flag, key, text)| {
            let text = text.clone()?;
            Some(keys::Given { origin: flag.to_owned(), key: key.to_owned(), text })
        })
        .collect()
    }
}

/// What serde has to say, without the names of Rust's types.
fn plain(error: &figment::Error) -> String {
    if let figment::error::Kind::UnknownVariant(_, known) = &error.kind {
        return format!("must be one of {}", known.join(", "));
    }
    let text = error.kind.to_string();
    match text.split_once("expected ") {
        Some((found, "u16" | "u32" | "u64" | "usize")) => format!("{found}expected a whole number within range"),
        _ => text,
    }
}

/// The check that a number lies from `min` to `max`.
fn within<T: TryInto<u64> + Copy>(min: u64, max: u64) -> impl FnOnce(&T, &()) -> garde::Result {
    move |value, ()| match (*value).try_into() {
        Ok(value) if (min..=max).contains(&value) => Ok(()),
        _ => Err(garde::Error::new(format!("must be from {min} to {max}"))),
    }
}

/// A month is the least: clean-up, idempotency keys and recovery look back over days.
fn kept_days(days: &u32, (): &()) -> garde::Result {
    if *days == 0 || (31..=36_500).contains(days) {
        return Ok(());
    }
    Err(garde::Error::new("must be 0, for ever, or from 31 to 36500"))
}

fn not_empty_path(path: &std::path::Path, (): &()) -> garde::Result {
    if path.as_os_str().is_empty() { Err(garde::Error::new("must name a folder")) } else { Ok(()) }
}

fn pair_of<'a>(names: &'static str, cert: &'a std::path::Path) -> impl FnOnce(&PathBuf, &()) -> garde::Result + 'a {
    move |key, ()| {
        if cert.as_os_str().is_empty() == key.as_os_str().is_empty() {
            return Ok(());
        }
        Err(garde::Error::new(format!("{names} go together: set both or none")))
    }
}

fn key_namespace(name: &str, (): &()) -> garde::Result {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if (1..=32).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(garde::Error::new("must be 1 to 32 of a-z, 0-9, `_` and `-`"))
}

fn collector(endpoint: &str, (): &()) -> garde::Result {
    if endpoint.is_empty() {
        return Ok(());
    }
    if cfg!(not(feature = "otlp")) {
        return Err(garde::Error::new("must be empty: this program was built without the feature `otlp`"));
    }
    let rest = endpoint.strip_prefix("http://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let plain = endpoint.bytes().all(|b| b.is_ascii_graphic()) && !endpoint.contains(['?', '#']);
    if host.is_empty() || host.contains('@') || !plain {
        let form = "must be http://host:port of a collector (OTLP over HTTP), without a login; for TLS, run a collector \
                    beside this daemon that sends on";
        return Err(garde::Error::new(form));
    }
    Ok(())
}

fn log_filter(filter: &str, (): &()) -> garde::Result {
    if filter.is_empty() {
        return Err(garde::Error::new("must not be empty; write `off` to log nothing"));
    }
    match filter.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(()),
        Err(error) => Err(garde::Error::new(format!("not a log filter: {error}"))),
    }
}

#[cfg(test)]
mod tests;
