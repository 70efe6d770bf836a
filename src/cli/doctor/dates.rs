//! The business dates of restaurants, and the rules of time zones that daemons have.

use std::collections::BTreeMap;

use super::Report;
use crate::{
    app::Stores,
    domain::{Timestamp, time_zone},
    service::{HeldDate, SeenDaemon},
};

/// Restaurants that are named.
const NAMED: usize = 5;

pub(super) async fn examine(report: &mut Report, stores: &Stores, running: &[&SeenDaemon]) -> anyhow::Result<()> {
    zones(report, running);
    let operations = &stores.service.operations;
    let held = operations.held_dates().await?;
    // Redis has been asked just before.
    if let Ok(now) = stores.service.keys.now() {
        dates(report, &held, now);
    }
    Ok(())
}

/// A date is more than a day from UTC's only where a clock was wrong, or one that was set by hand goes on.
fn dates(report: &mut Report, held: &[HeldDate], now: Timestamp) {
    if held.is_empty() {
        return;
    }
    let utc = now.to_datetime().date_naive();
    // One that is over turns with the next order, whenever that comes.
    let is_over = |date: &&HeldDate| date.ends_at <= now;
    let far: Vec<&HeldDate> = held
        .iter()
        .filter(|held| {
            let days = (held.date - utc).num_days();
            days > 1 || days < -1 && !is_over(held)
        })
        .collect();
    let waiting = held.iter().filter(is_over).count();
    let named = |held: &&HeldDate| format!("{} ({})", held.restaurant, held.date);
    let mut names: Vec<String> = far.iter().take(NAMED).map(named).collect();
    if far.len() > NAMED {
        names.push("…".to_owned());
    }
    report.check(
        far.is_empty(),
        format!(
            "the business dates of {} restaurants are within a day of UTC's; {waiting} of them are over, and turn with \
             the next order",
            held.len()
        ),
        &format!(
            "the business dates of {} restaurants are more than a day from UTC's, {utc}: {}",
            far.len(),
            names.join(", ")
        ),
        "see that the clock of Redis is right; then set each with PUT /v1/restaurants/{id}/business-day",
    );
}

/// Redis holds one date for all daemons; but what comes next, each says by its own rules.
fn zones(report: &mut Report, running: &[&SeenDaemon]) {
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    // One of an earlier version does not say.
    for daemon in running.iter().filter(|daemon| !daemon.time_zones.is_empty()) {
        *versions.entry(&daemon.time_zones).or_default() += 1;
    }
    let all: Vec<String> = versions.iter().map(|(version, daemons)| format!("{version} ({daemons})")).collect();
    match versions.len() {
        0 => {}
        1 if versions.contains_key(time_zone::VERSION) => {
            report.good(format!("the daemons that run have the time zones of {}", time_zone::VERSION));
        }
        1 => report.note(
            &format!("the daemons that run have the time zones of {}, this one of {}", all[0], time_zone::VERSION),
            "run the doctor of their version; or, if this is the newer one, upgrade them",
        ),
        _ => report.note(
            &format!("the daemons that run have the time zones of several versions: {}", all.join(", ")),
            "upgrade them to one version; until then Redis holds one date for all, and the daemon that takes its first \
             order says which one comes next",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::domain::RestaurantId;

    const NOW: &str = "2026-11-30T10:00:00Z";

    fn now() -> Timestamp {
        Timestamp::from(NOW.parse::<chrono::DateTime<chrono::Utc>>().expect("a time"))
    }

    fn held(restaurant: i64, date: &str, ends_in_ms: i64) -> HeldDate {
        HeldDate {
            restaurant: RestaurantId::new(restaurant).expect("in range"),
            date: date.parse().expect("a date"),
            ends_at: Timestamp::from_unix_ms(now().unix_ms() + ends_in_ms),
        }
    }

    fn said(all: &[HeldDate]) -> (String, usize) {
        let mut report = Report::default();
        dates(&mut report, all, now());
        (report.lines.join("\n"), report.wrong)
    }

    #[test]
    fn a_date_that_is_far_from_utcs_is_wrong_unless_it_waits_for_an_order() {
        assert_eq!(said(&[]), (String::new(), 0));
        let near = [held(1, "2026-11-29", 1), held(2, "2026-12-01", 1), held(3, "2026-10-02", 0)];
        let (text, wrong) = said(&near);
        assert!(
            wrong == 0 && text.contains("3 restaurants are within") && text.contains("1 of them are over"),
            "{text}"
        );
        for far in [held(4, "2026-12-02", 1), held(4, "2026-12-02", -1), held(4, "2026-11-28", 1)] {
            let (text, wrong) = said(&[near.as_slice(), &[far]].concat());
            let named = format!(
                "WRONG  the business dates of 1 restaurants are more than a day from UTC's, 2026-11-30: 4 ({})",
                far.date
            );
            assert!(wrong == 1 && text.contains(&named) && text.contains("business-day"), "{text}");
        }
        let many: Vec<HeldDate> = (1..=9).map(|restaurant| held(restaurant, "2027-01-01", 1)).collect();
        let (text, _) = said(&many);
        assert!(
            text.contains("of 9 restaurants") && text.contains("5 (2027-01-01), …") && !text.contains("6 ("),
            "{text}"
        );
    }

    #[test]
    fn time_zones_of_several_versions_are_told() {
        let said = |versions: &[&str]| {
            let daemon = |version: &&str| SeenDaemon {
                id: Uuid::nil(),
                ago: Duration::ZERO,
                tasks: Vec::new(),
                time_zones: (*version).to_owned(),
            };
            let daemons: Vec<SeenDaemon> = versions.iter().map(daemon).collect();
            let mut report = Report::default();
            zones(&mut report, &daemons.iter().collect::<Vec<_>>());
            assert_eq!(report.wrong, 0);
            report.lines.join("\n")
        };
        let own = time_zone::VERSION;
        assert_eq!(said(&[]), "");
        assert_eq!(said(&[""]), "", "an earlier version");
        assert_eq!(said(&[own, "", own]), format!("ok     the daemons that run have the time zones of {own}"));
        assert!(said(&["1999z"]).contains(&format!("the time zones of 1999z (1), this one of {own}")));
        let several = said(&[own, "1999z", own]);
        assert!(several.contains(&format!("several versions: 1999z (1), {own} (2)")), "{several}");
    }
}
