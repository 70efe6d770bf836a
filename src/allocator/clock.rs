//! A master's clock, as this daemon knows it: what the master told last, and what has passed since by a clock that nobody
//! sets. Before it has told anything there is no time.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use crate::{clock::boot_us, domain::Timestamp, metrics};

/// Clocks that are further apart than this are not believed where something cannot be undone, and steps of a clock that are
/// larger are reported.
pub const CLOCKS_APART_MS: i64 = 60_000;

/// For so long a step is remembered.
const STEP_KNOWN_FOR_US: i64 = 3600 * 1_000_000;

/// No answer yet.
const UNTOLD: i64 = i64::MIN;

pub(super) struct Clock {
    /// The master's clock less [`boot_us`], in µs.
    ahead_us: AtomicI64,
    /// The last step, in ms, and when it was noticed by [`boot_us`].
    step: Mutex<Option<(i64, i64)>>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { ahead_us: AtomicI64::new(UNTOLD), step: Mutex::default() }
    }
}

impl Clock {
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.now_with_micros().map(|(at, _)| at)
    }

    /// The instant, and the microseconds within its millisecond.
    pub(super) fn now_with_micros(&self) -> Option<(Timestamp, u16)> {
        let ahead = self.ahead_us.load(Relaxed);
        (ahead != UNTOLD).then(|| {
            let us = boot_us() + ahead;
            let micros = u16::try_from(us.rem_euclid(1000)).unwrap_or_default();
            (Timestamp::from_unix_ms(us.div_euclid(1000)), micros)
        })
    }

    /// Takes what the master just told, in seconds and µs as `TIME` gives it. It is older by the way of the answer, so this
    /// clock is a little behind, never ahead.
    pub(super) fn told(&self, (seconds, micros): (i64, i64)) {
        self.set_us(seconds.saturating_mul(1_000_000).saturating_add(micros));
    }

    /// As [`Clock::told`], from a script, which tells milliseconds.
    pub(super) fn told_ms(&self, now: Timestamp) {
        self.set_us(now.unix_ms() * 1000);
    }

    fn set_us(&self, now_us: i64) {
        let ahead = now_us - boot_us();
        let before = self.ahead_us.swap(ahead, Relaxed);
        let step_ms = ahead.saturating_sub(before) / 1000;
        if before != UNTOLD && step_ms.abs() > CLOCKS_APART_MS {
            *self.step.lock().unwrap_or_else(PoisonError::into_inner) = Some((step_ms, boot_us()));
            metrics::redis_clock_stepped();
            tracing::warn!(step_s = step_ms / 1000, "Redis's clock was set; see that its machine keeps time (NTP)");
        }
    }

    /// The last step, in ms, unless it is long ago.
    pub(super) fn recent_step_ms(&self) -> Option<i64> {
        let step = *self.step.lock().unwrap_or_else(PoisonError::into_inner);
        step.filter(|(_, noticed)| boot_us() - noticed < STEP_KNOWN_FOR_US).map(|(ms, _)| ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_time_before_the_master_has_told_it() {
        let clock = Clock::default();
        assert_eq!(clock.now(), None);
        clock.told((1_800_000_000, 123_456));
        let (at, _) = clock.now_with_micros().expect("told");
        assert!((0..60_000).contains(&(at.unix_ms() - 1_800_000_000_123)), "{at}");
    }

    #[test]
    fn a_step_is_noticed_and_a_drift_is_not() {
        let clock = Clock::default();
        clock.told((1_800_000_000, 0));
        clock.told((1_800_000_002, 0));
        assert_eq!(clock.recent_step_ms(), None);
        clock.told((1_800_000_002 - 3600, 0));
        assert!(clock.recent_step_ms().is_some_and(|ms| (-3_600_100..=-3_599_900).contains(&ms)));
    }
}
