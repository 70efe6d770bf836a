//! A change of some of a restaurant's settings.

use garde::Validate;
use serde::Deserialize;
use serde_with::rust::double_option;
use utoipa::ToSchema;

use super::{
    Avoid, BlockedNumbers, BusinessDaySettings, Colour, LanguageTag, NumberFormat, PoolSettings, RangeSettings,
    Refusal, Reset, SelectionPolicy, StartsAt, TimeZone,
};

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
    /// Further ranges; all that there are to be, since the list is replaced.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<Vec<RangeSettings>>, max_items = 16)]
    ranges: Option<Option<Vec<RangeSettings>>>,
    /// Where the restaurant is: a zone of the IANA database.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Option<TimeZone>>,
    /// When a business date begins, and what begins anew with it; fields that are absent are left alone.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<BusinessDayPatch>)]
    business_day: Option<Option<BusinessDayPatch>>,
    /// Seconds after which a rest gives way when nothing else is free.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<u32>, maximum = 2_592_000)]
    cooldown_min_seconds: Option<Option<u32>>,
    /// Numbers that are passed over while one is live that they are mistaken for; the list is replaced.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<Vec<Avoid>>, max_items = 2)]
    avoid: Option<Option<Vec<Avoid>>>,
    /// Seconds after which clean-up completes an order that is served and was not changed since; 0: never.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<u32>, maximum = 2_592_000)]
    served_seconds: Option<Option<u32>>,
    /// How often an order is called before screens show it as not collected; 0: they never do.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<u32>, maximum = 1000)]
    max_calls: Option<Option<u32>>,
    /// What the restaurant is called, as its pages say it.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>, max_length = 80)]
    name: Option<Option<String>>,
    /// The languages of its pages, the first one first; the list is replaced.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 4)]
    languages: Option<Option<Vec<LanguageTag>>>,
    /// The colour that its pages stress things with, as `#rrggbb`.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>, pattern = "^#[0-9a-fA-F]{6}$")]
    accent_colour: Option<Option<Colour>>,
    /// The colour behind all on its pages, as `#rrggbb`.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>, pattern = "^#[0-9a-fA-F]{6}$")]
    background_colour: Option<Option<Colour>>,
}

/// What to change about a restaurant's business dates, as [`SettingsPatch`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BusinessDayPatch {
    /// When a date begins by the restaurant's clock: `00:00` to `12:00`.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>)]
    starts_at: Option<Option<StartsAt>>,
    /// What begins anew with each date.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<Reset>)]
    reset: Option<Option<Reset>>,
    /// Where the ring of the main range goes on after a reset.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<u32>)]
    first_number: Option<Option<u32>>,
}

impl SettingsPatch {
    /// Settings with this change made to them. They are not checked: fields that were right each by itself may not go
    /// together.
    #[must_use]
    pub(crate) fn applied_to(&self, present: &PoolSettings) -> PoolSettings {
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
            ranges: pick(&self.ranges, &present.ranges, default.ranges),
            time_zone: pick(&self.time_zone, &present.time_zone, default.time_zone),
            business_day: match &self.business_day {
                None => present.business_day.clone(),
                Some(None) => default.business_day,
                Some(Some(patch)) => patch.applied_to(&present.business_day),
            },
            cooldown_min_seconds: self.cooldown_min_seconds.unwrap_or(present.cooldown_min_seconds),
            avoid: pick(&self.avoid, &present.avoid, default.avoid),
            served_seconds: pick(&self.served_seconds, &present.served_seconds, default.served_seconds),
            max_calls: pick(&self.max_calls, &present.max_calls, default.max_calls),
            name: self.name.clone().unwrap_or_else(|| present.name.clone()),
            languages: pick(&self.languages, &present.languages, default.languages),
            accent_colour: self.accent_colour.unwrap_or(present.accent_colour),
            background_colour: self.background_colour.unwrap_or(present.background_colour),
            special: present.special.clone(),
        }
    }
}

impl SettingsPatch {
    /// As [`SettingsPatch::applied_to`], if the settings go together then.
    ///
    /// # Errors
    /// [`Refusal::InvalidSettings`], [`Refusal::SettingsAtFault`].
    pub(crate) fn checked_on(&self, present: &PoolSettings) -> Result<PoolSettings, Refusal> {
        let settings = self.applied_to(present);
        settings.validate().map_err(|report| {
            let reason = |(path, error): &(garde::Path, garde::Error)| match path.is_empty() {
                true => error.message().to_owned(),
                false => format!("{path} {}", error.message()),
            };
            Refusal::InvalidSettings { reason: report.iter().map(reason).collect::<Vec<_>>().join("; ") }
        })?;
        match settings.range_faults() {
            faults if faults.is_empty() => Ok(settings),
            faults => Err(Refusal::SettingsAtFault(faults)),
        }
    }
}

impl BusinessDayPatch {
    fn applied_to(&self, present: &BusinessDaySettings) -> BusinessDaySettings {
        let default = BusinessDaySettings::default();
        BusinessDaySettings {
            starts_at: pick(&self.starts_at, &present.starts_at, default.starts_at),
            reset: pick(&self.reset, &present.reset, default.reset),
            first_number: self.first_number.unwrap_or(present.first_number),
        }
    }
}

fn pick<T: Clone>(change: &Option<Option<T>>, present: &T, default: T) -> T {
    change.clone().map_or_else(|| present.clone(), |given| given.unwrap_or(default))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_given_changes() {
        let present: PoolSettings = serde_json::from_value(json!({
            "min_number": 5, "max_number": 50, "policy": "random", "cooldown_seconds": 7, "active_window_seconds": 61,
            "blocked_numbers": [13, "4?"], "format": "A-{n}", "ranges": [{"id": "bar", "min_number": 60, "max_number": 69}],
            "time_zone": "Europe/Berlin", "business_day": {"starts_at": "04:00", "reset": "daily", "first_number": 9},
            "cooldown_min_seconds": 3, "avoid": ["teen_ty"], "served_seconds": 60, "max_calls": 5, "name": "Bistro",
            "languages": ["de", "en"], "accent_colour": "#c81e1e", "background_colour": "#000000",
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
            "blocked_numbers": ["13-15"], "format": "B-{n}", "ranges": [],
            "time_zone": "Asia/Kolkata", "business_day": {"starts_at": "05:30", "reset": "none", "first_number": 7},
            "cooldown_min_seconds": 4, "avoid": ["swapped"], "served_seconds": 61, "max_calls": 0, "name": "Bar",
            "languages": ["pt-BR"], "accent_colour": "#0000ff", "background_colour": "#ffffff",
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
        let day = json!({"starts_at": "04:00", "reset": "none", "first_number": null});
        let patch = json!({"business_day": {"reset": null, "first_number": null}});
        assert_eq!(patched(patch)["business_day"], day, "its other fields are left alone");
        assert!(serde_json::from_value::<SettingsPatch>(json!({"cooldown": 1})).is_err());
    }
}
