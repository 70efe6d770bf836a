//! Why local mode cannot work: each message is one sentence that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The oldest Postgres that is tested.
pub(super) const POSTGRES_LEAST: u32 = 15;

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
    #[error("the private Postgres was made by version {made_by}, {here}: {}", of_another_version(*made_by))]
    AnotherVersion { made_by: u32, here: String },
    #[error("cannot start {}: {source}; see that this account may run it", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    #[error("initdb failed ({status}): {output}; {}", mended_by(output, None))]
    Initdb { status: String, output: String },
    #[error(
        "{server} ended while it was starting ({how}); the end of {}: {tail}; {}",
        log.display(), mended_by(tail, log.parent())
    )]
    DiedEarly { server: &'static str, how: String, log: PathBuf, tail: String },
    #[error(
        "{server} (process {pid}) did not become ready within {seconds} s: {last}; look into {}, and end that process before the next try",
        log.display()
    )]
    NotReady { server: &'static str, pid: i32, seconds: u64, last: String, log: PathBuf },
    #[error("cannot set up the private database: {0}; look into postgres.log in the data folder")]
    Database(String),
}

impl From<sqlx::Error> for LocalError {
    fn from(error: sqlx::Error) -> Self {
        // The driver adds a line of Postgres's own source to what Postgres says.
        Self::Database(match &error {
            sqlx::Error::Database(said) => said.message().to_owned(),
            other => other.to_string(),
        })
    }
}

/// How data of another version is gone on with.
fn of_another_version(made_by: u32) -> String {
    let moved = "move its data to a newer one with pg_upgrade (docs/operations/upgrade.md says how)";
    if made_by < POSTGRES_LEAST {
        return format!("at least {POSTGRES_LEAST} is needed: {moved}");
    }
    format!("install that with `sudo apt-get install -y postgresql-{made_by}`, or {moved}")
}

/// What to do about what a server or a program said last. `folder` is the data folder.
fn mended_by(said: &str, folder: Option<&Path>) -> String {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["No space left on device"]) {
        "free some space on that disk, then start again".to_owned()
    } else if says(&["append only file", "AOF"]) {
        let data = folder.map_or_else(|| Path::new("redis").to_owned(), |folder| folder.join("redis"));
        format!(
            "the append-only file is damaged: mend a copy of it with `redis-check-aof --fix`, or move {} away: an empty Redis \
             is filled from Postgres",
            data.display()
        )
    } else if says(&["Cannot allocate memory", "could not map anonymous shared memory"]) {
        "free some memory (Postgres takes 256 MiB at its start), then start again".to_owned()
    } else if says(&["checkpoint record", "control file", "pg_control"]) {
        "its data is damaged: put a backup in its place, or begin with an empty data folder".to_owned()
    } else {
        "mend what it says there, then start again".to_owned()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_last_leads_to_what_to_do() {
        let folder = Some(Path::new("/srv/ns"));
        for (said, advice) in [
            ("Bad file format reading the append only file x.incr.aof", "move /srv/ns/redis away"),
            ("Invalid AOF manifest file format", "redis-check-aof --fix"),
            ("FATAL: could not write lock file: No space left on device", "free some space"),
            ("PANIC: could not locate a valid checkpoint record", "put a backup in its place"),
            ("FATAL: could not map anonymous shared memory: Cannot allocate memory", "free some memory"),
            ("FATAL: something else", "mend what it says there"),
        ] {
            assert!(mended_by(said, folder).contains(advice), "{said}");
        }
    }
}
