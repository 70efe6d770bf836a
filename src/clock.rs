//! The clocks of this machine: the one place that reads them.
//!
//! What happens is stamped by Redis's clock. A daemon knows it as what Redis told last plus what has passed since by
//! [`boot_us`], a clock that is never set. The wall clock of the machine decides nothing: it is compared, and it is
//! what the log shows.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::domain::Timestamp;

/// Microseconds since the machine was started, those in suspend included (`CLOCK_BOOTTIME`).
#[must_use]
pub(crate) fn boot_us() -> i64 {
    let passed = clock_gettime(ClockId::CLOCK_BOOTTIME).or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC));
    passed.map_or(0, |at| at.tv_sec() * 1_000_000 + at.tv_nsec() / 1000)
}

/// What the machine takes for the time, only ever to be compared with what others do.
#[must_use]
pub(crate) fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_the_machine_goes_on() {
        let before = boot_us();
        assert!(before > 0 && boot_us() >= before);
    }
}
