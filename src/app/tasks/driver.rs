//! What runs tasks: it spawns them, has each run when it is due, says how that ended, and stops them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinError, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    board::Board,
    table::{Row, Signal, Task, Tells, Wakes},
};
use crate::{config::Settings, domain::TaskResult};

/// A task that the driver runs when it is due.
pub(super) trait Work: Send + Sized + 'static {
    /// Its row.
    const TASK: Task;
    /// What makes a run due before its time.
    const SIGNAL: Option<Signal> = None;

    /// A run: reads how things stand, and does a bounded piece of what there is to do. What it leaves or fails to do, a
    /// later one finds. It is not cut off where the daemon stops, unless it sees to that itself.
    fn run_once(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Resolves when the signal is there. May be dropped at any time, and asked for anew after the next run.
    fn signal(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// What is to be done when the daemon stops.
    fn wind_up(self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The tasks of a daemon that run.
pub(crate) struct Tasks {
    set: JoinSet<Task>,
    board: Arc<Board>,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { set: JoinSet::new(), board: Arc::default() }
    }

    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Starts a task that the driver runs when it is due.
    pub(super) fn spawn<W: Work>(&mut self, work: W, settings: &Settings, stop: &CancellationToken) {
        const { assert!(W::TASK.is_woken_by(W::SIGNAL), "the table has another signal for this task") };
        let row = W::TASK.row();
        let Wakes::Driver(period, _) = row.wakes else { unreachable!("checked above") };
        let every = period.of(settings);
        self.board.started(row.task, every);
        self.set.spawn(drive(work, row, every, self.board.clone(), stop.clone()));
    }

    /// Starts a task with a loop of its own. It ends when it was told to stop, and says of each run how that ended.
    pub(super) fn spawn_loop<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        task: Task,
        settings: &Settings,
        make: impl FnOnce(Runs) -> F,
    ) {
        if let Wakes::Itself(period) = task.row().wakes {
            self.board.started(task, period.of(settings));
        }
        self.spawn_bare(task, make(Runs { board: self.board.clone(), task }));
    }

    /// Starts a task that has no runs.
    pub(crate) fn spawn_bare(&mut self, task: Task, work: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            work.await;
            task
        });
    }

    /// The next task to end, asked or unasked; None where none is left.
    pub(crate) async fn next_end(&mut self) -> Option<Result<Task, JoinError>> {
        self.set.join_next().await
    }

    /// Ends those that are left, wherever they are.
    pub(crate) async fn abort(&mut self) {
        self.set.shutdown().await;
    }
}

/// Where a task with a loop of its own says how its runs ended.
#[derive(Clone)]
pub(super) struct Runs {
    board: Arc<Board>,
    task: Task,
}

impl Runs {
    pub(super) fn ended(&self, took: Duration, result: TaskResult) {
        self.board.ended(self.task, took, result);
    }
}

async fn drive<W: Work>(
    mut work: W,
    row: &'static Row,
    every: Duration,
    board: Arc<Board>,
    stop: CancellationToken,
) -> Task {
    while !stop.is_cancelled() {
        let began = Instant::now();
        let result = work.run_once().await;
        board.ended(row.task, began.elapsed(), (&result).into());
        if let Err(error) = result {
            tell(row, &error);
        }
        tokio::select! {
            // Where the time has come, nothing needs to be asked any more.
            biased;
            () = stop.cancelled() => {}
            () = sleep(every) => {}
            () = work.signal() => {}
        }
    }
    work.wind_up().await;
    row.task
}

fn tell(row: &Row, error: &anyhow::Error) {
    match row.tells {
        Tells::Warning => tracing::warn!(task = row.name, %error, "will try again"),
        Tells::Quietly(what) => tracing::debug!(%error, "{what}"),
        Tells::Itself => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Does as it is told: a signal says how the next run ends.
    struct Puppet {
        next: bool,
        told: UnboundedReceiver<bool>,
        says: UnboundedSender<&'static str>,
    }

    impl Work for Puppet {
        const TASK: Task = Task::Survey;
        const SIGNAL: Option<Signal> = Some(Signal::SurveyDue);

        async fn run_once(&mut self) -> anyhow::Result<()> {
            anyhow::ensure!(self.next, "as it was told");
            Ok(())
        }

        async fn signal(&mut self) {
            let _ = self.says.send("waits");
            match self.told.recv().await {
                Some(next) => self.next = next,
                None => std::future::pending().await,
            }
        }

        async fn wind_up(self) {
            let _ = self.says.send("wound up");
        }
    }

    #[tokio::test]
    async fn each_run_is_reported_and_the_signal_brings_the_next_one() {
        let (board, stop) = (Arc::new(Board::default()), CancellationToken::new());
        let ((tell, told), (says, mut said)) = (unbounded_channel(), unbounded_channel());
        let result = || board.reports().first().and_then(|report| report.result);
        board.started(Task::Survey, HOUR);
        assert_eq!(result(), None);
        let puppet = Puppet { next: true, told, says };
        let driven = tokio::spawn(drive(puppet, Task::Survey.row(), HOUR, board.clone(), stop.clone()));
        assert_eq!(said.recv().await, Some("waits"));
        assert_eq!(result(), Some(TaskResult::Ok), "the first run is made at once");
        for (next, expected) in [(false, TaskResult::Failed), (true, TaskResult::Ok)] {
            tell.send(next).expect("it listens");
            assert_eq!(said.recv().await, Some("waits"));
            assert_eq!(result(), Some(expected));
        }
        stop.cancel();
        assert_eq!(driven.await.expect("it does not panic"), Task::Survey);
        assert_eq!(said.recv().await, Some("wound up"));
    }

    #[tokio::test]
    async fn a_task_that_ends_says_which_it_is() {
        let mut tasks = Tasks::new();
        tasks.spawn_bare(Task::Http, async {});
        let ended = tasks.next_end().await.expect("one was started");
        assert_eq!(ended.expect("it does not panic"), Task::Http);
        assert!(tasks.next_end().await.is_none() && tasks.board().reports().is_empty());
    }
}
