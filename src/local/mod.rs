//! Local mode: a private Redis and a private Postgres as child processes, for `serve` without any configuration.
//!
//! They live on unix sockets under the data folder, stop with the daemon, and keep their data. After a crash of the
//! daemon they go on running, and the next start adopts them. One that dies is started again.
//!
//! `trust` says which folders are used at all, and `dir` how files in them are opened. `server_lock` keeps a start from
//! working beside the remains of an earlier one, and `place` says where the data of root's servers stands.

pub mod account;
pub mod binaries;
mod dir;
mod error;
mod folder;
mod place;
pub mod postgres;
mod process;
pub mod redis;
mod redis_data;
mod server;
mod server_lock;
mod takeover;
mod trust;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(crate) use error::LocalError;

use folder::{DataFolder, Holder, Lock, POSTGRES, REDIS};
use postgres::PrivatePostgres;
use redis::{AppendFsync, PrivateRedis};

/// The command whose servers others may use: it stays.
const SERVE: &str = "serve";

/// Which servers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// A private Redis.
    pub redis: bool,
    /// A private Postgres.
    pub postgres: bool,
}

/// The private servers of a data folder, owned by this process.
///
/// [`LocalServers::stop`] ends them in peace. When the value is only dropped they are asked to end, and nothing waits
/// for them.
pub struct LocalServers {
    redis_url: Option<String>,
    database_url: Option<String>,
    supervisors: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    failed: mpsc::Receiver<String>,
    folder: DataFolder,
    // Last, so that it is released when everything else has gone.
    _lock: Lock,
}

/// Servers that another process owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The private Redis, if that process runs one.
    pub redis_url: Option<String>,
    /// The private Postgres, if that process runs one.
    pub database_url: Option<String>,
    /// The process id of its owner, as the lock file says.
    pub pid: String,
}

impl LocalServers {
    /// Takes the data folder and starts what is needed, or adopts what an earlier run left. `command` is the
    /// subcommand, for the message to another process that wants the folder too.
    pub async fn start(
        data_dir: &Path,
        needs: Needs,
        appendfsync: AppendFsync,
        command: &str,
    ) -> Result<Self, LocalError> {
        let folder = DataFolder::make(data_dir)?;
        let lock = folder.lock(command, needs).await?;
        let (failure, failed) = mpsc::channel(2);
        let stop = CancellationToken::new();
        let (mut redis, mut postgres) = (None, None);
        let brought_up = tokio::try_join!(
            async {
                if !needs.redis {
                    return Ok(None);
                }
                let server = PrivateRedis::prepare(&folder, appendfsync).await?;
                server::bring_up(&server, &mut redis).await?;
                Ok::<_, LocalError>(Some(server))
            },
            async {
                if !needs.postgres {
                    return Ok(None);
                }
                let server = PrivatePostgres::prepare(&folder).await?;
                server::bring_up(&server, &mut postgres).await?;
                server.make_database().await?;
                Ok(Some(server))
            },
        );
        let (redis_server, postgres_server) = match brought_up {
            Ok(servers) => servers,
            Err(error) => {
                // The next start would take one that is about to end for one that an earlier run left.
                tokio::join!(
                    server::end_started::<PrivateRedis>(redis),
                    server::end_started::<PrivatePostgres>(postgres)
                );
                return Err(error);
            }
        };
        let mut servers =
            Self { redis_url: None, database_url: None, supervisors: Vec::new(), stop, failed, folder, _lock: lock };
        let folder = &servers.folder;
        if let (Some(server), Some(process)) = (redis_server, redis) {
            servers.redis_url = Some(redis::url(&folder.redis_socket()?));
            let supervisor = server::supervise(server, process, servers.stop.clone(), failure.clone());
            servers.supervisors.push(tokio::spawn(supervisor));
        }
        if let (Some(server), Some(process)) = (postgres_server, postgres) {
            servers.database_url = Some(postgres::url(&folder.postgres_sockets()?, postgres::NAME));
            let supervisor = server::supervise(server, process, servers.stop.clone(), failure);
            servers.supervisors.push(tokio::spawn(supervisor));
        }
        Ok(servers)
    }

    /// The servers of the `serve` that holds the folder, once they answer; None when no process holds it.
    pub async fn find(data_dir: &Path) -> Result<Option<Found>, LocalError> {
        let Some(folder) = DataFolder::open(data_dir)? else { return Ok(None) };
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let Some(holder) = folder.holder().await? else { return Ok(None) };
            let path = folder.dir.path().to_owned();
            if holder.command != SERVE {
                return Err(LocalError::InUse { folder: path, pid: holder.pid, command: holder.command });
            }
            if let Some(found) = answering(&folder, &holder).await? {
                return Ok(Some(found));
            }
            if Instant::now() > deadline {
                return Err(LocalError::HolderNotReady { folder: path, pid: holder.pid });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Where the private Redis is; None when none was needed.
    pub fn redis_url(&self) -> Option<&str> {
        self.redis_url.as_deref()
    }

    /// Where the private database is; None when none was needed.
    pub fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref()
    }

    /// Waits until a server has died and cannot be brought back, and says why. A death that a restart mends is only
    /// logged. Safe to cancel.
    pub async fn died(&mut self) -> String {
        match self.failed.recv().await {
            Some(sentence) => sentence,
            // No supervisor is left to report anything.
            None => std::future::pending().await,
        }
    }

    /// Ends the servers: asks, waits, insists. When it returns they have gone.
    pub async fn stop(mut self) {
        self.stop.cancel();
        for supervisor in self.supervisors.drain(..) {
            if let Err(error) = supervisor.await {
                tracing::error!("the supervisor of a private server failed: {error}");
            }
        }
        self.folder.remove_sockets();
    }
}

impl Drop for LocalServers {
    fn drop(&mut self) {
        // A supervisor that is aborted drops its process, which asks the server to end.
        for supervisor in &self.supervisors {
            supervisor.abort();
        }
    }
}

/// The servers of a holder; None while one does not answer.
async fn answering(folder: &DataFolder, holder: &Holder) -> Result<Option<Found>, LocalError> {
    let mut found = Found { redis_url: None, database_url: None, pid: holder.pid.clone() };
    if holder.needs.redis {
        let socket = folder.redis_socket()?;
        if !folder.has_sockets(REDIS)? || redis::ping(&socket).await.is_err() {
            return Ok(None);
        }
        found.redis_url = Some(redis::url(&socket));
    }
    if holder.needs.postgres {
        let sockets = folder.postgres_sockets()?;
        if !folder.has_sockets(POSTGRES)? || postgres::ping(&sockets, postgres::NAME).await.is_err() {
            return Ok(None);
        }
        found.database_url = Some(postgres::url(&sockets, postgres::NAME));
    }
    Ok(Some(found))
}

/// A path as it stands in a URL.
fn encode_path(path: &Path) -> String {
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut url, &byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
        url
    })
}
