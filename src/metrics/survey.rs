//! What the last survey found, as text for Prometheus. The recorder cannot take a series away, and here series come and
//! go: with the restaurants that are fullest, and with the lease of the daemon that reports.

use std::fmt::{Display, Write};

use super::{
    EXHAUSTED, EXHAUSTING, HELP, NUMBERS, OVERDUE, POOL_UTILIZATION, RESTAURANT_EXHAUSTION, RESTAURANT_NUMBERS,
    RESTAURANT_UTILIZATION, RESTAURANTS,
};
use crate::domain::{
    NumberState, RangeId, RestaurantId,
    usage::{EXHAUSTING_WITHIN, RestaurantReport, SurveyReport, UTILIZATION_BOUNDS, UtilizationHistogram},
};

/// Renders a report, to be appended to what the recorder renders.
#[must_use]
pub(crate) fn render_survey(report: &SurveyReport) -> String {
    let mut page = Page(String::with_capacity(4096 + 300 * report.top.len()));
    page.head(NUMBERS);
    for (state, count) in report.totals.by_state() {
        page.line(NUMBERS, &[("state", &state_label(state))], count);
    }
    for (name, value) in [(RESTAURANTS, report.restaurants), (EXHAUSTED, report.exhausted), (OVERDUE, report.overdue)] {
        page.head(name);
        page.line(name, &[], value);
    }
    page.head(EXHAUSTING);
    for ((within, _), count) in EXHAUSTING_WITHIN.into_iter().zip(report.exhausting) {
        page.line(EXHAUSTING, &[("within", &within)], count);
    }
    page.utilization(&report.utilization, report.restaurants);
    page.top(&report.top);
    page.0
}

fn state_label(state: NumberState) -> &'static str {
    match state {
        NumberState::Free => "free",
        NumberState::Live => "live",
        NumberState::Cooling => "cooling",
        NumberState::Blocked => "blocked",
        NumberState::Reserved => "reserved",
        NumberState::Quarantined => "quarantined",
        NumberState::Retiring => "retiring",
        NumberState::Outside => "outside",
    }
}

/// Prometheus's text format. Labels are words and numbers of our own, in which there is nothing to escape.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str) {
        let (_, kind, help) = HELP.iter().find(|(known, ..)| *known == name).copied().unwrap_or((name, "untyped", ""));
        let kind = kind.trim_start_matches("survey_");
        self.write(format_args!("# HELP {name} {}\n# TYPE {name} {kind}\n", help.trim()));
    }

    fn line(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.write(format_args!("{name}"));
        for (i, (label, text)) in labels.iter().enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            self.write(format_args!("{before}{label}=\"{text}\""));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{after} {value}\n"));
    }

    fn utilization(&mut self, histogram: &UtilizationHistogram, restaurants: u64) {
        self.head(POOL_UTILIZATION);
        let bucket = format!("{POOL_UTILIZATION}_bucket");
        for (bound, count) in UTILIZATION_BOUNDS.into_iter().zip(histogram.at_most) {
            self.line(&bucket, &[("le", &bound)], count);
        }
        self.line(&bucket, &[("le", &"+Inf")], restaurants);
        self.line(&format!("{POOL_UTILIZATION}_sum"), &[], histogram.sum);
        self.line(&format!("{POOL_UTILIZATION}_count"), &[], restaurants);
    }

    fn top(&mut self, top: &[RestaurantReport]) {
        if top.is_empty() {
            return;
        }
        self.head(RESTAURANT_UTILIZATION);
        for RestaurantReport { pool, .. } in top {
            self.line(RESTAURANT_UTILIZATION, &[("restaurant", &pool.restaurant)], pool.utilization());
        }
        self.head(RESTAURANT_NUMBERS);
        for RestaurantReport { pool, ranges, .. } in top {
            if ranges.is_empty() {
                self.numbers(pool.restaurant, RangeId::MAIN, [pool.free, pool.live, pool.cooling]);
            }
            for range in ranges {
                self.numbers(pool.restaurant, &range.id, [range.free, range.live, range.cooling]);
            }
        }
        if top.iter().all(|report| report.exhaustion_minutes.is_none()) {
            return;
        }
        self.head(RESTAURANT_EXHAUSTION);
        for RestaurantReport { pool, exhaustion_minutes, .. } in top {
            if let Some(minutes) = exhaustion_minutes {
                self.line(RESTAURANT_EXHAUSTION, &[("restaurant", &pool.restaurant)], minutes * 60.0);
            }
        }
    }

    fn numbers(&mut self, restaurant: RestaurantId, range: &str, counts: [u32; 3]) {
        for (state, count) in ["free", "live", "cooling"].into_iter().zip(counts) {
            let labels: [(&str, &dyn Display); 3] = [("restaurant", &restaurant), ("range", &range), ("state", &state)];
            self.line(RESTAURANT_NUMBERS, &labels, count);
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.0.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        RangeOccupancy, Timestamp,
        usage::{NumberTotals, Occupancy},
    };

    fn report() -> SurveyReport {
        let restaurant = RestaurantId::new(7).expect("in range");
        SurveyReport {
            taken_at: Timestamp::from_unix_ms(1_795_000_000_000),
            restaurants: 3,
            totals: NumberTotals { free: 10, live: 2, ..NumberTotals::default() },
            overdue: 1,
            exhausted: 0,
            exhausting: [0, 1, 1],
            utilization: UtilizationHistogram { at_most: [2; UTILIZATION_BOUNDS.len()], sum: 0.75 },
            top: vec![RestaurantReport {
                pool: Occupancy { restaurant, free: 1, live: 2, cooling: 1 },
                ranges: Vec::new(),
                exhaustion_minutes: Some(42.5),
            }],
        }
    }

    #[test]
    fn everything_is_rendered_with_its_help() {
        let text = render_survey(&report());
        for line in [
            "# HELP nowserving_restaurants Restaurants that have a pool.",
            "# TYPE nowserving_restaurants gauge",
            "nowserving_restaurants 3",
            "# TYPE nowserving_pool_utilization histogram",
            "nowserving_pool_utilization_bucket{le=\"0\"} 2",
            "nowserving_pool_utilization_bucket{le=\"0.85\"} 2",
            "nowserving_pool_utilization_bucket{le=\"1\"} 2",
            "nowserving_pool_utilization_bucket{le=\"+Inf\"} 3",
            "nowserving_pool_utilization_sum 0.75",
            "nowserving_pool_utilization_count 3",
            "nowserving_numbers{state=\"live\"} 2",
            "nowserving_orders_overdue 1",
            "nowserving_restaurants_exhausted 0",
            "nowserving_restaurants_exhausting{within=\"1h\"} 1",
            "nowserving_restaurant_utilization_ratio{restaurant=\"7\"} 0.75",
            "nowserving_restaurant_numbers{restaurant=\"7\",range=\"main\",state=\"cooling\"} 1",
            "nowserving_restaurant_exhaustion_seconds{restaurant=\"7\"} 2550",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
        }
    }

    #[test]
    fn numbers_of_several_ranges_are_told_by_range() {
        let range = |id: &str, live: u32| RangeOccupancy {
            id: id.to_owned(),
            capacity: 10,
            free: 10 - live,
            live,
            cooling: 0,
            utilization: f64::from(live) / 10.0,
        };
        let mut report = report();
        report.top[0].ranges = vec![range("main", 2), range("bar", 0)];
        let text = render_survey(&report);
        for line in [
            "nowserving_restaurant_numbers{restaurant=\"7\",range=\"main\",state=\"live\"} 2",
            "nowserving_restaurant_numbers{restaurant=\"7\",range=\"bar\",state=\"live\"} 0",
            "nowserving_restaurant_numbers{restaurant=\"7\",range=\"bar\",state=\"free\"} 10",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
        }
        assert_eq!(text.matches("nowserving_restaurant_numbers{").count(), 6);
    }

    #[test]
    fn there_is_no_head_without_a_series() {
        for (top, gone) in [(Vec::new(), "restaurant=\""), (report().top, "exhaustion_seconds")] {
            let top = top.into_iter().map(|report| RestaurantReport { exhaustion_minutes: None, ..report }).collect();
            let text = render_survey(&SurveyReport { top, ..report() });
            assert!(!text.contains(gone), "{text}");
            for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
                assert!(text.lines().any(|line| line.starts_with(name)), "{name} has a head only");
            }
        }
    }
}
