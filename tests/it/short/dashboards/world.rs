//! A daemon at lunch: two dozen restaurants whose rush comes and goes, with all that the panels are about, the rare
//! things too. Prometheus scrapes it each second.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::{task::JoinSet, time::sleep};

use super::files::Filling;
use crate::support::{
    Api, Daemon, DaemonOptions, OwnRedis, PATIENCE, Prometheus, Screen, api, eventually, eventually_true,
    fresh_database, scratch,
};

/// The restaurant that the dashboard of one restaurant shows.
pub const SHOWN: u32 = 1;
const RESTAURANTS: u32 = 24;
/// One with far too few numbers.
const TINY: u32 = 7;

/// How long the rush takes to come, and to go.
const RUSH: Duration = Duration::from_secs(120);
/// How long guests wait for their food.
const HELD: Duration = Duration::from_secs(8);

/// What runs. Dropped, it ends.
pub struct World {
    pub prometheus: Prometheus,
    pub ledger: PgConnection,
    pub filling: Filling,
    _tills: JoinSet<()>,
    _daemon: Daemon,
    _redis: OwnRedis,
}

impl World {
    /// Starts everything, and goes on when the rare things have happened.
    pub async fn start() -> Self {
        let mut redis = OwnRedis::start_with(&["--maxmemory", "256mb"]).await;
        let mut options = DaemonOptions::local();
        options.redis_url = Some(redis.url());
        let database = fresh_database().await;
        options.database_url = Some(database.clone());
        options.migrate();
        let options = options
            .with("NOWSERVING_SURVEY_INTERVAL_SECONDS", 1)
            .with("NOWSERVING_USAGE_SAMPLE_SECONDS", 2)
            .with("NOWSERVING_DURABILITY_TIMEOUT_MS", 4000);
        let mut ledger = PgConnection::connect(&database).await.expect("Postgres answers");
        sqlx::raw_sql("ALTER TABLE orders ADD CONSTRAINT taste CHECK (note <> 'anchovies')")
            .execute(&mut ledger)
            .await
            .expect("a good statement");

        let daemon = Daemon::start(&options);
        let target = daemon.url().trim_start_matches("http://").to_owned();
        let prometheus = Prometheus::start(&scratch::folder("p"), &[&target], &[]).await;
        let prometheus = prometheus.unwrap_or_else(|why| panic!("{why}"));
        let api = Api::at(daemon.url());
        // From here on each series is there at its beginning, so that its first event is seen.
        seen(&prometheus, "up == 1").await;

        let filling = Filling { from: SystemTime::now(), restaurant: SHOWN };
        let mut tills = JoinSet::new();
        for restaurant in 1..=RESTAURANTS {
            let max_number = if restaurant == TINY { 6 } else { 30 + restaurant * restaurant };
            api.configure(restaurant, json!({"max_number": max_number, "cooldown_seconds": 6})).await;
            tills.spawn(till(api.clone(), restaurant));
        }
        tills.spawn(board(api.clone()));
        api.create(TINY, json!({"note": "anchovies"})).await;
        seen(&prometheus, "nowserving_dead_letters_total > 0").await;
        seen(&prometheus, "sum(nowserving_allocations_total{outcome=\"allocated\"}) > 100").await;
        redis.restart().await;
        seen(&prometheus, "sum(nowserving_partition_rebuilds_total) > 0").await;
        seen(&prometheus, "nowserving_partitions_closed == 0").await;
        Self { prometheus, ledger, filling, _tills: tills, _daemon: daemon, _redis: redis }
    }

    /// Waits until the rush has come and gone.
    pub async fn after_lunch(&self) {
        let over = || async { self.filling.from.elapsed().is_ok_and(|lunch| lunch > RUSH) };
        eventually_true(RUSH * 2, over).await;
    }
}

/// Waits until Prometheus has something.
async fn seen(prometheus: &Prometheus, query: &str) {
    eventually(PATIENCE * 4, || async {
        let found = prometheus.now(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        (!found.is_empty()).then_some(())
    })
    .await;
}

/// A board of the restaurant that is shown.
async fn board(api: Api) {
    let mut screen = Screen::of(SHOWN);
    loop {
        if let Ok(mut stream) = screen.connect(api.url()).await {
            while let Some(told) = stream.next().await {
                screen.show(told);
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// One restaurant's tills and kitchen: orders come, quicker as the rush does, are held for a while, and most are ended.
async fn till(api: Api, restaurant: u32) {
    static ORDERS: AtomicU64 = AtomicU64::new(0);
    let opened = Instant::now();
    let mut live: VecDeque<(Instant, String)> = VecDeque::new();
    loop {
        let nth = ORDERS.fetch_add(1, Relaxed);
        if let Some(order) = order(&api, restaurant, nth).await {
            live.push_back((Instant::now(), order));
        }
        while live.front().is_some_and(|(made, _)| made.elapsed() > HELD) {
            let Some((_, order)) = live.pop_front() else { break };
            serve(&api, &order, nth).await;
        }
        browse(&api, restaurant, nth).await;
        // From 0 to 1 and back to 0 over the rush.
        let rush = (opened.elapsed().as_secs_f64() / RUSH.as_secs_f64() * std::f64::consts::PI).sin().abs();
        sleep(Duration::from_millis(2000).div_f64(1.0 + 5.0 * rush)).await;
    }
}

/// Makes an order; None if it got no number, or Redis is unreachable.
async fn order(api: &Api, restaurant: u32, nth: u64) -> Option<String> {
    let pick = |words: &[&'static str]| words[usize::try_from(nth).unwrap_or_default() % words.len()];
    let body = json!({
        "order_source": pick(&["kiosk", "app", "kiosk", "pos", "web", "app", "kiosk"]),
        "order_type": pick(&["dine_in", "takeaway", "dine_in", "drive_thru", "delivery"]),
    });
    // The last one is refused as it stands.
    let level = pick(&["memory", "memory", "memory", "ledger", "memory", "memory", "memory", "memory", "soon"]);
    let path = format!("/v1/restaurants/{restaurant}/orders");
    let answer = api.json_with("POST", &path, &[("durability", level)], &body).await;
    (answer.status == 201).then(|| api::id(&answer.value()).to_owned())
}

/// The kitchen is done, and the guest has it; some orders are called off, some are closed by mistake at first, and some
/// are never closed.
async fn serve(api: &Api, order: &str, nth: u64) {
    match nth % 10 {
        0 => {}
        1 => drop(api.patch(order, json!({"status": "cancelled"})).await),
        _ => {
            api.post(&format!("/v1/orders/{order}/calls"), json!({"place": "Counter 2"})).await;
            api.release(order, false).await;
            if nth % 10 == 5 {
                drop(api.reopen(order).await);
                api.release(order, false).await;
            }
        }
    }
}

/// What screens ask for meanwhile, and what is not there.
async fn browse(api: &Api, restaurant: u32, nth: u64) {
    match nth % 8 {
        0 => drop(api.get(&format!("/v1/restaurants/{restaurant}/orders")).await),
        1 => drop(api.get(&format!("/v1/restaurants/{restaurant}/search?q=1")).await),
        2 => drop(api.get(&format!("/v1/restaurants/{restaurant}/numbers/999999")).await),
        _ => {}
    }
}
