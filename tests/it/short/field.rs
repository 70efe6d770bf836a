//! Requests as clients in the field send them: old ones and careless ones, browsers, libraries that cannot do all of HTTP.

mod addresses;
mod bodies;
mod browsers;
mod conditions;
mod words;

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::support::api::Wire;
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE};

/// A client of a daemon without keys that these tests share.
async fn api() -> Api {
    static DAEMON: OnceCell<Daemon> = OnceCell::const_new();
    let daemon = DAEMON.get_or_init(|| async { Daemon::start(&DaemonOptions::migrated().await) }).await;
    Api::at(daemon.url())
}

/// A restaurant that no other test has.
fn restaurant() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(3000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a daemon answers to bytes that no library would send: the status, the head in small letters, the body where it is
/// JSON.
async fn raw(api: &Api, line: &str, fields: &[&str], body: &[u8]) -> (u16, String, Value) {
    let mut wire = Wire::to(api).await;
    let mut head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n");
    fields.iter().for_each(|field| head.push_str(&format!("{field}\r\n")));
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    wire.write(&[head.as_bytes(), body].concat()).await;
    let (status, head, body) = timeout(PATIENCE, wire.read()).await.expect("an answer");
    (status, head, serde_json::from_str(&body).unwrap_or_default())
}

const JSON: &str = "Content-Type: application/json";
