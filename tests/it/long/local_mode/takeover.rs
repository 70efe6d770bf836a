//! Data folders as earlier versions laid them out: they are taken over with all that is in them.

use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use super::world::{
    BOTH, EarlierRedis, REDIS, as_ordinary_account, closed_folder, is_root, is_there, names, redis, refusal,
    servers_account, start,
};
use crate::support::{Api, Daemon, DaemonOptions, scratch};

/// A data folder of an earlier version, with an order in its Redis; root owned it all.
async fn earlier(data_dir: &Path) -> EarlierRedis {
    std::fs::create_dir_all(data_dir).expect("it can be made");
    let earlier = EarlierRedis::start(data_dir).await;
    redis(&earlier.url, &["SET", "order", "42"]).await.expect("Redis answers");
    earlier
}

/// Everything in a server's folder belongs to its account.
fn assert_given(folder: &Path, account: u32) {
    for name in names(folder) {
        let path = folder.join(&name);
        assert_eq!(path.symlink_metadata().expect("it is there").uid(), account, "{}", path.display());
        if path.is_dir() {
            assert_given(&path, account);
        }
    }
    assert_eq!(folder.metadata().expect("it is there").uid(), account, "{}", folder.display());
}

#[tokio::test]
async fn the_redis_of_a_root_that_ran_it_as_itself_is_taken_over() {
    if !is_root() {
        return;
    }
    let (closed, _elsewhere) = closed_folder();
    let (closed_too, _elsewhere_too) = closed_folder();
    let folders =
        [(scratch::folder("open"), false), (scratch::folder("open"), true), (closed, false), (closed_too, true)];
    for (data_dir, runs) in folders {
        let earlier = earlier(&data_dir).await;
        // Redis's own advice for a backup.
        let log = data_dir.join("redis/appendonlydir/appendonly.aof.1.incr.aof");
        let backup = data_dir.join("backup.aof");
        std::fs::hard_link(&log, &backup).expect("it is the same disk");
        let running = if runs {
            // Its daemon was killed.
            Some(earlier)
        } else {
            earlier.stop();
            None
        };
        let servers = start(&data_dir, BOTH).await;
        if let Some(earlier) = running {
            earlier.assert_ended();
        }
        let url = servers.redis_url().expect("Redis was wanted").to_owned();
        assert_eq!(redis(&url, &["GET", "order"]).await, Ok("42".into()));
        redis(&url, &["SET", "next", "43"]).await.expect("Redis answers");
        servers.stop().await;
        let is_closed = is_there(&data_dir, "elsewhere");
        assert_eq!(is_closed, data_dir.ends_with("data"));
        assert_given(&data_dir.join("redis").canonicalize().expect("it is there"), servers_account());
        assert_eq!(backup.metadata().expect("it is there").uid(), 0, "a backup stays whose it is");
        for left in ["redis.moved", "redis.unfinished", "run/redis.sock", "probe"] {
            assert!(!is_there(&data_dir, left), "{left}");
        }
        let servers = start(&data_dir, REDIS).await;
        for (key, value) in [("order", "42"), ("next", "43")] {
            assert_eq!(redis(&url, &["GET", key]).await, Ok(value.into()));
        }
        servers.stop().await;
    }
}

#[tokio::test]
async fn a_cluster_that_an_earlier_version_put_elsewhere_is_joined_by_redis() {
    if !is_root() {
        return;
    }
    let (data_dir, _elsewhere) = closed_folder();
    start(&data_dir, BOTH).await.stop().await;
    // There was no such link, and Redis was in the data folder.
    let home = std::fs::read_link(data_dir.join("elsewhere")).expect("it is a link");
    for name in ["elsewhere", "redis"] {
        std::fs::remove_file(data_dir.join(name)).expect("it is a link");
    }
    std::fs::remove_dir_all(home.join("redis")).expect("it is there");
    earlier(&data_dir).await.stop();
    let servers = start(&data_dir, BOTH).await;
    assert_eq!(redis(servers.redis_url().expect("Redis was wanted"), &["GET", "order"]).await, Ok("42".into()));
    servers.stop().await;
    assert_eq!(std::fs::read_link(data_dir.join("elsewhere")).expect("it is a link"), home);
    assert_eq!(names(&home), ["postgres", "redis"]);
}

#[tokio::test]
async fn the_redis_of_an_ordinary_account_is_taken_over() {
    let options = as_ordinary_account();
    let earlier = earlier(&options.data_dir).await;
    let daemon = Daemon::start(&options);
    earlier.assert_ended();
    Api::at(daemon.url()).create(7, serde_json::json!({})).await;
    let url = nowserving::local::redis::url(&options.data_dir.join("run/redis/redis.sock"));
    assert_eq!(redis(&url, &["GET", "order"]).await, Ok("42".into()));
    assert!(daemon.terminate().0.success());
}

/// Starts a daemon that is killed at a point, and then one that is not.
async fn interrupted_at(data_dir: &Path, point: &str) {
    let mut options = DaemonOptions::local();
    options.data_dir = data_dir.to_owned();
    options.environment.push(("NOWSERVING_FAILPOINT".into(), point.into()));
    let (status, output) = Daemon::try_start(&options).err().expect("it is killed on its way");
    assert_eq!(status.signal(), Some(9), "{point}: {output}");
    let servers = start(data_dir, REDIS).await;
    let url = servers.redis_url().expect("Redis was wanted");
    assert_eq!(redis(url, &["GET", "order"]).await, Ok("42".into()), "{point}");
    servers.stop().await;
    for left in ["redis.moved", "redis.unfinished", "probe"] {
        assert!(!is_there(data_dir, left), "{point}: {left}");
    }
    assert_given(&data_dir.join("redis").canonicalize().expect("it is there"), servers_account());
}

#[tokio::test]
async fn giving_data_away_can_be_interrupted_anywhere() {
    if !is_root() {
        return;
    }
    for point in ["local_given:1", "local_given:2", "local_given:3", "local_file_copied:1"] {
        let data_dir = scratch::folder("given");
        earlier(&data_dir).await.stop();
        if point.starts_with("local_file") {
            let log = data_dir.join("redis/appendonlydir/appendonly.aof.1.incr.aof");
            std::fs::hard_link(&log, data_dir.join("backup.aof")).expect("it is the same disk");
        }
        interrupted_at(&data_dir, point).await;
    }
}

#[tokio::test]
async fn moving_data_can_be_interrupted_anywhere() {
    if !is_root() {
        return;
    }
    for point in ["local_copied:1", "local_moved:1", "local_linked:1", "local_move_finished:1"] {
        let (data_dir, _elsewhere) = closed_folder();
        earlier(&data_dir).await.stop();
        interrupted_at(&data_dir, point).await;
        let home = std::fs::read_link(data_dir.join("elsewhere")).expect("it is a link");
        let left: Vec<String> = names(&home).into_iter().filter(|name| name.starts_with("redis")).collect();
        assert_eq!(left, ["redis"], "{point}");
    }
}

#[tokio::test]
async fn a_link_in_the_data_of_redis_is_not_followed() {
    if !is_root() {
        return;
    }
    let data_dir = scratch::folder("strange");
    earlier(&data_dir).await.stop();
    let precious = super::world::Precious::file(scratch::folder("precious").join("it"));
    symlink(precious.path(), data_dir.join("redis/appendonlydir/odd")).expect("a link can be made");
    let said = refusal(&data_dir, REDIS).await;
    assert!(said.contains("appendonlydir/odd is not a file or folder that this account made"), "{said}");
    precious.assert_untouched(&said);
    std::fs::remove_file(data_dir.join("redis/appendonlydir/odd")).expect("it is a link");
    let servers = start(&data_dir, REDIS).await;
    assert_eq!(redis(servers.redis_url().expect("Redis was wanted"), &["GET", "order"]).await, Ok("42".into()));
    servers.stop().await;
}
