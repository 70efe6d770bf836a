//! What a good engineer would write in an afternoon: the slot table with row locks behind a small axum and sqlx service.
//!
//! Tuned as it deserves: the one statement of `slot_table.rs`, prepared once on each connection, a pool with a connection
//! for each client that is not tested before each use, no delay on sockets, and the allocator that the daemon has. It
//! runs as a process of its own: this program, told so by a hidden argument.

use std::process::Command;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
    serve::ListenerExt,
};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{
    reference_server::ReferenceServer,
    slot_table::{ALLOCATE, SlotTable},
};

/// Connections to Postgres: one for each client of the comparison.
const POOL: u32 = 16;

/// Starts the service on a table that was filled.
pub fn start(table: &SlotTable) -> ReferenceServer {
    let this = std::env::current_exe().expect("this program is a file");
    let mut command = Command::new(this);
    command.args(["--bench", "--slot-service", &table.url]);
    ReferenceServer::start(&command, &[]).expect("the service starts")
}

/// The service itself: answers until it is ended.
pub async fn serve(database_url: &str) {
    let options = PgPoolOptions::new().min_connections(POOL).max_connections(POOL).test_before_acquire(false);
    let pool = options.connect(database_url).await.expect("Postgres answers");
    let routes =
        Router::new().route("/restaurants/{id}/orders", post(create)).route("/healthz", get(|| async { "ok" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    println!("listening on http://{}", listener.local_addr().expect("it is bound"));
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a TCP socket"));
    axum::serve(listener, routes.with_state(pool)).await.expect("it serves");
}

/// What a till says of an order.
#[derive(Debug, Serialize, Deserialize)]
struct Details {
    table_number: Option<String>,
    order_source: Option<String>,
    order_type: Option<String>,
    customer_name: Option<String>,
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Made {
    internal_order_id: Uuid,
    restaurant_id: i32,
    number: i32,
    status: &'static str,
    #[serde(flatten)]
    details: Details,
}

type Refused = (StatusCode, &'static str);

async fn create(
    State(pool): State<PgPool>,
    Path(restaurant_id): Path<i32>,
    Json(details): Json<Details>,
) -> Result<(StatusCode, Json<Made>), Refused> {
    let internal_order_id = Uuid::from_u128(rand::random());
    let number: Option<i32> = sqlx::query_scalar(ALLOCATE)
        .bind(restaurant_id)
        .bind(internal_order_id)
        .bind(sqlx::types::Json(&details))
        .fetch_optional(&pool)
        .await
        .map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer"))?;
    let number = number.ok_or((StatusCode::CONFLICT, "no number is free"))?;
    Ok((StatusCode::CREATED, Json(Made { internal_order_id, restaurant_id, number, status: "pending", details })))
}
