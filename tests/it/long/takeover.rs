//! What an earlier version left in Redis and Postgres, as it was when that was killed under load.
//!
//! The fixture is what the version before layout 4 held of three restaurants, one of each policy: live, finished, resting,
//! reopened and imported orders, idempotency keys, and events in the outbox that the ledger did not have yet. Beside it is
//! each answer that a client had got.

use std::{collections::HashMap, io::Read as _, path::Path};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::{
    Daemon, DaemonOptions, OwnRedis, PATIENCE,
    api::{Answer, Api, id, number, text},
    eventually, eventually_true, fresh_database,
};

const RESTAURANTS: [u32; 3] = [7, 8, 9];

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/earlier_layout");
    let file = std::fs::File::open(folder.join(name).with_added_extension("gz")).expect("the fixture is there");
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("it is text");
    text
}

/// Puts the fixture into a Redis and a database of its own.
async fn as_it_was_left() -> (OwnRedis, DaemonOptions) {
    let redis = OwnRedis::start().await;
    let mut connection = redis.connect().await;
    let keys: Vec<(String, String)> = serde_json::from_str(&fixture("redis.json")).expect("a list");
    for (key, dumped) in keys {
        let bytes = decode(&dumped);
        let mut restore = redis::cmd("RESTORE");
        restore.arg(key).arg(0).arg(bytes).exec_async(&mut connection).await.expect("Redis takes it");
    }
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_PARTITIONS", 1);
    // The orders of the fixture grow old.
    options = options.with("NOWSERVING_SURVEY_INTERVAL_SECONDS", 3600);
    options.namespace = "ns".to_owned();
    options.redis_url = Some(redis.url());
    let url = fresh_database().await;
    let mut ledger = sqlx::PgConnection::connect(&url).await.expect("Postgres answers");
    let dump = fixture("ledger.sql");
    sqlx::raw_sql(sqlx::AssertSqlSafe(dump)).execute(&mut ledger).await.expect("it is what Postgres wrote");
    ledger.close().await.expect("Postgres answers");
    // It is the same server, as far as the ledger knows: nothing was lost.
    let info: redis::InfoDict = redis::cmd("INFO").arg("server").query_async(&mut connection).await.expect("answers");
    let run_id: String = info.get("run_id").expect("it has one");
    let mut ledger = sqlx::PgConnection::connect(&url).await.expect("Postgres answers");
    let told = sqlx::query("UPDATE outbox_progress SET run_id = $1 WHERE run_id IS NOT NULL").bind(run_id);
    assert_eq!(told.execute(&mut ledger).await.expect("it is there").rows_affected(), 1);
    options.database_url = Some(url);
    options.migrate();
    (redis, options)
}

/// Standard base 64.
fn decode(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("not base 64: {byte}"),
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(value).collect();
    let bytes = digits.chunks(4).flat_map(|chunk| {
        let all = chunk.iter().fold(0_u32, |all, digit| all << 6 | u32::from(*digit)) << (6 * (4 - chunk.len()));
        all.to_be_bytes()[1..].iter().copied().take(chunk.len() - 1).collect::<Vec<u8>>()
    });
    bytes.collect()
}

async fn served(ask: impl AsyncFn() -> Answer) -> Answer {
    eventually(PATIENCE, || async {
        let answer = ask().await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_layout_is_taken_over_under_load_and_nothing_is_lost() {
    let (redis, options) = as_it_was_left().await;
    let acknowledged: Vec<Value> = serde_json::from_str(&fixture("acknowledged.json")).expect("a list");
    assert!(acknowledged.len() > 100);
    let mut connection = redis.connect().await;
    let mut resting: HashMap<u32, Vec<u64>> = HashMap::new();
    for restaurant in RESTAURANTS {
        let packed: Vec<Vec<u8>> = redis::cmd("LRANGE")
            .arg(format!("ns:{{0}}:cool:{restaurant}"))
            .arg(&[0, -1])
            .query_async(&mut connection)
            .await
            .expect("it was a list");
        let now = chrono::Utc::now().timestamp_millis().cast_unsigned();
        let value = |bytes: &[u8]| bytes.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        let still = packed.iter().filter(|entry| value(&entry[..6]) > now).map(|entry| value(&entry[6..]));
        resting.insert(restaurant, still.collect());
    }

    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    // Tills that ask from the first moment.
    let tills = RESTAURANTS.iter().cycle().take(24).map(|restaurant| {
        let api = &api;
        async move {
            let path = format!("/v1/restaurants/{restaurant}/orders");
            let made = served(async || api.post(&path, json!({"note": "after"})).await).await;
            (*restaurant, made)
        }
    });
    let made = join_all(tills).await;

    for order in &acknowledged {
        let now = served(async || api.order(text(order, "internal_order_id")).await).await.ok(200);
        assert_eq!(now["display_order_number"], order["display_order_number"], "{order}");
        assert_eq!(now["note"], order["note"]);
        let (is, was) = (now["version"].as_u64(), order["version"].as_u64());
        // The answer to a later change may have been under way when the daemon was killed.
        assert!(is >= was, "{order} was acknowledged, and is {now}");
        if is == was {
            assert_eq!(now["status"], order["status"], "{order}");
        }
    }
    for restaurant in RESTAURANTS {
        let live = api.live(restaurant).await;
        let mut held: Vec<u64> = live.iter().map(number).collect();
        let count = held.len();
        held.sort_unstable();
        held.dedup();
        assert_eq!(held.len(), count, "two live orders of {restaurant} have one number");
    }
    for (restaurant, answer) in &made {
        if answer.status == 201 {
            let given = number(&answer.value());
            assert!(!resting[restaurant].contains(&given), "{given} of {restaurant} rested");
        } else {
            answer.problem(409, "pool_exhausted");
        }
    }
    // Nothing was lost, so no number has to rest for what nobody saw.
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.contains("\nnowserving_numbers_skipped_total 0\n"), "{metrics}");

    // A key leads to its order as long as its window is open.
    let fresh = |order: &&Value| {
        let ms =
            u64::from_str_radix(&text(order, "internal_order_id").replace('-', "")[..12], 16).expect("hexadecimal");
        ms + 23 * 3_600_000 > chrono::Utc::now().timestamp_millis().cast_unsigned()
    };
    for order in acknowledged.iter().filter(|order| order["key"].is_string()).filter(fresh).take(50) {
        let restaurant = api.order(text(order, "internal_order_id")).await.ok(200)["restaurant_id"].clone();
        let restaurant = u32::try_from(restaurant.as_u64().expect("a number")).expect("in range");
        let again = api.create_with_key(restaurant, text(order, "key"), &json!({"note": order["note"]})).await;
        assert_eq!(id(&again.ok(201)), text(order, "internal_order_id"));
    }
    eventually_true(PATIENCE, || async { options.run("verify", &[]).status.success() }).await;

    // What an earlier daemon reads of the partition is no number: it refuses it, and leaves it alone.
    let layout: String = redis::cmd("HGET")
        .arg("ns:{0}:partition")
        .arg("layout")
        .query_async(&mut connection)
        .await
        .expect("it has one");
    assert!(layout.parse::<u64>().is_err(), "{layout}");
}
