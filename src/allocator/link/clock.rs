//! A master's clock, as this daemon knows it: what the master told last, and what has passed since by a clock that is
//! never set. Before it has told anything there is no time.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use crate::{clock::boot_us, domain::Timestamp, metrics};

/// Clocks that are further apart than this are not believed where something cannot be undone, and steps of a clock that are
/// larger are reported.
pub(crate) const CLOCKS_APART_MS: i64 = 60_000;

/// How old an answer may be that sets the clock. A call that may be served is younger than [`crate::allocator::timing::FRESHNESS`].
const LONGEST_WAY_US: i64 = 5_000_000;

/// For so long a step is remembered.
const STEP_KNOWN_FOR_US: i64 = 3600 * 1_000_000;

/// No answer yet.
const UNTOLD: i64 = i64::MIN;

pub(in crate::allocator) struct Clock {
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
    pub(in crate::allocator) fn now(&self) -> Option<Timestamp> {
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

    /// Takes what the master told, in seconds and µs as `TIME` gives it, to a caller that asked at this instant of
    /// [`boot_us`]. It is older by the way of the answer, so this clock is a little behind. An answer that was long on
    /// its way, as where this process was stopped meanwhile, tells nothing.
    pub(in crate::allocator) fn told(&self, asked_us: i64, (seconds, micros): (i64, i64)) {
        if boot_us() - asked_us <= LONGEST_WAY_US {
            self.set_us(seconds.saturating_mul(1_000_000).saturating_add(micros));
        }
    }

    /// As [`Clock::told`], from a script, which tells milliseconds.
    pub(in crate::allocator) fn told_ms(&self, now: Timestamp) {
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
    pub(in crate::allocator) fn recent_step_ms(&self) -> Option<i64> {
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
        clock.told(boot_us(), (1_800_000_000, 123_456));
        let (at, _) = clock.now_with_micros().expect("told");
        assert!((0..60_000).contains(&(at.unix_ms() - 1_800_000_000_123)), "{at}");
    }

    #[test]
    fn a_step_is_noticed_and_a_drift_is_not() {
        let clock = Clock::default();
        clock.told(boot_us(), (1_800_000_000, 0));
        clock.told(boot_us(), (1_800_000_002, 0));
        assert_eq!(clock.recent_step_ms(), None);
        clock.told(boot_us(), (1_800_000_002 - 3600, 0));
        assert!(clock.recent_step_ms().is_some_and(|ms| (-3_600_100..=-3_599_900).contains(&ms)));
    }

    #[test]
    fn an_answer_that_was_long_on_its_way_tells_nothing() {
        let clock = Clock::default();
        clock.told(boot_us(), (1_800_000_000, 0));
        clock.told(boot_us() - 90_000_000, (1_700_000_000, 0));
        assert_eq!(clock.recent_step_ms(), None);
        assert!(clock.now().is_some_and(|now| now.unix_ms() >= 1_800_000_000_000));
    }
}
