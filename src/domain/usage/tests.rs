use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{span::MOST_STEPS, *};
use crate::domain::{TimeZone, Timestamp};

fn restaurant(id: i64) -> RestaurantId {
    RestaurantId::new(id).expect("in range")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_795_000_000_000 + seconds * 1000)
}

fn pool(id: i64, free: u32, live: u32, cooling: u32) -> Occupancy {
    Occupancy { restaurant: restaurant(id), free, live, cooling }
}

fn snapshot(seconds: i64, pools: Vec<Occupancy>) -> Arc<Snapshot> {
    Arc::new(Snapshot { taken_at: at(seconds), pools, totals: NumberTotals::default(), overdue: 0 })
}

/// Points every `step` seconds, the last of them the present.
fn points(step: i64, free: impl IntoIterator<Item = u32>) -> Vec<FreeAt> {
    (0_i64..).zip(free).map(|(i, free)| FreeAt { at: at(i * step), free }).collect()
}

#[test]
fn a_steady_drain_is_forecast() {
    // 10 a minute, 300 left.
    let minutes = minutes_to_exhaustion(&points(60, (0..=10).map(|i| 400 - 10 * i)));
    assert_eq!(minutes, Some(30.0));
}

#[test]
fn nothing_is_forecast_from_too_little() {
    assert_eq!(minutes_to_exhaustion(&[]), None);
    assert_eq!(minutes_to_exhaustion(&points(600, [100, 50])), None, "two points");
    assert_eq!(minutes_to_exhaustion(&points(20, [100, 50, 20])), None, "40 s");
    assert!(minutes_to_exhaustion(&points(30, [100, 50, 20])).is_some(), "3 points, 60 s");
    assert_eq!(minutes_to_exhaustion(&points(600, [100, 50, 20])), None, "only two are within the window");
    assert_eq!(minutes_to_exhaustion(&points(60, [100_000, 99_999, 99_998])), None, "in two months");
}

#[test]
fn what_is_exhausted_needs_no_history() {
    assert_eq!(minutes_to_exhaustion(&points(60, [0])), Some(0.0));
    assert_eq!(minutes_to_exhaustion(&points(60, [0, 0, 0, 0])), Some(0.0));
}

#[test]
fn a_leap_within_a_drain_moves_the_rate_little() {
    let mut leaping = points(60, (0..=14).map(|i| 500 - 10 * i));
    leaping[9].free = 900;
    let minutes = minutes_to_exhaustion(&leaping).expect("it drains");
    assert!((30.0..45.0).contains(&minutes), "{minutes}");
}

proptest! {
    #[test]
    fn a_drain_is_forecast_by_its_rate(rate in 1_u32..50, more in 1_u32..2000, n in 3_u32..15) {
        let least = rate * n + more;
        let drain = points(60, (0..n).map(|i| least - rate * i));
        let left = f64::from(least - rate * (n - 1));
        let expected = Some(left / f64::from(rate)).filter(|minutes| *minutes <= 1440.0);
        let found = minutes_to_exhaustion(&drain);
        prop_assert_eq!(found.map(|m| (m * 1e6).round()), expected.map(|m| (m * 1e6).round()));
    }

    #[test]
    fn a_pool_that_fills_or_stays_is_never_forecast(steps in prop::collection::vec(0_u32..20, 2..14), start in 1_u32..500) {
        let free = steps.iter().scan(start, |free, step| {
            *free += step;
            Some(*free)
        });
        prop_assert_eq!(minutes_to_exhaustion(&points(60, std::iter::once(start).chain(free))), None);
    }

    /// A saw whose teeth are at most half as long as the window: wherever it stands, it will not run out.
    #[test]
    fn a_saw_is_never_forecast(tooth in 2_u32..7, fall in 1_u32..100, phase in 0_u32..7, base in 1_u32..1000) {
        let saw = (0..15).map(|i| base + fall * (tooth - 1 - (i + phase) % tooth));
        prop_assert_eq!(minutes_to_exhaustion(&points(60, saw)), None);
    }

    #[test]
    fn a_forecast_is_a_time_within_a_day(free in prop::collection::vec(0_u32..10_000, 0..20), step in 1_i64..400) {
        if let Some(minutes) = minutes_to_exhaustion(&points(step, free)) {
            prop_assert!((0.0..=1440.0).contains(&minutes), "{}", minutes);
        }
    }

    #[test]
    fn utilization_is_a_share(free in 0..=u32::MAX, live in 0..=u32::MAX, cooling in 0..=u32::MAX) {
        let utilization = pool(1, free, live, cooling).utilization();
        prop_assert!((0.0..=1.0).contains(&utilization), "{}", utilization);
    }

    #[test]
    fn a_span_covers_what_was_asked_in_whole_steps(from in 0_i64..4_000_000_000, length in 1_i64..200_000_000, step in 1_u64..2_678_400) {
        let (from, to) = (Timestamp::from_unix_ms(from * 1000), Timestamp::from_unix_ms((from + length) * 1000));
        let asked = |since| UsageSpan::new(Some(from), Some(to), Some(Duration::from_secs(step)), TimeZone::UTC, to, since);
        let step_ms = i64::try_from(step).expect("small") * 1000;
        match asked(Timestamp::from_unix_ms(0)) {
            Ok(span) => {
                prop_assert!(span.from <= from && to <= span.to, "{:?}", span);
                prop_assert!(from.unix_ms() - span.from.unix_ms() < step_ms.min(86_400_000), "{:?}", span);
                let steps = (span.to.unix_ms() - span.from.unix_ms()) / step_ms;
                prop_assert_eq!((span.to.unix_ms() - span.from.unix_ms()) % step_ms, 0);
                prop_assert!((1..=MOST_STEPS).contains(&span.begins.len()), "{:?}", span);
                prop_assert_eq!(usize::try_from(steps), Ok(span.begins.len()));
                prop_assert!(to.unix_ms() > span.to.unix_ms() - step_ms, "no step is for nothing: {:?}", span);
                // By whole hours, everything begins at one.
                prop_assert!(!step.is_multiple_of(3600) || span.from.unix_ms() % 3_600_000 == 0, "{:?}", span);
                // Where its beginning is not sampled any more, hours are all there is.
                let later = asked(span.from.plus_ms(1));
                prop_assert_eq!(later.is_ok(), step.is_multiple_of(3600));
            }
            Err(error) => {
                prop_assert!(length * 1000 / step_ms >= 1499, "{:?}", error);
                prop_assert!(matches!(error, InvalidSpan::TooManySteps(_)), "{:?}", error);
            }
        }
    }

    #[test]
    fn a_sum_does_not_depend_on_where_it_is_cut(
        steps in prop::collection::vec((0_u64..5, 0_u32..100, 0_u32..100), 1..20), cut in 0_usize..20,
    ) {
        let figures = |(samples, live, allocations): (u64, u32, u32)| UsageFigures {
            samples,
            live_mean: (samples > 0).then_some(f64::from(live)),
            live_peak: (samples > 0).then_some(live),
            free_least: (samples > 0).then_some(1000 - live),
            allocations: allocations.into(),
            ..UsageFigures::default()
        };
        let steps: Vec<UsageFigures> = steps.into_iter().map(figures).collect();
        let whole = UsageFigures::sum(&steps);
        let (a, b) = steps.split_at(cut.min(steps.len()));
        let halves = UsageFigures::sum(&[UsageFigures::sum(a), UsageFigures::sum(b)]);
        let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-9,
            (a, b) => a == b,
        };
        prop_assert!(close(whole.live_mean, halves.live_mean), "{:?} {:?}", whole, halves);
        prop_assert_eq!(UsageFigures { live_mean: None, ..whole }, UsageFigures { live_mean: None, ..halves });
        let samples: u64 = steps.iter().map(|step| step.samples).sum();
        #[expect(clippy::cast_precision_loss, reason = "few")]
        let mean = steps.iter().map(|s| s.live_mean.unwrap_or(0.0) * s.samples as f64).sum::<f64>() / samples.max(1) as f64;
        prop_assert!(close(whole.live_mean, (samples > 0).then_some(mean)), "{:?} {}", whole, mean);
    }
}

#[test]
fn a_report_counts_each_restaurant_once() {
    let mut history = History::default();
    assert_eq!(history.report(5), None);
    history.push(snapshot(0, vec![pool(1, 10, 0, 0), pool(2, 0, 1, 1), pool(3, 5, 5, 0), pool(4, 1, 8, 1)]));
    let report = history.report(2).expect("there was a survey");
    assert_eq!((report.restaurants, report.exhausted, report.exhausting), (4, 1, [1, 1, 1]));
    let at_most = |bound: f64| {
        let i = UTILIZATION_BOUNDS.iter().position(|b| b.total_cmp(&bound).is_eq()).expect("a bound");
        report.utilization.at_most[i]
    };
    assert_eq!([0.0, 0.4, 0.5, 0.85, 0.9, 0.99, 1.0].map(at_most), [1, 1, 2, 2, 3, 3, 4]);
    assert!((report.utilization.sum - 2.4).abs() < 1e-9, "{}", report.utilization.sum);
    let top: Vec<u32> = report.top.iter().map(|report| report.pool.restaurant.get()).collect();
    assert_eq!(top, [2, 4]);
    assert_eq!(history.report(0).expect("there was a survey").top, []);
    assert_eq!(history.report(9).expect("there was a survey").top.len(), 3, "an idle one is never in the top");
}

#[test]
fn a_report_forecasts_by_restaurant_even_when_others_come_and_go() {
    let mut history = History::default();
    for (minute, left) in [(0_i64, 100), (1, 90), (2, 80)] {
        let mut pools = vec![pool(5, 50, 1, 0), pool(7, left, 1, 0)];
        if minute == 1 {
            pools.insert(0, pool(2, 1, 0, 0));
        }
        history.push(snapshot(minute * 60, pools));
    }
    let report = history.report(9).expect("there was a survey");
    let forecasts: Vec<_> = report.top.iter().map(|r| (r.pool.restaurant.get(), r.exhaustion_minutes)).collect();
    assert_eq!(forecasts, [(5, None), (7, Some(8.0))]);
    assert_eq!(report.exhausting, [1, 1, 1]);
}

#[test]
fn the_history_is_bounded_and_spread_over_its_window() {
    let mut history = History::default();
    for second in (0..3600).step_by(15) {
        history.push(snapshot(second, Vec::new()));
    }
    let times: Vec<i64> = history.0.iter().map(|kept| (kept.taken_at.unix_ms() - at(0).unix_ms()) / 1000).collect();
    assert_eq!((times.len(), times.last()), (History::MOST, Some(&3585)));
    assert!(times[0] <= 3585 - 13 * 60, "{times:?}");
    assert!(times.windows(2).all(|pair| (1..=240).contains(&(pair[1] - pair[0]))), "{times:?}");
    // A clock that was put back makes no points of the future.
    history.push(snapshot(100, Vec::new()));
    assert_eq!(history.0.len(), 1);
}

#[test]
fn a_span_has_defaults_and_an_end_after_its_beginning() {
    let now = Timestamp::from_unix_ms(1_795_617_000_123);
    let span = UsageSpan::new(None, None, None, TimeZone::UTC, now, now).expect("a day by hours");
    assert_eq!((span.to.unix_ms() - span.from.unix_ms(), span.step), (25 * 3_600_000, Duration::from_hours(1)));
    for (from, to) in [(now, now), (now.plus_ms(1), now)] {
        assert_eq!(UsageSpan::new(Some(from), Some(to), None, TimeZone::UTC, now, now), Err(InvalidSpan::Empty));
    }
    assert_eq!(UsageSpan::new(Some(now.plus_ms(1)), None, None, TimeZone::UTC, now, now), Err(InvalidSpan::Empty));
}

#[test]
fn turnover_is_per_number() {
    let day_ms = 86_400_000;
    let turnover = Turnover::of(300, 100, day_ms);
    assert_eq!((turnover.uses_per_day, turnover.seconds_between_uses), (3.0, Some(28_800.0)));
    assert_eq!(Turnover::of(0, 100, day_ms), Turnover { uses_per_day: 0.0, seconds_between_uses: None });
    assert!(Turnover::of(5, 0, 0).uses_per_day.is_finite());
}
