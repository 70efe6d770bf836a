//! A Redis and a Postgres that belong to one test, to be broken and mended.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nowserving::local::account::Account;
use nowserving::local::postgres::Durability;
use nowserving::local::{binaries, postgres, redis};
use tokio::time::sleep;

use super::keeper::{self, OnOurDeath};
use super::{Clock, PATIENCE, scratch};

/// A Redis with an append-only file, on a socket.
pub struct OwnRedis {
    program: PathBuf,
    folder: PathBuf,
    extra: Vec<String>,
    clock: Option<Clock>,
    process: Option<Running>,
}

impl OwnRedis {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with more arguments, such as `["--maxmemory", "8mb"]`.
    pub async fn start_with(extra: &[&str]) -> Self {
        let program = binaries::redis_server().expect("Redis is installed: `make test` sees to it");
        Self::start_program(program, extra).await
    }

    /// Starts one that replicas can follow: on a port of this machine, too.
    pub async fn start_master(extra: &[&str]) -> Self {
        let port = free_port().to_string();
        let mut arguments = vec!["--bind", "127.0.0.1", "--port", &port, "--repl-diskless-sync-delay", "0"];
        arguments.extend(extra);
        Self::start_with(&arguments).await
    }

    /// Starts a replica of this one, and waits until it follows.
    pub async fn start_replica(&self) -> Self {
        let port = self.extra.get(3).expect("it was started as a master");
        let replica = Self::start_with(&["--replicaof", "127.0.0.1", port]).await;
        super::eventually_true(PATIENCE, || async {
            self.info("slave0").await.is_some_and(|replica| replica.contains("state=online"))
        })
        .await;
        replica
    }

    /// Starts one that is not the Redis of this machine.
    pub async fn start_program(program: PathBuf, extra: &[&str]) -> Self {
        Self::make(program, extra, None).await
    }

    async fn make(program: PathBuf, extra: &[&str], clock: Option<Clock>) -> Self {
        let extra = extra.iter().map(|&text| text.to_owned()).collect();
        let mut server = Self { program, folder: scratch::folder("redis"), extra, clock, process: None };
        server.restart().await;
        server
    }

    /// As [`OwnRedis::start_with`], one that has this clock.
    pub async fn start_with_clock(clock: &Clock, extra: &[&str]) -> Self {
        let program = binaries::redis_server().expect("Redis is installed: `make test` sees to it");
        Self::make(program, extra, Some(clock.clone())).await
    }

    /// What it tells of itself under a name.
    pub async fn info(&self, name: &str) -> Option<String> {
        let info = ::redis::cmd("INFO").arg("everything").query_async(&mut self.connect().await).await;
        info.map(|info: ::redis::InfoDict| info.get(name)).expect("the server answers")
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        redis::url(&self.socket())
    }

    /// A connection to it, for what the daemon would never do.
    pub async fn connect(&self) -> ::redis::aio::MultiplexedConnection {
        let client = ::redis::Client::open(self.url()).expect("a valid URL");
        client.get_multiplexed_async_connection().await.expect("the server answers")
    }

    /// Ends it if it runs, and starts it on the same data.
    pub async fn restart(&mut self) {
        self.stop();
        let mut command = redis::command(&self.program, &self.folder, &self.socket());
        command.args(&self.extra);
        let mut wrapped = keeper::wrap(&command, OnOurDeath::Kill);
        wrapped.envs(self.clock.iter().flat_map(Clock::environment));
        let mut process = Running::start(wrapped, &self.folder.join("log"));
        let start = Instant::now();
        while redis::ping(&self.socket()).await.is_err() {
            process.assert_alive(start);
            sleep(Duration::from_millis(10)).await;
        }
        self.process = Some(process);
    }

    /// Deletes its data; it must be stopped. This is what a lost disk looks like.
    pub fn lose_data(&self) {
        assert!(self.process.is_none(), "stop it first");
        std::fs::remove_dir_all(self.folder.join("appendonlydir")).expect("the data can be deleted");
    }

    /// Ends it in peace.
    pub fn stop(&mut self) {
        end(&mut self.process, Signal::SIGTERM);
    }

    /// Ends it as a crash would.
    pub fn kill9(&mut self) {
        end(&mut self.process, Signal::SIGKILL);
    }

    /// Makes it hang until [`OwnRedis::resume`].
    pub fn pause(&self) {
        signal(&self.process, Signal::SIGSTOP);
    }

    /// Ends the hanging.
    pub fn resume(&self) {
        signal(&self.process, Signal::SIGCONT);
    }

    /// Its socket, for a proxy before it.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// Its process; it must run.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").child.id()
    }

    /// The folder of its append-only file, for what the disk does to it.
    pub fn append_only_folder(&self) -> PathBuf {
        self.folder.join("appendonlydir")
    }
}

/// Many daemons at a time share it, each with connections of its own.
const MANY_CLIENTS: &str = "max_connections=300";

/// A Postgres on a socket that, save where it is asked to, keeps nothing over a power loss.
pub struct OwnPostgres {
    program: PathBuf,
    account: Option<Account>,
    folder: PathBuf,
    durability: Durability,
    extra: Vec<String>,
    clock: Option<Clock>,
    process: Option<Running>,
}

/// What a Postgres needs to be reached over TLS, and over nothing else but its socket.
pub struct Tls<'a> {
    /// A loopback address that nobody else listens on: 127.a.b.c.
    pub address: &'a str,
    /// Its certificate, as PEM.
    pub certificate: &'a str,
    /// The key of that.
    pub key: &'a str,
}

impl OwnPostgres {
    /// Makes a cluster and starts it.
    pub async fn start() -> Self {
        Self::make(Durability::Disposable, None, None).await
    }

    /// As [`OwnPostgres::start`], with this clock.
    pub async fn start_with_clock(clock: &Clock) -> Self {
        Self::make(Durability::Disposable, None, Some(clock)).await
    }

    /// Makes one as the daemon's local mode does, whose commits survive a power loss.
    pub async fn start_durable() -> Self {
        Self::make(Durability::Kept, None, None).await
    }

    /// As [`OwnPostgres::start`]; it also listens at an address, with TLS.
    pub async fn start_with_tls(tls: &Tls<'_>) -> Self {
        Self::make(Durability::Disposable, Some(tls), None).await
    }

    async fn make(durability: Durability, tls: Option<&Tls<'_>>, clock: Option<&Clock>) -> Self {
        let binaries = binaries::postgres(None).expect("Postgres is installed: `make test` sees to it");
        let account = Account::ordinary();
        let folder = scratch::folder("pg");
        for name in ["data", "run"] {
            let part = folder.join(name);
            std::fs::create_dir(&part).expect("a folder can be made in our own");
            if let Some(account) = &account {
                account.give(File::open(&part).expect("it is there")).expect("root can give away a folder");
            }
        }
        let data = folder.join("data");
        postgres::initdb(&binaries, account.as_ref(), &data, durability).await.expect("initdb works");
        let (program, clock) = (binaries.postgres, clock.cloned());
        let mut server = Self {
            program,
            account,
            folder,
            durability,
            extra: vec!["-c".into(), MANY_CLIENTS.into()],
            clock,
            process: None,
        };
        if let Some(tls) = tls {
            server.use_tls(&data, tls);
        }
        server.restart().await;
        server
    }

    /// The port stays that of the socket: it is the address that is its own.
    fn use_tls(&mut self, data: &Path, tls: &Tls<'_>) {
        for (name, text) in [("server.crt", tls.certificate), ("server.key", tls.key)] {
            let file = data.join(name);
            std::fs::write(&file, text).expect("a file can be made in our own folder");
            std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
            if let Some(account) = &self.account {
                account.give(File::open(&file).expect("it is there")).expect("root can give away a file");
            }
        }
        let rules = "local all all trust\nhostssl all all 127.0.0.0/8 trust\n";
        std::fs::write(data.join("pg_hba.conf"), rules).expect("initdb made it");
        let extra = ["-c".into(), "ssl=on".into(), "-c".into(), format!("listen_addresses={}", tls.address)];
        self.extra.extend(extra);
    }

    /// Where clients find one of its databases; `postgres` is always there.
    pub fn url(&self, database: &str) -> String {
        postgres::url(&self.sockets(), database)
    }

    /// Ends it if it runs, and starts it on the same data.
    pub async fn restart(&mut self) {
        self.stop();
        let data = self.folder.join("data");
        let mut command = postgres::command(&self.program, &data, &self.sockets(), self.durability);
        command.args(&self.extra);
        let start = Instant::now();
        loop {
            let mut wrapped = keeper::wrap(&command, OnOurDeath::Interrupt);
            wrapped.envs(self.clock.iter().flat_map(Clock::environment));
            if let Some(account) = &self.account {
                account.apply(&mut wrapped);
            }
            let mut process = Running::start(wrapped, &self.folder.join("log"));
            while process.is_alive() {
                if postgres::ping(&self.sockets(), "postgres").await.is_ok() {
                    self.process = Some(process);
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
            // After a kill the old backends need a moment to notice it.
            assert!(start.elapsed() < PATIENCE, "Postgres does not start: {}", process.log());
        }
    }

    /// Ends it in peace.
    pub fn stop(&mut self) {
        end(&mut self.process, Signal::SIGINT);
    }

    /// Ends it at once, as a crash would: the next start replays its log.
    pub fn immediate(&mut self) {
        end(&mut self.process, Signal::SIGQUIT);
    }

    /// A new, empty database, and its URL.
    pub async fn create_database(&self, name: &str) -> String {
        use sqlx::{Connection, Executor};
        let mut connection = sqlx::PgConnection::connect(&self.url("postgres")).await.expect("Postgres answers");
        let statement = format!("CREATE DATABASE {name}");
        connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("a database can be made");
        connection.close().await.expect("the connection can be closed");
        self.url(name)
    }

    /// Its first process, the parent of all others; it must run.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").child.id()
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its socket, for a proxy before it.
    pub fn socket(&self) -> PathBuf {
        self.sockets().join(".s.PGSQL.5432")
    }

    /// The folder of its socket, for a pooler before it.
    pub fn sockets(&self) -> PathBuf {
        self.folder.join("run")
    }
}

/// A pgbouncer before a Postgres, in transaction mode, on a socket.
pub struct PgBouncer {
    program: PathBuf,
    account: Option<Account>,
    folder: PathBuf,
    process: Option<Running>,
}

impl PgBouncer {
    /// Starts one that has so many servers for all its clients.
    pub async fn start(postgres: &OwnPostgres, pool_size: u32) -> Self {
        // It refuses to be root as well, and gets at the socket as the account of Postgres.
        let account = Account::ordinary();
        let folder = scratch::folder("pgb");
        let run = folder.join("run");
        std::fs::create_dir(&run).expect("a folder can be made in our own");
        if let Some(account) = &account {
            account.give(File::open(&run).expect("it is there")).expect("root can give away a folder");
        }
        let users = folder.join("users");
        std::fs::write(&users, "\"nowserving\" \"\"\n\"nowserving_app\" \"\"\n")
            .expect("a file can be made in our own folder");
        // The rest is as it comes: what needs a setting there is a bug here.
        let settings = format!(
            "[databases]\n* = host={} port=5432\n[pgbouncer]\npool_mode = transaction\ndefault_pool_size = {pool_size}\n\
             listen_addr =\nlisten_port = 5432\nunix_socket_dir = {}\nauth_type = trust\nauth_file = {}\n\
             stats_users = nowserving\nserver_login_retry = 1\n",
            postgres.sockets().display(),
            run.display(),
            users.display()
        );
        std::fs::write(folder.join("settings"), settings).expect("a file can be made in our own folder");
        let program = program("pgbouncer").expect("pgbouncer is installed: `make test` sees to it");
        let mut server = Self { program, account, folder, process: None };
        server.restart().await;
        server
    }

    /// Where clients find one of the databases of the Postgres behind it; `pgbouncer` is its own.
    pub fn url(&self, database: &str) -> String {
        postgres::url(&self.folder.join("run"), database)
    }

    /// A connection through it.
    pub async fn connect(&self, database: &str) -> Result<sqlx::PgConnection, sqlx::Error> {
        use sqlx::ConnectOptions;
        let options: sqlx::postgres::PgConnectOptions = self.url(database).parse().expect("a valid URL");
        options.extra_float_digits(None).connect().await
    }

    /// Ends it at once if it runs, with all connections through it, and starts it.
    pub async fn restart(&mut self) {
        end(&mut self.process, Signal::SIGKILL);
        let mut command = Command::new(&self.program);
        command.arg(self.folder.join("settings"));
        let mut wrapped = keeper::wrap(&command, OnOurDeath::Kill);
        if let Some(account) = &self.account {
            account.apply(&mut wrapped);
        }
        let mut process = Running::start(wrapped, &self.folder.join("log"));
        let start = Instant::now();
        while self.connect("postgres").await.is_err() {
            process.assert_alive(start);
            sleep(Duration::from_millis(10)).await;
        }
        self.process = Some(process);
    }
}

/// Finds a program that nowserving itself never runs.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill9();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        end(&mut self.process, Signal::SIGKILL);
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        self.immediate();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A port that nobody uses just now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("some port is free");
    listener.local_addr().expect("it is bound").port()
}

/// A child and the file that its output goes to.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log can be made in our own folder");
        let second = file.try_clone().expect("a file can be opened twice");
        command.stdin(Stdio::null()).stdout(file).stderr(second).current_dir("/");
        let child = keeper::spawn(command).expect("setpriv (of util-linux) can be started");
        Self { child, log: log.to_owned() }
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    fn assert_alive(&mut self, since: Instant) {
        assert!(self.is_alive(), "the server died: {}", self.log());
        assert!(since.elapsed() < PATIENCE, "the server is not ready: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn end(process: &mut Option<Running>, how: Signal) -> Option<ExitStatus> {
    signal(process, how);
    // One that was paused heeds nothing else.
    signal(process, Signal::SIGCONT);
    process.take().map(|mut process| process.child.wait().expect("a child can be waited for"))
}

fn signal(process: &Option<Running>, signal: Signal) {
    if let Some(process) = process {
        let pid = i32::try_from(process.child.id()).expect("pids are small");
        // It is a child that was not waited for, so the pid is its own, also when it has just ended.
        kill(Pid::from_raw(pid), signal).ok();
    }
}
