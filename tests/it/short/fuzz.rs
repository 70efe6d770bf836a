//! Whatever is sent to an endpoint that the OpenAPI document names: no 5xx, and an answer that the document describes.
//!
//! The requests are drawn from the document of a running daemon alone, so a new route is covered as soon as it is
//! there. A run prints its seed; `NOWSERVING_FUZZ_SEED=… cargo test --test it fuzz` sends the same requests again (ids
//! that the daemon draws apart), `NOWSERVING_FUZZ_REQUESTS=…` sends more.

pub mod answers;
pub mod requests;

use std::collections::BTreeMap;
use std::str::FromStr;

use self::answers::Judge;
use self::requests::{Draw, Operation};
use crate::support::{Api, Daemon, DaemonOptions, OwnRedis};

const REQUESTS: usize = 2000;

/// A number from the environment.
fn given<T: FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a whole number")))
}

/// Who sends the requests: gives the Authorization of the next one, told whether the last one's was good no more.
type Caller<'a> = &'a mut dyn FnMut(bool) -> Option<String>;

/// Sends so many requests to the operations under a path, and counts the answers by operation and status.
async fn fuzz(
    api: &Api,
    under: &str,
    caller: Caller<'_>,
    seed: u64,
    requests: usize,
) -> BTreeMap<(String, u16), usize> {
    let document = api.get("/openapi.json").await.ok(200);
    let operations: Vec<_> =
        Operation::all(&document).into_iter().filter(|operation| operation.path.starts_with(under)).collect();
    let mut refused = false;
    let mut judge = Judge::new(&document);
    let mut draw = Draw::new(&document, seed);
    let mut counts = BTreeMap::new();
    for at in 0..requests {
        let operation = &operations[at % operations.len()];
        let request = draw.request(operation);
        let authorization = caller(refused);
        let mut all: Vec<(&str, &[u8])> = authorization.iter().map(|key| ("authorization", key.as_bytes())).collect();
        all.extend(request.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        let told = format!("seed {seed}, request {at}: {request}");
        let answer = api.try_send(&operation.method, &request.path, &all, request.body.clone()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{told}: no answer: {error:?}"));
        if let Err(fault) = judge.check(operation, &answer) {
            panic!("{told}\n{} {}: {fault}", answer.status, answer.text);
        }
        refused = answer.status == 401;
        draw.learn(&answer.text);
        *counts.entry((operation.name.clone(), answer.status)).or_default() += 1;
    }
    counts
}

fn print(counts: &BTreeMap<(String, u16), usize>) {
    for ((operation, status), count) in counts {
        println!("{count:5} × {status} {operation}");
    }
}

#[tokio::test]
async fn nothing_that_is_sent_is_a_failure_of_the_service() {
    let seed = given("NOWSERVING_FUZZ_SEED").unwrap_or_else(rand::random);
    let requests = given("NOWSERVING_FUZZ_REQUESTS").unwrap_or(REQUESTS);
    println!("NOWSERVING_FUZZ_SEED={seed}");
    // With a replica, so that every level can be given that a request may ask for.
    let redis = OwnRedis::start_master(&["--appendfsync", "always"]).await;
    let _replica = redis.start_replica().await;
    let mut options = DaemonOptions::migrated().await;
    options.redis_url = Some(redis.url());
    // A level that is late because the machine is busy is no fault.
    let options = options.with("NOWSERVING_DURABILITY_TIMEOUT_MS", 20_000);
    let options = options.with("NOWSERVING_HTTP_REQUEST_TIMEOUT_MS", 60_000);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let counts = fuzz(&api, "/", &mut |_| None, seed, requests).await;
    print(&counts);
    let of = |class: u16| counts.iter().filter(|((_, status), _)| status / 100 == class).map(|(_, n)| n).sum::<usize>();
    assert!(of(2) > requests / 5 && of(4) > requests / 5, "both good and bad requests are sent");
    // And it still works, on sound data.
    api.get("/readyz").await.ok(200);
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    let verified = options.run("verify", &[]);
    assert!(verified.status.success() && verified.stdout.contains(" 0 findings"), "seed {seed}: {verified:?}");
}

/// Keys are made and revoked with a key only: the other run gets no further than that.
#[tokio::test]
async fn nothing_that_is_sent_about_keys_is_a_failure_of_the_service() {
    let seed = given("NOWSERVING_FUZZ_SEED").unwrap_or_else(rand::random);
    let requests = given("NOWSERVING_FUZZ_REQUESTS").unwrap_or(REQUESTS) / 5;
    println!("NOWSERVING_FUZZ_SEED={seed}");
    let options = DaemonOptions::migrated().await.with("NOWSERVING_AUTH_MODE", "keys");
    let make = || {
        let made = options.run("keys", &["create", "--name", "fuzz", "--role", "admin"]);
        assert!(made.status.success(), "{made:?}");
        format!("Bearer {}", made.stdout.trim())
    };
    let mut key = make();
    let daemon = Daemon::start(&options);
    // It may revoke its own key, and goes on with another one.
    let mut caller = |refused: bool| {
        if refused {
            key = make();
        }
        Some(key.clone())
    };
    let counts = fuzz(&Api::at(daemon.url()), "/v1/keys", &mut caller, seed, requests).await;
    print(&counts);
    let count = |operation: &str, status| counts.get(&(operation.to_owned(), status)).copied().unwrap_or_default();
    for (operation, status) in [("POST /v1/keys", 201), ("POST /v1/keys", 422), ("DELETE /v1/keys/{key_id}", 200)] {
        assert!(count(operation, status) > 0, "seed {seed}: {operation} {status}: {counts:?}");
    }
}
