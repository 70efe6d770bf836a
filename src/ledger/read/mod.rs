//! What is asked of the ledger by people and by older systems: searches, the audit log, usage, rehearsals, foreign
//! tables.

pub(super) mod audit;
pub(super) mod foreign;
pub(super) mod rehearsal;
pub(super) mod search;
pub(super) mod usage_reads;
