//! First starts that are killed on their way: the next one, at once, comes up.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;

use super::world::{
    POSTGRES, as_ordinary_account, begin, begin_heard, closed_folder, end, is_root, is_there, kill9, names, redis, sql,
    start,
};
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually, eventually_true, scratch};

/// What an initdb makes, in this order: moments of its run, from the first to the last.
const MOMENTS: [&str; 7] =
    ["", "PG_VERSION", "postgresql.conf", "global/pg_control", "base/1/pg_filenode.map", "base/4", "base/5"];

/// Where the cluster is made: in the data folder, or elsewhere.
fn unfinished(data_dir: &Path) -> PathBuf {
    let home = std::fs::read_link(data_dir.join("elsewhere")).unwrap_or_else(|_| data_dir.to_owned());
    home.join("postgres.unfinished")
}

/// Kills a daemon at a moment of its initdb; the next start must come up, and leave nothing unfinished.
async fn killed_at(options: &DaemonOptions, moment: &str) {
    let data_dir = &options.data_dir;
    let daemon = begin(options);
    let start = Instant::now();
    // The last moments may have passed before they are seen: then it is killed after them, which must do as well.
    while !unfinished(data_dir).join(moment).exists() && !data_dir.join("postgres").exists() {
        assert!(start.elapsed() < PATIENCE * 2, "initdb does not come to {moment:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    kill9(daemon);
    comes_up(options).await;
}

async fn comes_up(options: &DaemonOptions) {
    let daemon = Daemon::start(options);
    let api = Api::at(daemon.url());
    api.create(7, json!({})).await;
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    assert!(!unfinished(&options.data_dir).exists());
    assert_eq!(scratch::servers_under(&options.data_dir), []);
    let verified = options.run("verify", &[]);
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test]
async fn initdb_can_be_killed_at_any_moment() {
    for moment in MOMENTS {
        killed_at(&DaemonOptions::local(), moment).await;
    }
}

#[tokio::test]
async fn initdb_of_an_ordinary_account_can_be_killed_at_any_moment() {
    for moment in ["", "global/pg_control"] {
        killed_at(&as_ordinary_account(), moment).await;
    }
}

#[tokio::test]
async fn an_initdb_elsewhere_can_be_killed_at_any_moment() {
    if !is_root() {
        return;
    }
    for moment in ["", "base/4"] {
        let (data_dir, _elsewhere) = closed_folder();
        let mut options = DaemonOptions::local();
        options.data_dir = data_dir.clone();
        killed_at(&options, moment).await;
        let home = std::fs::read_link(data_dir.join("elsewhere")).expect("it is a link");
        assert_eq!(names(&home), ["postgres", "redis"], "the same place was used again");
    }
}

/// The initdb of a data folder.
fn initdb_of(data_dir: &Path) -> Option<Pid> {
    let processes = std::fs::read_dir("/proc").expect("it can be read").flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let folder = data_dir.join("postgres.unfinished").display().to_string();
    let is_it = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut words = line.split('\0');
        words.next().is_some_and(|program| program.ends_with("/initdb")) && words.any(|word| word == folder)
    };
    pids.find(is_it).map(Pid::from_raw)
}

#[tokio::test]
async fn a_start_waits_for_the_initdb_of_a_killed_one() {
    let options = DaemonOptions::local();
    let daemon = begin(&options);
    let initdb = eventually(PATIENCE, || async {
        unfinished(&options.data_dir).join("PG_VERSION").exists().then(|| initdb_of(&options.data_dir)).flatten()
    })
    .await;
    kill9(daemon);
    // It leads a group, and with all that it started it stands still at this moment. (Before the kill would be too
    // early: the kernel hangs up on stopped groups when they lose their parent.)
    killpg(initdb, Signal::SIGSTOP).expect("it runs");
    let (daemon, output) = begin_heard(&options);
    let says = |text: &str| output.lock().expect("no holder panics").contains(text);
    eventually_true(PATIENCE, || async { says("waiting until the processes of an earlier run have ended") }).await;
    assert!(says(&format!("process {initdb}, initdb")), "{output:?}");
    assert!(!says("making the private Postgres cluster"), "{output:?}");
    assert_eq!(initdb_of(&options.data_dir), Some(initdb), "no other one was started");
    killpg(initdb, Signal::SIGCONT).expect("it is there");
    eventually_true(PATIENCE * 2, || async { says("listening on ") }).await;
    end(daemon);
    comes_up(&options).await;
}

#[tokio::test]
async fn one_start_after_the_other_can_be_killed() {
    // Each waits for what the one before it left, and leaves the same.
    let options = DaemonOptions::local();
    for _ in 0..4 {
        let daemon = begin(&options);
        let start = Instant::now();
        while !unfinished(&options.data_dir).join("PG_VERSION").exists() {
            assert!(start.elapsed() < PATIENCE * 2, "initdb does not begin");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        kill9(daemon);
    }
    comes_up(&options).await;
}

#[tokio::test]
async fn putting_the_cluster_in_place_can_be_interrupted_anywhere() {
    let mut points = vec![
        ("local_initdb_done:1", false),
        ("local_cluster_finished:1", false),
        ("local_server_spawned:1", false),
        ("local_server_spawned:2", false),
    ];
    if is_root() {
        // The first link is that to Redis.
        points.extend([("local_linked:1", true), ("local_linked:2", true), ("local_cluster_finished:1", true)]);
    }
    for (point, closed) in points {
        let (closed_dir, _elsewhere) = closed_folder();
        let mut options = DaemonOptions::local();
        if closed {
            options.data_dir = closed_dir;
        }
        let interrupted = options.clone().with("NOWSERVING_FAILPOINT", point);
        let (status, output) = Daemon::try_start(&interrupted).err().expect("it is killed on its way");
        assert!(!status.success(), "{point}: {output}");
        comes_up(&options).await;
    }
}

#[tokio::test]
async fn an_interrupted_first_start_is_harmless() {
    let data_dir = scratch::folder("half");
    std::fs::create_dir(data_dir.join("postgres.unfinished")).expect("it is ours");
    std::fs::write(data_dir.join("postgres.unfinished/PG_VERSION"), "15").expect("it is ours");
    start(&data_dir, POSTGRES).await.stop().await;
    assert!(!is_there(&data_dir, "postgres.unfinished"));
}

#[tokio::test]
async fn an_initdb_ends_with_a_start_that_is_told_to_stop() {
    let options = DaemonOptions::local();
    let mut daemon = begin(&options);
    let start = Instant::now();
    while !unfinished(&options.data_dir).join("global/pg_control").exists() {
        assert!(start.elapsed() < PATIENCE * 2, "initdb does not begin");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let pid = i32::try_from(daemon.id()).expect("pids are small");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it is our child");
    assert!(daemon.wait().expect("it is our child").success());
    eventually_true(PATIENCE, || async { scratch::servers_under(&options.data_dir).is_empty() }).await;
    comes_up(&options).await;
}

#[tokio::test]
async fn migrations_can_be_killed_anywhere() {
    for count in ["1", "6"] {
        let options = DaemonOptions::local();
        let daemon = begin(&options);
        let url = nowserving::local::postgres::url(&options.data_dir.join("run/postgres"), "nowserving");
        let start = Instant::now();
        // They may all be done before it is killed, which must do as well.
        loop {
            assert!(start.elapsed() < PATIENCE * 2, "the tables are not made");
            let done = sql(&url, "SELECT count(*)::text FROM _sqlx_migrations").await;
            if done.is_ok_and(|done| done.parse::<u32>().is_ok_and(|done| done >= count.parse().expect("a number"))) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        kill9(daemon);
        comes_up(&options).await;
    }
}

#[tokio::test]
async fn of_starts_at_once_one_comes_up() {
    let options = DaemonOptions::local();
    let starts: Vec<_> = (0..3)
        .map(|_| {
            let options = options.clone();
            std::thread::spawn(move || Daemon::try_start(&options))
        })
        .collect();
    let outcomes: Vec<_> = starts.into_iter().map(|start| start.join().expect("no start panics")).collect();
    let (up, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((up.len(), refused.len()), (1, 2));
    let daemon = up.into_iter().flatten().next().expect("one is up");
    for (status, output) in refused.into_iter().filter_map(Result::err) {
        assert_eq!(status.code(), Some(1), "{output}");
        let expected = format!("in use by process {} (nowserving serve): stop that one", daemon.pid());
        assert!(output.contains(&expected), "{output}");
    }
    Api::at(daemon.url()).create(7, json!({})).await;
    let url = nowserving::local::redis::url(&options.data_dir.join("run/redis/redis.sock"));
    redis(&url, &["PING"]).await.expect("Redis answers");
    assert!(daemon.terminate().0.success());
}
