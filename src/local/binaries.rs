//! Finds the servers' programs: on the PATH first, then where distributions put them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{LocalError, error::POSTGRES_LEAST};

/// The oldest Redis with what the scripts use.
const REDIS_LEAST: u32 = 7;

/// Where a Postgres installation has its programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresBinaries {
    /// The server.
    pub postgres: PathBuf,
    /// Makes a data folder.
    pub initdb: PathBuf,
    /// Such as 15.
    pub major: u32,
}

/// The path of a `redis-server` that is new enough.
pub fn redis_server() -> Result<PathBuf, LocalError> {
    redis_among(&folders())
}

/// A Postgres server: of the given major version, or the first on the PATH, or the newest of the distribution.
pub fn postgres(major: Option<u32>) -> Result<PostgresBinaries, LocalError> {
    postgres_among(&folders(), major)
}

fn redis_among(folders: &[PathBuf]) -> Result<PathBuf, LocalError> {
    let flag = "--redis-url";
    let mut old = None;
    for path in folders.iter().map(|folder| folder.join("redis-server")).filter(|path| is_program(path)) {
        let Some(version) = version(&path, "v=") else { continue };
        if major_of(&version) >= REDIS_LEAST {
            return Ok(path);
        }
        old.get_or_insert(LocalError::TooOld { path, found: version, least: REDIS_LEAST, flag });
    }
    Err(old.unwrap_or(LocalError::Missing { program: "redis-server", package: "redis-server".into(), flag }))
}

fn postgres_among(folders: &[PathBuf], wanted: Option<u32>) -> Result<PostgresBinaries, LocalError> {
    let flag = "--database-url";
    let (mut old, mut here) = (None, Vec::new());
    for folder in folders {
        let (postgres, initdb) = (folder.join("postgres"), folder.join("initdb"));
        if !is_program(&postgres) || !is_program(&initdb) {
            continue;
        }
        let Some(version) = version(&postgres, "(PostgreSQL) ") else { continue };
        let major = major_of(&version);
        here.push(major.to_string());
        if major < POSTGRES_LEAST {
            old.get_or_insert(LocalError::TooOld { path: postgres, found: version, least: POSTGRES_LEAST, flag });
        } else if wanted.is_none_or(|wanted| wanted == major) {
            return Ok(PostgresBinaries { postgres, initdb, major });
        }
    }
    // The data was made by this version, and another one cannot read it.
    if let Some(made_by) = wanted {
        here.dedup();
        let here = match here.is_empty() {
            true => "and no Postgres is here".to_owned(),
            false => format!("and only {} is here", here.join(", ")),
        };
        return Err(LocalError::AnotherVersion { made_by, here });
    }
    Err(old.unwrap_or(LocalError::Missing { program: "postgres", package: "postgresql".into(), flag }))
}

fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<u32> = versions.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    folders.extend(versions.iter().map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"))));
    folders.extend(["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin"].map(PathBuf::from));
    folders
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// What `--version` prints behind `before`, up to the next space.
fn version(program: &Path, before: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, behind) = text.split_once(before)?;
    Some(behind.split_whitespace().next()?.to_owned())
}

/// 0 where it is not a number.
fn major_of(version: &str) -> u32 {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(folder: &Path, name: &str, prints: &str) {
        std::fs::create_dir_all(folder).expect("a folder can be made");
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho '{prints}'\n")).expect("a script can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("and made executable");
    }

    #[test]
    fn a_missing_or_old_program_says_what_to_do() {
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let folders = [temp.path().to_owned()];
        let error = redis_among(&folders).expect_err("nothing is there").to_string();
        assert!(error.contains("sudo apt-get install -y redis-server"), "{error}");
        let error = postgres_among(&folders, Some(16)).expect_err("nothing is there").to_string();
        assert!(error.contains("made by version 16, and no Postgres is here"), "{error}");
        assert!(error.contains("sudo apt-get install -y postgresql-16"), "{error}");
        let error = postgres_among(&folders, Some(14)).expect_err("nothing is there").to_string();
        assert!(error.contains("at least 15 is needed: move its data to a newer one with pg_upgrade"), "{error}");

        program(temp.path(), "redis-server", "Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64");
        program(temp.path(), "postgres", "postgres (PostgreSQL) 13.11 (Debian 13.11-1)");
        program(temp.path(), "initdb", "");
        let error = redis_among(&folders).expect_err("it is too old").to_string();
        assert!(error.contains("is version 6.2.14, and at least 7 is needed"), "{error}");
        let error = postgres_among(&folders, None).expect_err("it is too old").to_string();
        assert!(error.contains("is version 13.11, and at least 15 is needed"), "{error}");
    }

    #[test]
    fn the_first_that_fits_is_taken() {
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let folders: Vec<PathBuf> = ["old", "new", "newest"].iter().map(|name| temp.path().join(name)).collect();
        for (folder, version) in folders.iter().zip(["14.2", "16.1", "17beta1"]) {
            program(folder, "postgres", &format!("postgres (PostgreSQL) {version}"));
            program(folder, "initdb", "");
        }
        assert_eq!(postgres_among(&folders, None).expect("16 fits").major, 16);
        assert_eq!(postgres_among(&folders, Some(17)).expect("17 is there").postgres, folders[2].join("postgres"));
    }
}
