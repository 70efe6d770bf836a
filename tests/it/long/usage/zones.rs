//! Usage by the clocks of a restaurant's time zone.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use nowserving::domain::{Timestamp, usage::UsageSample};
use serde_json::{Value, json};

use super::{DAY_MS, HOUR_MS, assert_close, ledger, model, now, random_samples, sample, told, write_samples};
use crate::support::{Api, Daemon, DaemonOptions};

/// The instant of a time in an answer.
fn ms(value: &Value) -> i64 {
    value.as_str().expect("a time").parse::<DateTime<Utc>>().expect("a time").timestamp_millis()
}

fn local(zone: Tz, at: i64) -> DateTime<Tz> {
    zone.timestamp_millis_opt(at).single().expect("an instant")
}

/// Looks at the hours of the day of an answer, by what was sampled within its span.
fn check_hours(usage: &Value, zone: Tz, samples: &BTreeMap<i64, UsageSample>) {
    let mut expected: BTreeMap<u32, Vec<&UsageSample>> = BTreeMap::new();
    for (at, sample) in samples.range(ms(&usage["from"])..ms(&usage["to"])) {
        expected.entry(local(zone, *at).hour()).or_default().push(sample);
    }
    let hours = usage["hours_of_day"].as_array().expect("hours");
    assert_eq!(hours.len(), 24);
    for (hour, figures) in (0..).zip(hours) {
        assert_eq!(figures["hour"], hour);
        assert_close(told(figures), model(expected.get(&hour).into_iter().flatten().copied()));
    }
}

/// Looks at the steps, and at the sum of all.
fn check_steps(usage: &Value, bounds: &[i64], samples: &BTreeMap<i64, UsageSample>) {
    let mut expected: BTreeMap<i64, Vec<&UsageSample>> = BTreeMap::new();
    let within: Vec<_> = samples.range(bounds[0]..bounds[bounds.len() - 1]).collect();
    for (at, sample) in &within {
        let begins = bounds[bounds.partition_point(|bound| bound <= at) - 1];
        expected.entry(begins).or_default().push(sample);
    }
    let series = usage["series"].as_array().expect("a series");
    let found: Vec<i64> = series.iter().map(|step| ms(&step["at"])).collect();
    assert_eq!(found, expected.keys().copied().collect::<Vec<_>>(), "{usage}");
    for step in series {
        assert_close(told(step), model(expected[&ms(&step["at"])].iter().copied()));
    }
    assert_close(told(&usage["summary"]), model(within.iter().map(|(_, sample)| *sample)));
}

#[tokio::test]
async fn hours_and_days_are_the_restaurants() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_USAGE_SAMPLE_SECONDS", 300);
    let ledger = ledger(&options).await;
    let this_hour = now().unix_ms() / HOUR_MS * HOUR_MS;
    let samples = random_samples(1, (2..50).map(|ago| this_hour - ago * HOUR_MS));
    write_samples(&ledger, &samples).await;
    ledger.roll_up_usage(now()).await.expect("Postgres answers");
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let from = Timestamp::from_unix_ms(this_hour - 40 * HOUR_MS);
    for name in ["Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "America/New_York", "Pacific/Kiritimati", "UTC"]
    {
        let zone: Tz = name.parse().expect("a zone");
        for step in ["1h", "1d", "30m", "6h"] {
            let path = format!("/v1/restaurants/1/usage?tz={name}&from={from}&step={step}");
            let usage = api.get(&path).await.ok(200);
            assert_eq!((&usage["time_zone"], &usage["approximate_before"]), (&json!(name), &Value::Null));
            let step_ms = usage["step_seconds"].as_i64().expect("seconds") * 1000;
            let begins = ms(&usage["from"]);
            assert!(begins <= from.unix_ms() && from.unix_ms() < begins + step_ms, "{usage}");
            let since_midnight = i64::from(local(zone, begins).num_seconds_from_midnight()) * 1000;
            assert_eq!(since_midnight % step_ms, 0, "{name} {step}: {usage}");
            check_hours(&usage, zone, &samples);
            // No clock of these zones is changed within a step unless the test runs on such a day; that has a test below.
            let offset = |at: i64| zone.offset_from_utc_datetime(&local(zone, at).naive_utc()).fix().local_minus_utc();
            let ends = ms(&usage["to"]);
            if offset(begins) == offset(ends) {
                let bounds: Vec<i64> = (begins..=ends).step_by(usize::try_from(step_ms).expect("small")).collect();
                assert_eq!(bounds.last(), Some(&ends), "{usage}");
                check_steps(&usage, &bounds, &samples);
            }
        }
        // A day alone begins at its own midnight there.
        let today = local(zone, this_hour).date_naive();
        let path = format!("/v1/restaurants/1/usage?tz={}&from={today}&step=1d", name.to_lowercase());
        let usage = api.get(&path).await.ok(200);
        let midnight = zone.from_local_datetime(&today.and_time(NaiveTime::MIN)).earliest().expect("a midnight");
        assert_eq!((ms(&usage["from"]), &usage["time_zone"]), (midnight.timestamp_millis(), &json!(name)));
    }
}

#[tokio::test]
async fn a_day_on_which_clocks_change_has_its_own_hours() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_USAGE_KEEP_SAMPLES_DAYS", 3660);
    let ledger = ledger(&options).await;
    let (berlin, lord_howe): (Tz, Tz) = (chrono_tz::Europe::Berlin, chrono_tz::Australia::Lord_Howe);
    // One allocation every ten minutes, over both changes.
    let samples: BTreeMap<i64, UsageSample> = ["2025-03-29T00:00:00Z", "2025-04-04T12:00:00Z", "2025-10-24T00:00:00Z"]
        .into_iter()
        .flat_map(|begin| {
            let begin = ms(&json!(begin));
            (0..5 * 144).map(move |i| (begin + i * 600_000, sample(1, (1, 0, 10), 1, 0)))
        })
        .collect();
    write_samples(&ledger, &samples).await;
    ledger.roll_up_usage(now()).await.expect("Postgres answers");
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    // The hour that is leapt over, or comes twice, and how many hours the day has.
    for (zone, day, hour, allocations, minutes) in [
        (berlin, "2025-03-30", 2, 0, 23 * 60),
        (berlin, "2025-10-26", 2, 12, 25 * 60),
        (berlin, "2025-10-25", 2, 6, 24 * 60),
        (lord_howe, "2025-04-06", 1, 9, 24 * 60 + 30),
    ] {
        for step in ["1d", "1h", "10m"] {
            let path = format!("/v1/restaurants/1/usage?tz={}&from={day}&to={day}&step={step}", zone.name());
            let usage = api.get(&path).await.ok(200);
            assert_eq!(ms(&usage["to"]) - ms(&usage["from"]), minutes * 60_000, "{usage}");
            assert_eq!(usage["summary"]["allocations"], json!(minutes / 10), "{day} {step}");
            assert_eq!(usage["hours_of_day"][hour]["allocations"], json!(allocations), "{day} {step}");
            assert_eq!(usage["hours_of_day"][12]["allocations"], json!(6), "{day} {step}");
            let steps = usage["series"].as_array().expect("a series").len();
            let expected = match step {
                "1d" => 1,
                "10m" => minutes / 10,
                // Half an hour makes no step of its own: it belongs to the one before.
                _ => minutes / 60,
            };
            assert_eq!(i64::try_from(steps), Ok(expected), "{day} {step}");
            check_hours(&usage, zone, &samples);
        }
    }
    // Days one after the other, over the change.
    let path = "/v1/restaurants/1/usage?tz=Europe/Berlin&from=2025-10-25&to=2025-10-27&step=1d";
    let days = api.get(path).await.ok(200);
    let allocations: Vec<_> = days["series"].as_array().expect("days").iter().map(|day| &day["allocations"]).collect();
    assert_eq!(allocations, [144, 150, 144]);
}

#[tokio::test]
async fn what_is_left_by_the_hour_of_utc_is_said_to_be() {
    let options = DaemonOptions::migrated().await;
    let ledger = ledger(&options).await;
    let long_ago = now().unix_ms() / DAY_MS * DAY_MS - 60 * DAY_MS;
    let samples = random_samples(1, (0..48).map(|hour| long_ago + hour * HOUR_MS));
    write_samples(&ledger, &samples).await;
    ledger.roll_up_usage(now()).await.expect("Postgres answers");
    // With the samples gone, hours are all there is.
    ledger.drop_usage(now(), 3, 400).await.expect("Postgres answers");
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let (from, to) = (Timestamp::from_unix_ms(long_ago), Timestamp::from_unix_ms(long_ago + 2 * DAY_MS));
    let ask = async |zone: &str| {
        api.get(&format!("/v1/restaurants/1/usage?tz={zone}&from={from}&to={to}&step=1h")).await.ok(200)
    };
    // Each hour of UTC is one there.
    let usage = ask("Asia/Tokyo").await;
    assert_eq!(usage["approximate_before"], Value::Null);
    check_hours(&usage, chrono_tz::Asia::Tokyo, &samples);

    let usage = ask("Asia/Kolkata").await;
    assert_eq!(usage["approximate_before"], usage["to"]);
    // 0:00 in UTC is 5:30 there, and the middle of that hour 6:00.
    let sums = |hour: u32| -> i64 {
        let of_hour = samples
            .iter()
            .filter(|(at, _)| local(chrono_tz::Asia::Kolkata, **at / HOUR_MS * HOUR_MS + HOUR_MS / 2).hour() == hour);
        of_hour.map(|(_, sample)| i64::from(sample.tally.allocations)).sum()
    };
    for hour in 0..24 {
        let index = usize::try_from(hour).expect("few");
        assert_eq!(usage["hours_of_day"][index]["allocations"], json!(sums(hour)), "{hour}");
    }
    let all: i64 = (0..24).map(sums).sum();
    assert_eq!(usage["summary"]["allocations"], json!(all), "nothing is lost or counted twice");
}

#[tokio::test]
async fn a_zone_that_is_none_is_refused_with_names_like_it() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let api = Api::at(daemon.url());
    api.configure(7, json!({})).await;
    for (query, says) in [
        ("tz=Asia/Kolkatta", "Asia/Kolkata"),
        ("tz=Kolkata", "Asia/Kolkata"),
        ("tz=IST", "IANA"),
        ("tz=%2B05:30", "IANA"),
        ("tz=../../etc/passwd", "IANA"),
    ] {
        let answer = api.get(&format!("/v1/restaurants/7/usage?{query}")).await;
        assert_eq!(answer.faults(422, "invalid_parameter"), ["/tz invalid_value"], "{query}");
        let detail = answer.any_problem()["detail"].as_str().expect("text").to_owned();
        assert!(detail.contains(says), "{query}: {detail}");
    }
    for (query, faults) in [
        ("time_zone=UTC", "/time_zone unknown_parameter"),
        ("tz=UTC&tz=UTC", "/tz duplicate"),
        ("tz=Asia/Kolkata&from=2026-02-30", "/from invalid_value"),
        ("tz=Asia/Kolkata&from=2026-03-03&to=2026-03-02", "/from invalid_value"),
    ] {
        let answer = api.get(&format!("/v1/restaurants/7/usage?{query}")).await;
        assert_eq!(answer.faults(422, "invalid_parameter"), [faults], "{query}");
    }
    for (query, name) in
        [("", "UTC"), ("tz=", "UTC"), ("tz=etc/gmt+5", "Etc/GMT+5"), ("tz=Asia/Calcutta", "Asia/Calcutta")]
    {
        assert_eq!(
            api.get(&format!("/v1/restaurants/7/usage?{query}")).await.ok(200)["time_zone"],
            json!(name),
            "{query}"
        );
    }
}
