//! Daemons that are killed with servers under way, and pid files that no longer tell the truth.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::json;

use super::world::{
    BOTH, account_of, as_ordinary_account, begin, begin_heard, closed_folder, end, is_root, kill9, nobody,
    postmaster_pid, redis, redis_pid, sql, start,
};
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually, eventually_true, scratch};

fn redis_url(data_dir: &Path) -> String {
    nowserving::local::redis::url(&data_dir.join("run/redis/redis.sock"))
}

#[tokio::test]
async fn servers_outlive_one_daemon_after_the_other() {
    let (closed, _elsewhere) = closed_folder();
    let mut options = vec![DaemonOptions::local(), as_ordinary_account()];
    if is_root() {
        let mut elsewhere = DaemonOptions::local();
        elsewhere.data_dir = closed;
        options.push(elsewhere);
    }
    for options in options {
        let mut pids = None;
        for round in 0..4 {
            let daemon = Daemon::start(&options);
            let api = Api::at(daemon.url());
            api.create(7, json!({})).await;
            let orders = api.get("/v1/restaurants/7/orders").await.ok(200);
            assert_eq!(orders["orders"].as_array().map(Vec::len), Some(round + 1));
            let text = std::fs::read_to_string(options.data_dir.join("redis.pid")).expect("Redis runs");
            let now = (text.trim().parse::<i32>().expect("a pid is a number"), postmaster_pid(&options.data_dir));
            assert_eq!(*pids.get_or_insert(now), now, "the same processes");
            if round == 3 {
                assert!(daemon.terminate().0.success());
            } else {
                daemon.kill9();
            }
        }
        let (redis, postgres) = pids.expect("there were some");
        for pid in [redis, postgres] {
            assert!(std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty(), "{pid} has ended");
        }
    }
}

#[tokio::test]
async fn a_redis_that_reads_its_data_is_adopted() {
    let options = DaemonOptions::local();
    let daemon = Daemon::start(&options);
    assert!(daemon.terminate().0.success());
    // Enough that it takes a while to read.
    let folder = options.data_dir.join("redis/appendonlydir");
    let name = std::fs::read_dir(&folder).expect("Redis made it").find_map(|entry| {
        let name = entry.expect("it can be read").file_name().into_string().expect("its names are plain");
        name.ends_with(".incr.aof").then_some(name)
    });
    let log = std::fs::OpenOptions::new().append(true).open(folder.join(name.expect("it has a log")));
    let mut log = std::io::BufWriter::new(log.expect("it is there"));
    for at in 0..2_000_000 {
        let key = format!("filler:{at}");
        write!(log, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1\r\nx\r\n", key.len()).expect("the disk is not full");
    }
    log.flush().expect("the disk is not full");
    drop(log);

    let daemon = begin(&options);
    let url = redis_url(&options.data_dir);
    let seen = eventually(PATIENCE, || async {
        let info = redis(&url, &["INFO"]).await.ok()?;
        let line = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Some((line("loading:")?, line("process_id:")?))
    })
    .await;
    kill9(daemon);
    assert_eq!(seen.0, "1", "it was reading");
    let daemon = Daemon::start(&options);
    assert_eq!(redis_pid(&url).await.to_string(), seen.1, "the same process");
    assert_eq!(redis(&url, &["GET", "filler:1999999"]).await, Ok("x".into()));
    assert!(daemon.terminate().0.success());
}

#[tokio::test]
async fn a_postgres_that_recovers_is_adopted() {
    let options = DaemonOptions::local();
    let daemon = Daemon::start(&options);
    let url = nowserving::local::postgres::url(&options.data_dir.join("run/postgres"), "nowserving");
    sql(&url, "CREATE TABLE filler AS SELECT n, md5(n::text) AS text FROM generate_series(1, 400000) n")
        .await
        .expect("Postgres answers");
    sql(&url, "UPDATE filler SET n = -n").await.expect("Postgres answers");
    let postmaster = postmaster_pid(&options.data_dir);
    daemon.kill9();
    kill(Pid::from_raw(postmaster), Signal::SIGKILL).expect("it runs");

    let log = options.data_dir.join("postgres.log");
    let began = std::fs::read_to_string(&log).expect("it is there").matches("redo starts at").count();
    let daemon = begin(&options);
    eventually(PATIENCE, || async {
        (std::fs::read_to_string(&log).ok()?.matches("redo starts at").count() > began).then_some(())
    })
    .await;
    kill9(daemon);
    let recovering = postmaster_pid(&options.data_dir);
    let daemon = Daemon::start(&options);
    assert_eq!(postmaster_pid(&options.data_dir), recovering, "the same process");
    assert_eq!(sql(&url, "SELECT count(*)::text FROM filler WHERE n < 0").await.expect("it is back"), "400000");
    assert!(daemon.terminate().0.success());
}

#[tokio::test]
async fn a_killed_postmaster_is_followed_when_its_backends_have_gone() {
    let options = DaemonOptions::local();
    for _ in 0..3 {
        let daemon = Daemon::start(&options);
        let postmaster = postmaster_pid(&options.data_dir);
        daemon.kill9();
        // Its backends need a moment to notice, and the next start comes at once.
        kill(Pid::from_raw(postmaster), Signal::SIGKILL).expect("it runs");
        let daemon = Daemon::start(&options);
        assert!(daemon.terminate().0.success());
    }
}

/// A process that looks like a server, and is none of ours.
fn decoy(program: &str, arguments: &[&str], uid: u32) -> Child {
    // The shell must stay what it is, and not become the sleep.
    let mut command = Command::new("/bin/sh");
    command.arg0(program).args(["-c", "while :; do sleep 1; done"]).args(arguments);
    if Uid::effective().is_root() {
        command.uid(uid);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell can be started")
}

#[tokio::test]
async fn a_pid_that_is_anothers_by_now_is_seen_through() {
    let data_dir = scratch::folder("reused");
    let servers = start(&data_dir, BOTH).await;
    let account = account_of(redis_pid(servers.redis_url().expect("Redis was wanted")).await);
    servers.stop().await;
    let socket = data_dir.join("run/redis/redis.sock").display().to_string();
    let cluster = data_dir.join("postgres").display().to_string();
    let mut decoys = vec![
        // After a reboot: anything, this test, say.
        None,
        Some(decoy("redis-server", &[&format!("{socket}.other"), &format!("{cluster}.other")], account)),
        Some(decoy("redis-cli", &[&socket, &cluster], account)),
        Some(decoy("pg_dump", &[&socket, &cluster], account)),
        Some(decoy("/opt/postgres-exporter", &[&socket, &cluster], account)),
        Some(decoy("postgres", &[&format!("{cluster}2")], account)),
    ];
    if is_root() {
        // Of the very looks, and of another account.
        decoys.push(Some(decoy("redis-server", &[&socket], nobody().0)));
        decoys.push(Some(decoy("postgres", &[&cluster], nobody().0)));
    }
    let stale = |first: &str| {
        std::fs::write(data_dir.join("redis.pid"), first).expect("it is ours");
        let rest = format!("\n{cluster}\n1700000000\n5432\n/nowhere\n\n  123456   7890\nready   \n");
        for file in ["postgres/postmaster.pid", "run/postgres/.s.PGSQL.5432.lock"] {
            std::fs::write(data_dir.join(file), format!("{first}{rest}")).expect("root or the owner can write it");
        }
    };
    for other in &mut decoys {
        stale(&other.as_ref().map_or_else(std::process::id, Child::id).to_string());
        start(&data_dir, BOTH).await.stop().await;
        if let Some(other) = other {
            assert_eq!(other.try_wait().expect("it is our child"), None, "it goes on");
            other.kill().expect("it is our child");
            other.wait().expect("it is our child");
        }
    }
    // And numbers that are no pids.
    for text in ["", "0", "1", "-1", "2147483647", "99999999999", "nonsense"] {
        stale(text);
        start(&data_dir, BOTH).await.stop().await;
    }
}

/// Whether any process holds the lock of a server's data.
fn is_held(data_dir: &Path, name: &str) -> bool {
    let file = std::fs::File::open(data_dir.join(name)).expect("it was made");
    file.try_lock().is_err()
}

#[tokio::test]
async fn servers_keep_the_locks_of_their_data_over_a_crash() {
    for options in [DaemonOptions::local(), as_ordinary_account()] {
        let daemon = Daemon::start(&options);
        let data_dir = &options.data_dir;
        let redis = redis_pid(&redis_url(data_dir)).await;
        let postmaster = postmaster_pid(data_dir);
        for (pid, name) in [(redis, "redis.lock"), (postmaster, "postgres.lock")] {
            let input = std::fs::read_link(format!("/proc/{pid}/fd/0")).expect("it can be read");
            assert_eq!(input, data_dir.join(name));
        }
        daemon.kill9();
        for name in ["redis.lock", "postgres.lock"] {
            assert!(is_held(data_dir, name), "{name}");
        }
        kill(Pid::from_raw(redis), Signal::SIGKILL).expect("it runs");
        kill(Pid::from_raw(postmaster), Signal::SIGKILL).expect("it runs");
        for name in ["redis.lock", "postgres.lock"] {
            eventually_true(PATIENCE, || async { !is_held(data_dir, name) }).await;
        }
        // In peace they are given back, too.
        assert!(Daemon::start(&options).terminate().0.success());
        assert!(!is_held(data_dir, "redis.lock") && !is_held(data_dir, "postgres.lock"));
    }
}

#[tokio::test]
async fn nothing_is_started_beside_what_an_earlier_run_left() {
    let options = DaemonOptions::local();
    let data_dir = &options.data_dir;
    assert!(Daemon::start(&options).terminate().0.success());
    for (name, server, data) in [
        ("redis.lock", "redis-server", "redis/appendonlydir"),
        ("postgres.lock", "postgres", "postgres/postmaster.pid"),
    ] {
        // As a server would that has just been started, and of which nothing is known yet.
        let lock = std::fs::File::open(data_dir.join(name)).expect("it was made");
        lock.lock().expect("nothing else holds it");
        let (daemon, output) = begin_heard(&options);
        eventually_true(PATIENCE, || async {
            output
                .lock()
                .expect("no holder panics")
                .contains("waiting until the processes of an earlier run have ended")
        })
        .await;
        let found = scratch::servers_under(data_dir);
        assert!(!found.iter().any(|(_, program)| program.ends_with(server)), "{data}: {found:?}");
        drop(lock);
        eventually_true(PATIENCE, || async { output.lock().expect("no holder panics").contains("listening on ") })
            .await;
        end(daemon);
    }
}
