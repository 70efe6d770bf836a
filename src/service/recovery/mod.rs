//! Opening, judging and rebuilding partitions, and the proofs that nothing was lost.

pub(super) mod condition;
pub(super) mod daemons;
pub(super) mod dead_letters;
pub(super) mod diagnosis;
pub(super) mod partitions;
pub(super) mod readiness;
pub(super) mod rebuild;
pub(super) mod recall;
pub(super) mod verify;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Instant,
};

use uuid::Uuid;

use self::readiness::LastLook;
use super::{ServiceSettings, Upkeep};
use crate::{
    allocator::Allocator,
    config::{AdmissionSettings, RecoverySettings},
    domain::OrderId,
    ledger::Ledger,
};

/// Partitions: opened, judged, rebuilt and verified, together with the other daemons. Cheap to clone.
#[derive(Clone)]
pub struct Recovery {
    allocator: Allocator,
    ledger: Ledger,
    settings: RecoverySettings,
    admission: AdmissionSettings,
    /// Whether other daemons may use the same Redis.
    shared_redis: bool,
    /// Who this daemon is, to the others.
    daemon: Uuid,
    upkeep: Upkeep,
    /// When a builder was last left without an answer by another daemon.
    impatient_since: Arc<Mutex<Option<Instant>>>,
    /// Servers, by `run_id`, whose append-only files this daemon has seen to.
    renewed_files: Arc<Mutex<HashSet<String>>>,
    /// Orders that Redis lost and that have no number yet.
    without_number: Arc<Mutex<HashSet<OrderId>>>,
    last_look: Arc<LastLook>,
}

impl Recovery {
    pub(super) fn new(
        allocator: Allocator,
        ledger: Ledger,
        settings: &ServiceSettings,
        daemon: Uuid,
        upkeep: Upkeep,
    ) -> Self {
        Self {
            allocator,
            ledger,
            settings: settings.recovery.clone(),
            admission: settings.admission.clone(),
            shared_redis: settings.shared_redis,
            daemon,
            upkeep,
            impatient_since: Arc::default(),
            renewed_files: Arc::default(),
            without_number: Arc::default(),
            last_look: Arc::default(),
        }
    }
}
