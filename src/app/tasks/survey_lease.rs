//! Sees to it that one daemon surveys.

use super::{driver::Work, table::Task};
use crate::service::Usage;

pub(super) struct SurveyLease(pub(super) Usage);

impl Work for SurveyLease {
    const TASK: Task = Task::SurveyLease;

    async fn run_once(&mut self) -> anyhow::Result<()> {
        Ok(self.0.renew_survey_lease().await?)
    }

    async fn wind_up(self) {
        self.0.give_back_survey_lease().await;
    }
}
