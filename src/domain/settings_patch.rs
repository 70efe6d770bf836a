//! A change of some of a restaurant's settings.

use serde::Deserialize;
use serde_with::rust::double_option;
use utoipa::ToSchema;

use super::{BlockedNumbers, NumberFormat, PoolSettings, SelectionPolicy};

/// What to change about a restaurant's settings (a merge patch, RFC 7396). `null` puts a field back to its default, an
/// absent one is left alone; `blocked_numbers` are replaced as a whole.
// Each field has its own `default`: one for all would write `null` as their default into the schema.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsPatch {
    /// The first number of the range.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 999_999)]
    min_number: Option<Option<u32>>,
    /// The last number of the range.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 999_999)]
    max_number: Option<Option<u32>>,
    /// Which free number is given next.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<SelectionPolicy>)]
    policy: Option<Option<SelectionPolicy>>,
    /// Seconds that a number rests after its order ended; at most 30 days.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<u32>, maximum = 2_592_000)]
    cooldown_seconds: Option<Option<u32>>,
    /// Seconds after which a live order is expired by clean-up; a minute to 30 days.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<u32>, minimum = 60, maximum = 2_592_000)]
    active_window_seconds: Option<Option<u32>>,
    /// Numbers that are never given; all that is to be blocked, since the list is replaced.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<BlockedNumbers>)]
    blocked_numbers: Option<Option<BlockedNumbers>>,
    /// How numbers are shown: `{n:04}`, or with text around it, `A-{n:03}`.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>, max_length = 32)]
    format: Option<Option<NumberFormat>>,
}

impl SettingsPatch {
    /// Settings with this change made to them. They are not checked: fields that were right each by itself may not go
    /// together.
    #[must_use]
    pub(crate) fn applied_to(&self, present: &PoolSettings) -> PoolSettings {
        fn pick<T: Clone>(change: &Option<Option<T>>, present: &T, default: T) -> T {
            change.clone().map_or_else(|| present.clone(), |given| given.unwrap_or(default))
        }
        let default = PoolSettings::default();
        PoolSettings {
            min_number: pick(&self.min_number, &present.min_number, default.min_number),
            max_number: pick(&self.max_number, &present.max_number, default.max_number),
            policy: pick(&self.policy, &present.policy, default.policy),
            cooldown_seconds: pick(&self.cooldown_seconds, &present.cooldown_seconds, default.cooldown_seconds),
            active_window_seconds: pick(
                &self.active_window_seconds,
                &present.active_window_seconds,
                default.active_window_seconds,
            ),
            blocked_numbers: pick(&self.blocked_numbers, &present.blocked_numbers, default.blocked_numbers),
            format: pick(&self.format, &present.format, default.format),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_given_changes() {
        let present: PoolSettings = serde_json::from_value(json!({
            "min_number": 5, "max_number": 50, "policy": "random", "cooldown_seconds": 7, "active_window_seconds": 61,
            "blocked_numbers": [13, "4?"], "format": "A-{n}",
        }))
        .expect("well-formed");
        let before = json!(present);
        let defaults = json!(PoolSettings::default());
        let patched = |patch: serde_json::Value| {
            let patch: SettingsPatch = serde_json::from_value(patch).expect("well-formed");
            json!(patch.applied_to(&present))
        };
        assert_eq!(patched(json!({})), before);
        let other = json!({
            "min_number": 6, "max_number": 60, "policy": "lowest", "cooldown_seconds": 8, "active_window_seconds": 62,
            "blocked_numbers": ["13-15"], "format": "B-{n}",
        });
        assert_eq!(patched(other.clone()), other);
        // Every setting can be changed, and be put back.
        for (field, default) in defaults.as_object().expect("an object") {
            for (given, expected) in [(&json!(null), default), (&other[field], &other[field])] {
                let mut after = before.clone();
                after[field] = expected.clone();
                assert_eq!(patched(json!({field: given})), after, "{field}: {given}");
            }
        }
        assert!(serde_json::from_value::<SettingsPatch>(json!({"cooldown": 1})).is_err());
    }
}
