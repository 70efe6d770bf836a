//! The real program, run as users run it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nowserving::config::ENV_LUA_FOLDER;

use super::keeper::{self, OnOurDeath};
use super::{Clock, PATIENCE, scratch, shared};

/// How a daemon is started. Without URLs it is in local mode.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// The program: `nowserving`, as it was built with the tests.
    pub program: PathBuf,
    /// The account that it runs under, and its group, where this process is root; None: ours.
    pub account: Option<(u32, u32)>,
    /// The Redis to use; None: a private one.
    pub redis_url: Option<String>,
    /// The database to use; None: a private one.
    pub database_url: Option<String>,
    /// The namespace of its keys.
    pub namespace: String,
    /// The folder of local mode.
    pub data_dir: PathBuf,
    /// More variables, such as `("NOWSERVING_PARTITIONS", "4")`.
    pub environment: Vec<(String, String)>,
    /// More arguments behind `serve`.
    pub arguments: Vec<String>,
}

impl DaemonOptions {
    /// On the shared servers, in a namespace and a database of its own. A clone of it joins the same deployment.
    pub async fn shared() -> Self {
        let mut options = Self::local();
        options.redis_url = Some(shared::redis_url().await);
        options.database_url = Some(shared::fresh_database().await);
        options
    }

    /// As [`DaemonOptions::shared`], with the tables made.
    pub async fn migrated() -> Self {
        let options = Self::shared().await;
        options.migrate();
        options
    }

    /// Makes the tables of the database.
    pub fn migrate(&self) {
        let migrated = self.run("migrate", &[]);
        assert!(migrated.status.success(), "{migrated:?}");
    }

    /// In local mode, in a folder of its own.
    pub fn local() -> Self {
        Self {
            program: env!("CARGO_BIN_EXE_nowserving").into(),
            account: None,
            redis_url: None,
            database_url: None,
            namespace: shared::namespace(),
            data_dir: scratch::folder("d"),
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// With one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// With a clock that can be set.
    #[must_use]
    pub fn with_clock(mut self, clock: &Clock) -> Self {
        self.environment.extend(clock.environment());
        self
    }

    /// The program with a subcommand and these settings, dying with this process; its environment is otherwise empty but
    /// for the folder of scripts that this process reads.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut program = Command::new(&self.program);
        program.arg(subcommand).arg("--data-dir").arg(&self.data_dir);
        let mut wrapped = keeper::wrap(&program, OnOurDeath::Kill);
        // URLs travel in the environment, as passwords should.
        wrapped.env("NOWSERVING_REDIS_URL", self.redis_url.as_deref().unwrap_or_default());
        wrapped.env("NOWSERVING_DATABASE_URL", self.database_url.as_deref().unwrap_or_default());
        wrapped.env("NOWSERVING_REDIS_NAMESPACE", &self.namespace);
        wrapped.env("NO_COLOR", "1").env("RUST_BACKTRACE", "1").current_dir("/").stdin(Stdio::null());
        if let Some(folder) = std::env::var_os(ENV_LUA_FOLDER) {
            wrapped.env(ENV_LUA_FOLDER, folder);
        }
        if let Some((uid, gid)) = self.account {
            wrapped.uid(uid).gid(gid);
        }
        wrapped.envs(self.environment.iter().map(|(name, value)| (name, value)));
        wrapped
    }

    /// Runs a subcommand to its end.
    pub fn run(&self, subcommand: &str, arguments: &[&str]) -> Finished {
        let mut command = self.command(subcommand);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = keeper::spawn(command).expect("setpriv (of util-linux) can be started");
        let output = child.wait_with_output().expect("a child can be waited for");
        Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A program that has ended, and what it said.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its answer.
    pub stdout: String,
    /// Its log and complaints.
    pub stderr: String,
}

/// A running daemon. Dropped while it runs, it is killed, and so are the servers in its data folder.
pub struct Daemon {
    child: Option<Child>,
    url: String,
    data_dir: PathBuf,
    output: Arc<Mutex<String>>,
}

impl Daemon {
    /// Starts one and waits until it listens.
    pub fn start(options: &DaemonOptions) -> Self {
        match Self::try_start(options) {
            Ok(daemon) => daemon,
            Err((status, output)) => panic!("the daemon ended with {status} before it listened:\n{output}"),
        }
    }

    /// As [`Daemon::start`], for a test of what stops it: how it ended, and what it said.
    pub fn try_start(options: &DaemonOptions) -> Result<Self, (ExitStatus, String)> {
        let mut command = options.command("serve");
        if !options.arguments.iter().any(|argument| argument == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(&options.arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = keeper::spawn(command).expect("setpriv (of util-linux) can be started");
        let output = Arc::new(Mutex::new(String::new()));
        let (found, address) = channel();
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        follow(stdout, output.clone(), found.clone());
        follow(stderr, output.clone(), found);
        let mut daemon = Self { child: Some(child), url: String::new(), data_dir: options.data_dir.clone(), output };
        match address.recv_timeout(PATIENCE * 2) {
            Ok(url) => daemon.url = url,
            // Both ends are closed.
            Err(RecvTimeoutError::Disconnected) => return Err((daemon.wait(), daemon.output())),
            Err(RecvTimeoutError::Timeout) => panic!("the daemon does not listen:\n{}", daemon.output()),
        }
        Ok(daemon)
    }

    /// Such as `http://127.0.0.1:40123`; with TLS `https`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All that it has said so far.
    pub fn output(&self) -> String {
        self.output.lock().expect("no holder panics").clone()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it has not ended").id()
    }

    /// Ends it as a crash would. In local mode its servers stay: a later start adopts them, or else the next run of the
    /// tests ends them.
    pub fn kill9(mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Asks it to end, and waits: how it ended, and all that it said.
    pub fn terminate(mut self) -> (ExitStatus, String) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        (status, self.output())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("pids are small");
        // It is a child that was not waited for, so the pid is its own.
        kill(Pid::from_raw(pid), signal).expect("a child can be signalled");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it has not ended");
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return status;
            }
            if start.elapsed() > PATIENCE * 2 {
                child.kill().ok();
                panic!("the daemon does not end:\n{}", self.output());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
            if std::thread::panicking() {
                eprintln!("what the daemon at {} said:\n{}", self.url, self.output());
            }
            scratch::end_servers_under(&self.data_dir);
        }
    }
}

/// Collects what it says, and finds the address.
fn follow(pipe: impl Read + Send + 'static, output: Arc<Mutex<String>>, found: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some((_, url)) = line.split_once("listening on ") {
                let end = url.find(|c: char| !(c.is_ascii_alphanumeric() || ".:/[]-".contains(c)));
                found.send(url[..end.unwrap_or(url.len())].to_owned()).ok();
            }
            let mut output = output.lock().expect("no holder panics");
            output.push_str(&line);
            output.push('\n');
        }
    });
}
