//! What unit tests need of this module.

use std::time::Duration;

use super::{Service, ServiceSettings, Unknown, UsageSettings};
use crate::{
    allocator::{Allocator, RedisSettings, RedisTls},
    domain::{Durability, Timestamp},
    ledger::{Ledger, LedgerSettings},
};

/// The use cases, on two stores that do not answer.
pub fn without_stores() -> Service {
    let redis = RedisSettings {
        url: "redis://127.0.0.1:1".to_owned(),
        lanes: 1,
        pool_size: 1,
        timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        tls: RedisTls::default(),
    };
    let allocator = Allocator::new(&redis, "test", 64, Duration::from_secs(60)).expect("a good URL");
    allocator.pretend_time(Timestamp::from_unix_ms(1_800_000_000_000));
    let ledger = LedgerSettings {
        url: "postgres://nobody@127.0.0.1:1/nothing".to_owned(),
        max_connections: 2,
        timeout_ms: 1000,
        connect_timeout_ms: 1000,
    };
    let settings = ServiceSettings {
        auto_provision: true,
        outbox_limit: 1000,
        memory_limit: None,
        shared: true,
        level: Durability::Memory,
        unknown: Unknown { seconds: 0, at_least: 0, at_most: 0 },
        usage: UsageSettings::default(),
    };
    Service::new(allocator, Ledger::lazy(&ledger).expect("a good URL"), settings)
}
