//! The registry: one table of all that runs in a daemon.

use std::time::Duration;

use crate::{
    config::Settings,
    service::{RENEW_KEYS_EVERY, RENEW_LEASE_EVERY},
};

/// What makes a run of a task due.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wakes {
    /// The driver: at once, then so long after each run has ended, and as soon as the task's signal, if it has one, is
    /// there.
    Driver(Period, Option<Signal>),
    /// A loop of its own, which ends a run at least so often, and says of each how it ended.
    Itself(Period),
    /// Callers. It has no runs.
    Callers,
}

/// How long it is to the next run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Period {
    Fixed(Duration),
    /// As long as a setting says.
    Set(fn(&Settings) -> Duration),
}

impl Period {
    pub(super) fn of(self, settings: &Settings) -> Duration {
        match self {
            Self::Fixed(period) => period,
            Self::Set(period) => period(settings),
        }
    }
}

/// What makes a run due before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// A partition was closed, or the last rebuild under way has ended.
    PartitionClosed,
    /// Something was written to Redis.
    RedisWritten,
    /// A request waits with a key that this daemon does not know.
    KeyWanted,
    /// This daemon has become the one that surveys.
    SurveyDue,
    /// There are more names to fold anew than one run does.
    NamesLeft,
    /// SIGHUP.
    HangUp,
}

/// What a task cannot do without. Where a daemon does not have it, the task is not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A Redis. Every daemon has one, though it may be unreachable.
    Redis,
    /// The ledger. Every daemon has one, though it may be unreachable.
    Ledger,
    /// That callers are asked for API keys.
    Keys,
    /// A certificate.
    Tls,
    /// A port that is bound, and partitions that were looked at: it is started last.
    Listener,
}

/// How the log hears of a run that failed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tells {
    Warning,
    /// In these words, where an operator looks for them: another alarm tells of it, or the next run makes up for it.
    Quietly(&'static str),
    /// From the task itself, which knows what was told before.
    Itself,
}

/// When a task is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stops {
    /// First: it takes in new work.
    First,
    /// When those that stop first have ended: they still need it.
    Last,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(super) task: Task,
    /// Its name in logs, metrics, and what `nowserving doctor` says.
    pub(super) name: &'static str,
    pub(super) wakes: Wakes,
    pub(super) needs: &'static [Need],
    pub(super) tells: Tells,
    pub(crate) stops: Stops,
    /// Whether its end ends the process, unless it was told to stop.
    pub(crate) ends_process: bool,
}

/// Makes the tasks and their table of one text, so that neither has what the other lacks.
macro_rules! table {
    ($($(#[doc = $does:literal])+
        $task:ident: $name:literal, $wakes:expr, $needs:expr, $tells:expr, $stops:ident, $end:ident;)*) => {
        /// What runs in a daemon, each once. A task that has no row cannot be named, and so not be spawned.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Task {
            $($(#[doc = $does])+ $task,)*
        }

        /// All tasks, in the order in which they are started.
        pub(super) const TABLE: &[Row] = &[$(Row {
            task: Task::$task,
            name: $name,
            wakes: $wakes,
            needs: &$needs,
            tells: $tells,
            stops: Stops::$stops,
            ends_process: table!(@ends $end),
        }),*];
    };
    (@ends ends_process) => { true };
}

const fn every(seconds: u64) -> Wakes {
    Wakes::Driver(Period::Fixed(Duration::from_secs(seconds)), None)
}

const fn every_or(period: Duration, signal: Signal) -> Wakes {
    Wakes::Driver(Period::Fixed(period), Some(signal))
}

const SECOND: Duration = Duration::from_secs(1);

// Name; what wakes it; what it needs; how the log hears of a failure; when it is stopped; what its end ends. Today none
// may end unasked: nothing goes on half alive.
table! {
    /// Says that this daemon runs, and helps with what other daemons rebuild. A task of its own: two daemons that
    /// rebuild wait for each other here.
    Daemons: "daemons", every_or(SECOND, Signal::RedisWritten), [Need::Redis, Need::Ledger],
        Tells::Quietly("other daemons do not know of this one just now"), Last, ends_process;
    /// Counts the dead letters that wait, for the metrics.
    DeadLetters: "dead letters", every(15), [Need::Ledger],
        Tells::Quietly("how many dead letters wait is not known just now"), Last, ends_process;
    /// Compares the clocks, for the metrics, `/readyz` and what cannot be undone.
    Clocks: "clocks", every(15), [Need::Redis, Need::Ledger],
        Tells::Quietly("the clocks cannot be compared just now"), Last, ends_process;
    /// Makes the months ahead, and lets go of those that are older than is kept.
    Months: "months", every(60), [Need::Redis, Need::Ledger], Tells::Warning, Last, ends_process;
    /// Folds anew the names that an earlier version folded.
    Names: "names", every_or(Duration::from_secs(60), Signal::NamesLeft), [Need::Ledger], Tells::Warning, Last,
        ends_process;
    /// Looks at all restaurants, where this daemon is the one that does.
    Survey: "survey", Wakes::Driver(Period::Set(|settings| Duration::from_secs(settings.survey.interval_seconds)),
        Some(Signal::SurveyDue)), [Need::Redis, Need::Ledger], Tells::Warning, Last, ends_process;
    /// Sees to it that one daemon surveys. A task of its own: a survey may take longer than its lease lasts.
    SurveyLease: "survey lease", Wakes::Driver(Period::Fixed(RENEW_LEASE_EVERY), None), [Need::Ledger],
        Tells::Itself, Last, ends_process;
    /// Removes the slots of numbers that have rested, and sees to the samples of usage.
    Housekeeping: "housekeeping", every(60), [Need::Redis, Need::Ledger], Tells::Warning, Last, ends_process;
    /// Writes a sample of each restaurant at the end of each span of time.
    Usage: "usage", Wakes::Itself(Period::Set(|settings| Duration::from_secs(settings.usage.sample_seconds))),
        [Need::Redis, Need::Ledger], Tells::Itself, Last, ends_process;
    /// Moves entries of the outboxes into the ledger, or looks how far others have.
    WriteBehind: "write-behind", Wakes::Itself(Period::Fixed(SECOND)), [Need::Redis, Need::Ledger],
        Tells::Itself, Last, ends_process;
    /// Looks at closed partitions, and has those rebuilt that need it.
    Partitions: "partitions", every_or(SECOND, Signal::PartitionClosed), [Need::Redis, Need::Ledger],
        Tells::Warning, Last, ends_process;
    /// Folds the samples of histograms into their buckets.
    Metrics: "metrics", every(5), [], Tells::Itself, Last, ends_process;
    /// Keeps the ring of API keys up to date.
    Keys: "keys", every_or(RENEW_KEYS_EVERY, Signal::KeyWanted), [Need::Keys, Need::Ledger],
        Tells::Itself, Last, ends_process;
    /// Writes what screens have said, and which were connected.
    Screens: "screens", every(5), [Need::Keys, Need::Ledger],
        Tells::Quietly("what screens say of themselves is not written just now"), Last, ends_process;
    /// Looks at the files of the certificate.
    Certificate: "certificate", every_or(Duration::from_secs(5), Signal::HangUp), [Need::Tls],
        Tells::Itself, Last, ends_process;
    /// Follows the outboxes of the restaurants that screens show.
    Feed: "feed", Wakes::Itself(Period::Fixed(Duration::from_secs(10))), [Need::Redis],
        Tells::Quietly("what screens show is not the present just now"), Last, ends_process;
    /// Answers callers.
    Http: "http", Wakes::Callers, [Need::Listener], Tells::Itself, First, ends_process;
}

impl Task {
    /// What the table says of it.
    pub(crate) const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Whether the table says that the driver is to wait for this signal, too.
    pub(super) const fn is_woken_by(self, signal: Option<Signal>) -> bool {
        match (self.row().wakes, signal) {
            (Wakes::Driver(_, None), None) => true,
            (Wakes::Driver(_, Some(known)), Some(signal)) => known as u8 == signal as u8,
            _ => false,
        }
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_task_has_its_row_and_a_name_of_its_own() {
        for row in TABLE {
            assert_eq!(row.task.row().name, row.name);
            assert_eq!(row.task.to_string(), row.name);
        }
        let names: BTreeSet<&str> = TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), TABLE.len());
        assert_eq!(Task::WriteBehind.row().name, crate::domain::WRITE_BEHIND);
        // They are labels of metrics.
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || " -".contains(c))), "{names:?}");
    }

    #[test]
    fn the_background_work_stops_after_all_that_takes_in_requests() {
        let first: Vec<Task> = TABLE.iter().filter(|row| row.stops == Stops::First).map(|row| row.task).collect();
        assert_eq!(first, [Task::Http]);
        assert!(TABLE.iter().all(|row| row.ends_process), "nothing goes on half alive");
    }

    #[test]
    fn a_task_waits_for_the_signal_of_its_row() {
        assert!(Task::Months.is_woken_by(None));
        assert!(!Task::Months.is_woken_by(Some(Signal::HangUp)));
        assert!(Task::Certificate.is_woken_by(Some(Signal::HangUp)));
        assert!(!Task::Certificate.is_woken_by(Some(Signal::KeyWanted)) && !Task::Certificate.is_woken_by(None));
        assert!(!Task::Http.is_woken_by(None) && !Task::WriteBehind.is_woken_by(None));
    }
}
