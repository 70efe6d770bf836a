//! The accounts that the private servers run under, and who finds them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::json;

use super::world::{
    BOTH, Elsewhere, account_of, as_ordinary_account, closed_folder, is_root, is_there, names, nobody, postmaster_pid,
    redis, redis_pid, refusal, servers_account, sql, start,
};
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true, scratch};

fn owner(path: &Path) -> u32 {
    path.metadata().expect("it is there").uid()
}

/// The process that the data folder says is its Redis.
fn recorded_redis(data_dir: &Path) -> i32 {
    let text = std::fs::read_to_string(data_dir.join("redis.pid")).expect("Redis runs");
    text.trim().parse().expect("a pid is a number")
}

#[tokio::test]
async fn servers_of_root_are_not_root() {
    if !is_root() {
        return;
    }
    let (closed, _elsewhere) = closed_folder();
    for data_dir in [scratch::folder("open"), closed] {
        let servers = start(&data_dir, BOTH).await;
        let redis_pid = redis_pid(servers.redis_url().expect("Redis was wanted")).await;
        assert_eq!(recorded_redis(&data_dir), redis_pid);
        for pid in [redis_pid, postmaster_pid(&data_dir)] {
            assert_eq!(account_of(pid), servers_account());
        }
        for name in ["redis", "postgres"] {
            assert_eq!(owner(&data_dir.join(name)), servers_account());
        }
        // What root itself writes lies where only root can write.
        for name in ["", "lock", "redis.lock", "postgres.lock", "redis.pid", "redis.log", "postgres.log"] {
            assert_eq!(owner(&data_dir.join(name)), 0, "{name}");
        }
        servers.stop().await;
    }
}

#[tokio::test]
async fn what_the_account_cannot_get_into_stands_elsewhere() {
    if !is_root() {
        return;
    }
    let (data_dir, _elsewhere) = closed_folder();
    let servers = start(&data_dir, BOTH).await;
    let url = servers.redis_url().expect("Redis was wanted").to_owned();
    redis(&url, &["SET", "order", "42"]).await.expect("Redis answers");
    let database = servers.database_url().expect("Postgres was wanted").to_owned();
    sql(&database, "CREATE TABLE kept AS SELECT '42'::text AS number").await.expect("Postgres answers");
    servers.stop().await;
    let home = std::fs::read_link(data_dir.join("elsewhere")).expect("it is a link");
    assert_eq!(home.parent(), Some(Path::new("/var/lib/nowserving")), "{}", home.display());
    for name in ["redis", "postgres"] {
        assert_eq!(std::fs::read_link(data_dir.join(name)).expect("it is a link"), home.join(name));
    }
    assert_eq!(names(&home), ["postgres", "redis"]);

    let servers = start(&data_dir, BOTH).await;
    assert_eq!(redis(&url, &["GET", "order"]).await, Ok("42".into()));
    assert_eq!(sql(&database, "SELECT number FROM kept").await.expect("Postgres answers"), "42");
    servers.stop().await;

    // A link that is taken away means an empty server, and the data that it led to is still kept.
    for name in ["redis", "postgres"] {
        std::fs::remove_file(data_dir.join(name)).expect("it is a link");
    }
    let servers = start(&data_dir, BOTH).await;
    redis(&url, &["GET", "order"]).await.expect_err("nil: it is an empty one");
    sql(&database, "SELECT number FROM kept").await.expect_err("it is an empty one");
    servers.stop().await;
    let kept = names(&home);
    for name in ["redis", "postgres"] {
        assert!(kept.iter().any(|other| other.starts_with(&format!("{name}.unlinked-"))), "{kept:?}");
    }

    std::fs::remove_dir_all(&home).expect("nothing uses it any more");
    let said = refusal(&data_dir, BOTH).await;
    assert!(said.contains("which is gone: bring it back, or delete the link"), "{said}");
    for name in ["redis", "postgres"] {
        std::fs::remove_file(data_dir.join(name)).expect("it is a link");
    }
    start(&data_dir, BOTH).await.stop().await;
}

#[tokio::test]
async fn a_folder_made_again_is_apart_from_its_predecessor() {
    if !is_root() {
        return;
    }
    let (data_dir, _elsewhere) = closed_folder();
    start(&data_dir, BOTH).await.stop().await;
    let first = std::fs::read_link(data_dir.join("elsewhere")).expect("it is a link");
    // As after `rm -r .nowserving`.
    let aside = data_dir.with_file_name("aside");
    std::fs::rename(&data_dir, &aside).expect("it is ours");
    let _first = Elsewhere::of(aside);
    start(&data_dir, BOTH).await.stop().await;
    let second = std::fs::read_link(data_dir.join("elsewhere")).expect("it is a link");
    assert_ne!(first, second);
    assert_eq!(names(&first), names(&second));
}

#[tokio::test]
async fn data_follows_when_a_folder_is_closed_to_the_account() {
    if !is_root() {
        return;
    }
    let (data_dir, _elsewhere) = closed_folder();
    let closed = data_dir.parent().expect("it has one");
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(closed, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    mode(0o711);
    let servers = start(&data_dir, BOTH).await;
    redis(servers.redis_url().expect("Redis was wanted"), &["SET", "order", "42"]).await.expect("Redis answers");
    servers.stop().await;
    assert!(!is_there(&data_dir, "elsewhere"));
    mode(0o700);
    // A cluster is not moved: that is for its owner to decide.
    let said = refusal(&data_dir, BOTH).await;
    assert!(said.contains("the account that Postgres runs under cannot get into"), "{said}");
    assert!(said.contains("`chmod o+x`"), "{said}");
    // Nor is what came up before it was refused left to be taken for a healthy server by the next start.
    assert_eq!(scratch::servers_under(&data_dir), []);
    let servers = start(&data_dir, super::world::REDIS).await;
    let url = servers.redis_url().expect("Redis was wanted");
    assert_eq!(redis(url, &["GET", "order"]).await, Ok("42".into()));
    assert!(std::fs::read_link(data_dir.join("redis")).expect("it is a link").starts_with("/var/lib/nowserving"));
    servers.stop().await;
}

/// The commands find the servers of a daemon, and start them where none runs.
async fn commands_work(options: &DaemonOptions, account: u32) {
    let daemon = Daemon::start(options);
    let api = Api::at(daemon.url());
    api.create(7, json!({})).await;
    eventually_true(PATIENCE, || async { api.get("/readyz").await.status == 200 }).await;
    for pid in [recorded_redis(&options.data_dir), postmaster_pid(&options.data_dir)] {
        assert_eq!(account_of(pid), account);
    }
    // The months ahead are made in the first moments.
    eventually_true(PATIENCE, || async { options.run("doctor", &[]).status.success() }).await;
    for command in ["verify", "migrate", "cleanup"] {
        let done = options.run(command, &[]);
        assert!(done.status.success(), "while the daemon runs: {command}: {done:?}");
    }
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/orders.csv");
    let text = std::fs::read_to_string(sample).expect("the sample is there");
    let csv = scratch::folder("csv").join("orders.csv");
    std::fs::write(&csv, text).expect("a file can be made in our own folder");
    let csv = csv.display().to_string();
    let done = options.run("backfill", &["--dry-run", "--csv", &csv]);
    assert!(done.status.success(), "while the daemon runs: {done:?}");
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    for command in ["verify", "migrate", "cleanup"] {
        let done = options.run(command, &[]);
        assert!(done.status.success(), "on its own: {command}: {done:?}");
    }
    assert!(options.run("verify", &[]).stdout.contains("1 restaurants verified, 0 findings"));
    assert_eq!(scratch::servers_under(&options.data_dir), []);
}

#[tokio::test]
async fn commands_of_root_find_what_root_runs() {
    if !is_root() {
        return;
    }
    commands_work(&DaemonOptions::local(), servers_account()).await;
    let (data_dir, _elsewhere) = closed_folder();
    let mut options = DaemonOptions::local();
    options.data_dir = data_dir;
    commands_work(&options, servers_account()).await;
}

#[tokio::test]
async fn commands_of_an_ordinary_account_find_what_it_runs() {
    let options = as_ordinary_account();
    let account = options.account.map_or_else(|| nix::unistd::Uid::effective().as_raw(), |(uid, _)| uid);
    commands_work(&options, account).await;
    for name in names(&options.data_dir) {
        assert_eq!(owner(&options.data_dir.join(&name)), account, "{name}");
    }
    assert!(account != 0 && (options.account.is_none() || account == nobody().0));
}
