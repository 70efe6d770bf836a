//! Temporary folders, short enough for sockets, and the removal of what dead runs left.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

const PREFIX: &str = "nowserving-test-";

/// A new folder of this run. Other accounts can pass through it, so that Postgres can when we are root.
pub fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let folder = run_folder().join(format!("{name}{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&folder).expect("a folder can be made in our own");
    std::fs::set_permissions(&folder, Permissions::from_mode(0o711)).expect("it is ours");
    folder
}

/// Ends the servers that run on data under a folder of ours: those that a killed daemon left.
pub fn end_servers_under(folder: &Path) {
    for (pid, program) in servers_under(folder) {
        let signal = if program.contains("postgres") { Signal::SIGQUIT } else { Signal::SIGKILL };
        kill(Pid::from_raw(pid), signal).ok();
    }
}

/// The servers that run on data under a folder, by pid and program.
pub fn servers_under(folder: &Path) -> Vec<(i32, String)> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let program = line.split(['\0', ' ']).next()?.to_owned();
        let server = program.ends_with("redis-server") || program.ends_with("postgres");
        // Both work in their data folder; Postgres, whose folder we may not see, also names it.
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let here = cwd.starts_with(folder) || line.contains(&format!("{}/", folder.display()));
        (server && here).then_some((pid, program))
    })
    .collect()
}

fn run_folder() -> &'static Path {
    static RUN: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (folder, _lock) = RUN.get_or_init(|| {
        remove_dead_runs();
        // Not TMPDIR: it may be long, or closed to the account of Postgres.
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in("/tmp").expect("/tmp can be written").keep();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o711)).expect("it is ours");
        // Held until this process ends: it tells the next run that we are alive.
        let lock = File::create(folder.join("lock")).expect("a file can be made in our own folder");
        lock.try_lock().expect("nobody else locks it");
        (folder, lock)
    });
    folder
}

fn remove_dead_runs() {
    let ours = |entry: &std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().starts_with(PREFIX);
        name && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == Uid::effective().as_raw())
    };
    for entry in std::fs::read_dir("/tmp").into_iter().flatten().flatten().filter(ours) {
        let folder = entry.path();
        let dead = match File::open(folder.join("lock")) {
            Ok(lock) => lock.try_lock().is_ok(),
            // It is being made at this moment, or was given up then.
            Err(_) => entry
                .metadata()
                .and_then(|found| found.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > Duration::from_secs(60))),
        };
        if dead {
            end_servers_under(&folder);
            std::fs::remove_dir_all(&folder).ok();
        }
    }
}
