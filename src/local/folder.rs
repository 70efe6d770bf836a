//! The data folder: its lock, and where everything in it stands.
//!
//! ```text
//! .nowserving/      this account's, and no other one can write to it
//!   lock            held by the process that owns the servers; says who that is
//!   redis/          the append-only file, or a link to it where the servers' account cannot get in here
//!   redis.lock      held by a Redis, and by what it forks, while any of them lives
//!   redis.pid       the last Redis that was started
//!   postgres/       the cluster, or a link to it where the servers' account cannot get in here
//!   postgres.lock   held by a Postgres and what it forks, or by an initdb, while any of them lives
//!   elsewhere       a link to the folder that holds what cannot be here: see `place`
//!   run/            the sockets, unless that makes their paths too long
//!   redis.log, postgres.log
//! ```

use std::io::{Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::{
    LocalError, Needs,
    account::{self, Account},
    dir::{Dir, Kind, remove_empty},
    trust::{self, Owner},
};

/// A unix socket's path has 107 bytes on Linux; this is the longest that a server adds to its folder.
const LONGEST_SOCKET_FOLDER: usize = 107 - "/postgres/.s.PGSQL.5432".len();
const LOCK: &str = "lock";
/// The entry of the sockets' folders.
const RUN: &str = "run";
/// How long a holder that is about to end, or to say which process it is, is waited for.
const HOLDER_WITHIN: Duration = Duration::from_secs(1);

/// The entry of Redis in the data folder, and in its sockets' folder.
pub(super) const REDIS: &str = "redis";
/// The entry of Postgres, likewise.
pub(super) const POSTGRES: &str = "postgres";

/// An open data folder. Where things stand in it follows from it alone, so that every process finds the same places.
#[derive(Debug, Clone)]
pub(super) struct DataFolder {
    pub dir: Dir,
}

/// What the lock file says about its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub pid: String,
    pub command: String,
    pub needs: Needs,
}

/// The held lock: released when dropped.
pub(super) struct Lock {
    _file: std::fs::File,
}

impl DataFolder {
    /// One that exists; None where there is none. One that others could change is an error.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, LocalError> {
        Ok(trust::open(path)?.map(|dir| Self { dir }))
    }

    /// As [`DataFolder::open`], making the folder where it is missing.
    pub(crate) fn make(path: &Path) -> Result<Self, LocalError> {
        Ok(Self { dir: trust::make(path, shared_mode())? })
    }

    pub(crate) fn redis_socket(&self) -> Result<PathBuf, LocalError> {
        Ok(self.sockets(REDIS)?.join("redis.sock"))
    }

    pub(crate) fn postgres_sockets(&self) -> Result<PathBuf, LocalError> {
        self.sockets(POSTGRES)
    }

    /// Where the Redis of an earlier version listened: beside the folders of today.
    pub(crate) fn earlier_redis_socket(&self) -> PathBuf {
        self.run(false).join("redis.sock")
    }

    /// The folder of a server's sockets.
    fn sockets(&self, server: &str) -> Result<PathBuf, LocalError> {
        Ok(self.run(self.is_elsewhere(server)?).join(server))
    }

    /// Whether a server's data stands outside of the data folder.
    fn is_elsewhere(&self, server: &str) -> Result<bool, LocalError> {
        Ok(matches!(self.dir.kind(server)?, Kind::Link(_)))
    }

    /// Makes the folder of a server's sockets, for the account that it runs under.
    pub(crate) fn make_sockets(&self, server: &str, account: Option<&Account>) -> Result<Dir, LocalError> {
        let path = self.run(self.is_elsewhere(server)?);
        let run = if path == self.dir.join(RUN) {
            trust::judge(self.dir.make_folder(RUN, shared_mode())?, Owner::Us)?
        } else {
            // Another account could have made it before us, which is refused here.
            trust::make(&path, shared_mode())?
        };
        let sockets = run.make_folder(server, 0o700)?;
        sockets.give(account)?;
        trust::judge(sockets, Owner::UsOrServer)
    }

    /// The folder of the sockets' folders, for a server whose data stands elsewhere or not; None where there is none.
    /// A client opens it before it connects, so that it does not take another account's sockets for ours.
    fn open_run(&self, elsewhere: bool) -> Result<Option<Dir>, LocalError> {
        let path = self.run(elsewhere);
        if path != self.dir.join(RUN) {
            return trust::open(&path);
        }
        match self.dir.kind(RUN)? {
            Kind::Missing => Ok(None),
            _ => trust::judge(self.dir.folder(RUN)?, Owner::Us).map(Some),
        }
    }

    /// Whether a server's sockets can be where they belong.
    pub(crate) fn has_sockets(&self, server: &str) -> Result<bool, LocalError> {
        let Some(run) = self.open_run(self.is_elsewhere(server)?)? else { return Ok(false) };
        if run.kind(server)? == Kind::Missing {
            return Ok(false);
        }
        trust::judge(run.folder(server)?, Owner::UsOrServer)?;
        Ok(true)
    }

    /// The folder of [`DataFolder::earlier_redis_socket`].
    pub(crate) fn open_earlier_run(&self) -> Result<Option<Dir>, LocalError> {
        self.open_run(false)
    }

    /// Removes what [`DataFolder::make_sockets`] made under /tmp, once it is empty.
    pub(crate) fn remove_sockets(&self) {
        for path in [self.run(false), self.run(true)].iter().filter(|path| !path.starts_with(self.dir.path())) {
            let Ok(Some(run)) = trust::open(path) else { continue };
            // Not empty means in use, or left by a kill: the next start goes on with it.
            for server in [REDIS, POSTGRES] {
                run.remove_folder(server).ok();
            }
            remove_empty(path);
        }
    }

    /// The folder of sockets: inside, or a short one under /tmp that is named for this folder.
    fn run(&self, elsewhere: bool) -> PathBuf {
        run(self.dir.path(), elsewhere)
    }

    /// A short name for the folder.
    pub(crate) fn hash(&self) -> String {
        hash(self.dir.path())
    }

    /// Takes the lock and writes down which process holds it.
    pub(crate) async fn lock(&self, command: &str, needs: Needs) -> Result<Lock, LocalError> {
        // A probe of another command holds it for a moment, and so does a daemon that is about to end.
        let deadline = Instant::now() + HOLDER_WITHIN;
        let mut file = loop {
            match self.dir.try_lock(LOCK)? {
                Some(file) => break file,
                None if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
                None => {
                    let Holder { pid, command, .. } = self.read_holder()?.unwrap_or_else(Holder::unknown);
                    return Err(LocalError::InUse { folder: self.dir.path().to_owned(), pid, command });
                }
            }
        };
        let text = format!("{}\n{command}\n{} {}\n", std::process::id(), needs.redis, needs.postgres);
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(self.dir.failed("write", LOCK))?;
        Ok(Lock { _file: file })
    }

    /// The process that holds the lock; None when it is free.
    pub(crate) async fn holder(&self) -> Result<Option<Holder>, LocalError> {
        let deadline = Instant::now() + HOLDER_WITHIN;
        loop {
            if !self.dir.is_locked(LOCK)? {
                return Ok(None);
            }
            match self.read_holder()? {
                Some(holder) => return Ok(Some(holder)),
                // It has just taken the lock.
                None if Instant::now() < deadline => sleep(Duration::from_millis(10)).await,
                None => return Ok(Some(Holder::unknown())),
            }
        }
    }

    /// What the lock file says; None when it says only a part yet.
    fn read_holder(&self) -> Result<Option<Holder>, LocalError> {
        Ok(self.dir.read(LOCK)?.as_deref().and_then(Holder::parse))
    }
}

impl Holder {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n').map(str::to_owned);
        let (pid, command, needs) = (lines.next()?, lines.next()?, lines.next()?);
        let (redis, postgres) = needs.split_once(' ')?;
        Some(Self { pid, command, needs: Needs { redis: redis == "true", postgres: postgres == "true" } })
    }

    fn unknown() -> Self {
        let unknown = || "unknown".to_owned();
        Self { pid: unknown(), command: unknown(), needs: Needs { redis: true, postgres: true } }
    }
}

fn run(folder: &Path, elsewhere: bool) -> PathBuf {
    let inside = folder.join(RUN);
    // A URL is text, and so is the path of a socket in it.
    let is_text = inside.to_str().is_some();
    if !elsewhere && is_text && inside.as_os_str().len() <= LONGEST_SOCKET_FOLDER {
        return inside;
    }
    Path::new("/tmp").join(format!("nowserving-{}", hash(folder)))
}

fn hash(folder: &Path) -> String {
    let digest = Sha256::digest(folder.as_os_str().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Other accounts need not get into the folder, but for the one that root gives to the servers.
fn shared_mode() -> u32 {
    if account::me() == 0 { 0o711 } else { 0o700 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_keep_within_the_limit_of_the_kernel() {
        assert_eq!(run(Path::new("/srv/nowserving"), false), Path::new("/srv/nowserving/run"));
        assert!(run(Path::new("/srv/nowserving"), true).starts_with("/tmp"));
        assert_eq!(run(Path::new("/srv/кухня 1"), false), Path::new("/srv/кухня 1/run"));
        let no_text = std::ffi::OsStr::from_bytes(b"/srv/caf\xe9");
        assert!(run(Path::new(no_text), false).starts_with("/tmp"));
        for length in 1..200 {
            let run = run(&Path::new("/").join("x".repeat(length)), false);
            for socket in ["postgres/.s.PGSQL.5432", "redis/redis.sock"] {
                assert!(run.join(socket).as_os_str().len() <= 107);
            }
        }
    }

    #[tokio::test]
    async fn the_lock_tells_who_holds_it() {
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let folder = DataFolder::make(&temp.path().join("a/b")).expect("folders can be made");
        assert_eq!(folder.holder().await.expect("it can be read"), None);
        let needs = Needs { redis: true, postgres: false };
        let lock = folder.lock("serve", needs).await.expect("it is free");
        let pid = std::process::id().to_string();
        let holder = Holder { pid: pid.clone(), command: "serve".into(), needs };
        assert_eq!(folder.holder().await.expect("it can be read"), Some(holder));
        let error = folder.lock("verify", needs).await.err().expect("it is held").to_string();
        assert!(error.contains(&format!("in use by process {pid} (nowserving serve)")), "{error}");
        drop(lock);
        assert_eq!(folder.holder().await.expect("it can be read"), None);
        folder.lock("verify", needs).await.map(drop).expect("it is free again");
    }

    #[test]
    fn half_a_line_says_nothing_of_the_holder() {
        let whole = "12\nserve\ntrue false\n";
        for end in 0..whole.len() {
            assert_eq!(Holder::parse(&whole[..end]), None, "{:?}", &whole[..end]);
        }
        let needs = Needs { redis: true, postgres: false };
        assert_eq!(Holder::parse(whole), Some(Holder { pid: "12".into(), command: "serve".into(), needs }));
    }
}
