//! Redis's clock, as this daemon knows it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::domain::Timestamp;

/// The local clock, and the difference seen last. Masters of a cluster share it: a script refuses a time that does not
/// fit its own server's, and says what that one's is.
#[derive(Default)]
pub(super) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    pub(super) fn now(&self) -> Timestamp {
        self.now_with_micros().0
    }

    /// The instant, and the microseconds within its millisecond.
    pub(super) fn now_with_micros(&self) -> (Timestamp, u16) {
        let (local, micros) = local_now();
        (local.plus_ms(self.ahead_ms.load(Ordering::Relaxed)), micros)
    }

    pub(super) fn set(&self, redis_now: Timestamp) {
        self.ahead_ms.store(redis_now.unix_ms() - local_now().0.unix_ms(), Ordering::Relaxed);
    }
}

fn local_now() -> (Timestamp, u16) {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    (Timestamp::from_unix_ms(ms), u16::try_from(since_epoch.subsec_micros() % 1000).unwrap_or_default())
}
