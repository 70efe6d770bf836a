//! Writes the samples of usage. A loop of its own: a run is due when a span of Redis's time ends.

use tokio_util::sync::CancellationToken;

use super::driver::Runs;
use crate::service::{self, Sampler};

pub(super) async fn run(usage: service::Usage, stop: CancellationToken, runs: Runs) {
    Sampler::new(usage).run(stop, move |took, result| runs.ended(took, result)).await;
}
