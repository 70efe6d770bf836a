//! What cannot be undone, and the clocks that must agree before it is done.

pub(super) mod clocks;
pub(super) mod names;
pub(super) mod retention;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use uuid::Uuid;

use self::clocks::Clocks;
use crate::{allocator::Allocator, ledger::Ledger};

/// What is let go of after its time, and the clocks that tell the time. Cheap to clone.
#[derive(Clone)]
pub struct Upkeep {
    allocator: Allocator,
    ledger: Ledger,
    /// This process, as the holder of leases.
    daemon: Uuid,
    /// How far the clocks were apart when they were compared last.
    clocks: Arc<ArcSwapOption<Clocks>>,
}

impl Upkeep {
    pub(super) fn new(allocator: Allocator, ledger: Ledger, daemon: Uuid) -> Self {
        Self { allocator, ledger, daemon, clocks: Arc::default() }
    }
}
