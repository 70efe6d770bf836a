//! The background tasks of the daemons that run, as these tell of them.

use super::{Report, in_words};
use crate::{domain::TaskReport, service::SeenDaemon};

/// Says what is wrong with the tasks of a daemon, and with `all` also how each of them does.
pub(super) fn examine(report: &mut Report, daemon: &SeenDaemon, all: bool) {
    let (id, tasks) = (daemon.id, &daemon.tasks);
    // One of an earlier version does not say.
    if tasks.is_empty() {
        return;
    }
    let mut wrong = 0;
    for told in tasks {
        if let Some((what, advice)) = fault(told) {
            report.wrong(&format!("daemon {id}: its task `{}` {what}", told.task), &advice);
            wrong += 1;
        }
    }
    if wrong == 0 {
        report.good(format!("daemon {id}: {} background tasks run in time, and none failed", tasks.len()));
    }
    if all {
        tasks.iter().for_each(|told| report.detail(&state(told)));
    }
}

/// What is wrong with a task, and what to do.
fn fault(told: &TaskReport) -> Option<(String, String)> {
    let (ago, every) = (in_words(told.ago_ms / 1000), in_words(told.every_ms / 1000));
    if told.is_late() {
        let what = format!("has ended no run for {ago}, and is to run every {every}");
        return Some((what, "see in the log of that daemon what it waits for; if it hangs, start it anew".to_owned()));
    }
    told.has_failed().then(|| {
        let advice = format!("it tries again, every {every} at the latest; see in the log of that daemon why it fails");
        (format!("failed {ago} ago, after {} ms", told.took_ms), advice)
    })
}

fn state(told: &TaskReport) -> String {
    let (ago, every) = (in_words(told.ago_ms / 1000), in_words(told.every_ms / 1000));
    let last = match told.result {
        Some(result) => format!("{} {ago} ago, after {} ms", result.as_str(), told.took_ms),
        None => format!("no run has ended since it was started, {ago} ago"),
    };
    let by = if told.stands_by { "; it leaves the work to other daemons" } else { "" };
    format!("{:<13} every {every}: {last}{by}", told.task)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::domain::TaskResult;

    fn told(task: &'static str, ago_ms: u64, result: Option<TaskResult>) -> TaskReport {
        TaskReport { task: task.into(), every_ms: 15_000, ago_ms, took_ms: 7, result, stands_by: false }
    }

    fn said(tasks: Vec<TaskReport>, all: bool) -> (String, usize) {
        let mut report = Report::default();
        examine(
            &mut report,
            &SeenDaemon { id: Uuid::nil(), ago: Duration::ZERO, tasks, time_zones: String::new() },
            all,
        );
        (report.lines.join("\n").replace(&Uuid::nil().to_string(), "D"), report.wrong)
    }

    #[test]
    fn what_is_well_is_one_line() {
        let tasks = || vec![told("clocks", 9000, Some(TaskResult::Ok)), told("survey", 100, None)];
        assert_eq!(
            said(tasks(), false),
            ("ok     daemon D: 2 background tasks run in time, and none failed".to_owned(), 0)
        );
        let (all, wrong) = said(tasks(), true);
        let lines: Vec<&str> = all.lines().skip(1).map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "clocks        every 15 s: ok 9 s ago, after 7 ms",
                "survey        every 15 s: no run has ended since it was started, 0 s ago"
            ]
        );
        assert_eq!(wrong, 0);
        assert_eq!(said(Vec::new(), true), (String::new(), 0), "an earlier version");
    }

    #[test]
    fn a_task_that_failed_or_is_late_is_wrong() {
        let tasks = vec![
            told("clocks", 9000, Some(TaskResult::Failed)),
            told("survey", 100_000, Some(TaskResult::Ok)),
            told("months", 300_000, None),
            told("keys", 1, Some(TaskResult::Ok)),
        ];
        let (all, wrong) = said(tasks, false);
        assert_eq!(wrong, 3, "{all}");
        for part in [
            "WRONG  daemon D: its task `clocks` failed 9 s ago, after 7 ms",
            "WRONG  daemon D: its task `survey` has ended no run for 100 s, and is to run every 15 s",
            "WRONG  daemon D: its task `months` has ended no run for 5 min",
        ] {
            assert!(all.contains(part), "{part} is not in {all}");
        }
        assert!(!all.contains("keys") && !all.contains("ok "), "{all}");
    }
}
