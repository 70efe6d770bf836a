//! An open folder, and the only door to the files of local mode.
//!
//! Everything is reached by name from a descriptor, and a name that is a link is never followed: root may work in a
//! folder in which another account once put links to root's own files. Which folders are opened at all is decided in
//! [`super::trust`].

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::{
    LocalError,
    account::{Account, is_trusted, me},
};

/// For every file: no link is followed, nothing is inherited by children, and a pipe does not block.
const CAREFUL: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// For every folder.
pub(super) const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// More than any pid file, version or lock file has.
const READ_BYTES: u64 = 64 << 10;
/// How long processes of a killed run may go on making files in what is being removed.
const REMOVED_WITHIN: Duration = Duration::from_secs(10);

/// An open folder.
#[derive(Debug, Clone)]
pub(super) struct Dir {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

/// What a name in a folder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Missing,
    Folder,
    /// A link that this account, root or one from outside of the container made, and where it leads.
    Link(PathBuf),
    File,
    Socket,
    Other,
}

impl Dir {
    pub(crate) fn new(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd: Arc::new(fd), path }
    }

    /// Where it stands, for messages and for the servers.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a name in it stands.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn stat(&self) -> Result<Stat, LocalError> {
        fs::fstat(&self.fd).map_err(io::Error::from).map_err(LocalError::folder("look at", &self.path))
    }

    /// What a name stands for. A link of another account is an error.
    pub(crate) fn kind(&self, name: &str) -> Result<Kind, LocalError> {
        let looked = self.failed("look at", name);
        let stat = match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Kind::Missing),
            found => found.map_err(io::Error::from).map_err(looked)?,
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Folder,
            FileType::RegularFile => Kind::File,
            FileType::Socket => Kind::Socket,
            FileType::Symlink if !is_trusted(stat.st_uid) => {
                return Err(LocalError::ForeignLink { link: self.join(name), owner: stat.st_uid });
            }
            FileType::Symlink => {
                let target = fs::readlinkat(&self.fd, name, Vec::new());
                let target = target.map_err(io::Error::from).map_err(self.failed("read", name))?;
                Kind::Link(self.path.join(std::ffi::OsStr::from_bytes(target.as_bytes())))
            }
            _ => Kind::Other,
        })
    }

    /// A folder in it; an error where the name is anything else.
    pub(crate) fn folder(&self, name: &str) -> Result<Self, LocalError> {
        let opened = fs::openat(&self.fd, name, FOLDER | OFlags::RDONLY, Mode::empty());
        let fd = opened.map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => LocalError::NotOurs { path: self.join(name), wanted: "folder" },
            error => self.failed("open", name)(error.into()),
        })?;
        Ok(Self::new(fd, self.join(name)))
    }

    /// A folder in it, made with this mode where it is missing.
    pub(crate) fn make_folder(&self, name: &str, mode: u32) -> Result<Self, LocalError> {
        match fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            // Redis and Postgres make their common folder at the same time.
            Err(Errno::EXIST) => self.folder(name),
            Err(error) => Err(self.failed("make the folder", name)(error.into())),
            Ok(()) => {
                let folder = self.folder(name)?;
                // Whatever the umask says.
                let set = fs::fchmod(&folder.fd, Mode::from_raw_mode(mode));
                set.map_err(io::Error::from).map_err(self.failed("make the folder", name))?;
                Ok(folder)
            }
        }
    }

    /// An empty folder of an account's, in the place of whatever an interrupted run left there.
    pub(crate) async fn make_empty(&self, name: &str, account: Option<&Account>) -> Result<Self, LocalError> {
        self.remove_tree(name).await?;
        let folder = self.make_folder(name, 0o700)?;
        folder.give(account)?;
        Ok(folder)
    }

    /// Gives it to an account.
    pub(crate) fn give(&self, account: Option<&Account>) -> Result<(), LocalError> {
        let Some(account) = account else { return Ok(()) };
        account.give(&self.fd).map_err(LocalError::folder("give away", &self.path))
    }

    /// A plain file of this account with no second name; anything else is an error.
    pub(crate) fn open(&self, name: &str, flags: OFlags) -> Result<File, LocalError> {
        let file = self.open_any(name, flags)?;
        let found = file.metadata().map_err(self.failed("open", name))?;
        if found.uid() != me() || found.nlink() > 1 {
            return Err(LocalError::NotOurs { path: self.join(name), wanted: "file" });
        }
        Ok(file)
    }

    /// A plain file, whichever account made it.
    pub(crate) fn open_any(&self, name: &str, flags: OFlags) -> Result<File, LocalError> {
        let not_ours = || LocalError::NotOurs { path: self.join(name), wanted: "file" };
        let opened = fs::openat(&self.fd, name, CAREFUL | flags, Mode::from_raw_mode(0o600));
        let file = File::from(opened.map_err(|error| match error {
            // A link, a folder, a socket or a pipe without a reader.
            Errno::LOOP | Errno::ISDIR | Errno::NXIO => not_ours(),
            error => self.failed("open", name)(error.into()),
        })?);
        let plain = file.metadata().map_err(self.failed("open", name))?.is_file();
        if plain { Ok(file) } else { Err(not_ours()) }
    }

    /// The text of a short file of this account's or of the folder's owner; None where there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, LocalError> {
        let file = match self.open_any(name, OFlags::RDONLY) {
            Err(error) if error.is_not_found() => return Ok(None),
            file => file?,
        };
        let owner = file.metadata().map_err(self.failed("open", name))?.uid();
        if owner != me() && owner != self.stat()?.st_uid {
            return Err(LocalError::NotOurs { path: self.join(name), wanted: "file" });
        }
        let mut bytes = Vec::new();
        file.take(READ_BYTES).read_to_end(&mut bytes).map_err(self.failed("read", name))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Puts a file in the place of whatever has this name.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), LocalError> {
        let new = format!("{name}.new");
        self.remove_file(&new)?;
        let mut file = self.open(&new, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        file.write_all(text.as_bytes()).map_err(self.failed("write", &new))?;
        self.rename(&new, name)
    }

    /// Gives something in it another name. Neither name is followed.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), LocalError> {
        let renamed = fs::renameat(&self.fd, from, &self.fd, to).map_err(io::Error::from);
        renamed.map_err(self.failed("put in place", to))
    }

    pub(crate) fn link(&self, name: &str, target: &Path) -> Result<(), LocalError> {
        fs::symlinkat(target, &self.fd, name).map_err(io::Error::from).map_err(self.failed("link", name))
    }

    /// Removes a file, a link or a socket, if it is there.
    pub(crate) fn remove_file(&self, name: &str) -> Result<(), LocalError> {
        self.unlink(name, AtFlags::empty())
    }

    /// Removes an empty folder, if it is there.
    pub(crate) fn remove_folder(&self, name: &str) -> Result<(), LocalError> {
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: &str, flags: AtFlags) -> Result<(), LocalError> {
        match fs::unlinkat(&self.fd, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed("remove", name)(error.into())),
        }
    }

    /// Removes a name with all that is under it, if it is there. Processes that are just being ended may still make
    /// files there.
    pub(crate) async fn remove_tree(&self, name: &str) -> Result<(), LocalError> {
        // The standard library follows no link on the way down, and this path leads through the open descriptor.
        let path = format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd());
        let deadline = Instant::now() + REMOVED_WITHIN;
        loop {
            let removed = match self.kind(name)? {
                Kind::Missing => return Ok(()),
                Kind::Folder => std::fs::remove_dir_all(&path),
                _ => return self.remove_file(name),
            };
            match removed {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && Instant::now() < deadline => {
                    sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(self.failed("remove", name)(error)),
            }
        }
    }

    pub(crate) fn names(&self) -> Result<Vec<String>, LocalError> {
        let read = || -> io::Result<Vec<String>> {
            let entries = fs::Dir::read_from(&self.fd)?;
            let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.filter(|name| !matches!(name.as_deref(), Ok("." | ".."))).collect()
        };
        read().map_err(LocalError::folder("read", &self.path))
    }

    /// What was renamed or made in it is on the disk afterwards.
    pub(crate) fn sync(&self) -> Result<(), LocalError> {
        fs::fsync(&self.fd).map_err(io::Error::from).map_err(LocalError::folder("write", &self.path))
    }

    /// Takes the exclusive lock of a file, which is made where it is missing; None while another process has it.
    pub(crate) fn try_lock(&self, name: &str) -> Result<Option<File>, LocalError> {
        let file = self.open(name, OFlags::RDWR | OFlags::CREATE)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(self.failed("lock", name)(source)),
        }
    }

    /// Whether another process holds the lock of a file.
    pub(crate) fn is_locked(&self, name: &str) -> Result<bool, LocalError> {
        let file = match self.open(name, OFlags::RDONLY) {
            Err(error) if error.is_not_found() => return Ok(false),
            file => file?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(self.failed("lock", name)(source)),
        }
    }

    /// For `map_err`: what was tried on which name.
    pub(crate) fn failed(&self, what: &'static str, name: &str) -> impl FnOnce(io::Error) -> LocalError {
        let path = self.join(name);
        move |source| LocalError::Folder { what, path, source }
    }
}

/// Removes a folder if it is empty. A link of this name stays.
pub(super) fn remove_empty(path: &Path) {
    fs::rmdir(path).ok();
}
