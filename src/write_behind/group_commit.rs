//! Group commit: what a caller waits for goes to the ledger at once.
//!
//! It has transactions of its own, which follow one another: whatever comes while one is written shares the next. So a
//! caller who is alone waits for nothing but the commit, and many share its cost. Where another writer holds the
//! partition, it waits for that one's end; the ledger drops what was written meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{LEASE, Part, PassError, backoff, finished_orders, one_generation};
use crate::{
    allocator::{Allocator, OutboxReader},
    domain::PartitionId,
    ledger::{Ledger, PartitionBatch},
    metrics,
};

/// How long it waits where a read found nothing, though an entry is awaited: another daemon may have written it, and
/// then those that wait look for themselves.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// Writes what callers wait for. It has the identity of the writer that it belongs to, and hands it what it has written.
pub(super) struct GroupCommit {
    pub allocator: Allocator,
    pub ledger: Ledger,
    pub writer: Uuid,
    pub batch_size: usize,
    pub written: UnboundedSender<Part>,
    /// Whether it gets on; while it does, awaited partitions are left to it.
    pub gets_on: Arc<AtomicBool>,
}

impl GroupCommit {
    /// Works until it is told to stop: what it is writing then comes to its end.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut reader = OutboxReader::new(self.allocator.clone());
        let mut waits = None;
        while stop.run_until_cancelled(self.allocator.ledger_awaited()).await.is_some() {
            while !stop.is_cancelled() {
                let awaited = self.allocator.awaited_of_ledger();
                if awaited.is_empty() {
                    break;
                }
                let pause = match self.commit(&mut reader, &awaited).await {
                    Ok(written) => {
                        self.gets_on.store(true, Relaxed);
                        waits = None;
                        if written { Duration::ZERO } else { PAUSE }
                    }
                    Err(error) => {
                        self.gets_on.store(false, Relaxed);
                        metrics::batch_failed();
                        let wait = waits.get_or_insert_with(backoff).next().unwrap_or(PAUSE);
                        tracing::warn!(%error, ?wait, "what callers wait for is not in the ledger yet");
                        wait
                    }
                };
                if !pause.is_zero() {
                    stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
            }
        }
    }

    /// Writes what is in some outboxes behind where the ledger stands; whether there was anything.
    async fn commit(&self, reader: &mut OutboxReader, awaited: &[(PartitionId, u64)]) -> Result<bool, PassError> {
        let share = self.batch_size.div_ceil(awaited.len());
        let read = reader.read(awaited, share, None).await?;
        let batch: Vec<PartitionBatch> = read.into_iter().filter_map(one_generation).collect();
        if batch.is_empty() {
            return Ok(false);
        }
        let (finished, began) = (finished_orders(&batch), Instant::now());
        let written = self.ledger.write_awaited(batch, self.writer, LEASE).await?;
        // Callers are answered before anything else is done.
        for position in &written.positions {
            let generation = position.generation.unwrap_or_default();
            self.allocator.made_durable(position.partition, generation, position.sequence);
        }
        let wrote = !written.positions.is_empty();
        // The writer has ended only where the daemon has.
        let _ = self.written.send(Part { written, finished, took: began.elapsed() });
        Ok(wrote)
    }
}
