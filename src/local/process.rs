//! A server's process: a child of ours, or one that an earlier run left behind.
//!
//! A process is only ever signalled by a pid that was verified to be the server it is taken for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// How to recognise a server among the processes: pids are used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// What the first word of its command line contains.
    pub program: &'static str,
    /// A path that no other server's command line has.
    pub path: String,
}

impl Mark {
    /// Whether a live process is the server.
    pub fn fits(&self, pid: i32) -> bool {
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
        // Redis and Postgres rewrite their command line, so words may be parted by NULs or by spaces.
        let line = String::from_utf8_lossy(&line);
        let first = line.split(['\0', ' ']).next().unwrap_or_default();
        first.contains(self.program) && line.contains(&self.path)
    }
}

/// A running server. Dropped without [`Process::end`] it is asked to stop, since nobody would watch it any more.
pub(super) struct Process {
    pid: i32,
    child: Option<Child>,
    mark: Mark,
    gentle: Signal,
    ended: bool,
}

impl Process {
    /// Starts a server in a process group of its own (Ctrl-C in a terminal must not reach it before the daemon has
    /// drained), with its output at the end of a log file.
    pub fn start(mut command: Command, log: &Path, mark: Mark, gentle: Signal) -> io::Result<Self> {
        let log = open_log(log)?;
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
        let child = tokio::process::Command::from(command).spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        Ok(Self { pid, child: Some(child), mark, gentle, ended: false })
    }

    /// Takes over a server that an earlier run left; None when the process is not that server.
    pub fn adopt(pid: i32, mark: Mark, gentle: Signal) -> Option<Self> {
        mark.fits(pid).then_some(Self { pid, child: None, mark, gentle, ended: false })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until it has ended, and says how.
    pub async fn ended(&mut self) -> String {
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
    pub async fn end(mut self, server: &str, patience: Duration, harder: &[Signal]) {
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
        if !self.ended && ours && self.pid > 1 {
            // An error means that it has just ended.
            kill(Pid::from_raw(self.pid), signal).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(self.gentle);
    }
}

/// Opens a log to append to; one that has grown large is put aside first.
fn open_log(path: &Path) -> io::Result<File> {
    const LARGE_BYTES: u64 = 16 << 20;
    if path.metadata().is_ok_and(|log| log.len() > LARGE_BYTES) {
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// The last few lines of a log, as one line.
pub(super) fn tail(path: &Path) -> String {
    const LINES: usize = 6;
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(4096);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|error| format!("(cannot be read: {error})"));
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" | ")
}
