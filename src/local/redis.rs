//! A private Redis: on a unix socket only, with an append-only file, never evicting.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use tracing::info;

use super::{
    LocalError,
    account::{self, Account},
    binaries,
    dir::{Dir, Kind},
    encode_path,
    folder::{DataFolder, REDIS},
    process::{Mark, Process, clean_environment},
    redis_data,
    server::{Answer, Server},
};

const PROGRAM: &str = "redis-server";
/// Says which process was started last.
const PID_FILE: &str = "redis.pid";
/// How long Redis may take to end in peace.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// When the append-only file of a private Redis is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFsync {
    /// Within a second.
    EverySecond,
    /// Before anything is answered.
    Always,
}

impl AppendFsync {
    fn word(self) -> &'static str {
        match self {
            Self::EverySecond => "everysec",
            Self::Always => "always",
        }
    }
}

/// The Redis of a data folder.
pub(super) struct PrivateRedis {
    program: PathBuf,
    folder: Dir,
    data: Dir,
    account: Option<Account>,
    socket: PathBuf,
    appendfsync: AppendFsync,
}

impl PrivateRedis {
    /// Finds the program and the data, and makes the folder of the latter the first time.
    pub(crate) async fn prepare(folder: &DataFolder, appendfsync: AppendFsync) -> Result<Self, LocalError> {
        let program = binaries::redis_server()?;
        end_earlier(folder).await?;
        let (data, account) = redis_data::find_or_make(folder).await?;
        folder.make_sockets(REDIS, account.as_ref())?;
        let socket = folder.redis_socket()?;
        Ok(Self { program, folder: folder.dir.clone(), data, account, socket, appendfsync })
    }
}

/// Ends the Redis that a killed daemon of an earlier version left. It has another socket than a Redis of today, no
/// lock, and, started by root, another account.
async fn end_earlier(folder: &DataFolder) -> Result<(), LocalError> {
    let socket = folder.earlier_redis_socket();
    let Some(run) = folder.open_earlier_run()? else { return Ok(()) };
    if run.kind("redis.sock")? != Kind::Socket {
        return Ok(());
    }
    let mark = Mark { program: PROGRAM, path: socket.display().to_string(), uid: account::me() };
    let adopt = |pid: Option<i32>| Process::adopt(pid?, mark.clone(), PrivateRedis::GENTLE);
    let process = match adopt(recorded_pid(&folder.dir)?) {
        Some(process) => Some(process),
        None => adopt(pid_by_socket(&socket).await),
    };
    if let Some(process) = process {
        info!(pid = process.pid(), "ending the private Redis of an earlier version");
        process.end(PrivateRedis::NAME, ENDS_WITHIN, PrivateRedis::HARDER).await;
    }
    run.remove_file("redis.sock")
}

/// Where clients find a Redis on a socket.
pub fn url(socket: &Path) -> String {
    format!("unix://{}", encode_path(socket))
}

/// The command line of a private Redis, save for when its append-only file is made durable.
pub fn command(program: &Path, data: &Path, socket: &Path) -> Command {
    let mut command = Command::new(program);
    clean_environment(&mut command);
    command.args(["--port", "0", "--unixsocketperm", "700", "--unixsocket"]).arg(socket);
    command.arg("--dir").arg(data);
    // Every acknowledged order is in the append-only file, and a torn end of it is cut off at start.
    command.args(["--appendonly", "yes", "--aof-load-truncated", "yes", "--save", ""]);
    // Resting numbers of a restaurant in one piece of memory: six times smaller.
    command.args(["--zset-max-listpack-entries", "512"]);
    // A full Redis must refuse, never forget.
    command.args(["--maxmemory-policy", "noeviction"]);
    command.args(["--daemonize", "no", "--supervised", "no", "--logfile", ""]);
    command
}

impl Server for PrivateRedis {
    const NAME: &'static str = redis_data::NAME;
    const LOCK: &'static str = redis_data::LOCK;
    const LOG: &'static str = "redis.log";
    /// Redis answers SIGTERM as it does SHUTDOWN: it writes the append-only file out and ends.
    const GENTLE: Signal = Signal::SIGTERM;
    const HARDER: &'static [Signal] = &[Signal::SIGKILL];

    fn mark(&self) -> Mark {
        // Redis puts the socket's path into its title.
        let path = self.socket.display().to_string();
        Mark { program: PROGRAM, path, uid: Account::uid_of(self.account.as_ref()) }
    }

    fn folder(&self) -> &Dir {
        &self.folder
    }

    async fn running_pids(&self) -> Result<Vec<i32>, LocalError> {
        // It listens before it reads its data, and may have been killed before its pid was written down.
        let pids = [pid_by_socket(&self.socket).await, recorded_pid(&self.folder)?];
        Ok(pids.into_iter().flatten().collect())
    }

    fn command(&self) -> Result<Command, LocalError> {
        let mut command = command(&self.program, self.data.path(), &self.socket);
        command.args(["--appendfsync", self.appendfsync.word()]);
        if let Some(account) = &self.account {
            account.apply(&mut command);
        }
        Ok(command)
    }

    fn started(&self, pid: i32) -> Result<(), LocalError> {
        self.folder.write(PID_FILE, &pid.to_string())
    }

    /// One that an earlier run left may have been told otherwise. All that it has acknowledged is in one file, so the
    /// next sync covers what came before, too.
    async fn answer(&self) -> Answer {
        match tell(&self.socket, self.appendfsync).await {
            Ok(()) => Answer::Ready,
            Err(error) => Answer::NotYet(error.to_string()),
        }
    }
}

/// Whether the Redis on a socket answers, and has read its data.
pub async fn ping(socket: &Path) -> redis::RedisResult<()> {
    redis::cmd("PING").query_async(&mut connect(socket).await?).await
}

/// Tells the Redis on a socket when to make its file durable; fails while it reads its data.
async fn tell(socket: &Path, appendfsync: AppendFsync) -> redis::RedisResult<()> {
    let mut connection = connect(socket).await?;
    let () = redis::cmd("PING").query_async(&mut connection).await?;
    redis::cmd("CONFIG").arg(&["SET", "appendfsync", appendfsync.word()]).query_async(&mut connection).await
}

async fn pid_by_socket(socket: &Path) -> Option<i32> {
    let mut connection = connect(socket).await.ok()?;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await.ok()?;
    info.lines().find_map(|line| line.strip_prefix("process_id:"))?.trim().parse().ok()
}

fn recorded_pid(folder: &Dir) -> Result<Option<i32>, LocalError> {
    Ok(folder.read(PID_FILE)?.and_then(|text| text.trim().parse().ok()))
}

async fn connect(socket: &Path) -> redis::RedisResult<MultiplexedConnection> {
    let patience = Some(Duration::from_secs(2));
    let config = AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
    redis::Client::open(url(socket))?.get_multiplexed_async_connection_with_config(&config).await
}
