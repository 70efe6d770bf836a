//! Folds the samples of histograms into their buckets: they are kept until the metrics are rendered, and there may be
//! no scraper.

use metrics_exporter_prometheus::PrometheusHandle;

use super::{driver::Work, table::Task};

pub(super) struct Metrics(pub(super) PrometheusHandle);

impl Work for Metrics {
    const TASK: Task = Task::Metrics;

    async fn run_once(&mut self) -> anyhow::Result<()> {
        self.0.run_upkeep();
        Ok(())
    }
}
