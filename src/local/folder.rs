//! The data folder: its lock, and where everything in it stands.
//!
//! ```text
//! .nowserving/
//!   lock            held by the process that owns the servers; says who that is
//!   redis/          the append-only file
//!   redis.pid       the last Redis that was started
//!   postgres/       the cluster, or a link to it where its account cannot get in here
//!   run/            the sockets, unless that makes their paths too long
//!   redis.log, postgres.log
//! ```

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::{LocalError, Needs};

/// A unix socket's path has 107 bytes on Linux; this is the longest that Postgres adds to its folder.
const LONGEST_SOCKET_FOLDER: usize = 107 - "/postgres/.s.PGSQL.5432".len();

/// Where everything stands. Computed from the folder alone, so that every process finds the same places.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub root: PathBuf,
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
    _file: File,
}

impl Paths {
    /// The places under a folder that exists.
    pub fn of(data_dir: &Path) -> io::Result<Self> {
        Ok(Self { root: data_dir.canonicalize()? })
    }

    /// As [`Paths::of`], making the folder where it is missing.
    pub fn make(data_dir: &Path) -> Result<Self, LocalError> {
        make_folder(data_dir, shared_mode())?;
        Self::of(data_dir).map_err(LocalError::folder("open", data_dir))
    }

    pub fn redis_data(&self) -> PathBuf {
        self.root.join("redis")
    }

    pub fn redis_pid(&self) -> PathBuf {
        self.root.join("redis.pid")
    }

    pub fn redis_socket(&self) -> PathBuf {
        self.run(false).join("redis.sock")
    }

    pub fn redis_log(&self) -> PathBuf {
        self.root.join("redis.log")
    }

    pub fn postgres_data(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// Where the cluster goes when its account cannot get into the data folder. The time keeps a folder that was
    /// deleted and made again apart from its predecessor, whose orders the new Redis would know nothing of.
    pub fn postgres_elsewhere(&self, now_ms: u128) -> PathBuf {
        Path::new("/var/lib/nowserving").join(format!("{}-{now_ms}", self.hash()))
    }

    pub fn postgres_sockets(&self) -> PathBuf {
        self.run(self.postgres_data().is_symlink()).join("postgres")
    }

    pub fn postgres_log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// Makes the folders of the sockets' folder.
    pub fn make_run(&self, sockets: &Path) -> Result<(), LocalError> {
        make_folder(sockets, shared_mode())?;
        // Under /tmp anybody could have made it before us.
        let found = sockets.symlink_metadata().map_err(LocalError::folder("open", sockets))?;
        let trusted = found.is_dir() && found.uid() == Uid::effective().as_raw() && found.mode() & 0o022 == 0;
        if trusted { Ok(()) } else { Err(LocalError::ForeignFolder { path: sockets.to_owned(), owner: found.uid() }) }
    }

    /// Removes what [`Paths::make_run`] made under /tmp, once it is empty.
    pub fn remove_run(&self) {
        for sockets in [self.postgres_sockets(), self.run(false), self.run(true)] {
            if sockets.starts_with("/tmp") && !sockets.starts_with(&self.root) {
                // Not empty means in use, or left by a kill: the next start goes on with it.
                std::fs::remove_dir(&sockets).ok();
            }
        }
    }

    /// The folder of sockets: inside, or a short one under /tmp that is named for this folder.
    fn run(&self, elsewhere: bool) -> PathBuf {
        let inside = self.root.join("run");
        if !elsewhere && inside.as_os_str().len() <= LONGEST_SOCKET_FOLDER {
            return inside;
        }
        Path::new("/tmp").join(format!("nowserving-{}", self.hash()))
    }

    fn hash(&self) -> String {
        let digest = Sha256::digest(self.root.as_os_str().as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Takes the lock and writes down who holds it.
    pub async fn lock(&self, command: &str, needs: Needs) -> Result<Lock, LocalError> {
        let path = self.root.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(LocalError::folder("open", &path))?;
        // A probe of another command holds it for a moment, and so does a daemon that is about to end.
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(LocalError::folder("lock", &path)(source)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
                Err(TryLockError::WouldBlock) => {
                    let Holder { pid, command, .. } = self.read_holder();
                    return Err(LocalError::InUse { folder: self.root.clone(), pid, command });
                }
            }
        }
        let text = format!("{}\n{command}\n{} {}\n", std::process::id(), needs.redis, needs.postgres);
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(LocalError::folder("write", &path))?;
        Ok(Lock { _file: file })
    }

    /// Who holds the lock; None when nobody does.
    pub fn holder(&self) -> Result<Option<Holder>, LocalError> {
        let path = self.root.join("lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LocalError::folder("open", &path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(self.read_holder())),
            Err(TryLockError::Error(source)) => Err(LocalError::folder("lock", &path)(source)),
        }
    }

    fn read_holder(&self) -> Holder {
        let text = std::fs::read_to_string(self.root.join("lock")).unwrap_or_default();
        let mut lines = text.lines().map(str::to_owned);
        let mut next = || lines.next().unwrap_or_else(|| "unknown".into());
        let (pid, command, needs) = (next(), next(), next());
        let (redis, postgres) = needs.split_once(' ').unwrap_or(("true", "true"));
        Holder { pid, command, needs: Needs { redis: redis == "true", postgres: postgres == "true" } }
    }
}

/// Makes a folder and those above it, unless they exist.
pub(super) fn make_folder(path: &Path, mode: u32) -> Result<(), LocalError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        // Redis and Postgres make their common folder at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Whatever the umask says.
        made => made.and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode))),
    }
    .map_err(LocalError::folder("make the folder", path))
}

/// Nobody else needs to get into the folder, but for the account that root gives to Postgres.
fn shared_mode() -> u32 {
    if Uid::effective().is_root() { 0o711 } else { 0o700 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_keep_within_the_limit_of_the_kernel() {
        let short = Paths { root: "/srv/nowserving".into() };
        assert_eq!(short.postgres_sockets(), Path::new("/srv/nowserving/run/postgres"));
        for length in 1..200 {
            let paths = Paths { root: Path::new("/").join("x".repeat(length)) };
            assert!(paths.postgres_sockets().join(".s.PGSQL.5432").as_os_str().len() <= 107);
            assert!(paths.redis_socket().as_os_str().len() <= 107);
        }
    }

    #[tokio::test]
    async fn the_lock_tells_who_holds_it() {
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let paths = Paths::make(&temp.path().join("a/b")).expect("folders can be made");
        assert_eq!(paths.holder().expect("it can be read"), None);
        let needs = Needs { redis: true, postgres: false };
        let lock = paths.lock("serve", needs).await.expect("it is free");
        let pid = std::process::id().to_string();
        let holder = Holder { pid: pid.clone(), command: "serve".into(), needs };
        assert_eq!(paths.holder().expect("it can be read"), Some(holder));
        let error = paths.lock("verify", needs).await.err().expect("it is held").to_string();
        assert!(error.contains(&format!("in use by process {pid} (nowserving serve)")), "{error}");
        drop(lock);
        assert_eq!(paths.holder().expect("it can be read"), None);
        paths.lock("verify", needs).await.map(drop).expect("it is free again");
    }
}
