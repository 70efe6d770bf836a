//! A server's process: a child of ours, or one that an earlier run left behind.
//!
//! A process is only ever signalled by a pid that was verified to be the server it is taken for.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::fs::OFlags;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{LocalError, dir::Dir, server_lock::ServerLock};

/// How to recognise a server among the processes: pids are used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// The name of its program.
    pub program: &'static str,
    /// A path that no other server's command line has.
    pub path: String,
    /// The account that it runs under.
    pub uid: u32,
}

impl Mark {
    /// Whether a live process is the server.
    pub(crate) fn fits(&self, pid: i32) -> bool {
        let read = |name| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        self.fits_line(&String::from_utf8_lossy(&read("cmdline")))
            && uid_of(&String::from_utf8_lossy(&read("status"))) == Some(self.uid)
    }

    /// Redis and Postgres rewrite their command line, so words may be parted by NULs or by spaces.
    fn fits_line(&self, line: &str) -> bool {
        let first = line.split(['\0', ' ']).next().unwrap_or_default();
        let is_program = first.rsplit('/').next() == Some(self.program);
        let mut paths = line.match_indices(&self.path);
        is_program
            && paths.any(|(at, path)| line[at + path.len()..].chars().next().is_none_or(|c| c == '\0' || c == ' '))
    }
}

/// The effective account of `/proc/<pid>/status`.
fn uid_of(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

/// A running server. Dropped without [`Process::end`] it is asked to stop, since nothing would watch it any more.
pub(super) struct Process {
    pid: i32,
    child: Option<Child>,
    /// Stands for the process and no other that gets its pid; None for a child, whose pid is kept until it is waited
    /// for, and on a kernel without such a thing.
    handle: Option<OwnedFd>,
    mark: Mark,
    gentle: Signal,
    ended: bool,
}

impl Process {
    /// Starts a server in a process group of its own, with its output at the end of a log file: Ctrl-C in a terminal
    /// must not reach it before the daemon has drained. It keeps the lock of its data.
    pub(crate) fn start(
        mut command: Command,
        lock: &ServerLock,
        log: File,
        mark: Mark,
        gentle: Signal,
    ) -> io::Result<Self> {
        command.process_group(0).stdin(lock.inherited()?).stdout(log.try_clone()?).stderr(log).current_dir("/");
        let child = tokio::process::Command::from(command).spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        Ok(Self { pid, child: Some(child), handle: None, mark, gentle, ended: false })
    }

    /// Takes over a server that an earlier run left; None when the process is not that server.
    pub(crate) fn adopt(pid: i32, mark: Mark, gentle: Signal) -> Option<Self> {
        // First the handle, then the look: so what was looked at is what the handle stands for, unless it is dead.
        let number = rustix::process::Pid::from_raw(pid.max(0)).filter(|_| pid > 1)?;
        let handle = pidfd_open(number, PidfdFlags::empty()).ok();
        mark.fits(pid).then_some(Self { pid, child: None, handle, mark, gentle, ended: false })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until it has ended, and says how.
    pub(crate) async fn ended(&mut self) -> String {
        let how = match &mut self.child {
            Some(child) => child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string()),
            None => {
                while self.mark.fits(self.pid) {
                    sleep(Duration::from_millis(50)).await;
                }
                "it was not our child, so no status is known".to_owned()
            }
        };
        self.ended = true;
        how
    }

    /// Ends it: asks gently, then with each harder signal when its time is over.
    pub(crate) async fn end(mut self, server: &str, patience: Duration, harder: &[Signal]) {
        self.signal(self.gentle);
        if timeout(patience, self.ended()).await.is_ok() {
            return;
        }
        for &signal in harder {
            warn!(server, pid = self.pid, %signal, "the private server does not stop: insisting");
            self.signal(signal);
            if timeout(Duration::from_secs(5), self.ended()).await.is_ok() {
                return;
            }
        }
        warn!(server, pid = self.pid, "the private server could not be stopped");
    }

    fn signal(&self, signal: Signal) {
        // A child that was not waited for keeps its pid; any other has to prove itself each time.
        let ours = self.child.as_ref().is_some_and(|child| child.id().is_some()) || self.mark.fits(self.pid);
        if self.ended || !ours {
            return;
        }
        // An error means that it has just ended.
        match (&self.handle, rustix::process::Signal::from_named_raw(signal as i32)) {
            (Some(handle), Some(signal)) => pidfd_send_signal(handle, signal).unwrap_or_default(),
            _ => kill(Pid::from_raw(self.pid), signal).unwrap_or_default(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(self.gentle);
    }
}

/// Leaves nothing of our environment but the PATH: PGDATA, PGPORT and their kin are for the user's own servers, and
/// what is secret in ours is not for the servers' account to see.
pub(super) fn clean_environment(command: &mut Command) {
    command.env_clear().env("LC_ALL", "C");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
}

/// A child in a process group of its own, which is killed as a whole when this is dropped before it has ended.
pub(super) struct Group(Child);

impl Group {
    /// Its output is collected.
    pub(crate) fn spawn(mut command: Command) -> io::Result<Self> {
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(tokio::process::Command::from(command).spawn()?))
    }

    /// Waits until it has ended.
    pub(crate) async fn output(mut self) -> io::Result<Output> {
        async fn all(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).await?;
            }
            Ok(bytes)
        }
        let (stdout, stderr) = tokio::try_join!(all(self.0.stdout.take()), all(self.0.stderr.take()))?;
        Ok(Output { status: self.0.wait().await?, stdout, stderr })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // None once it was waited for; until then no other group gets its number.
        if let Some(pid) = self.0.id().and_then(|pid| i32::try_from(pid).ok()) {
            // An error means that it has just ended.
            killpg(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

/// Opens a log to append to; one that has grown large is renamed first.
pub(super) fn open_log(folder: &Dir, name: &str) -> Result<File, LocalError> {
    const LARGE_BYTES: u64 = 16 << 20;
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    let log = folder.open(name, flags)?;
    if log.metadata().is_ok_and(|log| log.len() > LARGE_BYTES) {
        folder.rename(name, &format!("{name}.old"))?;
        return folder.open(name, flags);
    }
    Ok(log)
}

/// The last few lines of a log, as one line.
pub(super) fn tail(folder: &Dir, name: &str) -> String {
    const LINES: usize = 6;
    let read = |mut log: File| -> io::Result<String> {
        let start = log.metadata()?.len().saturating_sub(4096);
        log.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = match folder.open(name, OFlags::RDONLY) {
        Ok(log) => read(log).unwrap_or_else(|error| format!("(cannot be read: {error})")),
        Err(error) => format!("({error})"),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both servers rewrite the memory that `/proc/<pid>/environ` shows, so what they are started with is looked at here.
    #[test]
    fn servers_get_nothing_of_our_environment_but_the_path() {
        use crate::local::{postgres, redis};
        use std::os::unix::fs::PermissionsExt;

        assert!(std::env::vars_os().any(|(name, _)| name != "PATH" && name != "LC_ALL"), "nothing could be left out");
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let program = temp.path().join("server");
        std::fs::write(&program, "#!/bin/sh\nexec env\n").expect("a file can be made");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let place = temp.path();
        for mut command in [
            redis::command(&program, place, place),
            postgres::command(&program, place, place, postgres::Durability::Kept),
        ] {
            let output = loop {
                match command.output() {
                    // Another test has forked while the file was open.
                    Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                    output => break output.expect("a shell is there"),
                }
            };
            let text = String::from_utf8_lossy(&output.stdout);
            let mut names: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
            // What shells set themselves.
            names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
            names.sort_unstable();
            assert_eq!(names, ["LC_ALL", "PATH"], "{command:?}");
        }
    }

    #[test]
    fn only_the_very_server_fits() {
        let mark = |program, path: &str| Mark { program, path: path.to_owned(), uid: 0 };
        let postgres = mark("postgres", "/srv/ns/postgres");
        let redis = mark("redis-server", "/srv/ns/run/redis/redis.sock");
        for line in ["/usr/bin/postgres\0-D\0/srv/ns/postgres\0-c\0x=y\0", "postgres\0-D\0/srv/ns/postgres"] {
            assert!(postgres.fits_line(line), "{line:?}");
        }
        for line in [
            "redis-server unixsocket:/srv/ns/run/redis/redis.sock",
            "/usr/bin/redis-server unixsocket:/srv/ns/run/redis/redis.sock\0\0\0",
            "redis-server\0--port\x000\0--unixsocket\0/srv/ns/run/redis/redis.sock\0--dir\0/srv/ns/redis\0",
        ] {
            assert!(redis.fits_line(line), "{line:?}");
        }
        for line in [
            "",
            "/usr/bin/postgres\0-D\0/srv/ns/postgres2\0",
            "/usr/lib/postgresql/15/bin/pg_dump\0-f\0/srv/ns/postgres\0",
            "postgres: nowserving nowserving [local] idle",
            "redis-server unixsocket:/srv/ns/run/redis/redis.sock.old",
            "redis-cli\0-s\0/srv/ns/run/redis/redis.sock\0",
            "vim\0redis-server\0/srv/ns/run/redis/redis.sock\0",
        ] {
            assert!(!postgres.fits_line(line) && !redis.fits_line(line), "{line:?}");
        }
    }

    #[test]
    fn the_account_of_a_process_counts() {
        let status = std::fs::read_to_string("/proc/self/status").expect("there is one");
        assert_eq!(uid_of(&status), Some(super::super::account::me()));
        assert_eq!(uid_of("Name:\tx\nUid:\t1\t2\t3\t4\n"), Some(2));
        assert_eq!(uid_of(""), None);
    }
}
