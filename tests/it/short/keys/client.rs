//! Callers with keys.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::api::Answer;
use crate::support::{Api, DaemonOptions};

/// A deployment on the shared servers whose daemons ask for keys, with its tables made.
pub async fn asking() -> DaemonOptions {
    DaemonOptions::migrated().await.with("NOWSERVING_AUTH_MODE", "keys")
}

/// Makes a key by the command, as its first user does; gives its text.
#[track_caller]
pub fn make(options: &DaemonOptions, arguments: &[&str]) -> String {
    let mut all = vec!["create", "--name", "a test's"];
    all.extend(arguments);
    let made = options.run("keys", &all);
    assert!(made.status.success(), "{made:?}");
    let text = made.stdout.trim();
    assert!(text.len() == 47 && text.starts_with("nsk_"), "the key, and nothing but the key: {made:?}");
    text.to_owned()
}

/// A connection to the ledger, for what no call can do.
pub async fn ledger(options: &DaemonOptions) -> PgConnection {
    let url = options.database_url.as_deref().expect("a Postgres that is not private");
    PgConnection::connect(url).await.expect("Postgres answers")
}

/// A call with whatever is in its Authorization header, and a JSON body if there is one.
pub async fn call_with(
    api: &Api,
    authorization: Option<&str>,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let mut headers: Vec<(&str, &[u8])> = Vec::new();
    if let Some(value) = authorization {
        headers.push(("authorization", value.as_bytes()));
    }
    if body.is_some() {
        headers.push(("content-type", b"application/json"));
    }
    api.send(method, path, &headers, body.map(|body| body.to_string().into_bytes())).await
}

/// A call with a key.
pub async fn call(api: &Api, key: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    call_with(api, Some(&format!("Bearer {key}")), method, path, body).await
}

/// A GET with a key.
pub async fn get(api: &Api, key: &str, path: &str) -> Answer {
    call(api, key, "GET", path, None).await
}

/// Creates an order, which must work.
pub async fn create(api: &Api, key: &str, restaurant: u32) -> Value {
    call(api, key, "POST", &format!("/v1/restaurants/{restaurant}/orders"), Some(&json!({}))).await.ok(201)
}

/// A well-formed key that was not made.
pub fn made_up() -> String {
    let random: [u8; 32] = rand::random();
    nowserving::domain::KeyText::of(random).expose().to_owned()
}
