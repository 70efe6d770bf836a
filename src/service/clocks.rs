//! Whether the clocks agree. Redis's decides, but not alone: what cannot be undone waits until Redis, Postgres and this machine
//! take it for the same time.

use super::{Service, ServiceError};
use crate::{allocator::CLOCKS_APART_MS, clock::wall_clock, domain::Timestamp, metrics};

/// How far clocks are apart, in ms; positive where the clock is ahead of Redis's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Between the masters of Redis, the one that is furthest behind and the one that is furthest ahead.
    pub masters: i64,
    /// Postgres's.
    pub postgres: i64,
    /// That of the daemon's machine.
    pub daemon: i64,
}

impl Clocks {
    /// Whether all are within a minute of each other.
    #[must_use]
    pub fn agree(self) -> bool {
        let (low, high) = (self.postgres.min(self.daemon).min(0), self.postgres.max(self.daemon).max(0));
        high - low + self.masters <= CLOCKS_APART_MS
    }

    /// What does not agree, a sentence each.
    #[must_use]
    pub fn complaints(self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (clock, ms) in [("Postgres", self.postgres), ("this machine", self.daemon)] {
            if ms.abs() > CLOCKS_APART_MS {
                let side = if ms > 0 { "ahead of" } else { "behind" };
                complaints.push(format!("the clock of {clock} is {} s {side} Redis's", ms.abs() / 1000));
            }
        }
        if self.masters > CLOCKS_APART_MS {
            complaints.push(format!("the clocks of the Redis masters are {} s apart", self.masters / 1000));
        }
        complaints
    }
}

impl Service {
    /// Compares the clocks, for the metrics and for [`Service::clock_complaints`].
    ///
    /// # Errors
    /// Unavailable when Redis has not told the time yet, or the ledger is away.
    pub async fn compare_clocks(&self) -> Result<Clocks, ServiceError> {
        let before = self.allocator.now()?;
        let theirs = self.ledger.clock().await?;
        let after = self.allocator.now()?;
        let postgres = theirs.unix_ms() - theirs.max(before).min(after).unix_ms();
        let daemon = wall_clock().unix_ms() - self.allocator.now()?.unix_ms();
        let masters = self.allocator.clocks();
        let spread = masters.iter().max().zip(masters.iter().min()).map_or(0, |(a, b)| a.unix_ms() - b.unix_ms());
        let clocks = Clocks { masters: spread, postgres, daemon };
        self.clocks.store(Some(clocks.into()));
        metrics::clocks_apart([("redis", spread), ("postgres", postgres), ("daemon", daemon)]);
        Ok(clocks)
    }

    /// Whether it is known that clocks do not agree. Where the ledger is away, that of this machine has to do.
    pub(super) async fn clocks_disagree(&self) -> bool {
        match self.compare_clocks().await {
            Ok(clocks) => !clocks.agree(),
            Err(_) => {
                let apart = |now: Timestamp| (wall_clock().unix_ms() - now.unix_ms()).abs() > CLOCKS_APART_MS;
                self.allocator.now().is_ok_and(apart)
            }
        }
    }

    /// What was wrong with the clocks when they were compared last, and whether Redis's was set lately; a sentence each.
    #[must_use]
    pub fn clock_complaints(&self) -> Vec<String> {
        let mut complaints = self.clocks.load().as_ref().map_or_else(Vec::new, |clocks| clocks.complaints());
        if let Some(step) = self.allocator.clock_step_ms() {
            let side = if step > 0 { "forwards" } else { "back" };
            complaints
                .push(format!("the clock of Redis was set {side} by {} s within the last hour", step.abs() / 1000));
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_within_a_minute_of_each_other() {
        let clocks = |masters, postgres, daemon| Clocks { masters, postgres, daemon };
        assert!(clocks(0, 0, 0).agree() && clocks(20_000, 20_000, 5_000).agree());
        assert!(clocks(0, -30_000, 30_000).agree());
        assert!(!clocks(0, -31_000, 30_000).agree(), "further from each other than from Redis");
        assert!(!clocks(0, 5 * 3_600_000, 0).agree() && !clocks(61_000, 0, 0).agree());
        assert_eq!(clocks(0, 61_000, -400 * 86_400_000).complaints().len(), 2);
    }
}
