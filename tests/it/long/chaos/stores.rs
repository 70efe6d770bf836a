//! Both stores as they are in the end, read past the program: what it would say of itself proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::pools::MAIN;
use crate::support::DaemonOptions;

/// Everything that the checker looks at.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stores {
    pub orders: Vec<LedgerOrder>,
    pub events: Vec<Event>,
    pub slots: Vec<Slot>,
    pub progress: BTreeMap<i16, Position>,
    pub dead_letters: i64,
    /// Of each partition that Redis has.
    pub heads: BTreeMap<i16, Position>,
    pub live: Vec<LiveOrder>,
    pub cooling: Vec<Cooling>,
    pub free: Vec<FreeRun>,
    /// The clock of Redis when it was read.
    pub now_ms: i64,
    pub verify: Option<Verify>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerOrder {
    pub id: Uuid,
    pub restaurant: u32,
    pub number: u32,
    pub status: String,
    pub version: u32,
    pub external_id: Option<String>,
    /// The digest of its `Idempotency-Key`.
    pub key: Option<Vec<u8>>,
    /// When its number was given to it.
    pub given_ms: Option<i64>,
    pub released_ms: Option<i64>,
    /// When it was reopened the last time.
    pub reopened_ms: Option<i64>,
    /// How often it was called.
    pub calls: u32,
    /// Its business date, and its place in it.
    pub place: Option<(String, u32)>,
    /// The range that gave its number; None: the main one.
    pub range: Option<String>,
    /// How its number was chosen, where not as the next one.
    pub choice: Option<String>,
    pub table: Option<String>,
}

impl LedgerOrder {
    /// The id of the range that gave its number.
    pub fn range_id(&self) -> &str {
        self.range.as_deref().unwrap_or(MAIN)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    pub partition: i16,
    pub generation: i64,
    pub sequence: i64,
    pub at_ms: i64,
    pub kind: String,
    pub restaurant: u32,
    pub order: Option<Uuid>,
    pub number: Option<u32>,
    pub status: Option<String>,
    pub version: u32,
    /// The `X-Request-Id` of the call that it came of.
    pub request: Option<String>,
    pub detail: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slot {
    pub restaurant: u32,
    pub number: u32,
    /// None where it was put to rest without one.
    pub order: Option<Uuid>,
    /// Set while it rests.
    pub until_ms: Option<i64>,
}

/// How far a partition is; a later generation is further than any event of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    pub generation: i64,
    pub sequence: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveOrder {
    pub restaurant: u32,
    pub id: Uuid,
    pub number: u32,
    pub status: u8,
    pub version: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cooling {
    pub restaurant: u32,
    pub number: u32,
    pub until_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FreeRun {
    pub restaurant: u32,
    pub first: u32,
    pub last: u32,
}

/// What `nowserving verify` said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verify {
    pub exit_code: Option<i32>,
    pub output: String,
}

/// The statuses in the order of their codes in Redis.
pub const STATUSES: [&str; 8] =
    ["pending", "preparing", "ready", "served", "held", "completed", "cancelled", "expired"];

impl Stores {
    /// Reads all of it: from these masters, which share the partitions. Nothing may be changing.
    pub async fn read(options: &DaemonOptions, masters: &mut [MultiplexedConnection]) -> Self {
        let mut stores = Self::default();
        let pool = connect(options).await;
        stores.read_ledger(&pool).await;
        pool.close().await;
        for master in masters.iter_mut() {
            stores.read_redis(options, master).await;
        }
        let options = options.clone();
        let verified = tokio::task::spawn_blocking(move || options.run("verify", &[])).await.expect("it ends");
        let output = format!("{}{}", verified.stdout, verified.stderr);
        stores.verify = Some(Verify { exit_code: verified.status.code(), output });
        stores
    }

    async fn read_ledger(&mut self, pool: &PgPool) {
        let rows = async |query: &'static str| {
            let rows: Vec<PgRow> = sqlx::query(query).fetch_all(pool).await.expect("Postgres answers");
            rows
        };
        self.orders = rows(
            "SELECT internal_order_id, restaurant_id, display_order_number, status, version, external_id,
                    idempotency_key, (extract(epoch FROM given_at) * 1000)::bigint,
                    (extract(epoch FROM released_at) * 1000)::bigint,
                    (extract(epoch FROM reopened_at) * 1000)::bigint,
                    business_date::text, daily_sequence, number_range, number_choice, table_number, call_count
             FROM orders",
        )
        .await
        .iter()
        .map(|row| LedgerOrder {
            id: row.get(0),
            restaurant: small(row, 1),
            number: small(row, 2),
            status: row.get(3),
            version: small(row, 4),
            external_id: row.get(5),
            key: row.get(6),
            given_ms: row.get(7),
            released_ms: row.get(8),
            reopened_ms: row.get(9),
            place: row.get::<Option<String>, _>(10).zip(row.get::<Option<i32>, _>(11).map(i32::cast_unsigned)),
            range: row.get(12),
            choice: row.get(13),
            table: row.get(14),
            calls: small(row, 15),
        })
        .collect();
        self.events = rows(
            "SELECT partition, generation, sequence, (extract(epoch FROM occurred_at) * 1000)::bigint, kind,
                    restaurant_id, internal_order_id, display_order_number, status_after, coalesce(version, 0),
                    request_id, detail
             FROM order_events ORDER BY partition, generation, sequence",
        )
        .await
        .iter()
        .map(|row| Event {
            partition: row.get(0),
            generation: row.get(1),
            sequence: row.get(2),
            at_ms: row.get(3),
            kind: row.get(4),
            restaurant: small(row, 5),
            order: row.get(6),
            number: row.get::<Option<i32>, _>(7).map(i32::cast_unsigned),
            status: row.get(8),
            version: small(row, 9),
            request: row.get(10),
            detail: row.get(11),
        })
        .collect();
        self.slots = rows(
            "SELECT restaurant_id, number, current_order_id, (extract(epoch FROM cooldown_expires_at) * 1000)::bigint
             FROM display_order_slots",
        )
        .await
        .iter()
        .map(|row| Slot { restaurant: small(row, 0), number: small(row, 1), order: row.get(2), until_ms: row.get(3) })
        .collect();
        self.progress = progress(pool).await.expect("Postgres answers");
        self.dead_letters = rows("SELECT count(*) FROM dead_letters").await[0].get(0);
    }

    async fn read_redis(&mut self, options: &DaemonOptions, redis: &mut MultiplexedConnection) {
        self.heads.extend(heads(redis, &options.namespace).await.expect("Redis answers"));
        let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(redis).await.expect("Redis answers");
        self.now_ms = self.now_ms.max(seconds * 1000 + micros / 1000);
        for key in keys(redis, &format!("{}:*", options.namespace)).await.expect("Redis answers") {
            let mut parts = key.split(':').skip(2);
            let (Some(kind), Some(restaurant)) = (parts.next(), parts.next()) else { continue };
            let Ok(restaurant) = restaurant.parse() else { continue };
            match kind {
                "order" => {
                    let orders: Vec<(Vec<u8>, Vec<u8>)> = redis.hgetall(&key).await.expect("Redis answers");
                    self.live.extend(orders.iter().map(|(id, packed)| live_order(restaurant, id, packed)));
                }
                "cool" => {
                    let resting: Vec<(u32, i64)> = redis.zrange_withscores(&key, 0, -1).await.expect("Redis answers");
                    let cooling = |(number, until_ms)| Cooling { restaurant, number, until_ms };
                    self.cooling.extend(resting.into_iter().map(cooling));
                }
                "free" => {
                    let runs: Vec<(u32, u32)> = redis.zrange_withscores(&key, 0, -1).await.expect("Redis answers");
                    self.free.extend(runs.into_iter().map(|(last, first)| FreeRun { restaurant, first, last }));
                }
                "pool" => {
                    // The run that each range is using up.
                    let fields: Vec<(String, Vec<u8>)> = redis.hgetall(&key).await.expect("Redis answers");
                    let rings =
                        fields.iter().filter(|(field, _)| field[1..].parse::<u8>().is_ok() && field.starts_with('r'));
                    for (_, ring) in rings {
                        let (first, last) = (small_uint(&ring[..3]), small_uint(&ring[3..6]));
                        if first <= last {
                            self.free.push(FreeRun { restaurant, first, last });
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// The head of a packed order, as `lua/lib/record.lua` lays it out.
fn live_order(restaurant: u32, id: &[u8], packed: &[u8]) -> LiveOrder {
    LiveOrder {
        restaurant,
        id: Uuid::from_slice(id).expect("ids have 16 bytes"),
        status: packed[2],
        number: small_uint(&packed[3..6]),
        version: small_uint(&packed[6..10]),
    }
}

fn uint(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |value, byte| (value << 8) | i64::from(*byte))
}

fn small_uint(bytes: &[u8]) -> u32 {
    u32::try_from(uint(bytes)).expect("at most four bytes")
}

fn small(row: &PgRow, column: usize) -> u32 {
    row.get::<i32, _>(column).cast_unsigned()
}

/// A few connections to the ledger.
pub async fn connect(options: &DaemonOptions) -> PgPool {
    let url = options.database_url.as_deref().expect("a Postgres that is not private");
    PgPoolOptions::new().max_connections(2).connect(url).await.expect("Postgres answers")
}

/// How far the ledger has each partition that is in use.
pub async fn progress(pool: &PgPool) -> sqlx::Result<BTreeMap<i16, Position>> {
    let query = "SELECT partition, generation, sequence FROM outbox_progress WHERE generation IS NOT NULL";
    let rows = sqlx::query(query).fetch_all(pool).await?;
    Ok(rows.iter().map(|row| (row.get(0), Position { generation: row.get(1), sequence: row.get(2) })).collect())
}

/// How many orders have expired.
pub async fn expired(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM orders WHERE status = 'expired'").fetch_one(pool).await
}

/// How far each partition is in Redis.
pub async fn heads(redis: &mut MultiplexedConnection, namespace: &str) -> redis::RedisResult<BTreeMap<i16, Position>> {
    let mut heads = BTreeMap::new();
    for key in keys(redis, &format!("{namespace}:{{*}}:partition")).await? {
        let (generation, sequence): (i64, i64) = redis.hmget(&key, &["gen", "seq"]).await?;
        let partition = key.split(['{', '}']).nth(1).and_then(|partition| partition.parse().ok());
        heads.insert(partition.expect("a partition has a number"), Position { generation, sequence });
    }
    Ok(heads)
}

async fn keys(redis: &mut MultiplexedConnection, pattern: &str) -> redis::RedisResult<BTreeSet<String>> {
    // Only braces of hash tags are in our keys, and they mean nothing to a pattern.
    redis::cmd("KEYS").arg(pattern).query_async(redis).await
}
