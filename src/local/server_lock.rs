//! The lock of a server's data, which outlives the daemon as long as anything does that might write there.
//!
//! A server, or an `initdb`, inherits the locked file as its standard input. It passes it on to the processes that it
//! forks, such as the workers of Postgres. So the lock is free when the last of them has ended, in whichever order they
//! die. A start after a crash need not guess from pid files.
//!
//! An exception is the bootstrap process of `initdb`: its standard input is a pipe from `initdb`, which holds the lock.
//! If `initdb` alone is killed, its bootstrap process does not hold the lock; it ends when it finds that pipe closed.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

use super::{LocalError, dir::Dir};

/// How long the remains of an earlier run may take to end. An initdb takes seconds on a quick machine.
const FREE_WITHIN: Duration = Duration::from_secs(60);
/// How often a long wait says that it goes on.
const NOTE_EVERY: Duration = Duration::from_secs(5);

/// The held lock of a server's data.
#[derive(Debug)]
pub(super) struct ServerLock(File);

impl ServerLock {
    /// What a child gets as its standard input, to hold the lock for as long as it lives.
    pub(crate) fn inherited(&self) -> std::io::Result<Stdio> {
        Ok(self.0.try_clone()?.into())
    }
}

/// Waits for the lock of a server's data.
pub(super) struct Waiting<'a> {
    folder: &'a Dir,
    /// The lock file.
    name: &'static str,
    server: &'static str,
    since: Instant,
    within: Duration,
    note_at: Instant,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(folder: &'a Dir, name: &'static str, server: &'static str) -> Self {
        let since = Instant::now();
        Self { folder, name, server, since, within: FREE_WITHIN, note_at: since + NOTE_EVERY }
    }

    /// Waits until nothing that an earlier run started is at work on the data.
    pub(crate) async fn finish(mut self) -> Result<ServerLock, LocalError> {
        loop {
            if let Some(lock) = self.try_once().await? {
                return Ok(lock);
            }
        }
    }

    /// Tries once, and pauses if something of an earlier run is at work; an error when that has gone on for too long.
    pub(crate) async fn try_once(&mut self) -> Result<Option<ServerLock>, LocalError> {
        if let Some(file) = self.folder.try_lock(self.name)? {
            return Ok(Some(ServerLock(file)));
        }
        if self.since.elapsed() >= self.within {
            return Err(LocalError::StillAtWork {
                server: self.server,
                folder: self.folder.path().to_owned(),
                seconds: self.within.as_secs(),
                who: holders(&self.folder.join(self.name)),
            });
        }
        if Instant::now() >= self.note_at {
            self.note_at += NOTE_EVERY;
            info!(
                server = self.server,
                waited_seconds = self.since.elapsed().as_secs(),
                "waiting until the processes of an earlier run have ended: {}",
                holders(&self.folder.join(self.name))
            );
        }
        sleep(Duration::from_millis(20)).await;
        Ok(None)
    }
}

/// The processes that have a file open, for a message.
fn holders(path: &Path) -> String {
    let Ok(file) = path.symlink_metadata() else { return "unknown processes".to_owned() };
    let entries = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    let pids = entries("/proc".into()).filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let mut open =
            entries(format!("/proc/{pid}/fd").into()).filter_map(|entry| std::fs::metadata(entry.path()).ok());
        *pid != std::process::id() && open.any(|open| (open.dev(), open.ino()) == (file.dev(), file.ino()))
    };
    let name = |pid: u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("process {pid}, {}", name.trim())
    };
    let found: Vec<String> = pids.filter(holds).map(name).collect();
    if found.is_empty() { "processes that cannot be seen from here".to_owned() } else { found.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::trust;

    #[tokio::test]
    async fn a_child_keeps_the_lock_for_as_long_as_it_lives() {
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let folder = trust::make(temp.path(), 0o700).expect("it is ours");
        let lock = Waiting::new(&folder, "x.lock", "Redis").finish().await.expect("it is free");
        // The grandchild outlives its parent.
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", "exec 3<&0; sleep 60 <&3 & echo $!"]).stdin(lock.inherited().expect("it can be cloned"));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a shell can be started");
        drop((command, lock));
        let mut line = String::new();
        let mut reader = std::io::BufReader::new(child.stdout.take().expect("it is piped"));
        std::io::BufRead::read_line(&mut reader, &mut line).expect("it prints a line");
        child.wait().expect("it is our child");
        let pid: i32 = line.trim().parse().expect("it printed a pid");
        let mut waiting = Waiting::new(&folder, "x.lock", "Redis");
        assert!(waiting.try_once().await.expect("it can be tried").is_none());
        let who = holders(&folder.join("x.lock"));
        assert!(who.starts_with(&format!("process {pid}, ")), "{pid}: {who}");
        let impatient = Waiting { within: Duration::ZERO, ..Waiting::new(&folder, "x.lock", "Redis") };
        let error = impatient.finish().await.expect_err("it is held").to_string();
        assert!(error.contains("an earlier run started for Redis still work") && error.contains(&who), "{error}");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("it runs");
        waiting.finish().await.expect("nothing holds it any more");
        assert_eq!(holders(&folder.join("x.lock")), "processes that cannot be seen from here");
    }
}
