//! A restaurant's pool of numbers: its settings, and how much of it is in use.

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Avoid, Colour, DateRules, DisplayNumber, LanguageTag, NumberFormat, RangeOccupancy, RangeSettings, Reset,
    SelectionPolicy, SpecialNumbers, StartsAt, TimeZone, Timestamp,
    blocked::{BlockedNumbers, MOST_ENTRIES, MOST_PATTERNS, is_in},
    number_pattern::Run,
    ranges::MOST_RANGES,
    storable::storable_and_not_blank,
};

/// The pieces that blocked numbers may leave of a range: each costs Redis some hundred bytes, and a moment when the pool
/// is laid out. `"*4"` of the widest range leaves 100,000.
pub(crate) const MOST_PIECES: usize = 110_000;

/// Languages that the pages of a restaurant have.
const MOST_LANGUAGES: usize = 4;

/// Settings of a restaurant. Missing fields take their defaults; a change applies to numbers given from then on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[garde(custom(range_holds_a_number))]
#[garde(custom(rings_go_on_inside))]
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
    /// Numbers that are never given: numbers, ranges such as `"400-499"` and patterns such as `"*4*"`, in any mixture;
    /// and lists of unlucky ones, which become their numbers: `"unlucky-western"`, `-italy`, `-brazil`, `-china`, `-japan`.
    ///
    /// They come back sorted and without what is there twice. Ranges that overlap or touch are one; of more than 512
    /// single numbers, those in a row are joined into ranges. At most 5000 entries after that, 32 of them patterns.
    #[garde(custom(are_few_enough))]
    pub blocked_numbers: BlockedNumbers,
    /// How numbers are shown: `{n:04}`, or with text around it, `A-{n:03}`. `{n-500:02}` shows 501 as 01; no number may
    /// be shown as less than 1. Formats of ranges must not show two numbers of the restaurant as the same text.
    #[garde(skip)]
    #[schema(value_type = String, max_length = 32)]
    pub format: NumberFormat,
    /// Further ranges, for some of the orders; disjoint from each other and from the main range above. At most 16. Each
    /// has a number that is not blocked.
    #[garde(length(max = MOST_RANGES), dive)]
    #[schema(max_items = 16)]
    pub ranges: Vec<RangeSettings>,
    /// Where the restaurant is: a zone of the IANA database.
    #[garde(skip)]
    #[schema(value_type = String)]
    pub time_zone: TimeZone,
    /// When a business date begins, and what begins anew with it.
    #[garde(skip)]
    pub business_day: BusinessDaySettings,
    /// When nothing else is free, the number that has rested longest is given after so many seconds; null: never before
    /// its rest is over.
    #[garde(inner(range(max = 2_592_000)))]
    #[schema(maximum = 2_592_000)]
    pub cooldown_min_seconds: Option<u32>,
    /// Numbers that are passed over while one is live that they are mistaken for.
    #[garde(length(max = 2))]
    #[schema(max_items = 2)]
    pub avoid: Vec<Avoid>,
    /// Seconds after which clean-up completes an order that is served and was not changed since; 0: never. At most 30 days.
    #[garde(range(max = 2_592_000))]
    #[schema(maximum = 2_592_000)]
    pub served_seconds: u32,
    /// How often an order is called before screens show it as not collected; 0: they never do.
    #[garde(range(max = 1000))]
    #[schema(maximum = 1000)]
    pub max_calls: u32,
    /// What the restaurant is called, as its pages say it; at most 80 characters.
    #[garde(inner(length(chars, max = 80), custom(storable_and_not_blank)))]
    #[schema(max_length = 80)]
    pub name: Option<String>,
    /// The languages of its pages, the first one first: one to four tags of BCP 47.
    #[garde(length(min = 1, max = MOST_LANGUAGES), custom(are_different))]
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 4)]
    pub languages: Vec<LanguageTag>,
    /// The colour that its pages stress things with, as `#rrggbb`.
    #[garde(skip)]
    #[schema(value_type = Option<String>, pattern = "^#[0-9a-fA-F]{6}$")]
    pub accent_colour: Option<Colour>,
    /// The colour behind all on its pages, as `#rrggbb`.
    #[garde(skip)]
    #[schema(value_type = Option<String>, pattern = "^#[0-9a-fA-F]{6}$")]
    pub background_colour: Option<Colour>,
    /// Numbers that are kept for tables, or taken out: there are calls of their own for these.
    #[serde(skip_serializing_if = "SpecialNumbers::is_empty")]
    #[garde(skip)]
    #[schema(ignore)]
    pub special: SpecialNumbers,
}

/// The business dates of a restaurant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BusinessDaySettings {
    /// When a date begins by the restaurant's clock: `00:00` to `12:00`.
    #[schema(value_type = String, pattern = "^(0[0-9]|1[0-2]):[0-5][0-9]$")]
    pub starts_at: StartsAt,
    /// What begins anew with each date.
    pub reset: Reset,
    /// Where the ring of the main range goes on after a reset: one of its numbers; null: its first one. It is kept, and means
    /// nothing, where nothing is reset or the policy is another one.
    #[schema(minimum = 1, maximum = 999_999)]
    pub first_number: Option<u32>,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            min_number: 1,
            max_number: 9999,
            policy: SelectionPolicy::Sequential,
            cooldown_seconds: 14_400,
            active_window_seconds: 86_400,
            blocked_numbers: BlockedNumbers::default(),
            format: NumberFormat::default(),
            ranges: Vec::new(),
            time_zone: TimeZone::default(),
            business_day: BusinessDaySettings::default(),
            cooldown_min_seconds: None,
            avoid: Vec::new(),
            served_seconds: 0,
            max_calls: 3,
            name: None,
            languages: vec![LanguageTag::english()],
            accent_colour: None,
            background_colour: None,
            special: SpecialNumbers::default(),
        }
    }
}

/// The settings that every restaurant has, and both stores keep by themselves.
const BASIC: [&str; 7] =
    ["min_number", "max_number", "policy", "cooldown_seconds", "active_window_seconds", "blocked_numbers", "format"];

impl PoolSettings {
    /// The blocked numbers that lie inside the ranges, as runs in ascending order.
    #[must_use]
    pub fn blocked_runs(&self) -> Vec<Run> {
        self.range_runs().into_iter().flat_map(|(min, max)| self.blocked_numbers.within(min, max)).collect()
    }

    /// The first and the last number of each range, in ascending order; the main one is among them.
    #[must_use]
    pub(crate) fn range_runs(&self) -> Vec<Run> {
        let further = self.ranges.iter().map(|range| (range.min_number, range.max_number));
        let mut runs: Vec<Run> = further.chain([(self.min_number, self.max_number)]).collect();
        runs.sort_unstable();
        runs
    }

    /// The runs of the ranges between the blocked numbers, in ascending order. None goes from one range into another.
    #[must_use]
    pub(crate) fn unblocked_runs(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        for (min, max) in self.range_runs() {
            let mut from = min;
            for (first, last) in self.blocked_numbers.within(min, max) {
                if from < first {
                    runs.push((from, first - 1));
                }
                from = last + 1;
            }
            if from <= max {
                runs.push((from, max));
            }
        }
        runs
    }

    /// The settings that few restaurants have, by name, where they are not as by default; None where all are.
    #[must_use]
    pub(crate) fn rules(&self) -> Option<Map<String, Value>> {
        let fields = |settings: &Self| match serde_json::to_value(settings) {
            Ok(Value::Object(fields)) => fields,
            _ => unreachable!("settings are a JSON object"),
        };
        let (mut rules, default) = (fields(self), fields(&Self::default()));
        rules.retain(|name, value| !BASIC.contains(&name.as_str()) && default.get(name) != Some(value));
        Some(rules).filter(|rules| !rules.is_empty())
    }

    /// How the business dates follow each other.
    #[must_use]
    pub(crate) fn date_rules(&self) -> DateRules {
        DateRules { zone: self.time_zone, starts_at: self.business_day.starts_at }
    }

    /// Whether the rings begin anew with each business date.
    #[must_use]
    pub(crate) fn resets_daily(&self) -> bool {
        self.business_day.reset == Reset::Daily
    }

    /// How many blocked numbers lie inside the ranges.
    #[must_use]
    pub fn blocked_in_range(&self) -> u32 {
        count(&self.blocked_runs())
    }

    /// Each range with its first and last number and its format, the main one first.
    pub(crate) fn formats(&self) -> impl Iterator<Item = (Run, &NumberFormat)> {
        let further = self.ranges.iter().map(|range| ((range.min_number, range.max_number), &range.format));
        std::iter::once(((self.min_number, self.max_number), &self.format)).chain(further)
    }

    /// How a number is shown: as its range has it, outside of all as the main one.
    #[must_use]
    pub(crate) fn format_of(&self, number: DisplayNumber) -> &NumberFormat {
        let found = self.formats().find(|((min, max), _)| (*min..=*max).contains(&number.get()));
        found.map_or(&self.format, |(_, format)| format)
    }

    /// How many numbers each range has, less blocked ones, the main one first.
    #[must_use]
    pub(crate) fn range_capacities(&self) -> Vec<u32> {
        let unblocked = |((min, max), _): (Run, &NumberFormat)| {
            (max + 1).saturating_sub(min).saturating_sub(count(&self.blocked_numbers.within(min, max)))
        };
        self.formats().map(unblocked).collect()
    }

    /// How many numbers the pool has: its ranges less blocked ones.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.width().saturating_sub(self.blocked_in_range())
    }

    fn width(&self) -> u32 {
        self.range_runs().into_iter().map(|(min, max)| (max + 1).saturating_sub(min)).sum()
    }

    /// Whether `number` lies in the ranges, and is not blocked.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        self.in_range(number) && !self.blocked_numbers.contains(number)
    }

    /// As [`PoolSettings::contains`], for many numbers: the blocked ones are looked for once.
    pub fn membership(&self) -> impl Fn(u32) -> bool + use<> {
        let (ranges, blocked) = (self.range_runs(), self.blocked_runs());
        move |number| is_in(&ranges, number) && !is_in(&blocked, number)
    }

    /// Whether `number` lies in a range, blocked or not.
    #[must_use]
    pub fn in_range(&self, number: u32) -> bool {
        self.range_runs().iter().any(|(min, max)| (*min..=*max).contains(&number))
    }
}

fn count(runs: &[Run]) -> u32 {
    runs.iter().map(|(first, last)| last - first + 1).sum()
}

fn are_few_enough(blocked: &BlockedNumbers, (): &()) -> garde::Result {
    let (entries, patterns) = (blocked.len(), blocked.pattern_count());
    if entries > MOST_ENTRIES {
        return Err(garde::Error::new(format!(
            "has {entries} entries, with numbers in a row joined; at most {MOST_ENTRIES}: say more with ranges and patterns"
        )));
    }
    if patterns > MOST_PATTERNS {
        return Err(garde::Error::new(format!("has {patterns} patterns; at most {MOST_PATTERNS}")));
    }
    Ok(())
}

fn range_holds_a_number(settings: &PoolSettings, (): &()) -> garde::Result {
    if settings.min_number > settings.max_number {
        return Err(garde::Error::new("max_number must not be below min_number"));
    }
    // Too many are refused, and are not worked out before; so are ranges that are none.
    let is_range = |(min, max): &Run| min <= max && *max <= DisplayNumber::MAX;
    if are_few_enough(&settings.blocked_numbers, &()).is_err() || !settings.range_runs().iter().all(is_range) {
        return Ok(());
    }
    let (min, max) = (settings.min_number, settings.max_number);
    if count(&settings.blocked_numbers.within(min, max)) > max - min {
        return Err(garde::Error::new("every number of the range is blocked"));
    }
    // Two pieces are as many as a run between them makes; at the ends of the range it makes none.
    if settings.blocked_runs().len() > MOST_PIECES {
        return Err(garde::Error::new(format!(
            "the blocked numbers leave the range in more than {MOST_PIECES} pieces: narrow the range, or block fewer"
        )));
    }
    Ok(())
}

fn are_different(languages: &[LanguageTag], (): &()) -> garde::Result {
    let again = languages.iter().enumerate().find(|(at, language)| languages[..*at].contains(language));
    again.map_or(Ok(()), |(_, language)| Err(garde::Error::new(format!("has {language} twice"))))
}

fn rings_go_on_inside(settings: &PoolSettings, (): &()) -> garde::Result {
    let (min, max) = (settings.min_number, settings.max_number);
    match settings.business_day.first_number {
        Some(first) if !(min..=max).contains(&first) => {
            Err(garde::Error::new(format!("business_day.first_number must lie in the main range, {min} to {max}")))
        }
        _ => Ok(()),
    }
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
    /// Kept for a table, and not held.
    Reserved,
    /// Taken out for a while.
    Quarantined,
    /// Still held, but outside the pool since its settings changed; never returns to free.
    Retiring,
    /// Outside the restaurant's range, and not held; an order had it once.
    Outside,
}

/// How much of a pool is in use at one instant. `free + live + cooling = capacity`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
// The API keeps its name: clients are generated from it.
#[schema(as = PoolUsage)]
pub struct PoolOccupancy {
    /// Numbers of the range, less blocked, reserved and quarantined ones.
    pub capacity: u32,
    /// Numbers that may be given out now, those whose rest is over included.
    pub free: u32,
    /// Numbers of the pool held by live orders.
    pub live: u32,
    /// Numbers of the pool that rest.
    pub cooling: u32,
    /// Numbers of the range that are never given.
    pub blocked: u32,
    /// Numbers of the range that are kept for tables, whatever they are doing.
    pub reserved: u32,
    /// Other numbers of the range that are taken out for a while and not held.
    pub quarantined: u32,
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
    /// The same by range, the main one first; only where the restaurant has further ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub ranges: Vec<RangeOccupancy>,
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
            serde_json::json!({"min_number": 40, "max_number": 49, "blocked_numbers": ["4*"]}),
            serde_json::json!({"max_number": 20, "blocked_numbers": ["1-9", "1?", "*0"]}),
        ] {
            assert!(settings(bad.clone()).validate().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ring_begins_anew_inside_the_main_range() {
        let with = |first| settings(serde_json::json!({"min_number": 5, "max_number": 50, "business_day": first}));
        for (day, is_valid) in [
            (serde_json::json!({"first_number": 5}), true),
            (serde_json::json!({"first_number": 50, "reset": "daily"}), true),
            (serde_json::json!({"first_number": null}), true),
            (serde_json::json!({"first_number": 4}), false),
            (serde_json::json!({"first_number": 51, "reset": "daily"}), false),
        ] {
            let checked = with(day.clone()).validate();
            assert_eq!(checked.is_ok(), is_valid, "{day}");
            assert!(checked.err().is_none_or(|error| error.to_string().contains("first_number")), "{day}");
        }
    }

    #[test]
    fn blocked_numbers_outside_the_range_do_not_count() {
        let settings = settings(serde_json::json!({"max_number": 100, "blocked_numbers": [13, 666]}));
        assert_eq!(settings.capacity(), 99);
        assert!(!settings.contains(13));
        assert!(!settings.contains(101));
    }

    #[test]
    fn capacity_is_exact_whatever_is_blocked() {
        for (json, capacity) in [
            (serde_json::json!({"blocked_numbers": ["*4*"]}), 9999 - 3439),
            (serde_json::json!({"max_number": 999_999, "blocked_numbers": ["*4*"]}), 531_440),
            (serde_json::json!({"min_number": 40, "max_number": 50, "blocked_numbers": ["*4*", 50, "1-39"]}), 0),
            (serde_json::json!({"min_number": 400, "max_number": 600, "blocked_numbers": ["350-499", "*00"]}), 99),
        ] {
            let settings = settings(json.clone());
            assert_eq!(settings.capacity(), capacity, "{json}");
            let is_member = settings.membership();
            let counted = (1..=999_999).filter(|number| is_member(*number)).count();
            assert_eq!(u32::try_from(counted), Ok(capacity), "{json}");
        }
    }

    #[test]
    fn too_many_entries_patterns_and_pieces_are_refused() {
        let of =
            |blocked: Vec<String>| settings(serde_json::json!({"max_number": 999_999, "blocked_numbers": blocked}));
        let refused = |settings: PoolSettings| settings.validate().expect_err("too many").to_string();
        let every_other = |count: u32| of((0..count).map(|n| (2 * n + 1).to_string()).collect());
        assert!(every_other(5000).validate().is_ok());
        assert!(refused(every_other(5001)).contains("5001 entries"));
        let patterns = |count: u32| of((100..100 + count).map(|n| format!("{n}*")).collect());
        assert!(patterns(32).validate().is_ok());
        assert!(refused(patterns(33)).contains("33 patterns"));
        assert!(of(vec!["*4".to_owned()]).validate().is_ok());
        assert!(refused(of(vec!["*4".to_owned(), "*7".to_owned()])).contains("pieces"));
    }
}
