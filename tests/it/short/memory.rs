//! What a daemon remembers for those who were told that their order is kept, where Redis loses it before the ledger has
//! it.

use std::time::Instant;

use crate::support::api::{id, number, text};
use crate::support::{Api, Daemon, DaemonOptions, OwnRedis, PATIENCE, eventually, eventually_true};
use futures_util::{StreamExt, stream};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::PgPool;

const UNWRITTEN: (&str, &str) = ("NOWSERVING_WRITE_BEHIND_ENABLED", "false");

/// A Redis of its own, and daemons that leave the writing to others.
struct World {
    redis: OwnRedis,
    options: DaemonOptions,
    ledger: PgPool,
}

impl World {
    async fn new(environment: &[(&str, &str)]) -> Self {
        let redis = OwnRedis::start().await;
        let mut options = DaemonOptions::migrated().await;
        options.redis_url = Some(redis.url());
        for (name, value) in environment {
            options = options.with(name, value);
        }
        let ledger = PgPool::connect(options.database_url.as_deref().expect("a database")).await;
        Self { redis, options, ledger: ledger.expect("Postgres answers") }
    }

    fn start(&self) -> (Daemon, Api) {
        started(&self.options.clone().with(UNWRITTEN.0, UNWRITTEN.1))
    }

    /// One that writes all that waits.
    fn writer(&self) -> (Daemon, Api) {
        started(&self.options)
    }

    async fn flush(&self) {
        redis::cmd("FLUSHALL").exec_async(&mut self.redis.connect().await).await.expect("Redis answers");
    }

    async fn waiting(&self) -> u64 {
        let mut redis = self.redis.connect().await;
        let keys = format!("{}:*:outbox", self.options.namespace);
        let keys: Vec<String> = redis::cmd("KEYS").arg(keys).query_async(&mut redis).await.expect("Redis answers");
        let mut waiting = 0;
        for key in keys {
            waiting += redis::cmd("XLEN").arg(key).query_async::<u64>(&mut redis).await.expect("Redis answers");
        }
        waiting
    }

    /// Lets a daemon write all that waits, and end.
    async fn write(&self) {
        let (writer, _) = self.writer();
        eventually_true(PATIENCE, || async { self.waiting().await == 0 }).await;
        let (status, output) = writer.terminate();
        assert!(status.success(), "{output}");
    }

    fn assert_sound(&self) {
        let verified = self.options.run("verify", &[]);
        assert!(verified.status.success(), "{verified:?}");
    }
}

fn started(options: &DaemonOptions) -> (Daemon, Api) {
    let daemon = Daemon::start(options);
    let api = Api::at(daemon.url());
    (daemon, api)
}

/// Creates an order as soon as that is served.
async fn new_order(api: &Api, restaurant: u32, body: &Value) -> Value {
    let path = format!("/v1/restaurants/{restaurant}/orders");
    eventually(PATIENCE, || async {
        let answer = api.post(&path, body.clone()).await;
        (answer.status != 503).then(|| answer.ok(201))
    })
    .await
}

async fn metric(api: &Api, series: &str) -> f64 {
    let text = api.get("/metrics").await.text;
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().expect("a number"))
}

const WITHOUT_NUMBER: &str = "nowserving_orders_without_number";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_busy_restaurant_is_remembered_as_well_as_many() {
    const ORDERS: usize = 2_500;
    let world = World::new(&[]).await;
    let (_daemon, api) = world.start();
    let created = stream::iter(0..ORDERS).map(|_| api.create(7, json!({}))).buffer_unordered(16);
    let created: Vec<Value> = created.collect().await;
    world.flush().await;
    eventually_true(PATIENCE * 2, || async { api.order(id(&created[0])).await.status == 200 }).await;
    let live: Vec<Value> = {
        let (mut live, mut path) = (Vec::new(), "/v1/restaurants/7/orders?limit=1000".to_owned());
        loop {
            let page = api.get(&path).await.ok(200);
            live.extend(page["orders"].as_array().expect("a list").iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { break live };
            path = format!("/v1/restaurants/7/orders?limit=1000&cursor={cursor}");
        }
    };
    let sorted = |orders: &[Value]| {
        let mut orders: Vec<_> = orders.iter().map(|order| (id(order).to_owned(), number(order))).collect();
        orders.sort();
        orders
    };
    assert_eq!(sorted(&live), sorted(&created), "all that was acknowledged is there, with its number");
    world.write().await;
    world.assert_sound();
}

#[tokio::test]
async fn what_would_be_forgotten_is_not_taken_on() {
    let world = World::new(&[("NOWSERVING_RECOVERY_REMEMBERED_CHANGES", "12")]).await;
    let (_daemon, api) = world.start();
    let mut orders = Vec::new();
    for restaurant in 1..=12 {
        orders.push(api.create(restaurant, json!({})).await);
    }
    assert_eq!(metric(&api, "nowserving_remembered_orders{kind=\"limit\"}").await, 12.0);
    eventually_true(PATIENCE, || async { metric(&api, "nowserving_remembered_orders{kind=\"used\"}").await == 12.0 })
        .await;
    let refused = api.post("/v1/restaurants/1/orders", json!({})).await;
    refused.problem(503, "unavailable");
    assert!(refused.header("retry-after").is_some());
    // What is there may change and end, over and over: it is one entry an order.
    for order in &orders {
        for status in ["preparing", "ready"] {
            api.patch(id(order), json!({ "status": status })).await.ok(200);
        }
        api.release(id(order), true).await.ok(200);
    }
    assert_eq!(metric(&api, "nowserving_remembered_orders{kind=\"used\"}").await, 12.0);
    world.flush().await;
    for order in &orders {
        let found = eventually(PATIENCE, || async {
            let answer = api.order(id(order)).await;
            (answer.status != 503).then(|| answer.ok(200))
        })
        .await;
        assert_eq!(text(&found, "status"), "completed");
    }
    world.write().await;
    new_order(&api, 1, &json!({})).await;
    world.assert_sound();
}

/// Two daemons, of which the second one made the first order of a restaurant, and the first one the second, with the
/// same number: Redis lost the first order while the second daemon hung. Both go on when this returns.
struct Collision {
    world: World,
    first: (Daemon, Api),
    second: (Daemon, Api),
    earlier: Value,
    later: Value,
}

impl Collision {
    async fn new(max_number: u32, later_key: &str) -> Self {
        // Nothing is skipped, and no daemon writes behind: what a Redis loses is lost, and its numbers are given again.
        let world = World::new(&[("NOWSERVING_RECOVERY_UNKNOWN_SECONDS", "0")]).await;
        let (writer, writing) = world.writer();
        writing.configure(7, json!({ "max_number": max_number, "policy": "lowest" })).await;
        eventually_true(PATIENCE, || async { world.waiting().await == 0 }).await;
        assert!(writer.terminate().0.success());

        let (first, second) = (world.start(), world.start());
        let earlier = new_order(&second.1, 7, &json!({ "customer_name": "Ada" })).await;
        second.0.signal(Signal::SIGSTOP);
        world.flush().await;
        let later = eventually(PATIENCE, || async {
            let answer = first.1.create_with_key(7, later_key, &json!({})).await;
            (answer.status != 503).then(|| answer.ok(201))
        })
        .await;
        assert_eq!((number(&earlier), number(&later)), (1, 1), "no daemon knew of the first one");
        second.0.signal(Signal::SIGCONT);
        Self { world, first, second, earlier, later }
    }
}

#[tokio::test]
async fn an_order_without_a_number_gets_one_when_there_is_one() {
    let Collision { world, first, second, earlier, later } = Collision::new(1, "k").await;
    let start = Instant::now();
    while metric(&second.1, WITHOUT_NUMBER).await != 1.0 {
        assert!(start.elapsed() < PATIENCE, "no daemon says that one has no number");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // It was acknowledged, so it is not denied.
    second.1.order(id(&earlier)).await.problem(503, "unavailable");
    let output = second.0.output();
    assert!(output.contains("waits for a number") && output.contains(id(&earlier)), "{output}");
    assert_eq!(text(&first.1.order(id(&later)).await.ok(200), "status"), "pending");

    // Another loss does not make it forgotten.
    world.flush().await;
    eventually_true(PATIENCE, || async { first.1.order(id(&later)).await.status == 200 }).await;
    eventually_true(PATIENCE, || async { second.1.order(id(&later)).await.status == 200 }).await;

    let (stays, comes) = if second.1.order(id(&earlier)).await.status == 200 {
        // This time it was the first to have the number.
        (&earlier, &later)
    } else {
        (&later, &earlier)
    };
    first.1.release(id(stays), true).await.ok(200);
    let found = eventually(PATIENCE, || async {
        let answer = second.1.order(id(comes)).await;
        (answer.status == 200).then(|| answer.ok(200))
    })
    .await;
    assert_eq!((number(&found), text(&found, "status")), (1, "pending"));
    eventually_true(PATIENCE, || async {
        metric(&first.1, WITHOUT_NUMBER).await + metric(&second.1, WITHOUT_NUMBER).await == 0.0
    })
    .await;
    world.write().await;
    world.assert_sound();
}

#[tokio::test]
async fn a_renumbered_order_is_found_under_its_key() {
    let Collision { world, first, second, earlier, later } = Collision::new(9, "the-key").await;
    let renumbered = eventually(PATIENCE, || async {
        let order = first.1.order(id(&later)).await;
        (order.status == 200).then(|| order.ok(200)).filter(|order| number(order) != 1)
    })
    .await;
    eventually_true(PATIENCE, || async { second.1.order(id(&earlier)).await.status == 200 }).await;
    for again in [&first.1, &second.1] {
        assert_eq!(again.create_with_key(7, "the-key", &json!({})).await.ok(201), renumbered);
    }
    // Where the ledger has it, Redis may lose it again.
    world.write().await;
    drop((first, second));
    world.flush().await;
    let (_daemon, api) = world.writer();
    let again = eventually(PATIENCE, || async {
        let answer = api.create_with_key(7, "the-key", &json!({})).await;
        (answer.status != 503).then(|| answer.ok(201))
    })
    .await;
    assert_eq!((id(&again), number(&again)), (id(&later), 2));
    world.assert_sound();
}

#[tokio::test]
async fn numbers_that_were_skipped_rest_through_a_second_loss() {
    let world = World::new(&[("NOWSERVING_PARTITIONS", "1")]).await;
    let (_daemon, api) = world.writer();
    for _ in 0..3 {
        api.create(7, json!({})).await;
    }
    let resting = async || {
        let slots = eventually(PATIENCE, || async {
            let answer = api.get("/v1/restaurants/7/slots").await;
            (answer.status == 200).then(|| answer.ok(200))
        })
        .await;
        slots["cooling"].as_u64().expect("a count")
    };
    assert_eq!(resting().await, 0);
    let mut before = 0;
    for loss in 1..=3 {
        eventually_true(PATIENCE, || async { world.waiting().await == 0 }).await;
        world.flush().await;
        let after = resting().await;
        assert!(after >= before + 3, "loss {loss}: {after} rest, {before} did before");
        before = after;
        eventually_true(PATIENCE, || async { world.waiting().await == 0 }).await;
        world.assert_sound();
    }
    let skipped = "SELECT count(*) FROM order_events WHERE kind = 'restated' AND detail->>'cause' = 'skipped'";
    let skipped: i64 = sqlx::query_scalar(skipped).fetch_one(&world.ledger).await.expect("Postgres answers");
    assert!(skipped > 0, "the log says that they were skipped");
}
