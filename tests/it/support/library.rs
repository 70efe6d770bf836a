//! The program as a library, on the stores of a daemon: for what no call and no command can bring about.

use std::time::Duration;

use nowserving::allocator::{Allocator, Restored};
use nowserving::config::{LedgerSettings, RedisSettings, Settings};
use nowserving::domain::{Context, OrderDetails, OrderId, OrderStatus, RestaurantId};
use nowserving::ledger::Ledger;
use nowserving::service::{Service, ServiceSettings};

use super::{DaemonOptions, PATIENCE};

/// The use cases, with every partition open. For deployments of the default number of partitions.
pub async fn service(options: &DaemonOptions) -> Service {
    let redis = options.redis_url.as_deref().expect("a Redis that is not private");
    let settings = redis_settings(&options.namespace);
    let allocator = Allocator::new(redis, &settings, 64, Duration::from_secs(60)).expect("a good URL");
    allocator.ping().await.expect("Redis answers");
    let patience_ms = u64::try_from(PATIENCE.as_millis()).expect("a short time");
    let database = options.database_url.as_deref().expect("a Postgres that is not private");
    let ledger = Ledger::connect(database, &ledger_settings(patience_ms)).await.expect("Postgres answers");
    let service = Service::new(allocator, ledger, &ServiceSettings::of(&Settings::default(), true));
    service.recovery.open_partitions().await.expect("both answer");
    assert_eq!(service.allocator().closed_partitions(), [], "no partition stays closed");
    service
}

/// Takes over a live order that was created so long ago, as the back-fill does; gives its id.
pub async fn old_order(options: &DaemonOptions, restaurant: u32, age: Duration) -> String {
    let service = service(options).await;
    let age_ms = i64::try_from(age.as_millis()).expect("a short time");
    let restaurant = RestaurantId::new(i64::from(restaurant)).expect("a restaurant");
    let created_at = service.allocator().now().expect("Redis told it").plus_ms(-age_ms);
    let id = OrderId::new(created_at, restaurant, rand::random());
    let (details, context) = (OrderDetails::default(), Context::of("test"));
    let restored = service.allocator().restore(id, None, OrderStatus::Preparing, None, &details, &context).await;
    assert!(matches!(restored, Ok(Restored::New(_))), "{restored:?}");
    id.to_string()
}

/// How a test talks to a Redis without a daemon: over one connection, and patiently.
pub fn redis_settings(namespace: &str) -> RedisSettings {
    let patience_ms = u64::try_from(PATIENCE.as_millis()).expect("a short time");
    RedisSettings {
        namespace: namespace.to_owned(),
        lanes: 1,
        pool_size: 2,
        timeout_ms: patience_ms,
        connect_timeout_ms: patience_ms,
        ..Settings::default().redis
    }
}

/// How a test talks to a Postgres without a daemon: over few connections, and for so long at a time.
pub fn ledger_settings(patience_ms: u64) -> LedgerSettings {
    LedgerSettings {
        max_connections: 4,
        timeout_ms: patience_ms,
        connect_timeout_ms: patience_ms,
        ..Settings::default().ledger
    }
}
