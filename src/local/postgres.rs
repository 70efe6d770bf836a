//! A private Postgres: on a unix socket only, durable, under an ordinary account when we are root.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use nix::unistd::Uid;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::timeout;
use tracing::{info, warn};

use super::account::Account;
use super::binaries::{self, PostgresBinaries};
use super::folder::{Paths, make_folder};
use super::process::Mark;
use super::server::{Answer, Server};
use super::{LocalError, encode_path};

/// The role and the database.
pub(super) const NAME: &str = "nowserving";

/// The Postgres of a data folder.
pub(super) struct PrivatePostgres {
    binaries: PostgresBinaries,
    account: Option<Account>,
    data: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
}

impl PrivatePostgres {
    /// Finds the programs and the cluster, and makes the latter the first time.
    pub async fn prepare(paths: &Paths) -> Result<Self, LocalError> {
        let link = paths.postgres_data();
        if link.is_symlink() && !link.exists() {
            let target = std::fs::read_link(&link).map_err(LocalError::folder("read", &link))?;
            return Err(LocalError::LostData { link, target });
        }
        let binaries = match std::fs::read_to_string(link.join("PG_VERSION")) {
            Ok(version) => binaries::postgres(version.trim().parse().ok())?,
            Err(_) => {
                let binaries = binaries::postgres(None)?;
                make_cluster(paths, &binaries).await?;
                binaries
            }
        };
        let data = link.canonicalize().map_err(LocalError::folder("open", &link))?;
        let account = account_of(&data)?;
        let sockets = paths.postgres_sockets();
        if let Some(run) = sockets.parent() {
            paths.make_run(run)?;
        }
        make_folder(&sockets, 0o700)?;
        if let Some(account) = &account {
            account.own(&sockets).map_err(LocalError::folder("give away", &sockets))?;
        }
        Ok(Self { binaries, account, data, sockets, log: paths.postgres_log() })
    }

    /// Makes the database where it is missing.
    pub async fn make_database(&self) -> Result<(), LocalError> {
        let mut connection = options(&self.sockets, "postgres").connect().await?;
        let found: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
            .bind(NAME)
            .fetch_optional(&mut connection)
            .await?;
        if found.is_none()
            && let Err(error) = sqlx::query("CREATE DATABASE nowserving").execute(&mut connection).await
            && !already_exists(&error)
        {
            return Err(error.into());
        }
        connection.close().await?;
        Ok(())
    }
}

/// Where clients find a database of a Postgres on a socket.
pub fn url(sockets: &Path, database: &str) -> String {
    format!("postgres://{NAME}@localhost/{database}?host={}&sslmode=disable", encode_path(sockets))
}

/// Whether what a Postgres writes survives a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Yes: always, outside of tests.
    Kept,
    /// No: quicker, for tests that throw the data away.
    Disposable,
}

/// The command line of a private Postgres.
pub fn command(program: &Path, data: &Path, sockets: &Path, durability: Durability) -> Command {
    let mut command = Command::new(program);
    clean_environment(&mut command);
    command.arg("-D").arg(data);
    let mut folder = OsString::from("unix_socket_directories=\"");
    folder.push(sockets);
    folder.push("\"");
    command.arg("-c").arg(folder);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    if durability == Durability::Disposable {
        // Commits stay synchronous: what a killed server had confirmed is there when it comes back.
        for setting in ["fsync=off", "full_page_writes=off", "autovacuum=off"] {
            command.args(["-c", setting]);
        }
    }
    command
}

/// What differs from Postgres's defaults: nobody outside can connect, and the write-behind's steady stream of batches
/// (rows inserted, updated a few times within hours, then left alone) causes few checkpoints and little log.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "port=5432",
    "unix_socket_permissions=0700",
    "max_connections=100",
    "timezone=UTC",
    "log_timezone=UTC",
    "shared_buffers=256MB",
    "checkpoint_timeout=15min",
    "max_wal_size=2GB",
    "wal_compression=on",
    // Nobody replicates from a private server, so the log need not carry what replication wants.
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum_naptime=15s",
    "random_page_cost=1.1",
    // Short statements on a small box: compiling them, or spreading them over processes, costs more than it gains.
    "jit=off",
    "max_parallel_workers_per_gather=0",
    "log_checkpoints=off",
    "logging_collector=off",
    "log_destination=stderr",
];

/// Runs `initdb` into an empty or missing folder.
pub async fn initdb(
    binaries: &PostgresBinaries,
    account: Option<&Account>,
    data: &Path,
    durability: Durability,
) -> Result<(), LocalError> {
    let mut last = None;
    // Plain C where the system has no C.UTF-8: then text search knows ASCII letters only.
    for locale in ["--locale=C.UTF-8", "--locale=C"] {
        let mut command = Command::new(&binaries.initdb);
        clean_environment(&mut command);
        command.arg("-D").arg(data).arg(locale);
        command.args(["--username", NAME, "--auth", "trust", "--encoding", "UTF8", "--data-checksums"]);
        if durability == Durability::Disposable {
            command.args(["--no-sync", "--wal-segsize=1"]);
        }
        command.stdin(Stdio::null()).current_dir("/");
        if let Some(account) = account {
            account.apply(&mut command);
        }
        let mut command = tokio::process::Command::from(command);
        let output = command.process_group(0).kill_on_drop(true).output().await;
        let output = output.map_err(|source| LocalError::Spawn { program: binaries.initdb.clone(), source })?;
        if output.status.success() {
            return Ok(());
        }
        last = Some(output);
    }
    let (status, output) = last.map_or_else(Default::default, |output| (output.status.to_string(), one_line(&output)));
    Err(LocalError::Initdb { status, output })
}

/// Whether a database of the Postgres on a socket can be connected to; `postgres` is always there.
pub async fn ping(sockets: &Path, database: &str) -> Result<(), sqlx::Error> {
    let attempt = async {
        let connection: PgConnection = options(sockets, database).connect().await?;
        connection.close().await
    };
    timeout(Duration::from_secs(2), attempt).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

impl Server for PrivatePostgres {
    const NAME: &'static str = "Postgres";
    /// "Fast": open transactions are rolled back, everything is written out.
    const GENTLE: Signal = Signal::SIGINT;
    /// "Immediate" needs a recovery at the next start, and loses nothing.
    const HARDER: &'static [Signal] = &[Signal::SIGQUIT, Signal::SIGKILL];

    fn mark(&self) -> Mark {
        Mark { program: "postgres", path: self.data.display().to_string() }
    }

    fn log(&self) -> &Path {
        &self.log
    }

    async fn running_pid(&self) -> Option<i32> {
        postmaster_pid(&self.data)
    }

    fn command(&self) -> Result<Command, LocalError> {
        // After a crash Postgres deals with its stale pid file, unless the pid belongs to somebody else by now.
        if let Some(pid) = postmaster_pid(&self.data)
            && Path::new(&format!("/proc/{pid}")).exists()
            && !self.mark().fits(pid)
        {
            let file = self.data.join("postmaster.pid");
            warn!(pid, "removing the pid file that a crash left: its pid is another program's now");
            std::fs::remove_file(&file).map_err(LocalError::folder("remove", &file))?;
        }
        let mut command = command(&self.binaries.postgres, &self.data, &self.sockets, Durability::Kept);
        if let Some(account) = &self.account {
            account.apply(&mut command);
        }
        Ok(command)
    }

    fn started(&self, _pid: i32) -> Result<(), LocalError> {
        Ok(())
    }

    async fn answer(&self) -> Answer {
        match ping(&self.sockets, "postgres").await {
            Ok(()) => Answer::Ready,
            Err(error) => Answer::NotYet(error.to_string()),
        }
    }
}

/// The account that a cluster belongs to, when we are root; otherwise it must be ours.
fn account_of(data: &Path) -> Result<Option<Account>, LocalError> {
    use std::os::unix::fs::MetadataExt;
    let owner = data.metadata().map_err(LocalError::folder("open", data))?.uid();
    if owner == 0 || (!Uid::effective().is_root() && owner != Uid::effective().as_raw()) {
        return Err(LocalError::ForeignFolder { path: data.to_owned(), owner });
    }
    Account::owner_of(data).map_err(LocalError::folder("open", data))
}

/// Makes the cluster next to its place and renames it there, so that a crash half-way leaves nothing that looks whole.
async fn make_cluster(paths: &Paths, binaries: &PostgresBinaries) -> Result<(), LocalError> {
    let place = paths.postgres_data();
    let account = Account::for_postgres();
    let mut unfinished = empty_folder(&paths.root, account.as_ref())?;
    let reachable = account.as_ref().is_none_or(|account| account.can_write(&unfinished));
    if !reachable {
        remove(&unfinished)?;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let elsewhere = paths.postgres_elsewhere(now_ms);
        make_folder(&elsewhere, 0o711)?;
        warn!(
            folder = %elsewhere.display(),
            "the account of Postgres cannot get into {}: the ledger's data goes into another folder",
            paths.root.display()
        );
        unfinished = empty_folder(&elsewhere, account.as_ref())?;
    }
    info!(version = binaries.major, "making the private Postgres cluster");
    initdb(binaries, account.as_ref(), &unfinished, Durability::Kept).await?;
    let finished = unfinished.with_file_name("postgres");
    std::fs::rename(&unfinished, &finished).map_err(LocalError::folder("put in place", &finished))?;
    if finished != place {
        std::os::unix::fs::symlink(&finished, &place).map_err(LocalError::folder("link", &place))?;
    }
    // Renames reach the disk with their folder.
    File::open(&paths.root).and_then(|root| root.sync_all()).map_err(LocalError::folder("write", &paths.root))
}

fn empty_folder(parent: &Path, account: Option<&Account>) -> Result<PathBuf, LocalError> {
    let folder = parent.join("postgres.unfinished");
    remove(&folder)?;
    make_folder(&folder, 0o700)?;
    if let Some(account) = account {
        account.own(&folder).map_err(LocalError::folder("give away", &folder))?;
    }
    Ok(folder)
}

fn remove(folder: &Path) -> Result<(), LocalError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(LocalError::folder("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// The first line of the pid file of a cluster.
fn postmaster_pid(data: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// Whether somebody else has made it meanwhile: a daemon that was killed leaves its last statement running.
fn already_exists(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["42P04", "23505"].contains(&code.as_ref()))
}

fn options(sockets: &Path, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&sockets.display().to_string())
        .port(5432)
        .username(NAME)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
        .disable_statement_logging()
}

/// PGDATA, PGPORT and their kin are for the user's own servers.
fn clean_environment(command: &mut Command) {
    command.env_clear().env("LC_ALL", "C");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
}

fn one_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
}
