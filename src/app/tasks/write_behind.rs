//! Writes what is in the outboxes into the ledger, or looks how far other daemons have. A loop of its own: it waits at
//! the outboxes, begins again at once while there is more, and waits longer after each failure in a row.

use tokio_util::sync::CancellationToken;

use super::driver::Runs;
use crate::{config::Settings, service::Service, write_behind::WriteBehind};

pub(super) fn writer(service: &Service, settings: &Settings) -> WriteBehind {
    let drain_deadline = settings.shutdown_deadline() / 2;
    WriteBehind::new(
        service.allocator().clone(),
        service.ledger().clone(),
        settings.write_behind.clone(),
        drain_deadline,
    )
}

pub(super) async fn run(writer: WriteBehind, writes: bool, stop: CancellationToken, runs: Runs) {
    let ended = move |took, result| runs.ended(took, result);
    if writes {
        writer.run(stop, ended).await;
    } else {
        writer.watch(stop, ended).await;
    }
}
