//! The design that nowserving replaces: one row a number in Postgres, and `SELECT … FOR UPDATE SKIP LOCKED`.
//!
//! As well as it can be done: one statement and one commit an order, prepared, over connections that are kept; a partial
//! index that holds the free numbers alone, so that the pick is one step into it; the order is recorded in the same
//! transaction, as any such service must. It runs on the same Postgres as the daemon's ledger, with its settings, and
//! speaks to it without HTTP in between: the floor of such designs. `slot_service.rs` puts HTTP before the same statement.

use std::time::Duration;

use serde_json::Value;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::{
    closed_loop::{self, Client, Looped},
    support::OwnPostgres,
};

/// The table, filled.
pub struct SlotTable {
    pub url: String,
}

/// How many numbers a table has.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    /// Of restaurant 1.
    pub hot: i32,
    /// Restaurants besides it, from 2 on.
    pub restaurants: u64,
    /// Of each of these.
    pub each: i32,
}

const SCHEMA: &str = "
    CREATE TABLE slots (
        restaurant_id integer NOT NULL,
        number        integer NOT NULL,
        order_id      uuid,
        allocated_at  timestamptz,
        PRIMARY KEY (restaurant_id, number)
    ) WITH (fillfactor = 80);
    CREATE TABLE slot_orders (
        order_id      uuid PRIMARY KEY,
        restaurant_id integer NOT NULL,
        number        integer NOT NULL,
        status        text NOT NULL,
        body          jsonb NOT NULL,
        created_at    timestamptz NOT NULL DEFAULT now()
    );";

const INDEX: &str = "CREATE INDEX slots_free ON slots (restaurant_id, number) WHERE order_id IS NULL";

pub const ALLOCATE: &str = "
    WITH picked AS (
        SELECT restaurant_id, number FROM slots
        WHERE restaurant_id = $1 AND order_id IS NULL
        ORDER BY number LIMIT 1
        FOR UPDATE SKIP LOCKED
    ), held AS (
        UPDATE slots SET order_id = $2, allocated_at = now() FROM picked
        WHERE slots.restaurant_id = picked.restaurant_id AND slots.number = picked.number
        RETURNING slots.restaurant_id, slots.number
    )
    INSERT INTO slot_orders (order_id, restaurant_id, number, status, body)
    SELECT $2, restaurant_id, number, 'pending', $3 FROM held
    RETURNING number";

impl SlotTable {
    /// In a database of its own, with so many free numbers: more than a run takes.
    pub async fn fill(postgres: &OwnPostgres, database: &str, slots: Slots) -> Self {
        let url = postgres.create_database(database).await;
        let mut connection = connect(&url).await;
        connection.execute(SCHEMA).await.expect("the tables can be made");
        let last = i32::try_from(slots.restaurants + 1).expect("small");
        for (count, from, to) in [(slots.hot, 1, 1), (slots.each, 2, last)] {
            sqlx::query(
                "INSERT INTO slots (restaurant_id, number)
                 SELECT r, n FROM generate_series($1::int, $2::int) r, generate_series(1, $3::int) n",
            )
            .bind(from)
            .bind(to)
            .bind(count)
            .execute(&mut connection)
            .await
            .expect("the slots can be filled");
        }
        for statement in [INDEX, "VACUUM ANALYZE slots", "CHECKPOINT"] {
            connection.execute(statement).await.expect("Postgres prepares the table");
        }
        connection.close().await.expect("the connection can be closed");
        Self { url }
    }

    /// As the closed loop over HTTP: each client takes its next number when it has the last one.
    pub async fn closed_loop(&self, connections: usize, time: Duration, restaurants: u64) -> Looped {
        let body = serde_json::json!({
            "table_number": "12", "order_source": "kiosk", "order_type": "dine_in", "customer_name": "Ada", "note": "salt"
        });
        let mut tills = Vec::new();
        for _ in 0..connections {
            tills.push(Till { connection: connect(&self.url).await, body: body.clone(), restaurants });
        }
        closed_loop::run(tills, time).await
    }
}

/// One who takes numbers: of restaurant 1, or of so many others in turn.
struct Till {
    connection: PgConnection,
    body: Value,
    restaurants: u64,
}

impl Client for Till {
    async fn step(&mut self, n: u64) {
        let restaurant = if self.restaurants == 1 { 1 } else { 2 + n % self.restaurants };
        let number: i32 = sqlx::query_scalar(ALLOCATE)
            .bind(i32::try_from(restaurant).expect("small"))
            .bind(Uuid::from_u128(rand::random()))
            .bind(&self.body)
            .fetch_one(&mut self.connection)
            .await
            .expect("a number is free");
        assert!(number > 0);
    }
}

async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("a valid URL");
    options.connect().await.expect("Postgres answers")
}
