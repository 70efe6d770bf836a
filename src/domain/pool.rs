//! A restaurant's pool of numbers: its settings, and how much of it is in use.

use std::collections::BTreeSet;

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DisplayNumber, NumberFormat, Timestamp};

/// Which free number is given next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SelectionPolicy {
    /// A ring, like a deli counter: the longest possible rest before a number comes again.
    #[default]
    Sequential,
    /// The lowest free number: short numbers in quiet hours.
    Lowest,
    /// An unpredictable one: a rival's orders cannot be counted.
    Random,
}

impl SelectionPolicy {
    /// The name used in JSON and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Lowest => "lowest",
            Self::Random => "random",
        }
    }
}

/// Settings of a restaurant. Missing fields take their defaults; a change applies to numbers given from then on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[garde(custom(range_holds_a_number))]
pub struct PoolSettings {
    /// The first number of the range.
    #[garde(range(min = 1, max = DisplayNumber::MAX))]
    #[schema(minimum = 1, maximum = 999_999)]
    pub min_number: u32,
    /// The last number of the range.
    #[garde(range(min = 1, max = DisplayNumber::MAX))]
    #[schema(minimum = 1, maximum = 999_999)]
    pub max_number: u32,
    /// Which free number is given next.
    #[garde(skip)]
    pub policy: SelectionPolicy,
    /// Seconds that a number rests after its order ended; at most 30 days.
    #[garde(range(max = 2_592_000))]
    #[schema(maximum = 2_592_000)]
    pub cooldown_seconds: u32,
    /// Seconds after which a live order is expired by clean-up; a minute to 30 days.
    #[garde(range(min = 60, max = 2_592_000))]
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub active_window_seconds: u32,
    /// Numbers that are never given, such as 13 or 666.
    #[garde(custom(all_are_display_numbers))]
    pub blocked_numbers: BTreeSet<u32>,
    /// How numbers are shown: `{n:04}`, or with text around it, `A-{n:03}`.
    #[garde(skip)]
    #[schema(value_type = String, max_length = 32)]
    pub format: NumberFormat,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            min_number: 1,
            max_number: 9999,
            policy: SelectionPolicy::Sequential,
            cooldown_seconds: 14_400,
            active_window_seconds: 86_400,
            blocked_numbers: BTreeSet::new(),
            format: NumberFormat::default(),
        }
    }
}

impl PoolSettings {
    /// The blocked numbers that lie inside the range.
    #[must_use]
    pub fn blocked_in_range(&self) -> u32 {
        let count = self.blocked_numbers.iter().filter(|n| self.in_range(**n)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// How many numbers the pool has: the range less blocked ones.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        (self.max_number.saturating_sub(self.min_number) + 1).saturating_sub(self.blocked_in_range())
    }

    /// Whether `number` belongs to the pool.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        self.in_range(number) && !self.blocked_numbers.contains(&number)
    }

    /// Whether `number` lies in the range, blocked or not.
    #[must_use]
    pub fn in_range(&self, number: u32) -> bool {
        (self.min_number..=self.max_number).contains(&number)
    }
}

fn all_are_display_numbers(numbers: &BTreeSet<u32>, (): &()) -> garde::Result {
    if numbers.iter().any(|n| !(1..=DisplayNumber::MAX).contains(n)) {
        return Err(garde::Error::new(format!("must be numbers from 1 to {}", DisplayNumber::MAX)));
    }
    Ok(())
}

fn range_holds_a_number(settings: &PoolSettings, (): &()) -> garde::Result {
    if settings.min_number > settings.max_number {
        return Err(garde::Error::new("max_number must not be below min_number"));
    }
    if settings.capacity() == 0 {
        return Err(garde::Error::new("every number of the range is blocked"));
    }
    Ok(())
}

/// What a number of a restaurant is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumberState {
    /// May be given out.
    Free,
    /// Held by a live order.
    Live,
    /// Resting after release.
    Cooling,
    /// Never given out.
    Blocked,
    /// Kept for tables.
    Reserved,
    /// Still held, but outside the pool since its settings changed; never returns to free.
    Retiring,
}

/// How much of a pool is in use at one instant. `free + live + cooling = capacity`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
// The API keeps its name: clients are generated from it.
#[schema(as = PoolUsage)]
pub struct PoolOccupancy {
    /// Numbers of the range, less blocked and reserved ones.
    pub capacity: u32,
    /// Numbers that may be given out now, those whose rest is over included.
    pub free: u32,
    /// Numbers of the pool held by live orders.
    pub live: u32,
    /// Numbers of the pool that rest.
    pub cooling: u32,
    /// Numbers of the range that are never given.
    pub blocked: u32,
    /// Numbers of the range that are kept for tables.
    pub reserved: u32,
    /// Held or resting numbers that a changed setting has put outside the pool.
    pub retiring: u32,
    /// 1 − free ÷ capacity.
    pub utilization: f64,
    /// When the next resting number is free; null when none rests.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_free_at: Option<Timestamp>,
    /// When the oldest live order was created; null when none is live.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest_live_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: serde_json::Value) -> PoolSettings {
        serde_json::from_value(json).expect("well-formed")
    }

    #[test]
    fn the_defaults_are_valid() {
        let settings = settings(serde_json::json!({}));
        assert_eq!(settings, PoolSettings::default());
        assert!(settings.validate().is_ok());
        assert_eq!(settings.capacity(), 9999);
    }

    #[test]
    fn a_pool_must_hold_a_number() {
        for bad in [
            serde_json::json!({"min_number": 0}),
            serde_json::json!({"min_number": 10, "max_number": 9}),
            serde_json::json!({"max_number": 1_000_000}),
            serde_json::json!({"min_number": 13, "max_number": 13, "blocked_numbers": [13]}),
            serde_json::json!({"blocked_numbers": [0]}),
        ] {
            assert!(settings(bad.clone()).validate().is_err(), "{bad}");
        }
    }

    #[test]
    fn blocked_numbers_outside_the_range_do_not_count() {
        let settings = settings(serde_json::json!({"max_number": 100, "blocked_numbers": [13, 666]}));
        assert_eq!(settings.capacity(), 99);
        assert!(!settings.contains(13));
        assert!(!settings.contains(101));
    }
}
