//! What a daemon asks of Redis when nothing happens, and when many ask how it is.

use std::time::{Duration, Instant};

use crate::support::{self, Api, Daemon, DaemonOptions, OwnRedis, PATIENCE, Proxy, eventually, eventually_true};
use serde_json::json;
use tokio::task::JoinSet;

/// Commands that a Redis has served since it was started. The question is one.
async fn commands(redis: &OwnRedis) -> u64 {
    let info = redis.info("total_commands_processed").await.expect("every server says so");
    info.parse().expect("a count")
}

#[tokio::test]
async fn an_idle_daemon_sends_at_most_fifty_commands_a_second() {
    for partitions in [1, 64, 1024] {
        let redis = OwnRedis::start().await;
        let mut options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", partitions);
        options.redis_url = Some(redis.url());
        let daemon = Daemon::start(&options);
        let api = Api::at(daemon.url());
        for restaurant in 1..=20 {
            api.create(restaurant, json!({})).await;
        }
        // It comes to rest: then a whole span of its periodic work is looked at. (A busy machine only makes it slower.)
        let quiet = eventually(PATIENCE * 2, || async {
            let (before, start) = (commands(&redis).await, Instant::now());
            tokio::time::sleep(Duration::from_secs(4)).await;
            let a_second = (commands(&redis).await - before) as f64 / start.elapsed().as_secs_f64();
            println!("{partitions} partitions: {a_second:.0} commands a second");
            (a_second <= 50.0).then_some(a_second)
        })
        .await;
        assert!(quiet > 0.0, "it looks after its Redis");
        // It is woken by what happens: nothing waits for a look that comes rarely.
        let order = api.create(7, json!({})).await;
        let events = format!("/v1/orders/{}/events", support::api::id(&order));
        eventually_true(PATIENCE, || async {
            let answer = api.get(&events).await;
            answer.status == 200 && answer.value()["events"] != json!([])
        })
        .await;
    }
}

/// However many ask, and however long Redis takes, one look answers them all.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_ask_whether_it_is_ready_share_a_look() {
    const ASK: usize = 200;
    let redis = OwnRedis::start().await;
    let proxy = Proxy::start(&redis.socket());
    let mut options = DaemonOptions::migrated().await;
    options.redis_url = Some(proxy.url());
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    api.get("/readyz").await.ok(200);
    // For a quarter of a second that look is good.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = proxy.recorded("PING").len();
    proxy.hold_answers("PING");
    let mut callers = JoinSet::new();
    for _ in 0..ASK {
        let api = api.clone();
        callers.spawn(async move { api.get("/readyz").await.status });
    }
    // Most of them wait for the first look by the time that it is answered.
    eventually_true(PATIENCE, || async {
        let text = api.get("/metrics").await.text;
        let open = text.lines().find_map(|line| line.strip_prefix("nowserving_http_connections "));
        open.and_then(|open| open.parse::<f64>().ok()) > Some(ASK as f64 / 2.0)
    })
    .await;
    assert!(proxy.recorded("PING").len() > before, "a daemon looks");
    proxy.go_on();
    // Where Redis took longer than a look may take, those who shared it hear that.
    assert!(callers.join_all().await.into_iter().all(|status| [200, 503].contains(&status)));
    eventually_true(PATIENCE, || async { api.get("/readyz").await.status == 200 }).await;
    let looks = proxy.recorded("PING").len() - before;
    println!("{ASK} questions, {looks} looks");
    // Those that come when it is answered, and a quarter of a second has passed, cause one more.
    assert!(looks * 10 <= ASK, "{looks} looks for {ASK} questions");
}
