//! Local mode: a private Redis and a private Postgres as child processes, for `serve` without any configuration.
//!
//! They live on unix sockets under the data folder, stop with the daemon, and keep their data. After a crash of the
//! daemon they go on running, and the next start adopts them. One that dies is started again.

pub mod account;
pub mod binaries;
mod error;
mod folder;
pub mod postgres;
mod process;
pub mod redis;
mod server;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use error::LocalError;

use folder::{Lock, Paths};
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
/// [`LocalServers::stop`] ends them in peace. When the value is only dropped they are asked to end, and nobody waits.
pub struct LocalServers {
    redis_url: Option<String>,
    database_url: Option<String>,
    supervisors: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    failed: mpsc::Receiver<String>,
    paths: Paths,
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
    /// That process.
    pub pid: String,
}

impl LocalServers {
    /// Takes the data folder and starts what is needed, or adopts what an earlier run left. `command` is the
    /// subcommand, for the message to whoever wants the folder too.
    pub async fn start(
        data_dir: &Path,
        needs: Needs,
        appendfsync: AppendFsync,
        command: &str,
    ) -> Result<Self, LocalError> {
        let paths = Paths::make(data_dir)?;
        let lock = paths.lock(command, needs).await?;
        let (failure, failed) = mpsc::channel(2);
        let stop = CancellationToken::new();
        let (redis, postgres) = tokio::try_join!(
            async {
                if !needs.redis {
                    return Ok(None);
                }
                let server = PrivateRedis::prepare(&paths, appendfsync)?;
                let mut process = None;
                server::bring_up(&server, &mut process).await?;
                Ok::<_, LocalError>(process.map(|process| (server, process)))
            },
            async {
                if !needs.postgres {
                    return Ok(None);
                }
                let server = PrivatePostgres::prepare(&paths).await?;
                let mut process = None;
                server::bring_up(&server, &mut process).await?;
                server.make_database().await?;
                Ok(process.map(|process| (server, process)))
            },
        )?;
        let mut servers =
            Self { redis_url: None, database_url: None, supervisors: Vec::new(), stop, failed, paths, _lock: lock };
        let paths = &servers.paths;
        if let Some((server, process)) = redis {
            servers.redis_url = Some(redis::url(&paths.redis_socket()));
            let supervisor = server::supervise(server, process, servers.stop.clone(), failure.clone());
            servers.supervisors.push(tokio::spawn(supervisor));
        }
        if let Some((server, process)) = postgres {
            servers.database_url = Some(postgres::url(&paths.postgres_sockets(), postgres::NAME));
            let supervisor = server::supervise(server, process, servers.stop.clone(), failure);
            servers.supervisors.push(tokio::spawn(supervisor));
        }
        Ok(servers)
    }

    /// The servers of the `serve` that holds the folder, once they answer; None when nobody holds it.
    pub async fn find(data_dir: &Path) -> Result<Option<Found>, LocalError> {
        let Ok(paths) = Paths::of(data_dir) else { return Ok(None) };
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let Some(holder) = paths.holder()? else { return Ok(None) };
            if holder.command != SERVE {
                return Err(LocalError::InUse { folder: paths.root, pid: holder.pid, command: holder.command });
            }
            let redis = !holder.needs.redis || redis::ping(&paths.redis_socket()).await.is_ok();
            let postgres =
                !holder.needs.postgres || postgres::ping(&paths.postgres_sockets(), postgres::NAME).await.is_ok();
            if redis && postgres {
                let database_url = || postgres::url(&paths.postgres_sockets(), postgres::NAME);
                return Ok(Some(Found {
                    redis_url: holder.needs.redis.then(|| redis::url(&paths.redis_socket())),
                    database_url: holder.needs.postgres.then(database_url),
                    pid: holder.pid,
                }));
            }
            if Instant::now() > deadline {
                return Err(LocalError::HolderNotReady { folder: paths.root, pid: holder.pid });
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
        self.paths.remove_run();
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
