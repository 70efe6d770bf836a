//! The older system's own stack: Python, SQLAlchemy, Flask and gunicorn (`benches/older_stack`). Its packages go into a
//! virtual environment under `target/`, once; where they cannot be had, there is no such reference.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;

use crate::{reference_server::ReferenceServer, slot_table::SlotTable};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/older_stack");
const VIRTUAL_ENVIRONMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench/python");
/// How long its packages may take to come.
const PATIENCE: Duration = Duration::from_mins(2);
/// Of each worker.
const THREADS: &str = "4";

/// Starts it on a table that was filled. Err: why it cannot be.
pub async fn start(table: &SlotTable) -> Result<ReferenceServer, String> {
    let gunicorn = tokio::time::timeout(PATIENCE, installed())
        .await
        .map_err(|_| "its packages took too long to come".to_owned())??;
    // As its own documentation advises: two workers for each core, and one.
    let workers = 2 * std::thread::available_parallelism().map_or(1, usize::from) + 1;
    let mut command = std::process::Command::new(gunicorn);
    command.args(["--bind", "127.0.0.1:0", "--worker-class", "gthread", "--threads", THREADS, "--keep-alive", "60"]);
    command.args(["--workers", &workers.to_string(), "--chdir", FOLDER, "service:app"]);
    let found: PgConnectOptions = table.url.parse().expect("a valid URL");
    let (socket, user) = (found.get_socket().expect("a socket"), found.get_username());
    let database = found.get_database().expect("a database");
    let url = format!("postgresql+psycopg2://{user}@/{database}?host={}", socket.display());
    let environment =
        [("DATABASE_URL", url.as_str()), ("THREADS", THREADS), ("PYTHONDONTWRITEBYTECODE", "1"), ("HOME", "/tmp")];
    ReferenceServer::start(&command, &environment)
}

/// Its server, with all that it needs beside it.
async fn installed() -> Result<PathBuf, String> {
    let (folder, asked) = (Path::new(VIRTUAL_ENVIRONMENT), Path::new(FOLDER).join("requirements.txt"));
    let (gunicorn, noted) = (folder.join("bin/gunicorn"), folder.join("requirements.txt"));
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    if gunicorn.exists() && read(&noted) == read(&asked) {
        return Ok(gunicorn);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear", VIRTUAL_ENVIRONMENT])).await?;
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:"];
    let mut install = Command::new(folder.join("bin/python"));
    run(install.args(pip).args(["--retries", "1", "--timeout", "20", "--requirement"]).arg(&asked)).await?;
    std::fs::copy(&asked, &noted).map_err(|error| error.to_string())?;
    Ok(gunicorn)
}

async fn run(command: &mut Command) -> Result<(), String> {
    let ended = command.kill_on_drop(true).output().await.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&ended.stderr);
    let last = said.trim().lines().last().unwrap_or_default();
    if ended.status.success() { Ok(()) } else { Err(format!("{}: {last}", ended.status)) }
}
