//! What fifty screens saw, held against the audit log: no screen misses anything between two beginnings, whether it is
//! cut off, slow, moved to another daemon, or Redis is restarted or emptied meanwhile. In the end all show what is live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use sqlx::Row;
use sqlx::postgres::PgPoolOptions;
use tokio::time::{sleep, timeout};

use crate::support::api::id;
use crate::support::{Api, Daemon, DaemonOptions, OwnRedis, PATIENCE, Screen, eventually_true};

const SCREENS: u32 = 50;
const RESTAURANTS: u32 = 8;

/// Tills that take orders, prepare them, call them and close them.
async fn sell(urls: Vec<String>, stop: Arc<AtomicBool>, seed: u64) {
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
        match answer {
            Ok(answer) if answer.status == 201 => open.push(id(&answer.value()).to_owned()),
            Ok(answer) if answer.status == 503 => sleep(Duration::from_millis(50)).await,
            _ => sleep(Duration::from_millis(2)).await,
        }
    }
}

/// A screen that follows until it is told to stop, in its own manner.
async fn watch(number: u32, urls: Vec<String>, faults: Arc<AtomicBool>, stop: Arc<AtomicBool>) -> Screen {
    let mut rng = StdRng::seed_from_u64(number.into());
    let mut screen = Screen::of(number % RESTAURANTS + 1);
    let mut at = number as usize;
    while !stop.load(Relaxed) {
        // One in three moves to another daemon each time.
        at += usize::from(number.is_multiple_of(3));
        let Ok(mut stream) = screen.connect(&urls[at % urls.len()]).await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        if stream.status() != 200 {
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        // Most are cut off now and then, some never.
        let cut_after = if number.is_multiple_of(4) { u32::MAX } else { rng.random_range(1..60) };
        for _ in 0..cut_after {
            match timeout(Duration::from_millis(500), stream.next()).await {
                Ok(Some(told)) => {
                    assert!(faults.load(Relaxed) || told.name != "reset", "screen {number}: {told:?}");
                    screen.show(told);
                }
                Ok(None) => break,
                Err(_) if stop.load(Relaxed) => break,
                Err(_) => {}
            }
            if number % 5 == 1 {
                sleep(Duration::from_millis(rng.random_range(0..30))).await;
            }
        }
    }
    screen
}

/// Between two beginnings a screen was told each event of its restaurant, in order but for what was told twice.
fn assert_no_gaps(screen: &Screen, restaurant: i32, events: &BTreeMap<i32, BTreeSet<(u64, u64)>>) -> usize {
    type Stretch = Option<((u64, u64), BTreeSet<(u64, u64)>)>;
    let of_restaurant = &events[&restaurant];
    let mut checked = 0;
    let mut stretch: Stretch = None;
    let mut close = |stretch: Stretch| {
        let Some((from, seen)) = stretch else { return };
        let Some(to) = seen.last().copied() else { return };
        assert_eq!(from.0, to.0, "a stretch goes over a change of generation");
        let range = (std::ops::Bound::Excluded(from), std::ops::Bound::Included(to));
        let missed: Vec<_> = of_restaurant.range(range).filter(|event| !seen.contains(event)).collect();
        assert!(missed.is_empty(), "restaurant {restaurant}, from {from:?} to {to:?}: it missed {missed:?}");
        checked += seen.len();
    };
    for told in &screen.log {
        match told.name.as_str() {
            "snapshot" => {
                close(stretch.take());
                stretch = Some((told.position().expect("a position"), BTreeSet::new()));
            }
            "order" => {
                let (_, seen) = stretch.as_mut().expect("a stream begins with a snapshot");
                seen.insert(told.position().expect("a position"));
            }
            _ => {}
        }
    }
    close(stretch.take());
    checked
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
    let (stop_tills, stop, faults) = (flag(), flag(), flag());
    let tills: Vec<_> = (0..6).map(|till| tokio::spawn(sell(urls.clone(), stop_tills.clone(), 1000 + till))).collect();
    let screens: Vec<_> =
        (0..SCREENS).map(|number| tokio::spawn(watch(number, urls.clone(), faults.clone(), stop.clone()))).collect();

    let api = Api::at(&urls[0]);
    let made = async |orders: u64| {
        let mut redis = redis.connect().await;
        let sequences: u64 = {
            let mut sum = 0;
            for partition in 0..4 {
                let key = format!("{}:{{{partition}}}:partition", options.namespace);
                sum += redis::cmd("HGET").arg(key).arg("seq").query_async::<u64>(&mut redis).await.unwrap_or_default();
            }
            sum
        };
        sequences >= orders
    };
    eventually_true(PATIENCE * 2, || made(1500)).await;
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

    // What is live is what each of them shows, once it is told what it has not seen yet.
    for screen in &mut seen {
        let restaurant = screen.path.split('/').nth(3).and_then(|id| id.parse().ok()).expect("an id");
        let mut stream = screen.connect(&urls[1]).await.expect("a stream");
        screen.until_it_shows_what_is_live(&mut stream, &api, restaurant).await;
    }
    let events = events(&options).await;
    let checked: usize = seen
        .iter()
        .map(|screen| {
            let restaurant = screen.path.split('/').nth(3).and_then(|id| id.parse().ok()).expect("an id");
            assert_no_gaps(screen, restaurant, &events)
        })
        .sum();
    assert!(checked > 1000, "that was no load: {checked}");
    let resets = seen.iter().flat_map(|screen| &screen.log).filter(|told| told.name == "reset");
    let reasons: BTreeSet<String> = resets.map(|told| told.data["reason"].to_string()).collect();
    assert!(reasons.contains("\"generation\""), "{reasons:?}");
}

/// Of each restaurant the positions of its orders' events, as the ledger has them, once it has all.
async fn events(options: &DaemonOptions) -> BTreeMap<i32, BTreeSet<(u64, u64)>> {
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
    let mut events: BTreeMap<i32, BTreeSet<(u64, u64)>> = BTreeMap::new();
    for row in rows {
        let position = (row.get::<i64, _>(1).cast_unsigned(), row.get::<i64, _>(2).cast_unsigned());
        events.entry(row.get(0)).or_default().insert(position);
    }
    events
}
