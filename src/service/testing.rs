//! What unit tests need of this module.

use std::time::Duration;

use super::{Service, ServiceSettings};
use crate::{allocator::Allocator, config::Settings, domain::Timestamp, ledger::Ledger};

/// The use cases, on two stores that do not answer.
pub(crate) fn without_stores() -> Service {
    let all = Settings::default();
    let (redis, database) = ("redis://127.0.0.1:1", "postgres://nowserving@127.0.0.1:1/nothing");
    let allocator = Allocator::new(redis, &all.redis, 64, Duration::from_secs(60)).expect("a good URL");
    allocator.pretend_time(Timestamp::from_unix_ms(1_800_000_000_000));
    let ledger = Ledger::lazy(database, &all.ledger).expect("a good URL");
    Service::new(allocator, ledger, &ServiceSettings::of(&all, true))
}
