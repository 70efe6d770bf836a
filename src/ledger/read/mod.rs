//! What is asked of the ledger by people and by older systems: searches, the audit log, usage, foreign tables.

pub(super) mod audit;
pub(super) mod foreign;
pub(super) mod search;
pub(super) mod usage_reads;
