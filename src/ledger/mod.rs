//! The Postgres side: the durable ledger. All SQL of the project lives here, as checked queries.
//!
//! - `db`: reaching the database, and its shape;
//! - `tables`: how an order, a restaurant and a month are laid out in it;
//! - `recovery`: what a rebuild of Redis reads, and who takes part in it;
//! - `write`: the write-behind transaction, imports, dead letters;
//! - `read`: searches, the audit log, usage, what a rehearsal replays, the tables of another system;
//! - `upkeep`: API keys, screens, samples of usage, months that are over, names that are folded anew.
//!
//! What needs more than one statement runs in a task of its own (`db::connect::in_task`): a caller that goes away must not
//! leave a transaction half begun on a pooled connection.

mod db;
mod read;
mod recovery;
mod tables;
mod upkeep;
mod write;

pub use self::db::error::LedgerError;
pub(crate) use self::db::health::LedgerHealth;
pub(crate) use self::db::schema::Deployment;
pub(crate) use self::read::audit::EventPart;
pub(crate) use self::read::foreign::{ForeignError, ForeignTable};
pub(crate) use self::read::rehearsal::HappeningPart;
pub(crate) use self::recovery::agreement::{Adopted, AgreedSettings, Difference};
pub(crate) use self::recovery::daemons::SeenDaemon;
pub(crate) use self::recovery::progress::{Position, Progress};
pub(crate) use self::tables::orders::Overlap;
pub(crate) use self::upkeep::api_keys::ApiKeyChanges;
pub use self::upkeep::names::FoldedPiece;
pub use self::upkeep::retention::{Detached, MonthlyTable, StoredMonth};
pub(crate) use self::upkeep::screen_sessions::SessionChange;
pub(crate) use self::upkeep::screens::{Entered, WaitingScreen};
pub use self::upkeep::usage::UsageBatch;
pub(crate) use self::write::batch::Gap;
pub use self::write::batch::{PartitionBatch, Written};
pub(crate) use self::write::dead_letters::{DeadLetter, Retried};
pub use self::write::fold::Collision;
pub use self::write::import::ImportedOrder;
pub(crate) use self::write::imported::{ForeignKey, Reservation};
pub(crate) use self::write::replace::{After, Replacement};
pub use self::write::slots::{Slot, SlotState};

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;

use self::{tables::months::KnownMonths, write::slots::PurgeCursor};

/// The durable record of orders. Cheap to clone: clones share their connections.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: PgPool,
    months: Arc<KnownMonths>,
    purge_cursor: Arc<PurgeCursor>,
    timeout: Duration,
}
