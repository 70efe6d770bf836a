//! The design that nowserving replaces: one row a number in Postgres, and `SELECT … FOR UPDATE SKIP LOCKED`.
//!
//! As well as it can be done: one statement and one commit an order, prepared, over connections that are kept; a partial
//! index that holds the free numbers alone, so that the pick is one step into it; the order is recorded in the same
//! transaction, as any such service must. It runs on the same Postgres as the daemon's ledger, with its settings, and
//! speaks to it without HTTP in between.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::{Plan, client::Looped, deployment::Deployment};

/// The table, filled.
pub struct SlotTable {
    url: String,
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

const ALLOCATE: &str = "
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
    /// Restaurant 1 with many free numbers, and as many others as said, with a few each: more than a run takes.
    pub async fn fill(deployment: &Deployment, restaurants: u64, plan: &Plan) -> Self {
        let url = deployment.postgres.create_database("slot_table").await;
        let mut connection = connect(&url).await;
        connection.execute(SCHEMA).await.expect("the tables can be made");
        let (hot, each) = (plan.size(200_000, 1_000_000), plan.size(10, 50));
        let last = i32::try_from(restaurants + 1).expect("small");
        for (count, from, to) in [(hot, 1, 1), (each, 2, last)] {
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
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(connect(&self.url).await);
        }
        let started = Instant::now();
        let mut clients = tokio::task::JoinSet::new();
        let body = serde_json::json!({
            "table_number": "12", "order_source": "kiosk", "order_type": "dine_in", "customer_name": "Ada", "note": "salt"
        });
        for mut connection in open {
            let (stop, sent, body) = (Arc::clone(&stop), Arc::clone(&sent), body.clone());
            clients.spawn(async move {
                let mut answered = 0;
                while !stop.load(Relaxed) {
                    let n = sent.fetch_add(1, Relaxed);
                    let restaurant = if restaurants == 1 { 1 } else { 2 + n % restaurants };
                    let number: i32 = sqlx::query_scalar(ALLOCATE)
                        .bind(i32::try_from(restaurant).expect("small"))
                        .bind(Uuid::from_u128(rand::random()))
                        .bind(&body)
                        .fetch_one(&mut connection)
                        .await
                        .expect("a number is free");
                    assert!(number > 0);
                    answered += 1;
                }
                answered
            });
        }
        tokio::time::sleep(time).await;
        stop.store(true, Relaxed);
        let answered = clients.join_all().await.into_iter().sum();
        Looped { answered, took: started.elapsed() }
    }
}

async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("a valid URL");
    options.connect().await.expect("Postgres answers")
}
