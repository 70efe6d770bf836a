//! What fifty screens saw, held against the audit log: no screen misses anything between two beginnings, whether it is
//! cut off, slow, moved to another daemon, or Redis is restarted or emptied meanwhile. In the end all show what is live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use sqlx::Row;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::api::id;
use crate::support::heard::{self, Happens, Heard, Place};
use crate::support::{Api, Cluster, Daemon, DaemonOptions, OwnRedis, PATIENCE, Screen, Sentinel, eventually_true};
use nowserving::domain::RestaurantId;

const SCREENS: u32 = 50;
const RESTAURANTS: u32 = 8;

/// Tills that take orders, prepare them, call them and close them.
async fn sell(urls: Vec<String>, stop: Arc<AtomicBool>, sold: Arc<AtomicU64>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let apis: Vec<Api> = urls.iter().map(|url| Api::at(url)).collect();
    let mut open: Vec<String> = Vec::new();
    while !stop.load(Relaxed) {
        let api = &apis[rng.random_range(0..apis.len())];
        let restaurant = rng.random_range(1..=RESTAURANTS);
        let (path, body) = match rng.random_range(0..5) {
            0 | 1 => (format!("/v1/restaurants/{restaurant}/orders"), json!({ "note": "n" })),
            kind if !open.is_empty() => {
                let at = rng.random_range(0..open.len());
                let order = if kind == 4 { open.swap_remove(at) } else { open[at].clone() };
                match kind {
                    2 => (format!("/v1/orders/{order}/status"), json!({ "status": "preparing" })),
                    3 => (format!("/v1/orders/{order}/calls"), json!({})),
                    _ => (format!("/v1/orders/{order}/release"), json!({ "immediate": true })),
                }
            }
            _ => continue,
        };
        let headers: [(&str, &[u8]); 1] = [("content-type", b"application/json")];
        let answer = api.try_send("POST", &path, &headers, Some(body.to_string().into_bytes())).await;
        sold.fetch_add(u64::from(answer.as_ref().is_ok_and(|answer| answer.status < 300)), Relaxed);
        match answer {
            Ok(answer) if answer.status == 201 => open.push(id(&answer.value()).to_owned()),
            Ok(answer) if answer.status == 503 => sleep(Duration::from_millis(50)).await,
            _ => sleep(Duration::from_millis(2)).await,
        }
    }
}

/// A screen that follows until it is told to stop, in its own manner.
async fn watch(number: u32, urls: Vec<String>, faults: Arc<AtomicBool>, stop: Arc<AtomicBool>) -> Seen {
    let mut rng = StdRng::seed_from_u64(number.into());
    let mut seen = Seen { screen: Screen::of(number % RESTAURANTS + 1), heard: Vec::new() };
    let heard = &mut seen.heard;
    let happens = |screen: &mut Screen, happens| match happens {
        Happens::Connected => heard.push(Heard::Connected),
        Happens::Refused(_) => {}
        Happens::Told(told) => {
            assert!(faults.load(Relaxed) || told.name != "reset", "screen {number}: {told:?}");
            heard.extend(heard::heard(&told));
            screen.show(told);
        }
    };
    heard::follow(&mut seen.screen, &urls, number, &mut rng, &stop, happens).await;
    seen
}

/// A screen, and the order of what it heard.
struct Seen {
    screen: Screen,
    heard: Vec<Heard>,
}

impl Seen {
    fn restaurant(&self) -> u32 {
        self.screen.path.split('/').nth(3).and_then(|id| id.parse().ok()).expect("an id")
    }

    /// What is live is what it shows, once it is told what it has not seen yet.
    async fn catch_up(&mut self, url: &str, api: &Api) {
        let restaurant = self.restaurant();
        let mut stream = self.screen.connect(url).await.expect("a stream");
        self.heard.push(Heard::Connected);
        let before = self.screen.log.len();
        self.screen.until_it_shows_what_is_live(&mut stream, api, restaurant).await;
        self.heard.extend(self.screen.log[before..].iter().filter_map(heard::heard));
    }
}

/// How many events were looked at, of which the screens missed none.
fn assert_no_gaps(seen: &[Seen], events: &BTreeMap<u32, BTreeSet<Place>>) -> usize {
    let of = |seen: &Seen| {
        let restaurant = seen.restaurant();
        let faults = heard::faults(seen.heard.iter().copied(), &events[&restaurant]);
        assert!(faults.missed.is_empty() && faults.disordered.is_empty(), "restaurant {restaurant}: {faults:?}");
        faults.events
    };
    seen.iter().map(of).sum()
}

fn reset_reasons(seen: &[Seen]) -> BTreeSet<String> {
    let log = seen.iter().flat_map(|seen| &seen.screen.log);
    let resets = log.filter(|told| told.name == "reset");
    resets.map(|told| told.data["reason"].as_str().expect("a reason").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_screen_misses_anything() {
    let mut redis = OwnRedis::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_PARTITIONS", 4);
    options.redis_url = Some(redis.url());
    options.migrate();
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let urls: Vec<String> = daemons.iter().map(|daemon| daemon.url().to_owned()).collect();
    let flag = || Arc::new(AtomicBool::new(false));
    let (stop_tills, stop, faults, sold) = (flag(), flag(), flag(), Arc::<AtomicU64>::default());
    let sell = |till: u64| tokio::spawn(sell(urls.clone(), stop_tills.clone(), sold.clone(), 1000 + till));
    let tills: Vec<_> = (0..6).map(sell).collect();
    let screens: Vec<_> =
        (0..SCREENS).map(|number| tokio::spawn(watch(number, urls.clone(), faults.clone(), stop.clone()))).collect();

    let api = Api::at(&urls[0]);
    eventually_true(PATIENCE * 2, || async { sold.load(Relaxed) >= 1500 }).await;
    // Up to here no stream had a reason to begin anew.
    faults.store(true, Relaxed);
    redis.restart().await;
    eventually_true(PATIENCE, || async { api.get("/readyz").await.status == 200 }).await;
    sleep(Duration::from_secs(3)).await;
    // It comes back empty: everything is built anew from the ledger.
    redis::cmd("FLUSHALL").exec_async(&mut redis.connect().await).await.expect("Redis answers");
    eventually_true(PATIENCE * 2, || async { api.post("/v1/restaurants/1/orders", json!({})).await.status == 201 })
        .await;
    sleep(Duration::from_secs(3)).await;
    stop_tills.store(true, Relaxed);
    for till in tills {
        till.await.expect("a till does not panic");
    }
    stop.store(true, Relaxed);
    let mut seen = Vec::new();
    for screen in screens {
        seen.push(screen.await.expect("a screen does not panic"));
    }

    for one in &mut seen {
        one.catch_up(&urls[1], &api).await;
    }
    let checked = assert_no_gaps(&seen, &events(&options).await);
    assert!(checked > 1000, "that was no load: {checked}");
    let reasons = reset_reasons(&seen);
    assert!(reasons.contains("generation"), "{reasons:?}");
}

/// Another server takes the master's place, and then the old one comes back as its replica: screens go on with what the new
/// one has, and are told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_screen_misses_anything_when_sentinel_fails_over() {
    let mut sentinel = Sentinel::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_PARTITIONS", 4);
    options.redis_url = Some(sentinel.url());
    options.migrate();
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let old = sentinel.master().await;
    let room = Room::open(&daemons, 12).await;
    room.sold(200).await;
    sentinel.servers[old].kill9();
    sentinel.fail_over_from(old).await;
    sentinel.servers[old].restart().await;
    room.served().await;
    room.sold(200).await;
    let seen = room.close(&options).await;
    assert_eq!(reset_reasons(&seen), BTreeSet::from(["generation".to_owned()]));
}

/// One of three masters goes, and its replica takes over: the restaurants of the others notice nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_screen_misses_anything_when_a_master_of_a_cluster_fails() {
    const VICTIM: usize = 0;
    let mut cluster = Cluster::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_PARTITIONS", 4);
    options.redis_url = Some(cluster.url());
    options.migrate();
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let partition = |restaurant: u32| RestaurantId::new(restaurant.into()).expect("a small number").partition(4);
    let (mut hit, mut slots) = (BTreeSet::new(), Vec::new());
    for restaurant in 1..=RESTAURANTS {
        let slot = cluster.slot(&format!("{{{}}}", partition(restaurant))).await;
        if cluster.master_of(slot).await == VICTIM {
            hit.insert(restaurant);
            slots.push(slot);
        }
    }
    let room = Room::open(&daemons, 16).await;
    room.sold(200).await;
    // Where it has none of these partitions it is not missed.
    cluster.nodes[VICTIM].kill9();
    if let Some(slot) = slots.first() {
        cluster.fail_over_from(VICTIM, *slot).await;
    }
    cluster.nodes[VICTIM].restart().await;
    cluster.ok().await;
    room.served().await;
    room.sold(200).await;
    for seen in room.close(&options).await {
        let was_reset = seen.screen.log.iter().any(|told| told.name == "reset");
        assert_eq!(was_reset, hit.contains(&seen.restaurant()), "restaurant {}", seen.restaurant());
    }
}

/// Tills that sell, and screens that show it.
struct Room {
    api: Api,
    urls: Vec<String>,
    stop_tills: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    /// How many changes were acknowledged.
    sold: Arc<AtomicU64>,
    tills: Vec<JoinHandle<()>>,
    screens: Vec<JoinHandle<Seen>>,
}

impl Room {
    async fn open(daemons: &[Daemon], screens: u32) -> Self {
        let urls: Vec<String> = daemons.iter().map(|daemon| daemon.url().to_owned()).collect();
        let (stop_tills, stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let sold = Arc::<AtomicU64>::default();
        let sell = |till: u64| tokio::spawn(sell(urls.clone(), stop_tills.clone(), sold.clone(), 2000 + till));
        let tills = (0..4).map(sell).collect();
        let may_begin_anew = Arc::new(AtomicBool::new(true));
        let watch = |number| tokio::spawn(watch(number, urls.clone(), may_begin_anew.clone(), stop.clone()));
        let screens = (0..screens).map(watch).collect();
        Self { api: Api::at(&urls[0]), tills, screens, stop_tills, stop, sold, urls }
    }

    /// Waits until so many more changes were acknowledged.
    async fn sold(&self, changes: u64) {
        let begun = self.sold.load(Relaxed);
        eventually_true(PATIENCE * 2, || async { self.sold.load(Relaxed) >= begun + changes }).await;
    }

    /// Waits until all is served again, by all.
    async fn served(&self) {
        for url in &self.urls {
            let api = Api::at(url);
            eventually_true(PATIENCE * 2, || async { api.get("/readyz").await.status == 200 }).await;
            for restaurant in 1..=RESTAURANTS {
                let path = format!("/v1/restaurants/{restaurant}/orders?limit=1");
                eventually_true(PATIENCE * 2, || async { api.get(&path).await.status == 200 }).await;
            }
        }
    }

    /// Closes the tills. No screen missed anything, and all show what is live.
    async fn close(self, options: &DaemonOptions) -> Vec<Seen> {
        self.stop_tills.store(true, Relaxed);
        for till in self.tills {
            till.await.expect("a till does not panic");
        }
        self.stop.store(true, Relaxed);
        let mut seen = Vec::new();
        for (screen, url) in self.screens.into_iter().zip(self.urls.iter().cycle()) {
            let mut one = screen.await.expect("a screen does not panic");
            one.catch_up(url, &self.api).await;
            seen.push(one);
        }
        let checked = assert_no_gaps(&seen, &events(options).await);
        assert!(checked > 100, "that was no load: {checked}");
        seen
    }
}

/// Of each restaurant the positions of its orders' events, as the ledger has them, once it has all.
async fn events(options: &DaemonOptions) -> BTreeMap<u32, BTreeSet<Place>> {
    let url = options.database_url.as_deref().expect("a database");
    let ledger = PgPoolOptions::new().max_connections(1).connect(url).await.expect("Postgres answers");
    let verified = tokio::task::spawn_blocking({
        let options = options.clone();
        move || options.run("verify", &[])
    });
    let verified = verified.await.expect("it ends");
    assert!(verified.status.success(), "{verified:?}");
    let query = "SELECT restaurant_id, generation, sequence FROM order_events \
                 WHERE internal_order_id IS NOT NULL AND kind <> 'recycled'";
    let rows = sqlx::query(query).fetch_all(&ledger).await.expect("events");
    let mut events: BTreeMap<u32, BTreeSet<Place>> = BTreeMap::new();
    for row in rows {
        let position = (row.get::<i64, _>(1).cast_unsigned(), row.get::<i64, _>(2).cast_unsigned());
        events.entry(row.get::<i32, _>(0).cast_unsigned()).or_default().insert(position);
    }
    events
}
