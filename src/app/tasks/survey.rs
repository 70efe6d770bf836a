//! Looks at all restaurants, where this daemon is the one that does, and as soon as it is.

use tokio_util::sync::CancellationToken;

use super::{
    driver::Work,
    table::{Signal, Task},
};
use crate::service::Usage;

pub(super) struct Survey {
    pub(super) usage: Usage,
    /// The most orders that one walk expires in each restaurant.
    pub(super) cleanup_limit: usize,
    pub(super) stop: CancellationToken,
}

impl Work for Survey {
    const TASK: Task = Task::Survey;
    const SIGNAL: Option<Signal> = Some(Signal::SurveyDue);

    async fn run_once(&mut self) -> anyhow::Result<()> {
        let walked = self.stop.run_until_cancelled(self.usage.survey(self.cleanup_limit, &self.stop)).await;
        Ok(walked.unwrap_or(Ok(()))?)
    }

    async fn signal(&mut self) {
        self.usage.survey_due().await;
    }
}
