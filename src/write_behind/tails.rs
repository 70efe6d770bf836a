//! Trims outboxes, a while after the ledger has what they hold.
//!
//! Entries stay that long since the feeds of other daemons read them there, and so that one trim does for what many
//! transactions wrote. It is a task of its own: a batch that cannot be written holds up no trim.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, sleep_until},
};

use crate::{allocator::Allocator, domain::PartitionId, ledger::Position};

/// How long an entry stays in its outbox when the ledger has it, at least; at most twice as long.
const KEPT: Duration = Duration::from_secs(2);

/// The outboxes that hold what the ledger has.
pub(super) struct Tails {
    allocator: Allocator,
    written: UnboundedReceiver<Vec<Position>>,
    tails: HashMap<PartitionId, Tail>,
}

/// Entries of an outbox that the ledger has.
struct Tail {
    /// When those up to `first` go.
    due: Instant,
    first: Position,
    /// The last one of all.
    last: Position,
}

impl Tails {
    pub(super) fn new(allocator: Allocator, written: UnboundedReceiver<Vec<Position>>) -> Self {
        Self { allocator, written, tails: HashMap::new() }
    }

    /// Works until those are gone that tell it what was written; then it trims what is left.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.tails.values().map(|tail| tail.due).min();
            let next = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                written = self.written.recv() => match written {
                    Some(positions) => self.note(&positions),
                    None => break,
                },
                () = next => self.trim_due().await,
            }
        }
        let left: Vec<Position> = self.tails.values().map(|tail| tail.last).collect();
        self.trim(&left).await;
    }

    fn note(&mut self, positions: &[Position]) {
        for position in positions {
            match self.tails.entry(position.partition) {
                Entry::Occupied(mut tail) => {
                    let last = &mut tail.get_mut().last;
                    // What the group commit wrote is told late.
                    if (last.generation, last.sequence) < (position.generation, position.sequence) {
                        *last = *position;
                    }
                }
                Entry::Vacant(tail) => {
                    let due = Instant::now() + KEPT;
                    tail.insert(Tail { due, first: *position, last: *position });
                }
            }
        }
    }

    async fn trim_due(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        self.tails.retain(|_, tail| {
            if tail.due > now {
                return true;
            }
            due.push(tail.first);
            let more = tail.first != tail.last;
            *tail = Tail { due: now + KEPT, first: tail.last, last: tail.last };
            more
        });
        self.trim(&due).await;
    }

    /// What is not trimmed now is trimmed with what is written there next.
    async fn trim(&self, positions: &[Position]) {
        let durable = positions.iter().map(|p| (p.partition, p.generation.unwrap_or_default(), p.sequence));
        if let Err(error) = self.allocator.trim_outboxes(durable).await {
            tracing::debug!(%error, "some outboxes are not trimmed");
        }
    }
}
