//! How the last run of each task ended.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::table::Task;
use crate::{
    domain::{TaskReport, TaskResult},
    metrics,
};

/// What is known of each task that was started and has runs.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    task: Task,
    every: Duration,
    /// When its last run ended; where none has, when it was started.
    at: Instant,
    took: Duration,
    result: Option<TaskResult>,
    stands_by: bool,
}

impl Board {
    pub(super) fn started(&self, task: Task, every: Duration) {
        metrics::task_started(task.row().name);
        let (at, took) = (Instant::now(), Duration::ZERO);
        self.entries().push(Entry { task, every, at, took, result: None, stands_by: false });
    }

    /// The settings of this daemon leave the work of a task to others.
    pub(super) fn stands_by(&self, task: Task) {
        if let Some(entry) = self.entries().iter_mut().find(|entry| entry.task == task) {
            entry.stands_by = true;
        }
    }

    pub(super) fn ended(&self, task: Task, took: Duration, result: TaskResult) {
        metrics::task_ended(task.row().name, result, took);
        if let Some(entry) = self.entries().iter_mut().find(|entry| entry.task == task) {
            (entry.at, entry.took, entry.result) = (Instant::now(), took, Some(result));
        }
    }

    /// How all of them do.
    pub(crate) fn reports(&self) -> Vec<TaskReport> {
        self.entries().iter().map(Entry::report).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn report(&self) -> TaskReport {
        TaskReport {
            task: self.task.row().name.into(),
            every_ms: ms(self.every),
            ago_ms: ms(self.at.elapsed()),
            took_ms: ms(self.took),
            result: self.result,
            stands_by: self.stands_by,
        }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_is_what_is_told() {
        let board = Board::default();
        board.started(Task::Months, Duration::from_secs(60));
        board.started(Task::Clocks, Duration::from_secs(15));
        board.ended(Task::Months, Duration::from_millis(7), TaskResult::Failed);
        board.ended(Task::Months, Duration::from_millis(9), TaskResult::Ok);
        board.ended(Task::Keys, Duration::from_millis(1), TaskResult::Ok);
        let told: Vec<_> = board.reports();
        let told: Vec<_> = told.iter().map(|told| (&*told.task, told.every_ms, told.took_ms, told.result)).collect();
        assert_eq!(told, [("months", 60_000, 9, Some(TaskResult::Ok)), ("clocks", 15_000, 0, None)]);
    }
}
