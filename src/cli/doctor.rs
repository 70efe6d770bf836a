//! `nowserving doctor`: looks at everything that the service stands on, and says what to do about what is wrong. It
//! changes nothing.

mod dates;
mod keys;
mod partitions;
mod postgres;
mod redis;
mod screens;
mod tasks;

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::FOUND_SOMETHING;
use crate::{
    app::Stores,
    clock::wall_clock,
    config::{ServerUrl, Settings},
    domain::Timestamp,
    service::{CLOCKS_APART_MS, LedgerError},
};

/// Clocks that differ by more than this make logs and events hard to read together. Numbers do not depend on it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Show each background task of each daemon that runs: when its last run ended, how long that took, and its result.
    #[arg(long)]
    tasks: bool,
}

/// What was found, in the order in which it was looked at.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    wrong: usize,
    /// Whether neither server could be looked at.
    nothing_seen: bool,
}

impl Report {
    fn good(&mut self, what: impl Into<String>) {
        self.lines.push(format!("ok     {}", what.into()));
    }

    /// Worth knowing, and perhaps as it should be.
    fn note(&mut self, what: &str, advice: &str) {
        self.lines.push(format!("note   {what}\n       → {advice}"));
    }

    fn wrong(&mut self, what: &str, advice: &str) {
        self.lines.push(format!("WRONG  {what}\n       → {advice}"));
        self.wrong += 1;
    }

    /// More about what was said last.
    fn detail(&mut self, what: &str) {
        self.lines.push(format!("       {what}"));
    }

    fn check(&mut self, is_good: bool, good: impl Into<String>, wrong: &str, advice: &str) {
        if is_good { self.good(good) } else { self.wrong(wrong, advice) }
    }
}

pub(super) async fn run(settings: &Settings, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let stores = Stores::find_or_start_unchecked(settings, "doctor").await?;
    let report = examine(&stores, settings, args).await;
    stores.close().await;
    for line in &report.lines {
        println!("{line}");
    }
    anyhow::ensure!(!report.nothing_seen, "neither server can be used: nothing else could be looked at");
    Ok(if report.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(FOUND_SOMETHING) })
}

/// Looks at each server by itself: what is wrong with one must not hide the other. What needs both comes last.
async fn examine(stores: &Stores, settings: &Settings, args: &DoctorArgs) -> Report {
    let mut report = Report::default();
    let redis = redis::examine(&mut report, stores, settings).await;
    if let Err(error) = &redis {
        let what = format!("{} cannot be used: {}", name("Redis", &settings.redis_url), error.reason());
        let advice = error
            .advice(settings.redis_url.is_tls())
            .unwrap_or_else(|| "until then `nowserving serve` does not start".to_owned());
        report.wrong(&what, &advice);
    }
    let ledger = postgres::examine(&mut report, stores, settings).await;
    if let Err(error) = &ledger {
        let (what, advice) = error.finding();
        let what = format!("{} cannot be used: {what}", name("database", &settings.database_url));
        report.wrong(&what, &advice);
    }
    report.nothing_seen = redis.is_err() && matches!(ledger, Err(LedgerError::Unreachable { .. }));
    if redis.is_ok()
        && let Ok(true) = ledger
        && let Err(error) = partitions::examine(&mut report, stores, args.tasks).await
    {
        report.wrong(&format!("the partitions cannot be looked at: {error:#}"), "look again");
    }
    report
}

fn name(kind: &str, url: &ServerUrl) -> String {
    if url.is_empty() { format!("the private {kind}") } else { format!("the {kind} at {}", url.masked()) }
}

fn clocks(report: &mut Report, server: &str, theirs: Timestamp) {
    let apart_ms = (theirs.unix_ms() - wall_clock().unix_ms()).unsigned_abs();
    let advice = if apart_ms <= CLOCKS_APART_MS.unsigned_abs() {
        "run an NTP client on both; numbers stay right meanwhile, since Redis's clock is the one that counts"
    } else {
        "run an NTP client on both; until they are within a minute of each other, no month and no rest is let go of in the \
         ledger, and no forgotten order is expired"
    };
    report.check(
        u128::from(apart_ms) <= CLOCK_TOLERANCE.as_millis(),
        format!("the clock of {server} agrees with this machine's"),
        &format!("the clock of {server} is {apart_ms} ms apart from this machine's"),
        advice,
    );
}

/// How long ago something was, in words.
fn ago(then: Timestamp, now: Timestamp) -> String {
    in_words((now.unix_ms() - then.unix_ms()).max(0).unsigned_abs() / 1000)
}

fn in_words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
