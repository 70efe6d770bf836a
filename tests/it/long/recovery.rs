//! Recovery: a Redis that was restarted, emptied, replaced or put back to an older copy, and a ledger that fell back.
//! What was acknowledged is there again, nobody is given a number that somebody holds, and what cannot be proved is not
//! served.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::api::{Answer, id, number, numbers, text};
use crate::support::{
    Api, Daemon, DaemonOptions, OwnPostgres, OwnRedis, PATIENCE, eventually, eventually_true, scratch,
};
use nix::sys::signal::Signal;
use nowserving::domain::{OrderId, PartitionId, RestaurantId, Timestamp};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// A Redis of its own, a database, and a daemon in between. One partition, so that a test knows what is where.
struct World {
    redis: OwnRedis,
    options: DaemonOptions,
    ledger: PgPool,
}

impl World {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(environment: &[(&str, &str)]) -> Self {
        let redis = OwnRedis::start().await;
        let mut options = DaemonOptions::shared().await.with("NOWSERVING_PARTITIONS", 1);
        for (name, value) in environment {
            options = options.with(name, value);
        }
        options.redis_url = Some(redis.url());
        options.migrate();
        let ledger = connect(&options).await;
        Self { redis, options, ledger }
    }

    /// With a Postgres that the test may stop and put back.
    async fn with_own_postgres() -> (Self, OwnPostgres) {
        let (mut world, postgres) = (Self::new().await, OwnPostgres::start().await);
        world.options.database_url = Some(postgres.create_database("ledger").await);
        world.options.migrate();
        world.ledger = connect(&world.options).await;
        (world, postgres)
    }

    fn start(&self) -> (Daemon, Api) {
        let daemon = Daemon::start(&self.options);
        let api = Api::at(daemon.url());
        (daemon, api)
    }

    /// Waits until the ledger has everything that Redis has.
    async fn drained(&self) {
        let mut redis = self.redis.connect().await;
        eventually_true(PATIENCE, || {
            let mut redis = redis.clone();
            async move {
                let sequence: i64 = redis::cmd("HGET")
                    .arg(self.partition_key())
                    .arg("seq")
                    .query_async(&mut redis)
                    .await
                    .expect("it is there");
                sequence == self.progress().await.1
            }
        })
        .await;
        let _: () = redis::cmd("PING").query_async(&mut redis).await.expect("Redis answers");
    }

    /// Waits until the outbox holds nothing that the ledger has: nothing can bring that back.
    async fn trimmed(&self) {
        self.drained().await;
        let redis = self.redis.connect().await;
        let outbox = format!("{}:{{0}}:outbox", self.options.namespace);
        eventually_true(PATIENCE, || {
            let (mut redis, outbox) = (redis.clone(), outbox.clone());
            async move { redis::cmd("XLEN").arg(outbox).query_async::<u64>(&mut redis).await == Ok(0) }
        })
        .await;
    }

    fn partition_key(&self) -> String {
        format!("{}:{{0}}:partition", self.options.namespace)
    }

    /// Generation and sequence, as the ledger has them.
    async fn progress(&self) -> (i64, i64) {
        let row: (i64, i64) = sqlx::query_as("SELECT generation, sequence FROM outbox_progress")
            .fetch_one(&self.ledger)
            .await
            .expect("Postgres answers");
        row
    }

    async fn flush(&self) {
        redis::cmd("FLUSHALL").exec_async(&mut self.redis.connect().await).await.expect("Redis answers");
    }

    /// Everything is as it should be, says the program itself.
    async fn assert_sound(&self) {
        self.drained().await;
        let options = self.options.clone();
        let verified = tokio::task::spawn_blocking(move || options.run("verify", &[])).await.expect("it ends");
        assert!(verified.status.success(), "{verified:?}");
    }
}

async fn connect(options: &DaemonOptions) -> PgPool {
    let url = options.database_url.as_deref().expect("a Postgres that is not private");
    PgPoolOptions::new().max_connections(2).connect(url).await.expect("Postgres answers")
}

/// Asks until it is served. Meanwhile there is nothing but 503 with a time to come again.
async fn served(ask: impl AsyncFn() -> Answer) -> Answer {
    let start = Instant::now();
    loop {
        let answer = ask().await;
        if answer.status != 503 {
            return answer;
        }
        answer.away();
        assert!(answer.header("retry-after").is_some());
        assert!(start.elapsed() < PATIENCE, "it is still not served: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn new_order(api: &Api, restaurant: u32) -> Value {
    served(async || api.post(&format!("/v1/restaurants/{restaurant}/orders"), json!({"note": "n"})).await).await.ok(201)
}

async fn metric(api: &Api, name: &str) -> f64 {
    let text = api.get("/metrics").await.text;
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().expect("a number")).sum()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made in our own");
    for entry in std::fs::read_dir(from).expect("it is there").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to)
        } else {
            std::fs::copy(&from, &to).map(drop).expect("it can be copied")
        }
    }
}

fn data_of(redis: &OwnRedis) -> PathBuf {
    redis.socket().parent().expect("a folder").join("appendonlydir")
}

#[tokio::test]
async fn a_redis_that_was_restarted_goes_on_under_a_new_generation() {
    let mut world = World::new().await;
    let (_daemon, api) = world.start();
    let before: Vec<Value> = [api.create(7, json!({})).await, api.create(7, json!({})).await].into();
    for crash in [false, true] {
        let (generation, _) = world.progress().await;
        if crash {
            world.redis.kill9()
        } else {
            world.redis.stop()
        }
        world.redis.restart().await;
        // Reads are not served from a server that has not proved itself, either.
        let found = served(async || api.order(id(&before[0])).await).await.ok(200);
        assert_eq!(found, before[0]);
        assert_eq!(world.progress().await.0, generation + 1);
        let next = new_order(&api, 7).await;
        assert!(number(&next) > 2 + 3, "the numbers of the unknown seconds are skipped: {next}");
    }
    let slots = api.slots(7).await;
    assert_eq!((slots["live"].as_u64(), slots["cooling"].as_u64()), (Some(4), Some(6)), "{slots}");
    world.assert_sound().await;
}

/// A power loss may end the append-only file within a command of a transaction. Redis reads such a file as it should, once; then
/// it appends to a transaction that is open.
#[tokio::test]
async fn a_file_that_was_cut_within_a_transaction_is_read_right_a_second_time() {
    let mut world = World::new().await;
    let (_daemon, api) = world.start();
    api.create(8, json!({})).await;
    let cut_off = api.create(7, json!({})).await;
    api.release(id(&cut_off), true).await.ok(200);
    world.drained().await;
    world.redis.kill9();
    let mut files: Vec<PathBuf> = std::fs::read_dir(world.redis.append_only_folder())
        .expect("it was written")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .collect();
    files.sort();
    let file = files.last().expect("Redis appends to a file");
    let bytes = std::fs::read(file).expect("it is ours");
    let find = |from: usize, what: &[u8]| {
        from + bytes[from..].windows(what.len()).position(|part| part == what).expect("it is there")
    };
    // Behind the order as it was made, and within the last command of that transaction. The ledger knows that it ended.
    let order = find(0, b":order:7\r\n");
    let end = find(order, b"\r\n$4\r\nEXEC");
    let cut = u64::try_from(end - 10).expect("a length");
    std::fs::File::options().write(true).open(file).and_then(|file| file.set_len(cut)).expect("it is ours");
    world.redis.restart().await;
    new_order(&api, 8).await;
    for _ in 0..2 {
        world.drained().await;
        let mut redis = world.redis.connect().await;
        // The file is written anew.
        eventually_true(PATIENCE, || {
            let mut redis = redis.clone();
            async move {
                let info: redis::InfoDict =
                    redis::cmd("INFO").arg("persistence").query_async(&mut redis).await.expect("Redis answers");
                info.get::<u8>("aof_rewrite_in_progress") == Some(0)
                    && info.get::<u8>("aof_rewrite_scheduled") == Some(0)
            }
        })
        .await;
        let _: () = redis::cmd("PING").query_async(&mut redis).await.expect("Redis answers");
        world.redis.kill9();
        world.redis.restart().await;
        new_order(&api, 8).await;
    }
    world.assert_sound().await;
    assert_eq!(text(&api.order(id(&cut_off)).await.ok(200), "status"), "completed");
}

#[tokio::test]
async fn an_empty_redis_is_filled_from_the_ledger() {
    let mut world = World::new().await;
    let (_daemon, api) = world.start();
    let odd = json!({"min_number": 5, "max_number": 40, "policy": "lowest", "cooldown_seconds": 600, "format": "A-{n:03}",
        "blocked_numbers": [6, 7, 90, "1?", "33-35"]});
    let put = api.put("/v1/restaurants/8", odd).await;
    put.ok(200);
    let live = api.create(8, json!({"customer_name": "Ada", "metadata": {"a": [1]}})).await;
    let keyed = api.create_with_key(8, "k1", &json!({"note": "once"})).await.ok(201);
    let ended = api.create(8, json!({})).await;
    api.patch(id(&live), json!({"status": "ready"})).await.ok(200);
    api.release(id(&ended), false).await.ok(200);
    let live = api.order(id(&live)).await.ok(200);
    assert_eq!(numbers([&live, &keyed, &ended]), [5, 8, 9]);
    for round in 0..3 {
        world.drained().await;
        match round {
            0 => world.flush().await,
            1 => {
                world.redis.kill9();
                world.redis.lose_data();
                world.redis.restart().await;
            }
            // Another server in the place of the old one.
            _ => {
                world.redis.stop();
                world.redis = OwnRedis::start().await;
                world.options.redis_url = Some(world.redis.url());
            }
        }
        // The last one has another address: it takes a daemon that is told of it.
        let another = (round == 2).then(|| world.start());
        let api = another.as_ref().map_or(&api, |(_, api)| api);
        assert_eq!(served(async || api.order(id(&live)).await).await.ok(200), live);
        assert_eq!(served(async || api.create_with_key(8, "k1", &json!({"note": "once"})).await).await.ok(201), keyed);
        let next = api.get("/v1/restaurants/8/numbers/9").await.ok(200);
        assert_eq!((text(&next, "state"), id(&next["order"])), ("cooling", id(&ended)));
        let settings = api.get("/v1/restaurants/8").await;
        assert_eq!(settings.ok(200)["blocked_numbers"], json!([6, 7, "33-35", 90, "1?"]));
        assert_eq!(settings.header("etag"), put.header("etag"), "they are the same, and named so");
        let order = new_order(api, 8).await;
        assert!(number(&order) > 19, "{order}");
        api.release(id(&order), true).await.ok(200);
        assert_eq!(numbers(&api.live(8).await), [5, 8]);
        world.assert_sound().await;
    }
}

#[tokio::test]
async fn an_emptied_redis_goes_on_with_the_ring_of_each_range() {
    let world = World::new().await;
    let (_daemon, api) = world.start();
    let settings = json!({
        "max_number": 499, "cooldown_seconds": 600, "ranges": [
            {"id": "delivery", "min_number": 501, "max_number": 599, "format": "D{n-500:02}",
             "match": {"order_type": ["delivery"]}},
            {"id": "app", "min_number": 601, "max_number": 699, "match": {"order_source": ["app"]}, "overflow": true},
            {"id": "unused", "min_number": 701, "max_number": 799, "match": {"order_source": ["phone"]}},
        ],
    });
    api.put("/v1/restaurants/7", settings.clone()).await.ok(200);
    let delivery = json!({"order_type": "delivery"});
    let app = json!({"order_source": "app"});
    let mut orders = Vec::new();
    for (times, body) in [(3, json!({})), (5, delivery.clone()), (2, app.clone())] {
        for _ in 0..times {
            orders.push(api.create(7, body.clone()).await);
        }
    }
    // A number that was asked for moved no ring.
    let wish = api.create(7, json!({"requested_number": 590})).await;
    api.release(id(&orders[4]), true).await.ok(200);
    for order in [&orders[1], &orders[3]] {
        api.release(id(order), false).await.ok(200);
    }
    world.drained().await;
    world.flush().await;
    assert_eq!(served(async || api.order(id(&wish)).await).await.ok(200), wish);
    assert_eq!(api.get("/v1/restaurants/7").await.ok(200)["ranges"][0]["id"], "delivery");
    // Behind the last one of each come those that are skipped for the unknown seconds.
    for (body, range, last, end) in
        [(json!({}), "main", 3, 30), (delivery, "delivery", 505, 530), (app, "app", 602, 630)]
    {
        let order = served(async || api.post("/v1/restaurants/7/orders", body.clone()).await).await.ok(201);
        assert_eq!(order["number_range"], range);
        assert!((last + 1..end).contains(&number(&order)), "{order}");
    }
    let unused = api.create(7, json!({"order_source": "phone"})).await;
    assert!((701..730).contains(&number(&unused)), "{unused}");
    world.assert_sound().await;
}

/// Numbers of tables, numbers that are taken out, and how long the others have rested.
#[tokio::test]
async fn what_is_special_about_numbers_comes_back() {
    let world = World::new().await;
    let (_daemon, api) = world.start();
    let settings =
        |cooldown: u32| json!({"max_number": 40, "cooldown_seconds": cooldown, "cooldown_min_seconds": 1000});
    api.put("/v1/restaurants/7", settings(1200)).await.ok(200);
    let reserve = |number: u32| format!("/v1/restaurants/7/reservations/{number}");
    for (number, table) in [(3, "12"), (70, "patio"), (5, "9")] {
        api.put(&reserve(number), json!({"table_number": table})).await.ok(200);
    }
    let out = json!({"reason": "the tile is broken"});
    api.put("/v1/restaurants/7/numbers/2/quarantine", out.clone()).await.ok(200);
    let held = api.create(7, json!({"table_number": "12"})).await;
    assert_eq!(number(&held), 3);
    // Taken out while it is held; and with a rest that began under another cooldown.
    let first = api.create(7, json!({})).await;
    assert_eq!(number(&first), 1);
    api.put("/v1/restaurants/7/numbers/1/quarantine", out).await.ok(200);
    let resting = api.create(7, json!({})).await;
    assert_eq!(number(&resting), 4);
    api.release(id(&resting), false).await.ok(200);
    api.put("/v1/restaurants/7", settings(7200)).await.ok(200);
    world.drained().await;
    world.flush().await;
    assert_eq!(served(async || api.order(id(&held)).await).await.ok(200), held);
    let state = async |number: u32| {
        let report = api.get(&format!("/v1/restaurants/7/numbers/{number}")).await.ok(200);
        text(&report, "state").to_owned()
    };
    assert_eq!([state(1).await, state(2).await, state(5).await], ["live", "quarantined", "cooling"]);
    let reserved = api.get("/v1/restaurants/7/reservations").await.ok(200);
    assert_eq!(reserved["reservations"].as_array().map(Vec::len), Some(3), "{reserved}");
    world.assert_sound().await;
    // Orders of their tables may have got them unseen: they rest, and are nobody else's meanwhile.
    for table in ["patio", "9"] {
        let body = json!({"table_number": table});
        let order = served(async || api.post("/v1/restaurants/7/orders", body.clone()).await).await.ok(201);
        assert_eq!(text(&order, "number_reason"), "reserved_rests");
        assert!(number(&order) > 5, "{order}");
    }
    // What was taken out while an order had it is out when that has ended.
    api.release(id(&first), true).await.ok(200);
    assert_eq!(state(1).await, "quarantined");
    // Nothing else is given in their place, nor is a rest cut that began a moment ago.
    let mut given = Vec::new();
    loop {
        let answer = api.post("/v1/restaurants/7/orders", json!({})).await;
        if answer.status == 409 {
            break;
        }
        given.push(number(&answer.ok(201)));
    }
    assert!(given.len() > 4 && given.iter().all(|number| !(1..=5).contains(number)), "{given:?}");
    world.assert_sound().await;
}

#[tokio::test]
async fn a_redis_put_back_to_an_older_copy_is_brought_up_to_date() {
    let mut world = World::new().await;
    let (daemon, api) = world.start();
    let gone = api.create(7, json!({})).await;
    let stays = api.create(7, json!({})).await;
    world.drained().await;
    world.redis.stop();
    let copy = scratch::folder("copy");
    copy_folder(&data_of(&world.redis), &copy.join("data"));
    world.redis.restart().await;
    let newer = new_order(&api, 7).await;
    served(async || api.release(id(&gone), false).await).await.ok(200);
    world.drained().await;
    world.redis.stop();
    // Nobody is left who would remember.
    daemon.kill9();
    std::fs::remove_dir_all(data_of(&world.redis)).expect("it is there");
    copy_folder(&copy.join("data"), &data_of(&world.redis));
    world.redis.restart().await;

    let (_daemon, api) = world.start();
    assert_eq!(served(async || api.order(id(&newer)).await).await.ok(200), newer);
    assert_eq!(text(&api.order(id(&gone)).await.ok(200), "status"), "completed");
    assert_eq!(numbers(&api.live(7).await), [number(&stays), number(&newer)]);
    let next = new_order(&api, 7).await;
    assert!(number(&next) > number(&newer), "{next}");
    world.assert_sound().await;
}

#[tokio::test]
async fn what_a_daemon_saw_acknowledged_is_said_again() {
    // The ledger is a second behind.
    let world = World::with(&[("NOWSERVING_WRITE_BEHIND_FILL_MS", "1000")]).await;
    let (_daemon, api) = world.start();
    let known = api.create(7, json!({})).await;
    let ended = api.create(7, json!({})).await;
    world.drained().await;
    let lost = api.create_with_key(7, "k", &json!({"note": "lost"})).await.ok(201);
    let changed = api.patch(id(&known), json!({"status": "ready", "note": "changed"})).await.ok(200);
    api.release(id(&ended), false).await.ok(200);
    world.flush().await;
    assert_eq!(served(async || api.order(id(&lost)).await).await.ok(200), lost);
    assert_eq!(api.order(id(&known)).await.ok(200), changed);
    assert_eq!(text(&api.order(id(&ended)).await.ok(200), "status"), "completed");
    assert_eq!(api.get("/v1/restaurants/7/numbers/2").await.ok(200)["state"], "cooling");
    assert_eq!(api.create_with_key(7, "k", &json!({"note": "lost"})).await.ok(201), lost);
    assert_eq!(numbers(&api.live(7).await), [1, 3]);
    assert_eq!(metric(&api, "nowserving_orders_restated_total").await, 3.0);
    assert_eq!(metric(&api, "nowserving_slot_collisions_total").await, 0.0);
    world.assert_sound().await;
}

/// Redis lost it at every moment of its story: the ledger has nothing of it, the order, its end, or all but the last of it.
#[tokio::test]
async fn a_reopening_that_redis_lost_is_said_again() {
    let world = World::with(&[("NOWSERVING_WRITE_BEHIND_FILL_MS", "1000")]).await;
    let (_daemon, api) = world.start();
    api.configure(7, json!({"cooldown_seconds": 3600})).await;
    for durable in 0..4 {
        world.drained().await;
        let mut order = new_order(&api, 7).await;
        for step in 0..4 {
            if step == durable {
                world.drained().await;
            }
            order = match step {
                0 => api.patch(id(&order), json!({"status": "ready"})).await.ok(200),
                1 | 3 => api.release(id(&order), false).await.ok(200),
                _ => api.reopen(id(&order)).await.ok(200),
            };
        }
        world.flush().await;
        assert_eq!(served(async || api.order(id(&order)).await).await.ok(200), order, "the second end: {durable}");
        let reopened = api.reopen(id(&order)).await.ok(200);
        assert_eq!((text(&reopened, "status"), number(&reopened)), ("preparing", number(&order)));
        world.flush().await;
        assert_eq!(served(async || api.order(id(&order)).await).await.ok(200), reopened, "the reopening: {durable}");
        let report = api.get(&format!("/v1/restaurants/7/numbers/{}", number(&order))).await.ok(200);
        assert_eq!((text(&report, "state"), &report["order"]), ("live", &reopened));
        assert_eq!(api.live(7).await.last(), Some(&reopened));
    }
    assert_eq!(metric(&api, "nowserving_orders_renumbered_total").await, 0.0);
    world.assert_sound().await;
}

/// The daemon that reopened it is dead, and the ledger has all of it: Redis is filled with the order as it is.
#[tokio::test]
async fn a_reopened_order_comes_back_from_the_ledger() {
    let world = World::new().await;
    let (daemon, api) = world.start();
    api.configure(7, json!({"cooldown_seconds": 3600})).await;
    let fresh = api.create(7, json!({})).await;
    let bumped = api.release(id(&fresh), false).await.ok(200);
    let reopened = api.reopen(id(&fresh)).await.ok(200);
    let resting = api.release(id(&api.create(7, json!({})).await), false).await.ok(200);
    world.drained().await;
    daemon.kill9();
    world.flush().await;

    let (_daemon, api) = world.start();
    assert_eq!(served(async || api.order(id(&fresh)).await).await.ok(200), reopened);
    assert_eq!((text(&bumped, "status"), number(&bumped)), ("completed", number(&reopened)));
    // Of an order that has ended Redis has only the rest of its number now: the ledger has the order.
    let again = api.reopen(id(&resting)).await.ok(200);
    assert_eq!((text(&again, "status"), number(&again)), ("preparing", number(&resting)));
    let live: Vec<String> = api.live(7).await.iter().map(|order| id(order).to_owned()).collect();
    assert_eq!(live, [id(&fresh), id(&resting)]);
    world.assert_sound().await;
}

#[tokio::test]
async fn the_first_orders_of_a_restaurant_are_said_again_with_its_settings() {
    let world = World::with(&[("NOWSERVING_WRITE_BEHIND_FILL_MS", "1000")]).await;
    let (_daemon, api) = world.start();
    api.create(7, json!({})).await;
    world.drained().await;
    let first = api.create_with_key(8, "k", &json!({"note": "first"})).await.ok(201);
    let second = api.create(8, json!({})).await;
    world.flush().await;
    assert_eq!(served(async || api.order(id(&first)).await).await.ok(200), first);
    assert_eq!(api.create_with_key(8, "k", &json!({"note": "first"})).await.ok(201), first);
    assert_eq!(numbers(&api.live(8).await), numbers([&first, &second]));
    assert!(number(&new_order(&api, 8).await) > 2);
    world.assert_sound().await;
}

#[tokio::test]
async fn settings_that_were_lost_are_not_named_by_those_that_came_after_them() {
    let world = World::with(&[("NOWSERVING_WRITE_BEHIND_ENABLED", "false")]).await;
    let (_daemon, api) = world.start();
    let path = "/v1/restaurants/7";
    let kept = api.put(path, json!({"max_number": 100})).await;
    kept.ok(200);
    let mut writing = world.options.clone();
    writing.environment.retain(|(name, _)| name != "NOWSERVING_WRITE_BEHIND_ENABLED");
    let writer = Daemon::start(&writing);
    world.drained().await;
    writer.kill9();
    let lost = api.put(path, json!({"max_number": 200})).await;
    lost.ok(200);
    world.flush().await;

    let found = served(async || api.get(path).await).await;
    assert_eq!((found.ok(200), found.header("etag")), (kept.ok(200), kept.header("etag")));
    let tag = |answer: &Answer| answer.header("etag").expect("it has a tag").to_owned();
    let change = async |method: &str, if_match: &str, max_number: u32| {
        api.json_with(method, path, &[("if-match", if_match)], &json!({ "max_number": max_number })).await
    };
    change("PUT", &tag(&lost), 300).await.problem(412, "version_mismatch");
    let next = change("PUT", &tag(&kept), 400).await;
    next.ok(200);
    // It has the version that the lost one had.
    let version = |answer: &Answer| tag(answer).split('-').next().map(str::to_owned);
    assert_eq!(version(&next), version(&lost));
    for method in ["PUT", "PATCH"] {
        change(method, &tag(&lost), 500).await.problem(412, "version_mismatch");
    }
    assert_eq!(api.get(path).await.ok(200), next.ok(200));
}

#[tokio::test]
async fn two_orders_that_got_one_number_are_told_apart() {
    let world = World::with(&[("NOWSERVING_WRITE_BEHIND_ENABLED", "false")]).await;
    // Nothing is skipped, and no daemon writes behind: what a Redis loses is lost, and its numbers are given again.
    let world = World { options: world.options.clone().with("NOWSERVING_RECOVERY_UNKNOWN_SECONDS", 0), ..world };
    let (first, first_api) = world.start();
    let (second, second_api) = world.start();
    for restaurant in [7, 8] {
        first_api.configure(restaurant, json!({"max_number": 100})).await;
    }
    // The settings must be in the ledger, or the restaurants are gone too.
    let writer = Daemon::start(&DaemonOptions {
        environment: world
            .options
            .environment
            .iter()
            .filter(|(name, _)| name != "NOWSERVING_WRITE_BEHIND_ENABLED")
            .cloned()
            .collect(),
        ..world.options.clone()
    });
    world.drained().await;
    writer.kill9();

    let earlier = second_api.create(7, json!({"customer_name": "Ada"})).await;
    second.signal(Signal::SIGSTOP);
    world.flush().await;
    let later = new_order(&first_api, 7).await;
    assert_eq!((number(&earlier), number(&later)), (1, 1), "no daemon knew of the first one");
    second.signal(Signal::SIGCONT);
    // The later one gives way, and says what it was called.
    let renumbered = eventually(PATIENCE, || async {
        let order = first_api.order(id(&later)).await;
        (order.status == 200).then(|| order.ok(200)).filter(|order| number(order) != 1)
    })
    .await;
    assert_eq!(number(&renumbered), 2);
    assert_eq!(served(async || second_api.order(id(&earlier)).await).await.ok(200), earlier);
    assert_eq!(metric(&second_api, "nowserving_orders_renumbered_total").await, 1.0);
    let said = second.output();
    assert!(said.contains("two live orders had one number"), "{said}");
    assert!(said.contains(id(&earlier)) && said.contains(id(&later)), "both are named: {said}");

    let (status, output) = first.terminate();
    assert!(status.success(), "{output}");
    let writer = Daemon::start(&DaemonOptions {
        environment: vec![("NOWSERVING_PARTITIONS".into(), "1".into())],
        ..world.options.clone()
    });
    world.drained().await;
    let event: (String, Value, i32) =
        sqlx::query_as("SELECT kind, detail, display_order_number FROM order_events WHERE kind = 'renumbered'")
            .fetch_one(&world.ledger)
            .await
            .expect("it is written");
    assert_eq!(event, ("renumbered".into(), json!({"previous_number": 1}), 2));
    world.assert_sound().await;
    drop(writer);
}

/// Nothing is written while the rows of progress are locked, and then all that survives is.
#[tokio::test]
async fn what_waits_in_an_outbox_survives_a_restart_of_redis() {
    let mut world = World::new().await;
    let (_daemon, api) = world.start();
    let mut orders = vec![api.create(7, json!({})).await];
    world.trimmed().await;
    let mut holder = world.ledger.begin().await.expect("Postgres answers");
    sqlx::query("SELECT FROM outbox_progress FOR UPDATE").execute(&mut *holder).await.expect("Postgres answers");
    orders.extend([api.create(7, json!({})).await, api.create(7, json!({})).await]);
    world.redis.stop();
    world.redis.restart().await;
    holder.rollback().await.expect("Postgres answers");
    for order in &orders {
        assert_eq!(served(async || api.order(id(order)).await).await.ok(200), *order);
    }
    assert_eq!(world.progress().await.0, 2);
    let created = "SELECT count(*) FROM order_events WHERE kind = 'created'";
    let created: i64 = sqlx::query_scalar(created).fetch_one(&world.ledger).await.expect("Postgres answers");
    assert_eq!(created, 3);
    world.assert_sound().await;
}

/// Whichever of them rebuilds: it asks the other one first.
#[tokio::test]
async fn what_one_daemon_saw_acknowledged_another_one_does_not_deny() {
    let world = World::with(&[("NOWSERVING_WRITE_BEHIND_ENABLED", "false")]).await;
    let daemons = [world.start(), world.start()];
    let mut orders = Vec::new();
    for (_, api) in &daemons {
        orders.push(api.create(7, json!({})).await);
    }
    world.flush().await;
    for (daemon, api) in &daemons {
        for order in &orders {
            assert_eq!(served(async || api.order(id(order)).await).await.ok(200), *order);
        }
        let said = daemon.output();
        assert!(!said.contains("not waiting any longer"), "{said}");
    }
}

/// What it has become since, nobody knows.
#[tokio::test]
async fn a_live_order_that_redis_lost_alone_is_neither_shown_nor_denied() {
    let world = World::new().await;
    let (_daemon, api) = world.start();
    let order = api.create(7, json!({})).await;
    world.trimmed().await;
    let lost: uuid::Uuid = id(&order).parse().expect("a UUID");
    let mut lose = redis::cmd("HDEL");
    lose.arg(format!("{}:{{0}}:order:7", world.options.namespace)).arg(lost.as_bytes());
    let gone: u32 = lose.query_async(&mut world.redis.connect().await).await.expect("Redis answers");
    assert_eq!(gone, 1);
    api.order(id(&order)).await.away();
    api.patch(id(&order), json!({"status": "ready"})).await.away();
    api.release(id(&order), false).await.away();
}

/// The ledger never gets what went from an outbox before it was written. Redis has it still, and tells it again.
#[tokio::test]
async fn a_gap_in_an_outbox_closes_its_partition_until_the_ledger_was_told_again() {
    let world = World::new().await;
    let (_daemon, api) = world.start();
    let mut orders = vec![api.create(7, json!({})).await];
    let (mut redis, outbox) = (world.redis.connect().await, format!("{}:{{0}}:outbox", world.options.namespace));
    // A writer that had read the entry before it went writes it all the same. Then there is no gap, and another try.
    while world.progress().await.0 == 1 {
        world.trimmed().await;
        let mut holder = world.ledger.begin().await.expect("Postgres answers");
        sqlx::query("SELECT FROM outbox_progress FOR UPDATE").execute(&mut *holder).await.expect("Postgres answers");
        let (_, written) = world.progress().await;
        orders.extend([api.create(7, json!({})).await, api.create(7, json!({})).await]);
        let waiting: Vec<(String, Vec<Vec<u8>>)> =
            redis::cmd("XRANGE").arg(&outbox).arg("-").arg("+").query_async(&mut redis).await.expect("Redis answers");
        assert_eq!(waiting.len(), 2);
        redis::cmd("XDEL").arg(&outbox).arg(&waiting[0].0).exec_async(&mut redis).await.expect("Redis answers");
        holder.rollback().await.expect("Postgres answers");
        eventually_true(PATIENCE, || async {
            let (generation, sequence) = world.progress().await;
            generation == 2 || sequence == written + 2
        })
        .await;
    }
    for order in &orders {
        assert_eq!(served(async || api.order(id(order)).await).await.ok(200), *order);
    }
    world.assert_sound().await;
}

/// What the ledger refused was acknowledged all the same: it is there again, and its numbers are not given twice.
#[tokio::test]
async fn dead_letters_are_loaded_too() {
    let world = World::new().await;
    let (daemon, api) = world.start();
    for refuse in [
        "ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (note IS DISTINCT FROM 'poison') NOT VALID",
        "ALTER TABLE orders ADD CONSTRAINT no_end CHECK (note IS DISTINCT FROM 'endless' OR released_at IS NULL) NOT VALID",
        "ALTER TABLE restaurants ADD CONSTRAINT no_nine CHECK (max_number <> 9) NOT VALID",
    ] {
        sqlx::query(refuse).execute(&world.ledger).await.expect("a good statement");
    }
    let settings = json!({"max_number": 9, "policy": "lowest", "cooldown_seconds": 3600});
    api.configure(7, settings).await;
    let poison = json!({"note": "poison"});
    let live = api.create_with_key(7, "key", &poison).await.ok(201);
    let ended = api.create(7, poison.clone()).await;
    api.release(id(&ended), false).await.ok(200);
    let changed = api.create(7, poison.clone()).await;
    // Else both of its entries may be one row of one batch, which is good.
    world.drained().await;
    let changed = api.patch(id(&changed), json!({"note": "good", "status": "ready"})).await.ok(200);
    let endless = api.create(7, json!({"note": "endless"})).await;
    api.release(id(&endless), false).await.ok(200);
    let good = api.create(7, json!({})).await;
    world.drained().await;
    let letters: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letters")
        .fetch_one(&world.ledger)
        .await
        .expect("Postgres answers");
    assert_eq!(letters, 6, "the settings, three orders and two ends");
    // Nobody remembers anything.
    daemon.kill9();
    world.flush().await;

    let (_daemon, api) = world.start();
    for order in [&live, &changed, &good] {
        assert_eq!(&served(async || api.order(id(order)).await).await.ok(200), order);
    }
    assert_eq!(api.get("/v1/restaurants/7").await.ok(200)["max_number"], 9);
    let again = api.create_with_key(7, "key", &poison).await.ok(201);
    assert_eq!(again, live, "the same key gives the same order");
    for resting in [&ended, &endless] {
        let number = api.get(&format!("/v1/restaurants/7/numbers/{}", number(resting))).await.ok(200);
        assert_eq!(number["state"], "cooling", "{number}");
    }
    let next = new_order(&api, 7).await;
    assert!(number(&next) > 5, "the first five are held or rest: {next}");

    for allow in ["orders DROP CONSTRAINT no_poison, DROP CONSTRAINT no_end", "restaurants DROP CONSTRAINT no_nine"] {
        let allow = sqlx::AssertSqlSafe(format!("ALTER TABLE {allow}"));
        sqlx::query(allow).execute(&world.ledger).await.expect("a good statement");
    }
    let options = world.options.clone();
    let retry = move || options.run("dead-letters", &["retry", "--all"]);
    let retried = tokio::task::spawn_blocking(retry).await.expect("it ends");
    assert!(retried.status.success(), "{retried:?}");
    world.assert_sound().await;
}

#[tokio::test]
async fn a_rebuild_that_dies_half_way_is_begun_again() {
    let world = World::with(&[("NOWSERVING_LOG_FILTER", "debug")]).await;
    let (daemon, api) = world.start();
    let order = api.create(7, json!({})).await;
    world.drained().await;
    // The rebuild reads the settings first, and there it waits.
    let mut holder = world.ledger.begin().await.expect("Postgres answers");
    sqlx::query("LOCK TABLE restaurants IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.expect("it can wait");
    world.flush().await;
    eventually_true(PATIENCE, || async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'restaurants'::regclass";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&world.ledger).await.expect("Postgres answers");
        api.post("/v1/restaurants/7/orders", json!({})).await.away();
        waiting > 0
    })
    .await;
    daemon.kill9();
    holder.rollback().await.expect("Postgres answers");
    let (half_built, _) = world.progress().await;
    assert_eq!(half_built, 2, "its generation was taken");
    // The next one waits for the lease of the dead one to end, and begins again.
    let (_daemon, api) = world.start();
    assert_eq!(served(async || api.order(id(&order)).await).await.ok(200), order);
    assert_eq!(world.progress().await.0, 3);
    world.assert_sound().await;
}

#[tokio::test]
async fn one_daemon_rebuilds_and_the_others_wait() {
    let world = World::new().await;
    let daemons: Vec<(Daemon, Api)> = (0..3).map(|_| world.start()).collect();
    let order = daemons[0].1.create(7, json!({})).await;
    for round in 1..=4 {
        world.drained().await;
        world.flush().await;
        for (_, api) in &daemons {
            assert_eq!(served(async || api.order(id(&order)).await).await.ok(200), order);
        }
        assert_eq!(world.progress().await.0, 1 + round, "one new generation a loss");
    }
    world.assert_sound().await;
}

#[tokio::test]
async fn without_the_ledger_no_new_generation_is_taken() {
    let (mut world, mut postgres) = World::with_own_postgres().await;
    let (_daemon, api) = world.start();
    let order = api.create(7, json!({})).await;
    world.drained().await;
    postgres.stop();
    world.redis.kill9();
    world.redis.restart().await;
    // For longer than anything needs that would open it wrongly.
    for _ in 0..30 {
        api.post("/v1/restaurants/7/orders", json!({})).await.away();
        api.order(id(&order)).await.problem(503, "unavailable");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ready = api.get("/readyz").await.ok(503);
    assert_eq!(ready["status"], "not_ready");
    postgres.restart().await;
    assert_eq!(served(async || api.order(id(&order)).await).await.ok(200), order);
    world.ledger = connect(&world.options).await;
    world.assert_sound().await;
}

#[tokio::test]
async fn a_ledger_that_fell_back_is_told_again_what_is_live() {
    let (mut world, mut postgres) = World::with_own_postgres().await;
    let (_daemon, api) = world.start();
    api.configure(7, json!({"max_number": 50})).await;
    let ends = api.create(7, json!({"note": "ends in the lost part"})).await;
    let stays = api.create(7, json!({})).await;
    let bumped = api.create(7, json!({"note": "is reopened in the lost part"})).await;
    api.release(id(&bumped), false).await.ok(200);
    world.drained().await;
    world.ledger.close().await;
    postgres.stop();
    let copy = scratch::folder("pgcopy");
    copy_as_it_is(&postgres.data(), &copy);
    postgres.restart().await;
    world.ledger = connect(&world.options).await;

    served(async || api.release(id(&ends), true).await).await.ok(200);
    let changed = served(async || api.patch(id(&stays), json!({"status": "ready"})).await).await.ok(200);
    let reopened = served(async || api.reopen(id(&bumped)).await).await.ok(200);
    let newer = new_order(&api, 7).await;
    api.configure(7, json!({"max_number": 60})).await;
    world.trimmed().await;
    // What is durable leaves Redis after a while: the outbox is trimmed at once, finished orders later.
    world.ledger.close().await;
    postgres.stop();
    std::fs::remove_dir_all(postgres.data()).expect("it is there");
    copy_as_it_is(&copy.join("data"), &postgres.data());
    postgres.restart().await;
    world.ledger = connect(&world.options).await;

    eventually_true(PATIENCE, || async { metric(&api, "nowserving_ledger_fell_back_total").await >= 1.0 }).await;
    assert_eq!(served(async || api.order(id(&newer)).await).await.ok(200), newer);
    // By the time that anybody is served, the ledger has been told.
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT internal_order_id::text, status FROM orders WHERE released_at IS NULL ORDER BY 1")
            .fetch_all(&world.ledger)
            .await
            .expect("Postgres answers");
    let expected = [(&stays, "ready"), (&bumped, "preparing"), (&newer, "pending")];
    assert_eq!(rows, expected.map(|(order, status)| (id(order).to_owned(), status.to_owned())));
    assert_eq!(api.order(id(&stays)).await.ok(200), changed);
    assert_eq!(api.order(id(&bumped)).await.ok(200), reopened);
    assert!(text(&served(async || api.order(id(&ends)).await).await.ok(200), "status") != "pending");
    assert_eq!(numbers(&api.live(7).await), numbers([&stays, &bumped, &newer]));
    world.assert_sound().await;
}

/// A folder as it is, of a server that is stopped.
fn copy_as_it_is(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp can be started").success());
}

#[tokio::test]
async fn a_ledger_that_fell_back_is_told_again_by_the_next_builder_where_the_first_one_dies() {
    let (mut world, mut postgres) = World::with_own_postgres().await;
    let (daemon, api) = world.start();
    let known = api.create(7, json!({})).await;
    world.drained().await;
    world.ledger.close().await;
    postgres.stop();
    let copy = scratch::folder("pgcopy");
    copy_as_it_is(&postgres.data(), &copy);
    postgres.restart().await;
    world.ledger = connect(&world.options).await;
    let newer = new_order(&api, 7).await;
    world.trimmed().await;
    daemon.kill9();
    world.ledger.close().await;
    postgres.stop();
    std::fs::remove_dir_all(postgres.data()).expect("it is there");
    copy_as_it_is(&copy.join("data"), &postgres.data());
    postgres.restart().await;
    world.ledger = connect(&world.options).await;

    // The first builder comes as far as to what the ledger has of the orders that live, and dies there.
    let mut holder = world.ledger.begin().await.expect("Postgres answers");
    let lock = "LOCK TABLE display_order_slots IN ACCESS EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut *holder).await.expect("it can wait");
    let (daemon, _) = world.start();
    eventually_true(PATIENCE, || async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'display_order_slots'::regclass";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&world.ledger).await.expect("Postgres answers") > 0
    })
    .await;
    daemon.kill9();
    holder.rollback().await.expect("Postgres answers");
    let (_daemon, api) = world.start();
    assert_eq!(served(async || api.order(id(&newer)).await).await.ok(200), newer);
    assert_eq!(numbers(&api.live(7).await), [number(&known), number(&newer)]);
    assert_eq!(metric(&api, "nowserving_ledger_fell_back_total").await, 1.0);
    world.assert_sound().await;
}

/// Restaurants of partition 0 of 2, and one of partition 1.
fn by_partition() -> (Vec<RestaurantId>, RestaurantId) {
    let all = || (1..).filter_map(|id| RestaurantId::new(id).ok());
    let of = |partition: u16| move |restaurant: &RestaurantId| restaurant.partition(2) == PartitionId::new(partition);
    let healthy = all().find(of(1)).expect("there are many");
    (all().filter(of(0)).take(1000).collect(), healthy)
}

/// Fills the ledger as if there had been a deployment: each restaurant with a hundred live orders in partition 0, of
/// some minutes ago.
async fn fill_ledger(ledger: &PgPool, restaurants: &[RestaurantId], minutes: i64) {
    let run = async |statement: &'static str| {
        sqlx::query(statement).execute(ledger).await.expect("Postgres takes it");
    };
    run("INSERT INTO deployment (partitions, seed) VALUES (2, decode(repeat('07', 16), 'hex'))").await;
    run("INSERT INTO outbox_progress (partition, generation, sequence, run_id) VALUES (0, 1, 100000, 'gone')").await;
    run("SELECT ensure_month(now()::date)").await;
    let ids: Vec<i32> = restaurants.iter().map(|restaurant| restaurant.as_i32()).collect();
    sqlx::query(
        "INSERT INTO restaurants SELECT id, 1, 9999, 'sequential', 14400, 86400, '{}', '{n:04}', 1, now()
         FROM unnest($1::int[]) AS id",
    )
    .bind(&ids)
    .execute(ledger)
    .await
    .expect("Postgres takes it");
    let now = Timestamp::from(chrono::Utc::now());
    for number in 1..=100_i32 {
        let at = now.plus_ms(i64::from(number) - minutes * 60_000);
        let orders: Vec<uuid::Uuid> =
            restaurants.iter().map(|restaurant| OrderId::new(at, *restaurant, 1).as_uuid()).collect();
        sqlx::query(
            "WITH new AS (SELECT * FROM unnest($1::uuid[], $2::int[]) AS new (id, restaurant)), made AS (
                 INSERT INTO orders (internal_order_id, restaurant_id, display_order_number, display_number_formatted,
                     number_format, order_number, order_number_given, status, customer_name, created_at, updated_at,
                     cooldown_seconds, version, sequence, idempotency_key, idempotency_body)
                 SELECT id, restaurant, $3, lpad($3::text, 4, '0'), '{n:04}', 'R' || restaurant || '-' || $3, false,
                     'preparing', 'Ada', $4, $4, 14400, 2, 1000, uuid_send(id), uuid_send(id) FROM new)
             INSERT INTO display_order_slots (restaurant_id, number, status, current_order_id, allocated_at)
             SELECT restaurant, $3, 'live', id, $4 FROM new",
        )
        .bind(&orders)
        .bind(&ids)
        .bind(number)
        .bind(at.to_datetime())
        .execute(ledger)
        .await
        .expect("Postgres takes it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_partition_is_rebuilt_in_seconds_and_does_not_hold_up_the_others() {
    let world = World::with(&[("NOWSERVING_LOG_FORMAT", "json")]).await;
    let world = World { options: world.options.clone().with("NOWSERVING_PARTITIONS", 2), ..world };
    let (restaurants, healthy) = by_partition();
    fill_ledger(&world.ledger, &restaurants, 1).await;
    let start = Instant::now();
    let (daemon, api) = world.start();
    let (mut served_meanwhile, mut progress) = (0, Vec::new());
    loop {
        let ready = api.get("/readyz").await;
        assert_eq!(ready.status, 200, "the other partition is open: {ready:?}");
        let closed = ready.value()["reasons"].to_string();
        if !closed.contains("partition 0 is closed") {
            break;
        }
        progress.extend(closed.split_once("being rebuilt from the ledger: ").map(|(_, how_far)| how_far.to_owned()));
        api.create(healthy.get(), json!({})).await;
        served_meanwhile += 1;
        assert!(start.elapsed() < PATIENCE * 2, "{closed}");
    }
    println!("100,000 live orders of 1,000 restaurants were back after {:?}", start.elapsed());
    progress.dedup();
    assert!(served_meanwhile > 0 && progress.len() > 1, "it says how far it is: {progress:?}");
    for restaurant in [restaurants[0], restaurants[999]] {
        let live = api.live(restaurant.get()).await;
        assert_eq!(numbers(&live), (1..=100).collect::<Vec<_>>());
        assert!(number(&api.create(restaurant.get(), json!({})).await) > 100);
    }
    let said = daemon.output();
    assert!(said.contains("loaded a partition from the ledger") && said.contains("100000"), "{said}");
}

#[tokio::test]
async fn as_many_numbers_are_skipped_as_were_given_before_redis_was_away_for_long() {
    let world = World::with(&[("NOWSERVING_RECOVERY_UNKNOWN_SECONDS", "6")]).await;
    let world = World { options: world.options.clone().with("NOWSERVING_PARTITIONS", 2), ..world };
    let restaurant = by_partition().0[0];
    fill_ledger(&world.ledger, &[restaurant], 30).await;
    let (_daemon, api) = world.start();
    // A hundred a minute, half an hour ago: ten in six seconds, and twice as many to be sure.
    assert_eq!(number(&new_order(&api, restaurant.get()).await), 100 + 20 + 1);
}

#[tokio::test]
async fn verify_finds_what_is_missing() {
    let world = World::new().await;
    let (daemon, api) = world.start();
    for _ in 0..5 {
        api.create(7, json!({})).await;
    }
    world.assert_sound().await;
    daemon.kill9();
    let verify = async || {
        let options = world.options.clone();
        tokio::task::spawn_blocking(move || options.run("verify", &[])).await.expect("it ends")
    };
    // An event of the audit log, an entry of the outbox, and a restaurant that Redis forgot.
    sqlx::query("DELETE FROM order_events WHERE sequence = 3").execute(&world.ledger).await.expect("Postgres answers");
    let found = verify().await;
    assert_eq!(found.status.code(), Some(2), "{found:?}");
    assert!(found.stdout.contains("partition 0: 1 of the latest"), "{found:?}");

    let mut redis = world.redis.connect().await;
    let key = |kind: &str| format!("{}:{{0}}:{kind}", world.options.namespace);
    for (sequence, name) in [(7, "7-0"), (9, "9-0")] {
        redis::cmd("HSET")
            .arg(world.partition_key())
            .arg("seq")
            .arg(sequence)
            .exec_async(&mut redis)
            .await
            .expect("set");
        redis::cmd("XADD").arg(key("outbox")).arg(name).arg("e").arg(1).exec_async(&mut redis).await.expect("added");
    }
    let found = verify().await;
    assert!(found.stdout.contains("event 9 of generation 1 follows event 7"), "{found:?}");
    for kind in ["pool:7", "free:7", "order:7", "num:7"] {
        redis::cmd("DEL").arg(key(kind)).exec_async(&mut redis).await.expect("deleted");
    }
    let found = verify().await;
    assert!(found.stdout.contains("restaurant 7: the ledger has settings of it, Redis does not"), "{found:?}");
}

/// Who had a number at a time is one order, by the times that the ledger has; and what rests, rests in both.
#[tokio::test]
async fn verify_finds_lives_that_overlap_and_rests_that_differ() {
    let world = World::new().await;
    let (daemon, api) = world.start();
    api.configure(7, json!({"max_number": 4, "cooldown_seconds": 3600, "policy": "lowest"})).await;
    let mut orders = Vec::new();
    for immediate in [true, true, false] {
        let order = api.create(7, json!({})).await;
        api.release(id(&order), immediate).await.ok(200);
        orders.push(order);
    }
    assert_eq!(numbers(&orders), [1, 1, 1]);
    world.assert_sound().await;
    assert!(daemon.terminate().0.success());
    let verify = async || {
        let options = world.options.clone();
        tokio::task::spawn_blocking(move || options.run("verify", &[])).await.expect("it ends")
    };
    let run = async |statement: &str| {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        sqlx::query(statement).execute(&world.ledger).await.expect("a good statement");
    };
    // The second order is made out to have had its number since before the first one gave it back.
    let id_of_second = id(&orders[1]);
    let earlier = |sign: &str| {
        format!(
            "UPDATE orders SET given_at = given_at {sign} interval '1 hour' WHERE internal_order_id = '{id_of_second}'"
        )
    };
    run(&earlier("-")).await;
    let found = verify().await;
    assert_eq!(found.status.code(), Some(2), "{found:?}");
    assert!(found.stdout.contains(id_of_second) && found.stdout.contains(id(&orders[0])), "{found:?}");
    run(&earlier("+")).await;
    assert!(verify().await.status.success());

    // A rest that only the one side has, or that ends elsewhere.
    let rest = format!("{}:{{0}}:cool:7", world.options.namespace);
    let mut redis = world.redis.connect().await;
    let entries: Vec<(String, f64)> = redis::cmd("ZRANGE")
        .arg(&rest)
        .arg(&["0", "-1", "WITHSCORES"])
        .query_async(&mut redis)
        .await
        .expect("Redis answers");
    run("UPDATE display_order_slots SET cooldown_expires_at = cooldown_expires_at + interval '1 hour'").await;
    let found = verify().await;
    assert_eq!(found.status.code(), Some(2), "{found:?}");
    run("UPDATE display_order_slots SET cooldown_expires_at = cooldown_expires_at - interval '1 hour'").await;
    assert!(verify().await.status.success());
    run("DELETE FROM display_order_slots").await;
    let found = verify().await;
    assert_eq!(found.status.code(), Some(2), "the ledger does not know of the rest of {entries:?}: {found:?}");
}

#[tokio::test]
async fn partitions_of_a_wrong_ledger_stay_closed() {
    let world = World::new().await;
    let (daemon, api) = world.start();
    api.create(7, json!({})).await;
    daemon.kill9();
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_PARTITIONS", 1);
    (options.redis_url, options.namespace) = (world.options.redis_url.clone(), world.options.namespace.clone());
    options.migrate();
    let stranger = Daemon::start(&options);
    let api = Api::at(stranger.url());
    api.post("/v1/restaurants/7/orders", json!({})).await.away();
    let ready = api.get("/readyz").await.ok(503);
    assert!(ready.to_string().contains("do not belong together"), "{ready}");
    // Its own ledger finds everything as it was.
    let (_daemon, api) = world.start();
    assert_eq!(numbers(&api.live(7).await), [1]);
}

/// A packed order as earlier versions laid it out: without when its number was given, with
/// one token in place of those of the last seconds, and without when its number is free again.
fn in_the_first_layout(packed: &[u8]) -> Vec<u8> {
    let (head, given, behind) = (&packed[2..16], 16..22, &packed[22..38]);
    assert_eq!((packed[0], packed[1], given.len()), (4, 0, 6));
    let is_final = packed[2] >= 5;
    let tail = &packed[44 + usize::from(packed[43]) * 18 + if is_final { 6 } else { 0 }..];
    // Ranges came later: behind the format stands the length of the id, 0 for the main one.
    let (format, range_and_rest) = tail.split_at(1 + usize::from(tail[0]));
    [&[1][..], head, behind, &[7; 8], format, &range_and_rest[1..]].concat()
}

/// What an earlier version left in Redis is taken over: what the ledger lacks from its outbox, the rest from the
/// ledger.
#[tokio::test]
async fn a_redis_of_an_earlier_version_is_taken_over() {
    let world = World::new().await;
    let (daemon, api) = world.start();
    let known = api.create(7, json!({"note": "known"})).await;
    let ended = api.create(7, json!({})).await;
    world.drained().await;
    assert!(daemon.terminate().0.success());
    let unwritten = world.options.clone().with("NOWSERVING_WRITE_BEHIND_ENABLED", false);
    let daemon = Daemon::start(&unwritten);
    let api = Api::at(daemon.url());
    let only_here = api.create_with_key(7, "k", &json!({"note": "only here"})).await.ok(201);
    let known = api.patch(id(&known), json!({"status": "ready"})).await.ok(200);
    let ended = api.release(id(&ended), false).await.ok(200);
    daemon.kill9();

    // As the earlier version wrote it.
    let mut redis = world.redis.connect().await;
    let key = |kind: &str| format!("{}:{{0}}:{kind}", world.options.namespace);
    redis::cmd("HDEL")
        .arg(key("partition"))
        .arg(&["layout", "at"])
        .exec_async(&mut redis)
        .await
        .expect("Redis answers");
    for kind in ["order:7", "done:7"] {
        let orders: Vec<(Vec<u8>, Vec<u8>)> =
            redis::cmd("HGETALL").arg(key(kind)).query_async(&mut redis).await.expect("Redis answers");
        assert!(!orders.is_empty(), "{kind}");
        for (id, packed) in orders {
            let set = redis::cmd("HSET").arg(key(kind)).arg(id).arg(in_the_first_layout(&packed)).to_owned();
            set.exec_async(&mut redis).await.expect("Redis answers");
        }
    }
    type Entries = Vec<(String, Vec<Vec<u8>>)>;
    let entries: Entries =
        redis::cmd("XRANGE").arg(key("outbox")).arg("-").arg("+").query_async(&mut redis).await.expect("Redis answers");
    assert_eq!(entries.len(), 3);
    redis::cmd("DEL").arg(key("outbox")).exec_async(&mut redis).await.expect("Redis answers");
    for (id, mut fields) in entries {
        let state = fields.iter().position(|field| field == b"o").expect("an entry has a state") + 1;
        fields[state] = in_the_first_layout(&fields[state]);
        let add = redis::cmd("XADD").arg(key("outbox")).arg(id).arg(fields).to_owned();
        add.exec_async(&mut redis).await.expect("Redis answers");
    }

    let (_daemon, api) = world.start();
    let same = |found: &Value, order: &Value| {
        let mut order = order.clone();
        // It was not kept, so the life of the number begins where the order does.
        order["number_given_at"] = order["created_at"].clone();
        // Nor did it have dates.
        (order["business_date"], order["daily_sequence"]) = (Value::Null, Value::Null);
        assert_eq!(*found, order);
    };
    for order in [&known, &only_here, &ended] {
        same(&served(async || api.order(id(order)).await).await.ok(200), order);
    }
    same(&api.create_with_key(7, "k", &json!({"note": "only here"})).await.ok(201), &only_here);
    assert_eq!(api.get("/v1/restaurants/7/numbers/2").await.ok(200)["state"], "cooling");
    api.release(id(&known), true).await.ok(200);
    assert_eq!(numbers(&api.live(7).await), [number(&only_here)]);
    world.assert_sound().await;
}
