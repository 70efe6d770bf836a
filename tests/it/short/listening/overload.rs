//! More requests than can be done: those that are taken are done, the others hear so at once, and nothing piles up.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::limits::series;
use crate::support::api::{Answer, id, number};
use crate::support::cut::Address;
use crate::support::{Api, Cut, Daemon, DaemonOptions, OwnRedis, PATIENCE, eventually_true};

const IN_FLIGHT: &str = "nowserving_http_requests_in_flight";
const SHED: &str = "nowserving_http_shed_total{reason=\"requests\"}";

/// A daemon that works on so many requests at a time, on a Redis that can be told to do no writes for a while.
async fn world(concurrent: usize, queue_timeout_ms: u64) -> (OwnRedis, Daemon, DaemonOptions) {
    let redis = OwnRedis::start().await;
    let mut options = DaemonOptions::migrated().await;
    options.redis_url = Some(redis.url());
    let options = options
        .with("NOWSERVING_HTTP_MAX_CONCURRENT_REQUESTS", concurrent)
        .with("NOWSERVING_HTTP_QUEUE_TIMEOUT_MS", queue_timeout_ms)
        .with("NOWSERVING_HTTP_REQUEST_TIMEOUT_MS", 120_000)
        .with("NOWSERVING_REDIS_TIMEOUT_MS", 60_000);
    let daemon = Daemon::start(&options);
    (redis, daemon, options)
}

/// Holds up all writes until [`go_on`]. (Not the whole server, since that would hold up the end of the pause, too.)
async fn hold_up(redis: &OwnRedis) {
    let mut pause = redis::cmd("CLIENT");
    let () =
        pause.arg("PAUSE").arg(60_000).arg("WRITE").query_async(&mut redis.connect().await).await.expect("it pauses");
}

async fn go_on(redis: &OwnRedis) {
    let () = redis::cmd("CLIENT").arg("UNPAUSE").query_async(&mut redis.connect().await).await.expect("it goes on");
}

/// Releases each of the orders over a connection of its own; the answers in the order in which they come.
fn release_all(daemon: &Daemon, orders: &[String]) -> mpsc::UnboundedReceiver<(String, Answer)> {
    let (answered, answers) = mpsc::unbounded_channel();
    for order in orders {
        let (api, order, answered) = (Api::at(daemon.url()), order.clone(), answered.clone());
        tokio::spawn(async move {
            let answer = api.release(&order, false).await;
            answered.send((order, answer)).ok();
        });
    }
    answers
}

async fn next(answers: &mut mpsc::UnboundedReceiver<(String, Answer)>) -> (String, Answer) {
    let answer = tokio::time::timeout(PATIENCE, answers.recv()).await.expect("an answer");
    answer.expect("every request is answered")
}

/// With room for four and a queue of four, forty come while Redis does nothing.
async fn forty_come_for_four(queue_timeout_ms: u64, shed: usize) {
    let (redis, daemon, options) = world(4, queue_timeout_ms).await;
    let api = Api::at(daemon.url());
    let mut orders = Vec::new();
    for _ in 0..40 {
        orders.push(id(&api.create(7, json!({})).await).to_owned());
    }
    hold_up(&redis).await;
    let mut answers = release_all(&daemon, &orders);
    // These hear it while Redis still does nothing, so they cannot have waited for it.
    let mut refused = BTreeSet::new();
    for _ in 0..shed {
        let (order, answer) = next(&mut answers).await;
        answer.problem(503, "overloaded");
        assert_eq!(answer.header("retry-after"), Some("1"));
        refused.insert(order);
    }
    assert_eq!((series(&api, IN_FLIGHT).await, series(&api, SHED).await), (4.0, shed as f64));
    // A client that looks at a daemon in trouble sees it.
    api.get("/healthz").await.ok(200);
    assert!([200, 503].contains(&api.get("/readyz").await.status));
    assert!(answers.try_recv().is_err(), "no other is answered yet");

    go_on(&redis).await;
    for _ in shed..40 {
        next(&mut answers).await.1.ok(200);
    }
    eventually_true(PATIENCE, || async { series(&api, IN_FLIGHT).await == 0.0 }).await;
    for order in &orders {
        let status = if refused.contains(order) { "pending" } else { "completed" };
        assert_eq!(api.order(order).await.ok(200)["status"], status, "refused is not done");
    }
    drop(daemon);
    assert!(options.run("verify", &[]).status.success());
}

#[tokio::test]
async fn as_many_wait_as_are_worked_on_and_no_more() {
    forty_come_for_four(60_000, 32).await;
}

#[tokio::test]
async fn no_request_waits_for_longer_than_the_queue_allows() {
    forty_come_for_four(50, 36).await;
}

#[tokio::test]
async fn clients_that_hang_up_make_no_room_for_more() {
    let (redis, daemon, _) = world(2, 50).await;
    let api = Api::at(daemon.url());
    let mut orders = Vec::new();
    for _ in 0..3 {
        orders.push(id(&api.create(7, json!({})).await).to_owned());
    }
    hold_up(&redis).await;
    let mut impatient = JoinSet::new();
    for order in &orders[..2] {
        let (api, order) = (Api::at(daemon.url()), order.clone());
        impatient.spawn(async move { api.release(&order, false).await });
    }
    eventually_true(PATIENCE, || async { series(&api, IN_FLIGHT).await == 2.0 }).await;
    impatient.shutdown().await;
    // Theirs are gone, the one that asks is left.
    eventually_true(PATIENCE, || async { series(&api, "nowserving_http_connections").await == 1.0 }).await;
    assert_eq!(series(&api, IN_FLIGHT).await, 2.0, "what they began still goes on");
    api.release(&orders[2], false).await.problem(503, "overloaded");
    go_on(&redis).await;
    eventually_true(PATIENCE, || async { series(&api, IN_FLIGHT).await == 0.0 }).await;
    for order in &orders[..2] {
        assert_eq!(api.order(order).await.ok(200)["status"], "completed");
    }
}

/// Each till asks for orders as fast as it is answered. Gives how long the accepted ones took, quickest first, and how
/// many were refused.
async fn rush(daemon: &Daemon, tills: usize, each: usize) -> (Vec<Duration>, usize, BTreeSet<u64>) {
    let mut tasks = JoinSet::new();
    for _ in 0..tills {
        let api = Api::at(daemon.url());
        tasks.spawn(async move {
            let (mut took, mut numbers, mut refused) = (Vec::new(), Vec::new(), 0);
            for _ in 0..each {
                let start = Instant::now();
                let answer = api.post("/v1/restaurants/7/orders", json!({})).await;
                if answer.status == 201 {
                    took.push(start.elapsed());
                    numbers.push(number(&answer.value()));
                } else {
                    answer.problem(503, "overloaded");
                    refused += 1;
                }
            }
            (took, numbers, refused)
        });
    }
    let (mut took, mut numbers, mut refused) = (Vec::new(), BTreeSet::new(), 0);
    for (some, given, turned_away) in tasks.join_all().await {
        took.extend(some);
        refused += turned_away;
        for number in given {
            assert!(numbers.insert(number), "{number} was given twice");
        }
    }
    took.sort();
    (took, refused, numbers)
}

/// Twenty times as many clients as places, over a slow network to Redis.
#[tokio::test(flavor = "multi_thread")]
async fn an_overload_is_bounded() {
    const PLACES: usize = 8;
    const TILLS: usize = 160;
    let redis = OwnRedis::start().await;
    let network = Cut::unix("s", Address::Unix(redis.socket()));
    let mut options = DaemonOptions::migrated().await;
    options.redis_url = Some(format!("unix://{}", network.socket().display()));
    let options = options
        .with("NOWSERVING_HTTP_MAX_CONCURRENT_REQUESTS", PLACES)
        .with("NOWSERVING_HTTP_QUEUE_TIMEOUT_MS", 200)
        .with("NOWSERVING_REDIS_TIMEOUT_MS", 20_000)
        .with("NOWSERVING_HTTP_REQUEST_TIMEOUT_MS", 60_000);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    api.create(7, json!({})).await;
    network.delay(Duration::from_millis(5));

    let (calm, refused, _) = rush(&daemon, PLACES, 10).await;
    assert_eq!((calm.len(), refused), (PLACES * 10, 0), "as many as there are places never wait");
    let mut most = 0.0_f64;
    let (accepted, refused, _) = {
        let mut storm = std::pin::pin!(rush(&daemon, TILLS, 10));
        loop {
            tokio::select! {
                done = &mut storm => break done,
                in_flight = series(&api, IN_FLIGHT) => most = most.max(in_flight),
            }
        }
    };
    println!(
        "calm: median {:?}; {TILLS} clients for {PLACES} places: {} accepted, median {:?}, slowest {:?}; {refused} refused",
        calm[calm.len() / 2],
        accepted.len(),
        accepted[accepted.len() / 2],
        accepted[accepted.len() - 1],
    );
    assert_eq!(accepted.len() + refused, TILLS * 10, "every request is answered");
    assert!(accepted.len() >= PLACES && refused > 0);
    assert!((1.0..=PLACES as f64).contains(&most), "{most} were in flight at once");
    assert_eq!(series(&api, SHED).await, refused as f64);
    assert_eq!(api.slots(7).await["live"], 1 + calm.len() + accepted.len());
    network.heal();
    drop(daemon);
    assert!(options.run("verify", &[]).status.success());
}
