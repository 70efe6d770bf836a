//! How long a back-fill takes, of the same orders in two forms: as this service names things, and as a foreign export.
//!
//! The native form is CSV in UTF-8 with this service's own columns, words and times. The foreign one is in Windows-1252
//! with semicolons, Shopify's columns and words, local times in a zone with daylight saving, American dates, words for
//! no value, floats for whole numbers, and restaurants by a map.

use std::{fmt::Write, path::Path, time::Instant};

use crate::{
    Plan,
    deployment::Deployment,
    report::{Bound, Figure, Reference, Report, Target},
    rounds::Spread,
    support::{DaemonOptions, scratch},
};

pub const GROUP: &str = "imports";

const RESTAURANTS: usize = 100;
/// One order of so many is still open.
const OPEN: usize = 50;

const FOREIGN: [&str; 9] = [
    "--dialect",
    "shopify",
    "--time-zone",
    "America/New_York",
    "--date-order",
    "mdy",
    "--encoding",
    "windows-1252",
    "--restaurant-map",
];

pub async fn measure(plan: &Plan, report: &mut Report) {
    let (rounds, orders) = (plan.size(2, 3), plan.size(20_000, 100_000));
    let deployment = Deployment::start(&[("NOWSERVING_CLEANUP_ENABLED", "false")]).await;
    let folder = scratch::folder("imports");
    let map = folder.join("map.csv");
    let lines: String = (0..RESTAURANTS).map(|n| format!("Branch {n},{}\n", n + 1)).collect();
    std::fs::write(&map, lines).expect("it is in our own folder");
    let (mut native_times, mut foreign_times) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (native, foreign) = (folder.join("native.csv"), folder.join("foreign.csv"));
        // The orders of the two are others, so that none is there already.
        std::fs::write(&native, native_form(2 * round, orders)).expect("it is in our own folder");
        std::fs::write(&foreign, foreign_form(2 * round + 1, orders)).expect("it is in our own folder");
        let foreign_flags: Vec<&str> = FOREIGN.into_iter().chain([shown(&map), shown(&foreign)]).collect();
        native_times.push(take(&deployment.options, &[shown(&native)], orders));
        deployment.drained().await;
        foreign_times.push(take(&deployment.options, &foreign_flags, orders));
        deployment.drained().await;
    }
    report.figure(Figure {
        group: GROUP,
        name: plan
            .size("back-fill of 20,000 orders, foreign form", "back-fill of 100,000 orders, foreign form")
            .to_owned(),
        unit: "s",
        value: Spread::of(foreign_times),
        reference: Reference { name: "the native form".to_owned(), value: Spread::of(native_times) },
        target: Target::ratio(Bound::AtMost(2.0)),
        by_round: None,
    });
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("our folders have plain names")
}

/// Takes a file over, and says how long it took.
fn take(options: &DaemonOptions, arguments: &[&str], orders: usize) -> f64 {
    let started = Instant::now();
    let done = options.run("backfill", arguments);
    let took = started.elapsed().as_secs_f64();
    let all = format!("{orders} rows read");
    assert!(done.status.success() && done.stdout.contains(&all) && done.stdout.contains("skipped: 0"), "{done:?}");
    took
}

/// Orders of one day, of which the rounds have others.
fn native_form(round: usize, orders: usize) -> String {
    let mut text =
        "id,restaurant_id,status,created_at,completed_at,customer_name,note,order_source,order_type\n".to_owned();
    for n in 0..orders {
        let (hour, minute, second) = time_of(n);
        let (status, ended) = match n % OPEN {
            0 => ("preparing", String::new()),
            _ => ("completed", format!("2026-03-14T{hour:02}:{minute:02}:{second:02}.500Z")),
        };
        let restaurant = 1 + n % RESTAURANTS;
        let _ = writeln!(
            text,
            "{},{restaurant},{status},2026-03-14T{hour:02}:{minute:02}:{second:02}Z,{ended},José {n},,web,takeaway",
            id(round, n)
        );
    }
    text
}

/// The same orders as a shop exports them. In Windows-1252 an é is one byte.
fn foreign_form(round: usize, orders: usize) -> Vec<u8> {
    let header = "Id;Location;Financial Status;Fulfillment Status;Created at;Fulfilled at;Billing Name;Notes;Source;\
                  Shipping Method;Total\n";
    let mut bytes = header.as_bytes().to_vec();
    for n in 0..orders {
        let (hour, minute, second) = time_of(n);
        let (half, hour) = (if hour < 12 { "AM" } else { "PM" }, (hour + 11) % 12 + 1);
        let at = format!("03/14/2026 {hour}:{minute:02}:{second:02} {half}");
        let (state, ended) = if n % OPEN == 0 { ("unfulfilled", "NULL") } else { ("fulfilled", at.as_str()) };
        let branch = n % RESTAURANTS;
        bytes.extend(format!("{};Branch {branch};paid;{state};{at};{ended};Jos", id(round, n)).bytes());
        bytes.push(0xe9);
        bytes.extend(format!(" {n};NULL;web;Local Pickup;{n}.0\n").bytes());
    }
    bytes
}

fn time_of(n: usize) -> (usize, usize, usize) {
    (n / 3600 % 24, n / 60 % 60, n % 60)
}

fn id(round: usize, n: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x6f0a_1c52_93d4_4c0e_8f57_0000_0000_0000 | (round as u128) << 32 | n as u128)
}
