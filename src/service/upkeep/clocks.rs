//! Whether the clocks agree. Redis's decides, but not alone: what cannot be undone waits until Redis, Postgres and this machine
//! take it for the same time.

use crate::{
    allocator::CLOCKS_APART_MS,
    clock::wall_clock,
    metrics,
    service::{ServiceError, Upkeep},
};

/// How far clocks are apart, in ms; positive where the clock is ahead of Redis's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// Between the masters of Redis, the one that is furthest behind and the one that is furthest ahead.
    pub masters: i64,
    /// Postgres's; None where it did not tell.
    pub postgres: Option<i64>,
    /// That of the daemon's machine.
    pub daemon: i64,
}

impl Clocks {
    /// How far apart the two are at most that differ most, in ms. That of a master may be either side of Redis's.
    #[must_use]
    pub(crate) fn spread(self) -> i64 {
        let postgres = self.postgres.unwrap_or(0);
        let (low, high) = (postgres.min(self.daemon).min(0), postgres.max(self.daemon).max(0));
        high - low + self.masters
    }

    /// Whether all are known to be within a minute of each other.
    #[must_use]
    pub(crate) fn agree(self) -> bool {
        self.postgres.is_some() && self.spread() <= CLOCKS_APART_MS
    }

    /// What does not agree, a sentence each.
    #[must_use]
    pub(crate) fn complaints(self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (clock, ms) in [("Postgres", self.postgres.unwrap_or(0)), ("this machine", self.daemon)] {
            if ms.abs() > CLOCKS_APART_MS {
                let side = if ms > 0 { "ahead of" } else { "behind" };
                complaints.push(format!("the clock of {clock} is {} s {side} Redis's", ms.abs() / 1000));
            }
        }
        if self.masters > CLOCKS_APART_MS {
            complaints.push(format!("the clocks of the Redis masters are {} s apart", self.masters / 1000));
        }
        if complaints.is_empty() && self.spread() > CLOCKS_APART_MS {
            let apart = self.spread() / 1000;
            complaints.push(format!("the clocks of Redis, Postgres and this machine are {apart} s apart in all"));
        }
        complaints
    }
}

impl Upkeep {
    /// Compares the clocks, those that tell, for the metrics and for [`Upkeep::clock_complaints`].
    ///
    /// # Errors
    /// Unavailable when Redis has not told the time yet.
    pub(crate) async fn compare_clocks(&self) -> Result<Clocks, ServiceError> {
        let before = self.allocator.now()?;
        let theirs = self.ledger.clock().await;
        let after = self.allocator.now()?;
        let postgres = theirs.ok().map(|theirs| theirs.unix_ms() - theirs.max(before).min(after).unix_ms());
        let daemon = wall_clock().unix_ms() - self.allocator.now()?.unix_ms();
        let masters = self.allocator.clocks();
        let masters = masters.iter().max().zip(masters.iter().min()).map_or(0, |(a, b)| a.unix_ms() - b.unix_ms());
        let clocks = Clocks { masters, postgres, daemon };
        self.clocks.store(Some(clocks.into()));
        let known = [("redis", masters), ("daemon", daemon), ("any", clocks.spread())];
        let known = known.map(|(clock, ms)| (clock, Some(ms)));
        metrics::clocks_apart(known.into_iter().chain([("postgres", postgres)]));
        Ok(clocks)
    }

    /// Whether it is known that clocks do not agree; Postgres's may be unknown.
    pub(in crate::service) async fn clocks_disagree(&self) -> bool {
        self.compare_clocks().await.is_ok_and(|clocks| clocks.spread() > CLOCKS_APART_MS)
    }

    /// What was wrong with the clocks when they were compared last, and whether Redis's was set lately; a sentence each.
    #[must_use]
    pub(crate) fn clock_complaints(&self) -> Vec<String> {
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
        let clocks = |masters, postgres, daemon| Clocks { masters, postgres: Some(postgres), daemon };
        assert!(clocks(0, 0, 0).agree() && clocks(20_000, 20_000, 5_000).agree());
        assert!(clocks(0, -30_000, 30_000).agree());
        assert!(!clocks(0, -31_000, 30_000).agree(), "further from each other than from Redis");
        assert!(!clocks(0, 5 * 3_600_000, 0).agree() && !clocks(61_000, 0, 0).agree());
        assert_eq!(clocks(0, 61_000, -400 * 86_400_000).complaints().len(), 2);
        let unknown = Clocks { masters: 0, postgres: None, daemon: 0 };
        assert!(!unknown.agree() && unknown.complaints().is_empty());
    }

    #[test]
    fn whatever_does_not_agree_is_complained_of() {
        for apart in [0, 20_000, 40_000, 61_000] {
            for (postgres, daemon) in [(apart, 0), (apart, -apart), (-apart, apart / 2), (0, -apart)] {
                for masters in [0, 30_000, 70_000] {
                    let clocks = Clocks { masters, postgres: Some(postgres), daemon };
                    assert_eq!(clocks.agree(), clocks.complaints().is_empty(), "{clocks:?}");
                }
            }
        }
    }
}
