//! What a Postgres does without any design: events inserted into a plain table, one row and one commit each, or a
//! thousand rows a commit into one without an index, which nothing that keeps them in order can outdo.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use sqlx::{ConnectOptions, Executor, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::{
    closed_loop::{self, Client, Looped},
    support::OwnPostgres,
};

const SCHEMA: &str = "
    CREATE TABLE plain_events (
        partition         smallint    NOT NULL,
        sequence          bigint      NOT NULL,
        occurred_at       timestamptz NOT NULL DEFAULT now(),
        kind              text        NOT NULL,
        restaurant_id     integer     NOT NULL,
        internal_order_id uuid        NOT NULL,
        status_after      text        NOT NULL,
        PRIMARY KEY (partition, sequence)
    );
    CREATE TABLE bare_events (LIKE plain_events INCLUDING DEFAULTS);";

const ONE: &str = "
    INSERT INTO plain_events (partition, sequence, kind, restaurant_id, internal_order_id, status_after)
    VALUES ($1, $2, 'created', $3, $4, 'pending')";

const MANY: &str = "
    INSERT INTO bare_events (partition, sequence, kind, restaurant_id, internal_order_id, status_after)
    SELECT partition, sequence, 'created', restaurant, id, 'pending'
    FROM unnest($1::smallint[], $2::bigint[], $3::integer[], $4::uuid[]) AS new (partition, sequence, restaurant, id)";

/// Rows of one commit.
const ROWS: i64 = 1000;
/// How often a single commit is timed.
const EVERY: Duration = Duration::from_millis(20);

/// The two tables.
#[derive(Clone)]
pub struct PlainEvents {
    url: String,
    sequence: Arc<AtomicI64>,
}

impl PlainEvents {
    /// In a database of their own beside that of the ledger.
    pub async fn create(postgres: &OwnPostgres) -> Self {
        let url = postgres.create_database("plain_events").await;
        let events = Self { url, sequence: Arc::default() };
        events.connect().await.execute(SCHEMA).await.expect("the tables can be made");
        events
    }

    /// Each connection inserts its next event when its last one is durable.
    pub async fn one_by_one(&self, connections: usize, time: Duration) -> Looped {
        let mut writers = Vec::new();
        for _ in 0..connections {
            writers.push(Writer { connection: self.connect().await, events: self.clone() });
        }
        closed_loop::run(writers, time).await
    }

    /// One connection, a thousand rows at a time.
    pub async fn in_bulk(&self, time: Duration) -> Looped {
        let mut connection = self.connect().await;
        let (started, mut answered) = (Instant::now(), 0);
        while started.elapsed() < time {
            answered += self.insert_many(&mut connection).await;
        }
        Looped { answered, took: started.elapsed() }
    }

    /// Inserts an event now and then, until told to stop: how many µs each took to be durable.
    pub async fn commits(&self, stop: &AtomicBool) -> Histogram<u64> {
        let mut connection = self.connect().await;
        let mut micros = Histogram::new(3).expect("three digits");
        while !stop.load(Relaxed) {
            let started = Instant::now();
            self.insert_one(&mut connection).await;
            let took = u64::try_from(started.elapsed().as_micros()).expect("short");
            micros.record(took).expect("it grows as it must");
            tokio::time::sleep(EVERY).await;
        }
        micros
    }

    async fn insert_one(&self, connection: &mut PgConnection) {
        let sequence = self.sequence.fetch_add(1, Relaxed);
        let inserted = sqlx::query(ONE)
            .bind(partition_of(sequence))
            .bind(sequence)
            .bind(restaurant_of(sequence))
            .bind(Uuid::from_u128(rand::random()))
            .execute(connection)
            .await;
        assert_eq!(inserted.expect("Postgres answers").rows_affected(), 1);
    }

    async fn insert_many(&self, connection: &mut PgConnection) -> u64 {
        let first = self.sequence.fetch_add(ROWS, Relaxed);
        let sequences: Vec<i64> = (first..first + ROWS).collect();
        let ids: Vec<Uuid> = sequences.iter().map(|_| Uuid::from_u128(rand::random())).collect();
        let inserted = sqlx::query(MANY)
            .bind(sequences.iter().copied().map(partition_of).collect::<Vec<i16>>())
            .bind(&sequences)
            .bind(sequences.iter().copied().map(restaurant_of).collect::<Vec<i32>>())
            .bind(ids)
            .execute(connection)
            .await;
        let rows = inserted.expect("Postgres answers").rows_affected();
        assert_eq!(rows, ROWS.unsigned_abs());
        rows
    }

    async fn connect(&self) -> PgConnection {
        let options: PgConnectOptions = self.url.parse().expect("a valid URL");
        options.connect().await.expect("Postgres answers")
    }
}

/// One who inserts an event at a time.
struct Writer {
    connection: PgConnection,
    events: PlainEvents,
}

impl Client for Writer {
    async fn step(&mut self, _: u64) {
        self.events.insert_one(&mut self.connection).await;
    }
}

fn partition_of(sequence: i64) -> i16 {
    i16::try_from(sequence % 64).expect("a remainder")
}

fn restaurant_of(sequence: i64) -> i32 {
    i32::try_from(1 + sequence * 7919 % 40_000).expect("a remainder")
}
