//! Data folders with names of all kinds: paths go into command lines, settings files, URLs and sockets.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::json;

use super::world::{BOTH, redis, sql, start};
use crate::support::{Api, Daemon, DaemonOptions, scratch};

/// A daemon starts there, is killed, goes on, and ends; other commands find its servers.
async fn works_in(name: &str) {
    let mut options = DaemonOptions::local();
    options.data_dir = options.data_dir.join(name);
    let daemon = Daemon::start(&options);
    Api::at(daemon.url()).create(7, json!({"customer_name": name})).await;
    daemon.kill9();
    let daemon = Daemon::start(&options);
    assert!(daemon.output().contains("adopted the private server"), "{name}: {}", daemon.output());
    assert_eq!(Api::at(daemon.url()).live(7).await.len(), 1, "{name}");
    let found = options.run("dead-letters", &["list"]);
    assert!(found.status.success(), "{name}: {found:?}");
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{name}: {output}");
    assert_eq!(scratch::servers_under(&options.data_dir), [], "{name}");
    let verified = options.run("verify", &[]);
    assert!(verified.status.success() && verified.stdout.contains("1 restaurants verified"), "{name}: {verified:?}");
}

#[tokio::test]
async fn spaces_and_quotes() {
    works_in("it's \"our\" folder, really").await;
}

#[tokio::test]
async fn letters_of_any_script() {
    works_in("Küche кухня 店 مطبخ 🌮").await;
}

#[tokio::test]
async fn what_urls_and_shells_read_otherwise() {
    works_in("-a %20#b?c&d=e+f;$HOME`x`\\n{}[]*~@:").await;
}

#[tokio::test]
async fn a_long_name_of_few_letters() {
    // 60 letters, 180 bytes.
    works_in(&"店".repeat(60)).await;
}

#[tokio::test]
async fn a_name_that_is_no_text() {
    let data_dir = scratch::folder("bytes").join(OsStr::from_bytes(b"caf\xe9"));
    let servers = start(&data_dir, BOTH).await;
    let url = servers.redis_url().expect("Redis was wanted");
    assert_eq!(redis(url, &["PING"]).await.expect("Redis answers"), "PONG");
    let url = servers.database_url().expect("Postgres was wanted");
    assert_eq!(sql(url, "SELECT 'here'").await.expect("Postgres answers"), "here");
    servers.stop().await;
    assert!(Path::new(&data_dir).join("postgres/PG_VERSION").exists());
}
