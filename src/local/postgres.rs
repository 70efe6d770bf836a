//! A private Postgres: on a unix socket only, durable, under an ordinary account when we are root.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{
    LocalError,
    account::Account,
    binaries::{self, PostgresBinaries},
    dir::Dir,
    encode_path,
    folder::{DataFolder, POSTGRES},
    place,
    process::{Group, Mark, clean_environment},
    server::{Answer, Server},
    server_lock::{ServerLock, Waiting},
};

/// The role and the database.
pub(super) const NAME: &str = "nowserving";
/// Names the process of a running cluster.
const PID_FILE: &str = "postmaster.pid";
/// Names the process that listens on a socket.
const SOCKET_PID_FILE: &str = ".s.PGSQL.5432.lock";

/// The Postgres of a data folder.
pub(super) struct PrivatePostgres {
    binaries: PostgresBinaries,
    account: Option<Account>,
    folder: Dir,
    data: Dir,
    sockets: Dir,
}

impl PrivatePostgres {
    /// Finds the programs and the cluster, and makes the latter the first time.
    pub(crate) async fn prepare(folder: &DataFolder) -> Result<Self, LocalError> {
        let (binaries, data) = match find_cluster(folder)? {
            Some((data, version)) => (binaries::postgres(version.trim().parse().ok())?, data),
            None => {
                let binaries = binaries::postgres(None)?;
                let data = make_cluster(folder, &binaries).await?;
                (binaries, data)
            }
        };
        let account = account_of(&data)?;
        place::check_reach(Self::NAME, &data, account.as_ref())?;
        let sockets = folder.make_sockets(POSTGRES, account.as_ref())?;
        Ok(Self { binaries, account, folder: folder.dir.clone(), data, sockets })
    }

    /// Removes a pid file that a crash left. Postgres deals with most of them itself. The others: the pid is another
    /// program's by now, or that of a dead process that its parent does not wait for, or it was never written. That
    /// nothing is at work on the cluster, the lock of its data says.
    fn remove_stale(&self, folder: &Dir, name: &str) -> Result<(), LocalError> {
        let Some(text) = folder.read(name)? else { return Ok(()) };
        let pid = first_number(&text).unwrap_or_default();
        let is_taken = Path::new(&format!("/proc/{pid}")).exists() && !self.mark().fits(pid);
        if pid == 0 || is_taken {
            warn!(pid, "removing {}, which a crash left: no Postgres is at work", folder.join(name).display());
            folder.remove_file(name)?;
        }
        Ok(())
    }

    /// Makes the database where it is missing.
    pub(crate) async fn make_database(&self) -> Result<(), LocalError> {
        let mut connection = options(self.sockets.path(), "postgres").connect().await?;
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
    command.arg("-c").arg(socket_folder(sockets));
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

/// A list of one folder, as Postgres reads it: in quotes, with those of the name itself doubled.
fn socket_folder(sockets: &Path) -> OsString {
    let mut folder = b"unix_socket_directories=\"".to_vec();
    for &byte in sockets.as_os_str().as_bytes() {
        folder.push(byte);
        if byte == b'"' {
            folder.push(byte);
        }
    }
    folder.push(b'"');
    OsString::from_vec(folder)
}

/// What differs from Postgres's defaults. No client outside can connect. The write-behind's steady stream of batches
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
    // No replica follows a private server, so the log need not carry what replication wants.
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
    run_initdb(binaries, account, data, durability, None).await
}

/// As [`initdb`]; what it starts keeps the lock of the data.
async fn run_initdb(
    binaries: &PostgresBinaries,
    account: Option<&Account>,
    data: &Path,
    durability: Durability,
    lock: Option<&ServerLock>,
) -> Result<(), LocalError> {
    let failed = |source| LocalError::Spawn { program: binaries.initdb.clone(), source };
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
        let input = lock.map_or_else(|| Ok(Stdio::null()), ServerLock::inherited).map_err(failed)?;
        command.stdin(input).current_dir("/");
        if let Some(account) = account {
            account.apply(&mut command);
        }
        let output = Group::spawn(command).map_err(failed)?.output().await.map_err(failed)?;
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
    const LOCK: &'static str = "postgres.lock";
    const LOG: &'static str = "postgres.log";
    /// "Fast": open transactions are rolled back, everything is written out.
    const GENTLE: Signal = Signal::SIGINT;
    /// "Immediate" needs a recovery at the next start, and loses nothing.
    const HARDER: &'static [Signal] = &[Signal::SIGQUIT, Signal::SIGKILL];

    fn mark(&self) -> Mark {
        let path = self.data.path().display().to_string();
        Mark { program: "postgres", path, uid: Account::uid_of(self.account.as_ref()) }
    }

    fn folder(&self) -> &Dir {
        &self.folder
    }

    async fn running_pids(&self) -> Result<Vec<i32>, LocalError> {
        Ok(postmaster_pid(&self.data)?.into_iter().collect())
    }

    fn command(&self) -> Result<Command, LocalError> {
        self.remove_stale(&self.data, PID_FILE)?;
        self.remove_stale(&self.sockets, SOCKET_PID_FILE)?;
        let mut command = command(&self.binaries.postgres, self.data.path(), self.sockets.path(), Durability::Kept);
        if let Some(account) = &self.account {
            account.apply(&mut command);
        }
        Ok(command)
    }

    fn started(&self, _pid: i32) -> Result<(), LocalError> {
        Ok(())
    }

    async fn answer(&self) -> Answer {
        match ping(self.sockets.path(), "postgres").await {
            Ok(()) => Answer::Ready,
            Err(error) => Answer::NotYet(error.to_string()),
        }
    }
}

/// The cluster and its version; None where there is none yet.
fn find_cluster(folder: &DataFolder) -> Result<Option<(Dir, String)>, LocalError> {
    let Some(data) = place::find(folder, POSTGRES, "ledger")? else { return Ok(None) };
    Ok(data.read("PG_VERSION")?.map(|version| (data, version)))
}

/// The account that a cluster belongs to, when we are root: never root itself.
fn account_of(data: &Dir) -> Result<Option<Account>, LocalError> {
    let stat = data.stat()?;
    if stat.st_uid == 0 {
        return Err(LocalError::ForeignFolder { path: data.path().to_owned(), owner: 0 });
    }
    Ok(Account::owner_of(&stat))
}

/// Makes the cluster next to its place and renames it there, so that a crash half-way leaves nothing that looks whole.
async fn make_cluster(folder: &DataFolder, binaries: &PostgresBinaries) -> Result<Dir, LocalError> {
    // The initdb of a run that was killed may still be at work.
    let lock = Waiting::new(&folder.dir, PrivatePostgres::LOCK, PrivatePostgres::NAME).finish().await?;
    let account = Account::ordinary();
    let parent = place::parent_of_new(folder, account.as_ref()).await?;
    if parent.path() != folder.dir.path() {
        // From a run when the account could get in here.
        folder.dir.remove_tree(&place::unfinished(POSTGRES)).await?;
    }
    let unfinished = parent.make_empty(&place::unfinished(POSTGRES), account.as_ref()).await?;
    info!(version = binaries.major, "making the private Postgres cluster");
    run_initdb(binaries, account.as_ref(), unfinished.path(), Durability::Kept, Some(&lock)).await?;
    crate::failpoint::pass("local_initdb_done");
    place::finish(folder, &parent, POSTGRES)?;
    crate::failpoint::pass("local_cluster_finished");
    parent.folder(POSTGRES)
}

/// The first line of the pid file of a cluster.
fn postmaster_pid(data: &Dir) -> Result<Option<i32>, LocalError> {
    Ok(data.read(PID_FILE)?.and_then(|text| first_number(&text)))
}

fn first_number(text: &str) -> Option<i32> {
    text.lines().next()?.trim().parse().ok()
}

/// Whether another session has made it meanwhile: a daemon that was killed leaves its last statement running.
fn already_exists(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["42P04", "23505"].contains(&code.as_ref()))
}

fn options(sockets: &Path, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(sockets)
        .port(5432)
        .username(NAME)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
        .disable_statement_logging()
}

fn one_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
}
