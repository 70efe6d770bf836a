//! Follows the outboxes of the restaurants that screens show. A loop of its own: it waits at the outboxes.

use tokio_util::sync::CancellationToken;

use super::driver::Runs;
use crate::service::Feed;

pub(super) async fn run(feed: Feed, stop: CancellationToken, runs: Runs) {
    feed.follow(stop, move |took, result| runs.ended(took, result)).await;
}
