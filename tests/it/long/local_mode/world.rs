//! What the tests of local mode share: servers in this process, daemons under other accounts, and links that lead
//! astray.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use nowserving::local::{LocalServers, Needs, redis::AppendFsync};
use sqlx::{Connection, PgConnection};

use crate::support::{DaemonOptions, PATIENCE, eventually_true, keeper, scratch};

pub const BOTH: Needs = Needs { redis: true, postgres: true };
pub const REDIS: Needs = Needs { redis: true, postgres: false };
pub const POSTGRES: Needs = Needs { redis: false, postgres: true };

/// Starts servers that belong to this process.
pub async fn start(data_dir: &Path, needs: Needs) -> LocalServers {
    LocalServers::start(data_dir, needs, AppendFsync::EverySecond, "serve")
        .await
        .expect("local mode works on this machine")
}

/// Why they are not started.
pub async fn refusal(data_dir: &Path, needs: Needs) -> String {
    match LocalServers::start(data_dir, needs, AppendFsync::EverySecond, "serve").await {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{} must be refused", data_dir.display()),
    }
}

/// Asks a Redis.
pub async fn redis(url: &str, command: &[&str]) -> redis::RedisResult<String> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let mut request = redis::cmd(command[0]);
    request.arg(&command[1..]).query_async(&mut connection).await
}

/// The process of a Redis.
pub async fn redis_pid(url: &str) -> i32 {
    let info = redis(url, &["INFO", "server"]).await.expect("Redis answers");
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("INFO tells the pid");
    pid.trim().parse().expect("a pid is a number")
}

/// Asks a Postgres.
pub async fn sql(url: &str, statement: &'static str) -> Result<String, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let value: Option<String> = sqlx::query_scalar(statement).fetch_optional(&mut connection).await?;
    connection.close().await?;
    Ok(value.unwrap_or_default())
}

/// The first process of the Postgres of a data folder.
pub fn postmaster_pid(data_dir: &Path) -> i32 {
    let text = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).expect("Postgres runs");
    text.lines().next().expect("its first line is the pid").parse().expect("a pid is a number")
}

/// The account of a process.
pub fn account_of(pid: i32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("each process has one");
    line.split_whitespace().nth(1).expect("the second is the effective one").parse().expect("it is a number")
}

/// Whether this process is root. Where it is not, what only root can show is left out, and the output says so.
#[track_caller]
pub fn is_root() -> bool {
    let root = Uid::effective().is_root();
    if !root {
        eprintln!("left out at {}: only root can show this", std::panic::Location::caller());
    }
    root
}

/// nobody, and its group: an account that is neither root nor the servers'.
pub fn nobody() -> (u32, u32) {
    let nobody = User::from_name("nobody").expect("accounts can be looked up").expect("every Linux has it");
    (nobody.uid.as_raw(), nobody.gid.as_raw())
}

/// The account of the servers that root starts.
pub fn servers_account() -> u32 {
    let postgres = User::from_name("postgres").expect("accounts can be looked up");
    postgres.map_or_else(|| nobody().0, |user| user.uid.as_raw())
}

/// In local mode as nobody, in a folder of its own; where this process is not root, as its account.
pub fn as_ordinary_account() -> DaemonOptions {
    let mut options = DaemonOptions::local();
    if Uid::effective().is_root() {
        let account = nobody();
        chown(&options.data_dir, Some(account.0), Some(account.1)).expect("root can give away a folder");
        options.account = Some(account);
        options.program = program_for_all();
    }
    options
}

/// The program, where every account can get to it.
fn program_for_all() -> PathBuf {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE
        .get_or_init(|| {
            let place = scratch::folder("bin").join("nowserving");
            // Not copied by ourselves: a program that any process has open to write cannot be run.
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_nowserving")).arg(&place).status();
            assert!(copied.is_ok_and(|status| status.success()), "the program can be copied");
            std::fs::set_permissions(&place, Permissions::from_mode(0o755)).expect("it is ours");
            place
        })
        .clone()
}

/// Starts a daemon, and does not wait for it.
pub fn begin(options: &DaemonOptions) -> Child {
    begin_heard(options).0
}

/// Starts a daemon, and does not wait for it: what it says so far can be read.
pub fn begin_heard(options: &DaemonOptions) -> (Child, Arc<Mutex<String>>) {
    let mut command = options.command("serve");
    command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = keeper::spawn(command).expect("setpriv (of util-linux) can be started");
    let said = Arc::new(Mutex::new(String::new()));
    let pipes: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().expect("it is piped")), Box::new(child.stderr.take().expect("it is piped"))];
    for pipe in pipes {
        let said = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                said.lock().expect("no holder panics").push_str(&(line + "\n"));
            }
        });
    }
    (child, said)
}

/// Ends a daemon as a crash would.
pub fn kill9(mut child: Child) {
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
}

/// Ends a daemon in peace.
pub fn end(mut child: Child) {
    let pid = i32::try_from(child.id()).expect("pids are small");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it is our child");
    assert!(child.wait().expect("it is our child").success());
}

/// A data folder that the account of the servers cannot get into, for root.
pub fn closed_folder() -> (PathBuf, Elsewhere) {
    let closed = scratch::folder("closed");
    std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("it is ours");
    let data_dir = closed.join("data");
    (data_dir.clone(), Elsewhere::of(data_dir))
}

/// Removes the data that stands elsewhere when the test is over.
pub struct Elsewhere(PathBuf);

impl Elsewhere {
    /// That of a data folder.
    pub fn of(data_dir: PathBuf) -> Self {
        Self(data_dir)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        scratch::end_servers_under(&self.0);
        if let Ok(folder) = std::fs::read_link(self.0.join("elsewhere")) {
            scratch::end_servers_under(&folder);
            std::fs::remove_dir_all(folder).ok();
        }
    }
}

/// A file or a folder that nothing may happen to.
pub struct Precious {
    path: PathBuf,
    before: (u32, u32, u32, i64, i64),
}

const CONTENT: &str = "precious\n";

impl Precious {
    pub fn file(path: PathBuf) -> Self {
        std::fs::write(&path, CONTENT).expect("a file can be made in our own folder");
        Self::of(path)
    }

    pub fn folder(path: PathBuf) -> Self {
        std::fs::create_dir(&path).expect("a folder can be made in our own");
        std::fs::write(path.join("file"), CONTENT).expect("a file can be made in our own folder");
        Self::of(path)
    }

    fn of(path: PathBuf) -> Self {
        let before = state(&path);
        Self { path, before }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content, owner, mode and time are what they were.
    #[track_caller]
    pub fn assert_untouched(&self, after: impl std::fmt::Display) {
        let file = if self.path.is_dir() { self.path.join("file") } else { self.path.clone() };
        assert_eq!(std::fs::read_to_string(file).expect("it is still there"), CONTENT, "{after}");
        assert_eq!(state(&self.path), self.before, "{after}");
        if self.path.is_dir() {
            assert_eq!(names(&self.path), ["file"], "{after}");
        }
    }
}

fn state(path: &Path) -> (u32, u32, u32, i64, i64) {
    let found = path.symlink_metadata().expect("it is there");
    (found.uid(), found.gid(), found.mode(), found.mtime(), found.mtime_nsec())
}

/// The names in a folder, in order.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("it can be read");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A Redis as earlier versions ran it in a data folder, under the account that owns the folder.
pub struct EarlierRedis {
    pub url: String,
    child: Child,
    socket: PathBuf,
}

impl EarlierRedis {
    pub async fn start(data_dir: &Path) -> Self {
        let owner = data_dir.metadata().expect("it is there");
        let (data, run) = (data_dir.join("redis"), data_dir.join("run"));
        for (folder, mode) in [(&data, 0o700), (&run, 0o711)] {
            std::fs::create_dir_all(folder).expect("it can be made");
            std::fs::set_permissions(folder, Permissions::from_mode(mode)).expect("it is ours");
            chown(folder, Some(owner.uid()), Some(owner.gid())).expect("root can give away a folder");
        }
        let socket = run.join("redis.sock");
        let program = nowserving::local::binaries::redis_server().expect("Redis is installed");
        let mut command = nowserving::local::redis::command(&program, &data, &socket);
        if Uid::effective().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let log = File::create(data_dir.join("redis.log")).expect("a log can be made");
        command.stdout(log.try_clone().expect("it can be cloned")).stderr(log);
        let child = command.spawn().expect("Redis can be started");
        let pid_file = data_dir.join("redis.pid");
        std::fs::write(&pid_file, child.id().to_string()).expect("the pid can be written");
        for file in [pid_file, data_dir.join("redis.log")] {
            chown(file, Some(owner.uid()), Some(owner.gid())).expect("root can give away a file");
        }
        let url = nowserving::local::redis::url(&socket);
        let server = Self { url, child, socket };
        eventually_true(PATIENCE, || async { nowserving::local::redis::ping(&server.socket).await.is_ok() }).await;
        server
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }

    /// Ends it as its daemon would.
    pub fn stop(mut self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// It was ended by another process.
    pub fn assert_ended(mut self) {
        // What was ended is a child of ours until it is waited for.
        let status = self.child.try_wait().expect("it is our child");
        assert!(status.is_some_and(|status| status.success()), "it must have been asked to end: {status:?}");
    }
}

/// Whether a name is there, also as a link that leads nowhere.
pub fn is_there(folder: &Path, name: impl AsRef<OsStr>) -> bool {
    folder.join(Path::new(name.as_ref())).symlink_metadata().is_ok()
}
