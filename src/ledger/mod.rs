//! The Postgres side: the durable ledger. All SQL of the project lives here, as checked queries.
//!
//! - `connect`, `session`, `error`, `schema`, `months`: reaching the database, and its shape;
//! - `progress`, `write`, `batch`, `fold`, `slots`, `rows`, `events`, `dead_letters`: the write-behind transaction;
//! - `rebuild`, `daemons`: what a rebuild of Redis reads, and who takes part in it;
//! - `orders`, `search`, `restaurants`, `import`: what readers and the back-fill use;
//! - `foreign`: the tables of another system, which the back-fill reads;
//! - `health`: what operators want to know.
//!
//! What needs more than one statement runs in a task of its own (`connect::in_task`): a caller that goes away must not
//! leave a transaction half begun on a pooled connection.

mod batch;
mod connect;
mod daemons;
mod dead_letters;
mod error;
mod events;
mod fold;
mod foreign;
mod health;
mod import;
mod months;
mod orders;
mod progress;
mod rebuild;
mod restaurants;
mod rows;
mod schema;
mod search;
mod session;
mod slots;
mod write;

pub use batch::{Gap, PartitionBatch, Written};
pub use connect::{Connections, Ledger, LedgerSettings};
pub use daemons::SeenDaemon;
pub use dead_letters::{DeadLetter, Retried};
pub use error::LedgerError;
pub use fold::Collision;
pub use foreign::{ForeignError, ForeignTable};
pub use health::LedgerHealth;
pub use import::ImportedOrder;
pub use progress::{Builder, Position, Progress};
pub use schema::Deployment;
pub use slots::{Purged, Slot, SlotState};
