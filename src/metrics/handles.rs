//! Handles of the metrics that every request moves.
//!
//! To find a metric by its name and labels takes a hash and a look under a lock. Labels that are not known to the
//! compiler take a copy, too. An allocation moves six metrics. So each handle is looked up once, those by route and
//! script once a thread. A handle is of the recorder that was there then: it must have been installed before.

use std::{cell::RefCell, collections::HashMap, sync::LazyLock, time::Duration};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{
    ALLOCATIONS, AUTH, AllocationOutcome, AuthOutcome, FeedScope, HTTP_CONNECTIONS, HTTP_IN_FLIGHT, HTTP_REQUESTS,
    HTTP_SECONDS, POOL_EXHAUSTED, SCRIPT_SECONDS,
};

pub(super) static ALLOCATED: LazyLock<[Counter; AllocationOutcome::ALL.len()]> =
    LazyLock::new(|| AllocationOutcome::ALL.map(|outcome| counter!(ALLOCATIONS, "outcome" => outcome.label())));

pub(super) static EXHAUSTED: LazyLock<Counter> = LazyLock::new(|| counter!(POOL_EXHAUSTED));

pub(super) static AUTHENTICATED: LazyLock<[Counter; AuthOutcome::ALL.len()]> =
    LazyLock::new(|| AuthOutcome::ALL.map(|outcome| counter!(AUTH, "outcome" => outcome.label())));

pub(super) static FEED_STREAMS: LazyLock<[Gauge; FeedScope::ALL.len()]> =
    LazyLock::new(|| FeedScope::ALL.map(|scope| gauge!(super::FEED_STREAMS, "scope" => scope.label())));

pub(super) static CONNECTIONS: LazyLock<Gauge> = LazyLock::new(|| gauge!(HTTP_CONNECTIONS));

pub(super) static IN_FLIGHT: LazyLock<Gauge> = LazyLock::new(|| gauge!(HTTP_IN_FLIGHT));

/// What one route was answered, with one method and one status.
struct Answers {
    method: &'static str,
    status: u16,
    count: Counter,
    seconds: Histogram,
}

/// What one script took.
struct Calls {
    answered: Histogram,
    failed: Histogram,
}

thread_local! {
    /// By route. There are as many as the document has, and a few methods and statuses of each.
    static ANSWERS: RefCell<HashMap<Box<str>, Vec<Answers>>> = RefCell::default();
    static CALLS: RefCell<HashMap<&'static str, Calls>> = RefCell::default();
}

pub(super) fn answered(route: &str, method: &'static str, status: u16, elapsed: Duration) {
    ANSWERS.with_borrow_mut(|routes| {
        if !routes.contains_key(route) {
            routes.insert(route.into(), Vec::new());
        }
        let Some(of_route) = routes.get_mut(route) else { return };
        let at = of_route.iter().position(|answers| answers.method == method && answers.status == status);
        let at = at.unwrap_or_else(|| {
            of_route.push(Answers::of(route, method, status));
            of_route.len() - 1
        });
        if let Some(answers) = of_route.get(at) {
            answers.count.increment(1);
            answers.seconds.record(elapsed);
        }
    });
}

pub(super) fn called(script: &'static str, answered: bool, elapsed: Duration) {
    CALLS.with_borrow_mut(|scripts| {
        let calls = scripts.entry(script).or_insert_with(|| Calls::of(script));
        if answered { &calls.answered } else { &calls.failed }.record(elapsed);
    });
}

impl Answers {
    fn of(route: &str, method: &'static str, status: u16) -> Self {
        let (route, code) = (route.to_owned(), status.to_string());
        Self {
            method,
            status,
            count: counter!(HTTP_REQUESTS, "route" => route.clone(), "method" => method, "status" => code),
            seconds: histogram!(HTTP_SECONDS, "route" => route, "method" => method),
        }
    }
}

impl Calls {
    fn of(script: &'static str) -> Self {
        let [answered, failed] =
            ["yes", "no"].map(|answered| histogram!(SCRIPT_SECONDS, "script" => script, "answered" => answered));
        Self { answered, failed }
    }
}
