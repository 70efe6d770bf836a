//! Kitchen screens: lists of live orders are shared, read in pieces and over a lane of their own, and never old.

use std::collections::BTreeSet;

use crate::support::api::{id, text};
use crate::support::{self, Answer, Api, Daemon, DaemonOptions, OwnRedis, PATIENCE, Proxy, eventually_true};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

/// A daemon behind a proxy, for screens, and another one that is not, for tills.
struct World {
    proxy: Proxy,
    _redis: OwnRedis,
    _daemons: [Daemon; 2],
    screens: Api,
    tills: Api,
}

impl World {
    async fn new(redis_timeout_ms: u64) -> Self {
        let redis = OwnRedis::start().await;
        let proxy = Proxy::start(&redis.socket());
        let mut options = DaemonOptions::migrated().await.with("NOWSERVING_HTTP_MAX_CONCURRENT_REQUESTS", 400);
        options.redis_url = Some(redis.url());
        let behind = DaemonOptions { redis_url: Some(proxy.url()), ..options.clone() };
        let behind = behind.with("NOWSERVING_REDIS_TIMEOUT_MS", redis_timeout_ms);
        let daemons = [Daemon::start(&behind), Daemon::start(&options)];
        let [screens, tills] = [&daemons[0], &daemons[1]].map(|daemon| Api::at(daemon.url()));
        Self { proxy, _redis: redis, _daemons: daemons, screens, tills }
    }

    async fn fill(&self, restaurant: u32, orders: usize) {
        let created = stream::iter(0..orders).map(|_| self.tills.create(restaurant, json!({})));
        created.buffer_unordered(16).collect::<Vec<Value>>().await;
    }

    /// A screen asks for a list; the answer comes later.
    fn ask(&self, path: &'static str) -> JoinHandle<Answer> {
        let screens = self.screens.clone();
        tokio::spawn(async move { screens.get(path).await })
    }

    /// Reads of the ids of a restaurant's live orders so far.
    fn reads(&self) -> usize {
        self.proxy.recorded("HKEYS").len()
    }
}

fn ids(answer: &Answer) -> BTreeSet<String> {
    let list = answer.ok(200);
    list["orders"].as_array().expect("a list").iter().map(|order| id(order).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_ask_share_a_read_that_has_not_begun() {
    const SCREENS: usize = 60;
    let world = World::new(60_000).await;
    world.fill(7, 30).await;
    world.proxy.hold_answers("HKEYS");
    let first = world.ask("/v1/restaurants/7/orders");
    eventually_true(PATIENCE, || async { world.reads() == 1 }).await;
    // Redis has served that read. What is acknowledged now is not in it, so no client that asks from now on may get it.
    let later = world.tills.create(7, json!({})).await;
    let screens: Vec<_> = (0..SCREENS).map(|_| world.ask("/v1/restaurants/7/orders")).collect();
    eventually_true(PATIENCE, || async {
        let text = world.screens.get("/metrics").await.text;
        let in_flight = text.lines().find_map(|line| line.strip_prefix("nowserving_http_requests_in_flight "));
        in_flight.and_then(|count| count.parse::<f64>().ok()) == Some(SCREENS as f64 + 1.0)
    })
    .await;
    assert_eq!(world.reads(), 1, "the others wait for the next one");
    world.proxy.go_on();
    assert!(!ids(&first.await.expect("it ends")).contains(id(&later)));
    for screen in screens {
        let seen = ids(&screen.await.expect("it ends"));
        assert!(seen.len() == 31 && seen.contains(id(&later)), "{} orders", seen.len());
    }
    assert_eq!(world.reads(), 2, "one read for all that waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_is_in_every_list() {
    let world = World::new(60_000).await;
    let mut tills = JoinSet::new();
    for till in 0..4 {
        let (tills_api, screens) = (world.tills.clone(), world.screens.clone());
        tills.spawn(async move {
            for round in 0..25 {
                let order = tills_api.create(7, json!({})).await;
                let path = "/v1/restaurants/7/orders?limit=1000";
                assert!(ids(&screens.get(path).await).contains(id(&order)), "till {till}, round {round}: not there");
                let status = ["preparing", "ready"][round % 2];
                tills_api.patch(id(&order), json!({ "status": status })).await.ok(200);
                let list = screens.get(path).await.ok(200);
                let seen = list["orders"].as_array().expect("a list").iter().find(|seen| id(seen) == id(&order));
                assert_eq!(text(seen.expect("it is live"), "status"), status);
                if round % 3 == 0 {
                    tills_api.release(id(&order), true).await.ok(200);
                    assert!(!ids(&screens.get(path).await).contains(id(&order)), "it has ended");
                }
            }
        });
    }
    tills.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_in_pieces_and_no_further_than_it_goes() {
    let world = World::new(60_000).await;
    world.fill(7, 700).await;
    let sizes = |from: usize| -> Vec<usize> {
        world
            .proxy
            .recorded("HMGET")
            .split_off(from)
            .iter()
            .filter(|call| is_of_orders(call))
            .map(|call| call.len() - 2)
            .collect()
    };
    let read = async |path: &str| {
        let before = world.proxy.recorded("HMGET").len();
        let found = ids(&world.screens.get(path).await).len();
        (found, sizes(before))
    };
    // One more than is shown says whether there are more.
    assert_eq!(read("/v1/restaurants/7/orders?limit=1").await, (1, vec![2]));
    assert_eq!(read("/v1/restaurants/7/orders?limit=250").await, (250, vec![200, 51]));
    assert_eq!(read("/v1/restaurants/7/orders?limit=1000").await, (700, vec![200, 200, 200, 100]));
    // Of those that no order has, all have to be looked at; each piece is bounded.
    assert_eq!(read("/v1/restaurants/7/orders?status=ready&limit=5").await, (0, vec![200, 200, 200, 100]));
}

/// Where a restaurant has very many orders, the ids come in pieces, too.
#[tokio::test(flavor = "multi_thread")]
async fn no_command_reads_more_than_a_piece_of_very_many_orders() {
    const ORDERS: usize = 5_050;
    let world = World::new(60_000).await;
    world.tills.configure(7, json!({ "max_number": 9_999 })).await;
    world.fill(7, ORDERS).await;
    let (mut seen, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = world.screens.get(&format!("/v1/restaurants/7/orders?limit=1000{after}")).await;
        seen.extend(ids(&page));
        let Some(cursor) = page.ok(200)["next_cursor"].as_str().map(str::to_owned) else { break };
        after = format!("&cursor={cursor}");
    }
    assert_eq!(seen.len(), ORDERS);
    assert_eq!(world.reads(), 0, "no command reads all ids at once");
    let scans = world.proxy.recorded("HSCAN");
    assert!(scans.len() >= ORDERS / 200, "{} pieces", scans.len());
    assert!(scans.iter().all(|scan| scan[3..] == [b"COUNT".to_vec(), b"200".to_vec()]));
}

/// Whether an HMGET reads orders: the fence has fields of its own.
fn is_of_orders(call: &support::proxy::Command) -> bool {
    call[1].windows(7).any(|part| part == b":order:")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_takes_too_long_is_not_sent_again() {
    let world = World::new(300).await;
    world.fill(7, 5).await;
    world.proxy.hold_answers("HKEYS");
    let answer = world.screens.get("/v1/restaurants/7/orders").await;
    answer.problem(503, "unavailable");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(world.reads(), 1);
    world.proxy.go_on();
    eventually_true(PATIENCE, || async { world.screens.get("/v1/restaurants/7/orders").await.status == 200 }).await;
}

/// Lists that hang hold up no till, and take no more than their part of the places.
#[tokio::test(flavor = "multi_thread")]
async fn tills_go_on_beside_lists_that_hang() {
    const PLACES: usize = 16;
    let redis = OwnRedis::start().await;
    let proxy = Proxy::start(&redis.socket());
    let mut options = DaemonOptions::migrated().await.with("NOWSERVING_HTTP_MAX_CONCURRENT_REQUESTS", PLACES);
    options.redis_url = Some(proxy.url());
    let options = options
        .with("NOWSERVING_REDIS_TIMEOUT_MS", 60_000)
        .with("NOWSERVING_HTTP_REQUEST_TIMEOUT_MS", 120_000)
        .with("NOWSERVING_HTTP_QUEUE_TIMEOUT_MS", 100);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for restaurant in 1..=40 {
        api.create(restaurant, json!({})).await;
    }
    proxy.hold_answers("HKEYS");
    let mut screens = JoinSet::new();
    for restaurant in 1..=40 {
        let api = Api::at(daemon.url());
        screens.spawn(async move { api.get(&format!("/v1/restaurants/{restaurant}/orders")).await });
    }
    // A quarter of the places, and as many that wait; the others hear so.
    let mut shed = 0;
    while shed < 40 - 2 * PLACES / 4 {
        let answer = tokio::time::timeout(PATIENCE, screens.join_next()).await.expect("an answer");
        answer.expect("one is left").expect("it ends").problem(503, "overloaded");
        shed += 1;
    }
    let path = "/v1/restaurants/50/orders";
    for _ in 0..20 {
        let order = api.post(path, json!({})).await.ok(201);
        api.patch(id(&order), json!({ "status": "ready" })).await.ok(200);
        api.order(id(&order)).await.ok(200);
        api.release(id(&order), true).await.ok(200);
    }
    proxy.go_on();
    for answer in screens.join_all().await {
        assert!([200, 503].contains(&answer.status), "{answer:?}");
    }
}
