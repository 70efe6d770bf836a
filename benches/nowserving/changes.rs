//! What was made faster, kept beside what it was before: recorded, and not measured by this run.
//!
//! Each row is two builds of the daemon in turns on one machine, with the same load: `wrk`, one thread and 64 connections,
//! allocations into one restaurant for 4 s a round, write-behind off, CPU time from the operating system's accounting.

use crate::{
    report::{Figure, Reference, Report},
    rounds::Spread,
};

const GROUP: &str = "changes";

/// One change: µs of the daemon's CPU for an allocation in each round, before and after.
struct Change {
    what: &'static str,
    when: &'static str,
    before: &'static [f64],
    after: &'static [f64],
}

const CHANGES: &[Change] = &[
    Change {
        what: "futures of 70 KB boxed where they are rarely polled; changes without a task of their own; metrics looked up once; calls in one buffer",
        when: "2026-11-28",
        before: &[87.9, 96.0],
        after: &[60.1, 59.1],
    },
    Change {
        what: "mimalloc in place of the system's allocator",
        when: "2026-11-28",
        before: &[54.1, 61.5],
        after: &[42.7, 44.0],
    },
    Change {
        what: "a change boxed before its level is waited for",
        when: "2026-11-28",
        before: &[45.7, 43.1],
        after: &[34.9, 37.8],
    },
];

pub fn list(report: &mut Report) {
    for Change { what, when, before, after } in CHANGES {
        let reference = Reference { name: format!("before, on {when}"), value: Spread::of(before.iter().copied()) };
        report.figure(Figure {
            group: GROUP,
            name: format!("daemon CPU, allocation: {what}"),
            unit: "µs",
            value: Spread::of(after.iter().copied()),
            reference,
            target: None,
        });
    }
    report.note(GROUP, "Recorded when each change was made, and not measured by this run.");
}
