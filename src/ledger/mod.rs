//! The Postgres side: the durable ledger. All SQL of the project lives here, as checked queries.
//!
//! - `connect`, `session`, `error`, `schema`, `months`, `retention`: reaching the database, and its shape;
//! - `progress`, `write`, `batch`, `fold`, `before`, `slots`, `rows`, `events`, `dead_letters`: the write-behind transaction;
//! - `rebuild`, `daemons`: what a rebuild of Redis reads, and who takes part in it;
//! - `orders`, `search`, `audit`, `restaurants`, `import`: what readers and the back-fill use;
//! - `api_keys`: who may call the API;
//! - `foreign`: the tables of another system, which the back-fill reads;
//! - `usage`, `usage_reads`: how full pools were; `leases`: who does what one daemon does for all;
//! - `health`: what operators want to know.
//!
//! What needs more than one statement runs in a task of its own (`connect::in_task`): a caller that goes away must not
//! leave a transaction half begun on a pooled connection.

mod api_keys;
mod audit;
mod batch;
mod before;
mod connect;
mod daemons;
mod dead_letters;
mod error;
mod events;
mod fold;
mod foreign;
mod health;
mod import;
mod leases;
mod months;
mod orders;
mod progress;
mod rebuild;
mod restaurants;
mod retention;
mod rows;
mod schema;
mod search;
mod session;
mod slots;
mod usage;
mod usage_reads;
mod write;

pub use api_keys::ApiKeyChanges;
pub use audit::EventPart;
pub use batch::{Gap, PartitionBatch, Written};
pub use connect::{Connections, Ledger, LedgerSettings};
pub use daemons::SeenDaemon;
pub use dead_letters::{DeadLetter, Retried};
pub use error::LedgerError;
pub use fold::Collision;
pub use foreign::{ForeignError, ForeignTable};
pub use health::LedgerHealth;
pub use import::ImportedOrder;
pub use orders::Overlap;
pub use progress::{Builder, Position, Progress};
pub use retention::{MonthlyTable, SetAside, StoredMonth};
pub use schema::Deployment;
pub use slots::{Purged, Slot, SlotState};
pub use usage::UsageBatch;
