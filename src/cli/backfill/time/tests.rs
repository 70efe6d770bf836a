use proptest::prelude::*;

use super::*;

/// What is read, in UTC, by these rules.
fn read(rules: &TimeRules, text: &str) -> Result<String, Fault> {
    rules.read(text, false).map(|moment| moment.at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

fn in_zone(zone: &str) -> TimeRules {
    TimeRules { zone: Some(zone.parse().expect("a zone")), ..TimeRules::default() }
}

fn ordered(order: DateOrder) -> TimeRules {
    TimeRules { date_order: Some(order), utc: Some(AsUtc::Assumed), ..TimeRules::default() }
}

fn reasons(rules: &TimeRules, text: &str) -> Vec<Adjusted> {
    rules.read(text, false).expect("a time").remarks.iter().map(|remark| remark.reason).collect()
}

#[test]
fn times_with_a_zone_are_instants() {
    let rules = TimeRules::default();
    for text in [
        "2026-11-23T02:50:41.123Z",
        "2026-11-23t02:50:41.123z",
        "2026-11-23T04:50:41.123456+02:00",
        "2026-11-23 02:50:41.123+00",
        "2026-11-23 04:50:41.123+02",
        "2026-11-23 04:50:41.123 +2",
        "2026-11-23 08:20:41.123+0530",
        "2026-11-23 08:20:41,123 +05:30:00",
        "2026-11-22 21:50:41.123 \u{2212}05:00",
        "2026-11-23 02:50:41.123 UTC",
        "2026-11-23 02:50:41.123 GMT",
        "2026-11-23 04:50:41.123 GMT+2",
        "2026/11/23 02:50:41.123Z",
        "20261123T025041.123Z",
        "2026-11-23T03:50:41.123+01:00[Europe/Berlin]",
        "2026-11-23T03:50:41.123[Europe/Berlin]",
        "2026-11-23 03:50:41.123 Europe/Berlin",
        "2026-11-22 9:50:41.123 PM -0500",
        "1795402241.123",
        "1795402241123",
        "1795402241123.0",
        "1795402241123000",
        "1795402241123000000",
    ] {
        assert_eq!(read(&rules, text).as_deref(), Ok("2026-11-23T02:50:41.123Z"), "{text}");
    }
    for text in [
        "Mon, 23 Nov 2026 02:50:41 GMT",
        "Mon, 23 Nov 2026 04:50:41 +0200",
        "Mon Nov 23 2026 04:50:41 GMT+0200 (Eastern European Standard Time)",
        "Mon Nov 23 02:50:41 UTC 2026",
        "November 23rd, 2026 at 2:50:41 am UTC",
        "1795402241",
        "1795402241.0",
    ] {
        assert_eq!(read(&rules, text).as_deref(), Ok("2026-11-23T02:50:41.000Z"), "{text}");
    }
}

#[test]
fn a_time_without_a_zone_needs_to_be_told_one() {
    let none = TimeRules::default();
    let texts = [
        "2026-05-10 14:30:00",
        "2026-05-10T14:30",
        "2026/05/10 14:30",
        "2026-05-10 2:30 PM",
        "2026-05-10 2:30\u{202f}p.\u{a0}m.",
        "May 10, 2026, 2:30 PM",
        "10 May 2026 14:30",
        "10-May-2026 14:30:00.000",
        "Sunday, May 10th, 2026 at 2:30pm",
        "Sun May 10 14:30:00 2026",
        "20260510143000",
        "202605101430",
    ];
    for text in texts {
        assert!(matches!(none.read(text, false), Err(Fault::NoZone(_))), "{text}: {:?}", none.read(text, false));
        assert_eq!(read(&in_zone("Europe/Berlin"), text).as_deref(), Ok("2026-05-10T12:30:00.000Z"), "{text}");
        assert_eq!(read(&in_zone("Asia/Kolkata"), text).as_deref(), Ok("2026-05-10T09:00:00.000Z"), "{text}");
        assert_eq!(reasons(&in_zone("Europe/Berlin"), text), [], "{text}");
        let assumed = TimeRules { utc: Some(AsUtc::Assumed), ..none };
        assert_eq!(read(&assumed, text).as_deref(), Ok("2026-05-10T14:30:00.000Z"), "{text}");
        assert_eq!(reasons(&assumed, text), [Adjusted::ZoneAssumed], "{text}");
        assert_eq!(none.read(text, true).map(|moment| moment.remarks), Ok(vec![]), "the column says UTC: {text}");
    }
    let said = none.read("2026-05-10 14:30", false).expect_err("no zone").explained();
    assert!(said.contains("--time-zone") && said.contains("--assume-utc"), "{said}");
    // A time that has a zone keeps it.
    assert_eq!(read(&in_zone("Asia/Tokyo"), "2026-05-10T14:30:00Z").as_deref(), Ok("2026-05-10T14:30:00.000Z"));
}

#[test]
fn a_date_of_three_numbers_needs_an_order() {
    let text = "10/05/2026 2:30 PM";
    assert_eq!(read(&TimeRules::default(), text), Err(Fault::Order));
    assert!(Fault::Order.explained().contains("--date-order"));
    assert_eq!(read(&ordered(DateOrder::Mdy), text).as_deref(), Ok("2026-10-05T14:30:00.000Z"));
    assert_eq!(read(&ordered(DateOrder::Dmy), text).as_deref(), Ok("2026-05-10T14:30:00.000Z"));
    assert_eq!(read(&ordered(DateOrder::Ymd), text), Err(Fault::Form));
    for (order, text) in [
        (DateOrder::Dmy, "10.05.2026 14:30"),
        (DateOrder::Dmy, "10-5-2026, 14:30"),
        (DateOrder::Dmy, "10.05.26 14:30"),
        (DateOrder::Mdy, "5/10/26 2:30 pm"),
        (DateOrder::Ymd, "26/5/10 14:30"),
        (DateOrder::Mdy, "2026-05-10 14:30"),
    ] {
        assert_eq!(read(&ordered(order), text).as_deref(), Ok("2026-05-10T14:30:00.000Z"), "{text}");
    }
    // No day of the year in this order, and no change of the order for it.
    assert_eq!(read(&ordered(DateOrder::Mdy), "25/12/2026"), Err(Fault::Form));
    assert_eq!(read(&TimeRules::default(), "25/12/2026"), Err(Fault::Order));
}

#[test]
fn a_date_alone_is_the_beginning_of_its_day() {
    for text in ["2026-05-10", "20260510", "May 10, 2026", "10 May 2026"] {
        assert_eq!(read(&in_zone("America/New_York"), text).as_deref(), Ok("2026-05-10T04:00:00.000Z"), "{text}");
        assert_eq!(reasons(&in_zone("America/New_York"), text), [Adjusted::DateAlone], "{text}");
        assert!(matches!(TimeRules::default().read(text, false), Err(Fault::NoZone(_))), "{text}");
    }
    // There, clocks were put forward at midnight.
    assert_eq!(read(&in_zone("America/Sao_Paulo"), "2018-11-04").as_deref(), Ok("2018-11-04T03:00:00.000Z"));
}

#[test]
fn daylight_saving_time_is_told() {
    let berlin = in_zone("Europe/Berlin");
    let fault = berlin.read("2026-03-29 02:30:00", false).expect_err("it does not exist");
    assert!(fault.explained().contains("does not exist in Europe/Berlin"), "{}", fault.explained());
    let twice = berlin.read("2026-10-25 02:30:00", false).expect("it was twice");
    assert_eq!(twice.at.to_rfc3339(), "2026-10-25T00:30:00+00:00");
    assert_eq!(twice.again.expect("and again").to_rfc3339(), "2026-10-25T01:30:00+00:00");
    assert_eq!(reasons(&berlin, "2026-10-25 02:30:00"), [Adjusted::TimeTwice]);
    assert_eq!(reasons(&berlin, "2026-10-25 03:30:00"), []);
    assert_eq!(reasons(&berlin, "2026-10-25T02:30:00+01:00"), []);
}

#[test]
fn what_is_no_time_is_refused() {
    let rules = TimeRules { date_order: Some(DateOrder::Dmy), utc: Some(AsUtc::Assumed), ..TimeRules::default() };
    for text in [
        "",
        "soon",
        "2026",
        "2026-13-01 00:00:00",
        "2026-02-30",
        "2026-05-10 25:00",
        "2026-05-10 14:30 PM",
        "2026-05-10 14:30 xm",
        "2026-05-10 14:30 Nowhere/City",
        "2026-05-10Z",
        "14:30",
        "1",
        "123456789",
        "99999999999",
        "-1795402241",
        "46152.6",
        "1.795402241e9",
        "10 May",
        "May May May",
    ] {
        assert_eq!(read(&rules, text), Err(Fault::Form), "{text}");
    }
    for text in ["2026-05-10 14:30 EST", "Sun, 10 May 2026 14:30:00 IST"] {
        assert_eq!(read(&rules, text), Err(Fault::Abbreviation), "{text}");
    }
    assert!(is_no_time("infinity") && is_no_time("-Infinity") && is_no_time("0000-00-00 00:00:00"));
    assert!(!is_no_time("2026-05-10"));
}

proptest! {
    /// Whatever stands there, and in whatever order dates are.
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,40}", parts in "[0-9TZ:/ .,+AMPay\u{2212}é-]{0,40}", order in 0..4_usize) {
        let date_order = [None, Some(DateOrder::Mdy), Some(DateOrder::Dmy), Some(DateOrder::Ymd)][order];
        let rules = TimeRules { date_order, zone: Some(chrono_tz::Europe::Berlin), utc: None };
        for text in [text, parts] {
            if let Err(fault) = rules.read(&text, false) {
                prop_assert!(!fault.explained().is_empty());
            }
        }
    }

    /// Written and read again, in every order that has four digits for the year.
    #[test]
    fn a_time_is_read_as_it_was_written(seconds in 946_684_800_i64..4_000_000_000) {
        let at = DateTime::from_timestamp(seconds, 0).expect("in range");
        for (format, order) in [
            ("%Y-%m-%d %H:%M:%S", None),
            ("%m/%d/%Y %I:%M:%S %p", Some(DateOrder::Mdy)),
            ("%d.%m.%Y %H:%M:%S", Some(DateOrder::Dmy)),
            ("%a, %d %b %Y %H:%M:%S", None),
            ("%B %d, %Y %I:%M:%S%P", None),
            ("%Y%m%dT%H%M%S", None),
            ("%Y%m%d%H%M%S", None),
        ] {
            let rules = TimeRules { date_order: order, utc: Some(AsUtc::Assumed), zone: None };
            let text = at.format(format).to_string();
            prop_assert_eq!(rules.read(&text, false).map(|moment| moment.at), Ok(at), "{}", text);
        }
    }
}
