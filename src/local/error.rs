//! Why local mode cannot work: each message is one sentence that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why the private servers cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(
        "the data folder {} is in use by process {pid} (nowserving {command}): stop that one, or choose another folder with --data-dir",
        folder.display()
    )]
    InUse { folder: PathBuf, pid: String, command: String },
    #[error("process {pid} holds the data folder {}, but its servers do not answer yet: try again in a moment", folder.display())]
    HolderNotReady { folder: PathBuf, pid: String },
    #[error("cannot {what} {}: {source}; check its permissions, or choose another folder with --data-dir", path.display())]
    Folder { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{} belongs to uid {owner}: start nowserving as that account, or choose another folder with --data-dir",
        path.display()
    )]
    ForeignFolder { path: PathBuf, owner: u32 },
    #[error(
        "{} belongs to uid {owner}, so {} could be replaced by that account: start nowserving as that account, \
         or choose another folder with --data-dir",
        parent.display(), folder.display()
    )]
    ForeignParent { folder: PathBuf, parent: PathBuf, owner: u32 },
    #[error(
        "{} is a link that uid {owner} made, which is not followed: remove it, or choose another folder with --data-dir",
        link.display()
    )]
    ForeignLink { link: PathBuf, owner: u32 },
    #[error(
        "{path} can be written by {to}: run `chmod go-w {path}`, or choose another folder with --data-dir",
        path = path.display()
    )]
    Exposed { path: PathBuf, to: &'static str },
    #[error(
        "{parent} can be written by {to}, so {} could be replaced by another account: run `chmod go-w {parent}`, \
         or choose another folder with --data-dir",
        folder.display(), parent = parent.display()
    )]
    ExposedParent { folder: PathBuf, parent: PathBuf, to: &'static str },
    #[error(
        "{} is not a {wanted} that this account made (a link, say): find out where it comes from and remove it, \
         or choose another folder with --data-dir",
        path.display()
    )]
    NotOurs { path: PathBuf, wanted: &'static str },
    #[error(
        "{} points to {}, which is gone: bring it back, or delete the link to begin with an empty {begins}",
        link.display(), target.display()
    )]
    LostData { link: PathBuf, target: PathBuf, begins: &'static str },
    #[error(
        "the account that {server} runs under cannot get into {}: let others pass through the folders above it \
         (`chmod o+x`), or choose another folder with --data-dir",
        path.display()
    )]
    Unreachable { server: &'static str, path: PathBuf },
    #[error(
        "processes that an earlier run started for {server} still work under {} after {seconds} s ({who}): \
         end them, then try again",
        folder.display()
    )]
    StillAtWork { server: &'static str, folder: PathBuf, seconds: u64, who: String },
    #[error(
        "{program} was not found on the PATH or in the usual folders: install it with `sudo apt-get install -y {package}`, \
         or name your own server with {flag}"
    )]
    Missing { program: &'static str, package: String, flag: &'static str },
    #[error(
        "{} is version {found}, and at least {least} is needed: install a newer one, or name your own server with {flag}",
        path.display()
    )]
    TooOld { path: PathBuf, found: String, least: u32, flag: &'static str },
    #[error("cannot start {}: {source}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    #[error("initdb failed ({status}): {output}")]
    Initdb { status: String, output: String },
    #[error("{server} ended while it was starting ({how}); the end of {}: {tail}", log.display())]
    DiedEarly { server: &'static str, how: String, log: PathBuf, tail: String },
    #[error(
        "{server} (process {pid}) did not become ready within {seconds} s: {last}; look into {}, and end that process before the next try",
        log.display()
    )]
    NotReady { server: &'static str, pid: i32, seconds: u64, last: String, log: PathBuf },
    #[error("cannot set up the private database: {0}")]
    Database(#[from] sqlx::Error),
}

impl LocalError {
    /// For `map_err`: what was tried on which path.
    pub(super) fn folder(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Folder { what, path: path.to_owned(), source }
    }

    /// Whether there was nothing of that name.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Folder { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
