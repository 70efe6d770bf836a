//! What is asked of the ledger by people and by older systems: searches, the audit log, what a feed has missed, usage, rehearsals, foreign
//! tables.

pub(super) mod audit;
mod feed;
pub(super) mod foreign;
pub(super) mod rehearsal;
pub(super) mod search;
pub(super) mod usage_reads;
