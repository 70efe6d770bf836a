//! What needs both servers: whether they tell the same story of each partition, which daemons run, and how far the
//! ledger is behind.

use std::time::Duration;

use super::{Report, ago, dates, tasks};
use crate::{
    app::Stores,
    domain::{PartitionId, Timestamp},
    service::{CLOCKS_APART_MS, Condition, Diagnosis, Progress, SeenDaemon},
};

/// A daemon that was not heard of for so long has ended, or hangs.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// Events wait a moment even when all is well, and longer while Postgres does.
const UNWRITTEN_FOR_MS: i64 = 5_000;
const BEHIND_FOR_MS: i64 = 60_000;

/// With `all_tasks` it is said of each background task how it does.
pub(super) async fn examine(report: &mut Report, stores: &Stores, all_tasks: bool) -> anyhow::Result<()> {
    let service = &stores.service;
    let seen = service.operations.daemons().await?;
    let up = daemons(report, &seen, all_tasks);
    let running = up.len();
    let all = service.recovery.diagnose().await?;
    let circumstances = Circumstances { running, private: stores.local.is_some() };
    for (condition, partitions) in groups(&all) {
        let total = service.operations.partition_count();
        say(report, condition, &named(&partitions, total), circumstances);
    }
    // Redis has been asked just before.
    let Ok(now) = service.keys.now() else { return Ok(()) };
    stamps(report, &service.operations.progress().await?, now);
    lag(report, &all, now, circumstances);
    dates::examine(report, stores, &up).await
}

/// What makes a condition right or wrong.
#[derive(Debug, Clone, Copy)]
struct Circumstances {
    /// Daemons that run.
    running: usize,
    /// Whether doctor itself has started a server, which will be another one when it is started again.
    private: bool,
}

fn daemons<'a>(report: &mut Report, seen: &'a [SeenDaemon], all_tasks: bool) -> Vec<&'a SeenDaemon> {
    let (running, silent): (Vec<&SeenDaemon>, Vec<&SeenDaemon>) =
        seen.iter().partition(|daemon| daemon.ago <= HEARD_WITHIN);
    report.good(match running.len() {
        0 => "no daemon runs".to_owned(),
        1 => "one daemon runs".to_owned(),
        many => format!("{many} daemons run"),
    });
    for daemon in &running {
        tasks::examine(report, daemon, all_tasks);
    }
    if let Some(last) = silent.first() {
        report.note(
            &format!(
                "{} daemons ended without a word, or hang; the last of them, {}, was heard of {} s ago",
                silent.len(),
                last.id,
                last.ago.as_secs()
            ),
            "see what became of them; the others forget them after an hour",
        );
    }
    running
}

/// Conditions with the partitions that are in them, in the order of their first ones.
fn groups(all: &[Diagnosis]) -> Vec<(&Condition, Vec<PartitionId>)> {
    let mut groups: Vec<(&Condition, Vec<PartitionId>)> = Vec::new();
    for diagnosis in all {
        match groups.iter_mut().find(|(condition, _)| **condition == diagnosis.condition) {
            Some((_, partitions)) => partitions.push(diagnosis.partition),
            None => groups.push((&diagnosis.condition, vec![diagnosis.partition])),
        }
    }
    groups
}

/// `all 64 partitions`, `partition 3`, `6 partitions (0-3, 7, 9)`. They are in ascending order.
fn named(partitions: &[PartitionId], total: u16) -> String {
    if partitions.len() == usize::from(total) && total > 1 {
        return format!("all {total} partitions");
    }
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for index in partitions.iter().map(|partition| partition.index()) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    let run = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    match partitions {
        [one] => format!("partition {one}"),
        _ => format!("{} partitions ({})", partitions.len(), runs.iter().map(run).collect::<Vec<_>>().join(", ")),
    }
}

fn say(report: &mut Report, condition: &Condition, which: &str, circumstances: Circumstances) {
    let rebuilds = match circumstances.running {
        0 => "run `nowserving serve`: it makes their next generation from what is there, and opens them",
        _ => "a daemon that runs makes their next generation within seconds; if this stays, see its log",
    };
    match condition {
        Condition::Sound => report.good(format!("{which}: open to callers; Redis and the ledger agree")),
        Condition::Unused => report.good(format!("{which}: not used yet")),
        Condition::Sealed if circumstances.private => {
            report.good(format!("{which}: closed when their private Redis was stopped; the next start opens them"));
        }
        Condition::OtherServer if circumstances.private => report.note(
            &format!("{which}: their private Redis was not stopped in peace"),
            "nothing to do: the next start lets the numbers rest that may have been given unseen",
        ),
        Condition::OtherServer => report.wrong(
            &format!("{which}: their Redis was restarted, promoted or replaced: they need a new generation"),
            rebuilds,
        ),
        Condition::EarlierLayout => report
            .wrong(&format!("{which}: an earlier version has laid them out: they need a new generation"), rebuilds),
        Condition::Sealed | Condition::Fenced => {
            report.wrong(&format!("{which}: fenced off, and no daemon is building their next generation"), rebuilds);
        }
        Condition::HalfBuilt => {
            report.wrong(&format!("{which}: their next generation is half built, and its builder has gone"), rebuilds)
        }
        Condition::BeingBuilt(daemon) => report.wrong(
            &format!("{which}: their next generation is being built by daemon {daemon}"),
            "wait: its log and /readyz say how far it is; their restaurants get 503 meanwhile",
        ),
        Condition::Empty => report.wrong(
            &format!("{which}: Redis holds nothing of them, but the ledger does: it lost data, or is another Redis"),
            &format!("see that redis_url and redis.namespace are right; if so: {rebuilds}"),
        ),
        Condition::RedisBehind => report.wrong(
            &format!("{which}: Redis is behind what the ledger has: it lost data, or came back older than it was"),
            &format!("see what happened to its disk or its fail-over; then: {rebuilds}"),
        ),
        Condition::Odd(reason) => report.wrong(
            &format!("{which}: not open to callers: {reason}"),
            "see who else writes to this Redis under redis.namespace; once it is gone, a daemon opens them by itself",
        ),
        Condition::LedgerBehind => report.wrong(
            &format!("{which}: the ledger is behind what it had confirmed: it lost data, or was restored from a copy"),
            &format!(
                "look for a copy of the ledger that has more, before any daemon goes on; without one, {rebuilds}. What \
                 ended meanwhile stays unknown"
            ),
        ),
        Condition::WrongLedger => report.wrong(
            &format!("{which}: Redis holds them, and the ledger has never heard of them: they do not belong together"),
            "correct database_url, redis_url or redis.namespace; nothing is rebuilt by itself",
        ),
        Condition::Unreachable(error) => report.wrong(
            &format!("{which}: their Redis gives no usable answer: {}", error.replace("Redis: ", "")),
            "see that it runs, or that one of its replicas takes its place",
        ),
    }
}

/// The stamps of a partition never go back. So one that is ahead of Redis's clock tells that the clock has gone back.
fn stamps(report: &mut Report, written: &[Progress], now: Timestamp) {
    let latest = written.iter().map(|progress| progress.stamp).max();
    if let Some(latest) = latest.filter(|latest| latest.unix_ms() - now.unix_ms() > CLOCKS_APART_MS) {
        report.note(
            &format!("the clock of Redis was set back: the last change of an order is stamped {latest}, and it says {now}"),
            "run an NTP client there that does not step; if it is right now, there is nothing to do: changes keep that stamp \
             until the clock is past it, and no number is given twice",
        );
    }
}

fn lag(report: &mut Report, all: &[Diagnosis], now: Timestamp, circumstances: Circumstances) {
    let waiting: Vec<&Diagnosis> = all.iter().filter(|diagnosis| diagnosis.behind > 0).collect();
    let events: u64 = waiting.iter().map(|diagnosis| diagnosis.behind).sum();
    if events == 0 {
        // Of partitions that cannot be served, it was said what is known.
        report.good("no events wait for the ledger".to_owned());
        return;
    }
    // One that does not say since when, has waited for ever.
    let age_ms =
        |diagnosis: &Diagnosis| diagnosis.waiting_since.map_or(i64::MAX, |since| now.unix_ms() - since.unix_ms());
    let oldest = waiting.iter().filter_map(|diagnosis| diagnosis.waiting_since).min();
    let oldest = oldest.map(|since| format!(", the oldest for {}", ago(since, now))).unwrap_or_default();
    let is_left = |diagnosis: &&&Diagnosis| !diagnosis.is_written && age_ms(diagnosis) > UNWRITTEN_FOR_MS;
    if circumstances.running == 0 {
        report.wrong(
            &format!("{events} events wait in Redis{oldest}, and no daemon runs to write them"),
            "run `nowserving serve`",
        );
    } else if waiting.iter().filter(is_left).count() > 0 {
        report.wrong(
            &format!("{events} events wait in Redis{oldest}, and no daemon is writing them"),
            "let at least one daemon have write_behind.enabled = true, and see in its log why it does not write",
        );
    } else if waiting.iter().any(|diagnosis| age_ms(diagnosis) > BEHIND_FOR_MS) {
        report.wrong(
            &format!("the ledger is {events} events behind{oldest}: it does not keep up"),
            "see the log of the daemon that writes, and the load and the locks of Postgres",
        );
    } else {
        report.good(format!("the ledger is {events} events behind{oldest}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_in_short() {
        let named = |indices: &[u16]| {
            let partitions: Vec<_> = indices.iter().map(|index| PartitionId::new(*index)).collect();
            super::named(&partitions, 8)
        };
        assert_eq!(named(&[3]), "partition 3");
        assert_eq!(named(&[0, 1, 2, 5, 7]), "5 partitions (0-2, 5, 7)");
        assert_eq!(named(&[0, 1, 2, 3, 4, 5, 6, 7]), "all 8 partitions");
    }
}
