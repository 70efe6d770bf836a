//! The steps of time in which a restaurant's figures are given, by the clocks of a time zone.

use std::time::Duration;

use crate::domain::{
    Timestamp,
    time_zone::{OffsetSince, TimeZone},
};

/// Whole steps, from `from` to before `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsageSpan {
    /// Where the first begins.
    pub from: Timestamp,
    /// Where the last ends.
    pub to: Timestamp,
    /// How long each is: whole seconds. By the clocks: a day may have 23 hours.
    pub step: Duration,
    /// By whose clocks.
    pub zone: TimeZone,
    /// Where each begins, ascending.
    pub begins: Vec<Timestamp>,
    /// What the clocks are ahead of UTC within the span.
    pub offsets: Vec<OffsetSince>,
    /// From then on the figures have to come from samples; before, those by the hour will do, or are all there is.
    pub samples_since: Timestamp,
    /// Before then hours of UTC are all there is, which are not hours of the clocks; None where that does not matter.
    pub approximate_before: Option<Timestamp>,
}

/// Why a span of time cannot be given. The message says what to ask for instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidSpan {
    /// It ends before it begins.
    #[error("must be before `to`")]
    Empty,
    /// It has more steps than are given at once.
    #[error("would give {0} steps, and at most {MOST_STEPS} are given: ask for a longer step or a shorter time")]
    TooManySteps(usize),
    /// There are no samples of its beginning any more.
    #[error(
        "must be whole hours, such as 1h, where `from` is before {0}: only figures by the hour are kept for so long"
    )]
    OnlyHours(Timestamp),
}

/// The most steps that are given at once.
pub(super) const MOST_STEPS: usize = 1500;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

impl UsageSpan {
    /// The steps that cover the time from `from` (by default a day before `to`) to `to` (by default now), an hour each
    /// by default. A step begins when the clocks show a multiple of its length, one of more than a day at midnight.
    /// Samples are kept since `sampled_since`; what is older is known by the hour (UTC).
    ///
    /// # Errors
    /// [`InvalidSpan`].
    pub(crate) fn new(
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        step: Option<Duration>,
        zone: TimeZone,
        now: Timestamp,
        sampled_since: Timestamp,
    ) -> Result<Self, InvalidSpan> {
        let step = step.unwrap_or(Duration::from_hours(1));
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let to = to.unwrap_or(now);
        let from = from.unwrap_or(to.plus_ms(-DAY_MS));
        if from >= to {
            return Err(InvalidSpan::Empty);
        }
        let mut begins = Steps::of(zone, step_ms, from).covering(from, to)?;
        let (from, to) = (begins.first().copied().unwrap_or(from), begins.pop().unwrap_or(to));
        let offsets = zone.offsets(from, to);
        let by_hours = is_hourly(step);
        if !by_hours && from < sampled_since {
            return Err(InvalidSpan::OnlyHours(sampled_since));
        }
        let (samples_since, approximate_before) = match (by_hours, are_whole_hours(&offsets)) {
            (false, _) => (Timestamp::from_unix_ms(0), None),
            (true, true) => (to, None),
            (true, false) => (sampled_since, (from < sampled_since).then(|| sampled_since.min(to))),
        };
        Ok(Self { from, to, step, zone, begins, offsets, samples_since, approximate_before })
    }
}

/// Whether whole hours suffice for such steps.
const fn is_hourly(step: Duration) -> bool {
    step.as_secs().is_multiple_of(3600)
}

/// Whether each hour of UTC is one hour of the clocks.
fn are_whole_hours(offsets: &[OffsetSince]) -> bool {
    let mut changes = offsets.iter().skip(1);
    offsets.iter().all(|(_, seconds)| seconds % 3600 == 0) && changes.all(|(at, _)| at.unix_ms() % HOUR_MS == 0)
}

/// Steps by the clocks of a zone: each begins when they show `origin_ms` and a multiple of `step_ms`.
struct Steps {
    zone: TimeZone,
    step_ms: i64,
    origin_ms: i64,
}

impl Steps {
    fn of(zone: TimeZone, step_ms: i64, from: Timestamp) -> Self {
        let unit_ms = step_ms.min(DAY_MS);
        Self { zone, step_ms, origin_ms: zone.wall_ms(from).div_euclid(unit_ms) * unit_ms }
    }

    /// The beginnings of those that cover a time, and the end of the last.
    fn covering(&self, from: Timestamp, to: Timestamp) -> Result<Vec<Timestamp>, InvalidSpan> {
        let mut at = self.zone.first_at_wall(self.origin_ms, Timestamp::from_unix_ms(0)).min(from);
        let mut bounds = vec![at];
        while at < to {
            at = self.after(at);
            // The clocks may have shown the origin twice before.
            if at <= from {
                bounds.clear();
            }
            bounds.push(at);
            if bounds.len() > MOST_STEPS + 1 {
                let steps = usize::try_from((to.unix_ms() - from.unix_ms() - 1) / self.step_ms + 1);
                return Err(InvalidSpan::TooManySteps(steps.unwrap_or(usize::MAX).max(MOST_STEPS + 1)));
            }
        }
        Ok(bounds)
    }

    /// Where the step behind the one that begins at `at` begins.
    fn after(&self, at: Timestamp) -> Timestamp {
        let steps = (self.zone.wall_ms(at) - self.origin_ms).div_euclid(self.step_ms) + 1;
        let next = self.zone.first_at_wall(self.origin_ms + steps * self.step_ms, at);
        // Clocks that are put back show some time again: steps that fit into it are there again, too.
        let lasts_ms = next.unix_ms() - at.unix_ms();
        if lasts_ms >= 2 * self.step_ms { at.plus_ms(self.step_ms) } else { next.max(at.plus_ms(1)) }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse::<DateTime<Utc>>().expect("a time").into()
    }

    fn span(zone: &str, from: &str, to: &str, hours: u64, sampled_since: &str) -> UsageSpan {
        let (zone, step) = (zone.parse().expect("a zone"), Duration::from_hours(hours));
        UsageSpan::new(Some(at(from)), Some(at(to)), Some(step), zone, at(to), at(sampled_since)).expect("a span")
    }

    /// Where the steps begin, in minutes since `from`, and how long the last is.
    fn minutes(zone: &str, from: &str, to: &str, step: Duration) -> Vec<i64> {
        let zone = zone.parse().expect("a zone");
        let span = UsageSpan::new(Some(at(from)), Some(at(to)), Some(step), zone, at(to), at("1970-01-01T00:00:00Z"))
            .expect("a span");
        let since = |instant: Timestamp| (instant.unix_ms() - at(from).unix_ms()) / 60_000;
        span.begins.iter().copied().chain([span.to]).map(since).collect()
    }

    #[test]
    fn days_begin_at_midnight_and_may_have_other_lengths() {
        let day = Duration::from_hours(24);
        for (zone, from, to, begins) in [
            ("UTC", "2026-03-28T00:00:00Z", "2026-03-30T00:00:00Z", vec![0, 1440, 2880]),
            ("Asia/Kolkata", "2026-03-27T18:30:00Z", "2026-03-28T18:30:01Z", vec![0, 1440, 2880]),
            ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-30T22:00:00Z", vec![0, 1380, 2820]),
            ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-26T23:00:00Z", vec![0, 1500, 2940]),
            // Midnight is there twice, or not at all.
            ("America/Havana", "2026-11-01T04:00:00Z", "2026-11-03T05:00:00Z", vec![0, 1500, 2940]),
            ("Africa/Cairo", "2024-04-25T22:00:00Z", "2024-04-27T21:00:00Z", vec![0, 1380, 2820]),
        ] {
            assert_eq!(minutes(zone, from, to, day), begins, "{zone} {from}");
        }
        // From within a day, that begins with the first of both midnights.
        assert_eq!(minutes("America/Havana", "2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z", day), [-90, 1410]);
    }

    #[test]
    fn hours_that_come_twice_are_two_steps_and_what_is_leapt_over_is_none() {
        let hours = Duration::from_hours;
        let berlin = |from, to, step| minutes("Europe/Berlin", from, to, step);
        assert_eq!(
            berlin("2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z", hours(1)),
            [0, 60, 120, 180],
            "2:00 twice, and 3:00"
        );
        assert_eq!(berlin("2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z", hours(1)), [-30, 30, 90]);
        assert_eq!(berlin("2026-10-24T22:00:00Z", "2026-10-25T11:00:00Z", hours(6)), [0, 420, 780]);
        assert_eq!(berlin("2026-03-28T23:00:00Z", "2026-03-29T10:00:00Z", hours(6)), [0, 300, 660]);
        assert_eq!(
            berlin("2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", Duration::from_secs(1800)),
            [0, 30, 60],
            "1:30, 3:00"
        );
        assert_eq!(
            minutes("Australia/Lord_Howe", "2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z", hours(1)),
            [0, 90, 150],
            "1:00, which lasts for half an hour longer, 2:00"
        );
        assert_eq!(minutes("Asia/Kathmandu", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", hours(1)), [-45, 15, 75]);
    }

    #[test]
    fn what_is_known_by_the_hour_only_is_said() {
        let (sampled, old) = ("2026-03-25T00:00:00Z", "2026-01-01T00:00:00Z");
        let approximate = |zone, from, hours| {
            let span = span(zone, from, "2026-03-28T00:00:00Z", hours, sampled);
            (span.samples_since == span.to, span.approximate_before)
        };
        assert_eq!(approximate("Europe/Berlin", old, 24), (true, None), "an hour of UTC is an hour there");
        assert_eq!(approximate("Asia/Kolkata", old, 24), (false, Some(at(sampled))));
        assert_eq!(approximate("Asia/Kolkata", "2026-03-26T00:00:00Z", 1), (false, None), "there are samples");
        assert_eq!(approximate("Australia/Lord_Howe", old, 24), (true, None), "as long as it is summer there");
        assert_eq!(approximate("Australia/Lord_Howe", "2025-09-01T00:00:00Z", 24), (false, Some(at(sampled))));
        let zone = "Asia/Kolkata".parse().expect("a zone");
        let (from, to) = (at("2020-01-01T00:00:00Z"), at("2020-01-02T00:00:00Z"));
        let long_ago = UsageSpan::new(Some(from), Some(to), None, zone, at(sampled), at(sampled)).expect("a span");
        assert_eq!(long_ago.approximate_before, Some(long_ago.to), "all of it");
    }

    #[test]
    fn every_zone_gives_steps_that_follow_each_other() {
        for zone in chrono_tz::TZ_VARIANTS {
            let zone: TimeZone = zone.name().parse().expect("a zone");
            for (hours, days) in [(1, 30), (5, 200), (24, 400), (24 * 7, 3000)] {
                let step = Duration::from_hours(hours);
                let (from, to) = (at("2015-02-03T04:05:06Z"), at("2015-02-03T04:05:06Z").plus_ms(days * DAY_MS));
                let span = UsageSpan::new(Some(from), Some(to), Some(step), zone, to, Timestamp::from_unix_ms(0))
                    .unwrap_or_else(|error| panic!("{zone} {hours}: {error}"));
                let bounds: Vec<i64> = span.begins.iter().copied().chain([span.to]).map(Timestamp::unix_ms).collect();
                let step_ms = i64::try_from(hours).expect("few") * HOUR_MS;
                assert!(bounds[0] <= from.unix_ms() && from.unix_ms() < bounds[1], "{zone} {hours}");
                assert!(bounds[bounds.len() - 2] < to.unix_ms() && to <= span.to, "{zone} {hours}");
                assert!(
                    bounds.windows(2).all(|pair| (1..2 * step_ms).contains(&(pair[1] - pair[0]))),
                    "{zone} {hours}"
                );
            }
        }
    }
}
