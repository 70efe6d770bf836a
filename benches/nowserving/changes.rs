//! What was made faster, kept beside what it was before: recorded, and not measured by this run.
//!
//! Each row is before and after on one machine with 2 cores, under the same load. Two builds in turns where a daemon is
//! measured; the others one run after the other. CPU time of the daemon: `wrk`, one
//! thread and 64 connections, allocations into one restaurant for 4 s a round, write-behind off, by the operating system's
//! accounting. Instructions of Redis: `callgrind`, 1,024 allocations with an idempotency key. The write-behind: this
//! bench's group of that name. Updates of orders: `psql`, 20,000 orders, three changes of status each, a thousand orders a
//! statement. Search: `psql`, three searches among four million orders of 107 restaurants.

use crate::{
    report::{Figure, Reference, Report},
    rounds::Spread,
};

const GROUP: &str = "changes";
const DAEMON: &str = "daemon CPU, allocation";

/// One change: a figure in each round, before and after.
struct Change {
    figure: &'static str,
    unit: &'static str,
    what: &'static str,
    when: &'static str,
    before: &'static [f64],
    after: &'static [f64],
}

const CHANGES: &[Change] = &[
    Change {
        figure: DAEMON,
        unit: "µs",
        what: "futures of 70 KB boxed where they are rarely polled; changes without a task of their own; metrics looked up once; calls in one buffer",
        when: "2026-11-28",
        before: &[87.9, 96.0],
        after: &[60.1, 59.1],
    },
    Change {
        figure: DAEMON,
        unit: "µs",
        what: "mimalloc in place of the system's allocator",
        when: "2026-11-28",
        before: &[54.1, 61.5],
        after: &[42.7, 44.0],
    },
    Change {
        figure: DAEMON,
        unit: "µs",
        what: "a change boxed before its level is waited for",
        when: "2026-11-28",
        before: &[45.7, 43.1],
        after: &[34.9, 37.8],
    },
    Change {
        figure: "instructions of Redis, allocation",
        unit: "",
        what: "outbox entries of four fields in place of eight; times in one argument; two idempotency buckets in place of three; HSETNX in place of a look and a write; numbers left as strings",
        when: "2026-11-28",
        before: &[234_179.0],
        after: &[212_428.0],
    },
    Change {
        figure: "three updates of an order, Postgres",
        unit: "µs",
        what: "half of each page left for later versions, in place of a fifth",
        when: "2026-11-28",
        before: &[72.5, 55.0],
        after: &[20.3, 17.0],
    },
    Change {
        figure: "events/s drained",
        unit: "/s",
        what: "a backlog written in two transactions at once, the next batch read meanwhile",
        when: "2026-11-28",
        before: &[20_855.0, 22_761.0, 22_738.0],
        after: &[33_079.0, 33_063.0, 34_410.0],
    },
    Change {
        figure: "lag at 5,000 orders/s, p50",
        unit: "ms",
        what: "the same",
        when: "2026-11-28",
        before: &[851.0, 1_180.0, 726.0],
        after: &[277.0, 714.0, 291.0],
    },
    Change {
        figure: "search by name among 37,500 orders of a restaurant, Postgres",
        unit: "ms",
        what: "an index of the restaurant's orders with the names in it, in place of one of trigrams",
        when: "2026-11-28",
        before: &[59.2, 20.3, 25.2],
        after: &[7.3, 6.0, 5.5],
    },
];

pub fn list(report: &mut Report) {
    for Change { figure, unit, what, when, before, after } in CHANGES {
        let reference = Reference { name: format!("before, on {when}"), value: Spread::of(before.iter().copied()) };
        report.figure(Figure {
            group: GROUP,
            name: format!("{figure}: {what}"),
            unit,
            value: Spread::of(after.iter().copied()),
            reference,
            target: None,
            by_round: None,
        });
    }
    report.note(GROUP, "Recorded when each change was made, and not measured by this run.");
}
