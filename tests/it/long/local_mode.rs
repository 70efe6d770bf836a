//! Local mode against real servers: their data is kept, and nothing that dies leaves a mess.

mod accounts;
mod crashes;
mod first_starts;
mod names;
mod takeover;
mod trust;
pub mod world;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::world::{BOTH, REDIS, postmaster_pid, redis, redis_pid, refusal, sql, start};
use crate::support::{self, PATIENCE, eventually, eventually_true, keeper, scratch};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nowserving::local::{LocalServers, binaries};

/// What was stored by [`store`] is there.
async fn assert_stored(servers: &LocalServers) {
    let url = servers.redis_url().expect("Redis was wanted");
    assert_eq!(redis(url, &["GET", "order"]).await.expect("Redis answers"), "42");
    let url = servers.database_url().expect("Postgres was wanted");
    assert_eq!(sql(url, "SELECT number FROM kept").await.expect("Postgres answers"), "42");
}

async fn store(servers: &LocalServers) {
    redis(servers.redis_url().expect("Redis was wanted"), &["SET", "order", "42"]).await.expect("Redis answers");
    let url = servers.database_url().expect("Postgres was wanted");
    sql(url, "CREATE TABLE kept AS SELECT '42'::text AS number").await.expect("Postgres answers");
}

#[tokio::test]
async fn data_is_kept_between_runs_and_nothing_runs_in_between() {
    let data_dir = scratch::folder("kept").join("made/for you");
    let servers = start(&data_dir, BOTH).await;
    store(&servers).await;
    servers.stop().await;
    assert_eq!(scratch::servers_under(&data_dir), [], "both have ended when stop returns");

    let servers = start(&data_dir, BOTH).await;
    assert_stored(&servers).await;
    let url = servers.redis_url().expect("Redis was wanted");
    assert_eq!(redis(url, &["INFO", "persistence"]).await.map(|info| info.contains("aof_enabled:1")), Ok(true));
    let policy: Vec<String> = {
        let client = redis::Client::open(url).expect("the URL is good");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
        redis::cmd("CONFIG").arg(&["GET", "maxmemory-policy"]).query_async(&mut connection).await.expect("it tells")
    };
    assert_eq!(policy[1], "noeviction");
    let url = servers.database_url().expect("Postgres was wanted");
    for (statement, expected) in [
        ("SELECT current_setting('fsync')", "on"),
        ("SELECT current_setting('data_checksums')", "on"),
        ("SELECT current_setting('listen_addresses')", ""),
        ("SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = 'nowserving'", "UTF8"),
        ("SELECT current_user::text", "nowserving"),
    ] {
        assert_eq!(sql(url, statement).await.expect("Postgres answers"), expected, "{statement}");
    }
    servers.stop().await;
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_its_servers_can_be_found() {
    let data_dir = scratch::folder("shared");
    assert_eq!(LocalServers::find(&data_dir).await.expect("it can be read"), None);
    assert_eq!(LocalServers::find(&data_dir.join("missing")).await.expect("it need not exist"), None);
    let servers = start(&data_dir, REDIS).await;
    let error = refusal(&data_dir, BOTH).await;
    let pid = std::process::id();
    assert!(error.contains(&format!("in use by process {pid} (nowserving serve): stop that one, or")), "{error}");
    let found = LocalServers::find(&data_dir).await.expect("it can be read").expect("it is in use");
    assert_eq!(found.redis_url.as_deref(), servers.redis_url());
    assert_eq!((found.database_url, found.pid), (None, pid.to_string()));
    servers.stop().await;
    assert_eq!(LocalServers::find(&data_dir).await.expect("it can be read"), None);
}

#[tokio::test]
async fn a_server_that_is_killed_comes_back_with_its_data() {
    let data_dir = scratch::folder("killed");
    let servers = start(&data_dir, BOTH).await;
    store(&servers).await;
    let url = servers.redis_url().expect("Redis was wanted");
    // It writes the append-only file before it answers, so a kill loses nothing.
    kill(Pid::from_raw(redis_pid(url).await), Signal::SIGKILL).expect("it runs");
    kill(Pid::from_raw(postmaster_pid(&data_dir)), Signal::SIGKILL).expect("it runs");
    eventually(PATIENCE, || async {
        redis(url, &["PING"]).await.ok()?;
        sql(servers.database_url().expect("Postgres was wanted"), "SELECT 'here'").await.ok()
    })
    .await;
    assert_stored(&servers).await;
    servers.stop().await;
    assert_eq!(scratch::servers_under(&data_dir), []);
}

#[tokio::test]
async fn what_a_killed_owner_left_is_adopted() {
    let data_dir = scratch::folder("adopted");
    let owner = Command::new(std::env::current_exe().expect("a test knows its program"));
    let mut command = keeper::wrap(&owner, keeper::OnOurDeath::Kill);
    command
        .args(["--exact", "long::local_mode::owner", "--ignored", "--nocapture"])
        .env(OWNED, &data_dir)
        .stdout(Stdio::null());
    let mut owner = keeper::spawn(command).expect("a test can be run by itself");
    let found = eventually(PATIENCE, || async { LocalServers::find(&data_dir).await.ok().flatten() }).await;
    let url = found.redis_url.expect("the owner wants both");
    let pids = (redis_pid(&url).await, postmaster_pid(&data_dir));
    redis(&url, &["SET", "order", "42"]).await.expect("Redis answers");
    owner.kill().expect("it is our child");
    assert_eq!(owner.wait().expect("it is our child").signal(), Some(9));
    assert_eq!(redis(&url, &["GET", "order"]).await, Ok("42".into()), "the servers go on without it");

    let servers = start(&data_dir, BOTH).await;
    assert_eq!((redis_pid(&url).await, postmaster_pid(&data_dir)), pids, "the same processes");
    assert_eq!(servers.redis_url(), Some(url.as_str()));
    // Adopted ones are watched too.
    kill(Pid::from_raw(pids.0), Signal::SIGKILL).expect("it runs");
    eventually_true(PATIENCE, || async { redis(&url, &["GET", "order"]).await == Ok("42".into()) }).await;
    servers.stop().await;
    assert_eq!(scratch::servers_under(&data_dir), []);
}

const OWNED: &str = "TEST_OWNED_FOLDER";

/// Not a test: the process that the one above kills.
#[tokio::test]
#[ignore = "run by another test"]
async fn owner() {
    let Some(data_dir) = std::env::var_os(OWNED).map(PathBuf::from) else { return };
    let mut servers = start(&data_dir, BOTH).await;
    servers.died().await;
}

#[tokio::test]
async fn what_is_dropped_ends_by_itself() {
    let data_dir = scratch::folder("dropped");
    drop(start(&data_dir, BOTH).await);
    eventually_true(PATIENCE, || async { scratch::servers_under(&data_dir).is_empty() }).await;
}

#[tokio::test]
async fn a_path_too_long_for_sockets_works() {
    let data_dir = scratch::folder("long").join("x".repeat(120));
    let servers = start(&data_dir, BOTH).await;
    store(&servers).await;
    assert_stored(&servers).await;
    let url = servers.redis_url().expect("Redis was wanted").to_owned();
    assert!(url.starts_with("unix:///tmp/nowserving-"), "{url}");
    servers.stop().await;
    let socket = Path::new(url.trim_start_matches("unix://"));
    let run = socket.ancestors().nth(2).expect("the socket is in a folder of a folder");
    assert!(run.starts_with("/tmp/") && !run.exists(), "nothing is left outside of the folder");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let data_dir = scratch::folder("broken");
    start(&data_dir, REDIS).await.stop().await;
    let manifest = data_dir.join("redis/appendonlydir/appendonly.aof.manifest");
    std::fs::write(manifest, "nonsense\n").expect("it is ours");
    let error = refusal(&data_dir, REDIS).await;
    assert!(error.starts_with("Redis ended while it was starting (exit status: 1); the end of "), "{error}");
    assert!(error.contains("AOF manifest"), "{error}");
}

#[tokio::test]
async fn a_server_that_cannot_be_brought_back_is_reported() {
    let data_dir = scratch::folder("hopeless");
    let mut servers = start(&data_dir, REDIS).await;
    let pid = redis_pid(servers.redis_url().expect("Redis was wanted")).await;
    std::fs::write(data_dir.join("redis/appendonlydir/appendonly.aof.manifest"), "nonsense\n").expect("it is ours");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    let sentence = tokio::time::timeout(PATIENCE, servers.died()).await.expect("it is reported");
    assert!(sentence.starts_with("the private Redis cannot be brought back: Redis ended while"), "{sentence}");
    servers.stop().await;
}

#[tokio::test]
async fn the_shared_servers_of_the_harness_answer() {
    let (first, second) = (support::fresh_database().await, support::fresh_database().await);
    assert_ne!(first, second);
    sql(&first, "CREATE TABLE kept AS SELECT '42'::text AS number").await.expect("Postgres answers");
    sql(&second, "SELECT number FROM kept").await.expect_err("it is another database");
    assert_ne!(support::namespace(), support::namespace());
    assert_eq!(redis(&support::redis_url().await, &["PING"]).await, Ok("PONG".into()));
}

#[tokio::test]
async fn own_servers_can_be_broken_and_mended() {
    let mut own = support::OwnRedis::start().await;
    redis(&own.url(), &["SET", "order", "42"]).await.expect("Redis answers");
    own.kill9();
    redis(&own.url(), &["PING"]).await.expect_err("it is dead");
    own.restart().await;
    assert_eq!(redis(&own.url(), &["GET", "order"]).await, Ok("42".into()));
    own.stop();
    own.lose_data();
    own.restart().await;
    redis(&own.url(), &["GET", "order"]).await.expect_err("nil: it is gone");

    let mut own = support::OwnPostgres::start().await;
    let url = own.create_database("mine").await;
    for how in [support::OwnPostgres::stop, support::OwnPostgres::immediate] {
        how(&mut own);
        sql(&url, "SELECT 'here'").await.expect_err("it is dead");
        own.restart().await;
        assert_eq!(sql(&url, "SELECT 'here'").await.expect("it is back"), "here");
    }
    assert!(binaries::postgres(None).is_ok());
}
