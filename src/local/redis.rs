//! A private Redis: on a unix socket only, with an append-only file, never evicting.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use super::folder::{Paths, make_folder};
use super::process::Mark;
use super::server::{Answer, Server};
use super::{LocalError, binaries, encode_path};

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
    data: PathBuf,
    socket: PathBuf,
    pid_file: PathBuf,
    log: PathBuf,
    appendfsync: AppendFsync,
}

impl PrivateRedis {
    pub fn prepare(paths: &Paths, appendfsync: AppendFsync) -> Result<Self, LocalError> {
        let program = binaries::redis_server()?;
        let (data, socket) = (paths.redis_data(), paths.redis_socket());
        make_folder(&data, 0o700)?;
        if let Some(sockets) = socket.parent() {
            paths.make_run(sockets)?;
        }
        Ok(Self { program, data, socket, pid_file: paths.redis_pid(), log: paths.redis_log(), appendfsync })
    }
}

/// Where clients find a Redis on a socket.
pub fn url(socket: &Path) -> String {
    format!("unix://{}", encode_path(socket))
}

/// The command line of a private Redis, save for when its append-only file is made durable.
pub fn command(program: &Path, data: &Path, socket: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--port", "0", "--unixsocketperm", "700", "--unixsocket"]).arg(socket);
    command.arg("--dir").arg(data);
    // Every acknowledged order is in the append-only file, and a torn end of it is cut off at start.
    command.args(["--appendonly", "yes", "--aof-load-truncated", "yes", "--save", ""]);
    // A full Redis must refuse, never forget.
    command.args(["--maxmemory-policy", "noeviction"]);
    command.args(["--daemonize", "no", "--supervised", "no", "--logfile", ""]);
    command
}

impl Server for PrivateRedis {
    const NAME: &'static str = "Redis";
    /// Redis answers SIGTERM as it does SHUTDOWN: it writes the append-only file out and ends.
    const GENTLE: Signal = Signal::SIGTERM;
    const HARDER: &'static [Signal] = &[Signal::SIGKILL];

    fn mark(&self) -> Mark {
        // Redis puts the socket's path into its title.
        Mark { program: "redis-server", path: self.socket.display().to_string() }
    }

    fn log(&self) -> &Path {
        &self.log
    }

    async fn running_pid(&self) -> Option<i32> {
        match pid_by_socket(&self.socket).await {
            Some(pid) => Some(pid),
            None => recorded_pid(&self.pid_file),
        }
    }

    fn command(&self) -> Result<Command, LocalError> {
        let mut command = command(&self.program, &self.data, &self.socket);
        command.args(["--appendfsync", self.appendfsync.word()]);
        Ok(command)
    }

    fn started(&self, pid: i32) -> Result<(), LocalError> {
        std::fs::write(&self.pid_file, pid.to_string()).map_err(LocalError::folder("write", &self.pid_file))
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

fn recorded_pid(pid_file: &Path) -> Option<i32> {
    std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()
}

async fn connect(socket: &Path) -> redis::RedisResult<MultiplexedConnection> {
    let patience = Some(Duration::from_secs(2));
    let config = AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
    redis::Client::open(url(socket))?.get_multiplexed_async_connection_with_config(&config).await
}
