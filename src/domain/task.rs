//! What daemons say of their background tasks.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

/// A task is late when it has ended no run for so many of its periods, each with a run.
const LATE_AFTER_PERIODS: u64 = 4;

/// On a busy machine, or while a server does not answer, a task with a short period needs more time than that.
const LATE_AFTER_MS: u64 = 30_000;

/// How a run of a background task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskResult {
    /// It did what there was to do.
    Ok,
    /// Something kept it from that; the next run tries again.
    Failed,
}

impl TaskResult {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Ok, Self::Failed];

    /// The word for it in metrics, and in what `nowserving doctor` says.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

impl<T, E> From<&Result<T, E>> for TaskResult {
    fn from(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Ok } else { Self::Failed }
    }
}

/// The task that writes into the ledger. What daemons say of it tells whether any of them does.
pub(crate) const WRITE_BEHIND: &str = "write-behind";

/// How the last run of a background task ended. No time of any clock is in it: it goes from one machine to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskReport {
    /// Which task. Text, since a daemon of another version may have other tasks.
    pub task: Cow<'static, str>,
    /// How often it runs, in ms; one that is woken by a signal, too, runs more often.
    pub every_ms: u64,
    /// How long ago its last run ended, in ms; where none has, how long ago it was started.
    pub ago_ms: u64,
    /// How long that run took, in ms.
    pub took_ms: u64,
    /// How that run ended; None where none has.
    pub result: Option<TaskResult>,
    /// Whether it only watches what those of other daemons do, as its settings say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stands_by: bool,
}

impl TaskReport {
    /// Whether its last run failed.
    #[must_use]
    pub(crate) fn has_failed(&self) -> bool {
        self.result == Some(TaskResult::Failed)
    }

    /// Whether it has ended no run for several of its periods.
    #[must_use]
    pub(crate) fn is_late(&self) -> bool {
        let round_ms = self.every_ms.saturating_add(self.took_ms);
        self.ago_ms > round_ms.saturating_mul(LATE_AFTER_PERIODS).max(LATE_AFTER_MS)
    }

    /// As it is when so much time has passed.
    #[must_use]
    pub(crate) fn after(self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { ago_ms: self.ago_ms.saturating_add(ms), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(every_ms: u64, ago_ms: u64, took_ms: u64) -> TaskReport {
        let result = Some(TaskResult::Ok);
        TaskReport { task: "months".into(), every_ms, ago_ms, took_ms, result, stands_by: false }
    }

    #[test]
    fn a_task_is_late_after_several_periods_and_runs() {
        assert!(!report(60_000, 240_000, 0).is_late());
        assert!(report(60_000, 240_001, 0).is_late());
        assert!(!report(60_000, 300_000, 15_000).is_late(), "its runs are long");
        assert!(!report(1000, 30_000, 1).is_late(), "the machine may be busy");
        assert!(report(1000, 30_001, 1).is_late());
        assert!(report(1000, 29_000, 1).after(Duration::from_secs(2)).is_late());
        assert!(!report(u64::MAX, u64::MAX, u64::MAX).is_late());
    }

    #[test]
    fn a_report_reads_as_it_was_written_and_more_does_not_hurt() {
        let text = r#"{"task":"months","every_ms":60000,"ago_ms":5,"took_ms":2,"result":"failed"}"#;
        let failed = TaskReport { result: Some(TaskResult::Failed), ..report(60_000, 5, 2) };
        assert_eq!(serde_json::to_string(&failed).expect("it can be written"), text);
        assert!(failed.has_failed());
        let newer = text.replace("\"failed\"", "null, \"mood\": 7");
        let read: TaskReport = serde_json::from_str(&newer).expect("it can be read");
        assert_eq!((read.result, read.has_failed(), read.stands_by), (None, false, false));
        let by = TaskReport { stands_by: true, ..report(1, 1, 1) };
        let written = serde_json::to_value(&by).expect("it can be written");
        assert_eq!(written["stands_by"], true);
    }
}
